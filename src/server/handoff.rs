//! What the process that serves and the one that shall serve in its place say to each other, over
//! the unix socket of `server.upgrade_socket`.
//!
//! ```text
//! successor                     predecessor
//!   hello {version, pid}     ->
//!                            <-   sockets {sockets, more}   with a descriptor for each
//!                            <-   sockets …                 until there are no more
//!   serving {taken}          ->                             it accepts, too
//!                            <-   yours                     nobody else does any more
//! ```
//!
//! Instead of its next word, the predecessor may say `refused {why}`. A message is its length in
//! four bytes, most significant first, and JSON; descriptors come with its first byte.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::listener::{Listening, SocketFile};
use crate::config::model::Bind;

/// Of this conversation. One that says something else by the same words has another number.
pub const VERSION: u32 = 1;

/// How long the successor may take from its hello until it serves.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// For everything that the other end has only to say.
pub const AT_ONCE: Duration = Duration::from_secs(10);

/// Sockets in one message; the kernel takes 253 (`SCM_MAX_FD`).
const SOCKETS_MAX: usize = 64;

/// Longest message: that many sockets with the longest paths are shorter.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;

/// A message.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The successor begins.
    Hello {
        /// See [`VERSION`].
        version: u32,
        /// Its process.
        pid: u32,
    },
    /// Sockets; numbered from 0 in the order in which they come.
    Sockets {
        /// What they stand for.
        sockets: Vec<About>,
        /// Whether more will come.
        more: bool,
    },
    /// The successor accepts connections.
    Serving {
        /// The numbers of the sockets on which it does.
        taken: Vec<usize>,
    },
    /// The predecessor accepts none any more.
    Yours,
    /// The predecessor goes on as if nothing had happened.
    Refused {
        /// In words.
        why: String,
    },
}

/// A socket that is handed over.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// As the configuration writes it.
    #[serde(with = "Address")]
    pub bind: Bind,
    /// Whether it has a file that comes with it.
    pub has_file: bool,
    /// Whether it is for operators.
    pub is_admin: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Bind", rename_all = "snake_case")]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A listening socket that can be given away.
#[derive(Debug)]
pub struct Offered {
    bind: Bind,
    socket: OwnedFd,
    file: Option<Arc<SocketFile>>,
    is_admin: bool,
}

impl Offered {
    /// The one that stands for `bind`.
    pub fn new(bind: &Bind, listening: &Listening) -> io::Result<Self> {
        let socket = listening.descriptor()?;
        Ok(Self { bind: bind.clone(), socket, file: listening.file().cloned(), is_admin: false })
    }

    /// It is for operators.
    pub fn for_admin(self) -> Self {
        Self { is_admin: true, ..self }
    }

    /// It was taken: its file stays when we go.
    pub fn leave(&self) {
        if let Some(file) = &self.file {
            file.set_ours(false);
        }
    }

    fn about(&self) -> About {
        let has_file = self.file.as_ref().is_some_and(|file| file.is_ours());
        About { bind: self.bind.clone(), has_file, is_admin: self.is_admin }
    }
}

/// A conversation; whoever has it waits in a thread of its own.
#[derive(Debug)]
pub struct Talk(UnixStream);

impl Talk {
    /// Over a connection whose calls block.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(AT_ONCE))?;
        Ok(Self(stream))
    }

    /// Says something.
    pub fn say(&mut self, message: &Message) -> io::Result<()> {
        self.send(message, &[])
    }

    /// Gives sockets away.
    pub fn offer(&mut self, offered: &[Offered]) -> io::Result<()> {
        let mut parts = offered.chunks(SOCKETS_MAX).peekable();
        while let Some(part) = parts.next() {
            let sockets = part.iter().map(Offered::about).collect();
            self.send(&Message::Sockets { sockets, more: parts.peek().is_some() }, part)?;
        }
        Ok(())
    }

    fn send(&mut self, message: &Message, with: &[Offered]) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let descriptors: Vec<_> = with.iter().map(|offered| offered.socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        let head = length.to_be_bytes();
        let sent = sendmsg(&self.0, &[IoSlice::new(&head)], &mut control, SendFlags::NOSIGNAL)?;
        self.0.write_all(&head[sent..])?;
        self.0.write_all(&body)
    }

    /// What the other end says within that time, and the descriptors that came with it. The end of
    /// the connection is [`io::ErrorKind::UnexpectedEof`].
    pub fn hear(&mut self, within: Duration) -> io::Result<(Message, Vec<OwnedFd>)> {
        self.0.set_read_timeout(Some(within))?;
        let mut head = [0; 4];
        let mut descriptors = Vec::new();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut head)];
        let came = recvmsg(&self.0, into, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(came) = message {
                descriptors.extend(came);
            }
        }
        if came == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.read_exact(&mut head[came..])?;
        let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
        if length > MESSAGE_MAX_BYTES {
            return Err(io::Error::other("what came is no message"));
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((serde_json::from_slice(&body)?, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Talk, Talk) {
        let (one, other) = UnixStream::pair().unwrap();
        (Talk::new(one).unwrap(), Talk::new(other).unwrap())
    }

    #[test]
    fn messages_arrive_as_they_were_said() {
        let (mut one, mut other) = pair();
        for message in [
            Message::Hello { version: VERSION, pid: 7 },
            Message::Serving { taken: vec![0, 2] },
            Message::Yours,
            Message::Refused { why: "no".into() },
        ] {
            one.say(&message).unwrap();
            assert_eq!(other.hear(AT_ONCE).unwrap().0, message);
        }
        drop(one);
        let end = other.hear(AT_ONCE).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn any_number_of_sockets_is_handed_over_in_several_messages() {
        let (mut one, mut other) = pair();
        let offered: Vec<_> = (0..2 * SOCKETS_MAX + 1)
            .map(|_| {
                let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let bind = Bind::Tcp(socket.local_addr().unwrap());
                Offered { bind, socket: socket.into(), file: None, is_admin: false }
            })
            .collect();
        one.offer(&offered).unwrap();
        let mut heard = Vec::new();
        loop {
            let (message, descriptors) = other.hear(AT_ONCE).unwrap();
            let Message::Sockets { sockets, more } = message else { panic!("{message:?}") };
            assert_eq!(sockets.len(), descriptors.len());
            heard.extend(sockets.into_iter().zip(descriptors));
            if !more {
                break;
            }
        }
        assert_eq!(heard.len(), offered.len());
        for (about, descriptor) in heard {
            let socket = std::net::TcpListener::from(descriptor);
            assert_eq!(Bind::Tcp(socket.local_addr().unwrap()), about.bind);
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (one, mut other) = pair();
        (&one.0).write_all(&[0xff; 8]).unwrap();
        assert!(other.hear(AT_ONCE).is_err());
        let (one, mut other) = pair();
        (&one.0).write_all(b"\0\0\0\x02{]").unwrap();
        assert!(other.hear(AT_ONCE).is_err());
    }
}
