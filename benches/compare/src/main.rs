//! What do an event, a request and an open stream cost, through Longwire and through other proxies?
//!
//! One program starts an origin, a load client and each proxy that is installed, runs the scenarios
//! interleaved in several rounds, and prints medians with their spread as Markdown. The result
//! would change how the relay reads and writes, what it keeps per stream, and what README.md may
//! claim.

mod client;
mod clock;
mod event;
mod launch;
mod machine;
mod noise;
mod options;
mod origin;
mod peers;
mod pin;
mod poll;
mod process;
mod relay;
mod scale;
mod scenario;
mod scratch;
mod spread;
mod table;

use std::process::ExitCode;

use clap::Parser;

use options::{Options, Part};
use scenario::{Scenario, Settings};
use scratch::Scratch;
use table::Row;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.part {
        Some(Part::Relay { listen, origin }) => relay::run(*listen, *origin).map_err(Into::into),
        Some(Part::Launch(launch)) => Err(launch::run(launch)),
        Some(Part::Group(group)) => scale::group::run(group),
        Some(Part::Scale(scale)) if options.inner => scale::run(scale),
        None if options.inner => compare(&options),
        None | Some(Part::Scale(_)) => match launch::inner() {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> anyhow::Result<()> {
    let peers = options.peers()?;
    let scratch = Scratch::new()?;
    let settings =
        Settings { seconds: options.seconds, pace: options.pace, core: options.core(), scratch };
    println!("{}", machine::markdown(&peers, settings.pace));
    for scenario in options.scenarios()? {
        let rows = run(scenario, &peers, &settings, options.rounds);
        println!("{}", table::markdown(scenario, &rows));
    }
    Ok(())
}

/// All rounds of a scenario. Every other round goes backwards, so that what changes with time on
/// this machine meets all alike.
fn run(
    scenario: &Scenario,
    peers: &[Box<dyn peers::Peer>],
    settings: &Settings,
    rounds: u16,
) -> Vec<Row> {
    let peers: Vec<_> =
        peers.iter().filter(|peer| scenario.direct || peer.name() != "direct").collect();
    let mut rows: Vec<_> =
        peers.iter().map(|peer| Row { name: peer.name().to_owned(), rounds: vec![] }).collect();
    for round in 0..rounds {
        let mut order: Vec<_> = (0..peers.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let name = peers[at].name();
            eprintln!("{}, round {} of {rounds}: {name}", scenario.name, round + 1);
            let measured = (scenario.measure)(settings, peers[at].as_ref());
            rows[at].rounds.push(measured.map_err(|error| format!("{error:#}")));
        }
    }
    rows
}
