//! Asks the server that decides who may come in, and remembers what it said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::clock;
use crate::config::model::ForwardAuth;
use crate::policy::digest::Digest;
use crate::policy::forward::{Question, Verdict};
use crate::policy::memory::Memory;
use crate::upstream::Upstream;
use crate::upstream::question;

/// Most answers that are remembered, two KiB each at the most: clients of ten seconds, as a rule.
const ANSWERS_MAX: usize = 10_000;

/// Most questions that are under way at once; others wait for their turn. A server that is slow is
/// not helped by more of them.
const QUESTIONS_MAX: usize = 256;

/// Asks for one route.
pub struct Asker {
    rules: ForwardAuth,
    upstream: Arc<Upstream>,
    /// One permit for each question that may be under way.
    turns: Semaphore,
    /// None without a cache.
    cache: Option<Mutex<Cache>>,
}

/// What was said, and what is being asked.
struct Cache {
    said: Memory<Digest, Verdict>,
    /// Whoever waits subscribes to it, and it turns into an answer.
    asking: HashMap<Digest, watch::Sender<Option<Verdict>>>,
}

impl Asker {
    /// Asks `upstream`, which is the one of the rules.
    pub fn new(rules: ForwardAuth, upstream: Arc<Upstream>) -> Self {
        let cache = rules.cache.map(|holds| {
            Mutex::new(Cache { said: Memory::new(ANSWERS_MAX, holds), asking: HashMap::new() })
        });
        Self { rules, upstream, turns: Semaphore::new(QUESTIONS_MAX), cache }
    }

    /// What the server is to be told.
    pub fn rules(&self) -> &ForwardAuth {
        &self.rules
    }

    /// Whether it asks `upstream` by these rules.
    pub fn is_meant(&self, rules: &ForwardAuth, upstream: &Arc<Upstream>) -> bool {
        self.rules == *rules && Arc::ptr_eq(&self.upstream, upstream)
    }

    /// What the server says. Those who ask the same at the same time share one question, which goes
    /// on if its first client leaves, and is given up with its last one.
    pub async fn ask(self: &Arc<Self>, question: Question) -> Verdict {
        let Some(cache) = &self.cache else { return Box::pin(self.put(&question)).await };
        let digest = question.digest();
        let mut answer = {
            let mut cache = locked(cache);
            if let Some(verdict) = cache.said.get(&digest, clock::now()) {
                return verdict;
            }
            match cache.asking.get(&digest) {
                Some(asked) => asked.subscribe(),
                None => {
                    let (sender, answer) = watch::channel(None);
                    cache.asking.insert(digest, sender.clone());
                    let asked = Asked { asker: Arc::clone(self), digest, sender };
                    // Boxed before it is handed over: every exchange would hold room for it.
                    tokio::spawn(Box::pin(asked.find_out(question)));
                    answer
                }
            }
        };
        // Without a sender there will be none.
        let said = answer.wait_for(Option::is_some).await.ok();
        said.and_then(|verdict| verdict.clone()).unwrap_or(Verdict::Unavailable)
    }

    /// Puts the question to the server.
    async fn put(&self, question: &Question) -> Verdict {
        let asked = question::Question::get(&question.target, &question.fields);
        let limit = self.rules.timeout;
        let answer = timeout(limit, async {
            let _turn = self.turns.acquire().await.ok()?;
            self.upstream.ask(asked, limit).await
        });
        let answer = answer.await.ok().flatten();
        let verdict =
            answer.as_ref().map_or(Verdict::Unavailable, |head| Verdict::of(head, &self.rules));
        if verdict == Verdict::Unavailable {
            let (upstream, status) = (self.upstream.name(), answer.map(|head| head.status));
            tracing::warn!(upstream, status, "no answer to who may come in");
        }
        verdict
    }
}

/// A question that all share who ask it.
struct Asked {
    asker: Arc<Asker>,
    digest: Digest,
    sender: watch::Sender<Option<Verdict>>,
}

impl Asked {
    /// Asks for all who wait, for as long as somebody does.
    async fn find_out(self, question: Question) {
        let verdict = tokio::select! {
            biased;
            verdict = self.asker.put(&question) => verdict,
            () = self.nobody_waits() => return,
        };
        // That there was no answer is no answer.
        if verdict != Verdict::Unavailable
            && let Some(cache) = &self.asker.cache
        {
            locked(cache).said.put(self.digest, verdict.clone(), clock::now());
        }
        self.sender.send_replace(Some(verdict));
    }

    /// Comes back when all have left; from then on nobody can join.
    async fn nobody_waits(&self) {
        loop {
            self.sender.closed().await;
            let Some(cache) = &self.asker.cache else { return };
            let mut cache = locked(cache);
            // Somebody may have come before the lock was taken.
            if self.sender.receiver_count() == 0 {
                cache.asking.remove(&self.digest);
                return;
            }
        }
    }
}

/// Whatever way it ends, even by a panic: whoever asks next must not wait for it.
impl Drop for Asked {
    fn drop(&mut self) {
        let Some(cache) = &self.asker.cache else { return };
        let mut cache = locked(cache);
        let is_own = |other: &watch::Sender<_>| other.same_channel(&self.sender);
        if cache.asking.get(&self.digest).is_some_and(is_own) {
            cache.asking.remove(&self.digest);
        }
    }
}

/// Held for moments only; its methods leave it whole even when they panic.
fn locked(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Auth, Target};
    use crate::config::{SystemEnv, parse};
    use crate::telemetry::metrics::Metrics;

    const CONFIG: &str = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
        [routes.all]\nupstream = \"http://127.0.0.1:1\"\n\
        auth = { type = \"forward\", url = \"http://127.0.0.1:1\" }\n";

    fn asker() -> Arc<Asker> {
        let config = parse(CONFIG, "test.toml", &SystemEnv);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let Target::Proxy(rules) = &config.routes[0].target else { panic!("it has an upstream") };
        let Auth::Forward(rules) = &rules.auth else { panic!("it asks") };
        let upstream = config.upstreams.iter().find(|one| one.name == rules.upstream).unwrap();
        let upstream = Upstream::new(upstream, &Metrics::new()).unwrap();
        Arc::new(Asker::new(rules.clone(), Arc::new(upstream)))
    }

    fn asks(asker: &Asker, digest: Digest) -> bool {
        locked(asker.cache.as_ref().unwrap()).asking.contains_key(&digest)
    }

    fn begin(asker: &Arc<Asker>, digest: Digest) -> Asked {
        let (sender, _) = watch::channel(None);
        locked(asker.cache.as_ref().unwrap()).asking.insert(digest, sender.clone());
        Asked { asker: Arc::clone(asker), digest, sender }
    }

    #[tokio::test]
    async fn a_question_that_panics_is_put_again_by_the_next_who_asks() {
        let (asker, digest) = (asker(), Digest::of(b"question"));
        let asked = begin(&asker, digest);
        let mut answer = asked.sender.subscribe();
        let task = tokio::spawn(async move {
            let _asked = asked;
            panic!("for this test");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert!(!asks(&asker, digest), "nobody would ever answer");
        assert!(answer.wait_for(Option::is_some).await.is_err(), "those who wait are told");
    }

    #[tokio::test]
    async fn whoever_comes_before_a_question_is_given_up_keeps_it() {
        let (asker, digest) = (asker(), Digest::of(b"question"));
        let asked = begin(&asker, digest);
        asked.nobody_waits().await;
        assert!(!asks(&asker, digest), "who asks now begins anew");
        let next = begin(&asker, digest);
        drop(asked);
        assert!(asks(&asker, digest), "it is another's");
        drop(next);
        assert!(!asks(&asker, digest));
    }
}
