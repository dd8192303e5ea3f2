//! Pulse flow meters: how much water, and how fast.

use furrow_wire::Decimal;

use crate::SensorError;
use crate::error::{Cause, Chip};

/// Decimal exponent of volume and flow: hundredths.
pub const EXPONENT: i8 = -2;
/// Greatest flow that is believed, in litres a minute: ten times what a drip zone takes.
const FLOW_MAX: f64 = 1_000.0;

/// Counts edges. Behind it: an interrupt on the Pi, a call to a simulated pin, a number in a test.
pub trait PulseCounter {
    /// Pulses since the counter started; never falls while it runs.
    ///
    /// # Errors
    /// The counter can't be asked, in words.
    fn pulses(&mut self) -> Result<u64, &'static str>;
}

/// How many pulses a litre makes. Exact in millionths of a pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PulseFactor {
    micropulses_per_litre: u64,
}

impl PulseFactor {
    /// `None` unless it is a number from 0.001 to 100000.
    #[must_use]
    pub fn per_litre(pulses: f64) -> Option<Self> {
        let mantissa = Decimal::mantissa_of(pulses, -6)?;
        let micropulses_per_litre = u64::try_from(mantissa).ok()?;
        (1_000..=100_000_000_000)
            .contains(&micropulses_per_litre)
            .then_some(Self {
                micropulses_per_litre,
            })
    }

    /// For meters that are labelled in litres per pulse, e.g. 10. `None` as above.
    #[must_use]
    pub fn litres_per_pulse(litres: f64) -> Option<Self> {
        Self::per_litre(1.0 / litres)
    }

    /// Pulses per litre, times a million.
    #[must_use]
    pub fn micropulses_per_litre(self) -> u64 {
        self.micropulses_per_litre
    }

    /// Litres in hundredths, rounded.
    #[must_use]
    pub fn volume(self, pulses: u64) -> Decimal {
        self.scaled(u128::from(pulses) * 100_000_000, 1)
    }

    /// Litres a minute in hundredths, rounded: so many pulses in so many milliseconds (above 0).
    #[must_use]
    pub fn flow(self, pulses: u64, elapsed_ms: u64) -> Decimal {
        let per_minute = u128::from(pulses) * 100_000_000 * 60_000;
        self.scaled(per_minute, u128::from(elapsed_ms.max(1)))
    }

    fn scaled(self, dividend: u128, divisor: u128) -> Decimal {
        let divisor = u128::from(self.micropulses_per_litre) * divisor;
        let mantissa = i64::try_from((dividend + divisor / 2) / divisor).unwrap_or(i64::MAX);
        Decimal {
            mantissa,
            exponent: EXPONENT,
        }
    }
}

/// One reading.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowReading {
    /// Litres since the counter started, in hundredths.
    pub volume: Decimal,
    /// Litres a minute since the last reading, in hundredths; the first reading has none.
    pub flow: Result<Decimal, SensorError>,
}

/// The driver.
#[derive(Debug)]
pub struct FlowMeter<P> {
    counter: P,
    factor: PulseFactor,
    last: Option<(u64, u64)>,
}

const CHIP: Chip = Chip {
    name: "flow-meter",
    address: None,
};

impl<P: PulseCounter> FlowMeter<P> {
    /// Asks nothing yet.
    pub fn new(counter: P, factor: PulseFactor) -> Self {
        Self {
            counter,
            factor,
            last: None,
        }
    }

    /// Volume so far and flow since the last reading. `now_ms` is monotonic.
    ///
    /// # Errors
    /// The counter can't be asked.
    pub fn read(&mut self, now_ms: u64) -> Result<FlowReading, SensorError> {
        let asked = self.counter.pulses();
        let pulses = asked.map_err(|why| CHIP.error("pulses", Cause::Refused(why)))?;
        let flow = match self.last {
            Some((count, at_ms)) if count <= pulses && at_ms < now_ms => {
                let flow = self.factor.flow(pulses - count, now_ms - at_ms);
                let most = crate::error::Range {
                    min: 0.0,
                    max: FLOW_MAX,
                    unit: "L/min",
                };
                CHIP.in_range("flow", flow.to_f64(), &most).map(|_| flow)
            }
            // The first reading, or the counter started anew.
            Some(_) | None => Err(CHIP.error("flow", Cause::NotReady)),
        };
        self.last = Some((pulses, now_ms));
        Ok(FlowReading {
            volume: self.factor.volume(pulses),
            flow,
        })
    }

    /// Gives the counter back.
    pub fn release(self) -> P {
        self.counter
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

    #[test]
    fn pulses_to_litres() {
        let yf_s201 = PulseFactor::per_litre(450.0).unwrap();
        assert_eq!(yf_s201.volume(0).to_string(), "0.00");
        assert_eq!(yf_s201.volume(1).to_string(), "0.00");
        assert_eq!(yf_s201.volume(450).to_string(), "1.00");
        assert_eq!(
            yf_s201.volume(u64::from(u32::MAX)).to_string(),
            "9544371.77"
        );
        // Datasheet: 7.5 Hz per L/min; 10 L/min is 75 Hz.
        assert_eq!(yf_s201.flow(750, 10_000).to_string(), "10.00");
        assert_eq!(yf_s201.flow(0, 10_000).to_string(), "0.00");
        let reed = PulseFactor::litres_per_pulse(10.0).unwrap();
        assert_eq!(reed.volume(3).to_string(), "30.00");
    }

    #[test]
    fn nonsense_factors_are_refused() {
        for pulses in [0.0, -450.0, f64::NAN, f64::INFINITY, 1e6] {
            assert_eq!(PulseFactor::per_litre(pulses), None, "{pulses}");
        }
        assert_eq!(PulseFactor::litres_per_pulse(0.0), None);
    }

    #[test]
    fn a_rate_needs_two_readings_of_one_counter() {
        let script = Script(vec![
            Ok(1_000),
            Ok(1_750),
            Err("no answer"),
            Ok(1_750),
            Ok(5),
            Ok(455),
        ]);
        let mut meter = FlowMeter::new(script, PulseFactor::per_litre(450.0).unwrap());
        let mut read = |now_ms| match meter.read(now_ms) {
            Ok(FlowReading {
                volume,
                flow: Ok(flow),
            }) => format!("{volume} {flow}"),
            Ok(FlowReading {
                volume,
                flow: Err(error),
            }) => format!("{volume} {}", error.cause),
            Err(error) => format!("{error}: {}", error.cause),
        };
        assert_eq!(read(0), "2.22 no measurement yet");
        assert_eq!(read(10_000), "3.89 10.00");
        assert_eq!(read(20_000), "flow-meter: pulses: no answer");
        assert_eq!(read(30_000), "3.89 0.00");
        assert_eq!(read(40_000), "0.01 no measurement yet");
        assert_eq!(read(46_000), "1.01 10.00");
    }

    #[test]
    fn an_impossible_flow_is_no_number() {
        let mut meter = FlowMeter::new(
            Script(vec![Ok(0), Ok(1_000_000)]),
            PulseFactor::per_litre(450.0).unwrap(),
        );
        meter.read(0).unwrap();
        assert!(meter.read(1_000).unwrap().flow.is_err());
    }
}
