//! What was found, as Markdown.

use crate::scenario::{Against, Measured, Scenario};
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

    /// A column compared with another row's, round by round.
    fn against(&self, other: &Self, at: usize, compare: fn(f64, f64) -> f64) -> Vec<f64> {
        let rounds = self.rounds.iter().zip(&other.rounds);
        rounds
            .filter_map(|(own, other)| match (own, other) {
                (Ok(own), Ok(other)) => Some(compare(own.values[at], other.values[at])),
                _ => None,
            })
            .collect()
    }
}

/// A column of a table: its title, and its cell for a row.
type Shown<'a> = (String, Box<dyn Fn(&Row) -> String + 'a>);

/// The columns of a scenario, and beside each what it is compared with, if that was measured.
fn columns<'a>(scenario: &'a Scenario, rows: &'a [Row]) -> Vec<Shown<'a>> {
    let mut shown: Vec<Shown<'a>> = vec![("proxy".to_owned(), Box::new(|row| row.name.clone()))];
    for (at, column) in scenario.columns.iter().enumerate() {
        let digits = column.digits;
        shown.push((column.title.to_owned(), Box::new(move |row| cell(&row.column(at), digits))));
        let (base, title, digits, compare): (_, _, _, fn(f64, f64) -> f64) = match column.against {
            None => continue,
            Some(Against::Relay) => ("relay", "× relay", 2, |own, relay| own / relay),
            Some(Against::Direct) => ("direct", "added", digits, |own, direct| own - direct),
        };
        if let Some(base) = rows.iter().find(|row| row.name == base) {
            shown.push((
                title.to_owned(),
                Box::new(move |row| cell(&row.against(base, at, compare), digits)),
            ));
        }
    }
    shown.push((
        "others, % of a core".to_owned(),
        Box::new(|row| {
            let rounds = row.rounds.iter().flatten();
            cell(&rounds.map(|measured| measured.others * 100.0).collect::<Vec<_>>(), 0)
        }),
    ));
    shown
}

/// A table, with its heading and what went wrong.
pub(crate) fn markdown(scenario: &Scenario, rows: &[Row]) -> String {
    let columns = columns(scenario, rows);
    let mut text = format!("## {}\n\n{}\n\n", scenario.title, scenario.how);
    text += &line(columns.iter().map(|(title, _)| title.clone()));
    text += &format!("|{}\n", "---|".repeat(columns.len()));
    for row in rows {
        text += &line(columns.iter().map(|(_, cell)| cell(row)));
    }
    let failures: Vec<_> = rows.iter().flat_map(failures).collect();
    if !failures.is_empty() {
        text += &format!("\n{}\n", failures.join("\n"));
    }
    text
}

fn failures(row: &Row) -> impl Iterator<Item = String> {
    row.rounds.iter().enumerate().filter_map(|(round, measured)| {
        let error = measured.as_ref().err()?;
        Some(format!("- {}, round {}: {error}", row.name, round + 1))
    })
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn cell(values: &[f64], digits: usize) -> String {
    Spread::of(values).map_or_else(|| "–".to_owned(), |spread| spread.show(digits))
}
