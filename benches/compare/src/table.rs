//! What was found, as Markdown.

use crate::peers;
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
    text += &verdict(scenario, rows);
    let failures: Vec<_> = rows.iter().flat_map(failures).collect();
    if !failures.is_empty() {
        text += &format!("\n{}\n", failures.join("\n"));
    }
    text
}

/// How far this machine lets us see: what two copies of the same build differ by.
fn verdict(scenario: &Scenario, rows: &[Row]) -> String {
    let relay = rows.iter().find(|row| row.name == "relay");
    let median = |row: &Row| {
        let against = scenario.columns[0].against == Some(Against::Relay);
        let values = match relay {
            Some(relay) if against => row.against(relay, 0, |own, relay| own / relay),
            _ => row.column(0),
        };
        Some(Spread::of(&values)?.median)
    };
    let pair = rows.iter().find_map(|twin| {
        let name = twin.name.strip_suffix(peers::TWIN)?.trim_end();
        let row = rows.iter().find(|row| row.name == name)?;
        Some((name, median(row)?, median(twin)?))
    });
    match pair {
        Some((name, one, other)) if scenario.judged => judge(name, one, other),
        _ => String::new(),
    }
}

fn judge(name: &str, one: f64, other: f64) -> String {
    let apart = (one - other).abs() / one.min(other);
    let percent = apart * 100.0;
    if apart <= AGREE {
        format!("\nQuiet enough: the two copies of {name} are {percent:.1} % apart.\n")
    } else {
        format!(
            "\n**Too noisy to tell**: the two copies of {name}, which are the same, \
             are {percent:.1} % apart.\n"
        )
    }
}

/// How far two copies may be apart.
const AGREE: f64 = 0.05;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Column;

    const SCENARIO: Scenario = Scenario {
        name: "weight",
        title: "Weight",
        how: "On scales.",
        columns: &[Column { title: "kg", digits: 1, against: Some(Against::Relay) }],
        direct: false,
        judged: true,
        measure: |_, _| anyhow::bail!("no scales"),
    };

    fn row(name: &str, rounds: &[Option<f64>]) -> Row {
        let measured = |value: &Option<f64>| {
            let value = value.ok_or("it fell")?;
            Ok(Measured { values: vec![value], others: 0.25 })
        };
        Row { name: name.to_owned(), rounds: rounds.iter().map(measured).collect() }
    }

    #[test]
    fn a_table_has_ratios_of_rounds_and_says_what_failed() {
        let rows = [
            row("relay", &[Some(1.0), Some(2.0), Some(3.0)]),
            row("other", &[Some(2.0), None, Some(3.0)]),
            row("none", &[None, None, None]),
        ];
        let text = "## Weight\n\nOn scales.\n\n\
            | proxy | kg | × relay | others, % of a core |\n\
            |---|---|---|---|\n\
            | relay | 2.0 (1.0–3.0) | 1.00 | 25 |\n\
            | other | 2.5 (2.0–3.0) | 1.50 (1.00–2.00) | 25 |\n\
            | none | – | – | – |\n\n\
            - other, round 2: it fell\n\
            - none, round 1: it fell\n- none, round 2: it fell\n- none, round 3: it fell\n";
        assert_eq!(markdown(&SCENARIO, &rows), text);
    }

    #[test]
    fn two_copies_say_whether_it_is_quiet() {
        let said =
            |twin| verdict(&SCENARIO, &[row("a", &[Some(100.0)]), row("a (again)", &[Some(twin)])]);
        assert_eq!(said(105.0), "\nQuiet enough: the two copies of a are 5.0 % apart.\n");
        assert!(said(94.0).contains("Too noisy"));
        assert_eq!(verdict(&SCENARIO, &[row("a", &[Some(1.0)])]), "", "nothing to judge by");
    }
}
