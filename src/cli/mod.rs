//! The command line: `run`, `check`, `reload`, `drain`, `top`, `demo`, `config`, and what packages
//! of it are made with.

mod ask;
mod demo;
mod man;
mod run;
mod top;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgGroup, Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// A reverse proxy for streaming upstreams: every event is passed on as it comes.
#[derive(Debug, Parser)]
#[command(version, styles = STYLES, arg_required_else_help = true, after_help = "\
First minute:   longwire demo
In front of a server:   longwire run --upstream http://127.0.0.1:8000
With a file:    longwire config example > longwire.toml && longwire run -c longwire.toml

Exit codes: 0 done, 1 failure while running, 2 bad command line, 78 bad configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy, from a file or straight in front of one upstream
    Run(RunArgs),
    /// Check a configuration file and say everything that is wrong with it
    Check {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Have a running process use its configuration file as it is now
    Reload(AskArgs),
    /// Have a running process end when its streams have ended
    Drain(AskArgs),
    /// Watch the open streams of a running process, and kill one
    Top(TopArgs),
    /// A model, the proxy and a chat page on this machine, to see what it does
    Demo(DemoArgs),
    /// Print configuration
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
    /// Print the completions of a shell
    Completions {
        /// "bash", "zsh", "fish", "elvish" or "powershell"
        #[arg(hide_possible_values = true)]
        shell: Shell,
    },
    /// Print the manual page, for "man -l -"
    Man,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every key with its default and what it is for
    Example,
}

/// What `run` takes.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["config", "upstream"])))]
struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Without a file: where requests go, such as http://127.0.0.1:8000
    #[arg(short, long, value_name = "URL")]
    upstream: Option<String>,
    /// Without a file: where clients connect
    #[arg(
        short,
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:8080",
        conflicts_with = "config"
    )]
    listen: SocketAddr,
    /// Without a file: where metrics are; "off" for nowhere
    #[arg(
        short,
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:9901",
        conflicts_with = "config"
    )]
    admin: AdminAddress,
    /// Serve in place of the process that runs with this file, if there is one, once this one can
    #[arg(long, requires = "config")]
    upgrade: bool,
}

/// Where a running process is asked.
#[derive(Debug, Args)]
struct AskArgs {
    /// Its configuration file, which has the admin address and the token
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Without a file: its admin address; the token is taken from LONGWIRE_ADMIN_TOKEN
    #[arg(short, long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
}

/// What `top` takes.
#[derive(Debug, Args)]
struct TopArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Print one table and exit
    #[arg(long)]
    once: bool,
    /// What to sort by: age, out, rate, silent, state, route, upstream or who
    #[arg(short, long, value_name = "COLUMN", value_enum, default_value_t = top::Sort::Age)]
    #[arg(hide_possible_values = true)]
    sort: top::Sort,
    /// Words that must all be in a row, such as "chat state:idle -alice"
    #[arg(short, long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    filter: String,
}

/// What `demo` takes.
#[derive(Debug, Args)]
struct DemoArgs {
    /// Where the chat page is
    #[arg(short, long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where metrics are
    #[arg(short, long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Where the model listens
    #[arg(short, long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    model: SocketAddr,
    /// Print the proxy's configuration and exit
    #[arg(long)]
    print_config: bool,
}

/// An address, or "off".
#[derive(Debug, Clone, Copy)]
struct AdminAddress(Option<SocketAddr>);

impl std::str::FromStr for AdminAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|address| Self(Some(address))) }
    }
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Cyan.on_default().bold())
    .usage(AnsiColor::Cyan.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Yellow.on_default());

/// EX_CONFIG of sysexits.h: "Something was found in an unconfigured or misconfigured state".
const EXIT_CONFIG: u8 = 78;

/// How a command failed.
enum Failure {
    /// The configuration is wrong; the text says how.
    Config(String),
    /// Anything else.
    Runtime(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Runtime(error.into())
    }
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check { config } => run::check(&config),
        Command::Reload(args) => ask::reload(&args),
        Command::Drain(args) => ask::drain(&args),
        Command::Top(args) => top::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Config { what: ConfigCommand::Example } => {
            print(crate::config::example());
            Ok(())
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "longwire", &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(())
        }
        Command::Man => man::page().map_err(Failure::from).map(|page| {
            print(&String::from_utf8_lossy(&page));
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(text)) => {
            complain(&text);
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Failure::Runtime(error)) => {
            complain(&format!("longwire: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; a reader that has left is not an error.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes to standard error.
fn complain(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text.as_bytes());
}
