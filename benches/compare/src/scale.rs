//! What many idle streams cost Longwire, and how long it takes to open and to end them.
//!
//! A process can have so many descriptors, and a stream takes two, so that there are several
//! Longwires side by side, each with an origin and a client of its own, up to the greatest number.
//! The result would change what a stream keeps, how timers are kept, and how long a drain is given.

pub(crate) mod group;
mod kernel;
mod plot;
mod report;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::noise::Window;
use crate::peers::longwire::{GRACE, Longwire};
use crate::peers::{self, Build, Running, STREAMS};
use crate::process;
use crate::scratch::Scratch;
use crate::{clock, options};
use group::Group;
use report::Row;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The build of Longwire.
    #[arg(long, value_name = "NAME=PATH", value_parser = options::build)]
    #[arg(default_value = "longwire=target/release/longwire")]
    longwire: Build,

    /// Numbers of streams.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    #[arg(default_value = "0,100,1000,5000,9500,19000,28500,38000,50000")]
    sizes: Vec<usize>,

    /// Where to draw it.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// After that much silence Longwire sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Beyond the last late event.
const SETTLE: Duration = Duration::from_secs(1);

/// How long a drain may take beyond its grace.
const DRAINING: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let path = &options.longwire.path;
    anyhow::ensure!(path.is_file(), "there is no {}", path.display());
    let scratch = Scratch::new()?;
    let mut rows = Vec::new();
    for size in &options.sizes {
        eprintln!("scale: {size} streams");
        rows.push(measure(&scratch, &options.longwire, *size)?);
    }
    println!("{}", report::markdown(&rows));
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::svg(&rows))?;
    }
    Ok(())
}

/// A Longwire with what is on both sides of it; they end in this order.
struct Lane {
    proxy: Running,
    group: Group,
}

impl Lane {
    fn pid(&self) -> u32 {
        self.proxy.process.as_ref().map_or(0, process::Process::pid)
    }
}

fn measure(scratch: &Scratch, build: &Build, streams: usize) -> anyhow::Result<Row> {
    let mut lanes = Vec::new();
    for share in shares(streams) {
        let group = Group::start(share)?;
        let peer = Longwire(build.clone());
        lanes.push(Lane { proxy: peers::start(scratch, &peer, group.origin, None)?, group });
    }
    let pids: Vec<_> = lanes.iter().map(Lane::pid).collect();
    let all: Vec<_> = pids.iter().copied().chain(lanes.iter().map(|l| l.group.pid())).collect();

    let (memory, kernel) = (process::memory(&pids), kernel::sockets());
    let (window, began) = (Window::open(pids.clone()), clock::now());
    for lane in &mut lanes {
        lane.group.open(lane.proxy.address)?;
    }
    for lane in &mut lanes {
        lane.group.opened()?;
    }
    let opening = clock::now() - began;
    let open_cpu = window.close().proxy;

    // Now each stream has had its late event, and waits for its heartbeat.
    sleep(HEARTBEAT + SETTLE);
    let (full, kernel_full) = (process::memory(&pids), kernel::sockets());
    let (window, around) = (Window::open(pids), Window::open(all));
    let before = heartbeats(&mut lanes, streams)?;
    sleep(HEARTBEAT);
    let heartbeats = heartbeats(&mut lanes, streams)? - before;
    let (used, others) = (window.close(), around.close().others);

    let drain = drain(&mut lanes)?;
    Ok(Row {
        streams,
        processes: lanes.len(),
        opening: clock::seconds(opening),
        open_cpu: clock::seconds(open_cpu),
        rss: full.rss_anon.saturating_sub(memory.rss_anon),
        pss: full.pss_anon.saturating_sub(memory.pss_anon),
        base: memory.rss_anon,
        kernel: kernel_full.zip(kernel).map(|(full, empty)| full.saturating_sub(empty)),
        heartbeats,
        window: used.seconds,
        cpu: clock::seconds(used.proxy),
        others,
        drain: clock::seconds(drain.took),
        drain_cpu: clock::seconds(drain.cpu),
    })
}

/// How many streams each process gets.
fn shares(streams: usize) -> Vec<usize> {
    let processes = streams.div_ceil(STREAMS).max(1);
    (0..processes).map(|at| (streams + at) / processes).collect()
}

/// All heartbeats that clients have had.
fn heartbeats(lanes: &mut [Lane], streams: usize) -> anyhow::Result<u64> {
    let mut sum = group::Counts::default();
    for lane in lanes {
        sum += lane.group.counts()?;
    }
    let group::Counts { open, failed, heartbeats } = sum;
    anyhow::ensure!(failed == 0 && open == streams as u64, "{open} are open, {failed} failed");
    Ok(heartbeats)
}

struct Drain {
    /// From the signal to the last exit, in ns.
    took: u64,
    cpu: u64,
}

/// Ends all Longwires at once, with all streams open.
fn drain(lanes: &mut [Lane]) -> anyhow::Result<Drain> {
    let mut cpu = 0;
    for lane in &mut *lanes {
        cpu -= process::life(lane.pid()).map_or(0, |(_, cpu)| cpu.cast_signed());
    }
    let began = clock::now();
    let mut left: Vec<_> =
        lanes.iter_mut().filter_map(|lane| lane.proxy.process.as_mut()).collect();
    left.iter().for_each(|process| process.terminate());
    while !left.is_empty() {
        let mut still = Vec::new();
        for process in left {
            match process.ended()? {
                None => still.push(process),
                Some((well, of)) => {
                    anyhow::ensure!(well, "it ended, but not well");
                    cpu += of.cast_signed();
                }
            }
        }
        left = still;
        let late = clock::now() - began > clock::ns(GRACE + DRAINING);
        anyhow::ensure!(!late, "{} do not end", left.len());
        sleep(Duration::from_millis(5));
    }
    let took = clock::now() - began;
    for lane in lanes {
        let open = lane.group.counts()?.open;
        anyhow::ensure!(open == 0, "{open} streams are open after the end");
    }
    Ok(Drain { took, cpu: cpu.max(0).cast_unsigned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_gets_more_than_it_can_hold() {
        assert_eq!(shares(0), [0]);
        assert_eq!(shares(STREAMS), [STREAMS]);
        assert_eq!(shares(19_001), [6333, 6334, 6334]);
        assert_eq!(shares(50_000).iter().sum::<usize>(), 50_000);
        assert!(shares(50_000).iter().all(|share| *share <= STREAMS));
    }
}
