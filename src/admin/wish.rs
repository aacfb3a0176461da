//! What operators ask for by POST and DELETE.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::control::NotReloaded;
use super::table::{self, id_in};
use super::{Answer, Process, TEXT};
use crate::proxy::reply::Denial;
use crate::upstream::Upstream;

/// One wish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish<'a> {
    /// `/-/reload`
    Reload,
    /// `/-/drain`
    Drain,
    /// `/api/upstreams/{upstream}/endpoints/{endpoint}/drain`, or `/ready` to put it back.
    Endpoint { upstream: Cow<'a, str>, endpoint: Cow<'a, str>, drained: bool },
    /// `/api/streams/{id}`; with `?number=` only one of those that share it.
    Kill { id: Cow<'a, str>, number: Option<u64> },
}

impl<'a> Wish<'a> {
    /// What a path asks for, and by which method; `number` is which stream.
    pub(super) fn of(path: &'a str, number: Option<u64>) -> Option<(Self, &'static str)> {
        if let Some(id) = id_in(path) {
            return Some((Self::Kill { id, number }, "DELETE"));
        }
        let wish = match path {
            "/-/reload" => Self::Reload,
            "/-/drain" => Self::Drain,
            _ => Self::endpoint(path)?,
        };
        Some((wish, "POST"))
    }

    fn endpoint(path: &'a str) -> Option<Self> {
        let (upstream, rest) = path.strip_prefix("/api/upstreams/")?.split_once('/')?;
        let (endpoint, action) = rest.strip_prefix("endpoints/")?.split_once('/')?;
        let drained = match action {
            "drain" => true,
            "ready" => false,
            _ => return None,
        };
        // Names may hold slashes, those of unix sockets do.
        let decode = |name| percent_decode_str(name).decode_utf8().ok();
        Some(Self::Endpoint { upstream: decode(upstream)?, endpoint: decode(endpoint)?, drained })
    }

    /// Does it.
    pub(super) async fn grant(self, process: &Process) -> Answer {
        match self {
            Self::Reload => reload(process).await,
            Self::Drain => match process.control.drain().await {
                Some(open) => Answer::json(202, &json!({ "draining": true, "open": open })),
                None => Denial::new(503, "ending", "the process ends").into(),
            },
            Self::Kill { id, number } if process.shared.registry.kill(&id, number) => {
                tracing::info!(id = &*id, number, "stream is killed");
                Answer::json(202, &json!({ "killed": true }))
            }
            Self::Kill { id, .. } => table::missing(&id).into(),
            Self::Endpoint { upstream, endpoint, drained } => {
                let snapshot = process.shared.snapshot.load_full();
                let missing = |what, name: &str| {
                    Denial::new(404, "not_found", format!("there is no {what} \"{name}\"")).into()
                };
                match snapshot.upstream(&upstream) {
                    None => missing("upstream", &upstream),
                    Some(found) => set_drained(found, &endpoint, drained)
                        .unwrap_or_else(|| missing("endpoint", &endpoint)),
                }
            }
        }
    }
}

async fn reload(process: &Process) -> Answer {
    match process.control.reload().await {
        Ok(reloaded) => {
            let needs_restart = reloaded.needs_restart;
            Answer::json(200, &json!({ "reloaded": true, "needs_restart": needs_restart }))
        }
        // For people: this is what `check` prints.
        Err(NotReloaded::Invalid(errors)) => Answer::new(422, TEXT, errors),
        Err(NotReloaded::Refused(why)) => Denial::new(409, "not_reloaded", why).into(),
    }
}

/// `None` if there is no such endpoint.
fn set_drained(upstream: &Arc<Upstream>, endpoint: &str, drained: bool) -> Option<Answer> {
    let open = upstream.set_drained(endpoint, drained)?;
    let state = if drained { "drained" } else { "ready" };
    let upstream = upstream.name();
    let body = json!({ "upstream": upstream, "endpoint": endpoint, "state": state, "open": open });
    Some(Answer::json(200, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_wishes() {
        let endpoint = |upstream: &'static str, endpoint: &'static str, drained| {
            let (upstream, endpoint) = (upstream.into(), endpoint.into());
            Some((Wish::Endpoint { upstream, endpoint, drained }, "POST"))
        };
        let kill =
            |id: &'static str| Some((Wish::Kill { id: id.into(), number: Some(7) }, "DELETE"));
        for (path, expected) in [
            ("/-/reload", Some((Wish::Reload, "POST"))),
            ("/-/drain", Some((Wish::Drain, "POST"))),
            ("/-/drain/", None),
            ("/api/streams/18f3-2a", kill("18f3-2a")),
            ("/api/streams/a%3Ab", kill("a:b")),
            ("/api/streams/ended", kill("ended")),
            ("/api/streams/", None),
            ("/api/streams/a/b", None),
            ("/api/upstreams/chat/endpoints/gpu-b/drain", endpoint("chat", "gpu-b", true)),
            ("/api/upstreams/a:1/endpoints/a:1/ready", endpoint("a:1", "a:1", false)),
            (
                "/api/upstreams/u/endpoints/%2Frun%2Fa.sock/drain",
                endpoint("u", "/run/a.sock", true),
            ),
            ("/api/upstreams/u/endpoints/a/stop", None),
            ("/api/upstreams/u/endpoints/a", None),
            ("/api/upstreams/u", None),
            ("/api/upstreams/u/endpoints/%FF/drain", None),
        ] {
            assert_eq!(Wish::of(path, Some(7)), expected, "{path}");
        }
    }
}
