//! A route's authentication, ready for use.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus::IntCounter;

use super::asker::Asker;
use crate::clock;
use crate::config::model::{Auth, ForwardAuth, JwtAuth, KeySource};
use crate::http1::head::RequestHead;
use crate::policy::api_key::ApiKeys;
use crate::policy::forward::Question;
use crate::policy::jwt::Tokens;
use crate::policy::keys::{Keys, KeysError};
use crate::policy::principal::Principal;
use crate::policy::refusal::Refusal;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstream;

/// Lets in who can prove who they are, and counts the others.
pub struct Guard {
    scheme: Scheme,
    /// In the order of [`Refusal::LABELS`].
    failures: Vec<IntCounter>,
}

enum Scheme {
    ApiKey(ApiKeys),
    Jwt(Box<Tokens>),
    Forward(Arc<Asker>),
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum GuardError {
    #[error("{}: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{}: {problem}", file.display())]
    Keys { file: PathBuf, problem: KeysError },
}

/// What a guard needs to know of a request.
pub struct Visit<'a> {
    /// Its head.
    pub head: &'a RequestHead,
    /// What it asks for, in origin form.
    pub target: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The client's address, as far as it is believed.
    pub address: Option<IpAddr>,
}

impl Guard {
    /// For a route; `None` if everybody may come in. Reads the files that the rules name.
    /// `upstream` gives an upstream by its name. What `before`, the route's guard so far, was told
    /// by the same server is taken over.
    pub fn new<'u>(
        route: &str,
        rules: &Auth,
        upstream: impl Fn(&str) -> &'u Arc<Upstream>,
        metrics: &Metrics,
        before: Option<&Self>,
    ) -> Result<Option<Self>, GuardError> {
        let scheme =
            match rules {
                Auth::None => return Ok(None),
                Auth::ApiKey(rules) => Scheme::ApiKey(ApiKeys::new(rules)),
                Auth::Jwt(rules) => {
                    Scheme::Jwt(Box::new(Tokens::new(rules.clone(), read_keys(route, rules)?)))
                }
                Auth::Forward(rules) => {
                    let upstream = upstream(&rules.upstream);
                    let same = before.and_then(|before| before.asker(rules, upstream));
                    Scheme::Forward(same.unwrap_or_else(|| {
                        Arc::new(Asker::new(rules.clone(), Arc::clone(upstream)))
                    }))
                }
            };
        Ok(Some(Self { scheme, failures: metrics.auth_failures(route, &Refusal::LABELS) }))
    }

    /// The one that asks `upstream` by these rules, if it has one.
    fn asker(&self, rules: &ForwardAuth, upstream: &Arc<Upstream>) -> Option<Arc<Asker>> {
        match &self.scheme {
            Scheme::Forward(asker) if asker.is_meant(rules, upstream) => Some(Arc::clone(asker)),
            _ => None,
        }
    }

    /// Whoever asks, if they have a name.
    pub async fn check(&self, visit: Visit<'_>) -> Result<Option<Principal>, Refusal> {
        let fields = &visit.head.fields;
        let checked = match &self.scheme {
            Scheme::ApiKey(keys) => keys.check(fields).map(Some),
            Scheme::Jwt(tokens) => tokens.check(fields, clock::wall()),
            Scheme::Forward(asker) => {
                let about = (visit.scheme, visit.target);
                let question = Question::new(asker.rules(), visit.head, about, visit.address);
                let has_credentials = question.has_credentials;
                asker.ask(question).await.outcome(has_credentials)
            }
        };
        if let Err(refusal) = &checked {
            self.failures[refusal.label()].inc();
        }
        checked
    }
}

fn read_keys(route: &str, rules: &JwtAuth) -> Result<Keys, GuardError> {
    let (KeySource::File(file) | KeySource::Jwks(file)) = &rules.keys;
    let content =
        read(file).map_err(|source| GuardError::Unreadable { file: file.clone(), source })?;
    let keys = match &rules.keys {
        KeySource::File(_) => Keys::from_file(&content, &rules.algorithms),
        KeySource::Jwks(_) => Keys::from_set(&content, &rules.algorithms, |kid, problem| {
            let file = file.display();
            tracing::warn!(route, %file, kid, %problem, "a key of the set is left out");
        }),
    };
    keys.map_err(|problem| GuardError::Keys { file: file.clone(), problem })
}

/// Largest file of keys: a hundred of them are far smaller.
const KEYS_MAX_BYTES: u64 = 1024 * 1024;

fn read(file: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut content = Vec::new();
    // The path may name a device that never ends.
    std::fs::File::open(file)?.take(KEYS_MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > KEYS_MAX_BYTES {
        let message = format!("larger than {KEYS_MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(content)
}
