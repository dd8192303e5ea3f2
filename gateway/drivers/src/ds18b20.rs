//! DS18B20: temperature of substrate, water or air, over the kernel's 1-Wire.
//!
//! The kernel converts and reads; what it gives is a text of two lines with the nine bytes of the
//! scratchpad (`w1_slave`). The bytes are checked here again: the checksum, the fixed bytes that an
//! all-zero answer of a shorted line lacks, and 85 °C, which is what the sensor holds after power-on
//! and which carries a right checksum.

use furrow_wire::Decimal;

use crate::error::{Chip, Range};
use crate::{BusFault, Cause, SensorError};

/// Decimal exponent: hundredths; the sensor resolves sixteenths.
pub const EXPONENT: i8 = -2;
/// Operating range (datasheet).
const TEMPERATURE: Range = Range {
    min: -55.0,
    max: 125.0,
    unit: "Cel",
};
/// 85 °C in sixteenths.
const POWER_ON: i16 = 0x0550;
/// Byte 6 after power-on; after a conversion it is 16 less the lowest four bits: 0x10 for 85 °C.
const POWER_ON_REMAIN: u8 = 0x0C;
/// Within this of 85 °C the reading before makes a real 85 °C believable, in sixteenths: 5 K.
const NEAR: i16 = 80;

/// Gives the text of a sensor. Behind it: a file of the kernel, a file of a simulator, a test.
pub trait ScratchpadSource {
    /// The content of `w1_slave`. May take 0.8 s: the kernel converts meanwhile.
    ///
    /// # Errors
    /// The sensor is not there, or can't be asked.
    fn w1_slave(&mut self) -> Result<String, BusFault>;
}

/// The driver.
#[derive(Debug)]
pub struct Ds18b20<S> {
    source: S,
    /// In sixteenths of a degree.
    last: Option<i16>,
}

const CHIP: Chip = Chip {
    name: "ds18b20",
    address: None,
};

impl<S: ScratchpadSource> Ds18b20<S> {
    /// Asks nothing yet.
    pub fn new(source: S) -> Self {
        Self { source, last: None }
    }

    /// Degrees Celsius, in hundredths.
    ///
    /// # Errors
    /// No such sensor, a wrong checksum, the power-on value, or what the sensor can't measure.
    pub fn read(&mut self) -> Result<Decimal, SensorError> {
        let last = self.last.take();
        let register = "scratchpad";
        let text = self.source.w1_slave();
        let text = text.map_err(|fault| CHIP.error(register, fault))?;
        let bytes = scratchpad(&text).ok_or_else(|| {
            let cause = Cause::Refused("the kernel's answer is no scratchpad");
            CHIP.error(register, cause)
        })?;
        let sixteenths = sixteenths(&bytes).map_err(|cause| CHIP.error(register, cause))?;
        let [_, _, _, _, _, _, remain, ..] = bytes;
        let believable = last.is_some_and(|last| (POWER_ON - last).abs() <= NEAR);
        if sixteenths == POWER_ON && (remain == POWER_ON_REMAIN || !believable) {
            return Err(CHIP.error("temperature", Cause::PowerOn));
        }
        let celsius = f64::from(sixteenths) / 16.0;
        CHIP.in_range("temperature", celsius, &TEMPERATURE)?;
        self.last = Some(sixteenths);
        Ok(Decimal {
            mantissa: i64::from(centi(sixteenths)),
            exponent: EXPONENT,
        })
    }

    /// Gives the source back.
    pub fn release(self) -> S {
        self.source
    }
}

/// Whether this is the id of a DS18B20 as the kernel writes it: family 28 and twelve digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.strip_prefix("28-").is_some_and(|serial| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        serial.len() == 12 && serial.bytes().all(hex)
    })
}

/// The nine bytes at the beginning of the text.
fn scratchpad(text: &str) -> Option<[u8; 9]> {
    let mut words = text.split_ascii_whitespace();
    let mut bytes = [0; 9];
    for byte in &mut bytes {
        let word = words.next().filter(|word| word.len() == 2)?;
        *byte = u8::from_str_radix(word, 16).ok()?;
    }
    Some(bytes)
}

/// The temperature in sixteenths of a degree.
fn sixteenths(bytes: &[u8; 9]) -> Result<i16, Cause> {
    let [low, high, _, _, config, reserved, _, _, crc] = *bytes;
    // A shorted line reads zeros, whose checksum is right.
    let fixed = config & 0x9F == 0x1F && reserved == 0xFF;
    let [data @ .., _] = bytes;
    if crc8(data) != crc || !fixed {
        return Err(Cause::Checksum);
    }
    let raw = i16::from_le_bytes([low, high]);
    // At a lower resolution the lowest bits are undefined.
    let undefined = 3 - (config >> 5 & 0b11);
    Ok(raw >> undefined << undefined)
}

/// Hundredths of a degree, rounded half away from zero.
fn centi(sixteenths: i16) -> i32 {
    let hundredths = i32::from(sixteenths) * 100;
    (hundredths + hundredths.signum() * 8) / 16
}

/// Maxim's: polynomial 0x31 reflected, initial value 0.
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| {
            if crc & 1 == 0 {
                crc >> 1
            } else {
                crc >> 1 ^ 0x8C
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one text after the other.
    struct Script(Vec<Result<&'static str, BusFault>>);

    impl ScratchpadSource for Script {
        fn w1_slave(&mut self) -> Result<String, BusFault> {
            self.0.remove(0).map(str::to_owned)
        }
    }

    fn read(sensor: &mut Ds18b20<Script>) -> String {
        match sensor.read() {
            Ok(value) => value.to_string(),
            Err(error) => error.cause.to_string(),
        }
    }

    #[track_caller]
    fn check(text: &'static str, expected: &str) {
        let mut sensor = Ds18b20::new(Script(vec![Ok(text)]));
        assert_eq!(read(&mut sensor), expected, "{text}");
    }

    const ROOM: &str =
        "91 01 4b 46 7f ff 0c 10 70 : crc=70 YES\n91 01 4b 46 7f ff 0c 10 70 t=25062\n";
    const AFTER_POWER_ON: &str =
        "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n";

    #[test]
    fn scratchpads() {
        check(ROOM, "25.06");
        check(AFTER_POWER_ON, "the value after power-on is no measurement");
        check("", "the kernel's answer is no scratchpad");
        check("91 01 4b", "the kernel's answer is no scratchpad");
        check(
            "9g 01 4b 46 7f ff 0c 10 70",
            "the kernel's answer is no scratchpad",
        );
        check(
            "90 01 4b 46 7f ff 0c 10 70 : crc=70 NO",
            "checksum mismatch",
        );
        check(
            "00 00 00 00 00 00 00 00 00 : crc=00 YES",
            "checksum mismatch",
        );
        check(
            "ff ff ff ff ff ff ff ff ff : crc=c9 NO",
            "checksum mismatch",
        );
    }

    #[test]
    fn the_datasheets_table() {
        assert_eq!(crc8(b"123456789"), 0xA1);
        for (raw, expected) in [
            (0x07D0, 12_500),
            (0x0191, 2_506),
            (0x00A2, 1_013),
            (0x0008, 50),
            (0x0001, 6),
            (0x0000, 0),
            (-1, -6),
            (0xFFF8_u16.cast_signed(), -50),
            (0xFF5E_u16.cast_signed(), -1_013),
            (0xFE6F_u16.cast_signed(), -2_506),
            (0xFC90_u16.cast_signed(), -5_500),
        ] {
            assert_eq!(centi(raw), expected, "{raw:#06x}");
        }
    }

    #[test]
    fn a_hot_sensor_is_believed_next_to_hot_readings() {
        // 85 °C with the count of a real conversion, and 84 °C.
        let at_85 = "50 05 4b 46 7f ff 10 10 bd";
        let at_84 = "40 05 4b 46 7f ff 10 10 e9";
        let script = vec![Ok(at_85), Ok(at_84), Ok(at_85), Ok(ROOM), Ok(at_85)];
        let mut sensor = Ds18b20::new(Script(script));
        let no = "the value after power-on is no measurement";
        for expected in [no, "84.00", "85.00", "25.06", no] {
            assert_eq!(read(&mut sensor), expected);
        }
    }

    #[test]
    fn an_unplugged_sensor_is_named() {
        let mut sensor = Ds18b20::new(Script(vec![Err(BusFault::NoAddress)]));
        let error = sensor.read().unwrap_err();
        assert_eq!(
            format!("{error}: {}", error.cause),
            "ds18b20: scratchpad: bus failure"
        );
    }

    #[test]
    fn ids() {
        assert!(is_id("28-0316a2795bff"));
        for wrong in [
            "28-0316a2795bf",
            "10-0316a2795bff",
            "28-0316A2795BFF",
            "28-../../../etc",
            "",
        ] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }
}
