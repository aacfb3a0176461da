//! An origin and a client in a process of their own, so that their descriptors count apart. It is
//! led by lines:
//!
//! ```text
//! group: the origin's address          leader: the proxy's address
//! group: an empty line, once all streams have had their first event
//! leader: an empty line                group: open, failed, heartbeats
//! ```

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;

use super::HEARTBEAT;
use crate::client::streams::{self, Streams};
use crate::clock;
use crate::event::Form;
use crate::origin::{Manner, Origin};

#[derive(clap::Args)]
pub(crate) struct Plan {
    /// How many streams.
    count: usize,
}

/// How long all streams of a group may take to open.
const OPENING: Duration = Duration::from_secs(120);

/// What the client of a group has seen.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) open: u64,
    pub(super) failed: u64,
    pub(super) heartbeats: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.open += other.open;
        self.failed += other.failed;
        self.heartbeats += other.heartbeats;
    }
}

/// A running group; it ends when this is dropped.
pub(super) struct Group {
    pub(super) origin: SocketAddr,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Group {
    pub(super) fn start(count: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(&program)
            .args(["launch", "--ending", "kill", "--parent", &std::process::id().to_string(), "--"])
            .arg(&program)
            .args(["group", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("stdin is piped")?;
        let mut output = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let origin = line(&mut output)?.parse()?;
        Ok(Self { origin, child, input, output })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Begins to open the streams.
    pub(super) fn open(&mut self, proxy: SocketAddr) -> anyhow::Result<()> {
        Ok(writeln!(self.input, "{proxy}")?)
    }

    /// Waits until all of them are open.
    pub(super) fn opened(&mut self) -> anyhow::Result<()> {
        line(&mut self.output).map(drop)
    }

    pub(super) fn counts(&mut self) -> anyhow::Result<Counts> {
        writeln!(self.input)?;
        let line = line(&mut self.output)?;
        let mut numbers = line.split(' ').map(str::parse);
        let mut next = || numbers.next().context("too few numbers")?.map_err(anyhow::Error::from);
        Ok(Counts { open: next()?, failed: next()?, heartbeats: next()? })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(from: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    anyhow::ensure!(line.ends_with('\n'), "a group has ended");
    Ok(line.trim_end().to_owned())
}

/// The group's own side.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let rate = 1.0 / HEARTBEAT.as_secs_f64();
    let origin = Origin::start(Manner { rate, idle: None, core: None })?;
    println!("{}", origin.address);
    let mut input = std::io::stdin().lock();
    let streams = Streams::start(streams::Plan {
        target: line(&mut input)?.parse()?,
        form: Form::Sse,
        kind: "late",
        count: plan.count,
        reads: true,
        again: false,
        core: None,
    });
    let seen = &streams.seen;
    let deadline = clock::now() + clock::ns(OPENING);
    while seen.open.load(Ordering::Relaxed) < plan.count as u64 {
        let failed = seen.failed.load(Ordering::Relaxed);
        anyhow::ensure!(failed == 0, "{failed} streams failed");
        anyhow::ensure!(clock::now() < deadline, "the streams do not open in {OPENING:?}");
        sleep(Duration::from_millis(5));
    }
    println!();
    while line(&mut input).is_ok() {
        let [open, failed, heartbeats] =
            [&seen.open, &seen.failed, &seen.heartbeats].map(|count| count.load(Ordering::Relaxed));
        println!("{open} {failed} {heartbeats}");
    }
    Ok(())
}
