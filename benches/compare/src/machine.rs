//! What the figures are about: the machine, and the versions of the proxies.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::peers::Peer;

/// A few lines of Markdown.
pub(crate) fn markdown(peers: &[Box<dyn Peer>], pace: f64) -> String {
    let mut text =
        format!("# What an event, a request and an open stream cost\n\n{}. ", hardware());
    let versions: Vec<_> = peers
        .iter()
        .filter_map(|peer| Some(format!("{} {}", peer.name(), peer.version()?)))
        .collect();
    if !versions.is_empty() {
        text += &format!("{}. ", versions.join(", "));
    }
    text += "Each cell is a median, with the least and the greatest of the rounds behind it.\n";
    if pace != 1.0 {
        text += &format!("Events and requests are paced {pace} times as fast as said below.\n");
    }
    text
}

/// Cores and kernel.
pub(crate) fn hardware() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> =
        cpuinfo.lines().filter_map(|line| line.strip_prefix("model name")).collect();
    let model =
        models.first().map_or("unknown CPU", |model| model.trim_start_matches([' ', '\t', ':']));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} × {model}, Linux {}", models.len(), kernel.trim())
}

/// The first thing that looks like a version in what a program says.
pub(crate) fn version(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    number(&String::from_utf8_lossy(&said))
}

/// The first `1.2.3` in a text: not the hash of a commit.
fn number(text: &str) -> Option<String> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.')
        .map(|word| word.trim_matches(|letter: char| !letter.is_ascii_digit()))
        .find(|word| word.contains('.') && word.chars().all(|l| l.is_ascii_digit() || l == '.'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, version) in [
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17", "2.6.12"),
            ("v2.11.7 h1:yj0Y4fYZGPkSvibBJ1sTWE33xC0fxztVyXEW5iIdUT4=", "2.11.7"),
            ("envoy  version: 9e55809337/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
        ] {
            assert_eq!(number(said).as_deref(), Some(version));
        }
    }
}
