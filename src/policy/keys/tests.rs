use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::json;

use super::*;

const MESSAGE: &[u8] = b"longwire";

/// Made for this test; nobody has the private half.
const RSA_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAmFQ3pS/yYXaxPUo9yACD
6NiHgLg7rqVhWY1FJm7WsI6+UXbqjynvFBlWIoZDiyUhsQ8ieFd4IwQWPur3TuvQ
A21a8i6M+Y9qwU0oQ6mzy8YEMKlgKtRfzKUyDZaBMw90ZXhWUxL0t5xFJg6rAhTI
gGTUiLhMmrdumanxr75AIclfK1eSyJu+JpG3HUTkCligVgpagoHvIZ/HleMlE4DR
UIV+qKBhIbQu5Z1yn1GWKAg1IqfCtnCapQ+SGvgboq1cM14f5A5Ym/b5ctJnx7pi
dG4zmMn0LHc8ojW8FUiu1Emn66EpPL73BRruzIRDqmP5X2VdVn8dKA62y9KuQ9Js
lwIDAQAB
-----END PUBLIC KEY-----
";
const RSA_MODULUS: &str = concat!(
    "mFQ3pS_yYXaxPUo9yACD6NiHgLg7rqVhWY1FJm7WsI6-UXbqjynvFBlWIoZDiyUhsQ8ieFd4IwQWPur3",
    "TuvQA21a8i6M-Y9qwU0oQ6mzy8YEMKlgKtRfzKUyDZaBMw90ZXhWUxL0t5xFJg6rAhTIgGTUiLhMmrdu",
    "manxr75AIclfK1eSyJu-JpG3HUTkCligVgpagoHvIZ_HleMlE4DRUIV-qKBhIbQu5Z1yn1GWKAg1IqfC",
    "tnCapQ-SGvgboq1cM14f5A5Ym_b5ctJnx7pidG4zmMn0LHc8ojW8FUiu1Emn66EpPL73BRruzIRDqmP5",
    "X2VdVn8dKA62y9KuQ9Jslw",
);
/// Of [`MESSAGE`].
const RSA_SIGNATURE: &str = concat!(
    "LozpOXGdLWPslREyY7iMBllhqNi6n7LzHihzICQx+KFUH/X2eTtvztI/i9g7+37qK1OHhKkNcmF8B7rH",
    "LBfkx+cJiK+uGd4jWWKt5VirGZxKrmGrHdwRDt8sKhunc4jDnGqvEn8Lbzwz0+44h68S6w04TQeVbopB",
    "xZD6uoXAWvQ7+zk13ecd18L3OzIjLrQmuwmRmOITRXmpnJNoA01wqWYG210hqHPVFMHnAnNwJyrSwQgo",
    "liLF4U+BdzeUHtXj0X4PPVJaSQckB4f04W9PNkJjZrHlXZIEkQNaA1vZmQkawZ38fzeiHGbGAmJmVnlB",
    "QFdsM1Xd2oCQwLNLnLbkxA==",
);
/// 1024 bits.
const WEAK_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDK+rF8IZxCZehWGSeWbGtnnyYb
Xye9cL79W2NgYOE0aGwj+zVhHJ4VdZR5EqI4edet+ALslJbG7TD2Q3Gj2sQLsTzy
PiJXphZcLSQ2o9tHcuh8DwcrzERDiWcKE2mcX55Df334F3U8LMmQA8j0W9pnxm+Q
PZ4GltdvsQojeMAK8QIDAQAB
-----END PUBLIC KEY-----
";
const SECRET: &[u8] = b"a secret of thirty-two bytes ...";

fn point(key: &EcdsaKeyPair) -> (String, String) {
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

fn error(keys: Result<Keys, KeysError>) -> KeysError {
    keys.err().expect("there are none")
}

/// For sets in which every key that fits is good.
fn none(kid: &str, problem: &KeysError) {
    panic!("{kid:?} is left out: {problem}");
}

#[test]
fn a_key_of_a_set_that_is_no_good_does_not_spoil_the_rest() {
    let set = json!({ "keys": [
        { "kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB" },
        { "kty": "RSA", "kid": "odd", "n": "?", "e": "AQAB" },
        { "kty": "RSA", "kid": "other", "use": "enc", "n": "AQAB", "e": "AQAB" },
        { "kid": 7 },
        "nonsense",
        { "kty": "RSA", "kid": "good", "key_ops": ["verify"], "n": RSA_MODULUS, "e": "AQAB" },
    ] });
    let mut out = Vec::new();
    let keys = Keys::from_set(set.to_string().as_bytes(), &[Algorithm::Rs256], |kid, problem| {
        out.push((kid.to_owned(), problem.clone()));
    });
    let signature = STANDARD.decode(RSA_SIGNATURE).unwrap();
    assert!(keys.unwrap().verify(Named::RS256, Some("good"), MESSAGE, &signature));
    assert_eq!(
        out.iter().map(|(kid, _)| kid.as_str()).collect::<Vec<_>>(),
        ["weak", "odd", "", ""]
    );
    assert_eq!((&out[0].1, &out[1].1), (&KeysError::WeakRsa, &KeysError::Malformed));
}

#[test]
fn an_rsa_key_in_pem_or_in_a_set() {
    let signature = STANDARD.decode(RSA_SIGNATURE).unwrap();
    let zero =
        URL_SAFE_NO_PAD.encode([&[0][..], &URL_SAFE_NO_PAD.decode(RSA_MODULUS).unwrap()].concat());
    let set = |n: &str| {
        let set = json!({ "keys": [{ "kty": "RSA", "kid": "a", "n": n, "e": "AQAB" }] });
        Keys::from_set(set.to_string().as_bytes(), &[Algorithm::Rs256], none).unwrap()
    };
    let pem = Keys::from_file(RSA_PEM.as_bytes(), &[Algorithm::Rs256, Algorithm::Es256]).unwrap();
    for keys in [pem, set(RSA_MODULUS), set(&zero)] {
        assert!(keys.verify(Named::RS256, None, MESSAGE, &signature));
        assert!(keys.verify(Named::RS256, Some("a"), MESSAGE, &signature));
        assert!(!keys.verify(Named::RS256, None, b"longwirf", &signature));
        assert!(!keys.verify(Named::RS512, None, MESSAGE, &signature));
        assert!(!keys.verify(Named::RS256, None, MESSAGE, &signature[1..]));
    }
    assert!(!set(RSA_MODULUS).verify(Named::RS256, Some("b"), MESSAGE, &signature));
}

#[test]
fn a_public_key_is_no_secret() {
    let confused = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, RSA_PEM.as_bytes()), MESSAGE);
    let keys = Keys::from_file(RSA_PEM.as_bytes(), &[Algorithm::Rs256]).unwrap();
    assert!(!keys.verify(Named::HS256, None, MESSAGE, confused.as_ref()));
    let keys = Keys::from_file(RSA_PEM.as_bytes(), &[Algorithm::Hs256]);
    assert_eq!(error(keys), KeysError::NotSecret);
}

#[test]
fn a_secret_is_a_line_or_a_key_of_a_set() {
    let set = json!({ "keys": [{ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) }] });
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), MESSAGE);
    for keys in [
        Keys::from_file(SECRET, &[Algorithm::Hs256]),
        Keys::from_file(&[SECRET, b"\r\n"].concat(), &[Algorithm::Hs256]),
        Keys::from_set(set.to_string().as_bytes(), &[Algorithm::Hs256], none),
    ] {
        assert!(keys.unwrap().verify(Named::HS256, None, MESSAGE, signature.as_ref()));
    }
    let short = Keys::from_file(&SECRET[1..], &[Algorithm::Hs256]);
    assert_eq!(error(short), KeysError::ShortSecret(31));
}

#[test]
fn elliptic_curves() {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let ec = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let ec = EcdsaKeyPair::from_pkcs8(ec, pkcs8.as_ref(), &random).unwrap();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let (x, y) = point(&ec);
    let ed_x = URL_SAFE_NO_PAD.encode(ed.public_key().as_ref());
    let set = json!({ "keys": [
        { "kty": "EC", "crv": "P-521", "kid": "other", "x": x, "y": y },
        { "kty": "XYZ", "kid": "unknown" },
        { "kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256", "x": x, "y": y },
        { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": ed_x },
    ] });
    let both = [Algorithm::Es256, Algorithm::EdDsa];
    let keys = Keys::from_set(set.to_string().as_bytes(), &both, none).unwrap();
    let (by_ec, by_ed) = (ec.sign(&random, MESSAGE).unwrap(), ed.sign(MESSAGE));
    for kid in [None, Some("ec")] {
        assert!(keys.verify(Named::ES256, kid, MESSAGE, by_ec.as_ref()), "{kid:?}");
    }
    for kid in [None, Some("ed")] {
        assert!(keys.verify(Named::EdDSA, kid, MESSAGE, by_ed.as_ref()), "{kid:?}");
    }
    assert!(!keys.verify(Named::EdDSA, Some("ec"), MESSAGE, by_ed.as_ref()));
    assert!(!keys.verify(Named::ES256, None, MESSAGE, by_ed.as_ref()));
    let one = Keys::from_set(set.to_string().as_bytes(), &both[..1], none).unwrap();
    assert!(!one.verify(Named::EdDSA, None, MESSAGE, by_ed.as_ref()), "it is not in the list");
}

#[test]
fn what_is_no_key() {
    let pem = |text: &str| error(Keys::from_file(text.as_bytes(), &[Algorithm::Rs256]));
    assert_eq!(pem("-----BEGIN PRIVATE KEY-----\nx\n"), KeysError::Private);
    assert_eq!(pem("-----BEGIN RSA PRIVATE KEY-----\nx\n"), KeysError::Private);
    assert_eq!(pem("-----BEGIN CERTIFICATE-----\nx\n"), KeysError::Certificate);
    assert_eq!(pem(WEAK_PEM), KeysError::WeakRsa);
    let one = "no public key in PEM for ES256 or EdDSA (a block BEGIN PUBLIC KEY)";
    for text in ["", "text", RSA_PEM, "-----BEGIN PUBLIC KEY-----\nx\n"] {
        let keys = Keys::from_file(text.as_bytes(), &[Algorithm::Es256, Algorithm::EdDsa]);
        assert_eq!(error(keys).to_string(), one, "{text}");
    }
    let set = |text: &str| error(Keys::from_set(text.as_bytes(), &[Algorithm::Rs256], |_, _| {}));
    assert!(matches!(set("{}"), KeysError::NotSet(_)));
    assert_eq!(set(r#"{"keys":[]}"#), KeysError::NoneFits("RS256".to_owned()));
    assert_eq!(set(r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#), KeysError::WeakRsa);
    assert_eq!(set(r#"{"keys":[{"kty":"RSA","n":"?","e":"AQAB"}]}"#), KeysError::Malformed);
    for other in [
        r#""alg":"RS512""#,
        r#""use":"enc""#,
        r#""key_ops":["wrapKey"]"#,
        r#""key_ops":["sign","encrypt"]"#,
        r#""key_ops":[]"#,
    ] {
        let text =
            format!(r#"{{"keys":[{{"kty":"RSA",{other},"n":"{RSA_MODULUS}","e":"AQAB"}}]}}"#);
        assert_eq!(set(&text), KeysError::NoneFits("RS256".to_owned()), "{other}");
    }
    let many = vec![json!({ "kty": "XYZ" }); 101];
    assert_eq!(set(&json!({ "keys": many }).to_string()), KeysError::TooMany);
}
