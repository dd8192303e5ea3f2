//! Exact decimals: a sensor has a resolution, so a value is a whole number of steps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `mantissa * 10^exponent`.
///
/// ```
/// use furrow_wire::Decimal;
/// let reading = Decimal { mantissa: 2498, exponent: -2 };
/// assert_eq!(reading.to_string(), "24.98");
/// assert_eq!(reading.to_f64(), 24.98);
/// ```
///
/// In JSON it is a text, `"24.98"`, so that no reader rounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal {
    /// Whole steps.
    pub mantissa: i64,
    /// Power of ten of one step, [`Decimal::MIN_EXPONENT`] to [`Decimal::MAX_EXPONENT`].
    pub exponent: i8,
}

impl Decimal {
    /// Finest step.
    pub const MIN_EXPONENT: i8 = -9;
    /// Coarsest step.
    pub const MAX_EXPONENT: i8 = 9;

    /// The mantissa nearest to `value`, halves away from zero; `None` when `value` is not finite,
    /// the exponent is out of range, or the mantissa would not be exact in 53 bits.
    #[must_use]
    pub fn mantissa_of(value: f64, exponent: i8) -> Option<i64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if !(Self::MIN_EXPONENT..=Self::MAX_EXPONENT).contains(&exponent) {
            return None;
        }
        let factor = power_of_ten(exponent.unsigned_abs());
        let scaled = if exponent < 0 {
            value * factor
        } else {
            value / factor
        };
        let rounded = scaled.round();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "bounded by the check beside it"
        )]
        (rounded.is_finite() && rounded.abs() < EXACT).then_some(rounded as i64)
    }

    /// The nearest floating-point number.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "readings stay far below 2^53 steps"
        )]
        let mantissa = self.mantissa as f64;
        let factor = power_of_ten(self.exponent.unsigned_abs());
        // Division by a power of ten rounds correctly; multiplication by its inverse does not.
        if self.exponent < 0 {
            mantissa / factor
        } else {
            mantissa * factor
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = usize::from(self.exponent.min(0).unsigned_abs());
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs();
        if self.exponent >= 0 {
            let zeros = if digits == 0 {
                0
            } else {
                usize::from(self.exponent.unsigned_abs())
            };
            return write!(f, "{sign}{digits}{}", "0".repeat(zeros));
        }
        let text = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = text.split_at(text.len() - places);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

/// A text that is no decimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no decimal such as -12.5 with at most 18 digits, 9 of them behind the point")]
pub struct DecimalError(String);

impl FromStr for Decimal {
    type Err = DecimalError;

    /// The step is what is written: `1.50` has steps of hundredths.
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        /// Any such number fits an `i64`.
        const DIGITS_MAX: usize = 18;
        let refused = || DecimalError(text.to_owned());
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let only_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let places = i8::try_from(fraction.len()).map_err(|_| refused())?;
        let is_whole = !whole.is_empty() && only_digits(whole) && only_digits(fraction);
        let has_end = !digits.ends_with('.');
        let fits = whole.len() + fraction.len() <= DIGITS_MAX && -places >= Self::MIN_EXPONENT;
        if !(is_whole && has_end && fits) {
            return Err(refused());
        }
        let magnitude: i64 = format!("{whole}{fraction}")
            .parse()
            .map_err(|_| refused())?;
        Ok(Decimal {
            mantissa: sign * magnitude,
            exponent: -places,
        })
    }
}

impl TryFrom<String> for Decimal {
    type Error = DecimalError;

    fn try_from(text: String) -> Result<Self, DecimalError> {
        text.parse()
    }
}

impl From<Decimal> for String {
    fn from(decimal: Decimal) -> Self {
        decimal.to_string()
    }
}

fn power_of_ten(exponent: u8) -> f64 {
    (0..exponent).fold(1.0, |power, _| power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(mantissa: i64, exponent: i8, text: &str) {
        assert_eq!(Decimal { mantissa, exponent }.to_string(), text);
        assert_eq!(
            Decimal { mantissa, exponent }.to_f64().to_string(),
            text.parse::<f64>().unwrap().to_string()
        );
    }

    #[test]
    fn prints_exactly() {
        check(2498, -2, "24.98");
        check(-5, -2, "-0.05");
        check(0, -1, "0.0");
        check(500, 0, "500");
        check(7, 2, "700");
        check(-1, 0, "-1");
    }

    #[test]
    fn reads_what_it_prints_and_nothing_else() {
        for text in ["24.98", "-0.05", "0.0", "500", "-1", "0.000125"] {
            let decimal: Decimal = text.parse().unwrap();
            assert_eq!(decimal.to_string(), text);
        }
        let refused = [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "1,5",
            "+1",
            "1e3",
            " 1",
            "--1",
            "1.0000000000",
            "1234567890123456789",
            "1.-5",
            "NaN",
        ];
        for text in refused {
            assert!(text.parse::<Decimal>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_number_has_no_mantissa() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(Decimal::mantissa_of(value, -2), None);
        }
        assert_eq!(Decimal::mantissa_of(1.0, 10), None);
        assert_eq!(Decimal::mantissa_of(-0.004, -2), Some(0));
        assert_eq!(Decimal::mantissa_of(24.985, -2), Some(2499));
    }

    proptest! {
        #[test]
        fn through_f64_and_back(mantissa in -1_000_000_000_000i64..1_000_000_000_000, exponent in -6i8..=0) {
            let decimal = Decimal { mantissa, exponent };
            prop_assert_eq!(Decimal::mantissa_of(decimal.to_f64(), exponent), Some(mantissa));
            prop_assert_eq!(decimal.to_string().parse::<f64>().unwrap().to_bits(), decimal.to_f64().to_bits());
        }
    }
}
