//! The BME280's constants, and what its raw counts mean with them (datasheet, 4.2.2 and appendix A,
//! double precision). Additions, multiplications and divisions only: all machines agree on every bit.

/// Constants of one chip, from its registers 0x88 to 0xA1 and 0xE1 to 0xE7.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    t: [f64; 3],
    p: [f64; 9],
    h: [f64; 6],
}

/// A measurement with the chip's constants applied, not yet checked or cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compensated {
    /// Degrees Celsius.
    pub celsius: f64,
    /// Pascal.
    pub pascal: f64,
    /// Relative humidity, percent.
    pub percent: f64,
}

impl Calibration {
    /// Reads the constants; `None` when they are empty, as those of a chip that does not answer.
    #[must_use]
    pub fn of(low: &[u8; 26], high: &[u8; 7]) -> Option<Self> {
        let (pairs, _) = low.as_chunks::<2>();
        let unsigned = |place: usize| pairs.get(place).map_or(0, |pair| u16::from_le_bytes(*pair));
        let signed = |place: usize| f64::from(unsigned(place).cast_signed());
        let [h2_low, h2_high, h3, h4, shared, h5, h6] = *high;
        let [.., h1] = *low;
        let (t1, p1) = (unsigned(0), unsigned(3));
        if t1 == 0 || t1 == u16::MAX || p1 == 0 || p1 == u16::MAX {
            return None;
        }
        // H4 and H5 have 12 bits each and share a byte.
        let twelve = |high: u8, low: u8| {
            f64::from(i16::from(high.cast_signed()) << 4 | i16::from(low & 0x0F))
        };
        Some(Self {
            t: [f64::from(t1), signed(1), signed(2)],
            p: [
                f64::from(p1),
                signed(4),
                signed(5),
                signed(6),
                signed(7),
                signed(8),
                signed(9),
                signed(10),
                signed(11),
            ],
            h: [
                f64::from(h1),
                f64::from(i16::from_le_bytes([h2_low, h2_high])),
                f64::from(h3),
                twelve(h4, shared),
                twelve(h5, shared >> 4),
                f64::from(h6.cast_signed()),
            ],
        })
    }

    /// What raw counts mean.
    #[must_use]
    pub fn compensate(&self, raw_t: u32, raw_p: u32, raw_h: u16) -> Compensated {
        let fine = self.fine(f64::from(raw_t));
        Compensated {
            celsius: fine / 5_120.0,
            pascal: self.pascal(f64::from(raw_p), fine),
            percent: self.percent(f64::from(raw_h), fine),
        }
    }

    fn fine(&self, raw: f64) -> f64 {
        let [t1, t2, t3] = self.t;
        let coarse = (raw / 16_384.0 - t1 / 1_024.0) * t2;
        let difference = raw / 131_072.0 - t1 / 8_192.0;
        coarse + difference * difference * t3
    }

    fn pascal(&self, raw: f64, fine: f64) -> f64 {
        let [p1, p2, p3, p4, p5, p6, p7, p8, p9] = self.p;
        let a = fine / 2.0 - 64_000.0;
        let b = (a * a * p6 / 32_768.0 + a * p5 * 2.0) / 4.0 + p4 * 65_536.0;
        let c = (p3 * a * a / 524_288.0 + p2 * a) / 524_288.0;
        let scale = (1.0 + c / 32_768.0) * p1;
        // A scale of 0 yields no number, which no range holds.
        let p = (1_048_576.0 - raw - b / 4_096.0) * 6_250.0 / scale;
        p + (p9 * p * p / 2_147_483_648.0 + p * p8 / 32_768.0 + p7) / 16.0
    }

    fn percent(&self, raw: f64, fine: f64) -> f64 {
        let [h1, h2, h3, h4, h5, h6] = self.h;
        let a = fine - 76_800.0;
        let offset = raw - (h4 * 64.0 + h5 / 16_384.0 * a);
        let slope = h2 / 65_536.0 * (1.0 + h6 / 67_108_864.0 * a * (1.0 + h3 / 67_108_864.0 * a));
        let h = offset * slope;
        h * (1.0 - h1 * h / 524_288.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bosch's sample of the BMP280 (datasheet, 3.12), with humidity constants of a real chip.
    fn sample() -> Calibration {
        Calibration {
            t: [27_504.0, 26_435.0, -1_000.0],
            p: [
                36_477.0, -10_685.0, 3_024.0, 2_855.0, 140.0, -7.0, 15_500.0, -14_600.0, 6_000.0,
            ],
            h: [75.0, 375.0, 0.0, 288.0, 50.0, 30.0],
        }
    }

    #[test]
    fn boschs_worked_example() {
        let found = sample().compensate(519_888, 415_148, 0x5EB4);
        assert!((found.celsius - 25.08).abs() < 0.005, "{found:?}");
        assert!((found.pascal - 100_653.0).abs() < 1.0, "{found:?}");
        assert!((0.0..100.0).contains(&found.percent), "{found:?}");
    }

    #[test]
    fn constants_out_of_registers() {
        let low = [
            0xB1, 0x6F, 0x2E, 0x6A, 0x32, 0x00, 0xE2, 0x8F, 0x0A, 0xD7, 0xD0, 0x0B, 0x75, 0x1F,
            0xC5, 0xFF, 0xF9, 0xFF, 0xAC, 0x26, 0x0A, 0xD8, 0xBD, 0x10, 0x00, 0x4B,
        ];
        let high = [0x77, 0x01, 0x00, 0x12, 0x20, 0x03, 0x1E];
        let expected = Calibration {
            t: [28_593.0, 27_182.0, 50.0],
            p: [
                36_834.0, -10_486.0, 3_024.0, 8_053.0, -59.0, -7.0, 9_900.0, -10_230.0, 4_285.0,
            ],
            h: [75.0, 375.0, 0.0, 288.0, 50.0, 30.0],
        };
        assert_eq!(Calibration::of(&low, &high), Some(expected));
        // H4 and H5 are signed: −1 each.
        let negative = [0x77, 0x01, 0x00, 0xFF, 0xFF, 0xFF, 0x1E];
        let found = Calibration::of(&low, &negative).unwrap();
        assert_eq!(
            format!("{:?}", found.h),
            "[75.0, 375.0, 0.0, -1.0, -1.0, 30.0]"
        );
        assert_eq!(Calibration::of(&[0; 26], &high), None);
        assert_eq!(Calibration::of(&[0xFF; 26], &high), None);
    }
}
