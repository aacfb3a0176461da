use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{Page, Peer, soon, until_within};
use crate::{metrics, observe};

const RULES: &str = include_str!("../../deploy/prometheus/longwire.rules.yml");
const RULE_TESTS: &str = include_str!("../../deploy/prometheus/longwire.rules.test.yml");
const CONFIG: &str = include_str!("../../deploy/prometheus/prometheus.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/longwire.json");

/// Labels that Prometheus adds to every sample.
const ADDED: [&str; 2] = ["job", "instance"];

/// Words of PromQL that are no metrics although nothing opens behind them.
const WORDS: [&str; 10] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "offset",
];

// === promtool ===

/// A folder with the files as they come, and a token where the configuration says.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    for (name, text) in [
        ("prometheus.yml", &*CONFIG.replace("/etc/prometheus", place)),
        ("longwire.rules.yml", RULES),
        ("longwire.rules.test.yml", RULE_TESTS),
        ("longwire.token", "secret\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Whether promtool is content, and what it says.
async fn promtool(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Peer::program(&[&["promtool"], arguments].concat());
    let output = soon("promtool", command.current_dir(folder).output()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn promtool_is_content_with_the_configuration_and_the_rules() {
    let folder = installed();
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "longwire.rules.yml"],
        ["test", "rules", "longwire.rules.test.yml"],
    ] {
        let (good, said) = promtool(folder.path(), &arguments).await;
        assert!(good, "{arguments:?}: {said}");
    }
    // Another threshold is seen: the tests do test.
    for (ours, other) in [("> 0.05", "> 0.5"), ("for: 15m", "for: 1m"), ("== 0", "== 1")] {
        let changed = RULES.replace(ours, other);
        assert_ne!(changed, RULES, "{ours}");
        std::fs::write(folder.path().join("longwire.rules.yml"), changed).unwrap();
        let (good, _) =
            promtool(folder.path(), &["test", "rules", "longwire.rules.test.yml"]).await;
        assert!(!good, "{ours} became {other}, and nobody saw it");
    }
}

#[test]
fn every_alert_has_a_test() {
    let alerts: Vec<_> =
        RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 13, "{alerts:?}");
    for alert in alerts {
        let line = format!("alertname: {alert}\n");
        let fires = RULE_TESTS
            .split(&line)
            .skip(1)
            .any(|rest| rest.trim_start().starts_with("exp_alerts:"));
        assert!(fires, "no test lets {alert} fire");
    }
}

// === Names ===

/// What of a page an expression names.
#[derive(Default)]
struct Names {
    /// Metrics, each with its matchers.
    metrics: Vec<(String, Vec<(String, String)>)>,
    /// Labels that it groups by.
    labels: Vec<String>,
}

/// Finds the names in PromQL that promtool has read: every word that is no function, no keyword
/// and no number is a metric.
fn names(expression: &str) -> Names {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let mut found = Names::default();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = &rest[1 + rest[1..].find('"').unwrap() + 1..];
        } else if first == '[' {
            rest = &rest[rest.find(']').unwrap() + 1..];
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|letter| is_word(letter) || letter == '.');
        } else if is_word(first) {
            let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            let next = behind.trim_start();
            let inside = |close| next[1..].split_once(close).unwrap();
            if WORDS.contains(&word) {
                if next.starts_with('(') && !["and", "or", "unless"].contains(&word) {
                    let (labels, behind) = inside(')');
                    found.labels.extend(labels.split(',').map(|label| label.trim().to_owned()));
                    rest = behind;
                }
            } else if behind.starts_with('{') {
                let (matchers, behind) = inside('}');
                found.metrics.push((word.into(), matchers_of(matchers)));
                rest = behind;
            } else if !next.starts_with('(') && !matches!(next.split(' ').next(), Some("by")) {
                found.metrics.push((word.into(), Vec::new()));
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// `label="value",…` with any operator.
fn matchers_of(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((label, behind)) = rest.split_once('"') {
        let (value, behind) = behind.split_once('"').unwrap();
        let label = label.trim_matches(|letter: char| " ,=!~".contains(letter));
        found.push((label.into(), value.into()));
        rest = behind;
    }
    found
}

#[test]
fn names_are_found() {
    let found = names(
        "sum by (job, le) (rate(a_b{kind!=\"x y\", c=~\"$d\"}[5m])) / on (job) group_left c:d > 1e6 \
         and time() - e",
    );
    let metrics: Vec<_> = found.metrics.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(metrics, ["a_b", "c:d", "e"]);
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(found.metrics[0].1, [pair("kind", "x y"), pair("c", "$d")]);
    assert_eq!(found.labels, ["job", "le", "job"]);
}

/// Checks an expression against a page; gives the labels that its result may have.
fn exists(page: &Page, place: &str, expression: &str) -> BTreeSet<String> {
    let found = names(expression);
    assert!(!found.metrics.is_empty(), "{place} names no metric: {expression}");
    let mut labels: BTreeSet<String> = ADDED.map(str::to_owned).into();
    for (metric, matchers) in &found.metrics {
        let mut own: BTreeSet<String> = ADDED.map(str::to_owned).into();
        let mut family = None;
        if let Some((level, _)) = metric.split_once(':') {
            let is_recorded = RULES.contains(&format!("- record: {metric}\n"));
            assert!(is_recorded, "{place}: nobody records {metric}");
            own.extend(level.split('_').map(str::to_owned));
        } else if metric != "up" {
            let of = page.family_of(metric);
            let (_, of) = of.unwrap_or_else(|| panic!("{place}: there is no metric {metric}"));
            own.extend(of.labels().into_iter().map(str::to_owned));
            own.extend(metric.ends_with("_bucket").then(|| "le".to_owned()));
            family = Some(of);
        }
        for (label, value) in matchers {
            assert!(own.contains(label), "{place}: {metric} has no label {label}");
            let listed = family.filter(|_| !metrics::FREE.contains(&label.as_str()));
            let Some(family) = listed.filter(|_| !ADDED.contains(&label.as_str())) else {
                continue;
            };
            for value in value.split('|') {
                let known = family.values(label);
                assert!(known.contains(value), "{place}: {label}={value} of {metric}: {known:?}");
            }
        }
        labels.append(&mut own);
    }
    for label in &found.labels {
        assert!(labels.contains(label), "{place} groups by {label}: {expression}");
    }
    labels
}

/// What stands between `{{` and `}}`.
fn templates(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim())
}

/// Each rule's text, from its name to the next one's.
fn rules() -> Vec<&'static str> {
    let starts =
        RULES.match_indices("      - record: ").chain(RULES.match_indices("      - alert: "));
    let mut starts: Vec<_> = starts.map(|(at, _)| at).collect();
    starts.sort_unstable();
    let ends = starts.iter().copied().skip(1).chain([RULES.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &RULES[start..end]).collect()
}

/// A rule's expression: one line, or a block that is indented further.
fn expression(rule: &str) -> String {
    let behind = rule.split_once("expr: ").unwrap().1;
    match behind.strip_prefix("|\n") {
        None => behind.lines().next().unwrap().into(),
        Some(block) => {
            let lines = block.lines().take_while(|line| line.starts_with("          "));
            lines.map(str::trim).collect::<Vec<_>>().join(" ")
        }
    }
}

#[tokio::test]
async fn rules_name_only_what_is_on_the_page() {
    let page = metrics::page().await;
    for rule in rules() {
        let name = rule.lines().next().unwrap().trim();
        let labels = exists(&page, name, &expression(rule));
        for template in templates(rule) {
            if let Some(label) = template.strip_prefix("$labels.") {
                assert!(labels.contains(label), "{name} says {label}");
            }
        }
    }
}

// === The dashboard ===

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

/// Every expression, with the place where it stands and the text that goes with it.
fn expressions(dashboard: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let [expression, legend] =
                ["expr", "legendFormat"].map(|key| target[key].as_str().unwrap().to_owned());
            found.push((panel["title"].to_string(), expression, legend));
        }
    }
    for one in dashboard["annotations"]["list"].as_array().unwrap() {
        if let Some(expression) = one["expr"].as_str() {
            let text = one["titleFormat"].as_str().unwrap();
            found.push((one["name"].to_string(), expression.into(), text.into()));
        }
    }
    found
}

#[test]
fn every_panel_says_what_it_shows() {
    let dashboard = dashboard();
    let all = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "each has an id of its own");
    let rows: Vec<_> = all.iter().filter(|panel| panel["type"] == "row").collect();
    assert!(rows.len() >= 8 && rows.iter().all(|row| row["title"].is_string()));
    let panels = panels(&dashboard);
    assert!(panels.len() >= 40, "{}", panels.len());
    let mut titles = BTreeSet::new();
    let mut cells = BTreeMap::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(titles.insert(title), "{title} is there twice");
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        let units = ["none", "s", "percentunit", "bytes", "Bps", "ops", "reqps"];
        assert!(units.contains(&unit), "{title}: {unit}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(x + w <= 24, "{title}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            let other = cells.insert(cell, title);
            assert_eq!(other, None, "{title} lies upon it");
        }
    }
}

#[test]
fn every_variable_is_there() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<_> = variables.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "instance", "route", "upstream"]);
    for name in DASHBOARD.split('$').skip(1) {
        let name = name.trim_start_matches('{');
        let end = name.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let name = &name[..end.unwrap()];
        let known = variables.contains(&name) || ["__rate_interval", "__all"].contains(&name);
        assert!(known, "there is no variable {name}");
    }
}

/// As Grafana would send it.
fn filled(expression: &str) -> String {
    let variables = ["$instance", "$route", "$upstream"];
    let filled = expression.replace("$__rate_interval", "5m");
    variables.iter().fold(filled, |text, name| text.replace(name, ".*"))
}

#[tokio::test]
async fn promtool_reads_every_expression_of_the_dashboard() {
    let dashboard = dashboard();
    let folder = tempfile::tempdir().unwrap();
    let check = async |expressions: Vec<String>| {
        let rules = expressions.iter().enumerate().map(|(number, expression)| {
            json!({ "record": format!("panel:expression:{number}"), "expr": expression })
        });
        let rules: Vec<_> = rules.collect();
        // JSON is YAML.
        let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
        std::fs::write(folder.path().join("rules.yml"), file.to_string()).unwrap();
        promtool(folder.path(), &["check", "rules", "rules.yml"]).await
    };
    let mut all: Vec<_> =
        expressions(&dashboard).iter().map(|(_, expression, _)| filled(expression)).collect();
    let (good, said) = check(all.clone()).await;
    assert!(good, "{said}");
    all[0].push(')');
    assert!(!check(all).await.0, "promtool reads them at all");
}

#[tokio::test]
async fn the_dashboard_names_only_what_is_on_the_page() {
    let page = metrics::page().await;
    let dashboard = dashboard();
    for (place, expression, legend) in expressions(&dashboard) {
        // What a variable stands for is not compared.
        let labels = exists(&page, &place, &filled(&expression));
        for label in templates(&legend) {
            assert!(labels.contains(label), "{place} says {label}");
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inside.unwrap().rsplit_once(", ").unwrap();
        assert!(exists(&page, query, &filled(series)).contains(label), "{query}");
    }
}

// === make observe ===

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn observe_shows_the_demo_and_leaves_nothing_behind() {
    let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/observe"));
    let folder = tempfile::tempdir().unwrap();
    let [listen, admin, model, prometheus] = [(); 4].map(|()| free_address());
    let longwire = env!("CARGO_BIN_EXE_longwire");
    let mut child = Peer::program(&[script.to_str().unwrap(), longwire])
        .args(["--listen", &listen, "--admin", &admin, "--model", &model])
        .args(["--prometheus", &prometheus])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = async {
        while let Some(line) = stdout.next_line().await.unwrap() {
            if line.contains("Ctrl-C ends everything") {
                return true;
            }
        }
        false
    };
    let told = tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
    assert!(told, "{:?}", child.wait_with_output().await.unwrap());
    let address = prometheus.parse().unwrap();
    until_within(Duration::from_secs(30), "a chat is seen", || async {
        let chats = "sum(longwire_streams_opened_total{route=\"chat\"})";
        observe::query(address, chats).await.is_some_and(|count| count > 0.0)
    })
    .await;
    let rules = observe::get(address, "/api/v1/rules").await;
    assert!(rules.to_string().contains("LongwireStreamsFail"), "its rules are loaded: {rules}");

    let pid = child.id().unwrap().to_string();
    let killed = std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(killed.success());
    let output = soon("its end", child.wait_with_output()).await.unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its folder is gone");
    for address in [listen, admin, model, prometheus] {
        let connected = tokio::net::TcpStream::connect(&address).await;
        assert!(connected.is_err(), "somebody still listens at {address}");
    }
}
