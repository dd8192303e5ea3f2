//! Durations and sizes as people write them. A bare number is refused: nobody remembers its unit.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// A duration with its unit: `10s`, `10 s`, `1.5h`; units are ms, s, min, h, d.
///
/// # Errors
/// What is wrong, in words.
///
/// ```
/// use furrow_gateway::config::parse_duration;
/// assert_eq!(parse_duration("90 s"), parse_duration("1.5min"));
/// assert_eq!(parse_duration("10").unwrap_err(), "\"10\" has no unit");
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse(text, &DURATIONS, "ms, s, min, h or d").map(Duration::from_millis)
}

/// A size in bytes with its unit: `512 MiB`; units are B, kB, MB, GB, KiB, MiB, GiB.
///
/// # Errors
/// What is wrong, in words.
///
/// ```
/// use furrow_gateway::config::parse_size;
/// assert_eq!(parse_size("512 MiB"), Ok(512 * 1024 * 1024));
/// assert!(parse_size("512").is_err());
/// ```
pub fn parse_size(text: &str) -> Result<u64, String> {
    parse(text, &SIZES, "B, kB, MB, GB, KiB, MiB or GiB")
}

fn parse(text: &str, units: &[(&str, u64)], names: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() {
        return Err(format!("{text:?} does not start with a number"));
    }
    if unit.is_empty() {
        return Err(format!("{text:?} has no unit"));
    }
    let Some(&(_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "{text:?} has the unknown unit {unit:?} (must be {names})"
        ));
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let bad = || format!("{text:?} is not a number with a unit");
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    // Three places are enough for any unit here, and keep the arithmetic whole.
    let thousandths = match fraction.len() {
        1..=3 => format!("{fraction:0<3}")
            .parse::<u64>()
            .map_err(|_| bad())?,
        _ => return Err(bad()),
    };
    whole
        .checked_mul(factor)
        .and_then(|value| value.checked_add(thousandths.checked_mul(factor)? / 1_000))
        .ok_or_else(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let good = [
            ("10s", 10_000),
            ("10 s", 10_000),
            (" 10 s ", 10_000),
            ("500ms", 500),
            ("30min", 1_800_000),
            ("2h", 7_200_000),
            ("1.5 h", 5_400_000),
            ("0.25s", 250),
            ("1d", 86_400_000),
        ];
        for (text, ms) in good {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        let bad = [
            ("10", "\"10\" has no unit"),
            ("", "\"\" does not start with a number"),
            ("s", "\"s\" does not start with a number"),
            ("-5s", "\"-5s\" does not start with a number"),
            (
                "10 parsecs",
                "\"10 parsecs\" has the unknown unit \"parsecs\" (must be ms, s, min, h or d)",
            ),
            (
                "10m",
                "\"10m\" has the unknown unit \"m\" (must be ms, s, min, h or d)",
            ),
            ("1.2.3s", "\"1.2.3s\" is not a number with a unit"),
            ("1.s", "\"1.s\" is not a number with a unit"),
            (
                "99999999999999999999s",
                "\"99999999999999999999s\" is not a number with a unit",
            ),
            (
                "999999999999999999d",
                "\"999999999999999999d\" is too large",
            ),
        ];
        for (text, error) in bad {
            assert_eq!(parse_duration(text).unwrap_err(), error);
        }
    }

    #[test]
    fn sizes() {
        let good = [
            ("512 MiB", 536_870_912),
            ("1kB", 1_000),
            ("1.5GiB", 1_610_612_736),
            ("7B", 7),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(
            parse_size("512 mb").unwrap_err(),
            "\"512 mb\" has the unknown unit \"mb\" (must be B, kB, MB, GB, KiB, MiB or GiB)"
        );
    }
}
