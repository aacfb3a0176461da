//! The keys that tokens are verified with, and verifying.
//!
//! Each key is bound to one algorithm when it is read, from what it is; what a token says about its
//! algorithm only chooses among them. So nobody can have a public key taken for a secret (RFC 8725
//! §2.1). Purposefully not `Debug`: secrets are among them.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm as Named, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use ring::{error, hmac};
use serde::Deserialize;
use serde_json::Value;

use crate::config::model::Algorithm;

/// Most keys in a set: a token that does not say which one is its own is tried with all of them.
const MAX_KEYS: usize = 100;
/// RFC 7518 §3.2: "A key of the same size as the hash output … or larger MUST be used".
const SECRET_MIN_BYTES: usize = 32;
/// RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used".
const MODULUS_MIN_BYTES: usize = 256;
/// An uncompressed point of P-256 (SEC 1 §2.3.3).
const POINT_BYTES: usize = 65;
/// RFC 8032 §5.1.5.
const ED25519_BYTES: usize = 32;

/// Why there are no keys in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum KeysError {
    #[error("a private key, which must not be here: only the public one is needed")]
    Private,
    #[error("a certificate: its public key is what \"openssl x509 -pubkey -noout\" prints")]
    Certificate,
    #[error("a key in PEM, but HS256 needs a secret")]
    NotSecret,
    #[error("the secret has {0} bytes, HS256 needs at least {SECRET_MIN_BYTES}")]
    ShortSecret(usize),
    #[error("no public key in PEM for {0} (a block BEGIN PUBLIC KEY)")]
    NotPem(String),
    #[error("not a JSON Web Key Set: {0}")]
    NotSet(String),
    #[error("no key for {0} in the set")]
    NoneFits(String),
    #[error("more than {MAX_KEYS} keys")]
    TooMany,
    #[error("the RSA key has fewer than 2048 bits")]
    WeakRsa,
    #[error("the elliptic curve is not P-256")]
    Curve,
    #[error("the key is malformed")]
    Malformed,
}

/// Keys, each with its algorithm.
pub struct Keys(Vec<Known>);

struct Known {
    /// Its name in a set.
    kid: Option<String>,
    key: Key,
}

enum Key {
    /// PKCS #1 `RSAPublicKey`.
    RsaDer(Vec<u8>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
    Secret(hmac::Key),
}

impl Keys {
    /// The key of `key_file`: a secret for HS256, which stands alone, else a public key in PEM.
    pub fn from_file(content: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeysError> {
        let has = |mark: &str| memchr::memmem::find(content, mark.as_bytes()).is_some();
        let key = if algorithms == [Algorithm::Hs256] {
            if has("-----BEGIN ") {
                return Err(KeysError::NotSecret);
            }
            secret(without_line_end(content))?
        } else if has("PRIVATE KEY-----") {
            return Err(KeysError::Private);
        } else if has("-----BEGIN CERTIFICATE") {
            return Err(KeysError::Certificate);
        } else {
            let key = algorithms.iter().find_map(|algorithm| public_key(content, *algorithm));
            key.ok_or_else(|| KeysError::NotPem(names(algorithms)))??
        };
        Ok(Self(vec![Known { kid: None, key }]))
    }

    /// The keys of `jwks_file` that fit to one of the algorithms; others may be for others. One
    /// that fits and is no good does not spoil the rest: it is told, by its name, and left out.
    pub fn from_set(
        content: &[u8],
        algorithms: &[Algorithm],
        mut is_left_out: impl FnMut(&str, &KeysError),
    ) -> Result<Self, KeysError> {
        let set: Set = serde_json::from_slice(content)
            .map_err(|error| KeysError::NotSet(error.to_string()))?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeysError::TooMany);
        }
        let (mut keys, mut first) = (Vec::new(), None);
        for value in set.keys {
            let kid = value.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
            match fitting(value, algorithms) {
                Ok(Some(known)) => keys.push(known),
                Ok(None) => {}
                Err(error) => {
                    is_left_out(&kid, &error);
                    first.get_or_insert(error);
                }
            }
        }
        if keys.is_empty() {
            return Err(first.unwrap_or_else(|| KeysError::NoneFits(names(algorithms))));
        }
        Ok(Self(keys))
    }

    /// Whether one of the keys for that algorithm, and with that name if both have one, has made
    /// the signature.
    pub fn verify(
        &self,
        algorithm: Named,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.0
            .iter()
            .filter(|known| named(known.key.algorithm()) == algorithm)
            .filter(|known| kid.is_none() || known.kid.is_none() || known.kid.as_deref() == kid)
            .any(|known| known.key.verify(message, signature).is_ok())
    }
}

impl Key {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::RsaDer(_) | Self::Rsa(_) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Secret(_) => Algorithm::Hs256,
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), error::Unspecified> {
        match self {
            Self::RsaDer(der) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).verify(message, signature)
            }
            Self::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            // In constant time.
            Self::Secret(key) => hmac::verify(key, message, signature),
        }
    }
}

/// A JSON Web Key Set (RFC 7517 §5) whose keys may be anything.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// A key of a set, if it is for one of the algorithms and for verifying.
fn fitting(value: Value, algorithms: &[Algorithm]) -> Result<Option<Known>, KeysError> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| KeysError::Malformed)?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::Rs256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::Es256
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDsa
        }
        AlgorithmParameters::OctetKey(_) => Algorithm::Hs256,
        _ => return Ok(None),
    };
    // RFC 7517 §4.2 to §4.4: what it is for, if it says so.
    let common = &jwk.common;
    let is_other = |says| says != KeyAlgorithm::from(named(algorithm));
    let encrypts = common.public_key_use == Some(PublicKeyUse::Encryption);
    let does_other =
        common.key_operations.as_ref().is_some_and(|does| !does.contains(&KeyOperations::Verify));
    if common.key_algorithm.is_some_and(is_other)
        || encrypts
        || does_other
        || !algorithms.contains(&algorithm)
    {
        return Ok(None);
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeysError::Malformed)?;
    Ok(Some(Known { kid: jwk.common.key_id, key: usable(&key, algorithm)? }))
}

/// The key in PEM, if it is one for that algorithm.
fn public_key(pem: &[u8], algorithm: Algorithm) -> Option<Result<Key, KeysError>> {
    let key = match algorithm {
        Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem),
        Algorithm::Es256 => DecodingKey::from_ec_pem(pem),
        Algorithm::EdDsa => DecodingKey::from_ed_pem(pem),
        Algorithm::Hs256 => return None,
    };
    Some(usable(&key.ok()?, algorithm))
}

/// The key as it is used, if it is strong enough.
fn usable(key: &DecodingKey, algorithm: Algorithm) -> Result<Key, KeysError> {
    let bytes = match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            let (n, e) = (without_zeros(n), without_zeros(e));
            if n.len() < MODULUS_MIN_BYTES {
                return Err(KeysError::WeakRsa);
            }
            return Ok(Key::Rsa(RsaPublicKeyComponents { n, e }));
        }
        DecodingKeyKind::SecretOrDer(bytes) => bytes.clone(),
    };
    match algorithm {
        // More than the modulus is in it, so this lets a few bits pass that ring does not.
        Algorithm::Rs256 if bytes.len() < MODULUS_MIN_BYTES => Err(KeysError::WeakRsa),
        Algorithm::Rs256 => Ok(Key::RsaDer(bytes)),
        Algorithm::Es256 if bytes.len() != POINT_BYTES => Err(KeysError::Curve),
        Algorithm::Es256 => Ok(Key::P256(bytes)),
        Algorithm::EdDsa if bytes.len() != ED25519_BYTES => Err(KeysError::Malformed),
        Algorithm::EdDsa => Ok(Key::Ed25519(bytes)),
        Algorithm::Hs256 => secret(&bytes),
    }
}

fn secret(bytes: &[u8]) -> Result<Key, KeysError> {
    if bytes.len() < SECRET_MIN_BYTES {
        return Err(KeysError::ShortSecret(bytes.len()));
    }
    Ok(Key::Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
}

/// Editors put one there.
fn without_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}

/// RFC 7518 §6.3.1.1 allows none, and some write one all the same.
fn without_zeros(number: &[u8]) -> Vec<u8> {
    number.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn named(algorithm: Algorithm) -> Named {
    match algorithm {
        Algorithm::Rs256 => Named::RS256,
        Algorithm::Es256 => Named::ES256,
        Algorithm::EdDsa => Named::EdDSA,
        Algorithm::Hs256 => Named::HS256,
    }
}

fn names(algorithms: &[Algorithm]) -> String {
    let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
    names.join(" or ")
}

#[cfg(test)]
mod tests;
