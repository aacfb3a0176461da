//! Whose pages' scripts may read answers: CORS (the Fetch standard, §3.3).
//!
//! Only browsers care. It protects their users from other people's pages, and nothing from anybody
//! who is no browser: that is what authentication is for.

use bytes::Bytes;

use crate::config::model::{Cors, CorsOrigin};
use crate::http1::fields::Fields;
use crate::http1::head::RequestHead;
use crate::syntax::name::is_token;

/// A field of an answer.
type Field = (&'static str, Bytes);

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";

/// The method that a preflight (§3.3.5) asks about; `None` if it is no preflight.
pub fn asked_method(head: &RequestHead) -> Option<&str> {
    if head.method != "OPTIONS" || !head.fields.contains("origin") {
        return None;
    }
    std::str::from_utf8(head.fields.get("access-control-request-method")?).ok()
}

/// What every answer to the request gets.
pub fn of_answer(rules: &Cors, head: &RequestHead) -> Vec<Field> {
    let mut fields = Vec::new();
    let is_allowed = allow(rules, head, &mut fields);
    if is_allowed && !rules.expose.is_empty() {
        fields.push(("Access-Control-Expose-Headers", rules.expose.join(", ").into()));
    }
    fields
}

/// Why a preflight is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Pages of that origin may do nothing.
    Origin,
    /// Pages may not use that method. To leave it out of a list would not do: browsers take GET,
    /// HEAD and POST for listed (§4.8, step 7 of the preflight's checks).
    Method,
}

/// What the answer to a preflight gets besides.
///
/// It names the method that was asked about and no other: about others another route may have to
/// say something, and browsers remember the list for the URL.
pub fn of_preflight(rules: &Cors, head: &RequestHead) -> Result<Vec<Field>, Refused> {
    if !allow(rules, head, &mut Vec::new()) {
        return Err(Refused::Origin);
    }
    let asked = asked_method(head).filter(|asked| rules.methods.iter().any(|one| one == asked));
    let asked = asked.ok_or(Refused::Method)?.to_owned();
    let mut fields = vec![("Access-Control-Allow-Methods", asked.into())];
    let headers = match &rules.headers {
        Some(headers) => headers.join(", "),
        None => asked_headers(&head.fields),
    };
    if !headers.is_empty() {
        fields.push(("Access-Control-Allow-Headers", headers.into()));
    }
    fields.push(("Access-Control-Max-Age", rules.max_age.as_secs().to_string().into()));
    Ok(fields)
}

/// Removes what an upstream said about the matter.
pub fn strip(fields: &mut Fields) {
    const PREFIX: &[u8] = b"access-control-";
    fields.retain(|field| {
        let start = field.name.get(..PREFIX.len());
        !start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    });
}

/// Whether the page that asks may; adds what says so.
fn allow(rules: &Cors, head: &RequestHead, fields: &mut Vec<Field>) -> bool {
    let mut origins = head.fields.all("origin");
    // Two are no browser's doing.
    let origin = origins.next().filter(|_| origins.next().is_none());
    if rules.origins.contains(&CorsOrigin::Any) {
        fields.push((ALLOW_ORIGIN, Bytes::from_static(b"*")));
        return origin.is_some();
    }
    // §3.3.4: caches must know that the answer depends on it, whether it is there or not.
    fields.push(("Vary", Bytes::from_static(b"Origin")));
    let Some(origin) = origin.filter(|origin| is_listed(&rules.origins, origin)) else {
        return false;
    };
    fields.push((ALLOW_ORIGIN, Bytes::copy_from_slice(origin)));
    if rules.credentials {
        fields.push(("Access-Control-Allow-Credentials", Bytes::from_static(b"true")));
    }
    true
}

fn is_listed(origins: &[CorsOrigin], origin: &[u8]) -> bool {
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let origin = origin.to_ascii_lowercase();
    origins.iter().any(|listed| match listed {
        CorsOrigin::Any => true,
        CorsOrigin::Exact(exact) => *exact == origin,
        CorsOrigin::Below { scheme, domain } => {
            let name = origin.strip_prefix(scheme).and_then(|rest| rest.strip_suffix(domain));
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            name.is_some_and(|name| !name.is_empty() && name.bytes().all(allowed))
        }
    })
}

/// The fields that a preflight asks for, as far as they are names.
fn asked_headers(fields: &Fields) -> String {
    let names = fields.tokens("access-control-request-headers");
    let names = names.filter(|name| is_token(name));
    let names: Vec<_> = names.map(String::from_utf8_lossy).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
