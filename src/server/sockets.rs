//! The sockets of one listener, and the tasks that accept on them.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::accept::{self, Places, Serve};
use super::handoff::Offered;
use super::inherited::Inherited;
use super::listener::{BindError, Listening};
use crate::config::model::{Bind, TcpKeepalive};
use crate::contain::keep_up;

/// All of them.
#[derive(Default)]
pub struct Sockets(Vec<Open>);

struct Open {
    /// As the configuration has it: with port 0, say.
    bind: Bind,
    socket: Arc<Listening>,
    /// Turns true when no more is to be accepted.
    closing: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
}

/// Sockets that are bound, and of which nothing is accepted yet.
pub struct Bound(Vec<(Bind, Listening)>);

impl Bound {
    /// Binds those of `addresses` that `present` does not have; must be called inside a runtime.
    /// What others have and give up, `elsewhere` knows: those sockets are shared. What is inherited
    /// is used.
    pub fn new<'a>(
        addresses: &[Bind],
        present: Option<&Sockets>,
        elsewhere: impl Fn(&Bind) -> Option<&'a Listening>,
        inherited: &mut Inherited,
        keepalive: &TcpKeepalive,
    ) -> Result<Self, BindError> {
        let is_new = |bind: &&Bind| present.is_none_or(|present| present.get(bind).is_none());
        let bind = |bind: &Bind| {
            let socket = match elsewhere(bind) {
                Some(socket) => {
                    let fail = |reason| BindError { address: bind.clone(), reason };
                    let socket = socket.share().map_err(fail)?;
                    socket.set_keepalive(keepalive);
                    socket
                }
                None => match inherited.take(bind, keepalive) {
                    Some(socket) => socket?,
                    None => Listening::bind(bind, keepalive)?,
                },
            };
            Ok((bind.clone(), socket))
        };
        addresses.iter().filter(is_new).map(bind).collect::<Result<_, _>>().map(Self)
    }

    /// Where they listen.
    pub fn addresses(&self) -> impl Iterator<Item = Bind> {
        self.0.iter().filter_map(|(_, socket)| socket.address())
    }
}

impl Sockets {
    /// The one that the configuration writes so.
    pub fn get(&self, bind: &Bind) -> Option<&Listening> {
        self.0.iter().find(|open| open.bind == *bind).map(|open| &*open.socket)
    }

    /// Accepts on sockets, too, in a task for each.
    pub fn open(&mut self, bound: Bound, app: &Arc<impl Serve>, places: &Places) {
        for (bind, socket) in bound.0 {
            let (socket, closing) = (Arc::new(socket), watch::Sender::new(false));
            let (accepting, closes) = (Arc::clone(&socket), closing.subscribe());
            let (app, places) = (Arc::clone(app), places.clone());
            let acceptor = tokio::spawn(keep_up("accept connections", move || {
                let (accepting, app) = (Arc::clone(&accepting), Arc::clone(&app));
                accept::run(accepting, app, places.clone(), closes.clone())
            }));
            self.0.push(Open { bind, socket, closing, acceptor });
        }
    }

    /// Closes those that are not among `addresses`, without waiting for it, and gives where they
    /// listened.
    pub fn keep(&mut self, addresses: &[Bind]) -> Vec<Bind> {
        let gone = self.0.extract_if(.., |open| !addresses.contains(&open.bind));
        gone.map(|open| {
            open.closing.send_replace(true);
            open.bind
        })
        .collect()
    }

    /// All of them, to be given away.
    pub fn offer(&self) -> io::Result<Vec<Offered>> {
        self.0.iter().map(|open| Offered::new(&open.bind, &open.socket)).collect()
    }

    /// Sets what accepted connections inherit.
    pub fn set_keepalive(&self, keepalive: &TcpKeepalive) {
        for open in &self.0 {
            open.socket.set_keepalive(keepalive);
        }
    }

    /// Closes all; what the kernel has accepted by then is served. Comes back when that is so.
    pub async fn close(&mut self) {
        for open in &self.0 {
            open.closing.send_replace(true);
        }
        for open in self.0.drain(..) {
            // It fails if the task panicked, and then it accepts nothing, either.
            let _ = open.acceptor.await;
        }
    }
}
