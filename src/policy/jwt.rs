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
        let (_, payload) = message.split_once('.').ok_or(MALFORMED)?;
        // Unsigned tokens (`none`) have no algorithm that it knows.
        let header = decode_header(token).map_err(|_| MALFORMED)?;
        if header.crit.is_some() {
            // RFC 7515 §4.1.11: what is critical and not understood makes the token invalid.
            return Err(Refusal::Invalid("it has critical extensions"));
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| MALFORMED)?;
        if !self.keys.verify(header.alg, header.kid.as_deref(), message.as_bytes(), &signature) {
            return Err(Refusal::Invalid("its signature cannot be verified"));
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| MALFORMED)?;
        let claims: Map<String, Value> = serde_json::from_slice(&payload).map_err(|_| MALFORMED)?;
        claims::check(&claims, &self.rules, now)
    }
}
