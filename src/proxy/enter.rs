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
    _route: &Route,
    _rules: &Proxy,
    _request: &mut Request,
    _head: &RequestHead,
) -> Result<(), Denial> {
    Ok(())
}
