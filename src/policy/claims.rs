//! What a token says, and whether it holds now and here (RFC 7519 §4.1). The signature has been
//! verified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::principal::Principal;
use super::refusal::Refusal;
use crate::config::model::JwtAuth;

/// The name of whoever the token is about, if it says so.
pub fn check(
    claims: &Map<String, Value>,
    rules: &JwtAuth,
    now: SystemTime,
) -> Result<Option<Principal>, Refusal> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    let leeway = rules.leeway.as_secs_f64();
    // A token without end would be one that nobody can take back.
    let exp = time(claims, "exp")?.ok_or(Refusal::Invalid("it has no exp"))?;
    // §4.1.4: "on or after which the JWT MUST NOT be accepted".
    if now >= exp + leeway {
        return Err(Refusal::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|nbf| now < nbf - leeway) {
        return Err(Refusal::Invalid("it is not valid yet"));
    }
    let issuer = claims.get("iss").and_then(Value::as_str);
    if rules.issuer.is_some() && issuer != rules.issuer.as_deref() {
        return Err(Refusal::Invalid("it is of another issuer"));
    }
    if !is_for(claims.get("aud"), rules.audience.as_deref()) {
        return Err(Refusal::Invalid("it is for another audience"));
    }
    Ok(match claims.get(&rules.principal_claim) {
        Some(Value::String(name)) => Principal::new(name.as_bytes()),
        Some(Value::Number(number)) => Principal::new(number.to_string().as_bytes()),
        _ => None,
    })
}

/// Seconds since 1970 (§2, NumericDate). Anything else is refused: what is not understood must not
/// count as not there.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(Refusal::Invalid("its exp or nbf is no number")),
        },
    }
}

/// §4.1.3: "If the principal processing the claim does not identify itself with a value in the
/// 'aud' claim when this claim is present, then the JWT MUST be rejected."
fn is_for(audience: Option<&Value>, expected: Option<&str>) -> bool {
    match (audience, expected) {
        (None, expected) => expected.is_none(),
        (Some(_), None) => false,
        (Some(Value::Array(list)), Some(expected)) => {
            list.iter().any(|one| one.as_str() == Some(expected))
        }
        (Some(one), Some(expected)) => one.as_str() == Some(expected),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;
    use crate::config::model::{Algorithm, KeySource};

    const NOW: u64 = 1_000_000;

    fn verdict(
        issuer: Option<&str>,
        audience: Option<&str>,
        claims: Value,
    ) -> Result<String, Refusal> {
        let rules = JwtAuth {
            algorithms: vec![Algorithm::Rs256],
            keys: KeySource::File(PathBuf::new()),
            issuer: issuer.map(str::to_owned),
            audience: audience.map(str::to_owned),
            leeway: Duration::from_secs(30),
            principal_claim: "sub".to_owned(),
            pass: true,
        };
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let name = check(&claims, &rules, now)?;
        Ok(name.map(|name| name.name().to_owned()).unwrap_or_default())
    }

    #[test]
    fn times() {
        const NO_NUMBER: Refusal = Refusal::Invalid("its exp or nbf is no number");
        for (claims, expected) in [
            (json!({ "sub": "a", "exp": NOW + 1 }), Ok("a")),
            (json!({ "sub": "a", "exp": NOW - 29 }), Ok("a")),
            (json!({ "sub": "a", "exp": NOW as f64 - 29.5 }), Ok("a")),
            (json!({ "sub": "a", "exp": NOW - 30 }), Err(Refusal::Expired)),
            (json!({ "sub": "a", "exp": -1 }), Err(Refusal::Expired)),
            (json!({ "sub": "a" }), Err(Refusal::Invalid("it has no exp"))),
            (json!({ "sub": "a", "exp": "99999999999" }), Err(NO_NUMBER)),
            (json!({ "sub": "a", "exp": null }), Err(NO_NUMBER)),
            (json!({ "sub": "a", "exp": NOW + 9, "nbf": NOW + 30 }), Ok("a")),
            (
                json!({ "sub": "a", "exp": NOW + 9, "nbf": NOW + 31 }),
                Err(Refusal::Invalid("it is not valid yet")),
            ),
            (json!({ "sub": "a", "exp": NOW + 9, "nbf": "99999999999" }), Err(NO_NUMBER)),
        ] {
            let found = verdict(None, None, claims.clone());
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{claims}");
        }
    }

    #[test]
    fn issuers_and_audiences() {
        for (issuer, audience, more, is_good) in [
            (None, None, json!({}), true),
            (None, None, json!({ "iss": "x" }), true),
            (Some("x"), None, json!({ "iss": "x" }), true),
            (Some("x"), None, json!({ "iss": "y" }), false),
            (Some("x"), None, json!({ "iss": ["x"] }), false),
            (Some("x"), None, json!({}), false),
            (None, None, json!({ "aud": "api" }), false),
            (None, Some("api"), json!({ "aud": "api" }), true),
            (None, Some("api"), json!({ "aud": ["other", "api"] }), true),
            (None, Some("api"), json!({ "aud": ["other"] }), false),
            (None, Some("api"), json!({ "aud": "other" }), false),
            (None, Some("api"), json!({ "aud": [] }), false),
            (None, Some("api"), json!({ "aud": null }), false),
            (None, Some("api"), json!({}), false),
        ] {
            let mut claims = json!({ "exp": NOW + 1 });
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(verdict(issuer, audience, claims.clone()).is_ok(), is_good, "{claims}");
        }
    }

    #[test]
    fn principals() {
        for (sub, expected) in [
            (json!("auth0|7"), "auth0|7"),
            (json!(42), "42"),
            (json!("a\nb"), "a_b"),
            (json!(""), ""),
            (json!({}), ""),
            (json!(null), ""),
        ] {
            let found = verdict(None, None, json!({ "exp": NOW + 1, "sub": sub }));
            assert_eq!(found.as_deref(), Ok(expected), "{sub}");
        }
    }
}
