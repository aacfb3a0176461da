//! Response heads, from HTTP/1.1 to HTTP/2 (RFC 9113 §8.3.2). Pure.

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Response, StatusCode};

use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;
use crate::http2::heads::{self, Unsendable};

/// Translates a head, interim or final, whose body is framed so.
pub(super) fn translate(head: &ResponseHead, framing: Framing) -> Result<Response<()>, Unsendable> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| Unsendable("status"))?;
    *response.headers_mut() = heads::fields(&head.fields, &[])?;
    if framing == Framing::Chunked {
        // RFC 9112 §6.3: with both, the chunks count, and the length must not be passed on.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok(response)
}

/// Translates a 101 that opens a WebSocket: "a 2xx" says so (RFC 8441 §5). What was about the
/// handshake, or says how long it is, goes.
pub(super) fn opened(head: &ResponseHead) -> Result<Response<()>, Unsendable> {
    let mut response = Response::new(());
    let left_out = ["sec-websocket-accept", "content-length"];
    *response.headers_mut() = heads::fields(&head.fields, &left_out)?;
    Ok(response)
}

/// A response without anything but its status.
pub(super) fn bare(status: u16) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::framing;
    use crate::http1::head::parse_response;

    fn parsed(text: &str) -> ResponseHead {
        parse_response(text.as_bytes()).unwrap().unwrap().0
    }

    fn shown(response: &Response<()>) -> String {
        let mut out = response.status().as_str().to_owned();
        for (name, value) in response.headers() {
            out.push_str(&format!(" {name}={}", value.to_str().unwrap()));
        }
        out
    }

    #[test]
    fn heads_lose_what_is_about_a_connection() {
        for (text, expected) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
                "200 content-length=5 x-a=1 x-a=2",
            ),
            ("HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "404"),
            (
                "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
              Upgrade: h2c\r\nProxy-Connection: x\r\nDate: now\r\n\r\n",
                "200 date=now",
            ),
            ("HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n", "103 link=</a>"),
            ("HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n", "304 content-length=7"),
        ] {
            let head = parsed(text);
            let framing = framing::of_response(&head, false).unwrap();
            assert_eq!(shown(&translate(&head, framing).unwrap()), expected, "{text:?}");
        }
    }

    #[test]
    fn rfc8441_5_a_101_becomes_a_200() {
        let head = parsed(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(shown(&opened(&head).unwrap()), "200 sec-websocket-protocol=chat");
        assert_eq!(shown(&bare(501)), "501 content-length=0");
    }
}
