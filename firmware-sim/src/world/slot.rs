//! A place on a bus: its chip, and what is wrong with it.

use crate::chips::{Chip, Field, Place};
use crate::greenhouse::Greenhouse;
use crate::physics::air::Air;
use crate::physics::noise::Purpose;
use crate::site::Site;

/// A place on a bus, with what is wrong there.
pub(super) struct Slot {
    pub(super) name: &'static str,
    pub(super) bus: u8,
    pub(super) address: u8,
    /// Address and channel of the multiplexer that it sits behind.
    pub(super) route: Option<(u8, u8)>,
    pub(super) chip: Option<Box<dyn Chip + Send>>,
    pub(super) condition: Condition,
}

/// What is wrong with a device, and what happened to it.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) unplugged: bool,
    pub(super) frozen: Option<Frozen>,
    /// Its analog inputs are off by this, V.
    pub(super) lie_volts: f64,
    pub(super) nacks: u32,
    pub(super) flip_rate: f64,
    /// A probe on the serial line answers so much later, in real milliseconds.
    pub(super) slow_ms: u64,
    /// Answers given, for the draw of flips.
    answers: i64,
    pub(super) transactions: u64,
    pub(super) refused: u64,
}

/// What a converter feels whose inputs are off.
pub(super) struct Lying<'a> {
    pub(super) field: &'a dyn Field,
    pub(super) volts: f64,
}

/// What a frozen sensor feels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frozen {
    inside: Air,
    outside: Air,
    co2_ppm: f64,
    volts: [f64; 4],
    pulses: u64,
    switches: u8,
    site: Site,
}

impl Condition {
    /// Whether this transaction gets no acknowledge.
    pub(super) fn is_silent(&mut self) -> bool {
        if self.unplugged {
            return true;
        }
        let silent = self.nacks > 0;
        self.nacks = self.nacks.saturating_sub(1);
        silent
    }

    /// Flips one bit of some answers.
    pub(super) fn flip(&mut self, data: &mut [u8], greenhouse: &Greenhouse, place: u8) {
        if data.is_empty() {
            return;
        }
        self.answers += 1;
        if self.flip_rate <= 0.0 {
            return;
        }
        let noise = greenhouse.noise();
        let purpose = Purpose::Flip(place);
        if noise.unit(purpose, 2 * self.answers) < self.flip_rate {
            let draw = noise.bits(purpose, 2 * self.answers + 1);
            let bits = u64::try_from(data.len()).unwrap_or(1) * 8;
            let bit = draw % bits;
            let byte = usize::try_from(bit / 8).unwrap_or_default();
            if let Some(byte) = data.get_mut(byte) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}

impl Frozen {
    pub(super) fn of(field: &dyn Field) -> Self {
        Self {
            inside: field.air(Place::Inside),
            outside: field.air(Place::Outside),
            co2_ppm: field.co2_ppm(),
            volts: [0, 1, 2, 3].map(|input| field.volts(input)),
            pulses: field.pulses(),
            switches: field.valve_switches(),
            site: field.site(),
        }
    }
}

impl Field for Frozen {
    fn air(&self, place: Place) -> Air {
        match place {
            Place::Inside => self.inside,
            Place::Outside => self.outside,
        }
    }

    fn co2_ppm(&self) -> f64 {
        self.co2_ppm
    }

    fn volts(&self, input: u8) -> f64 {
        self.volts
            .get(usize::from(input))
            .copied()
            .unwrap_or_default()
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

impl Field for Lying<'_> {
    fn air(&self, place: Place) -> Air {
        self.field.air(place)
    }

    fn co2_ppm(&self) -> f64 {
        self.field.co2_ppm()
    }

    fn volts(&self, input: u8) -> f64 {
        (self.field.volts(input) + self.volts).max(0.0)
    }

    fn pulses(&self) -> u64 {
        self.field.pulses()
    }

    fn valve_switches(&self) -> u8 {
        self.field.valve_switches()
    }

    fn site(&self) -> Site {
        self.field.site()
    }
}
