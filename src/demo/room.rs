//! The demo's chat room: what one guest says, all hear. It keeps nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use super::frames::{Frames, Message, text_frame};
use crate::ws::close;
use crate::ws::head::{Opcode, control_frame};

/// Messages that wait for the slowest guest; who is further behind misses the oldest.
const TALK_MAX_MESSAGES: usize = 64;

/// How long a guest has to close its side behind the close frames: it is in the same process.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// A room, empty at first.
pub struct Room {
    talk: broadcast::Sender<Arc<str>>,
    /// A count and not an event: whoever is slow learns the latest one.
    people: watch::Sender<usize>,
    /// How many ever came.
    guests: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        let talk = broadcast::Sender::new(TALK_MAX_MESSAGES);
        Self { talk, people: watch::Sender::new(0), guests: AtomicU64::new(0) }
    }
}

impl Room {
    /// Entertains one guest, from behind the handshake to the end; `inbox` is what came already.
    pub async fn serve<S>(&self, mut stream: S, inbox: Vec<u8>) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut talk, mut people) = (self.talk.subscribe(), self.people.subscribe());
        let name = format!("guest-{}", self.guests.fetch_add(1, Ordering::Relaxed) + 1);
        let seat = Seat::taken_in(self);
        let (mut frames, mut out) = (Frames::new(inbox), Vec::new());
        tell(&mut out, &json!({ "type": "you", "name": name }));
        loop {
            let over = self.hear(&name, &mut frames, &mut out);
            // A guest that takes nothing stops here, hears nothing more and misses some.
            stream.write_all(&out).await?;
            out.clear();
            if over {
                break;
            }
            tokio::select! {
                length = stream.read_buf(frames.inbox()) => if length? == 0 {
                    return Ok(());
                },
                said = talk.recv() => match said {
                    Ok(text) => text_frame(&mut out, &text),
                    Err(RecvError::Lagged(count)) => {
                        tell(&mut out, &json!({ "type": "missed", "count": count }));
                    }
                    Err(RecvError::Closed) => break,
                },
                Ok(()) = people.changed() => {
                    let count = *people.borrow_and_update();
                    tell(&mut out, &json!({ "type": "people", "count": count }));
                }
            }
        }
        drop(seat);
        // What is unread when a socket closes turns the end into a reset, which may overtake the
        // close frame.
        stream.shutdown().await?;
        let mut nowhere = tokio::io::sink();
        let _ = timeout(CLOSE_WAIT, tokio::io::copy(&mut stream, &mut nowhere)).await;
        Ok(())
    }

    /// Answers all that came; says whether a close frame was the last answer.
    fn hear(&self, name: &str, frames: &mut Frames, out: &mut Vec<u8>) -> bool {
        loop {
            let payload = match frames.take() {
                Ok(None) => return false,
                Ok(Some(Message::Text(text))) => {
                    let text = json!({ "type": "text", "from": name, "text": text }).to_string();
                    // Somebody listens: at least the one who said it.
                    let _ = self.talk.send(text.into());
                    continue;
                }
                Ok(Some(Message::Ping(payload))) => {
                    control_frame(out, Opcode::Pong, &payload, None);
                    continue;
                }
                // "When sending a Close frame in response, the endpoint typically echos the status
                // code it received" (§5.5.1).
                Ok(Some(Message::Close(code))) => {
                    code.map(|code| close::payload(code, "")).unwrap_or_default()
                }
                Err(farewell) => close::payload(farewell.code, &farewell.reason),
            };
            control_frame(out, Opcode::Close, &payload, None);
            return true;
        }
    }
}

/// A guest counts as long as it has one.
struct Seat<'a>(&'a Room);

impl<'a> Seat<'a> {
    fn taken_in(room: &'a Room) -> Self {
        room.people.send_modify(|count| *count += 1);
        Self(room)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.people.send_modify(|count| *count -= 1);
    }
}

fn tell(out: &mut Vec<u8>, message: &serde_json::Value) {
    text_frame(out, &message.to_string());
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use serde_json::Value;
    use tokio::io::DuplexStream;

    use super::super::frames::tests::from_guest;
    use super::*;
    use crate::ws::head::FrameHead;

    /// Enters the room with so much space between the two.
    fn enter(room: &Arc<Room>, space: usize) -> DuplexStream {
        let (guest, host) = tokio::io::duplex(space);
        let room = Arc::clone(room);
        tokio::spawn(async move { room.serve(host, Vec::new()).await });
        guest
    }

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(10), what).await.expect("soon")
    }

    /// The next frame; `None` if there is none any more.
    async fn frame(guest: &mut DuplexStream) -> Option<(Opcode, Vec<u8>)> {
        let mut bytes = Vec::new();
        loop {
            if let Some(head) = FrameHead::parse(&bytes).unwrap()
                && bytes.len() == head.size() + head.length as usize
            {
                return Some((head.opcode, bytes.split_off(head.size())));
            }
            match soon(guest.read_u8()).await {
                Ok(byte) => bytes.push(byte),
                Err(_) => return None,
            }
        }
    }

    async fn told(guest: &mut DuplexStream) -> Value {
        let (opcode, payload) = frame(guest).await.expect("a frame");
        assert_eq!(opcode, Opcode::Text, "{payload:?}");
        serde_json::from_slice(&payload).unwrap()
    }

    /// Takes its own name and the count of people.
    async fn greeted(guest: &mut DuplexStream) {
        for kind in ["you", "people"] {
            assert_eq!(told(guest).await["type"], kind);
        }
    }

    fn people(count: usize) -> Value {
        json!({ "type": "people", "count": count })
    }

    #[tokio::test]
    async fn all_hear_what_one_says_and_who_comes_and_goes() {
        let room = Arc::new(Room::default());
        let mut ada = enter(&room, 4096);
        assert_eq!(told(&mut ada).await, json!({ "type": "you", "name": "guest-1" }));
        assert_eq!(told(&mut ada).await, people(1));
        let mut ben = enter(&room, 4096);
        assert_eq!(told(&mut ben).await, json!({ "type": "you", "name": "guest-2" }));
        assert_eq!(told(&mut ben).await, people(2));
        assert_eq!(told(&mut ada).await, people(2));
        ben.write_all(&from_guest(0x81, "grüß <b>".as_bytes())).await.unwrap();
        for guest in [&mut ada, &mut ben] {
            let said = json!({ "type": "text", "from": "guest-2", "text": "grüß <b>" });
            assert_eq!(told(guest).await, said);
        }
        drop(ben);
        assert_eq!(told(&mut ada).await, people(1));
    }

    #[tokio::test]
    async fn pings_and_close_frames_are_answered() {
        let room = Arc::new(Room::default());
        for (sent, answer) in [
            (from_guest(0x88, b"\x03\xE9bye"), b"\x03\xE9".to_vec()),
            (from_guest(0x88, b""), Vec::new()),
            (
                from_guest(0x81, &[b'x'; 4097]),
                [b"\x03\xF1", &b"messages have up to 4 KiB here"[..]].concat(),
            ),
        ] {
            let mut guest = enter(&room, 8192);
            greeted(&mut guest).await;
            guest.write_all(&from_guest(0x89, b"there?")).await.unwrap();
            assert_eq!(frame(&mut guest).await, Some((Opcode::Pong, b"there?".into())));
            guest.write_all(&sent).await.unwrap();
            assert_eq!(frame(&mut guest).await, Some((Opcode::Close, answer)));
            assert_eq!(frame(&mut guest).await, None, "nothing follows a close frame");
            assert_eq!(*room.people.borrow(), 0);
        }
    }

    #[tokio::test]
    async fn a_guest_that_lags_is_told_how_much_it_missed() {
        let room = Arc::new(Room::default());
        let mut slow = enter(&room, 200);
        greeted(&mut slow).await;
        let total = 3 * TALK_MAX_MESSAGES;
        for number in 0..total {
            room.talk.send(format!("{number:0100}").into()).unwrap();
            tokio::task::yield_now().await;
        }
        let (mut heard, mut missed) = (0, 0);
        while heard + missed < total {
            let (_, payload) = frame(&mut slow).await.unwrap();
            match serde_json::from_slice::<Value>(&payload) {
                Ok(told) if told["type"] == "missed" => {
                    missed += told["count"].as_u64().unwrap() as usize
                }
                _ => heard += 1,
            }
        }
        assert!(missed >= TALK_MAX_MESSAGES, "it missed {missed} and heard {heard} of {total}");
        assert_eq!(heard + missed, total);
    }
}
