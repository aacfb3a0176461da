//! The load client: one thread, one epoll loop. Streams are opened and read; requests are sent at a
//! rate.

pub(crate) mod requests;
pub(crate) mod streams;
