//! Reading the values of one section, noting every mistake on the way.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::Unknown;
use crate::config::units;

/// Longest free text, in characters: it travels in every catalog.
const TEXT_MAX: usize = 200;

/// One section under its path, e.g. `device[1]`. Methods answer `None` after noting a mistake.
pub(super) struct Section<'m> {
    path: String,
    mistakes: &'m mut Mistakes,
}

impl<'m> Section<'m> {
    pub(super) fn new(path: impl Into<String>, mistakes: &'m mut Mistakes) -> Self {
        Self {
            path: path.into(),
            mistakes,
        }
    }

    /// A section inside this one.
    pub(super) fn inner(&mut self, name: impl Display) -> Section<'_> {
        Section {
            path: self.key(name),
            mistakes: self.mistakes,
        }
    }

    pub(super) fn mistake<T>(
        &mut self,
        key: impl Display,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Option<T> {
        let key = self.key(key);
        self.mistakes.add(key, problem, remedy);
        None
    }

    /// Refuses every key that is not known here.
    pub(super) fn refuse_unknown(&mut self, unknown: &Unknown, known: &str) {
        for key in unknown.keys() {
            let remedy = format!("remove it or correct its spelling (known here: {known})");
            self.mistake::<()>(key, "unknown key", remedy);
        }
    }

    /// Refuses a key that means nothing for this kind of thing.
    pub(super) fn refuse(&mut self, key: &str, leaf: Option<&Leaf>, why: &str) {
        if leaf.is_some() {
            self.mistake::<()>(key, why, "remove it");
        }
    }

    pub(super) fn text(&mut self, key: &str, leaf: Option<&Leaf>, example: &str) -> Option<String> {
        match leaf {
            Some(leaf) => self.as_text(key, leaf, example),
            None => self.missing(key, example),
        }
    }

    pub(super) fn text_or(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        default: &str,
    ) -> Option<String> {
        match leaf {
            Some(leaf) => self.as_text(key, leaf, default),
            None => Some(default.to_owned()),
        }
    }

    /// A text that must have a certain form, such as an id.
    pub(super) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        example: &str,
    ) -> Option<T> {
        let text = self.text(key, leaf, example)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let remedy = format!("write for example {example:?}");
                self.mistake(key, format!("{error}"), remedy)
            }
        }
    }

    pub(super) fn whole(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        range: &RangeInclusive<i64>,
        example: &str,
    ) -> Option<i64> {
        let Some(leaf) = leaf else {
            return self.missing(key, example);
        };
        let number = match leaf {
            Leaf::Integer(number) => Some(*number),
            // The environment has only texts.
            Leaf::Text(text) => match text.strip_prefix("0x") {
                Some(hex) => i64::from_str_radix(hex, 16).ok(),
                None => text.parse().ok(),
            },
            Leaf::Float(_) | Leaf::Bool(_) | Leaf::List | Leaf::Table => None,
        };
        let (least, most) = (range.start(), range.end());
        let remedy = format!("write a whole number from {least} to {most}, for example {example}");
        match number {
            Some(number) if range.contains(&number) => Some(number),
            Some(number) => self.mistake(key, format!("{number} is out of range"), remedy),
            None => self.mistake(key, format!("{leaf} is not a whole number"), remedy),
        }
    }

    pub(super) fn number(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        range: &RangeInclusive<f64>,
        example: &str,
    ) -> Option<f64> {
        let Some(leaf) = leaf else {
            return self.missing(key, example);
        };
        let number = match leaf {
            #[expect(clippy::cast_precision_loss, reason = "settings are small numbers")]
            Leaf::Integer(number) => Some(*number as f64),
            Leaf::Float(number) => Some(*number),
            Leaf::Text(text) => text.parse().ok(),
            Leaf::Bool(_) | Leaf::List | Leaf::Table => None,
        };
        let (least, most) = (range.start(), range.end());
        let remedy = format!("write a number from {least} to {most}, for example {example}");
        match number {
            Some(number) if range.contains(&number) => Some(number),
            Some(number) => self.mistake(key, format!("{number} is out of range"), remedy),
            None => self.mistake(key, format!("{leaf} is not a number"), remedy),
        }
    }

    pub(super) fn truth(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        default: Option<bool>,
    ) -> Option<bool> {
        match (leaf, default) {
            (Some(Leaf::Bool(truth)), _) => Some(*truth),
            (Some(Leaf::Text(text)), _) if text == "true" => Some(true),
            (Some(Leaf::Text(text)), _) if text == "false" => Some(false),
            (Some(leaf), _) => self.mistake(
                key,
                format!("{leaf} is neither true nor false"),
                "write true or false",
            ),
            (None, Some(truth)) => Some(truth),
            (None, None) => self.missing(key, "true"),
        }
    }

    /// A duration within limits; `default` where nothing is written, an error without one.
    pub(super) fn duration(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        range: (&str, &str),
        default: Option<&str>,
    ) -> Option<Duration> {
        let millis = |text: &str| {
            let parsed = units::parse_duration(text).map(|duration| duration.as_millis());
            parsed.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX))
        };
        let example = default.unwrap_or(range.1);
        self.quantity(key, leaf, range, default, example, millis)
            .map(Duration::from_millis)
    }

    /// A size within limits, in bytes.
    pub(super) fn size(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        range: (&str, &str),
        default: &str,
    ) -> Option<u64> {
        self.quantity(key, leaf, range, Some(default), default, units::parse_size)
    }

    fn quantity(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        (least, most): (&str, &str),
        default: Option<&str>,
        example: &str,
        parse: impl Fn(&str) -> Result<u64, String>,
    ) -> Option<u64> {
        let parse_const = |text: &str| parse(text).expect("limits in code have units");
        let text = match (leaf, default) {
            (Some(Leaf::Text(text)), _) => text.as_str(),
            (Some(leaf), _) => {
                let remedy = format!("write it with its unit, for example {example:?}");
                return self.mistake(key, format!("{leaf} has no unit"), remedy);
            }
            (None, Some(default)) => default,
            (None, None) => return self.missing(key, &format!("{example:?}")),
        };
        let remedy = format!("write {least} to {most}, for example {example:?}");
        match parse(text) {
            Ok(value) if value < parse_const(least) || value > parse_const(most) => {
                self.mistake(key, format!("{text:?} is out of range"), remedy)
            }
            Ok(value) => Some(value),
            Err(problem) => self.mistake(key, problem, remedy),
        }
    }

    fn as_text(&mut self, key: &str, leaf: &Leaf, example: &str) -> Option<String> {
        let remedy = format!("write a text such as {example:?}");
        match leaf {
            Leaf::Text(text) if text.trim().is_empty() => self.mistake(key, "is empty", remedy),
            Leaf::Text(text) if text.chars().count() > TEXT_MAX => {
                let problem = format!("is longer than {TEXT_MAX} characters");
                self.mistake(key, problem, "shorten it")
            }
            Leaf::Text(text) => Some(text.clone()),
            Leaf::Integer(_) | Leaf::Float(_) | Leaf::Bool(_) | Leaf::List | Leaf::Table => {
                self.mistake(key, format!("{leaf} is not a text"), remedy)
            }
        }
    }

    fn missing<T>(&mut self, key: &str, example: &str) -> Option<T> {
        self.mistake(
            key,
            "is missing",
            format!("add it, for example {key} = {}", quoted(example)),
        )
    }

    fn key(&self, name: impl Display) -> String {
        if self.path.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

/// Numbers, truths and texts that are quoted already stand as they are.
fn quoted(example: &str) -> String {
    let bare = example.parse::<f64>().is_ok()
        || example.starts_with("0x")
        || example.starts_with('"')
        || example == "true";
    if bare {
        example.to_owned()
    } else {
        format!("{example:?}")
    }
}
