//! Who may come in: what is decided about a request once its route is known, before an upstream is
//! asked for anything.

use super::app::Context;
use super::exchange::Request;
use super::reply::Denial;
use super::snapshot::Route;
use crate::config::model::Proxy;
use crate::http1::head::RequestHead;

/// Lets a request in, or says why not. What was learned about who asks is noted in `request`.
pub async fn enter(
    _context: Context<'_>,
    route: &Route,
    _rules: &Proxy,
    request: &mut Request,
    head: &RequestHead,
) -> Result<(), Denial> {
    // Last, when it is known who asks and that they may.
    match &route.limits {
        Some(limits) => limits.enter(request, head),
        None => Ok(()),
    }
}
