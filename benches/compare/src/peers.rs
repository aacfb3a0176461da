//! The proxies: where each is found, and how its experts would set it up for streams. One core, so
//! one worker; no access log; long timeouts; connections to the upstream kept alive; nothing
//! buffered.

mod bare;
mod caddy;
mod direct;
mod envoy;
mod haproxy;
pub(crate) mod longwire;
mod nginx;
mod relay;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::client::requests;
use crate::launch::Ending;
use crate::process::Process;
use crate::scratch::Scratch;

/// Streams that every proxy must be able to hold. Each takes two descriptors.
pub(crate) const STREAMS: usize = 9_500;

/// A proxy that can be started.
pub(crate) trait Peer {
    /// What it is called in tables and in `--only`.
    fn name(&self) -> &str;

    /// What else it is called in `--only`: several builds of Longwire are all `longwire`.
    fn family(&self) -> &str {
        self.name()
    }

    /// What ends all of its processes.
    fn ending(&self) -> Ending {
        Ending::Kill
    }

    /// What it says it is, if it says so.
    fn version(&self) -> Option<String> {
        None
    }

    /// Its command, after its configuration was written; none if there is no proxy.
    fn command(&self, site: &Site) -> io::Result<Option<Command>>;
}

/// Where a proxy runs.
pub(crate) struct Site {
    pub(crate) directory: PathBuf,
    pub(crate) listen: SocketAddr,
    /// Another free address, for administration.
    pub(crate) admin: SocketAddr,
    pub(crate) origin: SocketAddr,
}

impl Site {
    /// Writes a configuration.
    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// A build of Longwire to compare.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// All that are installed, in the order of the tables.
pub(crate) fn installed(builds: &[Build]) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(direct::Direct), Box::new(relay::Relay)];
    // The first build twice: how far the two are apart is what this machine cannot tell.
    let twin = builds
        .first()
        .map(|build| Build { name: format!("{} {TWIN}", build.name), path: build.path.clone() });
    for build in builds.iter().cloned().chain(twin) {
        peers.push(Box::new(longwire::Longwire(build)));
    }
    if let Some(path) = found("nginx") {
        peers.push(Box::new(nginx::Nginx(path)));
    }
    if let Some(path) = found("haproxy") {
        peers.push(Box::new(haproxy::HaProxy(path)));
    }
    if let Some(path) = found("envoy") {
        peers.push(Box::new(envoy::Envoy(path)));
    }
    if let Some(path) = found("caddy") {
        peers.push(Box::new(caddy::Caddy(path)));
    }
    if let Some(bare) = bare::Bare::found() {
        peers.push(Box::new(bare));
    }
    peers
}

/// What the second copy of a build has behind its name.
pub(crate) const TWIN: &str = "(again)";

/// A program in PATH, where Debian puts servers, or where `make bench-compare` puts Python
/// packages.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "target/compare/venv/bin"].map(PathBuf::from))
        .filter_map(|folder| std::path::absolute(folder.join(program)).ok())
        .find(|file| file.is_file())
}

/// A proxy that answers.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    /// None if clients talk to the origin.
    pub(crate) process: Option<Process>,
}

/// Starts a proxy before an origin, and waits until it answers.
pub(crate) fn start(
    scratch: &Scratch,
    peer: &dyn Peer,
    origin: SocketAddr,
    core: Option<usize>,
) -> anyhow::Result<Running> {
    // Both at once, so that they differ.
    let free = [0; 2].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let [listen, admin] = free.map(|free| free.and_then(|socket| socket.local_addr()));
    let site = Site { directory: scratch.site()?, listen: listen?, admin: admin?, origin };
    let output = site.directory.join("output");
    let Some(command) = peer.command(&site)? else {
        return Ok(Running { address: origin, process: None });
    };
    let mut process = Process::start(&command, core, peer.ending(), &output)?;
    process
        .wait_ready(site.listen, requests::REQUEST)
        .with_context(|| format!("{}:\n{}", peer.name(), tail(&output)))?;
    Ok(Running { address: site.listen, process: Some(process) })
}

/// The end of what a proxy has said.
fn tail(output: &Path) -> String {
    let text = fs::read_to_string(output).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
