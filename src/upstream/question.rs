//! A question of the proxy's own: a request, and the head of its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Upstream;
use super::connect::{self, Connected, Limits, Want};
use super::connection::Connection;
use super::roster::{Ask, Verdict};
use crate::clock;
use crate::config::model::Queue;
use crate::http1::encode;
use crate::http1::fields::Fields;
use crate::http1::framing::{self, Framing};
use crate::http1::head::{ResponseHead, Version, parse_response};

/// Largest head of an answer, and longest body that is read for the sake of the connection.
const ANSWER_MAX_BYTES: usize = 16 * 1024;

/// What is asked. It may be asked twice: a connection may have been closed while it was idle.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The method.
    pub method: &'static str,
    /// The target, in origin form.
    pub target: &'q str,
    /// The fields, without a `Host` and a length.
    pub fields: &'q Fields,
    /// The body; none if it is empty.
    pub body: &'q [u8],
}

impl<'q> Question<'q> {
    /// A GET for `target`.
    pub fn get(target: &'q str, fields: &'q Fields) -> Self {
        Self { method: "GET", target, fields, body: &[] }
    }
}

impl Upstream {
    /// Asks one of the endpoints, on a kept connection if there is one; `None` if there was no
    /// proper answer within `limit`.
    pub async fn ask(
        self: &Arc<Self>,
        question: Question<'_>,
        limit: Duration,
    ) -> Option<ResponseHead> {
        timeout(limit, self.ask_patiently(question, limit)).await.ok().flatten()
    }

    async fn ask_patiently(
        self: &Arc<Self>,
        question: Question<'_>,
        limit: Duration,
    ) -> Option<ResponseHead> {
        let pool = &self.config().pool;
        let nowhere = Queue { size: 0, timeout: limit };
        let mut seat = self.seat(&Ask::default(), 0, &nowhere).await.ok()?;
        let endpoint = Arc::clone(seat.endpoint());
        let request = encode(question, endpoint.authority());
        let limits = Limits { connect: limit, tls: limit };
        let mut want = Want::Any;
        loop {
            let connected = connect::connect(&endpoint, pool, want, limits).await;
            let Ok(Connected { mut connection, reused, .. }) = connected else {
                seat.report(Verdict::Unreachable, clock::now());
                return None;
            };
            let metrics = endpoint.metrics();
            if reused {
                metrics.on_reused.inc()
            } else {
                metrics.on_new.inc()
            }
            match converse(&mut connection, &request).await {
                Some((answer, is_clean)) => {
                    seat.report(Verdict::Good, clock::now());
                    if is_clean {
                        connect::release(connection, pool, clock::now());
                    }
                    return Some(answer);
                }
                // It was closed while it was idle. A question does no harm if it is asked twice.
                None if reused => want = Want::Fresh,
                None => {
                    seat.report(Verdict::Bad, clock::now());
                    return None;
                }
            }
        }
    }
}

fn encode(question: Question<'_>, authority: &str) -> Vec<u8> {
    let Question { method, target, fields, body } = question;
    let mut all = Fields::with_capacity(fields.count() + 2);
    all.append("Host", authority);
    for field in fields.iter() {
        all.append(field.name, field.value);
    }
    if !body.is_empty() {
        all.append("Content-Length", body.len().to_string());
    }
    let mut request = Vec::with_capacity(512 + body.len());
    encode::request_head(&mut request, method.as_bytes(), target.as_bytes(), &all);
    request.extend_from_slice(body);
    request
}

/// The final answer's head, and whether the connection can be used again.
async fn converse(connection: &mut Connection, request: &[u8]) -> Option<(ResponseHead, bool)> {
    connection.write_all(request).await.ok()?;
    connection.flush().await.ok()?;
    let mut inbox = Vec::new();
    let head = loop {
        match parse_response(&inbox).ok()? {
            // RFC 9110 §15.2: a client must be able to take interim answers.
            Some((head, length)) => {
                inbox.drain(..length);
                if head.status >= 200 {
                    break head;
                }
            }
            None if inbox.len() > ANSWER_MAX_BYTES => return None,
            None if connection.read_buf(&mut inbox).await.ok()? == 0 => return None,
            None => {}
        }
    };
    let is_clean = is_reusable(&head) && drain(connection, &head, inbox.len()).await;
    Some((head, is_clean))
}

fn is_reusable(head: &ResponseHead) -> bool {
    head.version != Version::Http10 && !head.fields.has_token("connection", "close")
}

/// Reads the body to its end, of which `come` bytes are here, if it is a short one.
async fn drain(connection: &mut Connection, head: &ResponseHead, come: usize) -> bool {
    let length = match framing::of_response(head, false) {
        Ok(Framing::None) => 0,
        Ok(Framing::Length(length)) => usize::try_from(length).unwrap_or(usize::MAX),
        // Not worth the words: a new connection costs less.
        _ => return false,
    };
    if length > ANSWER_MAX_BYTES || come > length {
        return false;
    }
    let mut rest = vec![0; length - come];
    connection.read_exact(&mut rest).await.is_ok()
}
