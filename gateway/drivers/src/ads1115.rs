//! ADS1115: four analog inputs, 16 bit, ±4.096 V.
//!
//! Over the crate `ads1x1x`, one shot per input. After each conversion the settings are read back:
//! a chip whose supply dipped falls to its defaults and hands out a plausible wrong voltage without
//! any error.

use std::cell::RefCell;
use std::rc::Rc;

use ads1x1x::{Ads1x1x, Error, FullScaleRange, TargetAddr, channel, ic, mode};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorType, I2c, Operation};

use crate::error::Chip;
use crate::{Cause, SensorError};

/// Microvolts of one count at ±4.096 V (datasheet, table 3).
pub const MICROVOLTS_PER_COUNT: i32 = 125;
/// A conversion at 128 samples a second takes 7.8 ms, 10 % more with the slowest oscillator.
const CONVERSION_MS: u32 = 9;
/// Looks at the chip before a conversion counts as lost: one may be spent on a conversion that an
/// interrupted reading left behind.
const LOOKS: u32 = 4;
/// One shot, ±4.096 V, 128 samples a second, comparator off, conversion finished (datasheet, 8.6.3).
const SETTINGS: u16 = 0x8383;
/// The register with the settings.
const CONFIG: u8 = 0x01;

/// One of the four inputs, measured against ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// AIN0.
    A0,
    /// AIN1.
    A1,
    /// AIN2.
    A2,
    /// AIN3.
    A3,
}

/// The driver. Not `Send`: build it on the thread that owns the bus.
pub struct Ads1115<I2C, D> {
    adc: Ads1x1x<Shared<I2C>, ic::Ads1115, ic::Resolution16Bit, mode::OneShot>,
    bus: Shared<I2C>,
    delay: D,
    address: u8,
    ranged: bool,
    chip: Chip,
}

impl<I2C: I2c, D: DelayNs> Ads1115<I2C, D> {
    /// Addresses by where the ADDR pin goes: GND, VDD, SDA, SCL.
    pub const ADDRESSES: [u8; 4] = [0x48, 0x49, 0x4A, 0x4B];

    /// `address` is one of [`Ads1115::ADDRESSES`]. Sends nothing yet.
    ///
    /// # Errors
    /// Another address.
    pub fn new(i2c: I2C, delay: D, address: u8) -> Result<Self, SensorError> {
        let chip = Chip {
            name: "ads1115",
            address: Some(address),
        };
        let target = match address {
            0x48 => TargetAddr::Gnd,
            0x49 => TargetAddr::Vdd,
            0x4A => TargetAddr::Sda,
            0x4B => TargetAddr::Scl,
            _ => {
                let cause = Cause::Refused("the address must be 0x48 to 0x4b");
                return Err(chip.error("address", cause));
            }
        };
        let bus = Shared(Rc::new(RefCell::new(i2c)));
        let adc = Ads1x1x::new_ads1115(bus.clone(), target);
        Ok(Self {
            adc,
            bus,
            delay,
            address,
            ranged: false,
            chip,
        })
    }

    /// Measures one input; takes 9 ms. In counts of [`MICROVOLTS_PER_COUNT`].
    ///
    /// # Errors
    /// The bus, a conversion that does not end, a chip that was reset meanwhile.
    pub fn counts(&mut self, input: Input) -> Result<i16, SensorError> {
        self.set_range()?;
        for _ in 0..LOOKS {
            let answer = match input {
                Input::A0 => self.adc.read(channel::SingleA0),
                Input::A1 => self.adc.read(channel::SingleA1),
                Input::A2 => self.adc.read(channel::SingleA2),
                Input::A3 => self.adc.read(channel::SingleA3),
            };
            match answer {
                Ok(counts) => {
                    self.check_settings(input)?;
                    return Ok(counts);
                }
                Err(nb::Error::WouldBlock) => self.delay.delay_ms(CONVERSION_MS),
                Err(nb::Error::Other(error)) => return Err(self.failed("conversion", error)),
            }
        }
        let waited_ms = LOOKS.saturating_mul(CONVERSION_MS);
        Err(self.chip.error("conversion", Cause::Late { waited_ms }))
    }

    /// Gives the bus back.
    pub fn release(self) -> I2C {
        drop(self.adc);
        Rc::into_inner(self.bus.0)
            .expect("the only other owner was just dropped")
            .into_inner()
    }

    fn set_range(&mut self) -> Result<(), SensorError> {
        if self.ranged {
            return Ok(());
        }
        let set = self.adc.set_full_scale_range(FullScaleRange::Within4_096V);
        set.map_err(|error| self.failed("settings", error))?;
        self.ranged = true;
        // This write also started a conversion; it is waited for and thrown away.
        self.delay.delay_ms(CONVERSION_MS);
        Ok(())
    }

    fn check_settings(&mut self, input: Input) -> Result<(), SensorError> {
        let expected = SETTINGS | (0x4000 + (u16::from(input.number()) << 12));
        let mut bytes = [0; 2];
        self.bus
            .write_read(self.address, &[CONFIG], &mut bytes)
            .map_err(|error| self.chip.bus("settings", &error))?;
        let found = u16::from_be_bytes(bytes);
        if found == expected {
            return Ok(());
        }
        Err(self
            .chip
            .error("settings", Cause::Reset { expected, found }))
    }

    fn failed(&self, register: &'static str, error: Error<I2C::Error>) -> SensorError {
        match error {
            Error::I2C(error) => self.chip.bus(register, &error),
            Error::InvalidInputData => self
                .chip
                .error(register, Cause::Refused("the setting is out of range")),
        }
    }
}

impl Input {
    /// All of them.
    pub const ALL: [Input; 4] = [Input::A0, Input::A1, Input::A2, Input::A3];

    /// 0 to 3.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Input::A0 => 0,
            Input::A1 => 1,
            Input::A2 => 2,
            Input::A3 => 3,
        }
    }
}

impl<I2C, D> std::fmt::Debug for Ads1115<I2C, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ads1115")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Volts of a count.
#[must_use]
pub fn volts(counts: i16) -> f64 {
    f64::from(i32::from(counts) * MICROVOLTS_PER_COUNT) / 1e6
}

/// The bus in two hands: the crate's, and ours for reading the settings back.
struct Shared<I2C>(Rc<RefCell<I2C>>);

impl<I2C> Clone for Shared<I2C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<I2C: ErrorType> ErrorType for Shared<I2C> {
    type Error = I2C::Error;
}

impl<I2C: I2c> I2c for Shared<I2C> {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), I2C::Error> {
        // Neither hand calls the other, so it is never borrowed twice.
        self.0.borrow_mut().transaction(address, operations)
    }

    fn read(&mut self, address: u8, read: &mut [u8]) -> Result<(), I2C::Error> {
        self.0.borrow_mut().read(address, read)
    }

    fn write(&mut self, address: u8, write: &[u8]) -> Result<(), I2C::Error> {
        self.0.borrow_mut().write(address, write)
    }

    fn write_read(&mut self, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), I2C::Error> {
        self.0.borrow_mut().write_read(address, write, read)
    }
}

#[cfg(test)]
mod tests {
    use super::volts;

    #[test]
    fn counts_to_volts() {
        let table = [
            (0, "0"),
            (1, "0.000125"),
            (-1, "-0.000125"),
            // Datasheet, table 3 and equation 3: 1 V.
            (0x1F40, "1"),
            (i16::MAX, "4.095875"),
            (i16::MIN, "-4.096"),
        ];
        for (counts, expected) in table {
            assert_eq!(volts(counts).to_string(), expected);
        }
    }
}
