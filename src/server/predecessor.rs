//! The process in whose place this one serves: where it is found, what it gives, and the word that
//! it is not needed any more.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::handoff::{AT_ONCE, Message, Talk, VERSION};
use super::inherited::{Inherited, Taken};

/// Why it was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum HandoffError {
    /// It goes on, and says why.
    #[error("the running process refuses: {0}")]
    Refused(String),
    /// It is there, but what it says is not understood.
    #[error("the running process says what cannot be understood")]
    Strange,
    /// It cannot be spoken to.
    #[error("cannot speak to the running process: {0}")]
    Io(#[from] io::Error),
}

/// A process that has given us its sockets, and still serves.
#[derive(Debug)]
pub struct Predecessor(Talk);

impl Predecessor {
    /// Asks the one that listens at `path` for its sockets, and puts them into `inherited`; `None`
    /// if nobody listens there. Blocks, for some seconds at most.
    pub fn find(path: &Path, inherited: &mut Inherited) -> Result<Option<Self>, HandoffError> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            // One that was killed leaves the file.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let mut talk = Talk::new(stream)?;
        talk.say(&Message::Hello { version: VERSION, pid: std::process::id() })?;
        let mut number = 0;
        loop {
            let (message, descriptors) = talk.hear(AT_ONCE)?;
            let (sockets, more) = match message {
                Message::Sockets { sockets, more } if sockets.len() == descriptors.len() => {
                    (sockets, more)
                }
                Message::Refused { why } => return Err(HandoffError::Refused(why)),
                _ => return Err(HandoffError::Strange),
            };
            for (about, socket) in sockets.into_iter().zip(descriptors) {
                inherited.add(about, socket, number);
                number += 1;
            }
            if !more {
                break;
            }
        }
        tracing::info!(sockets = number, "taking over from the process that runs");
        Ok(Some(Self(talk)))
    }

    /// Says that we serve, on what we have `taken`. Once this comes back well, nobody else does.
    pub async fn replace(self, taken: Taken) -> Result<(), HandoffError> {
        let Taken { numbers, files } = taken;
        let replace = move || replace(self.0, numbers);
        tokio::task::spawn_blocking(replace).await.map_err(io::Error::other)??;
        for file in files {
            file.set_ours(true);
        }
        Ok(())
    }
}

fn replace(mut talk: Talk, taken: Vec<usize>) -> Result<(), HandoffError> {
    let answer = talk.say(&Message::Serving { taken }).and_then(|()| talk.hear(AT_ONCE));
    match answer {
        Ok((Message::Yours, _)) => {
            tracing::info!("took over");
            Ok(())
        }
        Ok((Message::Refused { why }, _)) => Err(HandoffError::Refused(why)),
        Ok(_) => Err(HandoffError::Strange),
        // While it lives it would have said that it goes on.
        Err(error) if is_end(&error) => {
            tracing::warn!("took over from a process that ended without a word");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// The other end has closed the connection, or was closed.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}
