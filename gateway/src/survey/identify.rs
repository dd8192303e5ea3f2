//! What a chip says it is: serial numbers, checksums and identity registers.
//!
//! Nothing is sent that changes a chip's outputs or its stored settings. Port expanders are not asked
//! at all: a write would drive their pins.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, I2c};

use super::Identity;

/// How long an EZO circuit needs for its name, in milliseconds: 300, and a little.
pub(super) const SLOW_MS: u32 = 310;

/// A bus as it is scanned.
pub(super) struct Asked<'a, B, D> {
    pub(super) bus: &'a mut B,
    pub(super) delay: &'a mut D,
    pub(super) address: u8,
}

/// What a chip said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// What it is, if anything told.
    Known(Option<Identity>),
    /// It was asked for its name, which it has after [`SLOW_MS`].
    Slow,
}

fn is(kind: &'static str, text: impl Into<String>) -> Identity {
    Identity {
        kind: Some(kind.to_owned()),
        text: text.into(),
        is_mux: false,
    }
}

fn other(text: impl Into<String>) -> Identity {
    Identity {
        kind: None,
        text: text.into(),
        is_mux: false,
    }
}

impl<B: I2c<Error = ErrorKind>, D: DelayNs> Asked<'_, B, D> {
    /// Asks the chip who it is, in the ways of the parts that can sit at its address.
    pub(super) fn identify(&mut self) -> Look {
        let known = match self.address {
            0x2C..=0x2F => self.drip_controller(),
            0x40..=0x43 | 0x47 | 0x4C..=0x4F => self.ina226(),
            0x44..=0x46 => self.sht4x().or_else(|| self.sht3x()),
            0x48..=0x4B => self.ads1115().or_else(|| self.ina226()),
            0x61 => self.scd30(),
            0x62 => self.scd4x(),
            0x70..=0x75 => self.tca9548a(),
            0x76 | 0x77 => self.bosch().or_else(|| self.tca9548a()),
            _ => None,
        };
        let may_be_ezo = (0x61..=0x64).contains(&self.address);
        if known.is_none() && may_be_ezo && self.bus.write(self.address, b"i").is_ok() {
            return Look::Slow;
        }
        Look::Known(known)
    }

    fn sht4x(&mut self) -> Option<Identity> {
        let [a, b] = self.words(&[0x89], 2_000)?;
        Some(is("sht4x", format!("SHT4x, serial {a:04x}{b:04x}")))
    }

    fn sht3x(&mut self) -> Option<Identity> {
        let [a, b] = self.words(&[0x36, 0x82], 2_000)?;
        Some(is("sht3x", format!("SHT3x, serial {a:04x}{b:04x}")))
    }

    fn scd30(&mut self) -> Option<Identity> {
        let [version] = self.words(&[0xD1, 0x00], 5_000)?;
        let [major, minor] = version.to_be_bytes();
        Some(is("scd30", format!("SCD30, firmware {major}.{minor}")))
    }

    /// While it measures it tells no serial number, but whether data is ready.
    fn scd4x(&mut self) -> Option<Identity> {
        if let Some([a, b, c]) = self.words(&[0x36, 0x82], 2_000) {
            return Some(is("scd4x", format!("SCD4x, serial {a:04x}{b:04x}{c:04x}")));
        }
        let [_] = self.words(&[0xE4, 0xB8], 2_000)?;
        Some(is("scd4x", "SCD4x, measuring"))
    }

    fn bosch(&mut self) -> Option<Identity> {
        match self.register::<1>(0xD0)? {
            [0x60] => Some(is("bme280", "BME280, id 0x60")),
            [0x58] => Some(other("BMP280, id 0x58: no humidity")),
            [0x55] => Some(other("BMP180, id 0x55")),
            [0x61] => Some(other("BME680, id 0x61")),
            _ => None,
        }
    }

    /// The thresholds that nobody here changes.
    fn ads1115(&mut self) -> Option<Identity> {
        let (low, high) = (self.register::<2>(0x02)?, self.register::<2>(0x03)?);
        if (low, high) != ([0x80, 0x00], [0x7F, 0xFF]) {
            return None;
        }
        Some(is("ads1115", "ADS1115, by its thresholds"))
    }

    fn ina226(&mut self) -> Option<Identity> {
        if self.register::<2>(0xFE)? == [0x54, 0x49] && self.register::<2>(0xFF)? == [0x22, 0x60] {
            return Some(other("INA226, id 0x2260"));
        }
        None
    }

    fn drip_controller(&mut self) -> Option<Identity> {
        let [a, b, version, 0x00, _] = self.register::<5>(0x00)? else {
            return None;
        };
        if [a, b] != *b"FR" {
            return None;
        }
        let text = format!("drip controller, version {version}");
        Some(is("drip-controller", text))
    }

    /// The name of an EZO circuit that was asked for it.
    pub(super) fn slow_answer(&mut self) -> Option<Identity> {
        let mut bytes = [0; 32];
        self.bus.read(self.address, &mut bytes).ok()?;
        let [1, text @ ..] = &bytes else { return None };
        let text = text.split(|byte| *byte == 0).next()?;
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split(',');
        if !parts.next()?.eq_ignore_ascii_case("?i") {
            return None;
        }
        let (part, version) = (parts.next()?, parts.next()?);
        let clean = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        if !clean(part) || !clean(version) {
            return None;
        }
        let text = format!("EZO-{part}, firmware {version}");
        match part {
            "pH" => Some(is("ezo-ph", text)),
            "EC" => Some(is("ezo-ec", text)),
            _ => Some(other(text)),
        }
    }

    /// It reads back what is written; afterwards all channels are closed.
    fn tca9548a(&mut self) -> Option<Identity> {
        let mut says = |mask: u8| {
            let mut byte = [!mask];
            self.bus.write(self.address, &[mask]).ok()?;
            self.bus.read(self.address, &mut byte).ok()?;
            (byte == [mask]).then_some(())
        };
        says(0x80)
            .and_then(|()| says(0x01))
            .and_then(|()| says(0x00))?;
        Some(Identity {
            kind: None,
            text: "TCA9548A multiplexer".to_owned(),
            is_mux: true,
        })
    }

    fn register<const LEN: usize>(&mut self, register: u8) -> Option<[u8; LEN]> {
        let mut bytes = [0; LEN];
        let asked = self.bus.write_read(self.address, &[register], &mut bytes);
        asked.is_ok().then_some(bytes)
    }

    /// Words with Sensirion's checksum behind each.
    fn words<const WORDS: usize>(&mut self, command: &[u8], wait_us: u32) -> Option<[u16; WORDS]> {
        self.bus.write(self.address, command).ok()?;
        self.delay.delay_us(wait_us);
        let mut bytes = vec![0; 3 * WORDS];
        self.bus.read(self.address, &mut bytes).ok()?;
        let mut words = [0; WORDS];
        let (triples, _) = bytes.as_chunks::<3>();
        for (word, [high, low, crc]) in words.iter_mut().zip(triples) {
            if crc8([*high, *low]) != *crc {
                return None;
            }
            *word = u16::from_be_bytes([*high, *low]);
        }
        Some(words)
    }
}

/// Sensirion's: polynomial 0x31, initial value 0xFF.
fn crc8(bytes: [u8; 2]) -> u8 {
    bytes.iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| {
            if crc & 0x80 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x31
            }
        })
    })
}
