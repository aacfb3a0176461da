//! What was found, as Markdown.

use crate::scenario::{Measured, Scenario};
use crate::spread::Spread;

/// The measurements of one proxy, a round each; a round may have failed.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Result<Measured, String>>,
}

impl Row {
    /// The values of a column in the rounds that went well.
    pub(crate) fn column(&self, at: usize) -> Vec<f64> {
        self.rounds.iter().flatten().map(|measured| measured.values[at]).collect()
    }

    /// A column as a multiple of another row's, round by round.
    fn against(&self, other: &Self, at: usize) -> Vec<f64> {
        let rounds = self.rounds.iter().zip(&other.rounds);
        rounds
            .filter_map(|(own, other)| match (own, other) {
                (Ok(own), Ok(other)) => Some(own.values[at] / other.values[at]),
                _ => None,
            })
            .collect()
    }
}

/// A table, with its heading and what went wrong.
pub(crate) fn markdown(scenario: &Scenario, rows: &[Row]) -> String {
    let relay = rows.iter().find(|row| row.name == "relay");
    let ratio_at = scenario.columns.iter().position(|column| column.against_relay);
    let mut heads = vec!["proxy".to_owned()];
    for (at, column) in scenario.columns.iter().enumerate() {
        heads.push(column.title.to_owned());
        if Some(at) == ratio_at && relay.is_some() {
            heads.push("× relay".to_owned());
        }
    }
    heads.push("others, % of a core".to_owned());
    let mut text = format!("## {}\n\n{}\n\n", scenario.title, scenario.how);
    text += &line(&heads);
    text += &format!("|{}\n", "---|".repeat(heads.len()));
    let mut failures = String::new();
    for row in rows {
        let mut cells = vec![row.name.clone()];
        for (at, column) in scenario.columns.iter().enumerate() {
            cells.push(cell(&row.column(at), column.digits));
            if Some(at) == ratio_at
                && let Some(relay) = relay
            {
                cells.push(cell(&row.against(relay, at), 2));
            }
        }
        let others: Vec<_> =
            row.rounds.iter().flatten().map(|measured| measured.others * 100.0).collect();
        cells.push(cell(&others, 0));
        text += &line(&cells);
        for (round, failure) in row.rounds.iter().enumerate() {
            if let Err(error) = failure {
                failures += &format!("- {}, round {}: {error}\n", row.name, round + 1);
            }
        }
    }
    if !failures.is_empty() {
        text += &format!("\n{failures}");
    }
    text
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn cell(values: &[f64], digits: usize) -> String {
    Spread::of(values).map_or_else(|| "–".to_owned(), |spread| spread.show(digits))
}
