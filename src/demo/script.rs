//! What the demo's model says, and how it misbehaves on request. Pure.

use std::time::Duration;

use serde_json::{Value, json};

/// What the model was asked for, in the field `longwire_demo` of an ordinary chat request.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// The client asked for a stream.
    pub stream: bool,
    /// Silence before the first token.
    pub think: Duration,
    /// Length of the answer.
    pub tokens: usize,
    /// Between two tokens.
    pub pace: Duration,
    /// Silence in the middle of the answer.
    pub silence: Duration,
    /// After that many tokens the model says no more, and does not end either.
    pub stall_after: Option<usize>,
    /// After that many tokens its process dies: the connection is reset.
    pub die_after: Option<usize>,
}

/// Most tokens in one answer.
const TOKENS_MAX: u64 = 100_000;

impl Wish {
    /// Reads the body of a chat request; what is missing or odd gets a default.
    pub fn parse(body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let wish = &body["longwire_demo"];
        let count = |name: &str| wish[name].as_u64().map(|number| number.min(TOKENS_MAX) as usize);
        let duration = |name: &str| wish[name].as_str().and_then(duration).unwrap_or_default();
        let rate = wish["rate"].as_f64().unwrap_or(30.0).clamp(0.1, 10_000.0);
        Self {
            stream: body["stream"].as_bool().unwrap_or(false),
            think: duration("think"),
            tokens: count("tokens").unwrap_or(60),
            pace: Duration::from_secs_f64(1.0 / rate),
            silence: duration("silence"),
            stall_after: count("stall_after"),
            die_after: count("die_after"),
        }
    }
}

/// "3s" or "1200ms", at most ten minutes.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s')?, 1.0),
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    (0.0..=600.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// The model's whole mind; longer answers begin again.
const TEXT: &str = "A model speaks one token at a time, and whoever stands between it and you must let each one \
pass. Most proxies were made for pages: they collect, they count, they wait until there is \
enough to send. I would rather be heard as I think. While I am silent, longwire writes a small \
comment now and then, so that nobody on the way believes the line is dead. If you leave, I am \
told at once and stop. If I break in the middle of a sentence, you will see that it is broken. \
And when you ask again, the connection from before is still there. ";

/// The tokens of an answer of that length; together they are its text.
pub fn tokens(count: usize) -> impl Iterator<Item = &'static str> {
    TEXT.split_inclusive(' ').cycle().take(count)
}

/// One event of a streamed answer.
pub fn chunk(id: &str, delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
    let chunk = json!({
        "id": id, "object": "chat.completion.chunk", "created": 0, "model": "demo",
        "choices": [choice],
    });
    format!("data: {chunk}\n\n")
}

/// A whole answer.
pub fn completion(id: &str, count: usize) -> String {
    let text: String = tokens(count).collect();
    let message = json!({ "role": "assistant", "content": text });
    let usage = json!({ "prompt_tokens": 0, "completion_tokens": count, "total_tokens": count });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    json!({
        "id": id, "object": "chat.completion", "created": 0, "model": "demo",
        "choices": [choice], "usage": usage,
    })
    .to_string()
}

/// The list of models.
pub fn models() -> String {
    let model = json!({ "id": "demo", "object": "model", "created": 0, "owned_by": "longwire" });
    json!({ "object": "list", "data": [model] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_and_tamed() {
        let wish = Wish::parse(
            br#"{"stream":true,"longwire_demo":{"think":"1200ms","tokens":7,"rate":20,"die_after":3}}"#,
        );
        assert!(wish.stream);
        assert_eq!((wish.think, wish.tokens), (Duration::from_millis(1200), 7));
        assert_eq!((wish.pace, wish.die_after), (Duration::from_millis(50), Some(3)));
        for odd in ["", "[]", r#"{"longwire_demo":{"think":"-1s","rate":0,"tokens":-1}}"#] {
            let wish = Wish::parse(odd.as_bytes());
            assert_eq!(
                (wish.think, wish.stream, wish.tokens),
                (Duration::ZERO, false, 60),
                "{odd}"
            );
        }
    }

    #[test]
    fn the_stream_and_the_whole_say_the_same() {
        for count in [0, 1, 20, 500] {
            let whole: Value = serde_json::from_str(&completion("x", count)).unwrap();
            let joined: String = tokens(count).collect();
            assert_eq!(whole["choices"][0]["message"]["content"], joined);
        }
    }
}
