//! Durations, speeds and moments as people write them.

/// When a simulation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Unix time, ms.
    At(i64),
    /// This long before now, ms.
    Ago(u64),
}

/// Milliseconds of a text such as `90s`, `1h30m` or `7d`.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s, 10m, 1h30m or 7d");
    let mut rest = text;
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        sum = number
            .checked_mul(unit_ms)
            .and_then(|ms| sum.checked_add(ms))
            .ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(sum)
    }
}

/// Thousandths of a factor such as `60` or `0.5`.
pub(super) fn speed(text: &str) -> Result<u32, String> {
    let factor = text
        .parse()
        .map_err(|_| format!("{text:?} is not a factor of 0.001 to 1000000"))?;
    permille(factor)
}

/// Thousandths of a factor.
pub(crate) fn permille(factor: f64) -> Result<u32, String> {
    if !(0.001..=1e6).contains(&factor) {
        return Err(format!("{factor} is not a factor of 0.001 to 1000000"));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked against its range before"
    )]
    let permille = libm::round(factor * 1_000.0) as u32;
    Ok(permille)
}

/// An RFC 3339 time, or an age such as `-7d`.
pub(super) fn start(text: &str) -> Result<Moment, String> {
    if let Some(age) = text.strip_prefix('-') {
        return duration(age).map(Moment::Ago);
    }
    text.parse::<jiff::Timestamp>()
        .map(|time| Moment::At(time.as_millisecond()))
        .map_err(|_| {
            format!(
                "{text:?} is neither a time as in 2026-04-18T00:00:00+07:00 nor an age as in -7d"
            )
        })
}

/// Up to 16 hexadecimal digits.
pub(super) fn hexadecimal(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| format!("{text:?} is not a hexadecimal number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check =
            |text, expected: Option<u64>| assert_eq!(duration(text).ok(), expected, "{text}");
        check("250ms", Some(250));
        check("90s", Some(90_000));
        check("10m", Some(600_000));
        check("10min", Some(600_000));
        check("1h30m", Some(5_400_000));
        check("7d", Some(604_800_000));
        for wrong in [
            "",
            "7",
            "d",
            "7 d",
            "-7d",
            "7w",
            "99999999999999999999s",
            "1e3s",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn speeds() {
        let check = |text, expected: Option<u32>| assert_eq!(speed(text).ok(), expected, "{text}");
        check("1", Some(1_000));
        check("0.5", Some(500));
        check("1000000", Some(1_000_000_000));
        for wrong in ["", "0", "-1", "NaN", "inf", "fast"] {
            check(wrong, None);
        }
    }

    #[test]
    fn starts() {
        let check =
            |text, expected: Option<Moment>| assert_eq!(start(text).ok(), expected, "{text}");
        check("-7d", Some(Moment::Ago(604_800_000)));
        check("1970-01-01T07:00:01+07:00", Some(Moment::At(1_000)));
        check("now", None);
        check("-7", None);
    }
}
