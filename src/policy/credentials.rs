//! What a request shows to prove who asks.

use super::refusal::Refusal;
use crate::http1::fields::Fields;

/// The field of HTTP's own credentials (RFC 9110 §11.6.2).
pub const AUTHORIZATION: &str = "authorization";

/// The value of the one field of that name. Two are refused: the upstream may take the other one
/// than we do.
pub fn only<'a>(fields: &'a Fields, name: &'a str) -> Result<&'a [u8], Refusal> {
    let mut values = fields.all(name);
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Invalid("there are two of them"));
    }
    if value.is_empty() { Err(Refusal::Missing) } else { Ok(value) }
}

/// The token of `Authorization: Bearer` (RFC 6750 §2.1), the scheme in any case (RFC 9110 §11.1).
/// Credentials of another scheme are none.
pub fn bearer(fields: &Fields) -> Result<&[u8], Refusal> {
    let value = only(fields, AUTHORIZATION)?;
    let end = value.iter().position(|&byte| byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(Refusal::Missing);
    }
    let token = rest.trim_ascii();
    if token.is_empty() { Err(Refusal::Missing) } else { Ok(token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[&'static str]) -> Fields {
        let mut fields = Fields::default();
        for value in values {
            fields.append("Authorization", *value);
        }
        fields
    }

    #[test]
    fn bearer_tokens() {
        for (values, expected) in [
            (&["Bearer k"][..], Ok(&b"k"[..])),
            (&["bearer  k "], Ok(b"k")),
            (&["BEARER a.b.c"], Ok(b"a.b.c")),
            (&[], Err(Refusal::Missing)),
            (&[""], Err(Refusal::Missing)),
            (&["Bearer"], Err(Refusal::Missing)),
            (&["Bearer "], Err(Refusal::Missing)),
            (&["Bearerk"], Err(Refusal::Missing)),
            (&["Basic dTpw"], Err(Refusal::Missing)),
            (&["Bearer k", "Bearer k"], Err(Refusal::Invalid("there are two of them"))),
        ] {
            assert_eq!(bearer(&fields(values)), expected, "{values:?}");
        }
    }
}
