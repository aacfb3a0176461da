//! "Did you mean": the nearest known word.

/// Longer words are not compared, because the cost grows with the product of the lengths.
const COMPARED_MAX_CHARS: usize = 64;

/// The candidate that `word` was most likely meant to be, if one is near enough.
///
/// Near enough is one edit in three characters: a typo, not another word.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let length = word.chars().count();
    if length > COMPARED_MAX_CHARS {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (length.max(candidate.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `, did you mean "word"?`, or nothing.
pub(super) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |word| format!(", did you mean \"{word}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_another_word_does_not() {
        let keys = ["heartbeat", "heartbeat_text", "idle"];
        assert_eq!(nearest("hartbeat", keys), Some("heartbeat"));
        assert_eq!(nearest("hearbeat_txt", keys), Some("heartbeat_text"));
        assert_eq!(nearest("ilde", keys), Some("idle"), "a swap is one edit");
        assert_eq!(nearest("balance", keys), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
    }
}
