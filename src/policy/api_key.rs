//! API keys, of which only hashes are known.

use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::credentials::{AUTHORIZATION, bearer, only};
use super::digest::Digest;
use super::principal::Principal;
use super::refusal::Refusal;
use crate::config::model::{ApiKey, ApiKeyAuth};
use crate::http1::fields::Fields;

/// The keys of a route.
///
/// SHA-256 without salt and rounds is right for keys that a program made up: they cannot be
/// guessed. It is wrong for passwords of people.
pub struct ApiKeys {
    header: String,
    keys: Vec<(Principal, Digest)>,
}

impl ApiKeys {
    /// From the configuration.
    pub fn new(config: &ApiKeyAuth) -> Self {
        let key =
            |key: &ApiKey| Some((Principal::new(key.name.as_bytes())?, Digest::new(key.sha256)));
        Self { header: config.header.clone(), keys: config.keys.iter().filter_map(key).collect() }
    }

    /// Whose key the request shows.
    pub fn check(&self, fields: &Fields) -> Result<Principal, Refusal> {
        let key = match self.header.as_str() {
            AUTHORIZATION => bearer(fields)?,
            header => only(fields, header)?,
        };
        self.find(key).ok_or(Refusal::Invalid("it is not known"))
    }

    /// Compares with all keys, whichever it is, so that the time tells nothing about them.
    fn find(&self, key: &[u8]) -> Option<Principal> {
        const NONE: u64 = u64::MAX;
        let digest = Digest::of(key);
        let mut found = NONE;
        for (index, (_, known)) in self.keys.iter().enumerate() {
            found.conditional_assign(&(index as u64), digest.is(known));
        }
        if bool::from(found.ct_eq(&NONE)) {
            return None;
        }
        let (whose, _) = self.keys.get(usize::try_from(found).ok()?)?;
        Some(whose.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(header: &str) -> ApiKeys {
        let keys = [("web", "key-1"), ("batch", "key-2"), ("old", "")];
        ApiKeys {
            header: header.to_owned(),
            keys: keys
                .map(|(name, key)| {
                    (Principal::new(name.as_bytes()).unwrap(), Digest::of(key.as_bytes()))
                })
                .to_vec(),
        }
    }

    fn check(header: &str, field: (&'static str, &'static str)) -> Result<String, Refusal> {
        let mut fields = Fields::default();
        fields.append(field.0, field.1);
        keys(header).check(&fields).map(|whose| whose.name().to_owned())
    }

    #[test]
    fn every_key_is_found_by_its_name() {
        assert_eq!(check("authorization", ("Authorization", "Bearer key-1")).unwrap(), "web");
        assert_eq!(check("authorization", ("Authorization", "Bearer key-2")).unwrap(), "batch");
        assert_eq!(check("x-api-key", ("X-API-Key", "key-2")).unwrap(), "batch");
    }

    #[test]
    fn others_are_not() {
        let unknown = Refusal::Invalid("it is not known");
        for (header, field, expected) in [
            ("authorization", ("Authorization", "Bearer key-3"), &unknown),
            ("authorization", ("Authorization", "Bearer key"), &unknown),
            ("authorization", ("Authorization", "key-1"), &Refusal::Missing),
            ("authorization", ("X-API-Key", "key-1"), &Refusal::Missing),
            ("x-api-key", ("Authorization", "Bearer key-1"), &Refusal::Missing),
            ("x-api-key", ("X-API-Key", "Bearer key-1"), &unknown),
            ("x-api-key", ("X-API-Key", ""), &Refusal::Missing),
        ] {
            assert_eq!(check(header, field).as_ref(), Err(expected), "{header}: {field:?}");
        }
    }
}
