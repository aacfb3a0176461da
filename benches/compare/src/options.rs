//! The command line.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::peers::{self, Build, Peer};
use crate::scenario::{self, Scenario};
use crate::{launch, pin, scale};

/// What an event, a request and an open stream cost, through Longwire and through other proxies.
#[derive(Parser)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Only these proxies, of direct, relay, longwire (all its builds), nginx, haproxy, envoy,
    /// caddy and pingora.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,

    /// Only these scenarios, of sse, websocket, json, latency, memory-sse, memory-websocket,
    /// stalled, reuse, cancel and race.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    scenario: Vec<String>,

    /// How often each is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,

    /// How long a window of measurement is, 0.5 to 20.
    // Longer windows would meet pings, which origin and client do not answer.
    #[arg(long, default_value_t = 4.0, value_parser = within(0.5..=20.0))]
    pub(crate) seconds: f64,

    /// Times the pace of sse, websocket and json, 0.1 to 4: a busier core tells smaller differences.
    #[arg(long, default_value_t = 1.0, value_parser = within(0.1..=4.0))]
    pub(crate) pace: f64,

    /// A build of Longwire; may be given several times. [default: longwire=target/release/longwire]
    #[arg(long, value_name = "NAME=PATH", value_parser = build)]
    longwire: Vec<Build>,

    /// The core for origin, client and proxy. [default: the last one]
    #[arg(long)]
    core: Option<usize>,

    /// Runs here, not in a session of its own.
    #[arg(long, hide = true, global = true)]
    pub(crate) inner: bool,

    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// Other things that it does, and parts of it that are processes of their own.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// What many idle streams cost Longwire, and how long it takes to open and to end them
    Scale(scale::Options),
    /// An origin and a client of some of these streams
    #[command(hide = true)]
    Group(scale::group::Plan),
    /// The plain TCP relay
    #[command(hide = true)]
    Relay { listen: SocketAddr, origin: SocketAddr },
    /// Becomes a proxy
    #[command(hide = true)]
    Launch(launch::Launch),
}

impl Options {
    pub(crate) fn core(&self) -> usize {
        self.core.unwrap_or_else(pin::last_core)
    }

    /// The proxies that are asked for, and installed.
    pub(crate) fn peers(&self) -> anyhow::Result<Vec<Box<dyn Peer>>> {
        let mut builds = self.longwire.clone();
        if builds.is_empty() {
            let path = PathBuf::from("target/release/longwire");
            builds.push(Build { name: "longwire".to_owned(), path });
        }
        builds.retain(|build| {
            let exists = build.path.is_file();
            if !exists {
                eprintln!("compare: there is no {}", build.path.display());
            }
            exists
        });
        anyhow::ensure!(self.longwire.is_empty() || !builds.is_empty(), "no build to compare");
        let mut peers = peers::installed(&builds);
        for name in &self.only {
            if !peers.iter().any(|peer| is(peer.as_ref(), name)) {
                let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
                anyhow::bail!("there is no {name}; installed are {}", names.join(", "));
            }
        }
        if !self.only.is_empty() {
            peers.retain(|peer| self.only.iter().any(|name| is(peer.as_ref(), name)));
        }
        Ok(peers)
    }

    pub(crate) fn scenarios(&self) -> anyhow::Result<Vec<&'static Scenario>> {
        for name in &self.scenario {
            if !scenario::ALL.iter().any(|scenario| scenario.name == name) {
                let names: Vec<_> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
                anyhow::bail!("there is no {name}; scenarios are {}", names.join(", "));
            }
        }
        let wanted = |scenario: &&Scenario| {
            self.scenario.is_empty() || self.scenario.iter().any(|name| name == scenario.name)
        };
        Ok(scenario::ALL.iter().filter(wanted).collect())
    }
}

fn is(peer: &dyn Peer, name: &str) -> bool {
    peer.name() == name || peer.family() == name
}

/// A number in that range.
fn within(range: RangeInclusive<f64>) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("expected {} to {}", range.start(), range.end())),
    }
}

pub(crate) fn build(text: &str) -> Result<Build, String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    Ok(Build { name: name.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_names_all_scenarios() {
        let mut command = Options::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for scenario in scenario::ALL {
            assert!(help.contains(scenario.name), "{} is not in --help", scenario.name);
        }
    }
}
