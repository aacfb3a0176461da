const README: &str = include_str!("../../README.md");

#[test]
fn every_command_exists() {
    let makefile = include_str!("../../Makefile");
    let modules = include_str!("main.rs");
    let word = |rest: &'static str| {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        rest.split(|letter| !is_part(letter)).next().unwrap()
    };
    let commands = README.split(['\n', '`']).map(str::trim);
    let targets: Vec<_> =
        commands.filter_map(|line| line.strip_prefix("make ")).map(word).collect();
    assert!(targets.len() >= 5, "{targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target} is not in the Makefile");
    }
    for module in README.split("--test it ").skip(1).map(word) {
        assert!(modules.contains(&format!("mod {module}")), "there are no tests {module}");
    }
}
