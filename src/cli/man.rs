//! `longwire man`: one page about every command, made from the command line itself.

use std::io::{self, Write};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;

/// What the command line does not know of itself.
const MORE: &str = r#".SH EXAMPLES
In front of a server, without a file:
.PP
.EX
longwire run \-\-upstream http://127.0.0.1:8000
.EE
.PP
With a file:
.PP
.EX
longwire config example > longwire.toml
longwire check \-c longwire.toml
longwire run \-c longwire.toml
.EE
.SH FILES
.TP
.I /etc/longwire/longwire.toml
The configuration that the service reads.
"longwire config example" prints every key with its default.
.SH "EXIT STATUS"
.TP
.B 0
It is done.
.TP
.B 1
It failed while it ran.
.TP
.B 2
The command line is wrong.
.TP
.B 78
The configuration is wrong.
"#;

/// The manual page in roff, for `man -l -`.
pub(super) fn page() -> io::Result<Vec<u8>> {
    let mut cli = Cli::command().subcommand_value_name("command");
    cli.build();
    let mut page = Vec::new();
    let man = Man::new(cli.clone());
    // It has no date of its own: the same source makes the same page.
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, ".TH LONGWIRE 1 \"\" \"longwire {version}\"")?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    writeln!(page, ".SH COMMANDS")?;
    commands(&cli, &mut page)?;
    page.extend_from_slice(MORE.as_bytes());
    Ok(page)
}

/// A section of every command beneath `parent` that does something by itself.
fn commands(parent: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for command in parent.get_subcommands() {
        if command.get_name() == "help" {
            continue;
        }
        if command.has_subcommands() {
            commands(command, page)?;
            continue;
        }
        writeln!(page, ".SS {}", command.get_bin_name().unwrap_or_default())?;
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "{about}.")?;
        let mut options = Vec::new();
        let command = command.clone().mut_arg("help", |help| help.hide(true));
        Man::new(command).render_options_section(&mut options)?;
        // They belong to the command, and need no heading of their own.
        let options = String::from_utf8_lossy(&options);
        page.extend_from_slice(options.replacen(".SH OPTIONS\n", "", 1).as_bytes());
    }
    Ok(())
}
