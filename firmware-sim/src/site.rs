//! What a site has beside climate and water: light, pressure, supplies, feed water, contacts, rain.
//!
//! Simple functions of the weather and of faults, enough to give every sensor something to sense.

use core::f64::consts::TAU;

use libm::{cos, floor};

/// Contacts by their bit; all close to ground, so a closed one reads low. Float switch of the tank:
/// closed while there is water.
pub(crate) const FLOAT: u16 = 0;
/// Door: closed while it is shut.
pub(crate) const DOOR: u16 = 1;
/// Relay of the mains: closed while there is power.
pub(crate) const MAINS: u16 = 2;
/// Button: closed while it is pressed.
pub(crate) const BUTTON: u16 = 3;

/// Rain of one tip of the bucket, mm.
pub(crate) const TIP_MM: f64 = 0.2;
/// Lumens per watt of daylight.
const LUMENS_PER_WATT: f64 = 110.0;
/// Share of the light that cover and shade net let through.
const TRANSMISSION: f64 = 0.58;
/// Water in the tank below which the float switch opens, m.
const FLOAT_M: f64 = 0.3;
/// Local time is this far ahead of UTC, s.
const LOCAL_S: f64 = 7.0 * 3_600.0;
/// Opening times of the door, local hours: whole and end.
const DOOR_HOURS: [(f64, f64); 2] = [(7.0, 7.3), (16.0, 16.5)];

/// A supply line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rail {
    /// 24 V from the mains.
    Mains,
    /// The 12 V battery.
    Battery,
}

/// What flows there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Supply {
    /// V.
    pub(crate) volts: f64,
    /// A; negative flows into the battery.
    pub(crate) amperes: f64,
}

/// Everything at a moment, without noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Site {
    /// Light in the crop, lx.
    pub(crate) light_lux: f64,
    /// Air pressure, hPa.
    pub(crate) pressure_hpa: f64,
    pub(crate) mains: Supply,
    pub(crate) battery: Supply,
    /// pH of the feed water.
    pub(crate) ph: f64,
    /// Conductivity of the feed water, µS/cm.
    pub(crate) conductivity_us_cm: f64,
    /// Levels of the contacts, open is 1.
    pub(crate) contacts: u16,
    /// How often the button was pressed.
    pub(crate) presses: u64,
    /// Temperature of the substrate, °C.
    pub(crate) substrate_c: f64,
    /// Water in the soil, m³/m³.
    pub(crate) soil_water: f64,
    /// Conductivity of the soil as a probe in it sees it, dS/m.
    pub(crate) soil_ds_m: f64,
    /// Tips of the rain gauge.
    pub(crate) tips: u64,
}

/// What the site depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) unix_s: f64,
    pub(crate) global_w_m2: f64,
    pub(crate) tank_m: f64,
    pub(crate) substrate_c: f64,
    pub(crate) soil_water: f64,
    pub(crate) soil_ds_m: f64,
    /// Feed water behind a fertiliser pump, µS/cm; `None` where none is wired.
    pub(crate) dosed_us_cm: Option<f64>,
}

/// What the site remembers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// The mains failed then, Unix s.
    pub(crate) mains_off_s: Option<f64>,
    pub(crate) pressed: bool,
    pub(crate) presses: u64,
    pub(crate) rain_mm: f64,
}

impl Memory {
    /// The button is pressed or let go.
    pub(crate) fn press(&mut self, pressed: bool) {
        self.presses += u64::from(pressed && !self.pressed);
        self.pressed = pressed;
    }

    /// The site now.
    pub(crate) fn site(&self, now: Now) -> Site {
        let local_s = now.unix_s + LOCAL_S;
        let hour = local_s / 3_600.0 - 24.0 * floor(local_s / 86_400.0);
        let outage_h = self.mains_off_s.map(|since| (now.unix_s - since) / 3_600.0);
        let (mains, battery) = match outage_h {
            None => (supply(24.0, 1.2), supply(13.6, -0.1)),
            // The battery carries everything and goes down slowly.
            Some(hours) => (
                supply(0.0, 0.0),
                supply((12.8 - 0.1 * hours).max(10.5), 2.1),
            ),
        };
        let is_door_open = DOOR_HOURS
            .iter()
            .any(|(from, to)| (*from..*to).contains(&hour));
        let open = [
            (FLOAT, now.tank_m < FLOAT_M),
            (DOOR, is_door_open),
            (MAINS, outage_h.is_some()),
            (BUTTON, !self.pressed),
        ];
        let contacts = open.iter().fold(0xFFF0, |bits, (bit, is_open)| {
            bits | u16::from(*is_open) << bit
        });
        Site {
            light_lux: LUMENS_PER_WATT * TRANSMISSION * now.global_w_m2,
            // The tide of the air in the tropics: twice a day.
            pressure_hpa: 1_009.0 + 1.5 * cos(TAU * (hour - 10.0) / 12.0),
            mains,
            battery,
            ph: 6.0 + 0.2 * cos(TAU * hour / 24.0),
            conductivity_us_cm: now
                .dosed_us_cm
                .unwrap_or(2_200.0 + 150.0 * cos(TAU * (hour - 6.0) / 24.0)),
            contacts,
            presses: self.presses,
            substrate_c: now.substrate_c,
            soil_water: now.soil_water,
            soil_ds_m: now.soil_ds_m,
            tips: tips(self.rain_mm),
        }
    }
}

impl Site {
    /// A supply line.
    pub(crate) fn supply(&self, rail: Rail) -> Supply {
        match rail {
            Rail::Mains => self.mains,
            Rail::Battery => self.battery,
        }
    }
}

fn supply(volts: f64, amperes: f64) -> Supply {
    Supply { volts, amperes }
}

fn tips(rain_mm: f64) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count from 0"
    )]
    let tips = floor(rain_mm / TIP_MM).max(0.0) as u64;
    tips
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(hour: f64) -> Now {
        Now {
            unix_s: 86_400.0 * 20_000.0 + hour * 3_600.0 - LOCAL_S,
            global_w_m2: 500.0,
            tank_m: 2.0,
            substrate_c: 25.0,
            soil_water: 0.3,
            soil_ds_m: 1.0,
            dosed_us_cm: None,
        }
    }

    #[test]
    fn contacts_and_supplies() {
        let mut memory = Memory::default();
        assert_eq!(memory.site(now(12.0)).contacts, 0xFFF8);
        assert_eq!(memory.site(now(7.1)).contacts, 0xFFFA);
        memory.press(true);
        memory.press(true);
        assert_eq!(memory.site(now(12.0)).contacts, 0xFFF0);
        memory.press(false);
        assert_eq!(memory.site(now(12.0)).presses, 1);
        memory.mains_off_s = Some(now(10.0).unix_s);
        let site = memory.site(now(12.0));
        assert_eq!(site.contacts, 0xFFFC);
        assert!((site.battery.volts - 12.6).abs() < 1e-9);
        let empty = Now {
            tank_m: 0.1,
            ..now(12.0)
        };
        assert_eq!(memory.site(empty).contacts, 0xFFFD);
        memory.rain_mm = 1.0;
        assert_eq!(memory.site(now(12.0)).tips, 5);
    }
}
