use crate::cli::{longwire, text, write};

const README: &str = include_str!("../../README.md");

#[test]
fn every_configuration_is_a_good_one() {
    let blocks: Vec<_> = README.split("```toml\n").skip(1).collect();
    assert!(blocks.len() >= 2, "the README shows {} configurations", blocks.len());
    for block in blocks {
        let file = write(block.split("```").next().unwrap());
        let output = longwire(&["check", "-c", file.path().to_str().unwrap()]);
        assert!(output.status.success(), "{}\n{block}", text(&output.stderr));
    }
}

#[test]
fn every_command_exists() {
    let makefile = include_str!("../../Makefile");
    let modules = include_str!("main.rs");
    let word = |rest: &'static str| {
        rest.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-').next().unwrap()
    };
    let commands = README.split(['\n', '`']).map(str::trim);
    let targets: Vec<_> =
        commands.filter_map(|line| line.strip_prefix("make ")).map(word).collect();
    assert!(targets.len() >= 5, "{targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target} is not in the Makefile");
    }
    for module in README.split("--test it ").skip(1).map(word) {
        assert!(modules.contains(&format!("mod {module};")), "there are no tests {module}");
    }
}
