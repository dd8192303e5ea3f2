//! Tipping-bucket rain gauges: how much rain, and how hard.
//!
//! A bucket of 0.2 mm that tips once in ten seconds is rain of 72 mm/h, so a rate over one reading
//! interval would jump between nothing and a downpour: it is taken over the last five minutes.

use std::collections::VecDeque;

use furrow_wire::Decimal;

use crate::error::{Cause, Chip, Range};
use crate::{PulseCounter, SensorError};

/// Decimal exponent of amount and rate: hundredths.
pub const EXPONENT: i8 = -2;
/// Millimetres of one tip that gauges come with.
pub const MM_PER_TIP: core::ops::RangeInclusive<f64> = 0.01..=10.0;
/// The rate is taken over this long, in milliseconds.
const WINDOW_MS: u64 = 300_000;
/// Readings kept for the rate: the window at one a second, and one before it.
const KEPT_MAX: usize = 302;
/// Greatest rate that is believed. The most ever measured in a minute is 38 mm, which is 2280 mm/h.
const RATE: Range = Range {
    min: 0.0,
    max: 2_500.0,
    unit: "mm/h",
};

/// One reading.
#[derive(Debug, Clone, PartialEq)]
pub struct RainReading {
    /// Millimetres since the counter started, in hundredths.
    pub amount: Decimal,
    /// Millimetres an hour over the last five minutes, in hundredths; the first reading has none.
    pub rate: Result<Decimal, SensorError>,
}

/// The driver.
#[derive(Debug)]
pub struct RainGauge<P> {
    counter: P,
    micrometres_per_tip: u64,
    /// Tips by time, oldest first.
    kept: VecDeque<(u64, u64)>,
}

const CHIP: Chip = Chip {
    name: "rain-gauge",
    address: None,
};

impl<P: PulseCounter> RainGauge<P> {
    /// `mm_per_tip` lies in [`MM_PER_TIP`] and is exact in thousandths. Asks nothing yet.
    ///
    /// # Errors
    /// Another amount.
    pub fn new(counter: P, mm_per_tip: f64) -> Result<Self, SensorError> {
        let mantissa = Decimal::mantissa_of(mm_per_tip, -3);
        let micrometres_per_tip = mantissa
            .filter(|_| MM_PER_TIP.contains(&mm_per_tip))
            .and_then(|mantissa| u64::try_from(mantissa).ok())
            .ok_or_else(|| CHIP.error("tip", Cause::Refused("a tip must be 0.01 to 10 mm")))?;
        Ok(Self {
            counter,
            micrometres_per_tip,
            kept: VecDeque::new(),
        })
    }

    /// Amount so far and rate. `now_ms` is monotonic.
    ///
    /// # Errors
    /// The counter can't be asked.
    pub fn read(&mut self, now_ms: u64) -> Result<RainReading, SensorError> {
        let asked = self.counter.pulses();
        let tips = asked.map_err(|why| CHIP.error("pulses", Cause::Refused(why)))?;
        if self
            .kept
            .back()
            .is_some_and(|(at_ms, count)| *count > tips || *at_ms >= now_ms)
        {
            // The counter started anew.
            self.kept.clear();
        }
        self.kept.push_back((now_ms, tips));
        // One reading at or before the window's start is its beginning.
        while self.kept.len() > KEPT_MAX
            || self
                .kept
                .get(1)
                .is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= WINDOW_MS)
        {
            self.kept.pop_front();
        }
        Ok(RainReading {
            amount: hundredths(u128::from(tips) * u128::from(self.micrometres_per_tip), 10),
            rate: self.rate(now_ms, tips),
        })
    }

    /// Gives the counter back.
    pub fn release(self) -> P {
        self.counter
    }

    fn rate(&self, now_ms: u64, tips: u64) -> Result<Decimal, SensorError> {
        let before = self.kept.front().filter(|(at_ms, _)| *at_ms < now_ms);
        let Some((at_ms, count)) = before else {
            return Err(CHIP.error("rate", Cause::NotReady));
        };
        let fallen = u128::from(tips.saturating_sub(*count)) * u128::from(self.micrometres_per_tip);
        // A short beginning would make a downpour of one tip.
        let elapsed_ms = now_ms.saturating_sub(*at_ms).max(WINDOW_MS / 5);
        let rate = hundredths(fallen * 3_600_000, u128::from(elapsed_ms) * 10);
        CHIP.in_range("rate", rate.to_f64(), &RATE).map(|_| rate)
    }
}

fn hundredths(dividend: u128, divisor: u128) -> Decimal {
    let rounded = (dividend + divisor / 2) / divisor.max(1);
    Decimal {
        mantissa: i64::try_from(rounded).unwrap_or(i64::MAX),
        exponent: EXPONENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one count after the other.
    struct Script(Vec<Result<u64, &'static str>>);

    impl PulseCounter for Script {
        fn pulses(&mut self) -> Result<u64, &'static str> {
            self.0.remove(0)
        }
    }

    /// Readings at these seconds, and what they say.
    #[track_caller]
    fn check(mm_per_tip: f64, steps: &[(u64, Result<u64, &'static str>, &str)]) {
        let script = Script(steps.iter().map(|(_, count, _)| *count).collect());
        let mut gauge = RainGauge::new(script, mm_per_tip).unwrap();
        for (at_s, _, expected) in steps {
            let found = match gauge.read(at_s * 1_000) {
                Ok(RainReading { amount, rate }) => match rate {
                    Ok(rate) => format!("{amount} mm, {rate} mm/h"),
                    Err(error) => format!("{amount} mm, {}", error.cause),
                },
                Err(error) => format!("{error}: {}", error.cause),
            };
            assert_eq!(found, *expected, "at {at_s} s");
        }
    }

    #[test]
    fn tips_to_millimetres() {
        check(
            0.2,
            &[
                (0, Ok(10), "2.00 mm, no measurement yet"),
                (10, Ok(10), "2.00 mm, 0.00 mm/h"),
                // One tip soon after the start counts over a minute at least.
                (20, Ok(11), "2.20 mm, 12.00 mm/h"),
                (300, Ok(35), "7.00 mm, 60.00 mm/h"),
                // The window is five minutes: what fell before 300 s is past.
                (600, Ok(35), "7.00 mm, 0.00 mm/h"),
            ],
        );
        check(0.254, &[(0, Ok(3), "0.76 mm, no measurement yet")]);
    }

    #[test]
    fn a_counter_that_fails_or_starts_anew() {
        check(
            0.2,
            &[
                (0, Ok(1_000), "200.00 mm, no measurement yet"),
                (10, Err("no answer"), "rain-gauge: pulses: no answer"),
                (20, Ok(5), "1.00 mm, no measurement yet"),
                (30, Ok(5), "1.00 mm, 0.00 mm/h"),
            ],
        );
    }

    #[test]
    fn an_impossible_rate_is_no_number() {
        let beyond = "value 12000.00 is outside 0.00 to 2500.00 mm/h";
        check(
            0.2,
            &[
                (0, Ok(0), "0.00 mm, no measurement yet"),
                (10, Ok(1_000), &format!("200.00 mm, {beyond}")),
            ],
        );
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let script = Script((0..2_000).map(Ok).collect());
        let mut gauge = RainGauge::new(script, 0.2).unwrap();
        for second in 0..2_000 {
            gauge.read(second * 500).unwrap();
            assert!(gauge.kept.len() <= KEPT_MAX);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for mm in [0.0, -0.2, 11.0, f64::NAN] {
            assert!(RainGauge::new(Script(Vec::new()), mm).is_err(), "{mm}");
        }
    }
}
