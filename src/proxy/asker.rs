//! Asks the server that decides who may come in, and remembers what it said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::clock;
use crate::config::model::ForwardAuth;
use crate::policy::digest::Digest;
use crate::policy::forward::{Question, Verdict};
use crate::policy::memory::Memory;
use crate::upstream::Upstream;
use crate::upstream::connect::Connector;

/// Most answers that are remembered, a few hundred bytes each: clients of ten seconds, as a rule.
const ANSWERS_MAX: usize = 10_000;

/// Asks for one route.
pub struct Asker {
    rules: ForwardAuth,
    upstream: Arc<Upstream>,
    connector: Arc<Connector>,
    /// None without a cache.
    cache: Option<Mutex<Cache>>,
}

/// What was said, and what is being asked.
struct Cache {
    said: Memory<Digest, Verdict>,
    /// Turns into an answer.
    asking: HashMap<Digest, watch::Receiver<Option<Verdict>>>,
}

impl Asker {
    /// Asks `upstream`, which is the one of the rules.
    pub fn new(rules: ForwardAuth, upstream: Arc<Upstream>, connector: Arc<Connector>) -> Self {
        let cache = rules.cache.map(|holds| {
            Mutex::new(Cache { said: Memory::new(ANSWERS_MAX, holds), asking: HashMap::new() })
        });
        Self { rules, upstream, connector, cache }
    }

    /// What the server is to be told.
    pub fn rules(&self) -> &ForwardAuth {
        &self.rules
    }

    /// What the server says. Those who ask the same at the same time share one question, which goes
    /// on if its first client leaves.
    pub async fn ask(self: &Arc<Self>, question: Question) -> Verdict {
        let Some(cache) = &self.cache else { return Box::pin(self.put(&question)).await };
        let digest = question.digest();
        let mut answer = {
            let mut cache = locked(cache);
            if let Some(verdict) = cache.said.get(&digest, clock::now()) {
                return verdict;
            }
            match cache.asking.get(&digest) {
                Some(answer) => answer.clone(),
                None => {
                    let (sender, answer) = watch::channel(None);
                    cache.asking.insert(digest, answer.clone());
                    // Boxed before it is handed over: every exchange would hold room for it.
                    tokio::spawn(Box::pin(Arc::clone(self).find_out(question, digest, sender)));
                    answer
                }
            }
        };
        // Without a sender there will be none.
        let said = answer.wait_for(Option::is_some).await.ok();
        said.and_then(|verdict| verdict.clone()).unwrap_or(Verdict::Unavailable)
    }

    /// Asks for all who wait.
    async fn find_out(
        self: Arc<Self>,
        question: Question,
        digest: Digest,
        sender: watch::Sender<Option<Verdict>>,
    ) {
        let verdict = self.put(&question).await;
        if let Some(cache) = &self.cache {
            let mut cache = locked(cache);
            cache.asking.remove(&digest);
            // That there was no answer is no answer.
            if verdict != Verdict::Unavailable {
                cache.said.put(digest, verdict.clone(), clock::now());
            }
        }
        sender.send_replace(Some(verdict));
    }

    /// Puts the question to the server.
    async fn put(&self, question: &Question) -> Verdict {
        let asked = (question.target.as_str(), &question.fields);
        let answer = self.upstream.ask(&self.connector, asked, self.rules.timeout).await;
        let verdict =
            answer.as_ref().map_or(Verdict::Unavailable, |head| Verdict::of(head, &self.rules));
        if verdict == Verdict::Unavailable {
            let (upstream, status) = (self.upstream.name(), answer.map(|head| head.status));
            tracing::warn!(upstream, status, "no answer to who may come in");
        }
        verdict
    }
}

/// Held for moments only; its methods leave it whole even when they panic.
fn locked(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}
