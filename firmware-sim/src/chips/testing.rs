//! A chip on the bench: transactions at simulated times, with the expected answer beside each.

use super::{Chip, Field, Nack, Place};
use crate::physics::air::Air;
use crate::site::{Memory, Now, Site};

/// Surroundings that stand still.
pub(crate) struct Fake {
    pub(crate) inside: Air,
    pub(crate) co2_ppm: f64,
    pub(crate) volts: [f64; 4],
    pub(crate) pulses: u64,
    pub(crate) switches: u8,
    pub(crate) site: Site,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            inside: Air {
                temperature_c: 25.0,
                humidity_pct: 60.0,
            },
            co2_ppm: 500.0,
            volts: [0.0; 4],
            pulses: 0,
            switches: 0,
            site: Memory::default().site(Now {
                dosed_us_cm: None,
                unix_s: 0.0,
                global_w_m2: 0.0,
                tank_m: 1.0,
                substrate_c: 25.0,
                soil_water: 0.3,
                soil_ds_m: 1.0,
            }),
        }
    }
}

impl Field for Fake {
    fn air(&self, _: Place) -> Air {
        self.inside
    }

    fn co2_ppm(&self) -> f64 {
        self.co2_ppm
    }

    fn volts(&self, input: u8) -> f64 {
        self.volts[usize::from(input)]
    }

    fn pulses(&self) -> u64 {
        self.pulses
    }

    fn valve_switches(&self) -> u8 {
        self.switches
    }

    fn site(&self) -> Site {
        self.site
    }
}

/// A chip, its surroundings and the time.
pub(crate) struct Bench<C> {
    pub(crate) chip: C,
    pub(crate) field: Fake,
    pub(crate) now_ns: u64,
}

impl<C: Chip> Bench<C> {
    pub(crate) fn new(chip: C, field: Fake) -> Self {
        Self {
            chip,
            field,
            now_ns: 1_000_000_000,
        }
    }

    pub(crate) fn wait_us(&mut self, us: u64) {
        self.now_ns += us * 1_000;
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8], expected: Result<(), Nack>) {
        let result = self.chip.write(self.now_ns, bytes, &self.field);
        assert_eq!(result, expected, "write {bytes:02X?}");
    }

    #[track_caller]
    pub(crate) fn read(&mut self, expected: Result<&[u8], Nack>) {
        let mut bytes = vec![0; expected.map_or(6, <[u8]>::len)];
        let result = self.chip.read(self.now_ns, &mut bytes, &self.field);
        assert_eq!(result.map(|()| bytes.as_slice()), expected);
    }

    #[track_caller]
    pub(crate) fn read_nack(&mut self, length: usize, expected: Nack) {
        let mut bytes = vec![0; length];
        let result = self.chip.read(self.now_ns, &mut bytes, &self.field);
        assert_eq!(result, Err(expected));
    }

    #[track_caller]
    pub(crate) fn read_any(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.chip
            .read(self.now_ns, &mut bytes, &self.field)
            .unwrap();
        bytes
    }

    /// A write, some time, and its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, bytes: &[u8], wait_us: u64, expected: &[u8]) {
        self.write(bytes, Ok(()));
        self.wait_us(wait_us);
        self.read(Ok(expected));
    }
}
