//! `[routes.NAME.auth]`: who may come in.

use std::path::PathBuf;
use std::time::Duration;

/// How those who ask prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// They need not.
    None,
    /// With a key that the configuration knows.
    ApiKey(ApiKeyAuth),
    /// With a signed token (RFC 7519).
    Jwt(JwtAuth),
    /// Another server decides.
    Forward(ForwardAuth),
}

/// `type = "api_key"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyAuth {
    /// The field that has the key, lower case. In `authorization` it stands behind `Bearer `.
    pub header: String,
    /// Never empty; names and hashes are unique.
    pub keys: Vec<ApiKey>,
    /// Whether the upstream gets to see the key.
    pub pass: bool,
}

/// One of `keys`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is: the principal in the log.
    pub name: String,
    /// The key's SHA-256.
    pub sha256: [u8; 32],
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ***", self.name)
    }
}

/// `type = "jwt"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAuth {
    /// The signatures that are accepted; never empty, and HS256 only alone.
    pub algorithms: Vec<Algorithm>,
    /// What they are verified with.
    pub keys: KeySource,
    /// What `iss` must be, if that matters.
    pub issuer: Option<String>,
    /// What `aud` must have. Without it, a token with an `aud` is refused.
    pub audience: Option<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The claim with the name of whoever asks.
    pub principal_claim: String,
    /// Whether the upstream gets to see the token.
    pub pass: bool,
}

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFCs")]
pub enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
    Hs256,
}

impl Algorithm {
    /// The name in a token's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }
}

/// Where the keys of tokens are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `key_file`: a public key in PEM, or for HS256 the secret itself.
    File(PathBuf),
    /// `jwks_file`: a JSON Web Key Set (RFC 7517 §5).
    Jwks(PathBuf),
}

/// `type = "forward"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Name of the upstream in [`Config::upstreams`](super::Config::upstreams) that decides.
    pub upstream: String,
    /// What it is asked for: a path, perhaps with a query.
    pub target: String,
    /// For one answer.
    pub timeout: Duration,
    /// How long an answer holds; `None` is not at all.
    pub cache: Option<Duration>,
    /// Fields of the request that it gets to see, lower case.
    pub headers: Vec<String>,
    /// The field of its answer with the name of whoever asks, lower case.
    pub principal_header: String,
    /// Whether the upstream gets to see those fields, too.
    pub pass: bool,
}

impl Auth {
    /// Whether the upstream does not get to see the request's field of that name.
    pub fn hides(&self, field: &[u8]) -> bool {
        let pass = match self {
            Self::None => true,
            Self::ApiKey(auth) => auth.pass,
            Self::Jwt(auth) => auth.pass,
            Self::Forward(auth) => auth.pass,
        };
        // Upstreams take that field for the server's word, so nobody else may say it.
        let is = |name: &str| field.eq_ignore_ascii_case(name.as_bytes());
        self.principal_header().is_some_and(is) || !pass && self.fields().any(is)
    }

    /// The fields of the request that it goes by, lower case.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let (one, more): (_, &[String]) = match self {
            Self::None => (None, &[]),
            Self::ApiKey(auth) => (Some(auth.header.as_str()), &[]),
            Self::Jwt(_) => (Some("authorization"), &[]),
            Self::Forward(auth) => (None, &auth.headers),
        };
        one.into_iter().chain(more.iter().map(String::as_str))
    }

    /// The field in which it learns who asks, lower case.
    pub fn principal_header(&self) -> Option<&str> {
        match self {
            Self::Forward(auth) => Some(&auth.principal_header),
            Self::None | Self::ApiKey(_) | Self::Jwt(_) => None,
        }
    }
}
