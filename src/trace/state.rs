//! The grammar of `tracestate` (W3C Trace Context, Level 2, §3.3.1). Pure.

/// §3.3.1.1: "There can be a maximum of 32 list-members in a list."
const MEMBERS_MAX: usize = 32;

/// Longest key of a member.
const KEY_MAX_BYTES: usize = 256;

/// Longest value of a member.
const VALUE_MAX_BYTES: usize = 256;

/// Whether the values of all `tracestate` fields are one good list together. §4.3 has one that is
/// not discarded: an upstream need not see what nobody can read.
pub(super) fn is_valid<'v>(values: impl Iterator<Item = &'v [u8]>) -> bool {
    let mut members = 0;
    let mut all = values.flat_map(|value| value.split(|&byte| byte == b','));
    all.all(|member| {
        let member = trim(member);
        // "Empty list-members are allowed": fields are joined by those who know no better.
        members += usize::from(!member.is_empty());
        members <= MEMBERS_MAX && (member.is_empty() || is_member(member))
    })
}

fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|&byte| byte == b'=') else { return false };
    let (key, value) = (&member[..at], &member[at + 1..]);
    is_key(key) && is_value(value)
}

/// `( lcalpha / DIGIT ) 0*255( lcalpha / DIGIT / "_" / "-"/ "*" / "/" / "@" )`.
fn is_key(key: &[u8]) -> bool {
    let begins = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let goes_on = |byte: &u8| begins(byte) || b"_-*/@".contains(byte);
    key.len() <= KEY_MAX_BYTES && key.first().is_some_and(begins) && key.iter().all(goes_on)
}

/// Visible ASCII and spaces but `,` and `=`, not ending in a space.
fn is_value(value: &[u8]) -> bool {
    let may_stand = |&byte: &u8| matches!(byte, b' '..=b'~') && !b",=".contains(&byte);
    (1..=VALUE_MAX_BYTES).contains(&value.len()) && value.iter().all(may_stand)
}

/// Without the optional white space around it (RFC 9110 §5.6.3).
fn trim(member: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !b" \t".contains(byte);
    let start = member.iter().position(is_text).unwrap_or(member.len());
    let end = member.iter().rposition(is_text).map_or(start, |last| last + 1);
    &member[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(fields: &[&str]) -> bool {
        is_valid(fields.iter().map(|field| field.as_bytes()))
    }

    /// After `test_tracestate_*` of the specification's own suite.
    #[test]
    fn lists() {
        let repeated = |text: &str, count: usize| text.repeat(count);
        let members = |count: usize| -> String {
            let members = (0..count).map(|number| format!("bar{number:02}={number}"));
            members.collect::<Vec<_>>().join(",")
        };
        for good in [
            "foo=1",
            "foo=1,bar=2",
            "foo=1,",
            "",
            "foo=1 \t , \t bar=2, \t baz=3",
            "foo=1\t,bar=2",
            "a0_-*/@z= !\"#$%&'()*+-./09:;<>?@AZ[\\]^_`az{|}~",
            "0tenant@sys=1,foo@=2,foo@@bar=3,foo@bar@baz=4",
            &format!("{}=1", repeated("z", 256)),
            &format!("{}@{}=1", repeated("t", 241), repeated("v", 14)),
            &format!("foo={}", repeated("v", 256)),
            &members(32),
        ] {
            assert!(valid(&[good]), "{good:?}");
        }
        for bad in [
            "foo =1",
            "FOO=1",
            "foo.bar=1",
            "@foo=1,bar=2",
            "foo",
            "foo=",
            "=1",
            "foo=bar=baz",
            "foo=,bar=3",
            "foo=\u{e9}",
            "foo=a\tb",
            &format!("{}=1", repeated("z", 257)),
            &format!("foo={}", repeated("v", 257)),
            &members(33),
        ] {
            assert!(!valid(&[bad]), "{bad:?}");
        }
    }

    #[test]
    fn several_fields_are_one_list() {
        assert!(valid(&["foo=1", "bar=2,baz=3", ""]));
        assert!(!valid(&["foo=1", "BAR=2"]));
        let many = ["a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1"; 5];
        assert!(valid(&many[..4]) && !valid(&many));
    }
}
