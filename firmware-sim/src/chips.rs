//! Chips at register level: what goes over the wire, when a chip is busy, and what it refuses.
//!
//! Registers and formulas are declared here from the datasheets, never imported from the drivers, so
//! that a mistake in one of them fails a test. A chip knows the simulated time only as an argument and
//! its surroundings only as a [`Field`].

pub(crate) mod ads1115;
pub(crate) mod bh1750;
pub(crate) mod bme280;
pub(crate) mod crc;
pub(crate) mod drip;
pub(crate) mod ds18b20;
pub(crate) mod expanders;
pub(crate) mod ezo;
pub(crate) mod ina219;
pub(crate) mod scd30;
pub(crate) mod scd4x;
pub(crate) mod sht3x;
pub(crate) mod sht4x;
pub(crate) mod soil_probe;
pub(crate) mod tca9548a;

use crate::physics::air::Air;
use crate::site::Site;

/// What a chip can sense at the moment of a transaction.
pub(crate) trait Field {
    /// The air at a place.
    fn air(&self, place: Place) -> Air;
    /// CO2 inside, ppm.
    fn co2_ppm(&self) -> f64;
    /// Voltage at an input of the converter, V.
    fn volts(&self, input: u8) -> f64;
    /// Rising edges of the flow meter.
    fn pulses(&self) -> u64;
    /// Bit z is set while the switch of valve z says open.
    fn valve_switches(&self) -> u8;
    /// Everything else.
    fn site(&self) -> Site;
}

/// Where air is sensed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the crop.
    Inside,
    /// In a screen outside.
    Outside,
}

/// The chip did not acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nack {
    /// Its address.
    Address,
    /// A data byte.
    Data,
}

/// A chip on a bus. A call is one START with its address and bytes; whether a STOP or a repeated START
/// came before makes no difference to the chips here, which the tests of each of them show.
pub(crate) trait Chip {
    /// Bytes from the master.
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack>;
    /// Bytes to the master.
    fn read(&mut self, now_ns: u64, bytes: &mut [u8], field: &dyn Field) -> Result<(), Nack>;
    /// The supply fails and comes back.
    fn power_cycle(&mut self, now_ns: u64);
    /// Of a multiplexer: bit n is set while its channel n is connected.
    fn open_channels(&self) -> u8 {
        0
    }
    /// Of a relay board: bit n is set while its relay n is driven.
    fn relays(&self) -> u8 {
        0
    }
}

/// Nanoseconds in a millisecond.
pub(crate) const MS: u64 = 1_000_000;

/// Copies an answer; a line that nobody drives reads ones.
fn fill(bytes: &mut [u8], answer: &[u8]) {
    let mut answer = answer.iter();
    for byte in bytes {
        *byte = answer.next().copied().unwrap_or(0xFF);
    }
}

#[cfg(test)]
pub(crate) mod testing;
