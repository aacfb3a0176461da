//! epoll, level-triggered, with tokens and waits in nanoseconds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::clock;

pub(crate) use rustix::event::epoll::{Event, EventFlags as Ready};

/// One epoll instance.
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Watches a descriptor until it is closed.
    pub(crate) fn add(&self, fd: impl AsFd, token: usize, ready: Ready) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(token as u64), ready)?)
    }

    pub(crate) fn set(&self, fd: impl AsFd, token: usize, ready: Ready) -> io::Result<()> {
        Ok(epoll::modify(&self.0, fd, epoll::EventData::new_u64(token as u64), ready)?)
    }

    /// Waits for events, at most until the clock says `until`.
    pub(crate) fn wait(&self, events: &mut Vec<Event>, until: u64) -> io::Result<()> {
        events.clear();
        let left = until.saturating_sub(clock::now());
        let timeout = Timespec {
            tv_sec: (left / 1_000_000_000).cast_signed(),
            tv_nsec: (left % 1_000_000_000).cast_signed(),
        };
        match epoll::wait(&self.0, spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Room for the events of one wait.
pub(crate) fn room() -> Vec<Event> {
    Vec::with_capacity(1024)
}

/// The token that an event was registered with.
pub(crate) fn token(event: &Event) -> usize {
    event.data.u64() as usize
}
