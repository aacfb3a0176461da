//! The demo's model server: OpenAI's chat endpoint, the chat page, and the way into the chat room.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::frames;
use super::room::Room;
use super::script::{self, Wish};
use crate::http1::body::{BodyDecoder, Piece};
use crate::http1::encode::{self, LAST_CHUNK};
use crate::http1::fields::Fields;
use crate::http1::framing;
use crate::http1::head::{RequestHead, parse_request};

/// The chat page.
const PAGE: &str = include_str!("chat.html");

/// Largest request, head and body: it only talks to the proxy beside it.
const REQUEST_MAX_BYTES: usize = 1024 * 1024;

/// Serves until the process ends.
pub async fn serve(listener: TcpListener) {
    let room = Arc::new(Room::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let room = Arc::clone(&room);
                tokio::spawn(async move {
                    let outcome = Connection { stream, inbox: Vec::new(), room }.serve().await;
                    tracing::debug!(?outcome, "a connection to the model ended");
                });
            }
            // Out of descriptors, most likely: some will be given back.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    room: Arc<Room>,
}

impl Connection {
    async fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        while let Some((head, body)) = self.request().await? {
            let path = head.target.split('?').next().unwrap_or_default();
            match (head.method.as_ref(), path) {
                ("GET", "/") => self.whole(200, "text/html; charset=utf-8", PAGE).await?,
                ("GET", "/v1/models") => {
                    self.whole(200, "application/json", &script::models()).await?;
                }
                ("POST", "/v1/chat/completions") => self.chat(&Wish::parse(&body)).await?,
                ("GET", "/room") => match frames::handshake(&head) {
                    Some(fields) => return self.enter_room(&fields).await,
                    None => self.refuse(400, "a WebSocket, not a page").await?,
                },
                _ => self.refuse(404, "no such page").await?,
            }
        }
        Ok(())
    }

    async fn request(&mut self) -> io::Result<Option<(RequestHead, Vec<u8>)>> {
        let invalid = |error: &dyn std::error::Error| {
            io::Error::new(io::ErrorKind::InvalidData, error.to_string())
        };
        let head = loop {
            if let Some((head, length)) = parse_request(&self.inbox).map_err(|e| invalid(&e))? {
                self.inbox.drain(..length);
                break head;
            }
            if !self.read().await? {
                return Ok(None);
            }
        };
        let framing = framing::of_request(&head).map_err(|e| invalid(&e))?;
        let (mut decoder, mut body) = (BodyDecoder::new(framing), Vec::new());
        loop {
            let mut input = &self.inbox[..];
            loop {
                match decoder.next(&mut input).map_err(|e| invalid(&e))? {
                    Piece::Data(data) => body.extend_from_slice(data),
                    Piece::More => break,
                    Piece::End => {
                        let rest = input.to_vec();
                        self.inbox = rest;
                        return Ok(Some((head, body)));
                    }
                }
            }
            self.inbox.clear();
            if body.len() > REQUEST_MAX_BYTES || !self.read().await? {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self) -> io::Result<bool> {
        let room = REQUEST_MAX_BYTES.saturating_sub(self.inbox.len()) as u64;
        Ok((&mut self.stream).take(room).read_buf(&mut self.inbox).await? > 0)
    }

    async fn whole(&mut self, status: u16, content_type: &str, body: &str) -> io::Result<()> {
        let mut fields = Fields::default();
        fields.append("Content-Type", content_type);
        fields.append("Content-Length", body.len().to_string());
        let mut out = Vec::new();
        encode::response_head(&mut out, status, encode::reason(status).as_bytes(), &fields);
        out.extend_from_slice(body.as_bytes());
        self.stream.write_all(&out).await
    }

    async fn refuse(&mut self, status: u16, message: &str) -> io::Result<()> {
        let error = json!({ "error": { "message": message, "code": status } });
        self.whole(status, "application/json", &error.to_string()).await
    }

    async fn enter_room(mut self, fields: &Fields) -> io::Result<()> {
        let mut out = Vec::new();
        encode::response_head(&mut out, 101, b"Switching Protocols", fields);
        self.stream.write_all(&out).await?;
        self.room.serve(self.stream, self.inbox).await
    }

    async fn chat(&mut self, wish: &Wish) -> io::Result<()> {
        let id = "chatcmpl-demo";
        if !wish.stream {
            self.pause(wish.think).await?;
            let completion = script::completion(id, wish.tokens);
            return self.whole(200, "application/json", &completion).await;
        }
        let mut fields = Fields::default();
        fields.append("Content-Type", "text/event-stream");
        fields.append("Cache-Control", "no-cache");
        fields.append("Transfer-Encoding", "chunked");
        let mut out = Vec::new();
        encode::response_head(&mut out, 200, b"OK", &fields);
        self.stream.write_all(&out).await?;
        self.pause(wish.think).await?;
        for (index, token) in script::tokens(wish.tokens).enumerate() {
            if wish.stall_after == Some(index) {
                self.pause(Duration::MAX).await?;
            }
            if wish.die_after == Some(index) {
                // A process that is killed sends a reset, not a polite end.
                self.stream.set_zero_linger()?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if index == wish.tokens / 2 {
                self.pause(wish.silence).await?;
            }
            self.event(&script::chunk(id, &json!({ "content": token }), None)).await?;
            self.pause(wish.pace).await?;
        }
        self.event(&script::chunk(id, &json!({}), Some("stop"))).await?;
        self.event("data: [DONE]\n\n").await?;
        self.stream.write_all(LAST_CHUNK).await
    }

    async fn event(&mut self, text: &str) -> io::Result<()> {
        let mut out = Vec::new();
        encode::chunk(&mut out, text.as_bytes());
        self.stream.write_all(&out).await
    }

    /// Waits, but not for a client that has left: then it fails.
    async fn pause(&mut self, duration: Duration) -> io::Result<()> {
        if duration.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = sleep(duration) => Ok(()),
            more = self.stream.readable() => {
                more?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }
}
