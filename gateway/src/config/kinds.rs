//! The one table of device kinds: what `check` accepts, what `scan` recognises, what the page of
//! devices describes.
//!
//! Names, places and keys only. What a key means is in `build`, what a kind does in its driver.

use std::ops::RangeInclusive;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// As in the configuration and the catalog.
    pub name: &'static str,
    /// The part and what it measures, for people.
    pub title: &'static str,
    /// Where it is connected.
    pub place: Place,
    /// Its own keys, beside `id`, `name`, `kind`, `bus`, `every` and those of its place.
    pub keys: &'static [&'static str],
    /// The shortest interval that it can be read at.
    pub every_least: &'static str,
}

/// Where a kind of device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On an I2C bus, possibly behind a multiplexer.
    I2c {
        /// Addresses that the part can have.
        addresses: &'static [RangeInclusive<u8>],
        /// The address where none is given.
        default: Option<u8>,
    },
    /// At a GPIO line.
    Gpio,
    /// On the kernel's 1-Wire bus.
    OneWire,
    /// On a serial line, at a Modbus address.
    Rs485,
    /// At the guard.
    Guard,
}

const fn i2c(addresses: &'static [RangeInclusive<u8>]) -> Place {
    Place::I2c {
        addresses,
        default: None,
    }
}

const fn fixed(addresses: &'static [RangeInclusive<u8>], default: u8) -> Place {
    Place::I2c {
        addresses,
        default: Some(default),
    }
}

const fn kind(
    name: &'static str,
    title: &'static str,
    place: Place,
    keys: &'static [&'static str],
) -> Kind {
    Kind {
        name,
        title,
        place,
        keys,
        every_least: "1s",
    }
}

/// All of them, in the order in which the page of devices has them.
pub const KINDS: [Kind; 19] = [
    kind(
        "sht4x",
        "SHT4x temperature and humidity",
        i2c(&[0x44..=0x46]),
        &[],
    ),
    kind(
        "sht3x",
        "SHT3x temperature and humidity",
        i2c(&[0x44..=0x45]),
        &[],
    ),
    kind("bme280", "BME280 pressure", i2c(&[0x76..=0x77]), &[]),
    Kind {
        every_least: "5s",
        ..kind(
            "scd4x",
            "SCD4x carbon dioxide",
            fixed(&[0x62..=0x62], 0x62),
            &["self_calibration", "altitude_m"],
        )
    },
    Kind {
        every_least: "2s",
        ..kind(
            "scd30",
            "SCD30 carbon dioxide",
            fixed(&[0x61..=0x61], 0x61),
            &["self_calibration", "altitude_m"],
        )
    },
    kind(
        "bh1750",
        "BH1750 light",
        i2c(&[0x23..=0x23, 0x5C..=0x5C]),
        &["measurement_time"],
    ),
    kind(
        "ads1115",
        "ADS1115 analog inputs",
        i2c(&[0x48..=0x4B]),
        &["input"],
    ),
    kind(
        "ina219",
        "INA219 supply",
        i2c(&[0x40..=0x4F]),
        &["shunt_ohms"],
    ),
    Kind {
        every_least: "2s",
        ..kind("ezo-ph", "EZO-pH probe", fixed(&[0x08..=0x77], 0x63), &[])
    },
    Kind {
        every_least: "2s",
        ..kind("ezo-ec", "EZO-EC probe", fixed(&[0x08..=0x77], 0x64), &[])
    },
    kind(
        "mcp23017",
        "MCP23017 contacts",
        i2c(&[0x20..=0x27]),
        &["input"],
    ),
    kind(
        "pcf8574",
        "PCF8574 contacts",
        i2c(&[0x20..=0x27, 0x38..=0x3F]),
        &["input"],
    ),
    kind(
        "gpio-inputs",
        "contacts at GPIO lines",
        Place::Gpio,
        &["input"],
    ),
    kind(
        "flow-meter",
        "pulse flow meter",
        Place::Gpio,
        &["pin", "pulses_per_litre", "litres_per_pulse"],
    ),
    kind(
        "rain-gauge",
        "tipping-bucket rain gauge",
        Place::Gpio,
        &["pin", "mm_per_tip"],
    ),
    Kind {
        every_least: "2s",
        ..kind("ds18b20", "DS18B20 temperature", Place::OneWire, &["rom"])
    },
    kind(
        "soil-probe",
        "Modbus soil probe",
        Place::Rs485,
        &["profile", "profile_file"],
    ),
    kind(
        "drip-controller",
        "drip controller",
        i2c(&[0x2C..=0x2F]),
        &["pulses_per_litre", "litres_per_pulse"],
    ),
    kind("guarded-outputs", "relays of the guard", Place::Guard, &[]),
];

impl Kind {
    /// The kind of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// All names, for people.
    #[must_use]
    pub fn names() -> String {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        match names.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    /// Whether this kind means something by a key of a device.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        let of_place: &[&str] = match self.place {
            Place::I2c { .. } => &["address", "mux", "mux_channel"],
            Place::Rs485 => &["address"],
            Place::Gpio | Place::OneWire | Place::Guard => &[],
        };
        of_place.contains(&key) || self.keys.contains(&key)
    }

    /// Whether a part of this kind leaves the factory with this address, or can be wired to it.
    #[must_use]
    pub fn is_usual_at(&self, address: u8) -> bool {
        match self.place {
            Place::I2c {
                default: Some(default),
                ..
            } => default == address,
            Place::I2c { addresses, .. } => addresses.iter().any(|range| range.contains(&address)),
            Place::Gpio | Place::OneWire | Place::Rs485 | Place::Guard => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_described_on_the_page_of_devices() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/devices.md");
        let page = std::fs::read_to_string(page).unwrap();
        let headings: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("## "))
            .collect();
        for kind in KINDS {
            let named = headings
                .iter()
                .any(|heading| heading.contains(&format!("`{}`", kind.name)));
            assert!(named, "docs/devices.md has no section for `{}`", kind.name);
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
        for kind in KINDS {
            assert_eq!(Kind::of(kind.name), Some(&kind));
        }
        assert_eq!(Kind::of("sht5x"), None);
        assert!(Kind::names().ends_with("drip-controller or guarded-outputs"));
    }
}
