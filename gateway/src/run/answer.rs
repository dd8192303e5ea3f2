//! A device's answer, as the core sees it.

use furrow_drivers::{Cause, SensorError};
use furrow_gateway_core::quality::Reading;
use furrow_wire::Decimal;

use crate::config::ChannelSettings;

/// What a driver gave, as the core sees it, in steps of the channel.
#[must_use]
pub fn reading_of(reading: &Result<Decimal, SensorError>, channel: &ChannelSettings) -> Reading {
    let exponent = channel.exponent;
    match reading {
        Ok(decimal) if decimal.exponent == exponent => Reading::Value(decimal.mantissa),
        Ok(decimal) => {
            Decimal::mantissa_of(decimal.to_f64(), exponent).map_or(Reading::Failed, Reading::Value)
        }
        Err(error) => match &error.cause {
            Cause::NotReady => Reading::NothingNew,
            // A saturated input says volts, a loop beyond its ends milliamperes: no number of this
            // channel.
            Cause::OutOfRange { unit, .. } if *unit != channel.unit => Reading::Failed,
            Cause::OutOfRange { value, .. } | Cause::Beyond { value, .. } => {
                Decimal::mantissa_of(*value, exponent).map_or(Reading::Failed, Reading::OutOfRange)
            }
            Cause::Bus(_)
            | Cause::Checksum
            | Cause::Reset { .. }
            | Cause::Late { .. }
            | Cause::NoAnswer { .. }
            | Cause::Identity { .. }
            | Cause::BrokenWire { .. }
            | Cause::ShortCircuit { .. }
            | Cause::NotTaken { .. }
            | Cause::PowerOn
            | Cause::Status { .. }
            | Cause::NoNumber { .. }
            | Cause::Unsteady { .. }
            | Cause::Refused(_) => Reading::Failed,
        },
    }
}

/// The first error with its cause. A sensor that has nothing new yet is not faulty.
#[must_use]
pub fn fault_text(readings: &[Result<Decimal, SensorError>]) -> Option<String> {
    let errors = readings.iter().filter_map(|reading| reading.as_ref().err());
    let mut real = errors.filter(|error| error.cause != Cause::NotReady);
    real.next().map(|error| format!("{error}: {}", error.cause))
}

#[cfg(test)]
mod tests {
    use furrow_drivers::BusFault;

    use super::*;

    #[test]
    fn a_number_in_another_unit_is_no_reading_of_the_channel() {
        let channel = ChannelSettings {
            name: "tank_level".parse().unwrap(),
            unit: "m".to_owned(),
            exponent: -3,
            label: String::new(),
        };
        let good = |mantissa, exponent| Ok(Decimal { mantissa, exponent });
        let failed = |cause| {
            Err(SensorError {
                chip: "ads1115",
                address: Some(0x48),
                register: "input",
                cause,
            })
        };
        let beyond = |unit| Cause::OutOfRange {
            value: 4.096,
            min: -4.096,
            max: 4.0,
            unit,
        };
        let table = [
            ("its own steps", good(1_320, -3), Reading::Value(1_320)),
            ("other steps", good(132, -2), Reading::Value(1_320)),
            ("nothing new", failed(Cause::NotReady), Reading::NothingNew),
            (
                "beyond, in metres",
                failed(beyond("m")),
                Reading::OutOfRange(4_096),
            ),
            ("saturated, in volts", failed(beyond("V")), Reading::Failed),
            (
                "a loop's milliamperes",
                failed(beyond("mA")),
                Reading::Failed,
            ),
            (
                "no answer",
                failed(Cause::Bus(BusFault::Other)),
                Reading::Failed,
            ),
        ];
        for (what, reading, expected) in table {
            assert_eq!(reading_of(&reading, &channel), expected, "{what}");
        }
    }
}
