//! Probes that hold their readings in Modbus registers: soil moisture, temperature, conductivity, pH.
//!
//! Such probes differ in little but the numbers of their registers, so what a register means is data: a
//! [`Profile`]. Owns: which registers are asked for together, and what their words mean. Frames,
//! checksums, time-outs and repeats belong to the line, behind [`RegisterSource`].

use std::collections::BTreeSet;

use furrow_wire::Decimal;

use crate::error::Chip;
use crate::{Cause, SensorError};

/// Most registers of a profile; probes have three to nine.
pub const REGISTERS_MAX: usize = 16;
/// Addresses that a probe can have (Modbus over serial line 1.02, 2.2); 0 is for everybody.
pub const SLAVES: core::ops::RangeInclusive<u8> = 1..=247;

/// How registers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Function code 3.
    Holding,
    /// Function code 4.
    Input,
}

/// How a register's sixteen bits are a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// 0 to 65,535.
    Unsigned,
    /// Two's complement, −32,768 to 32,767.
    Signed,
}

/// One register that is a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Register {
    /// As on the wire, from 0.
    pub number: u16,
    /// How its bits are a number.
    pub sign: Sign,
    /// The channel's unit per step of that number.
    pub scale: f64,
    /// Decimal exponent of the channel.
    pub exponent: i8,
    /// Least value that the probe can measure, in the channel's unit.
    pub min: f64,
    /// Greatest value that it can measure.
    pub max: f64,
}

/// What a probe has where.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// How all of its registers are read.
    pub function: Function,
    /// One channel each, in this order; 1 to [`REGISTERS_MAX`].
    pub registers: Vec<Register>,
}

/// Registers that are asked for in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Who is asked, one of [`SLAVES`].
    pub slave: u8,
    /// How.
    pub function: Function,
    /// The first register.
    pub first: u16,
    /// How many from there, 1 to [`REGISTERS_MAX`].
    pub count: u16,
}

/// Gives the words of registers. Behind it: a serial line, a test.
pub trait RegisterSource {
    /// As many words as were asked for.
    ///
    /// # Errors
    /// No answer in time, a disturbed one, or the probe's refusal (its exception code as
    /// [`Cause::Status`]).
    fn registers(&mut self, ask: Ask) -> Result<Vec<u16>, Cause>;
}

/// The driver.
#[derive(Debug)]
pub struct RegisterProbe<S> {
    source: S,
    chip: Chip,
    profile: Profile,
    asks: Vec<Ask>,
}

impl<S: RegisterSource> RegisterProbe<S> {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// An address that no probe can have, or a profile with no or too many registers.
    pub fn new(source: S, slave: u8, profile: Profile) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "soil-probe",
            address: Some(slave),
        };
        if !SLAVES.contains(&slave) {
            let cause = Cause::Refused("the address must be 1 to 247");
            return Err(chip.error("address", cause));
        }
        if profile.registers.is_empty() || profile.registers.len() > REGISTERS_MAX {
            let cause = Cause::Refused("a profile has 1 to 16 registers");
            return Err(chip.error("profile", cause));
        }
        let asks = asks(slave, &profile);
        Ok(Self {
            source,
            chip,
            profile,
            asks,
        })
    }

    /// One reading for each register of the profile. Where there is no answer, what is left is not
    /// asked for: a silent probe costs its line one wait, not one for each request.
    pub fn read(&mut self) -> Vec<Result<Decimal, SensorError>> {
        let mut words: Vec<(Ask, Result<Vec<u16>, Cause>)> = Vec::new();
        let mut silent: Option<Cause> = None;
        for ask in &self.asks {
            let answer = match &silent {
                Some(cause) => Err(cause.clone()),
                None => self.source.registers(*ask),
            };
            match &answer {
                // A refusal of these registers says nothing about the others.
                Err(Cause::Status { .. }) | Ok(_) => {}
                Err(cause) => silent = Some(cause.clone()),
            }
            words.push((*ask, answer));
        }
        let readings = self.profile.registers.iter().map(|register| {
            let word = word_of(&words, register.number);
            word.and_then(|word| register.decode(word))
                .map_err(|cause| self.chip.error(name_of(self.profile.function), cause))
        });
        readings.collect()
    }

    /// Gives the line back.
    pub fn release(self) -> S {
        self.source
    }
}

impl Register {
    /// The reading that a word is.
    ///
    /// # Errors
    /// What the probe can't measure, or what does not fit the channel's decimals.
    pub fn decode(&self, word: u16) -> Result<Decimal, Cause> {
        let steps = match self.sign {
            Sign::Unsigned => f64::from(word),
            Sign::Signed => f64::from(word.cast_signed()),
        };
        let value = steps * self.scale;
        let beyond = || Cause::Beyond {
            register: self.number,
            value,
            min: self.min,
            max: self.max,
        };
        let mantissa = Decimal::mantissa_of(value, self.exponent).ok_or_else(beyond)?;
        let decimal = Decimal {
            mantissa,
            exponent: self.exponent,
        };
        // As rounded: 3 steps of 0.1 are a little more than 0.3, and are 0.3 all the same.
        if (self.min..=self.max).contains(&decimal.to_f64()) {
            Ok(decimal)
        } else {
            Err(beyond())
        }
    }
}

/// Neighbours are asked for together. Registers in between are left alone: a probe may refuse a request
/// for all because it lacks one.
fn asks(slave: u8, profile: &Profile) -> Vec<Ask> {
    let numbers: BTreeSet<u16> = profile.registers.iter().map(|one| one.number).collect();
    let mut asks: Vec<Ask> = Vec::new();
    for number in numbers {
        match asks.last_mut() {
            Some(ask) if ask.first.checked_add(ask.count) == Some(number) => ask.count += 1,
            Some(_) | None => asks.push(Ask {
                slave,
                function: profile.function,
                first: number,
                count: 1,
            }),
        }
    }
    asks
}

fn word_of(words: &[(Ask, Result<Vec<u16>, Cause>)], number: u16) -> Result<u16, Cause> {
    let missing = Cause::Refused("the answer has too few registers");
    let held = words.iter().find_map(|(ask, answer)| {
        let offset = number.checked_sub(ask.first)?;
        (offset < ask.count).then_some((usize::from(offset), answer))
    });
    let Some((offset, answer)) = held else {
        return Err(missing);
    };
    let words = answer.as_ref().map_err(Clone::clone)?;
    words.get(offset).copied().ok_or(missing)
}

fn name_of(function: Function) -> &'static str {
    match function {
        Function::Holding => "holding registers",
        Function::Input => "input registers",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn register(
        number: u16,
        sign: Sign,
        scale: f64,
        exponent: i8,
        range: (f64, f64),
    ) -> Register {
        Register {
            number,
            sign,
            scale,
            exponent,
            min: range.0,
            max: range.1,
        }
    }

    const MOISTURE: Register = register(0, Sign::Unsigned, 0.1, -1, (0.0, 100.0));
    const TEMPERATURE: Register = register(1, Sign::Signed, 0.1, -1, (-40.0, 80.0));
    const EC: Register = register(2, Sign::Unsigned, 0.001, -3, (0.0, 20.0));
    const PH: Register = register(3, Sign::Unsigned, 0.1, -1, (3.0, 9.0));

    fn profile(registers: &[Register]) -> Profile {
        Profile {
            function: Function::Holding,
            registers: registers.to_vec(),
        }
    }

    /// First register and count, and the answer.
    type Line = ((u16, u16), Result<Vec<u16>, Cause>);

    /// Answers by a script; what it is asked must be what the script says.
    struct Script(Vec<Line>);

    impl RegisterSource for Script {
        fn registers(&mut self, ask: Ask) -> Result<Vec<u16>, Cause> {
            assert!(!self.0.is_empty(), "asked for {ask:?} beyond the script");
            let (expected, answer) = self.0.remove(0);
            assert_eq!((ask.slave, ask.function), (1, Function::Holding));
            assert_eq!((ask.first, ask.count), expected);
            answer
        }
    }

    #[track_caller]
    fn check(registers: &[Register], script: Vec<Line>, expected: &[&str]) {
        let mut probe = RegisterProbe::new(Script(script), 1, profile(registers)).unwrap();
        let told: Vec<String> = probe
            .read()
            .into_iter()
            .map(|reading| match reading {
                Ok(value) => value.to_string(),
                Err(error) => format!("{error}: {}", error.cause),
            })
            .collect();
        assert_eq!(told, expected);
        assert_eq!(probe.release().0, [], "all that was scripted was asked");
    }

    #[test]
    fn the_answer_of_the_makers_page() {
        // 01 03 08 02 92 FF 9B 03 E8 00 38 57 B6 (SEN0604).
        check(
            &[MOISTURE, TEMPERATURE, EC, PH],
            vec![((0, 4), Ok(vec![0x0292, 0xFF9B, 0x03E8, 0x0038]))],
            &["65.8", "-10.1", "1.000", "5.6"],
        );
        // The worked examples of the S-Soil's manual.
        let temperature = register(0, Sign::Signed, 0.01, -2, (-40.0, 80.0));
        let moisture = register(1, Sign::Unsigned, 0.01, -2, (0.0, 100.0));
        for (words, expected) in [
            ([0x0702, 0x071D, 0x071D], ["17.94", "18.21", "1.821"]),
            ([0xFF05, 0x0000, 0x4E20], ["-2.51", "0.00", "20.000"]),
        ] {
            let answer = vec![((0, 3), Ok(words.to_vec()))];
            check(&[temperature, moisture, EC], answer, &expected);
        }
    }

    #[test]
    fn the_ends_of_a_range_and_beyond() {
        for (register, word, expected) in [
            (MOISTURE, 0, "0.0"),
            (MOISTURE, 1_000, "100.0"),
            (
                MOISTURE,
                1_001,
                "soil-probe at 0x01: holding registers: register 0 reads 100.10, outside 0 to 100",
            ),
            (TEMPERATURE, 0xFFFF, "-0.1"),
            (TEMPERATURE, 0xFE70, "-40.0"),
            (
                TEMPERATURE,
                0x7FFF,
                "soil-probe at 0x01: holding registers: register 1 reads 3276.70, outside -40 to 80",
            ),
            (
                TEMPERATURE,
                0x8000,
                "soil-probe at 0x01: holding registers: register 1 reads -3276.80, outside -40 to 80",
            ),
            (
                PH,
                0,
                "soil-probe at 0x01: holding registers: register 3 reads 0.00, outside 3 to 9",
            ),
        ] {
            let answer = vec![((register.number, 1), Ok(vec![word]))];
            check(&[register], answer, &[expected]);
        }
    }

    #[test]
    fn neighbours_are_asked_for_together_and_gaps_are_left_alone() {
        let at = |number| Register { number, ..MOISTURE };
        check(
            &[at(30), at(2), at(31), at(3), at(0xFFFF), at(2)],
            vec![
                ((2, 2), Ok(vec![20, 30])),
                ((30, 2), Ok(vec![300, 310])),
                ((0xFFFF, 1), Ok(vec![999])),
            ],
            &["30.0", "2.0", "31.0", "3.0", "99.9", "2.0"],
        );
    }

    #[test]
    fn failures_stay_with_their_registers() {
        let at = |number| Register { number, ..MOISTURE };
        let refused = Err(Cause::Status { found: 2 });
        check(
            &[at(0), at(9)],
            vec![((0, 1), refused), ((9, 1), Ok(vec![90]))],
            &[
                "soil-probe at 0x01: holding registers: the chip answers with status 2",
                "9.0",
            ],
        );
        let silent = Cause::NoAnswer { waited_ms: 600 };
        let told = "soil-probe at 0x01: holding registers: no answer in 600 ms";
        check(
            &[at(0), at(9)],
            vec![((0, 1), Err(silent.clone()))],
            &[told, told],
        );
        check(
            &[at(0), at(9)],
            vec![((0, 1), Ok(vec![10])), ((9, 1), Err(silent))],
            &["1.0", told],
        );
        let short = "soil-probe at 0x01: holding registers: the answer has too few registers";
        check(
            &[at(0), at(1)],
            vec![((0, 2), Ok(vec![10]))],
            &["1.0", short],
        );
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let make = |slave, registers: &[Register]| {
            let probe = RegisterProbe::new(Script(Vec::new()), slave, profile(registers));
            probe.is_err()
        };
        assert!(make(0, &[PH]) && make(248, &[PH]) && make(1, &[]) && make(1, &[PH; 17]));
        assert!(!make(1, &[PH]) && !make(247, &[PH; 16]));
    }

    proptest! {
        /// Whatever the registers hold and the profile says: what is good lies in the range.
        #[test]
        fn nothing_outside_the_range_is_good(
            words in prop::collection::vec(any::<u16>(), 0..6),
            scale in prop_oneof![Just(0.1), Just(0.01), Just(1.0), any::<f64>()],
            exponent in -4_i8..=2,
            signed in any::<bool>(),
            min in -200.0..200.0_f64,
            span in 0.0..400.0_f64,
        ) {
            let sign = if signed { Sign::Signed } else { Sign::Unsigned };
            let max = min + span;
            let registers: Vec<Register> =
                (0..4).map(|number| register(number, sign, scale, exponent, (min, max))).collect();
            let script = Script(vec![((0, 4), Ok(words))]);
            let mut probe = RegisterProbe::new(script, 1, profile(&registers)).unwrap();
            let readings = probe.read();
            prop_assert_eq!(readings.len(), 4);
            for value in readings.into_iter().flatten() {
                prop_assert_eq!(value.exponent, exponent);
                prop_assert!((min..=max).contains(&value.to_f64()));
            }
        }
    }
}
