//! A scripted upstream: it writes bytes and chooses the cuts.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::client::find;
use super::soon;

/// A listening upstream. A panic in its script fails the test when it is dropped.
pub struct Upstream {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    requests: Requests,
    accepting: JoinHandle<()>,
    panics: Arc<std::sync::Mutex<Vec<String>>>,
}

type Requests = Arc<std::sync::Mutex<Vec<String>>>;

/// One connection to an upstream.
pub struct Conversation {
    pub stream: TcpStream,
    pub inbox: Vec<u8>,
    /// Which connection it is, from 0.
    pub number: usize,
    requests: Requests,
}

impl Upstream {
    /// Runs `script` for each connection.
    pub async fn serve<S, F>(script: S) -> Self
    where
        S: Fn(Conversation) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::serve_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    /// The same at an address.
    pub async fn serve_at<S, F>(address: SocketAddr, script: S) -> Self
    where
        S: Fn(Conversation) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let requests = Requests::default();
        let panics = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (counter, reports) = (Arc::clone(&connections), Arc::clone(&panics));
        let (now_open, seen) = (Arc::clone(&open), Arc::clone(&requests));
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = counter.fetch_add(1, Ordering::SeqCst);
                now_open.fetch_add(1, Ordering::SeqCst);
                let requests = Arc::clone(&seen);
                let script = script(Conversation { stream, inbox: Vec::new(), number, requests });
                let (reports, now_open) = (Arc::clone(&reports), Arc::clone(&now_open));
                tokio::spawn(async move {
                    if let Err(error) = tokio::spawn(script).await
                        && error.is_panic()
                    {
                        reports.lock().unwrap().push(format!("connection {number}"));
                    }
                    now_open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, connections, open, requests, accepting, panics }
    }

    /// An upstream that answers every request with `response` and keeps its connections.
    pub async fn answering(response: &'static str) -> Self {
        Self::serve(move |mut conversation| async move {
            while conversation.try_request().await.is_some() {
                conversation.write(response).await;
            }
        })
        .await
    }

    /// An event stream that goes on as `script` says, after its head (chunked, no chunk yet).
    pub async fn sse<S, F>(script: S) -> Self
    where
        S: Fn(Conversation) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let script = Arc::new(script);
        Self::serve(move |mut conversation| {
            let script = Arc::clone(&script);
            async move {
                conversation.request().await;
                conversation.write(SSE_HEAD).await;
                script(conversation).await;
            }
        })
        .await
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open: those whose script has not ended.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// The requests that it has read so far, as they came.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// The head of a chunked event stream.
pub const SSE_HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
        let panics = self.panics.lock().unwrap();
        if !panics.is_empty() && !std::thread::panicking() {
            panic!("the upstream's script failed in {panics:?}");
        }
    }
}

impl Conversation {
    /// The next request's head and body (by length or chunked), as text.
    pub async fn request(&mut self) -> String {
        soon("a request", self.try_request()).await.expect("a request, not the end")
    }

    /// The same, or `None` when the connection ends.
    pub async fn try_request(&mut self) -> Option<String> {
        let head = self.try_head().await?;
        let lower = head.to_ascii_lowercase();
        let mut body = Vec::new();
        if let Some((_, rest)) = lower.split_once("content-length: ") {
            let length: usize = rest.lines().next().unwrap().parse().unwrap();
            while self.inbox.len() < length && self.more().await {}
            body = self.inbox.drain(..length.min(self.inbox.len())).collect();
        } else if lower.contains("transfer-encoding: chunked") {
            loop {
                if let Some(at) = find(&self.inbox, b"0\r\n\r\n") {
                    body = self.inbox.drain(..at + 5).collect();
                    break;
                }
                if !self.more().await {
                    break;
                }
            }
        }
        let request = head + &String::from_utf8_lossy(&body);
        self.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// The next request's head alone; its body is for [`Self::data`] to read.
    pub async fn head(&mut self) -> String {
        soon("a request head", self.try_head()).await.expect("a request, not the end")
    }

    /// The same, or `None` when the connection ends.
    pub async fn try_head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.inbox, b"\r\n\r\n") {
                let head: Vec<u8> = self.inbox.drain(..at + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next chunk of a chunked request body, taken out of its framing: empty for the last one,
    /// `None` if the connection ended before it. Extensions and trailers are not expected.
    pub async fn data(&mut self) -> Option<Vec<u8>> {
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
            if !soon("request body bytes", self.more()).await {
                return None;
            }
        }
    }

    /// A whole body of that length, or what came of it before the end.
    pub async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.inbox.len() < length && soon("request body bytes", self.more()).await {}
        self.inbox.drain(..length.min(self.inbox.len())).collect()
    }

    /// Counts a request that was read by its head.
    pub fn note(&self, head: &str) {
        self.requests.lock().unwrap().push(head.to_owned());
    }

    async fn more(&mut self) -> bool {
        let mut space = vec![0; 64 * 1024];
        let count = self.stream.read(&mut space).await.unwrap_or(0);
        self.inbox.extend_from_slice(&space[..count]);
        count > 0
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon("the upstream's write", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// One chunk.
    pub async fn chunk(&mut self, data: impl AsRef<[u8]>) {
        let data = data.as_ref();
        let head = format!("{:x}\r\n", data.len());
        self.write([head.as_bytes(), data, b"\r\n"].concat()).await;
    }

    /// The end of a chunked body.
    pub async fn last_chunk(&mut self) {
        self.write("0\r\n\r\n").await;
    }

    /// Waits until the proxy has closed the connection.
    pub async fn closed(&mut self) {
        soon("the proxy to close the upstream connection", async { while self.more().await {} })
            .await;
    }

    /// Holds the connection open, saying nothing.
    pub async fn hold(&mut self) {
        while self.more().await {}
    }

    /// Answers each request with a stream: its `first` chunk, if that is not empty, and its end when
    /// the word is given. Comes back when the proxy has closed the connection.
    pub async fn streams_until(&mut self, word: &Notify, first: &str) {
        while self.try_request().await.is_some() {
            let given = word.notified();
            tokio::pin!(given);
            given.as_mut().enable();
            self.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            if !first.is_empty() {
                self.chunk(first).await;
            }
            tokio::select! {
                () = given => self.last_chunk().await,
                () = self.hold() => return,
            }
        }
    }

    /// The head of the next request, without taking a byte of what is behind it from the kernel.
    pub async fn head_alone(&mut self) -> String {
        while !self.inbox.ends_with(b"\r\n\r\n") {
            let byte = soon("a request head", self.stream.read_u8()).await.unwrap();
            self.inbox.push(byte);
        }
        String::from_utf8(std::mem::take(&mut self.inbox)).unwrap()
    }

    /// Ends it with a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}
