//! Signed tokens (JWS compact serialization, RFC 7515 §7.1).

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::decode_header;
use serde_json::{Map, Value};

use super::claims;
use super::credentials::bearer;
use super::keys::Keys;
use super::principal::Principal;
use super::refusal::Refusal;
use crate::config::model::JwtAuth;
use crate::http1::fields::Fields;

/// Verifies the tokens of a route.
pub struct Tokens {
    rules: JwtAuth,
    keys: Keys,
}

const MALFORMED: Refusal = Refusal::Invalid("it is malformed");

impl Tokens {
    /// With the keys that the rules name.
    pub fn new(rules: JwtAuth, keys: Keys) -> Self {
        Self { rules, keys }
    }

    /// Whom the request's token is about, if it says so.
    pub fn check(&self, fields: &Fields, now: SystemTime) -> Result<Option<Principal>, Refusal> {
        let token = std::str::from_utf8(bearer(fields)?).map_err(|_| MALFORMED)?;
        self.verify(token, now)
    }

    fn verify(&self, token: &str, now: SystemTime) -> Result<Option<Principal>, Refusal> {
        let (message, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (head, payload) = message.split_once('.').ok_or(MALFORMED)?;
        // Unsigned tokens (`none`) have no algorithm that it knows.
        let header = decode_header(token).map_err(|_| MALFORMED)?;
        if object(head)?.contains_key("crit") {
            // RFC 7515 §4.1.11: what is critical and not understood makes the token invalid, and
            // it must be a list that is not empty. So none of them is good, `null` neither.
            return Err(Refusal::Invalid("it has critical extensions"));
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
        if !self.keys.verify(header.alg, header.kid.as_deref(), message.as_bytes(), &signature) {
            return Err(Refusal::Invalid("its signature cannot be verified"));
        }
        claims::check(&object(payload)?, &self.rules, now)
    }
}

/// A part of a token that is a JSON object.
fn object(part: &str) -> Result<Map<String, Value>, Refusal> {
    let text = URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED)?;
    serde_json::from_slice(&text).map_err(|_| MALFORMED)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use ring::hmac;

    use super::*;
    use crate::config::model::{Algorithm, KeySource};

    const SECRET: &[u8] = b"a secret of thirty-two bytes ...";

    fn verdict(head: &str) -> Result<Option<Principal>, Refusal> {
        let rules = JwtAuth {
            algorithms: vec![Algorithm::Hs256],
            keys: KeySource::File(PathBuf::new()),
            issuer: None,
            audience: None,
            leeway: Duration::ZERO,
            principal_claim: "sub".to_owned(),
            pass: true,
        };
        let keys = Keys::from_file(SECRET, &rules.algorithms).unwrap();
        let parts = [head, r#"{"sub":"eve","exp":1}"#].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = parts.join(".");
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        Tokens::new(rules, keys).verify(&token, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn nothing_critical_is_understood() {
        assert_eq!(verdict(r#"{"alg":"HS256"}"#), Ok(Principal::new(b"eve")));
        for crit in ["null", "[]", r#"["b64"]"#] {
            let head = format!(r#"{{"alg":"HS256","crit":{crit}}}"#);
            let critical = Refusal::Invalid("it has critical extensions");
            assert!([critical, MALFORMED].contains(&verdict(&head).unwrap_err()), "{crit}");
        }
    }
}
