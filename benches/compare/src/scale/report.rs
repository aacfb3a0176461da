//! What was found, as Markdown, and what follows from it for a larger machine.

use super::{GRACE, HEARTBEAT};
use crate::machine;

/// One number of streams. Memory is in KiB, time in seconds.
pub(super) struct Row {
    pub(super) streams: usize,
    pub(super) processes: usize,
    /// From the first connection to the last stream's first event.
    pub(super) opening: f64,
    pub(super) open_cpu: f64,
    /// What was added by the streams, as RssAnon and as Pss_Anon.
    pub(super) rss: u64,
    pub(super) pss: u64,
    /// RssAnon before the first stream.
    pub(super) base: u64,
    /// What the kernel has added for all sockets: of the origin and the client, too.
    pub(super) kernel: Option<u64>,
    pub(super) heartbeats: u64,
    /// How long heartbeats and their CPU were counted.
    pub(super) window: f64,
    pub(super) cpu: f64,
    /// CPU of processes that are not ours meanwhile, as a share of a core.
    pub(super) others: f64,
    /// From the signal to the last exit.
    pub(super) drain: f64,
    pub(super) drain_cpu: f64,
}

/// Below this, the machine's other sockets would show.
const KERNEL_FROM: usize = 5_000;

impl Row {
    fn each(&self, sum: f64) -> Option<f64> {
        (self.streams > 0).then(|| sum / self.streams as f64)
    }

    /// RssAnon of a stream, in KiB.
    pub(super) fn rss_each(&self) -> Option<f64> {
        self.each(self.rss as f64)
    }

    /// What the kernel keeps for a stream's two sockets in Longwire, in KiB: half of the four.
    pub(super) fn kernel_each(&self) -> Option<f64> {
        let kernel = self.kernel.filter(|_| self.streams >= KERNEL_FROM)?;
        self.each(kernel as f64 / 2.0)
    }

    /// CPU of all Longwires, in % of a core.
    pub(super) fn load(&self) -> f64 {
        self.cpu / self.window * 100.0
    }

    /// CPU of a heartbeat, in µs, beyond what each process needs without streams, in % of a core.
    fn heartbeat(&self, idle: f64) -> Option<f64> {
        let idle = idle / 100.0 * self.window * self.processes as f64;
        (self.heartbeats > 0).then(|| (self.cpu - idle) * 1e6 / self.heartbeats as f64)
    }
}

pub(super) fn markdown(rows: &[Row]) -> String {
    let idle = rows.iter().find(|row| row.streams == 0).map_or(0.0, Row::load);
    let mut text = format!("{}.\n\n", machine::hardware());
    text += "| streams | processes | MiB | KiB a stream, RssAnon | Pss_Anon | kernel, 2 sockets \
             | heartbeats/s | CPU µs a heartbeat | CPU, % of a core | others, % of a core |\n";
    text += &format!("|{}\n", "---:|".repeat(10));
    for row in rows {
        text += &line(&[
            thousands(row.streams),
            row.processes.to_string(),
            format!("{:.0}", (row.base + row.rss) as f64 / 1024.0),
            cell(row.rss_each(), 1),
            cell(row.each(row.pss as f64), 1),
            cell(row.kernel_each(), 1),
            format!("{:.0}", row.heartbeats as f64 / row.window),
            cell(row.heartbeat(idle), 1),
            format!("{:.2}", row.load()),
            format!("{:.0}", row.others * 100.0),
        ]);
    }
    text += "\n| streams | opened/s | CPU µs to open one | cores of Longwire | SIGTERM to exit, s \
             | beyond the grace, s | CPU s | CPU µs to end one |\n";
    text += &format!("|{}\n", "---:|".repeat(8));
    for row in rows.iter().filter(|row| row.streams > 0) {
        text += &line(&[
            thousands(row.streams),
            format!("{:.0}", row.streams as f64 / row.opening),
            cell(row.each(row.open_cpu * 1e6), 0),
            format!("{:.2}", row.open_cpu / row.opening),
            format!("{:.2}", row.drain),
            format!("{:.2}", row.drain - GRACE.as_secs_f64()),
            format!("{:.2}", row.drain_cpu),
            cell(row.each(row.drain_cpu * 1e6), 0),
        ]);
    }
    if let Some(row) = rows.iter().max_by_key(|row| row.streams) {
        text += &extrapolation(row, idle).unwrap_or_default();
    }
    text
}

/// Streams of a machine with a million descriptors, two each.
const MANY: f64 = 500_000.0;

/// Ports that Linux takes by itself, and those that it can be told to take.
const PORTS: [f64; 2] = [28_232.0, 64_511.0];

/// What a machine with a million descriptors would need.
fn extrapolation(row: &Row, idle: f64) -> Option<String> {
    let gib = |kib: f64| kib * MANY / 1024.0 / 1024.0;
    let kernel = row
        .kernel_each()
        .map(|each| format!(", and the kernel {:.1} GiB for their sockets", gib(each)))
        .unwrap_or_default();
    let beats = MANY / HEARTBEAT.as_secs_f64();
    let [default, most] = PORTS.map(|ports| (MANY / ports).ceil());
    let [of, heartbeat] = [row.streams, HEARTBEAT.as_secs() as usize].map(thousands);
    Some(format!(
        "\n**Extrapolated, not measured**: a million descriptors are {} streams. By what one of \
         {of} costs here, they need {:.1} GiB{kernel}. A heartbeat each {heartbeat} s is {:.0} a \
         second, {:.0} % of a core. To open them takes {:.0} s of CPU, to end them {:.0} s. One \
         address has at most {} ports for connections to one endpoint ({} unless \
         `net.ipv4.ip_local_port_range` says otherwise), so that the upstream needs at least \
         {most:.0} endpoints ({default:.0}); the same holds between a load balancer and the \
         listener.\n",
        thousands(MANY as usize),
        gib(row.rss_each()?),
        beats,
        row.heartbeat(idle)? * beats / 1e4,
        row.each(row.open_cpu)? * MANY,
        row.each(row.drain_cpu)? * MANY,
        thousands(PORTS[1] as usize),
        thousands(PORTS[0] as usize),
    ))
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// With a comma between thousands.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Round figures.
    pub(in super::super) fn row(streams: usize) -> Row {
        let many = streams as u64;
        Row {
            streams,
            processes: 1,
            opening: 2.0,
            open_cpu: streams as f64 / 1e4,
            rss: many * 10,
            pss: many * 9,
            base: 2048,
            kernel: Some(many * 16),
            heartbeats: many,
            window: 15.0,
            cpu: 0.15 + streams as f64 / 1e5,
            others: 0.25,
            drain: 5.5,
            drain_cpu: streams as f64 / 2e4,
        }
    }

    #[test]
    fn figures_are_divided_by_what_they_belong_to() {
        let text = markdown(&[row(0), row(10_000)]);
        for line in [
            "| 0 | 1 | 2 | – | – | – | 0 | – | 1.00 | 25 |",
            "| 10,000 | 1 | 100 | 10.0 | 9.0 | 8.0 | 667 | 10.0 | 1.67 | 25 |",
            "| 10,000 | 5000 | 100 | 0.50 | 5.50 | 0.50 | 0.50 | 50 |",
            "a million descriptors are 500,000 streams",
            "they need 4.8 GiB, and the kernel 3.8 GiB",
            "is 33333 a second, 33 % of a core",
            "at least 8 endpoints (18)",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
