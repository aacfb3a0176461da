//! One value of a file, and how to get something typed out of it.

use std::time::Duration;

use toml::de::DeValue;

use super::{Place, Reader, Table};
use crate::config::error::{quoted, shortened};
use crate::config::interpolate::{BadReference, interpolate};
use crate::config::suggest::{did_you_mean, nearest};
use crate::config::units::{self, Invalid};

/// A value together with its place.
pub(in crate::config) struct Value<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) place: Place,
    pub(super) raw: &'a DeValue<'a>,
}

/// Something read, which still knows how and where it was written, for messages.
#[derive(Debug, Clone)]
pub(in crate::config) struct Written<T> {
    /// What it means.
    pub value: T,
    /// As it is written, in quotes; what came from the environment is not in it.
    pub text: String,
    /// Where it is written.
    pub place: Place,
}

/// Whether a string may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

impl<'a> Value<'a> {
    pub(in crate::config) fn place(&self) -> &Place {
        &self.place
    }

    /// Reports that this is not what was expected.
    pub(in crate::config) fn unexpected(&self, expected: &str) {
        let message = format!("expected {expected}, found {}", self.found(Shown::Yes));
        self.reader.problem(&self.place, message);
    }

    /// Reports that this does not fit to what stands elsewhere.
    pub(in crate::config) fn misfit(&self, expected: &str) {
        let message = format!("expected {expected}, found {}", self.found(Shown::Yes));
        self.reader.misplaced(&self.place, message);
    }

    pub(in crate::config) fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    pub(in crate::config) fn is_table(&self) -> bool {
        self.raw.is_table()
    }

    pub(in crate::config) fn is_array(&self) -> bool {
        self.raw.is_array()
    }

    pub(in crate::config) fn boolean(&self) -> Option<bool> {
        let boolean = self.raw.as_bool();
        if boolean.is_none() {
            self.unexpected("true or false");
        }
        boolean
    }

    /// A whole number from `min` to `max`.
    pub(in crate::config) fn integer(&self, min: usize, max: usize) -> Option<usize> {
        let number = self
            .raw
            .as_integer()
            .and_then(|integer| usize::from_str_radix(integer.as_str(), integer.radix()).ok())
            .filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.unexpected(&format!("{min} to {max}"));
        }
        number
    }

    /// A string that `parser` understands; `expected` says what if there is no string.
    pub(in crate::config) fn parse<T>(
        &self,
        expected: &str,
        parser: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<Written<T>> {
        self.parse_shown(Shown::Yes, expected, parser)
    }

    /// As [`Value::parse`], but the text appears in no message.
    pub(in crate::config) fn parse_secret<T>(
        &self,
        expected: &str,
        parser: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<Written<T>> {
        self.reader.mask(&self.place);
        self.parse_shown(Shown::No, expected, parser)
    }

    /// One of a few words.
    pub(in crate::config) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let expected = quoted_words(&words);
        let written = self.parse(&expected, |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let invalid = Invalid::new(expected.as_str());
                match nearest(&text.to_ascii_lowercase(), words.iter().copied()) {
                    Some(word) => invalid.suggest(word),
                    None => invalid,
                }
            })
        })?;
        Some(written.value)
    }

    /// A duration from `min` to `max`.
    pub(in crate::config) fn duration(&self, min: Duration, max: Duration) -> Option<Duration> {
        self.duration_or(None, min, max).flatten()
    }

    /// A duration as of [`Value::duration`], or `"off"`, which is `Some(None)`.
    pub(in crate::config) fn deadline(
        &self,
        min: Duration,
        max: Duration,
    ) -> Option<Option<Duration>> {
        self.duration_or(Some("off"), min, max)
    }

    /// A number from `min` to `max`, with a fraction or without.
    pub(in crate::config) fn number(&self, min: f64, max: f64) -> Option<f64> {
        let number = match self.raw {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            _ => None,
        };
        // A range holds no NaN.
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.unexpected(&format!("a number from {min} to {max}"));
        }
        number
    }

    /// A size of `min` to `max` bytes.
    pub(in crate::config) fn size(&self, min: usize, max: usize) -> Option<usize> {
        self.size_or(None, min, max).flatten()
    }

    /// A size as of [`Value::size`], or `"off"`, which is `Some(None)`.
    pub(in crate::config) fn size_or_off(&self, min: usize, max: usize) -> Option<Option<usize>> {
        self.size_or(Some("off"), min, max)
    }

    /// The elements of an array; `expected` says of what.
    pub(in crate::config) fn elements(&self, expected: &str) -> Option<Vec<Self>> {
        let Some(array) = self.raw.as_array() else {
            self.unexpected(expected);
            return None;
        };
        let element = |(index, element): (usize, &'a toml::Spanned<DeValue<'a>>)| {
            let path = format!("{}[{index}]", self.place.path);
            let place = Place { path, span: element.span(), ..self.place };
            Self { reader: self.reader, place, raw: element.get_ref() }
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// The elements of an array that must have some; none if it has been reported.
    pub(in crate::config) fn some_elements(&self, expected: &str) -> Vec<Self> {
        let elements = self.elements(expected);
        if elements.as_ref().is_some_and(Vec::is_empty) {
            self.unexpected(expected);
        }
        elements.unwrap_or_default()
    }

    /// A table; `expected` says which if it is something else.
    pub(in crate::config) fn table(&self, expected: &str) -> Option<Table<'a>> {
        let Some(table) = self.raw.as_table() else {
            self.unexpected(expected);
            return None;
        };
        Some(Table::new(self.reader, self.place.clone(), table))
    }

    /// A size, or the word that stands for none if there is one.
    fn size_or(&self, none: Option<&str>, min: usize, max: usize) -> Option<Option<usize>> {
        let or_none = none.map_or_else(String::new, |none| format!(", or \"{none}\""));
        let expected = format!("{}{or_none}", units::A_SIZE);
        let with_unit = |number| match number {
            0 if min > 0 => none.map(str::to_owned),
            _ => Some(units::written_size(number)),
        };
        if self.bare_number(&expected, with_unit) {
            return None;
        }
        let parsed = self.parse(&expected, |text| {
            if Some(text) == none {
                return Ok(None);
            }
            let bytes = units::size(text)
                .map_err(|invalid| Invalid { expected: expected.clone(), ..invalid })?;
            let fits = usize::try_from(bytes).ok().filter(|bytes| (min..=max).contains(bytes));
            fits.map(Some).ok_or_else(|| {
                let (min, max) = (units::written_size(min as u64), units::written_size(max as u64));
                Invalid::new(format!("a size of {min} to {max}{or_none}"))
            })
        });
        parsed.map(|written| written.value)
    }

    /// A duration, or the word that stands for none if there is one.
    fn duration_or(
        &self,
        none: Option<&str>,
        min: Duration,
        max: Duration,
    ) -> Option<Option<Duration>> {
        let or_none = none.map_or_else(String::new, |none| format!(", or \"{none}\""));
        let expected = format!("{}{or_none}", units::A_DURATION);
        let with_unit = |number| match number {
            0 if !min.is_zero() => none.map(str::to_owned),
            _ => Some(format!("{number}s")),
        };
        if self.bare_number(&expected, with_unit) {
            return None;
        }
        let parsed = self.parse(&expected, |text| {
            if Some(text) == none {
                return Ok(None);
            }
            let duration = units::duration(text)
                .map_err(|invalid| Invalid { expected: expected.clone(), ..invalid })?;
            if (min..=max).contains(&duration) {
                return Ok(Some(duration));
            }
            let suggestion = none.filter(|_| duration.is_zero()).map(str::to_owned);
            let (min, max) = (units::written_duration(min), units::written_duration(max));
            let invalid = Invalid::new(format!("a duration of {min} to {max}{or_none}"));
            Err(Invalid { suggestion, ..invalid })
        });
        parsed.map(|written| written.value)
    }

    fn parse_shown<T>(
        &self,
        shown: Shown,
        expected: &str,
        parser: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<Written<T>> {
        let message = |expected: &str| format!("expected {expected}, found {}", self.found(shown));
        let Some(raw) = self.raw.as_str() else {
            self.reader.problem(&self.place, message(expected));
            return None;
        };
        let interpolated = match interpolate(raw, self.reader.env) {
            Ok(interpolated) => interpolated,
            Err(BadReference::Form(expected)) => {
                self.reader.problem(&self.place, message(expected));
                return None;
            }
            Err(BadReference::Missing(message)) => {
                self.reader.problem(&self.place, message);
                return None;
            }
        };
        match parser(&interpolated.text) {
            Ok(value) => {
                Some(Written { value, text: self.found(shown), place: self.place.clone() })
            }
            Err(invalid) => {
                let may_show = shown == Shown::Yes && !interpolated.from_outside;
                let suggestion = invalid.suggestion.as_deref().filter(|_| may_show);
                let mut hint = did_you_mean(suggestion);
                if interpolated.from_outside && shown == Shown::Yes {
                    hint.push_str(" (its value is not shown)");
                }
                let message = message(&invalid.expected) + &hint;
                match invalid.is_misplaced {
                    true => self.reader.misplaced(&self.place, message),
                    false => self.reader.problem(&self.place, message),
                }
                None
            }
        }
    }

    /// Reports a number that lacks its unit, and says how it is written with one.
    fn bare_number(&self, expected: &str, with_unit: impl FnOnce(u64) -> Option<String>) -> bool {
        let Some(integer) = self.raw.as_integer() else {
            return false;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let suggestion = number.and_then(with_unit);
        let hint = did_you_mean(suggestion.as_deref());
        let message = format!("expected {expected}, found {}{hint}", self.found(Shown::Yes));
        self.reader.problem(&self.place, message);
        true
    }

    /// What goes after "found".
    fn found(&self, shown: Shown) -> String {
        match self.raw {
            DeValue::Array(array) if array.is_empty() => "an empty array".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
            DeValue::String(_) if shown == Shown::No => "a value that is not shown".to_owned(),
            other if shown == Shown::No => format!("a value of type {}", other.type_str()),
            DeValue::String(text) => quoted(text),
            DeValue::Integer(integer) => shortened(&integer.to_string()).to_owned(),
            DeValue::Float(float) => shortened(float.as_str()).to_owned(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Datetime(datetime) => datetime.to_string(),
        }
    }
}

/// `"a", "b" or "c"`.
fn quoted_words(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
