//! A value from a raw one, by what was measured on site.
//!
//! Every calibration is a line through two points, or with the slope of 1 through one. The arithmetic
//! is exact, in whole numbers, and rounds once: to the channel's step, halves away from zero. Nothing
//! is clamped: whether a value can be true is judged afterwards, as for any other ([`crate::quality`]).
//! Where points come from and where they are kept is the gateway's.

use furrow_wire::Decimal;

/// Largest mantissa of a point. With [`FINEST`] and [`COARSEST`] no product of two overflows.
const MANTISSA_MAX: u64 = 1_000_000_000_000;
/// Finest exponent of a point.
const FINEST: i8 = -9;
/// Coarsest exponent of a point.
const COARSEST: i8 = 0;

/// A raw value and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// What the sensor gave.
    pub raw: Decimal,
    /// What it should have been.
    pub value: Decimal,
}

/// A line through two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    low: Point,
    high: Point,
}

/// Points that make no calibration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The same raw value twice.
    #[error("both points have the raw value {0}")]
    SameRaw(Decimal),
    /// The same value twice: every reading would be that value.
    #[error("both points have the value {0}")]
    SameValue(Decimal),
    /// A number that no sensor gives.
    #[error("{0} is too large, or has more than 9 decimals")]
    TooLarge(Decimal),
}

/// Several readings of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Their mean, with one decimal more than they have.
    pub mean: Decimal,
    /// The largest less the smallest.
    pub spread: Decimal,
    /// How many.
    pub readings: u32,
}

impl Line {
    /// The line through two points, in any order.
    ///
    /// # Errors
    /// [`LineError`] for points that determine no line with a slope.
    pub fn through(one: Point, other: Point) -> Result<Self, LineError> {
        for number in [one.raw, one.value, other.raw, other.value] {
            let exponents = FINEST..=COARSEST;
            if number.mantissa.unsigned_abs() > MANTISSA_MAX
                || !exponents.contains(&number.exponent)
            {
                return Err(LineError::TooLarge(number));
            }
        }
        if fine(one.value) == fine(other.value) {
            return Err(LineError::SameValue(one.value));
        }
        match (fine(one.raw), fine(other.raw)) {
            (a, b) if a == b => Err(LineError::SameRaw(one.raw)),
            (a, b) if a < b => Ok(Line {
                low: one,
                high: other,
            }),
            _ => Ok(Line {
                low: other,
                high: one,
            }),
        }
    }

    /// Adds the same to every value.
    ///
    /// # Errors
    /// [`LineError::TooLarge`].
    pub fn offset(offset: Decimal) -> Result<Self, LineError> {
        let one = Decimal {
            mantissa: 1,
            exponent: 0,
        };
        let zero = Decimal { mantissa: 0, ..one };
        let too_large = || LineError::TooLarge(offset);
        let step = 10_i64
            .checked_pow(u32::from(offset.exponent.unsigned_abs()))
            .ok_or_else(too_large)?;
        let above = Decimal {
            mantissa: offset.mantissa.checked_add(step).ok_or_else(too_large)?,
            exponent: offset.exponent,
        };
        Line::through(
            Point {
                raw: zero,
                value: offset,
            },
            Point {
                raw: one,
                value: above,
            },
        )
    }

    /// The value of a raw one, as a whole number of `10^exponent`; `None` when it fits no number.
    #[must_use]
    pub fn value(&self, raw: Decimal, exponent: i8) -> Option<i64> {
        if raw.exponent < FINEST || raw.exponent > Decimal::MAX_EXPONENT {
            return None;
        }
        let (low, high) = (fine(self.low.raw), fine(self.high.raw));
        let (from, to) = (fine(self.low.value), fine(self.high.value));
        let run = high - low;
        // Points are below 10^21 at the finest step; products may not fit, hence the checks.
        let along = fine(raw).checked_sub(low)?.checked_mul(to - from)?;
        let whole = along.checked_div(run)?;
        let rest = along.checked_rem(run)?;
        let value = from.checked_add(whole)?;
        // value + rest / run, in steps of 10^FINEST, to steps of 10^exponent.
        let shift = i32::from(exponent) - i32::from(FINEST);
        let divisor = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
        let dividend = value.checked_mul(run)?.checked_add(rest)?;
        rounded(dividend, run.checked_mul(divisor)?)
    }
}

impl Measured {
    /// Of some readings; `None` of none, or of numbers too large.
    #[must_use]
    pub fn of(readings: &[Decimal]) -> Option<Self> {
        let finest = readings.iter().map(|reading| reading.exponent).min()?;
        let finest = finest.clamp(FINEST, COARSEST);
        let exponent = finest.saturating_sub(1).max(FINEST);
        let is_bound = |reading: &Decimal| {
            (FINEST..=COARSEST).contains(&reading.exponent)
                && reading.mantissa.unsigned_abs() <= MANTISSA_MAX
        };
        if !readings.iter().all(is_bound) {
            return None;
        }
        let sum: i128 = readings.iter().map(|reading| fine(*reading)).sum();
        let least = readings.iter().map(|reading| fine(*reading)).min()?;
        let most = readings.iter().map(|reading| fine(*reading)).max()?;
        let step = |exponent: i8| 10_i128.pow(u32::from(exponent.abs_diff(FINEST)));
        let count = i128::try_from(readings.len()).ok()?;
        Some(Measured {
            mean: Decimal {
                mantissa: rounded(sum, count.checked_mul(step(exponent))?)?,
                exponent,
            },
            spread: Decimal {
                mantissa: rounded(most - least, step(finest))?,
                exponent: finest,
            },
            readings: u32::try_from(readings.len()).ok()?,
        })
    }
}

/// The spread that is normal while nothing changes, in a channel's unit; `V` is a moisture probe's raw
/// voltage. From the sensors' repeatability with room for a draught, and for 50 Hz on a long wire.
#[must_use]
pub fn usual_spread(unit: &str, mean: f64) -> f64 {
    match unit {
        "V" => 0.02,
        "Cel" => 0.3,
        "%RH" => 2.0,
        "[ppm]" => 50.0,
        "m" => 0.02,
        "[pH]" => 0.05,
        // Light, conductivity and whatever else: a share of the value.
        _ => (mean.abs() * 0.02).max(0.1),
    }
}

/// In steps of `10^FINEST`.
fn fine(number: Decimal) -> i128 {
    let shift = i16::from(number.exponent) - i16::from(FINEST);
    let factor = 10_i128.pow(u32::from(shift.max(0).unsigned_abs()));
    i128::from(number.mantissa) * factor
}

/// Halves away from zero. `divisor` is above 0.
fn rounded(dividend: i128, divisor: i128) -> Option<i64> {
    let half = divisor / 2;
    let toward = if dividend < 0 { -half } else { half };
    let nearest = dividend.checked_add(toward)?.checked_div(divisor)?;
    i64::try_from(nearest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn point((raw, value): (&str, &str)) -> Point {
        Point {
            raw: decimal(raw),
            value: decimal(value),
        }
    }

    fn text(mantissa: Option<i64>, exponent: i8) -> String {
        let shown = |mantissa| Decimal { mantissa, exponent }.to_string();
        mantissa.map_or("none".to_owned(), shown)
    }

    #[test]
    fn lines_through_two_points() {
        let table = [
            // A moisture probe: 2.871 V dry, 1.302 V wet, in percent; beyond its points it is not clamped.
            (("2.871", "0"), ("1.302", "100"), "2.871", -1, "0.0"),
            (("2.871", "0"), ("1.302", "100"), "1.302", -1, "100.0"),
            (("2.871", "0"), ("1.302", "100"), "2.0865", -1, "50.0"),
            (("2.871", "0"), ("1.302", "100"), "3.3", -1, "-27.3"),
            (("2.871", "0"), ("1.302", "100"), "0", -1, "183.0"),
            // pH buffers.
            (("4.10", "4.00"), ("6.90", "7.00"), "5.50", -2, "5.50"),
            (("4.10", "4.00"), ("6.90", "7.00"), "6.90", -2, "7.00"),
            // Halves away from zero.
            (("0", "0"), ("2", "1"), "1", 0, "1"),
            (("0", "0"), ("2", "1"), "-1", 0, "-1"),
            (("0", "0"), ("3", "1"), "1", -3, "0.333"),
        ];
        for (one, other, raw, exponent, expected) in table {
            let line = Line::through(point(one), point(other)).unwrap();
            let back = Line::through(point(other), point(one)).unwrap();
            assert_eq!(line, back);
            let found = text(line.value(decimal(raw), exponent), exponent);
            assert_eq!(found, expected, "{one:?} {other:?} at {raw}");
        }
    }

    #[test]
    fn offsets() {
        let line = Line::offset(decimal("-0.35")).unwrap();
        assert_eq!(text(line.value(decimal("24.98"), -2), -2), "24.63");
        assert_eq!(text(line.value(decimal("-3.10"), -2), -2), "-3.45");
        assert_eq!(
            Line::offset(decimal("0")).unwrap().value(decimal("7"), 0),
            Some(7)
        );
    }

    #[test]
    fn points_that_make_no_line_are_refused() {
        let refuse = |one, other| {
            Line::through(point(one), point(other))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refuse(("1.0", "0"), ("1.00", "5")),
            "both points have the raw value 1.0"
        );
        assert_eq!(
            refuse(("1", "5"), ("2", "5.0")),
            "both points have the value 5"
        );
        assert_eq!(
            refuse(("1000000000001", "0"), ("1", "5")),
            "1000000000001 is too large, or has more than 9 decimals"
        );
    }

    #[test]
    fn readings_have_a_mean_and_a_spread() {
        let readings = ["2.870", "2.871", "2.873"].map(decimal);
        let measured = Measured::of(&readings).unwrap();
        assert_eq!(measured.mean.to_string(), "2.8713");
        assert_eq!(measured.spread.to_string(), "0.003");
        assert_eq!(measured.readings, 3);
        assert_eq!(Measured::of(&[]), None);
        let whole = Measured::of(&["400", "401"].map(decimal)).unwrap();
        assert_eq!(
            (whole.mean.to_string(), whole.spread.to_string()),
            ("400.5".into(), "1".into())
        );
    }

    fn any_point() -> impl Strategy<Value = Point> {
        let number = (-9_999_999_i64..=9_999_999, -6_i8..=0)
            .prop_map(|(mantissa, exponent)| Decimal { mantissa, exponent });
        (number.clone(), number).prop_map(|(raw, value)| Point { raw, value })
    }

    proptest! {
        #[test]
        fn both_points_are_met_exactly(one in any_point(), other in any_point()) {
            if let Ok(line) = Line::through(one, other) {
                for point in [one, other] {
                    prop_assert_eq!(line.value(point.raw, point.value.exponent), Some(point.value.mantissa));
                }
            }
        }

        #[test]
        fn a_line_keeps_the_order_and_is_near_the_floating_point_one(
            one in any_point(), other in any_point(), a in -9_999_999_i64..=9_999_999, b in -9_999_999_i64..=9_999_999,
        ) {
            if let Ok(line) = Line::through(one, other) {
                let raw = |mantissa| Decimal { mantissa, exponent: -3 };
                if let (Some(at_a), Some(at_b)) = (line.value(raw(a), -6), line.value(raw(b), -6)) {
                    let rising = (fine(line.high.value) > fine(line.low.value)) == (a <= b);
                    let ordered = if rising { at_a <= at_b } else { at_a >= at_b };
                    prop_assert!(ordered, "{} {}", at_a, at_b);
                    let (low, high) = (line.low, line.high);
                    let slope = (high.value.to_f64() - low.value.to_f64())
                        / (high.raw.to_f64() - low.raw.to_f64());
                    let near = low.value.to_f64() + (raw(a).to_f64() - low.raw.to_f64()) * slope;
                    let found = Decimal { mantissa: at_a, exponent: -6 }.to_f64();
                    prop_assert!((found - near).abs() <= 1e-6 + near.abs() * 1e-6 + slope.abs() * 1e-3,
                        "{found} {near}");
                }
            }
        }

        #[test]
        fn an_offset_is_a_sum(offset in -9_999_i64..=9_999, raw in -999_999_i64..=999_999) {
            let line = Line::offset(Decimal { mantissa: offset, exponent: -2 }).unwrap();
            prop_assert_eq!(line.value(Decimal { mantissa: raw, exponent: -2 }, -2), Some(raw + offset));
        }

        #[test]
        fn nothing_panics(one in any_point(), other in any_point(), mantissa: i64, exponent: i8, to: i8) {
            if let Ok(line) = Line::through(one, other) {
                let value = line.value(Decimal { mantissa, exponent }, to);
                prop_assert!(value.is_none() || (-9..=9).contains(&exponent));
            }
            let measured = Measured::of(&[Decimal { mantissa, exponent }, one.raw]);
            prop_assert!(measured.is_none() || (-9..=0).contains(&exponent));
            Line::offset(Decimal { mantissa, exponent }).ok();
        }
    }
}
