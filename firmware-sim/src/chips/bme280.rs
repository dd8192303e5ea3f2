//! Bosch BME280: pressure, temperature and humidity.
//!
//! Registers with auto-increment. Raw counts are found by inverting the datasheet's integer
//! compensation with the constants of one real chip. Sleep and forced mode; a measurement takes as
//! long as its oversampling says at most.

use super::{Chip, Field, MS, Nack, Place};

/// Constants of a real chip as they stand in its registers: 0x88 to 0xA1, 0xE1 to 0xE7.
const LOW: [u8; 26] = [
    0xB1, 0x6F, 0x2E, 0x6A, 0x32, 0x00, 0xE2, 0x8F, 0x0A, 0xD7, 0xD0, 0x0B, 0x75, 0x1F, 0xC5, 0xFF,
    0xF9, 0xFF, 0xAC, 0x26, 0x0A, 0xD8, 0xBD, 0x10, 0x00, 0x4B,
];
const HIGH: [u8; 7] = [0x77, 0x01, 0x00, 0x12, 0x20, 0x03, 0x1E];
/// The same as numbers (datasheet, table 16).
const T: [i64; 3] = [28_593, 27_182, 50];
const P: [i64; 9] = [
    36_834, -10_486, 3_024, 8_053, -59, -7, 9_900, -10_230, 4_285,
];
const H: [i64; 6] = [75, 375, 0, 288, 50, 30];
/// What a channel that is skipped reads.
const SKIPPED: [u8; 8] = [0x80, 0x00, 0x00, 0x80, 0x00, 0x00, 0x80, 0x00];

/// A BME280.
#[derive(Debug)]
pub(crate) struct Bme280 {
    place: Place,
    pointer: u8,
    humidity_written: u8,
    humidity: u8,
    control: u8,
    config: u8,
    data: [u8; 8],
    running: Option<(u64, [u8; 8])>,
}

impl Bme280 {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            pointer: 0,
            humidity_written: 0,
            humidity: 0,
            control: 0,
            config: 0,
            data: SKIPPED,
            running: None,
        }
    }

    fn finish(&mut self, now_ns: u64) {
        if let Some((ready_ns, data)) = self.running
            && ready_ns <= now_ns
        {
            self.data = data;
            self.running = None;
            // Forced mode falls back to sleep.
            self.control &= !0b11;
        }
    }

    fn write_register(&mut self, now_ns: u64, register: u8, value: u8, field: &dyn Field) {
        match register {
            0xE0 if value == 0xB6 => *self = Self::new(self.place),
            0xF2 => self.humidity_written = value & 0b111,
            0xF4 => {
                // Only now does the humidity's setting take effect.
                self.humidity = self.humidity_written;
                self.control = value;
                if matches!(value & 0b11, 0b01 | 0b10) {
                    let ns = now_ns + self.duration_us() * 1_000;
                    self.running = Some((ns, self.measure(field)));
                }
            }
            0xF5 => self.config = value,
            _ => {}
        }
    }

    fn register(&self, register: u8) -> u8 {
        let of = |bytes: &[u8], first: u8| {
            let place = usize::from(register - first);
            bytes.get(place).copied().unwrap_or_default()
        };
        match register {
            0x88..=0xA1 => of(&LOW, 0x88),
            0xE1..=0xE7 => of(&HIGH, 0xE1),
            0xD0 => 0x60,
            0xF2 => self.humidity_written,
            0xF3 if self.running.is_some() => 0b1000,
            0xF4 => self.control,
            0xF5 => self.config,
            0xF7..=0xFE => of(&self.data, 0xF7),
            _ => 0x00,
        }
    }

    fn oversampling(&self) -> [u64; 3] {
        [self.control >> 5, self.control >> 2 & 0b111, self.humidity].map(|setting| match setting {
            0 => 0,
            setting => 1 << (setting - 1).min(4),
        })
    }

    /// 1.25 + 2.3·T + (2.3·P + 0.575) + (2.3·H + 0.575) ms at most.
    fn duration_us(&self) -> u64 {
        let [t, p, h] = self.oversampling();
        let extra = |times: u64| if times > 0 { 575 } else { 0 };
        1_250 + 2_300 * (t + p + h) + extra(p) + extra(h)
    }

    fn measure(&self, field: &dyn Field) -> [u8; 8] {
        let air = field.air(self.place);
        let [t, p, h] = self.oversampling();
        let mut data = SKIPPED;
        if t == 0 {
            return data;
        }
        let raw_t = invert(1 << 20, |raw| celsius(fine(raw)) < air.temperature_c);
        let fine = fine(raw_t);
        let twenty = |raw: i64| {
            let [.., a, b, c] = (raw << 4).to_be_bytes();
            [a, b, c]
        };
        let [p_bytes @ .., _, _, _, _, _] = &mut data;
        if p > 0 {
            // More counts are less pressure.
            let pascal = 100.0 * field.site().pressure_hpa;
            *p_bytes = twenty(invert(1 << 20, |raw| pressure(raw, fine) > pascal));
        }
        let [_, _, _, t_bytes @ .., _, _] = &mut data;
        *t_bytes = twenty(raw_t);
        let [.., h_high, h_low] = &mut data;
        if h > 0 {
            let raw = invert(1 << 16, |raw| humidity(raw, fine) < air.humidity_pct);
            let [.., high, low] = raw.to_be_bytes();
            (*h_high, *h_low) = (high, low);
        }
        data
    }
}

impl Chip for Bme280 {
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        self.finish(now_ns);
        let Some((&pointer, rest)) = bytes.split_first() else {
            return Ok(());
        };
        self.pointer = pointer;
        // Pairs of register and value; the first register is the pointer.
        let mut register = pointer;
        let mut rest = rest.iter();
        while let Some(&value) = rest.next() {
            self.write_register(now_ns, register, value, field);
            let Some(&next) = rest.next() else { break };
            register = next;
        }
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        self.finish(now_ns);
        for byte in bytes {
            *byte = self.register(self.pointer);
            self.pointer = self.pointer.wrapping_add(1);
        }
        Ok(())
    }

    fn power_cycle(&mut self, now_ns: u64) {
        *self = Self::new(self.place);
        self.running = Some((now_ns + 2 * MS, SKIPPED));
    }
}

/// The first count below `end` for which `is_below` does not hold; it holds for all before.
fn invert(end: i64, is_below: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (0, end - 1);
    while low < high {
        let middle = i64::midpoint(low, high);
        if is_below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// `t_fine` (datasheet, 4.2.3).
fn fine(raw: i64) -> i64 {
    let [t1, t2, t3] = T;
    let var1 = (((raw >> 3) - (t1 << 1)) * t2) >> 11;
    let difference = (raw >> 4) - t1;
    let var2 = (((difference * difference) >> 12) * t3) >> 14;
    var1 + var2
}

fn celsius(fine: i64) -> f64 {
    ratio(fine, 5_120)
}

/// Pa (datasheet, 4.2.3, 64 bit).
fn pressure(raw: i64, fine: i64) -> f64 {
    let [p1, p2, p3, p4, p5, p6, p7, p8, p9] = P;
    let var1 = fine - 128_000;
    let var2 = var1 * var1 * p6 + ((var1 * p5) << 17) + (p4 << 35);
    let var1 = ((var1 * var1 * p3) >> 8) + ((var1 * p2) << 12);
    let var1 = (((1 << 47) + var1) * p1) >> 33;
    if var1 == 0 {
        return 0.0;
    }
    let p = (((1_048_576 - raw) << 31) - var2) * 3_125 / var1;
    let var1 = (p9 * (p >> 13) * (p >> 13)) >> 25;
    let var2 = (p8 * p) >> 19;
    ratio(((p + var1 + var2) >> 8) + (p7 << 4), 256)
}

/// % (datasheet, 4.2.3, 32 bit).
fn humidity(raw: i64, fine: i64) -> f64 {
    let [h1, h2, h3, h4, h5, h6] = H;
    let x = fine - 76_800;
    let a = ((raw << 14) - (h4 << 20) - h5 * x + 16_384) >> 15;
    let b = ((((x * h6) >> 10) * (((x * h3) >> 11) + 32_768)) >> 10) + 2_097_152;
    let x = a * ((b * h2 + 8_192) >> 14);
    let x = x - (((((x >> 15) * (x >> 15)) >> 7) * h1) >> 4);
    ratio(x.clamp(0, 419_430_400) >> 12, 1_024)
}

fn ratio(numerator: i64, denominator: i32) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "below 2^32")]
    let numerator = numerator as f64;
    numerator / f64::from(denominator)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;
    use crate::physics::air::Air;

    fn bench(temperature_c: f64, humidity_pct: f64, pressure_hpa: f64) -> Bench<Bme280> {
        let inside = Air {
            temperature_c,
            humidity_pct,
        };
        let mut field = Fake {
            inside,
            ..Fake::default()
        };
        field.site.pressure_hpa = pressure_hpa;
        Bench::new(Bme280::new(Place::Inside), field)
    }

    #[test]
    fn the_formulas_and_their_inverse() {
        assert_eq!(fine(0x84510), 0x22391);
        assert!((pressure(0x4F570, 0x22391) - 101_222.2).abs() < 0.1);
        assert!((humidity(0x5EB4, 0x22391) - 32.9).abs() < 0.01);
        for (t, rh, p) in [
            (27.4, 32.9, 1_012.2),
            (-10.0, 5.0, 700.0),
            (60.0, 99.0, 1_080.0),
        ] {
            let mut bench = bench(t, rh, p);
            bench.write(&[0xF2, 0x01], Ok(()));
            bench.write(&[0xF4, 0x25], Ok(()));
            bench.wait_us(9_300);
            bench.write(&[0xF7], Ok(()));
            let data = bench.read_any(8);
            let twenty = |at: usize| {
                i64::from(data[at]) << 12
                    | i64::from(data[at + 1]) << 4
                    | i64::from(data[at + 2] >> 4)
            };
            let fine = fine(twenty(3));
            assert!((celsius(fine) - t).abs() < 0.01);
            assert!((pressure(twenty(0), fine) - 100.0 * p).abs() < 1.0);
            let raw = i64::from(data[6]) << 8 | i64::from(data[7]);
            assert!((humidity(raw, fine) - rh).abs() < 0.05);
        }
    }

    #[test]
    fn a_forced_measurement() {
        let mut bench = bench(25.0, 60.0, 1_010.0);
        bench.ask(&[0xD0], 0, &[0x60]);
        bench.ask(&[0x88], 0, &LOW);
        bench.ask(&[0xE1], 0, &HIGH);
        bench.ask(&[0xF7], 0, &SKIPPED);
        bench.write(&[0xF2, 0x01], Ok(()));
        bench.write(&[0xF4, 0x25], Ok(()));
        bench.ask(&[0xF3], 9_299, &[0x08, 0x25]);
        bench.ask(&[0xF3], 1, &[0x00, 0x24]);
        bench.write(&[0xF7], Ok(()));
        assert_ne!(bench.read_any(8), SKIPPED);
    }

    #[test]
    fn humidity_needs_the_control_register_and_a_brown_out_forgets() {
        let mut bench = bench(25.0, 60.0, 1_010.0);
        bench.write(&[0xF4, 0x25], Ok(()));
        bench.write(&[0xF2, 0x01], Ok(()));
        bench.wait_us(9_300);
        bench.ask(&[0xFD], 0, &[0x80, 0x00]);
        bench.write(&[0xF4, 0x25], Ok(()));
        bench.chip.power_cycle(bench.now_ns);
        bench.wait_us(9_300);
        bench.ask(&[0xF3], 0, &[0x00, 0x00]);
        bench.ask(&[0xF7], 0, &SKIPPED);
    }
}
