//! A client that speaks HTTP/1 by the byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// A connection to the proxy.
pub struct Client {
    pub stream: TcpStream,
    /// Read, but not looked at.
    pub inbox: Vec<u8>,
}

/// A response with its body taken out of its framing.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Everything up to the empty line, as it came.
    pub head: String,
    pub body: Vec<u8>,
    /// The body ended as its framing says, not by a cut.
    pub complete: bool,
}

impl Response {
    /// The value of the only field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Type and code of the error that a JSON body of the proxy's own tells.
    pub fn error(&self) -> (String, u64) {
        let body: serde_json::Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)));
        let error = &body["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        (error["type"].as_str().unwrap().to_owned(), error["code"].as_u64().unwrap())
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut found = head.lines().skip(1).filter_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    let first = found.next();
    assert!(found.next().is_none(), "{name} is there twice:\n{head}");
    first
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, inbox: Vec::new() }
    }

    /// A connection from an address of this machine, such as 127.0.0.7.
    pub async fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((source, 0))).unwrap();
        let stream = soon("a connection", socket.connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, inbox: Vec::new() }
    }

    /// A connection whose kernel takes little ahead of what is read.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = soon("a connection", socket.connect(address)).await.unwrap();
        Self { stream, inbox: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("the bytes to go out", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// A GET on a connection that stays open.
    pub async fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    }

    /// A POST with a length.
    pub async fn post(&mut self, path: &str, body: &[u8]) {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat()).await;
    }

    /// One read: what came, empty at the end. A reset is an error.
    pub async fn read(&mut self) -> std::io::Result<Vec<u8>> {
        if !self.inbox.is_empty() {
            return Ok(std::mem::take(&mut self.inbox));
        }
        let mut space = vec![0; 64 * 1024];
        let count = soon("bytes from the proxy", self.stream.read(&mut space)).await?;
        space.truncate(count);
        Ok(space)
    }

    async fn more(&mut self) -> bool {
        let mut space = vec![0; 64 * 1024];
        let read = soon("bytes from the proxy", self.stream.read(&mut space)).await;
        let count = read.unwrap_or(0);
        self.inbox.extend_from_slice(&space[..count]);
        count > 0
    }

    /// The next response head, empty line included.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(at) = find(&self.inbox, b"\r\n\r\n") {
                let head: Vec<u8> = self.inbox.drain(..at + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            let so_far = String::from_utf8_lossy(&self.inbox).into_owned();
            assert!(self.more().await, "the connection ended in a head: {so_far:?}");
        }
    }

    /// The next whole response to a request that was not HEAD.
    pub async fn response(&mut self) -> Response {
        let head = self.head().await;
        self.body_of(head, false).await
    }

    /// The next response to a HEAD request.
    pub async fn response_to_head(&mut self) -> Response {
        let head = self.head().await;
        self.body_of(head, true).await
    }

    /// The body that belongs to a head.
    pub async fn body_of(&mut self, head: String, to_head: bool) -> Response {
        let status: u16 = head[9..12].parse().unwrap();
        let (mut body, mut complete) = (Vec::new(), true);
        if to_head || status < 200 || status == 204 || status == 304 {
        } else if field(&head, "transfer-encoding").is_some() {
            loop {
                match self.chunk().await {
                    Some(chunk) if chunk.is_empty() => break,
                    Some(chunk) => body.extend_from_slice(&chunk),
                    None => {
                        complete = false;
                        break;
                    }
                }
            }
        } else if let Some(length) = field(&head, "content-length") {
            let length: usize = length.parse().unwrap();
            while self.inbox.len() < length && self.more().await {}
            let rest = self.inbox.split_off(length.min(self.inbox.len()));
            body = std::mem::replace(&mut self.inbox, rest);
            complete = body.len() == length;
        } else {
            complete = loop {
                let mut space = vec![0; 64 * 1024];
                match soon("the end", self.stream.read(&mut space)).await {
                    Ok(0) => break true,
                    Ok(count) => self.inbox.extend_from_slice(&space[..count]),
                    Err(_) => break false,
                }
            };
            body = std::mem::take(&mut self.inbox);
        }
        Response { status, head, body, complete }
    }

    /// The next chunk: empty for the last one, `None` if the connection ended before it.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = find(&self.inbox, b"\r\n") {
                let text = std::str::from_utf8(&self.inbox[..at]).unwrap();
                let size = usize::from_str_radix(text, 16).unwrap_or_else(|_| panic!("{text:?}"));
                let end = at + 2 + size + 2;
                if self.inbox.len() >= end {
                    let chunk = self.inbox[at + 2..at + 2 + size].to_vec();
                    assert_eq!(&self.inbox[end - 2..end], b"\r\n", "behind a chunk");
                    self.inbox.drain(..end);
                    return Some(chunk);
                }
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next chunk as text.
    pub async fn text(&mut self) -> String {
        String::from_utf8(self.chunk().await.expect("a chunk, not the end")).unwrap()
    }

    /// The connection ends without another byte; says whether it was by a reset.
    pub async fn ends(&mut self) -> bool {
        match self.read().await {
            Ok(bytes) if bytes.is_empty() => false,
            Ok(bytes) => panic!("not the end: {:?}", String::from_utf8_lossy(&bytes)),
            Err(_) => true,
        }
    }
}

pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
