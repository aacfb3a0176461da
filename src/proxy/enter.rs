//! Who may come in: what is decided about a request once its route is known, before an upstream is
//! asked for anything.

use bytes::Bytes;

use super::admit::Admitted;
use super::app::Context;
use super::exchange::Request;
use super::guard::Visit;
use super::reply::{Denial, OwnField};
use super::snapshot::Route;
use super::switch::{self, Wanted};
use crate::client::Client;
use crate::config::model::{Cors, Proxy};
use crate::http1::head::RequestHead;
use crate::policy::account::Account;
use crate::policy::refusal::Refusal;
use crate::policy::{cors, may_come};

/// What becomes of a request that was not refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It goes on, perhaps to switch protocols.
    In(Option<Wanted>),
    /// It was a question about CORS; this is the answer, without content.
    Answered(Vec<OwnField>),
}

/// Why a request does not come in.
#[derive(Debug)]
pub enum Stop {
    /// It may not.
    Denied(Box<Denial>),
    /// Its client has left.
    Left,
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(Box::new(denial))
    }
}

/// Lets a request in, or says why not. What was learned about who asks is noted in `request`. The
/// route says whether it answers the request as a preflight.
pub async fn enter(
    context: &Context<'_>,
    (route, answers_preflight): (&Route, bool),
    rules: &Proxy,
    (client, request): (&mut Client, &mut Request),
    (head, admitted): (&RequestHead, &Admitted),
) -> Result<Entry, Stop> {
    // Before anything is refused: a page's script is to learn why.
    let is_preflight = cors::asked_method(head).is_some();
    // A preflight about what another route would take gets no word from this one.
    if let Some(rules) = rules.cors.as_ref().filter(|_| !is_preflight || answers_preflight) {
        request.own_fields.extend(cors::of_answer(rules, head));
    }
    check_address(rules, request)?;
    if let Some(rules) = rules.cors.as_ref().filter(|_| answers_preflight) {
        return Ok(Entry::Answered(preflight(rules, head)?));
    }
    if let Some(limits) = &route.limits {
        limits.ask_early(request, head)?;
    }
    let scheme = context.sender().scheme;
    let visit = Visit { head, target: &admitted.target, scheme, address: request.address };
    authenticate(route, visit, client, request).await?;
    let wanted = switch::wanted(head, admitted, rules)?;
    // Last, when it is known who asks and that they may.
    if let Some(limits) = &route.limits {
        limits.enter(request, head)?;
    }
    Ok(Entry::In(wanted))
}

fn check_address(rules: &Proxy, request: &Request) -> Result<(), Denial> {
    if may_come(&rules.access, request.address) {
        return Ok(());
    }
    Err(Denial::new(403, "address_not_allowed", "clients of this address may not come in"))
}

/// The answer to a preflight. It comes before authentication, because browsers send no credentials
/// with it (the Fetch standard, §4.8).
fn preflight(rules: &Cors, head: &RequestHead) -> Result<Vec<OwnField>, Denial> {
    cors::of_preflight(rules, head).map_err(|refused| match refused {
        cors::Refused::Origin => {
            let message = "pages of this origin may not use this (cors.origins)";
            Denial::new(403, "origin_not_allowed", message)
        }
        cors::Refused::Method => {
            let message = "pages of other origins may not use this method (cors.methods)";
            Denial::new(403, "method_not_allowed", message)
        }
    })
}

/// Finds out who asks. That may take a while, so the client is watched; what it sends meanwhile is
/// kept.
async fn authenticate(
    route: &Route,
    visit: Visit<'_>,
    client: &mut Client,
    request: &mut Request,
) -> Result<(), Stop> {
    let Some(guard) = &route.guard else { return Ok(()) };
    // Boxed, so that the exchange holds no room for it later.
    let checked = Box::pin(async {
        tokio::select! {
            biased;
            checked = guard.check(visit) => Some(checked),
            () = client.gone() => None,
        }
    });
    match checked.await.ok_or(Stop::Left)? {
        Ok(principal) => {
            request.account = Account::new(principal.as_ref(), request.address);
            request.principal = principal;
            Ok(())
        }
        Err(refusal) => {
            // It is nobody's fault that there is no answer.
            if let Some(limits) = route.limits.as_ref().filter(|_| refusal != Refusal::Unavailable)
            {
                limits.failed(request)?;
            }
            Err(denial(refusal).into())
        }
    }
}

/// How a refusal is told (RFC 6750 §3).
fn denial(refusal: Refusal) -> Denial {
    let challenged = |challenges: Vec<Bytes>, kind, message: String| Denial {
        fields: challenges.into_iter().map(|value| ("WWW-Authenticate", value)).collect(),
        ..Denial::new(401, kind, message)
    };
    let invalid = |why: &str| {
        let challenge = format!(
            "Bearer realm=\"longwire\", error=\"invalid_token\", error_description=\"{why}\""
        );
        let message = format!("the credentials were not accepted: {why}");
        challenged(vec![challenge.into()], "invalid_credentials", message)
    };
    let missing = "credentials are needed";
    match refusal {
        // "If the request lacks any authentication information … the resource server SHOULD NOT
        // include an error code".
        Refusal::Missing => challenged(vec![CHALLENGE.into()], "unauthorized", missing.to_owned()),
        Refusal::Invalid(why) => invalid(why),
        Refusal::Expired => invalid("it has expired"),
        Refusal::Challenged { had_credentials, challenges } => match challenges.is_empty() {
            false => challenged(challenges, "unauthorized", missing.to_owned()),
            true if had_credentials => invalid("it is not known"),
            true => denial(Refusal::Missing),
        },
        Refusal::Forbidden => Denial::new(403, "forbidden", "this is not for you"),
        Refusal::Unavailable => {
            let message = "whether you may come in cannot be found out now";
            Denial { retry_after: Some(1), ..Denial::new(503, "auth_unavailable", message) }
        }
    }
}

/// RFC 9110 §15.5.2: a 401 "MUST send a WWW-Authenticate header field".
const CHALLENGE: &str = "Bearer realm=\"longwire\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_refusals_are_told() {
        let basic = Bytes::from_static(b"Basic realm=\"x\"");
        let said = |had_credentials, challenges: &[&Bytes]| Refusal::Challenged {
            had_credentials,
            challenges: challenges.iter().copied().cloned().collect(),
        };
        for (refusal, status, kind, challenge) in [
            (Refusal::Missing, 401, "unauthorized", "Bearer realm=\"longwire\""),
            (
                Refusal::Expired,
                401,
                "invalid_credentials",
                "Bearer realm=\"longwire\", error=\"invalid_token\", \
                 error_description=\"it has expired\"",
            ),
            (said(false, &[]), 401, "unauthorized", "Bearer realm=\"longwire\""),
            (said(true, &[&basic]), 401, "unauthorized", "Basic realm=\"x\""),
            (Refusal::Forbidden, 403, "forbidden", ""),
            (Refusal::Unavailable, 503, "auth_unavailable", ""),
        ] {
            let denial = denial(refusal);
            assert_eq!((denial.status, denial.kind), (status, kind));
            let found = denial.fields.first().map(|(_, value)| value.clone()).unwrap_or_default();
            assert_eq!(found, challenge);
        }
    }
}
