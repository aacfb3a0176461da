//! What a server that decides is asked, and what its answer means.

use std::net::IpAddr;

use bytes::Bytes;

use super::digest::Digest;
use super::principal::Principal;
use super::refusal::Refusal;
use crate::config::model::ForwardAuth;
use crate::http1::encode;
use crate::http1::fields::Fields;
use crate::http1::head::{RequestHead, ResponseHead};

/// Most `WWW-Authenticate` fields of an answer that are passed on: one for each scheme.
const CHALLENGES_MAX: usize = 4;

/// Most bytes of them; what does not fit is left out. Thousands of answers are remembered.
const CHALLENGES_MAX_BYTES: usize = 1024;

/// A question: a GET with these fields.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is asked for.
    pub target: String,
    /// The fields, without `Host`.
    pub fields: Fields,
    /// The request has credentials.
    pub has_credentials: bool,
}

/// What the server said, or did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let them in, by that name.
    In(Option<Principal>),
    /// They have not proved who they are; with the `WWW-Authenticate` of the answer.
    Unauthorized(Vec<Bytes>),
    /// They have, and may not.
    Forbidden,
    /// No answer, or none that says anything.
    Unavailable,
}

impl Question {
    /// About a request to `target` (as it goes on, with its query), which came over `scheme` from a
    /// client with that address.
    pub fn new(
        rules: &ForwardAuth,
        head: &RequestHead,
        (scheme, target): (&'static str, &str),
        address: Option<IpAddr>,
    ) -> Self {
        let mut fields = Fields::with_capacity(rules.headers.len() + 7);
        if !rules.headers.iter().any(|name| name == "user-agent") {
            fields.append("User-Agent", "longwire-auth");
        }
        fields.append("X-Forwarded-Method", &*head.method);
        fields.append("X-Forwarded-Proto", scheme);
        fields.append("X-Forwarded-Host", head.fields.get("host").unwrap_or_default());
        fields.append("X-Forwarded-Uri", target);
        if let Some(address) = address {
            fields.append("X-Forwarded-For", address.to_string());
        }
        let mut has_credentials = false;
        for name in &rules.headers {
            for value in head.fields.all(name) {
                fields.append(name, value);
                has_credentials = true;
            }
        }
        Self { target: rules.target.clone(), fields, has_credentials }
    }

    /// What an answer is remembered by: all that the server gets to see. So nobody gets an answer
    /// that was given about another request, whatever the server decides by.
    pub fn digest(&self) -> Digest {
        let mut text = Vec::with_capacity(512);
        encode::request_head(&mut text, b"GET", self.target.as_bytes(), &self.fields);
        Digest::of(&text)
    }
}

impl Verdict {
    /// What an answer means.
    pub fn of(answer: &ResponseHead, rules: &ForwardAuth) -> Self {
        match answer.status {
            200..=299 => {
                let name = answer.fields.get(&rules.principal_header);
                Self::In(name.and_then(Principal::new))
            }
            401 => {
                let mut room = CHALLENGES_MAX_BYTES;
                let mut fits = |challenge: &&[u8]| {
                    let left = room.checked_sub(challenge.len());
                    room = left.unwrap_or(room);
                    left.is_some()
                };
                let all = answer.fields.all("www-authenticate").take(CHALLENGES_MAX);
                let kept = all.filter(|one| fits(one)).map(Bytes::copy_from_slice);
                Self::Unauthorized(kept.collect())
            }
            403 => Self::Forbidden,
            _ => Self::Unavailable,
        }
    }

    /// The same for the request that the question was about.
    pub fn outcome(self, has_credentials: bool) -> Result<Option<Principal>, Refusal> {
        match self {
            Self::In(principal) => Ok(principal),
            Self::Unauthorized(challenges) => {
                Err(Refusal::Challenged { had_credentials: has_credentials, challenges })
            }
            Self::Forbidden => Err(Refusal::Forbidden),
            Self::Unavailable => Err(Refusal::Unavailable),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http1::head::{parse_request, parse_response};

    fn rules() -> ForwardAuth {
        ForwardAuth {
            upstream: String::new(),
            target: "/check?x".to_owned(),
            timeout: Duration::from_secs(2),
            cache: None,
            headers: vec!["authorization".to_owned(), "cookie".to_owned()],
            principal_header: "x-auth-user".to_owned(),
            pass: true,
        }
    }

    fn question(target: &str, fields: &str, address: &str) -> Question {
        let text = format!("POST {target} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
        let head = parse_request(text.as_bytes()).unwrap().unwrap().0;
        Question::new(&rules(), &head, ("http", target), address.parse().ok())
    }

    #[test]
    fn the_question_shows_the_request_and_nothing_more() {
        let fields = "Cookie: a=b\r\nX-Other: secret\r\nAUTHORIZATION: Bearer k\r\n";
        let question = question("/v1/chat?x=1", fields, "::1");
        let mut text = Vec::new();
        encode::request_head(&mut text, b"GET", question.target.as_bytes(), &question.fields);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "GET /check?x HTTP/1.1\r\nUser-Agent: longwire-auth\r\nX-Forwarded-Method: POST\r\n\
             X-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\n\
             X-Forwarded-Uri: /v1/chat?x=1\r\nX-Forwarded-For: ::1\r\n\
             authorization: Bearer k\r\ncookie: a=b\r\n\r\n"
        );
        assert!(question.has_credentials);
        assert!(!self::question("/", "X-Other: x\r\n", "").has_credentials);
    }

    #[test]
    fn the_clients_user_agent_takes_the_place_of_ours_if_it_is_shown() {
        let head = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n\r\n");
        let head = head.unwrap().unwrap().0;
        let rules = ForwardAuth { headers: vec!["user-agent".to_owned()], ..rules() };
        let question = Question::new(&rules, &head, ("http", "/"), None);
        let shown: Vec<_> = question.fields.all("user-agent").collect();
        assert_eq!(shown, [b"x"]);
    }

    #[test]
    fn an_answer_is_about_one_question() {
        let digest =
            |target: &str, fields: &str, address: &str| question(target, fields, address).digest();
        let key = "Authorization: Bearer k\r\n";
        let first = digest("/a", key, "::1");
        assert!(digest("/a", &format!("{key}X-Other: 1\r\n"), "::1") == first, "it is not shown");
        for (target, fields, address) in [
            ("/b", key, "::1"),
            ("/a?b", key, "::1"),
            ("/a", "Authorization: Bearer l\r\n", "::1"),
            ("/a", "Cookie: Bearer k\r\n", "::1"),
            ("/a", "", "::1"),
            ("/a", key, "::2"),
        ] {
            assert!(digest(target, fields, address) != first, "{target} {fields} {address}");
        }
    }

    #[test]
    fn challenges_that_are_kept_are_few_short_and_copies() {
        let challenges = |fields: &str| {
            let text = format!("HTTP/1.1 401 No\r\n{fields}\r\n");
            let head = parse_response(text.as_bytes()).unwrap().unwrap().0;
            // The head still lives: what shares its bytes is not unique.
            match Verdict::of(&head, &rules()) {
                Verdict::Unauthorized(challenges) => {
                    assert!(challenges.iter().all(Bytes::is_unique), "it keeps the whole head");
                    challenges
                }
                other => panic!("{other:?}"),
            }
        };
        let field = |value: &str| format!("WWW-Authenticate: {value}\r\n");
        assert_eq!(challenges(&field("Basic")), ["Basic"]);
        assert_eq!(challenges(&field("Basic").repeat(9)).len(), 4);
        let (long, short) = (field(&"x".repeat(1025)), field("Basic"));
        assert_eq!(challenges(&format!("{long}{short}")), ["Basic"]);
        assert_eq!(challenges(&field(&"x".repeat(600)).repeat(2)).len(), 1);
    }

    #[test]
    fn only_a_clear_yes_lets_in() {
        let verdict = |text: &str| {
            let text = format!("HTTP/1.1 {text}\r\n\r\n");
            let head = parse_response(text.as_bytes()).unwrap().unwrap().0;
            Verdict::of(&head, &rules())
        };
        assert_eq!(verdict("200 OK"), Verdict::In(None));
        assert_eq!(
            verdict("204 No\r\nX-Auth-User: eve\r\nX: y"),
            Verdict::In(Principal::new(b"eve"))
        );
        assert_eq!(verdict("401 No"), Verdict::Unauthorized(Vec::new()));
        let challenge = vec![Bytes::from_static(b"Basic realm=\"x\"")];
        let basic = verdict("401 No\r\nWWW-Authenticate: Basic realm=\"x\"");
        assert_eq!(basic, Verdict::Unauthorized(challenge));
        assert_eq!(verdict("403 No"), Verdict::Forbidden);
        for other in ["302 Found\r\nLocation: /login", "404 No", "500 No", "503 No", "304 No"] {
            assert_eq!(verdict(other), Verdict::Unavailable, "{other}");
        }
    }
}
