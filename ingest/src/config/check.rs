//! Turns one raw value into a typed one, or into a mistake that names its key.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::Mistake;
use super::raw::{Leaf, Section, Sections, Unknown};

/// Collects mistakes.
#[derive(Debug, Default)]
pub(super) struct Checker {
    pub(super) mistakes: Vec<Mistake>,
}

impl Checker {
    pub(super) fn mistake(&mut self, key: impl Into<String>, text: impl Into<String>) {
        self.mistakes.push(Mistake {
            key: key.into(),
            text: text.into(),
        });
    }

    pub(super) fn unknown(&mut self, path: &str, unknown: &Unknown, known: &str) {
        for key in unknown.keys() {
            self.mistake(
                join(path, key),
                format!("is unknown; remove it (known: {known})"),
            );
        }
    }

    pub(super) fn section<T>(&mut self, key: &str, section: Option<Section<T>>) -> Option<T> {
        match section? {
            Section::Of(section) => Some(section),
            Section::Other(value) => {
                self.mistake(key, format!("is {} (must be a section)", kind_of(&value)));
                None
            }
        }
    }

    /// The sections of a list, each with its key.
    pub(super) fn sections<T>(&mut self, key: &str, sections: Sections<T>) -> Vec<(String, T)> {
        let list = match sections {
            Sections::List(list) => list,
            Sections::Other(value) => {
                let kind = kind_of(&value);
                self.mistake(key, format!("is {kind} (must be a list: [[{key}]])"));
                return Vec::new();
            }
        };
        list.into_iter()
            .enumerate()
            .filter_map(|(at, section)| {
                let key = format!("{key}[{at}]");
                self.section(&key, Some(section))
                    .map(|section| (key, section))
            })
            .collect()
    }

    pub(super) fn text(&mut self, key: &str, leaf: Leaf) -> Option<String> {
        match leaf? {
            Value::String(text) => Some(text),
            // The environment has no types: 0123 may be meant as text.
            Value::Number(number) => Some(number.to_string()),
            other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                self.mistake(key, format!("is {} (must be text)", kind_of(&other)));
                None
            }
        }
    }

    pub(super) fn required_text(&mut self, key: &str, leaf: Leaf, example: &str) -> Option<String> {
        if leaf.is_none() {
            self.mistake(key, format!("is missing; set it, e.g. {example}"));
        }
        self.text(key, leaf).filter(|text| {
            if text.is_empty() {
                self.mistake(key, format!("is empty; set it, e.g. {example}"));
            }
            !text.is_empty()
        })
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &str, leaf: Leaf) -> Option<T> {
        let text = self.text(key, leaf)?;
        text.parse()
            .map_err(|error| self.mistake(key, format!("{error}")))
            .ok()
    }

    pub(super) fn required<T: FromStr<Err: Display>>(
        &mut self,
        key: &str,
        leaf: Leaf,
        example: &str,
    ) -> Option<T> {
        let text = self.required_text(key, leaf, example)?;
        self.parsed(key, Some(Value::String(text)))
    }

    pub(super) fn address(&mut self, key: &str, leaf: Leaf) -> Option<SocketAddr> {
        let text = self.text(key, leaf)?;
        let parsed = text.parse();
        if parsed.is_err() {
            let text = format!("{text:?} is not an address and port (e.g. \"127.0.0.1:8080\")");
            self.mistake(key, text);
        }
        parsed.ok()
    }

    pub(super) fn number(&mut self, key: &str, leaf: Leaf) -> Option<f64> {
        let leaf = leaf?;
        let number = leaf.as_f64();
        if number.is_none() {
            self.mistake(key, format!("is {} (must be a number)", kind_of(&leaf)));
        }
        number
    }

    pub(super) fn flag(&mut self, key: &str, leaf: Leaf) -> Option<bool> {
        let leaf = leaf?;
        let flag = leaf.as_bool();
        if flag.is_none() {
            self.mistake(
                key,
                format!("is {} (must be true or false)", kind_of(&leaf)),
            );
        }
        flag
    }

    pub(super) fn duration(&mut self, key: &str, leaf: Leaf) -> Option<Duration> {
        let units = [
            ("ms", Duration::from_millis(1)),
            ("min", Duration::from_secs(60)),
            ("s", Duration::from_secs(1)),
            ("h", Duration::from_secs(3_600)),
            ("d", Duration::from_secs(86_400)),
        ];
        let text = self.text(key, leaf)?;
        let scaled = |(count, unit): (u32, Duration)| unit.checked_mul(count);
        let parsed = split_unit(&text, &units).and_then(scaled);
        if parsed.is_none() {
            let units = "a whole number with ms, s, min, h or d, e.g. \"10min\"";
            self.mistake(key, format!("{text:?} is not a duration (must be {units})"));
        }
        parsed
    }

    pub(super) fn size(&mut self, key: &str, leaf: Leaf) -> Option<u64> {
        let units = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
        ];
        let text = self.text(key, leaf)?;
        let scaled = |(count, unit): (u32, u64)| u64::from(count).checked_mul(unit);
        let parsed = split_unit(&text, &units).and_then(scaled);
        if parsed.is_none() {
            let units = "a whole number with KiB, MiB, GiB or TiB, e.g. \"4 GiB\"";
            self.mistake(key, format!("{text:?} is not a size (must be {units})"));
        }
        parsed
    }
}

/// `section.key`, or the key alone at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn split_unit<U: Copy>(text: &str, units: &[(&str, U)]) -> Option<(u32, U)> {
    units.iter().find_map(|(name, unit)| {
        let count = text.strip_suffix(name)?.trim_end().parse().ok()?;
        Some((count, *unit))
    })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a section",
    }
}
