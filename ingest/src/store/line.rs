//! Readings as InfluxDB's line protocol: for exports, InfluxDB 2 and VictoriaMetrics.
//!
//! The measurement is the channel; tags name the rest of the series. A good reading has the field `value`. Any other has
//! `quality`, the code of its quality as a number, and `raw` if that quality carries a value: so no query of `value`
//! meets a bad reading. All fields are floating-point numbers, since a server refuses a field that changes its type.
//!
//! A line can't be poisoned: values are decimals, so that there is no NaN, and ids are ASCII. Only units are free text.
//! This module sends nothing and batches nothing.

use std::fmt::Write as _;

use furrow_wire::{CooperativeId, SeriesId};

use super::Reading;

/// Longest unit in bytes; what is behind is left out. Catalogs hold shorter ones; servers refuse longer names.
pub const UNIT_BYTES_MAX: usize = 256;

/// Measurement and tags of one series, encoded once for all its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Of a series. Tags that would be empty are left out.
    #[must_use]
    pub fn new(cooperative: &CooperativeId, series: &SeriesId, unit: &str) -> Self {
        let mut text = series.channel.as_str().to_owned();
        let tags = [
            ("cooperative", cooperative.as_str()),
            ("device", series.device.as_str()),
            ("greenhouse", series.greenhouse.as_str()),
            (
                "unit",
                unit.get(..unit.floor_char_boundary(UNIT_BYTES_MAX))
                    .unwrap_or_default(),
            ),
        ];
        for (key, value) in tags.into_iter().filter(|(_, value)| !value.is_empty()) {
            text.push(',');
            text.push_str(key);
            text.push('=');
            push_tag_value(&mut text, value);
        }
        Prefix(text)
    }
}

/// Unit of the times of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// What readings have; a server must be told.
    Milliseconds,
    /// What a server takes lines for that is told nothing.
    Nanoseconds,
}

/// Appends one line, its line break included.
pub fn push_line(out: &mut String, prefix: &Prefix, reading: &Reading, precision: Precision) {
    out.push_str(&prefix.0);
    let code = reading.quality.code();
    let carried = reading.value.filter(|_| reading.quality.has_value());
    let written = match carried {
        Some(value) if code == 0 => write!(out, " value={value}"),
        Some(value) => write!(out, " quality={code},raw={value}"),
        None => write!(out, " quality={code}"),
    };
    debug_assert!(written.is_ok(), "a String takes all writes");
    let written = match precision {
        Precision::Milliseconds => writeln!(out, " {}", reading.time_ms),
        Precision::Nanoseconds => writeln!(out, " {}", i128::from(reading.time_ms) * 1_000_000),
    };
    debug_assert!(written.is_ok(), "a String takes all writes");
}

/// The text that a unit comes back as from a store that was written by lines.
#[must_use]
pub fn unit_as_stored(unit: &str) -> String {
    let cut = unit
        .get(..unit.floor_char_boundary(UNIT_BYTES_MAX))
        .unwrap_or_default();
    cut.chars().map(kept).collect()
}

/// Commas, equals signs and spaces are escaped.
fn push_tag_value(out: &mut String, value: &str) {
    for character in value.chars().map(kept) {
        if matches!(character, ',' | '=' | ' ') {
            out.push('\\');
        }
        out.push(character);
    }
}

/// A line break can't be escaped, and a backslash means another thing to each reader of line protocol: before a comma
/// or at the end it takes the next character with it, and some take two of them for one. Both become underscores.
fn kept(character: char) -> char {
    if character.is_control() || character == '\\' {
        '_'
    } else {
        character
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use furrow_wire::{Decimal, Quality};
    use proptest::prelude::*;

    fn series() -> SeriesId {
        SeriesId {
            greenhouse: "nha-1".parse().unwrap(),
            device: "sht".parse().unwrap(),
            channel: "air_temperature".parse().unwrap(),
        }
    }

    fn reading(time_ms: i64, mantissa: Option<i64>, quality: Quality) -> Reading {
        let value = mantissa.map(|mantissa| Decimal {
            mantissa,
            exponent: -2,
        });
        Reading {
            time_ms,
            value,
            quality,
        }
    }

    fn encoded(unit: &str, reading: &Reading, precision: Precision) -> String {
        let cooperative = "hoa-binh".parse().unwrap();
        let mut out = String::new();
        push_line(
            &mut out,
            &Prefix::new(&cooperative, &series(), unit),
            reading,
            precision,
        );
        out
    }

    #[test]
    fn a_bad_reading_has_no_value() {
        let tags = "air_temperature,cooperative=hoa-binh,device=sht,greenhouse=nha-1,unit=Cel";
        for (mantissa, quality, fields) in [
            (Some(-5), Quality::Good, "value=-0.05"),
            (None, Quality::Good, "quality=0"),
            (None, Quality::Failed, "quality=1"),
            (Some(1), Quality::Stale, "quality=2"),
            (Some(9900), Quality::OutOfRange, "quality=3,raw=99.00"),
            (Some(100), Quality::Stuck, "quality=4,raw=1.00"),
            (Some(0), Quality::Spike, "quality=5,raw=0.00"),
            (Some(-1), Quality::Suspect, "quality=6,raw=-0.01"),
        ] {
            let line = encoded(
                "Cel",
                &reading(1_700_000_000_123, mantissa, quality),
                Precision::Milliseconds,
            );
            assert_eq!(line, format!("{tags} {fields} 1700000000123\n"));
        }
    }

    #[test]
    fn times_have_the_precision_asked_for() {
        let line = encoded(
            "",
            &reading(i64::MAX, Some(1), Quality::Good),
            Precision::Nanoseconds,
        );
        assert!(
            line.ends_with(" value=0.01 9223372036854775807000000\n"),
            "{line}"
        );
    }

    #[test]
    fn units_are_escaped() {
        for (unit, expected) in [
            ("W/m2", ",unit=W/m2"),
            ("", ""),
            ("a b,c=d", ",unit=a\\ b\\,c\\=d"),
            ("x\ny\r", ",unit=x_y_"),
            ("end\\", ",unit=end_"),
            ("a\\,b", ",unit=a_\\,b"),
            ("\"µg\"", ",unit=\"µg\""),
            ("#", ",unit=#"),
        ] {
            let line = encoded(
                unit,
                &reading(1, Some(1), Quality::Good),
                Precision::Milliseconds,
            );
            let expected = format!("greenhouse=nha-1{expected} value=0.01 1\n");
            assert!(line.ends_with(&expected), "{line:?} {expected:?}");
        }
    }

    #[test]
    fn a_long_unit_is_cut_between_characters() {
        let unit = "µ".repeat(UNIT_BYTES_MAX);
        assert_eq!(unit_as_stored(&unit), "µ".repeat(UNIT_BYTES_MAX / 2));
        let line = encoded(
            &unit,
            &reading(1, Some(1), Quality::Good),
            Precision::Milliseconds,
        );
        assert_eq!(parse(&line).unwrap().tags["unit"], unit_as_stored(&unit));
    }

    proptest! {
        /// Whatever a unit holds: one line, and exactly what was meant.
        #[test]
        fn every_unit_makes_one_line(
            unit in prop_oneof![any::<String>(), "[\\\\,= \"\n\r#a]{0,12}"],
            mantissa in any::<i64>(),
            exponent in -9i8..=9,
            code in 0u8..7,
            time_ms in any::<i64>(),
        ) {
            let value = Some(Decimal { mantissa, exponent });
            let quality = Quality::from_code(code).unwrap();
            let line = encoded(&unit, &Reading { time_ms, value, quality }, Precision::Milliseconds);
            let parsed = parse(&line).unwrap();
            let mut tags = BTreeMap::from([
                ("cooperative".to_owned(), "hoa-binh".to_owned()),
                ("device".to_owned(), "sht".to_owned()),
                ("greenhouse".to_owned(), "nha-1".to_owned()),
            ]);
            if !unit.is_empty() {
                tags.insert("unit".to_owned(), unit_as_stored(&unit));
            }
            prop_assert_eq!(parsed.measurement, "air_temperature");
            prop_assert_eq!(parsed.tags, tags);
            prop_assert_eq!(parsed.time, time_ms);
            let names: Vec<&str> = parsed.fields.keys().map(String::as_str).collect();
            let expected: &[&str] = match (quality, quality.has_value()) {
                (Quality::Good, _) => &["value"],
                (_, true) => &["quality", "raw"],
                (_, false) => &["quality"],
            };
            prop_assert_eq!(names, expected);
            prop_assert!(parsed.fields.values().all(|value| value.is_finite()));
        }
    }

    #[derive(Debug)]
    struct Parsed {
        measurement: String,
        tags: BTreeMap<String, String>,
        fields: BTreeMap<String, f64>,
        time: i64,
    }

    /// Takes exactly one line, and nothing that any server reads in two ways.
    fn parse(text: &str) -> Result<Parsed, String> {
        let line = text.strip_suffix('\n').ok_or("no line break at the end")?;
        if line.contains(char::is_control) || line.starts_with('#') {
            return Err(format!("more than a line, or a comment: {line:?}"));
        }
        let mut parts = split(line, ' ')?.into_iter();
        let (Some(key), Some(fields), Some(time), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("not three parts: {line:?}"));
        };
        let mut key = split(&key, ',')?.into_iter();
        let measurement = key.next().ok_or("no measurement")?;
        let mut tags = BTreeMap::new();
        for tag in key {
            let [name, value] = <[String; 2]>::try_from(split(&tag, '=')?)
                .map_err(|parts| format!("not a tag: {parts:?}"))?;
            if value.is_empty() || tags.insert(unescaped(&name)?, unescaped(&value)?).is_some() {
                return Err(format!("empty or twice: {tag:?}"));
            }
        }
        let mut numbers = BTreeMap::new();
        for field in fields.split(',') {
            let (name, value) = field.split_once('=').ok_or("no field")?;
            let digits = value
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte));
            let number = value.parse().map_err(|_| format!("no number: {value:?}"))?;
            if !digits || numbers.insert(name.to_owned(), number).is_some() {
                return Err(format!("field {field:?}"));
            }
        }
        let time = time.parse().map_err(|_| format!("no time: {time:?}"))?;
        Ok(Parsed {
            measurement,
            tags,
            fields: numbers,
            time,
        })
    }

    /// At each separator without a backslash before it. Backslashes stay.
    fn split(text: &str, separator: char) -> Result<Vec<String>, String> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let part = parts.last_mut().unwrap();
            match character {
                '\\' => {
                    let next = characters.next().ok_or("a backslash at the end")?;
                    part.extend(['\\', next]);
                }
                _ if character == separator => parts.push(String::new()),
                _ => part.push(character),
            }
        }
        Ok(parts)
    }

    fn unescaped(text: &str) -> Result<String, String> {
        let mut plain = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some(next @ (',' | '=' | ' ')) => plain.push(next),
                    other => return Err(format!("escape of {other:?}")),
                },
                ',' | '=' | ' ' => return Err(format!("bare {character:?} in {text:?}")),
                _ => plain.push(character),
            }
        }
        Ok(plain)
    }
}
