//! Which rows are wanted, in which order, and how many. Pure.

use percent_encoding::percent_decode_str;

use super::kind::Kind;
use super::reason::CloseReason;
use super::row::Row;
use super::stream::State;

/// Rows that are given if nobody says how many.
pub const LIMIT_DEFAULT: usize = 100;

/// Rows that are given at most.
pub const LIMIT_MAX: usize = 10_000;

/// What to order by.
#[derive(Clone, Copy)]
enum Column {
    Number(fn(&Row<'_>) -> f64),
    Text(for<'r> fn(&'r Row<'_>) -> &'r str),
}

/// What is not known is less than anything.
fn or_least(number: Option<f64>) -> f64 {
    number.unwrap_or(-1.0)
}

/// The columns, by name.
const COLUMNS: &[(&str, Column)] = &[
    ("id", Column::Text(|row| row.id)),
    ("route", Column::Text(|row| row.route)),
    ("upstream", Column::Text(|row| row.upstream)),
    ("endpoint", Column::Text(|row| row.endpoint.as_deref().unwrap_or_default())),
    ("kind", Column::Text(|row| row.kind)),
    ("principal", Column::Text(|row| row.principal.unwrap_or_default())),
    ("client", Column::Text(|row| row.client.as_deref().unwrap_or_default())),
    ("state", Column::Text(|row| row.state)),
    ("started", Column::Number(|row| row.started)),
    ("age", Column::Number(|row| row.age)),
    ("first_byte", Column::Number(|row| or_least(row.first_byte))),
    ("since_upstream", Column::Number(|row| or_least(row.since_upstream))),
    ("since_client", Column::Number(|row| or_least(row.since_client))),
    ("events_in", Column::Number(|row| row.events_in as f64)),
    ("events_out", Column::Number(|row| row.events_out as f64)),
    ("events_per_second", Column::Number(|row| row.events_per_second)),
    ("bytes_in", Column::Number(|row| row.bytes_in as f64)),
    ("bytes_out", Column::Number(|row| row.bytes_out as f64)),
    ("heartbeats", Column::Number(|row| row.heartbeats as f64)),
    ("slowest_gap", Column::Number(|row| row.slowest_gap)),
];

/// A question about the table.
#[derive(Default)]
pub struct Query {
    route: Option<String>,
    upstream: Option<String>,
    endpoint: Option<String>,
    kind: Option<String>,
    state: Option<String>,
    principal: Option<String>,
    reason: Option<String>,
    /// In lower case.
    text: Option<String>,
    /// Whether the greatest comes first.
    sort: Option<(Column, bool)>,
    limit: Option<usize>,
}

impl Query {
    /// Reads the part of a target behind its `?`; `past` says that it is about those that have
    /// ended. An error says what is wrong with it.
    pub fn parse(text: &str, past: bool) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8();
            let value = value.map_err(|_| format!("{name}: not UTF-8"))?;
            query.set(name, &value, past)?;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str, past: bool) -> Result<(), String> {
        let among = |names: &mut dyn Iterator<Item = &'static str>| {
            let names: Vec<_> = names.collect();
            match value.is_empty() || names.contains(&value) {
                true => Ok(()),
                false => Err(format!("{name}: expected {}, found \"{value}\"", names.join(", "))),
            }
        };
        let place = match name {
            "route" => &mut self.route,
            "upstream" => &mut self.upstream,
            "endpoint" => &mut self.endpoint,
            "principal" => &mut self.principal,
            "q" => &mut self.text,
            "kind" => {
                among(&mut Kind::ALL.iter().map(|kind| kind.label()))?;
                &mut self.kind
            }
            "state" => {
                among(&mut State::ALL.iter().map(|state| state.label()))?;
                &mut self.state
            }
            "reason" if past => {
                among(&mut CloseReason::ALL.iter().map(|reason| reason.row().label))?;
                &mut self.reason
            }
            "sort" => return self.set_sort(value),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                let expected = || format!("limit: expected 1 to {LIMIT_MAX}, found \"{value}\"");
                self.limit = Some(limit.ok_or_else(expected)?);
                return Ok(());
            }
            _ => return Err(format!("there is no parameter \"{name}\"")),
        };
        *place = (!value.is_empty()).then(|| match name {
            "q" => value.to_lowercase(),
            _ => value.to_owned(),
        });
        Ok(())
    }

    fn set_sort(&mut self, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        let name = value.trim_start_matches('-');
        let column = COLUMNS.iter().find(|(column, _)| *column == name);
        let Some((_, column)) = column else {
            let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
            return Err(format!("sort: expected {}, found \"{value}\"", names.join(", ")));
        };
        self.sort = Some((*column, value.starts_with('-')));
        Ok(())
    }

    /// The rows that are wanted, and how many there would be without a limit. Without an order they
    /// stay in theirs.
    pub fn answer<'r>(&self, rows: impl Iterator<Item = Row<'r>>) -> (usize, Vec<Row<'r>>) {
        let mut rows: Vec<_> = rows.filter(|row| self.wants(row)).collect();
        if let Some((column, descending)) = self.sort {
            rows.sort_by(|one, other| {
                let order = match column {
                    Column::Number(of) => of(one).total_cmp(&of(other)),
                    Column::Text(of) => of(one).cmp(of(other)),
                };
                if descending { order.reverse() } else { order }
            });
        }
        let matched = rows.len();
        rows.truncate(self.limit.unwrap_or(LIMIT_DEFAULT));
        (matched, rows)
    }

    fn wants(&self, row: &Row<'_>) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        let reason = row.ended.map(|ended| ended.reason);
        is(&self.route, Some(row.route))
            && is(&self.upstream, Some(row.upstream))
            && is(&self.endpoint, row.endpoint.as_deref())
            && is(&self.kind, Some(row.kind))
            && is(&self.state, Some(row.state))
            && is(&self.principal, row.principal)
            && is(&self.reason, reason)
            && self
                .text
                .as_deref()
                .is_none_or(|text| row.texts().any(|value| value.to_lowercase().contains(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::live::past::tests::identity;
    use crate::live::row::View;
    use crate::live::stream::{Identity, Stream};

    fn ids(query: &str) -> Result<String, String> {
        let now = clock::now();
        let streams: Vec<_> = [("1", "alice", 5), ("2", "bob b", 9), ("3", "Bob", 7)]
            .map(|(id, principal, bytes)| {
                let stream = Stream::new(now);
                let principal = Some(principal.into());
                stream.identify(0, Identity { principal, ..identity(id) });
                stream.came_down(bytes, 0, now);
                stream
            })
            .into();
        let view = View { now, draining: false, trusted: true };
        let query = Query::parse(query, false)?;
        let (matched, rows) = query.answer(streams.iter().filter_map(|s| Row::new(s, view)));
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        Ok(format!("{matched}: {}", ids.join(" ")))
    }

    #[test]
    fn rows_are_chosen_and_ordered() {
        for (query, expected) in [
            ("", "3: 1 2 3"),
            ("route=&kind=&sort=", "3: 1 2 3"),
            ("sort=bytes_out", "3: 1 3 2"),
            ("sort=-bytes_out&limit=2", "3: 2 3"),
            ("sort=-first_byte", "3: 1 2 3"),
            ("sort=principal", "3: 3 1 2"),
            ("route=chat&upstream=models&kind=http", "3: 1 2 3"),
            ("route=cha", "0: "),
            ("endpoint=a", "0: "),
            ("principal=bob+b", "1: 2"),
            ("principal=bob%20b", "1: 2"),
            ("q=bOb", "2: 2 3"),
            ("q=model", "3: 1 2 3"),
            ("state=streaming", "3: 1 2 3"),
            ("state=idle", "0: "),
        ] {
            assert_eq!(ids(query).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (query, expected) in [
            ("colour=red", "there is no parameter \"colour\""),
            ("kind=tcp", "kind: expected http, stream, sse, websocket, found \"tcp\""),
            ("state=x", "state: expected waiting, streaming, idle, stalled, draining, found \"x\""),
            ("limit=0", "limit: expected 1 to 10000, found \"0\""),
            ("limit=10001", "limit: expected 1 to 10000, found \"10001\""),
            ("limit=", "limit: expected 1 to 10000, found \"\""),
            ("reason=killed", "there is no parameter \"reason\""),
            ("q=%FF", "q: not UTF-8"),
        ] {
            assert_eq!(Query::parse(query, false).err().as_deref(), Some(expected), "{query}");
        }
        assert!(
            Query::parse("sort=-color", false).err().unwrap().starts_with("sort: expected id,")
        );
        assert!(Query::parse("reason=killed", true).is_ok());
        assert!(Query::parse("reason=x", true).is_err());
    }
}
