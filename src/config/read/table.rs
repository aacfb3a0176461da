//! One table, and what was not asked for in it.

use std::collections::HashMap;
use std::time::Duration;

use toml::de::DeTable;

use super::{Document, Place, Reader, Value, Written};
use crate::config::defaults::{DURATION_MAX, DURATION_MIN, NAME_MAX_CHARS};
use crate::config::error::quoted;
use crate::config::suggest::{did_you_mean, nearest};
use crate::config::units::Invalid;

/// A table whose keys are taken out one by one. In one that was put together from several files a
/// key may be there more than once.
pub(in crate::config) struct Table<'a> {
    reader: &'a Reader<'a>,
    place: Place,
    /// What was not taken yet, in the order of the files.
    rest: Vec<Entry<'a>>,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

/// A key with its value.
struct Entry<'a> {
    key: &'a str,
    /// Where the key itself is written.
    place: Place,
    value: Value<'a>,
}

impl<'a> Table<'a> {
    /// The whole of a file.
    pub(in crate::config) fn root(reader: &'a Reader<'a>, document: &'a Document<'a>) -> Self {
        let place = Place { path: String::new(), file: document.file, span: 0..0 };
        Self::new(reader, place, document.root.get_ref())
    }

    pub(super) fn new(reader: &'a Reader<'a>, place: Place, table: &'a DeTable<'a>) -> Self {
        let mut rest: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let path = joined(&place.path, key.get_ref());
                let key_place = Place { path, span: key.span(), ..place };
                // A table is spread over many lines; its name says best where it is.
                let span = if value.get_ref().is_table() { key.span() } else { value.span() };
                let place = Place { span, ..key_place.clone() };
                let value = Value { reader, place, raw: value.get_ref() };
                Entry { key: key.get_ref(), place: key_place, value }
            })
            .collect();
        rest.sort_by_key(|entry| entry.place.position());
        Self { reader, place, rest, known: Vec::new() }
    }

    /// Adds what is in `other`, a table of the same name in another file.
    pub(in crate::config) fn append(&mut self, other: Self) {
        self.rest.extend(other.rest);
    }

    /// A table that is in no file; everything read from it is the default.
    pub(in crate::config) fn empty(reader: &'a Reader<'a>, place: Place) -> Self {
        Self { reader, place, rest: Vec::new(), known: Vec::new() }
    }

    pub(in crate::config) fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    pub(in crate::config) fn place(&self) -> &Place {
        &self.place
    }

    pub(in crate::config) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Where the value of `key` is written, if it is there and was not taken yet.
    pub(in crate::config) fn place_of(&self, key: &str) -> Option<&Place> {
        self.rest.iter().find(|entry| entry.key == key).map(|entry| entry.value.place())
    }

    /// Reports that `key`, which this table must have, is not there.
    pub(in crate::config) fn lacks(&self, key: &str, expected: &str) {
        let place = Place { path: joined(&self.place.path, key), ..self.place.clone() };
        self.reader.wrong_key(&place, format!("expected {expected}, found nothing"));
    }

    /// The value of `key`, if it is there. Asking makes the key a known one.
    pub(in crate::config) fn take(&mut self, key: &'static str) -> Option<Value<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let index = self.rest.iter().position(|entry| entry.key == key)?;
        Some(self.rest.remove(index).value)
    }

    /// The table at `key`, an empty one if it is not there.
    pub(in crate::config) fn table(&mut self, key: &'static str) -> Self {
        let place = Place { path: joined(&self.place.path, key), ..self.place.clone() };
        let table = self.take(key).and_then(|value| value.table("a table"));
        table.unwrap_or_else(|| Self::empty(self.reader, place))
    }

    /// The tables at `key` of all files as one, an empty one if there are none. Their keys may come
    /// from any file.
    pub(in crate::config) fn merged(&mut self, key: &'static str) -> Self {
        let mut merged = self.table(key);
        while let Some(value) = self.take(key) {
            if let Some(table) = value.table("a table") {
                merged.append(table);
            }
        }
        merged
    }

    /// What `read` makes of the table at `key`, which may be in one file only. If it is in others,
    /// too, they are read as well, for the problems in them.
    pub(in crate::config) fn single<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Self) -> T,
    ) -> T {
        let place = self.place_of(key).unwrap_or(&self.place).clone();
        let result = read(self.table(key));
        while let Some(value) = self.take(key) {
            let pointer = self.reader.pointer(&place);
            let message = format!("expected in one file only, found as in {pointer}");
            self.reader.problem(&value.place, message);
            if let Some(table) = value.table("a table") {
                read(table);
            }
        }
        result
    }

    /// The tables of a table of names, such as `[routes]`. `what` is one of them, for messages. If
    /// a name is there twice, both are read, for the problems in them.
    pub(in crate::config) fn named(self, what: &str) -> Vec<(String, Self)> {
        let mut named = Vec::new();
        let mut places: HashMap<&str, Place> = HashMap::new();
        for Entry { key, place, value } in self.rest {
            if !is_name(key) {
                let message = format!(
                    "expected a name of letters, digits, - and _ (at most {NAME_MAX_CHARS}), \
                     found {}",
                    quoted(key)
                );
                self.reader.problem(&place, message);
                continue;
            }
            match places.get(key) {
                Some(first) => {
                    let pointer = self.reader.pointer(first);
                    let message = format!(
                        "expected a name of its own, found {} as in {pointer}",
                        quoted(key)
                    );
                    self.reader.problem(&place, message);
                }
                None => drop(places.insert(key, place)),
            }
            if let Some(table) = value.table(&format!("a table for the {what}")) {
                named.push((key.to_owned(), table));
            }
        }
        named
    }

    /// The keys with their values, for tables whose keys are not known beforehand.
    pub(in crate::config) fn pairs(self) -> Vec<(Written<String>, Value<'a>)> {
        let pair = |Entry { key, place, value }: Entry<'a>| {
            (Written { value: key.to_owned(), text: quoted(key), place }, value)
        };
        self.rest.into_iter().map(pair).collect()
    }

    /// Keeps the values that nobody has asked for so far out of messages: they may be secrets.
    pub(in crate::config) fn hide_rest(&self) {
        self.rest.iter().for_each(|entry| self.reader.mask(entry.value.place()));
    }

    /// Reports the keys that are not known.
    pub(in crate::config) fn finish(self) {
        for Entry { key, mut place, .. } in self.rest {
            let hint = match nearest(key, self.known.iter().copied()) {
                Some(suggestion) => did_you_mean(Some(suggestion)),
                None => format!(", expected one of {}", self.known.join(", ")),
            };
            place.path.clone_from(&self.place.path);
            self.reader.wrong_key(&place, format!("unknown key {}{hint}", quoted(key)));
        }
    }
}

// === Values with a default, which also stands in for a value that is wrong ===

impl Table<'_> {
    pub(in crate::config) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        self.take(key).and_then(|value| value.boolean()).unwrap_or(default)
    }

    /// A whole number of `limits`, which are both inclusive.
    pub(in crate::config) fn integer(
        &mut self,
        key: &'static str,
        default: usize,
        limits: (usize, usize),
    ) -> usize {
        let (min, max) = limits;
        self.take(key).and_then(|value| value.integer(min, max)).unwrap_or(default)
    }

    /// A whole number of `limits`, which are both inclusive.
    pub(in crate::config) fn count(
        &mut self,
        key: &'static str,
        default: u32,
        limits: (u32, u32),
    ) -> u32 {
        let (min, max) = limits;
        let number = self.integer(key, default as usize, (min as usize, max as usize));
        u32::try_from(number).unwrap_or(default)
    }

    /// A whole number up to `max`; zero, the default, is no limit.
    pub(in crate::config) fn limit(&mut self, key: &'static str, max: usize) -> Option<usize> {
        Some(self.integer(key, 0, (0, max))).filter(|limit| *limit != 0)
    }

    /// A size of `limits` bytes, which are both inclusive.
    pub(in crate::config) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        limits: (usize, usize),
    ) -> usize {
        let (min, max) = limits;
        self.take(key).and_then(|value| value.size(min, max)).unwrap_or(default)
    }

    /// A size of `limits` bytes, which are both inclusive, or `"off"`.
    pub(in crate::config) fn size_or_off(
        &mut self,
        key: &'static str,
        default: Option<usize>,
        limits: (usize, usize),
    ) -> Option<usize> {
        let (min, max) = limits;
        self.take(key).and_then(|value| value.size_or_off(min, max)).unwrap_or(default)
    }

    /// A duration of `limits`, which are both inclusive.
    pub(in crate::config) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        limits: (Duration, Duration),
    ) -> Duration {
        let (min, max) = limits;
        self.take(key).and_then(|value| value.duration(min, max)).unwrap_or(default)
    }

    /// A duration that is not zero, or `"off"`.
    pub(in crate::config) fn deadline(
        &mut self,
        key: &'static str,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let value = self.take(key);
        value.and_then(|value| value.deadline(DURATION_MIN, DURATION_MAX)).unwrap_or(default)
    }

    /// One of a few words.
    pub(in crate::config) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.take(key)?.choice(choices)
    }

    /// The strings of an array. Wrong ones are left out, `None` is for no array at all.
    pub(in crate::config) fn list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parser: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<Vec<Written<T>>> {
        let elements = self.take(key)?.elements(&format!("an array, each {expected}"))?;
        Some(elements.iter().filter_map(|element| element.parse(expected, &parser)).collect())
    }
}

/// Whether `name` may be a metric label and part of a key without quotes.
pub(in crate::config) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_MAX_CHARS).contains(&name.len()) && name.bytes().all(allowed)
}

/// `path.key`, the key in quotes if TOML wants them.
fn joined(path: &str, key: &str) -> String {
    let key = if is_name(key) { key.to_owned() } else { quoted(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
