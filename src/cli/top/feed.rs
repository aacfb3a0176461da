//! What `GET /api/live` says, read on a thread of its own.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cli::ask::Admin;

/// The process speaks each second; one that does not has lost its connection.
const SILENCE: Duration = Duration::from_secs(10);

/// Between two tries to reach it.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest event that is read: a snapshot of 500 streams has a few hundred kilobytes.
const EVENT_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// One event.
#[derive(Debug)]
pub(super) enum Said {
    /// All there is.
    Snapshot(Value),
    /// What changed since.
    Delta(Value),
}

/// What the thread has to tell.
pub(super) enum News {
    Said(Said),
    /// The process cannot be heard, and why; it is tried again.
    Lost(String),
}

/// The thread; it ends when nobody takes the news.
pub(super) struct Feed {
    pub(super) news: Receiver<News>,
}

impl Feed {
    pub(super) fn start(admin: Arc<Admin>) -> Self {
        let (sender, news) = channel();
        std::thread::spawn(move || {
            loop {
                let Err(why) = follow(&admin, &sender) else { return };
                if sender.send(News::Lost(format!("{why:#}"))).is_err() {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { news }
    }
}

/// The first event.
pub(super) fn first(admin: &Admin) -> anyhow::Result<Said> {
    open(admin)?.event()
}

/// `Ok` when nobody listens.
fn follow(admin: &Admin, sender: &Sender<News>) -> anyhow::Result<()> {
    let mut events = open(admin)?;
    loop {
        if sender.send(News::Said(events.event()?)).is_err() {
            return Ok(());
        }
    }
}

fn open(admin: &Admin) -> anyhow::Result<Events<Body<Box<dyn Read + Send>>>> {
    let mut reader = BufReader::new(admin.open("GET", "/api/live", SILENCE)?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.by_ref().take(16 * 1024).read_line(&mut head)? == 0 {
            bail!("no whole answer came");
        }
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status.context("what answers is not longwire")? {
        200 => {}
        401 => bail!("the process wants a token: give it by -c FILE or LONGWIRE_ADMIN_TOKEN"),
        404 => bail!("the process is too old for this: it has no /api/live"),
        status => bail!("the process answered {status}"),
    }
    let is_chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n");
    let body = Body { reader, is_chunked, left: 0, is_first: true };
    Ok(Events { reader: BufReader::new(body) })
}

/// The bytes of a body, chunked or up to the end of the connection (RFC 9112, 6.3 and 7.1).
struct Body<R> {
    reader: BufReader<R>,
    is_chunked: bool,
    /// Of the present chunk.
    left: u64,
    is_first: bool,
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if !self.is_chunked {
            return self.reader.read(into);
        }
        if self.left == 0 {
            let mut line = String::new();
            // The end of the chunk before, and the size of the next one.
            for _ in usize::from(self.is_first)..2 {
                line.clear();
                self.reader.by_ref().take(1024).read_line(&mut line)?;
            }
            self.is_first = false;
            let size = line.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(size, 16).unwrap_or(0);
            if self.left == 0 {
                return Ok(0);
            }
        }
        let read = self.reader.by_ref().take(self.left).read(into)?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Events in a body.
struct Events<R> {
    reader: BufReader<R>,
}

impl<R: Read> Events<R> {
    /// The next one of a kind that is known.
    fn event(&mut self) -> anyhow::Result<Said> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.reader.by_ref().take(EVENT_MAX_BYTES).read_line(&mut line)? == 0 {
                bail!("the process has ended the connection");
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(value) = line.strip_prefix("event:") {
                value.trim_start().clone_into(&mut name);
            } else if let Some(value) = line.strip_prefix("data:") {
                data.push_str(value);
            } else if line.is_empty() {
                let value = || serde_json::from_str(&data).context("the process talks nonsense");
                match &*name {
                    "snapshot" => return Ok(Said::Snapshot(value()?)),
                    "delta" => return Ok(Said::Delta(value()?)),
                    _ => {}
                }
                name.clear();
                data.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str, is_chunked: bool) -> Events<Body<&[u8]>> {
        let reader = BufReader::new(text.as_bytes());
        Events { reader: BufReader::new(Body { reader, is_chunked, left: 0, is_first: true }) }
    }

    #[test]
    fn events_are_read_however_they_are_framed() {
        let text = "event: snapshot\ndata: {\"now\":1}\n\n: a heartbeat\n\
                    event: other\ndata: x\n\nevent: delta\ndata: {\"now\":2}\n\n";
        let pieces = text.as_bytes().chunks(7);
        let chunks = pieces.map(|p| format!("{:x}\r\n{}\r\n", p.len(), str::from_utf8(p).unwrap()));
        let chunked = chunks.collect::<String>() + "0\r\n\r\n";
        for mut events in [events(text, false), events(&chunked, true)] {
            assert!(matches!(events.event().unwrap(), Said::Snapshot(value) if value["now"] == 1));
            assert!(matches!(events.event().unwrap(), Said::Delta(value) if value["now"] == 2));
            assert!(events.event().is_err(), "it has ended");
        }
    }
}
