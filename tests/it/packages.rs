use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::{longwire, text};
use crate::deploy::{ROOT, said};
use crate::harness::peers;

/// The commands and options that `longwire ARGUMENTS --help` lists.
fn help(arguments: &[&str]) -> (Vec<String>, Vec<String>) {
    let output = longwire(&[arguments, &["--help"]].concat());
    let page = text(&output.stdout);
    let section = |title: &str| {
        let after = page.split_once(title).map_or("", |(_, after)| after);
        after.split("\n\n").next().unwrap().to_owned()
    };
    let commands = section("\nCommands:\n");
    let commands = commands.lines().filter_map(|line| line.split_whitespace().next());
    let options = section("\nOptions:\n");
    let options = options.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let is_name = |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase());
    (
        commands.filter(|name| *name != "help").map(str::to_owned).collect(),
        options.filter(|name| is_name(&&name.replace('-', "")[..])).map(str::to_owned).collect(),
    )
}

fn page() -> String {
    let output = longwire(&["man"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn completions(shell: &str, folder: &Path) -> String {
    let output = longwire(&["completions", shell]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let path = folder.join(shell);
    std::fs::write(&path, output.stdout).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
fn the_manual_page_has_every_command_and_option() {
    let page = page().replace("\\-", "-");
    let (commands, options) = help(&[]);
    assert!(commands.len() >= 6 && options.len() >= 2, "{commands:?} {options:?}");
    for name in commands {
        let (inner, options) = help(&[&name]);
        if inner.is_empty() {
            assert!(
                page.contains(&format!("\n.SS longwire {name}\n")),
                "{name} is not in:\n{page}"
            );
        }
        for inner in inner {
            assert!(page.contains(&format!("\n.SS longwire {name} {inner}\n")), "{name} {inner}");
        }
        for option in options {
            assert!(page.contains(&format!("--{option}")), "--{option} of {name}");
        }
    }
}

#[test]
fn the_manual_page_is_good_roff() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.1");
    std::fs::write(&path, page()).unwrap();
    let warnings = said(
        Command::new("man")
            .args(["--warnings", "-l", "-Tutf8", "-Z"])
            .arg(&path)
            .env("LC_ALL", "C.UTF-8"),
    );
    let warnings: Vec<_> = warnings.lines().filter(|line| line.contains("warning")).collect();
    assert!(warnings.is_empty(), "{warnings:?}");

    let lint = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&path).output();
    let lint = text(&lint.expect("mandoc (see tests/peers)").stdout);
    // A date would make the page depend on the day.
    let lint: Vec<_> = lint.lines().filter(|line| !line.contains("missing date")).collect();
    assert!(lint.is_empty(), "{lint:?}");
}

#[test]
fn completions_load_in_their_shells() {
    let folder = tempfile::tempdir().unwrap();
    let (commands, _) = help(&[]);
    let bash = completions("bash", folder.path());
    let script = format!(
        "set -eu; source {bash}; complete -p longwire; COMP_WORDS=(longwire ''); COMP_CWORD=1; \
         _longwire longwire '' longwire; echo \"${{COMPREPLY[@]}}\""
    );
    let offers = said(Command::new("bash").args(["--norc", "-c", &script]));
    let fish = completions("fish", folder.path());
    let script = format!("source {fish}; complete -C 'longwire '");
    let fish = said(Command::new("fish").args(["--no-config", "-c", &script]));
    let zsh = completions("zsh", folder.path());
    let script = format!(
        "autoload -U compinit; compinit -D -u; source {zsh}; whence -f _longwire_commands; \
         print -- $_comps[longwire]"
    );
    let zsh = said(Command::new("zsh").args(["-f", "-c", &script]));
    for (shell, offers) in [("bash", offers), ("fish", fish), ("zsh", zsh)] {
        for name in &commands {
            // zsh has NAME:DESCRIPTION in an array of that name.
            let has = |word: &str| {
                let word = word.trim_start_matches("commands=(").trim_start_matches('\'');
                word.split(':').next() == Some(name)
            };
            assert!(offers.split_whitespace().any(has), "{shell}: {name} is not in:\n{offers}");
        }
    }
}

#[test]
fn a_reader_that_has_left_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_longwire"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn the_debian_package_has_everything_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("longwire.deb");
    let tools = peers().join(".tools/bin");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut build = Command::new("deploy/debian/build");
    build.args(["--profile", "dev", "--output"]).arg(&package).current_dir(ROOT).env("PATH", path);
    said(&mut build);

    // It is not uploaded to Debian, where it would have to close a bug.
    let suppress = "--suppress-tags=initial-upload-closes-no-bugs";
    let mut lint = Command::new("lintian");
    lint.args(["--allow-root", "--fail-on=error,warning", suppress]).arg(&package);
    said(&mut lint);

    let files = folder.path().join("files");
    said(Command::new("dpkg-deb").arg("-R").arg(&package).arg(&files));
    let read = |path: &str| std::fs::read_to_string(files.join(path)).expect(path);
    assert_eq!(read("DEBIAN/conffiles").trim(), "/etc/longwire/longwire.toml");
    assert!(read("DEBIAN/control").contains("libc6 (>= "), "{}", read("DEBIAN/control"));
    // Nothing is started or restarted by an installation.
    assert!(!read("DEBIAN/postinst").contains("start"), "{}", read("DEBIAN/postinst"));
    for script in ["postinst", "prerm", "postrm"] {
        said(Command::new("sh").arg("-n").arg(files.join("DEBIAN").join(script)));
    }
    for unit in ["longwire.service", "longwire.socket"] {
        read(&format!("usr/lib/systemd/system/{unit}"));
    }
    for file in [
        "man/man1/longwire.1.gz",
        "bash-completion/completions/longwire",
        "zsh/vendor-completions/_longwire",
        "fish/vendor_completions.d/longwire.fish",
        "doc/longwire/changelog.gz",
        "doc/longwire/docs/operations.md",
    ] {
        assert!(files.join("usr/share").join(file).is_file(), "{file} is missing");
    }
    let shipped = files.join("usr/bin/longwire");
    for config in ["etc/longwire/longwire.toml", "usr/share/doc/longwire/reference.toml"] {
        said(Command::new(&shipped).args(["check", "-c"]).arg(files.join(config)));
    }
}
