//! The end of a process that another one replaces: it hands its sockets over and serves on until
//! the other one serves, or for ever if it never does.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::handoff::{AT_ONCE, Message, Offered, PATIENCE, Talk, VERSION};
use super::inherited::Inherited;
use super::listener::{BindError, Listening};
use super::predecessor::is_end;
use super::process::ADMIN_KEEPALIVE;
use super::successor::Program;
use crate::config::model::Bind;

/// How often to look whether a successor that we have started has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Only the same user, and root, may take our sockets.
pub const SOCKET_MODE: u32 = 0o600;

/// What a process does about successors. There is one at a time.
pub struct Upgrades {
    /// Where they come.
    socket: Option<Listening>,
    program: Option<Program>,
    /// The conversation with one.
    talk: Option<JoinHandle<Result<Successor, String>>>,
    /// One that we have started, and when its time is over.
    child: Option<(Child, Instant)>,
}

/// One that serves, and waits for us to stop.
#[derive(Debug)]
pub struct Successor {
    /// Its process.
    pub pid: u32,
    talk: Talk,
    offered: Vec<Offered>,
}

/// What comes of successors.
#[derive(Debug)]
pub enum Came {
    /// One asks for the sockets.
    Asks(Visitor),
    /// One serves.
    Serves(Successor),
}

/// One that has only come.
#[derive(Debug)]
pub struct Visitor {
    stream: tokio::net::UnixStream,
    pid: u32,
}

impl Upgrades {
    /// With the socket of `server.upgrade_socket`.
    pub fn new(socket: Option<Listening>) -> Self {
        let program = socket.as_ref().and_then(|_| {
            let fail = |error| tracing::warn!(%error, "SIGUSR2 will not work");
            Program::this().map_err(fail).ok()
        });
        Self { socket, program, talk: None, child: None }
    }

    /// The socket where successors come, to be given away as the others.
    pub fn offer(&self) -> io::Result<Option<Offered>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        socket.address().map(|bind| Offered::new(&bind, socket)).transpose()
    }

    /// Starts a successor, unless there is one already.
    pub fn start(&mut self) {
        if self.socket.is_none() {
            return tracing::warn!("no upgrade: server.upgrade_socket is not set");
        }
        if self.talk.is_some() || self.child.is_some() {
            return tracing::warn!("no upgrade: there is one already");
        }
        let Some(program) = &self.program else { return };
        match program.start_successor() {
            Ok(child) => {
                tracing::info!(successor = child.id(), "successor started");
                self.child = Some((child, Instant::now() + PATIENCE));
            }
            Err(error) => tracing::error!(%error, "no upgrade: the successor cannot be started"),
        }
    }

    /// What comes next. Nothing is lost if it is not waited for to the end.
    pub async fn next(&mut self) -> Came {
        loop {
            tokio::select! {
                biased;
                outcome = talked(&mut self.talk) => {
                    self.talk = None;
                    match outcome {
                        Ok(successor) => return Came::Serves(successor),
                        Err(why) => tracing::error!(why, "no upgrade: serving on"),
                    }
                }
                status = ended(&mut self.child) => {
                    self.child = None;
                    let status = status.map(|status| status.to_string());
                    let status = status.unwrap_or_else(|error| error.to_string());
                    tracing::error!(status, "no upgrade: the successor has ended");
                }
                visitor = visited(self.socket.as_ref()) => match visitor {
                    Ok(visitor) if self.talk.is_some() => {
                        tokio::task::spawn_blocking(|| visitor.refuse("another upgrade is going on"));
                    }
                    Ok(visitor) => return Came::Asks(visitor),
                    Err(error) => tracing::warn!(%error, "no upgrade"),
                },
            }
        }
    }

    /// Gives the sockets to one that has come; serving goes on.
    pub fn hand_over(&mut self, to: Visitor, offered: io::Result<Vec<Offered>>) {
        tracing::info!(successor = to.pid, "handing over");
        let talk = || converse(to, offered).map_err(|error| error.to_string());
        self.talk = Some(tokio::task::spawn_blocking(talk));
    }

    /// No successor is wanted any more.
    pub fn close(&mut self) {
        self.socket = None;
    }
}

async fn talked(
    talk: &mut Option<JoinHandle<Result<Successor, String>>>,
) -> Result<Successor, String> {
    match talk {
        Some(talk) => talk.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

/// The end of a child; one that takes too long is killed.
async fn ended(child: &mut Option<(Child, Instant)>) -> io::Result<ExitStatus> {
    let Some((child, deadline)) = child else { return std::future::pending().await };
    // Looked at again and again: there is one for a minute of a life at most, and tokio's driver
    // for processes would have something to do at nearly every event.
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if *deadline <= Instant::now() {
            child.kill()?;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The next one that may come.
async fn visited(socket: Option<&Listening>) -> io::Result<Visitor> {
    let Some(Listening::Unix(_, listener)) = socket else { return std::future::pending().await };
    let (stream, _) = listener.accept().await?;
    let peer = stream.peer_cred()?;
    let is_ours = peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw();
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    match pid {
        Some(pid) if is_ours => Ok(Visitor { stream, pid }),
        _ => Err(io::Error::other(format!("user {} may not take the sockets", peer.uid()))),
    }
}

impl Visitor {
    fn talk(self) -> io::Result<Talk> {
        let stream: UnixStream = self.stream.into_std()?;
        stream.set_nonblocking(false)?;
        Talk::new(stream)
    }

    /// It may have left.
    fn refuse(self, why: &str) {
        let refused = Message::Refused { why: why.to_owned() };
        let _ = self.talk().and_then(|mut talk| talk.say(&refused));
    }
}

/// From its coming to its serving; blocks.
fn converse(visitor: Visitor, offered: io::Result<Vec<Offered>>) -> io::Result<Successor> {
    let pid = visitor.pid;
    let mut talk = visitor.talk()?;
    let refuse = |talk: &mut Talk, why: String| {
        // It may have left.
        let _ = talk.say(&Message::Refused { why: why.clone() });
        Err(io::Error::other(why))
    };
    match talk.hear(AT_ONCE)?.0 {
        Message::Hello { version: VERSION, .. } => {}
        Message::Hello { version, .. } => {
            let why = format!("it speaks version {version} of the handoff, we speak {VERSION}");
            return refuse(&mut talk, why);
        }
        _ => return refuse(&mut talk, "hello was expected".to_owned()),
    }
    let offered = match offered {
        Ok(offered) => offered,
        Err(error) => return refuse(&mut talk, error.to_string()),
    };
    talk.offer(&offered)?;
    match talk.hear(PATIENCE) {
        Ok((Message::Serving { taken }, _)) => {
            let numbered = offered.into_iter().enumerate();
            let taken = numbered.filter(|(number, _)| taken.contains(number));
            let offered = taken.map(|(_, offered)| offered).collect();
            Ok(Successor { pid, talk, offered })
        }
        Ok(_) => refuse(&mut talk, "serving was expected".to_owned()),
        Err(error) if is_end(&error) => {
            Err(io::Error::other("the successor ended before it served"))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            refuse(&mut talk, format!("it did not serve within {} s", PATIENCE.as_secs()))
        }
        Err(error) => Err(error),
    }
}

impl Successor {
    /// The files of the sockets that it has taken stay when we go.
    pub fn leave_files(&self) {
        self.offered.iter().for_each(Offered::leave);
    }

    /// Tells it that nobody else serves any more.
    pub async fn yield_to(self) {
        let Self { mut talk, pid, .. } = self;
        let said = tokio::task::spawn_blocking(move || talk.say(&Message::Yours)).await;
        if let Err(error) = said.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::error!(successor = pid, %error, "the successor has gone");
        }
    }
}

/// Takes the socket where successors come, or binds it; must be called inside a runtime.
pub fn bind(path: &Path, inherited: &mut Inherited) -> Result<Listening, BindError> {
    let address = Bind::Unix(path.to_owned());
    if let Some(socket) = inherited.take(&address, &ADMIN_KEEPALIVE) {
        return socket;
    }
    Listening::unix(path, SOCKET_MODE).map_err(|reason| BindError { address, reason })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_child_that_takes_too_long_is_killed_and_others_are_not() {
        for (command, patience, expected) in
            [("exit 3", 60, (Some(3), None)), ("exec sleep 60", 0, (None, Some(9)))]
        {
            let child = Command::new("sh").args(["-c", command]).spawn().unwrap();
            let mut child = Some((child, Instant::now() + Duration::from_secs(patience)));
            let ended = tokio::time::timeout(Duration::from_secs(20), ended(&mut child));
            let status = ended.await.expect("it is noticed").unwrap();
            assert_eq!((status.code(), status.signal()), expected);
        }
    }
}
