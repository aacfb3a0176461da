//! A proxy's processes: started, waited for, measured, ended.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::launch::Ending;
use crate::{clock, noise};

/// A running proxy; it is ended when this is dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a command on a core, with its output in a file.
    pub(crate) fn start(
        command: &Command,
        core: Option<usize>,
        ending: Ending,
        output: &Path,
    ) -> anyhow::Result<Self> {
        let file = fs::File::create(output)?;
        let mut launch = Command::new(std::env::current_exe()?);
        launch.arg("launch").args(["--parent", &std::process::id().to_string()]);
        launch.args(["--ending", if ending == Ending::Kill { "kill" } else { "term" }]);
        if let Some(core) = core {
            launch.args(["--core", &core.to_string()]);
        }
        launch.arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                launch.env(name, value);
            }
        }
        launch.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { child: launch.spawn().context("the proxy does not start")? })
    }

    /// Waits until it answers a request.
    pub(crate) fn wait_ready(&mut self, address: SocketAddr, request: &[u8]) -> anyhow::Result<()> {
        let deadline = clock::now() + clock::ns(STARTING);
        while !answers(address, request) {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("it ended: {status}");
            }
            anyhow::ensure!(clock::now() < deadline, "it does not answer in {STARTING:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as an init system does.
    pub(crate) fn terminate(&self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// If its first process has ended: whether that went well, and its CPU time, in ns.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<(bool, u64)>> {
        match life(self.child.id()).context("it is gone")? {
            // Until it is waited for, it can be asked.
            ('Z', cpu) => Ok(Some((self.child.wait()?.success(), cpu))),
            _ => Ok(None),
        }
    }

    /// All its processes, the first one first.
    pub(crate) fn tree(&self) -> Vec<u32> {
        let mut tree = vec![self.child.id()];
        let parents = parents();
        let mut at = 0;
        while at < tree.len() {
            let parent = tree[at];
            tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            at += 1;
        }
        tree
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = self.tree();
        for pid in tree {
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// How long a proxy may take to answer its first request.
const STARTING: Duration = Duration::from_secs(15);

/// Whether a request is answered with 200.
fn answers(address: SocketAddr, request: &[u8]) -> bool {
    let ask = || {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.write_all(request)?;
        let mut status = [0; 12];
        socket.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// Each process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name before it is in parentheses, and may have some itself.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

/// CPU time of a process' threads, in ns. What ended threads had used is not in it.
pub(crate) fn cpu(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| {
            let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// State of a process, and CPU time of all threads that it ever had, in ns; it ticks.
pub(crate) fn life(pid: u32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = [11, 12].map(|at| fields.get(at).and_then(|field| field.parse::<u64>().ok()));
    let ticks = ticks[0]? + ticks[1]?;
    Some((fields.first()?.chars().next()?, ticks * noise::TICK))
}

/// Memory that belongs to a process alone, in KiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// RssAnon; what a fork shares is in it once for each process.
    pub(crate) rss_anon: u64,
    /// Pss_Anon; what is shared is divided.
    pub(crate) pss_anon: u64,
}

/// The memory of several processes together.
pub(crate) fn memory(pids: &[u32]) -> Memory {
    let field = |path: String, name: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    pids.iter().fold(Memory::default(), |sum, pid| Memory {
        rss_anon: sum.rss_anon + field(format!("/proc/{pid}/status"), "RssAnon:").unwrap_or(0),
        pss_anon: sum.pss_anon
            + field(format!("/proc/{pid}/smaps_rollup"), "Pss_Anon:").unwrap_or(0),
    })
}
