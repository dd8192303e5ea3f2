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

/// How many ADS1115 boards there can be beyond the first.
pub(crate) const BOARDS_MAX: u8 = 20;
/// Further ADS1115 boards, all at the same terminals: name, bus, address.
const BOARDS: [(&str, u8, u8); BOARDS_MAX as usize] = [
    ("ads1115-2", 4, 0x48),
    ("ads1115-3", 4, 0x49),
    ("ads1115-4", 4, 0x4A),
    ("ads1115-5", 4, 0x4B),
    ("ads1115-6", 5, 0x48),
    ("ads1115-7", 5, 0x49),
    ("ads1115-8", 5, 0x4A),
    ("ads1115-9", 5, 0x4B),
    ("ads1115-10", 6, 0x48),
    ("ads1115-11", 6, 0x49),
    ("ads1115-12", 6, 0x4A),
    ("ads1115-13", 6, 0x4B),
    ("ads1115-14", 7, 0x48),
    ("ads1115-15", 7, 0x49),
    ("ads1115-16", 7, 0x4A),
    ("ads1115-17", 7, 0x4B),
    ("ads1115-18", 8, 0x48),
    ("ads1115-19", 8, 0x49),
    ("ads1115-20", 8, 0x4A),
    ("ads1115-21", 8, 0x4B),
];

/// A place on a bus.
pub(crate) struct Socket {
    pub(crate) name: &'static str,
    pub(crate) bus: u8,
    pub(crate) address: u8,
    /// `None` is the drip controller: its outputs move valves, so the world keeps it by itself.
    pub(crate) chip: Option<Box<dyn Chip + Send>>,
}

/// All chips, with so many further boards, in a constant order: their place gives each its own noise.
pub(crate) fn sockets(boards: usize) -> Vec<Socket> {
    let chip = |name, address, chip: Box<dyn Chip + Send>| Socket {
        name,
        bus: 1,
        address,
        chip: Some(chip),
    };
    let further = BOARDS.iter().take(boards);
    let further = further.map(|(name, bus, address)| Socket {
        bus: *bus,
        ..chip(name, *address, Box::new(Ads1115::new()))
    });
    let usual = [
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
    ];
    usual.into_iter().chain(further).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_chips_share_a_name_or_an_address() {
        let all = sockets(usize::from(BOARDS_MAX));
        assert_eq!(all.len(), sockets(0).len() + 20);
        let names: BTreeSet<_> = all.iter().map(|socket| socket.name).collect();
        let places: BTreeSet<_> = all.iter().map(|s| (s.bus, s.address)).collect();
        assert_eq!((names.len(), places.len()), (all.len(), all.len()));
    }
}
