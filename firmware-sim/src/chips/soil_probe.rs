//! Soil probes that speak Modbus RTU: what is in which register, from the makers' pages.
//!
//! A write is a request frame, a read its answer. A frame with a wrong checksum, and one for somebody
//! else, is heard and not answered.

use super::{Chip, Field, Nack};

/// Whose register map a probe has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    /// DFRobot SEN0604: moisture 0.1 %, temperature 0.1 °C, µS/cm, pH 0.1.
    Sen0604,
    /// Seeed S-Soil MTEC-02: temperature 0.01 °C, moisture 0.01 %, µS/cm.
    SSoil,
    /// WoMaster ES107: as the SEN0604, then nitrogen, phosphorus, potassium in mg/kg.
    Es107,
}

/// A probe.
#[derive(Debug)]
pub(crate) struct SoilProbe {
    slave: u8,
    make: Make,
    answer: Vec<u8>,
}

impl SoilProbe {
    pub(crate) fn new(slave: u8, make: Make) -> Self {
        Self {
            slave,
            make,
            answer: Vec::new(),
        }
    }

    fn registers(&self, field: &dyn Field) -> Vec<u16> {
        let site = field.site();
        let (water_pct, micro) = (100.0 * site.soil_water, 1_000.0 * site.soil_ds_m);
        match self.make {
            Make::Sen0604 | Make::Es107 => {
                let mut words = vec![
                    unsigned(10.0 * water_pct),
                    signed(10.0 * site.substrate_c),
                    unsigned(micro),
                    unsigned(10.0 * site.ph),
                ];
                if self.make == Make::Es107 {
                    // As they do it: from the conductivity.
                    words.extend([0.05, 0.06, 0.15].map(|share| unsigned(share * micro)));
                }
                words
            }
            Make::SSoil => vec![
                signed(100.0 * site.substrate_c),
                unsigned(100.0 * water_pct),
                unsigned(micro),
            ],
        }
    }
}

impl Chip for SoilProbe {
    fn write(&mut self, _: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        let [slave, function, data @ .., low, high] = bytes else {
            return Err(Nack::Address);
        };
        let (frame, _) = bytes.split_at(bytes.len().saturating_sub(2));
        if *slave != self.slave || crc16(frame) != u16::from_le_bytes([*low, *high]) {
            return Err(Nack::Address);
        }
        let words = self.registers(field);
        let mut answer = vec![self.slave, *function];
        match (function, data) {
            (3 | 4, [first_high, first_low, count_high, count_low]) => {
                let first = usize::from(u16::from_be_bytes([*first_high, *first_low]));
                let count = usize::from(u16::from_be_bytes([*count_high, *count_low]));
                match words.get(first..first.saturating_add(count)) {
                    Some(words @ [_, ..]) => {
                        answer.push(u8::try_from(2 * words.len()).unwrap_or(u8::MAX));
                        answer.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                    }
                    // Illegal data address.
                    Some([]) | None => answer = vec![self.slave, function | 0x80, 2],
                }
            }
            // Illegal function.
            _ => answer = vec![self.slave, function | 0x80, 1],
        }
        answer.extend(crc16(&answer).to_le_bytes());
        self.answer = answer;
        Ok(())
    }

    fn read(&mut self, _: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        super::fill(bytes, &self.answer);
        Ok(())
    }

    fn power_cycle(&mut self, _: u64) {
        self.answer.clear();
    }
}

/// Polynomial 0x8005 reflected, initial value 0xFFFF; the low byte goes first.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 {
                crc >> 1
            } else {
                crc >> 1 ^ 0xA001
            };
        }
    }
    crc
}

fn unsigned(value: f64) -> u16 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped before"
    )]
    let word = libm::round(value).clamp(0.0, 65_535.0) as u16;
    word
}

fn signed(value: f64) -> u16 {
    #[allow(clippy::cast_possible_truncation, reason = "clamped before")]
    let word = libm::round(value).clamp(-32_768.0, 32_767.0) as i16;
    word.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;

    fn ask(bench: &mut Bench<SoilProbe>, request: &[u8], answer: &[u8]) {
        bench.write(request, Ok(()));
        assert_eq!(bench.read_any(answer.len()), answer, "{request:02x?}");
    }

    #[test]
    fn frames_of_the_makers_pages() {
        assert_eq!(crc16(b"123456789"), 0x4B37);
        let mut bench = Bench::new(SoilProbe::new(1, Make::Sen0604), Fake::default());
        let site = &mut bench.field.site;
        (site.soil_water, site.substrate_c) = (0.658, -10.1);
        (site.soil_ds_m, site.ph) = (1.0, 5.6);
        ask(
            &mut bench,
            &[0x01, 0x03, 0x00, 0x00, 0x00, 0x04, 0x44, 0x09],
            &[
                0x01, 0x03, 0x08, 0x02, 0x92, 0xFF, 0x9B, 0x03, 0xE8, 0x00, 0x38, 0x57, 0xB6,
            ],
        );
        // Beyond its registers, and a function that it lacks.
        for (request, code) in [
            ([1, 3, 0, 0, 0, 5], [1, 0x83, 2]),
            ([1, 6, 0, 0, 0, 4], [1, 0x86, 1]),
        ] {
            let framed = |bytes: &[u8]| [bytes, &crc16(bytes).to_le_bytes()].concat();
            ask(&mut bench, &framed(&request), &framed(&code));
        }
        // A wrong checksum, and another address.
        for request in [
            [0x01, 0x03, 0x00, 0x00, 0x00, 0x04, 0x44, 0x08],
            [0x02, 0x03, 0x00, 0x00, 0x00, 0x04, 0x44, 0x3A],
        ] {
            bench.write(&request, Err(Nack::Address));
        }
    }

    #[test]
    fn other_makes_have_other_registers() {
        for (make, expected) in [
            (Make::SSoil, vec![0xFF05, 1_821, 1_821]),
            (Make::Es107, vec![182, 0xFFE7, 1_821, 60, 91, 109, 273]),
        ] {
            let mut field = Fake::default();
            (field.site.soil_water, field.site.substrate_c) = (0.1821, -2.51);
            (field.site.soil_ds_m, field.site.ph) = (1.821, 6.0);
            assert_eq!(SoilProbe::new(1, make).registers(&field), expected);
        }
    }
}
