//! `longwire reload` and `longwire drain`, and whatever else asks a running process at its admin
//! address.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{AskArgs, Failure, print, run};
use crate::config::model::Bind;

/// Until it answers: reloading reads files.
const PATIENCE: Duration = Duration::from_secs(30);

/// The variable with the token, as the documentation's examples name it.
const TOKEN: &str = "LONGWIRE_ADMIN_TOKEN";

/// Where the process is asked, and what it wants to see.
pub(super) struct Admin {
    bind: Bind,
    token: Option<String>,
}

pub(super) fn reload(args: &AskArgs) -> Result<(), Failure> {
    let (status, body) = admin(args)?.ask("POST", "/-/reload")?;
    match status {
        200 => print(&body),
        422 => return Err(Failure::Config(body)),
        _ => return Err(refused(status, &body)),
    }
    Ok(())
}

pub(super) fn drain(args: &AskArgs) -> Result<(), Failure> {
    match admin(args)?.ask("POST", "/-/drain")? {
        (202, body) => print(&body),
        (status, body) => return Err(refused(status, &body)),
    }
    Ok(())
}

fn refused(status: u16, body: &str) -> Failure {
    anyhow::anyhow!("the process answered {status}: {}", body.trim_end()).into()
}

/// From the configuration file if there is one; else what was given, with the token of the
/// environment.
pub(super) fn admin(args: &AskArgs) -> Result<Admin, Failure> {
    let token = || std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
    let Some(file) = &args.config else {
        return Ok(Admin { bind: Bind::Tcp(args.admin), token: token() });
    };
    let config = run::load(file)?.config;
    let admin = config.admin.context("admin.bind is \"off\": send SIGHUP or SIGTERM instead")?;
    let token = admin.token.map(|token| token.expose().to_owned());
    Ok(Admin { bind: admin.bind, token })
}

impl Admin {
    /// Status and body of the answer.
    pub(super) fn ask(&self, method: &str, path: &str) -> anyhow::Result<(u16, String)> {
        let mut answer = String::new();
        let mut stream = self.open(method, path, PATIENCE)?;
        stream.read_to_string(&mut answer).with_context(|| self.nobody())?;
        parse(&answer)
    }

    /// The answer as it comes; a read fails after so much silence.
    pub(super) fn open(
        &self,
        method: &str,
        path: &str,
        silence: Duration,
    ) -> anyhow::Result<Box<dyn Read + Send>> {
        let host = match &self.bind {
            Bind::Tcp(address) => address.to_string(),
            Bind::Unix(_) => "localhost".to_owned(),
        };
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}\r\n",
            token.unwrap_or_default()
        );
        let opened: io::Result<Box<dyn Read + Send>> = match &self.bind {
            Bind::Tcp(address) => TcpStream::connect_timeout(&reachable(*address), PATIENCE)
                .and_then(|mut stream| {
                    stream.set_read_timeout(Some(silence))?;
                    stream.write_all(request.as_bytes())?;
                    Ok(Box::new(stream) as Box<dyn Read + Send>)
                }),
            Bind::Unix(path) => UnixStream::connect(path).and_then(|mut stream| {
                stream.set_read_timeout(Some(silence))?;
                stream.write_all(request.as_bytes())?;
                Ok(Box::new(stream) as Box<dyn Read + Send>)
            }),
        };
        opened.with_context(|| self.nobody())
    }

    fn nobody(&self) -> String {
        format!("nobody answers at the admin address, {}", self.bind)
    }
}

/// What listens everywhere is here, too.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The answer of a process of ours, which has a length and ends the connection.
fn parse(answer: &str) -> anyhow::Result<(u16, String)> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("no whole answer came") };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("what answers is not longwire")?, body.to_owned()))
}
