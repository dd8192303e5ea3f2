//! Which chip is where: the same for a simulated greenhouse and for a replay.

use crate::chips::ads1115::Ads1115;
use crate::chips::bh1750::Bh1750;
use crate::chips::bme280::Bme280;
use crate::chips::ds18b20::Ds18b20;
use crate::chips::expanders::{Mcp23017, Pcf8574};
use crate::chips::ezo::{Ezo, Probe};
use crate::chips::ina219::Ina219;
use crate::chips::scd4x::Scd4x;
use crate::chips::scd30::Scd30;
use crate::chips::sht3x::Sht3x;
use crate::chips::sht4x::Sht4x;
use crate::chips::soil_probe::{Make, SoilProbe};
use crate::chips::tca9548a::Tca9548a;
use crate::chips::{Chip, Place};
use crate::site::{self, Rail};

/// The flow meter's pin (BCM number).
pub(crate) const FLOW_METER_PIN: u8 = 17;
/// The rain gauge's pin.
pub(crate) const RAIN_GAUGE_PIN: u8 = 27;
/// Pins with a contact, and its bit.
pub(crate) const CONTACT_PINS: [(u8, u16); 4] = [
    (22, site::FLOAT),
    (23, site::DOOR),
    (24, site::MAINS),
    (25, site::BUTTON),
];
/// Pins with a relay that is on while its pin is high, zone 1 first.
pub(crate) const RELAY_PINS: [u8; 8] = [12, 13, 16, 18, 19, 20, 21, 11];
/// Pins of siren and beacon in a scenario; low until they are driven.
pub(crate) const SIREN_PIN: u8 = 9;
pub(crate) const BEACON_PIN: u8 = 10;
/// Line of the relay supply's watchdog.
pub(crate) const RELAY_WATCHDOG_PIN: u8 = 26;
/// SCL and SDA of I2C 1 as pins, for clearing the bus.
pub(crate) const SCL_PIN: u8 = 3;
pub(crate) const SDA_PIN: u8 = 2;
/// Where sockets of the 1-Wire bus are noted: no I2C bus has this number.
pub(crate) const ONE_WIRE_BUS: u8 = u8::MAX;
/// Where sockets of the RS-485 line are noted: the last bus that can be stuck.
pub(crate) const RS485_BUS: u8 = 31;
/// Serial numbers of the 1-Wire sensors, by the address of their socket.
pub(crate) const ONE_WIRE_IDS: [(u8, &str); 2] = [(0, "28-0316a2795bff"), (1, "28-0416b0c4d1ff")];
/// Pins of the header that can be driven or read (BCM numbers).
pub(crate) const PINS: core::ops::RangeInclusive<u8> = 0..=27;

/// Whether nothing is wired at a pin: there can be somebody's own contact.
pub(crate) fn is_free_pin(pin: u8) -> bool {
    let wired = [
        FLOW_METER_PIN,
        RAIN_GAUGE_PIN,
        SIREN_PIN,
        BEACON_PIN,
        RELAY_WATCHDOG_PIN,
    ];
    let is_contact = CONTACT_PINS.iter().any(|(of, _)| *of == pin);
    let is_wired = wired.contains(&pin) || [SCL_PIN, SDA_PIN].contains(&pin);
    PINS.contains(&pin) && !is_contact && !is_wired && !RELAY_PINS.contains(&pin)
}

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
    /// Address and channel of a multiplexer in between.
    pub(crate) route: Option<(u8, u8)>,
    /// `None` is the drip controller: its outputs move valves, so the world keeps it by itself.
    pub(crate) chip: Option<Box<dyn Chip + Send>>,
}

/// All chips, with so many further boards, in a constant order: their place gives each its own noise.
pub(crate) fn sockets(boards: usize) -> Vec<Socket> {
    let chip = |name, address, chip: Box<dyn Chip + Send>| Socket {
        name,
        bus: 1,
        address,
        route: None,
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
            route: None,
            chip: None,
        },
    ];
    usual
        .into_iter()
        .chain(one_of_each())
        .chain(further)
        .chain(relay_boards())
        .collect()
}

/// Most further ADS1115 boards.
pub(crate) fn boards_of() -> usize {
    BOARDS.len()
}

/// Chips that can stand for a gateway's device of a kind (`mcp23017 relays` for a relay board): name,
/// bus, address.
pub(crate) fn chips_of(kind: &str, boards: usize) -> Vec<(&'static str, u8, u8)> {
    let all = sockets(boards).into_iter();
    let of_kind = all.filter(|socket| socket.route.is_none() && kind_of(socket.name) == kind);
    of_kind
        .map(|socket| (socket.name, socket.bus, socket.address))
        .collect()
}

/// The kind of device that a gateway has for a chip.
fn kind_of(name: &str) -> &'static str {
    match name {
        "sht-inside" | "sht-outside" => "sht4x",
        "scd41" => "scd4x",
        "sht31" => "sht3x",
        "bh1750" => "bh1750",
        "bme280" => "bme280",
        "scd30" => "scd30",
        "ina219-mains" | "ina219-battery" => "ina219",
        "ezo-ph" => "ezo-ph",
        "ezo-ec" => "ezo-ec",
        "mcp23017" => "mcp23017",
        "pcf8574" => "pcf8574",
        "relays-mcp23017" => "mcp23017 relays",
        "relays-pcf8574" => "pcf8574 relays",
        DRIP => "drip-controller",
        _ if name.starts_with("ads1115") => "ads1115",
        _ => "",
    }
}

/// Relay boards of eight zones each, on while a pin is low. Behind all others, whose places are kept.
fn relay_boards() -> [Socket; 2] {
    let at = |name, address, chip: Box<dyn Chip + Send>| Socket {
        name,
        bus: 9,
        address,
        route: None,
        chip: Some(chip),
    };
    [
        at("relays-mcp23017", 0x20, Box::new(Mcp23017::relays())),
        at("relays-pcf8574", 0x21, Box::new(Pcf8574::relays())),
    ]
}

/// One of each other part, on I2C 2, on the 1-Wire bus and on the RS-485 line.
fn one_of_each() -> Vec<Socket> {
    let at = |name, address, chip: Box<dyn Chip + Send>| Socket {
        name,
        bus: 2,
        address,
        route: None,
        chip: Some(chip),
    };
    let behind = |channel, name, serial| Socket {
        route: Some((0x70, channel)),
        ..at(name, 0x46, Box::new(Sht4x::new(Place::Inside, serial)))
    };
    let wire = |address, name| Socket {
        bus: ONE_WIRE_BUS,
        ..at(name, address, Box::new(Ds18b20::new()))
    };
    let line = |address, name, make| Socket {
        bus: RS485_BUS,
        ..at(name, address, Box::new(SoilProbe::new(address, make)))
    };
    vec![
        at(
            "sht31",
            0x44,
            Box::new(Sht3x::new(Place::Inside, 0x0A31_0003)),
        ),
        at("bh1750", 0x23, Box::new(Bh1750::new())),
        at("bme280", 0x76, Box::new(Bme280::new(Place::Inside))),
        at("scd30", 0x61, Box::new(Scd30::new())),
        at("ina219-mains", 0x40, Box::new(Ina219::new(Rail::Mains))),
        at("ina219-battery", 0x41, Box::new(Ina219::new(Rail::Battery))),
        at("ezo-ph", 0x63, Box::new(Ezo::new(Probe::Ph))),
        at("ezo-ec", 0x64, Box::new(Ezo::new(Probe::Ec))),
        at("mcp23017", 0x20, Box::new(Mcp23017::new())),
        at("pcf8574", 0x38, Box::new(Pcf8574::new())),
        at("tca9548a", 0x70, Box::<Tca9548a>::default()),
        behind(0, "sht-bed-1", 0x0F46_0004),
        behind(1, "sht-bed-2", 0x0F46_0005),
        wire(0, "ds18b20-1"),
        wire(1, "ds18b20-2"),
        line(1, "soil-sen0604", Make::Sen0604),
        line(2, "soil-s-soil", Make::SSoil),
        line(3, "soil-npk", Make::Es107),
    ]
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
        let places: BTreeSet<_> = all.iter().map(|s| (s.bus, s.route, s.address)).collect();
        assert_eq!((names.len(), places.len()), (all.len(), all.len()));
    }
}
