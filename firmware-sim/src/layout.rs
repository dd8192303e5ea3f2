//! Which chip is where: the same for a simulated greenhouse and for a replay.

use crate::chips::ads1115::Ads1115;
use crate::chips::scd4x::Scd4x;
use crate::chips::sht4x::Sht4x;
use crate::chips::{Chip, Place};

/// The flow meter's pin (BCM number).
pub(crate) const FLOW_METER_PIN: u8 = 17;
/// Pins of the header that can be driven or read (BCM numbers).
pub(crate) const PINS: core::ops::RangeInclusive<u8> = 0..=27;

/// Name of the drip controller, for faults and status.
pub(crate) const DRIP: &str = "drip";

/// A place on a bus.
pub(crate) struct Socket {
    pub(crate) name: &'static str,
    pub(crate) bus: u8,
    pub(crate) address: u8,
    /// `None` is the drip controller: its outputs move valves, so the world keeps it by itself.
    pub(crate) chip: Option<Box<dyn Chip + Send>>,
}

/// All chips, in a constant order: their place gives each its own noise.
pub(crate) fn sockets() -> Vec<Socket> {
    let chip = |name, address, chip: Box<dyn Chip + Send>| Socket {
        name,
        bus: 1,
        address,
        chip: Some(chip),
    };
    vec![
        chip(
            "sht-inside",
            0x44,
            Box::new(Sht4x::new(Place::Inside, 0x0F44_0001)),
        ),
        chip(
            "sht-outside",
            0x45,
            Box::new(Sht4x::new(Place::Outside, 0x0F45_0002)),
        ),
        chip("scd41", 0x62, Box::new(Scd4x::new(0xF1A2_3B4C_5D6E))),
        chip("ads1115", 0x48, Box::new(Ads1115::new())),
        Socket {
            name: DRIP,
            bus: 3,
            address: 0x2C,
            chip: None,
        },
    ]
}
