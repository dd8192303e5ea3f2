//! Atlas Scientific EZO-pH and EZO-EC circuits, read only.
//!
//! The circuits speak ASCII: a command, a wait, and an answer of a status byte and a text. A reading
//! takes 900 ms, which is a step to come back for. What a circuit is, it says itself, at the start
//! and after every failure. Calibration and temperature compensation are the technician's: nothing
//! here changes what the circuit has stored.

use embedded_hal::i2c::I2c;
use furrow_wire::Decimal;

use crate::error::{Chip, Range};
use crate::step::Step;
use crate::{Cause, SensorError};

/// Decimal exponent of both quantities: thousandths, as the circuits print them.
pub const EXPONENT: i8 = -3;
/// Time of a reading, in milliseconds (datasheet, command R).
const READING_MS: u64 = 900;
/// Time of any other command, in milliseconds.
const COMMAND_MS: u64 = 300;
/// Pause before an answer that was not ready is asked for again, in milliseconds.
const AGAIN_MS: u64 = 100;
/// An answer that is not there after this many looks is lost.
const LOOKS: u8 = 4;
/// Longest answer: status, text, and the 0 that ends it.
const ANSWER_LEN: usize = 32;

/// Which circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// EZO-pH.
    Ph,
    /// EZO-EC: electrical conductivity.
    Ec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Who answers there is not known.
    Unknown,
    Identifying {
        until_ms: u64,
        looks: u8,
    },
    Known,
    Reading {
        until_ms: u64,
        looks: u8,
    },
}

/// What an answer holds.
enum Answer {
    Later,
    Text(String),
}

/// The driver.
#[derive(Debug)]
pub struct Ezo<I2C> {
    i2c: I2C,
    address: u8,
    probe: Probe,
    state: State,
    chip: Chip,
}

impl Probe {
    /// As in the configuration and the catalog.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Probe::Ph => "ezo-ph",
            Probe::Ec => "ezo-ec",
        }
    }

    /// The address it leaves the factory with.
    #[must_use]
    pub fn address(self) -> u8 {
        match self {
            Probe::Ph => 0x63,
            Probe::Ec => 0x64,
        }
    }

    /// What it calls itself.
    fn says(self) -> &'static str {
        match self {
            Probe::Ph => "pH",
            Probe::Ec => "EC",
        }
    }

    /// Ranges of the circuits (datasheets): pH 0.001 to 14, EC 0.07 µS/cm to 500 mS/cm.
    fn range(self) -> Range {
        match self {
            Probe::Ph => Range {
                min: 0.001,
                max: 14.0,
                unit: "[pH]",
            },
            Probe::Ec => Range {
                min: 0.0,
                max: 500.0,
                unit: "dS/m",
            },
        }
    }

    /// From the last digit printed to the channel's: the EC circuit prints µS/cm, and 1 dS/m is 1000.
    fn shift(self) -> i8 {
        match self {
            Probe::Ph => 0,
            Probe::Ec => -3,
        }
    }
}

impl<I2C: I2c> Ezo<I2C> {
    /// Any address: the circuits can be given another one. Sends nothing yet.
    pub fn new(i2c: I2C, probe: Probe, address: u8) -> Self {
        let chip = Chip {
            name: probe.name(),
            address: Some(address),
        };
        Self {
            i2c,
            address,
            probe,
            state: State::Unknown,
            chip,
        }
    }

    /// Asks who is there, starts a reading, or fetches it once it is done.
    ///
    /// # Errors
    /// The bus, another circuit, an answer that is no number, or a value that the circuit can't
    /// measure. The next call begins with the identity.
    pub fn step(&mut self, now_ms: u64) -> Result<Step<Decimal>, SensorError> {
        match std::mem::replace(&mut self.state, State::Unknown) {
            State::Unknown => {
                let until_ms = self.ask("identity", b"i", now_ms, COMMAND_MS)?;
                self.state = State::Identifying { until_ms, looks: 1 };
                Ok(Step::Wait { until_ms })
            }
            State::Identifying { until_ms, looks } if now_ms < until_ms => {
                self.state = State::Identifying { until_ms, looks };
                Ok(Step::Wait { until_ms })
            }
            State::Identifying { looks, .. } => match self.answer("identity", looks)? {
                Answer::Later => {
                    let looks = looks.saturating_add(1);
                    let until_ms = now_ms.saturating_add(AGAIN_MS);
                    self.state = State::Identifying { until_ms, looks };
                    Ok(Step::Wait { until_ms })
                }
                Answer::Text(text) => {
                    self.check_identity(text)?;
                    self.read(now_ms)
                }
            },
            State::Known => self.read(now_ms),
            State::Reading { until_ms, looks } if now_ms < until_ms => {
                self.state = State::Reading { until_ms, looks };
                Ok(Step::Wait { until_ms })
            }
            State::Reading { looks, .. } => match self.answer("reading", looks)? {
                Answer::Later => {
                    let looks = looks.saturating_add(1);
                    let until_ms = now_ms.saturating_add(AGAIN_MS);
                    self.state = State::Reading { until_ms, looks };
                    Ok(Step::Wait { until_ms })
                }
                Answer::Text(text) => {
                    let value = self.convert(&text)?;
                    self.state = State::Known;
                    Ok(Step::Reading(value))
                }
            },
        }
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        self.i2c
    }

    fn read(&mut self, now_ms: u64) -> Result<Step<Decimal>, SensorError> {
        let until_ms = self.ask("reading", b"R", now_ms, READING_MS)?;
        self.state = State::Reading { until_ms, looks: 1 };
        Ok(Step::Wait { until_ms })
    }

    fn ask(
        &mut self,
        register: &'static str,
        command: &[u8],
        now_ms: u64,
        takes_ms: u64,
    ) -> Result<u64, SensorError> {
        let sent = self.i2c.write(self.address, command);
        sent.map_err(|error| self.chip.bus(register, &error))?;
        Ok(now_ms.saturating_add(takes_ms).saturating_add(1))
    }

    fn answer(&mut self, register: &'static str, looks: u8) -> Result<Answer, SensorError> {
        let mut bytes = [0; ANSWER_LEN];
        let read = self.i2c.read(self.address, &mut bytes);
        read.map_err(|error| self.chip.bus(register, &error))?;
        let [status, text @ ..] = &bytes;
        match status {
            1 => {
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = text.iter().map(|byte| char::from(*byte)).collect();
                Ok(Answer::Text(text))
            }
            254 if looks < LOOKS => Ok(Answer::Later),
            254 => {
                let waited = READING_MS.saturating_add(AGAIN_MS * u64::from(LOOKS - 1));
                let waited_ms = u32::try_from(waited).unwrap_or(u32::MAX);
                Err(self.chip.error(register, Cause::Late { waited_ms }))
            }
            status => Err(self.chip.error(register, Cause::Status { found: *status })),
        }
    }

    /// `?i,pH,1.98`: the circuit and its firmware.
    fn check_identity(&self, text: String) -> Result<(), SensorError> {
        let mut parts = text.split(',');
        let asked = parts
            .next()
            .is_some_and(|part| part.eq_ignore_ascii_case("?i"));
        if asked && parts.next() == Some(self.probe.says()) {
            return Ok(());
        }
        let cause = Cause::Identity {
            found: printable(&text),
        };
        Err(self.chip.error("identity", cause))
    }

    /// The first of the values: an EC circuit may print others behind it.
    fn convert(&self, text: &str) -> Result<Decimal, SensorError> {
        let first = text.split(',').next().unwrap_or_default();
        let exponent = EXPONENT - self.probe.shift();
        let mantissa = decimal(first, exponent).ok_or_else(|| {
            let found = printable(text);
            self.chip.error("reading", Cause::NoNumber { found })
        })?;
        let value = Decimal {
            mantissa,
            exponent: EXPONENT,
        };
        self.chip
            .in_range("reading", value.to_f64(), &self.probe.range())?;
        Ok(value)
    }
}

/// A plain decimal number as a whole multiple of `10^exponent`, rounded half up; nothing else.
fn decimal(text: &str, exponent: i8) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // Nine digits are far more than either circuit prints, and fit every product below.
    if whole.is_empty() || whole.len() > 9 || fraction.len() > 9 {
        return None;
    }
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let places = usize::try_from(-i32::from(exponent)).unwrap_or(0);
    let mut mantissa: i64 = whole.parse().ok()?;
    let mut fraction = fraction.bytes().map(|byte| i64::from(byte - b'0'));
    for _ in 0..places {
        mantissa = mantissa
            .checked_mul(10)?
            .checked_add(fraction.next().unwrap_or(0))?;
    }
    let up = fraction.next().is_some_and(|digit| digit >= 5);
    mantissa.checked_add(i64::from(up))
}

/// A foreign text for people: short and without control characters.
fn printable(text: &str) -> String {
    let shown = text.chars().take(ANSWER_LEN);
    let text: String = shown
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .collect();
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_digit_by_digit() {
        let table = [
            ("9.560", -3, Some(9_560)),
            ("0.001", -3, Some(1)),
            ("14.000", -3, Some(14_000)),
            ("1413", 0, Some(1_413)),
            ("0.07", 0, Some(0)),
            ("12.88", 0, Some(13)),
            ("0.5", 0, Some(1)),
            ("7", -3, Some(7_000)),
            ("", -3, None),
            (".5", -3, None),
            ("-1.0", -3, None),
            ("1e3", -3, None),
            ("nan", -3, None),
            ("7.0 ", -3, None),
            ("1.2.3", -3, None),
            ("1234567890", -3, None),
        ];
        for (text, exponent, expected) in table {
            assert_eq!(decimal(text, exponent), expected, "{text:?}");
        }
    }
}
