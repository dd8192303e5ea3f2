//! What is on the buses: by the scan's own eyes, and what more a configuration needs to know.

use std::path::Path;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, I2c};
use furrow_drivers::ads1115::{Input, volts};
use furrow_drivers::{Ads1115, DripController};

use super::super::scan::{Report, Scanner, could_be};
use crate::bus::one_wire_ids;
use crate::config::Kind;

/// Kinds that can be configured by their address alone, though nothing identifies them.
pub(super) const UNPROVEN: [&str; 2] = ["bh1750", "ina219"];

/// A device that is what it seems to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    pub(super) at: At,
    /// As in the configuration.
    pub(super) kind: &'static str,
    /// What it said, or who said so.
    pub(super) evidence: String,
    pub(super) detail: Detail,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    I2c {
        bus: u8,
        address: u8,
        /// Multiplexer and channel.
        behind: Option<(u8, u8)>,
    },
    OneWire {
        rom: String,
    },
}

/// What some kinds need beside their place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Detail {
    None,
    /// Volts at its inputs, where they could be read.
    Inputs(Vec<Option<f64>>),
    Outputs(u8),
}

/// An address that answers, and is not known to be anything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stranger {
    pub(super) bus: u8,
    pub(super) address: u8,
    pub(super) behind: Option<(u8, u8)>,
    /// What it says it is, though that can't be configured.
    pub(super) identity: Option<String>,
    pub(super) could_be: Vec<&'static str>,
}

/// All buses.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) devices: Vec<Device>,
    pub(super) strangers: Vec<Stranger>,
    /// Buses that gave no answers, with the reason.
    pub(super) broken: Vec<(u8, String)>,
}

/// What a person says of an address that nothing identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) address: u8,
    pub(super) kind: &'static str,
}

impl std::str::FromStr for Told {
    type Err = String;

    /// `0x23=bh1750`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be ADDRESS=KIND, for example 0x23=bh1750";
        let (address, kind) = text.split_once('=').ok_or(form)?;
        let digits = address.strip_prefix("0x").ok_or(form)?;
        let address = u8::from_str_radix(digits, 16).map_err(|_| form)?;
        let kind = UNPROVEN.iter().find(|known| **known == kind);
        let kind = kind.ok_or_else(|| format!("KIND must be {}", UNPROVEN.join(" or ")))?;
        Ok(Told { address, kind })
    }
}

/// Looks at an I2C bus, also behind multiplexers.
pub(super) fn look<B, D>(bus: u8, i2c: &mut B, delay: &mut D, told: &[Told], found: &mut Found)
where
    B: I2c<Error = ErrorKind>,
    D: DelayNs,
{
    let mut report = Report::default();
    Scanner::unconfigured(i2c, delay).run(&mut report);
    let problems = report.broken.into_iter();
    found
        .broken
        .extend(problems.map(|broken| (bus, broken.problem)));
    for one in report.found {
        let Some(address) = one.address else { continue };
        let behind = one.behind;
        let by_person = told.iter().find(|told| told.address == address);
        let kind = one.kind.or(by_person.map(|told| told.kind));
        let Some(kind) = kind else {
            found.strangers.push(Stranger {
                bus,
                address,
                behind,
                identity: one.identity,
                could_be: could_be(address),
            });
            continue;
        };
        let detail = match behind {
            None => detail(kind, i2c, delay, address),
            Some(_) => Detail::None,
        };
        let evidence = one.identity.unwrap_or_else(|| "you say so".to_owned());
        let at = At::I2c {
            bus,
            address,
            behind,
        };
        found.devices.push(Device {
            at,
            kind,
            evidence,
            detail,
        });
    }
}

/// Looks at the kernel's 1-Wire sensors; no folder is none.
pub(super) fn look_at_one_wire(root: &Path, found: &mut Found) {
    for rom in one_wire_ids(root).unwrap_or_default() {
        found.devices.push(Device {
            at: At::OneWire { rom },
            kind: "ds18b20",
            evidence: "the kernel's 1-Wire driver sees it".to_owned(),
            detail: Detail::None,
        });
    }
}

/// Kinds that a stranger could be, of those that need no more than their address.
pub(super) fn candidates(stranger: &Stranger) -> Vec<&'static str> {
    let usual =
        |name: &&&str| Kind::of(name).is_some_and(|kind| kind.is_usual_at(stranger.address));
    UNPROVEN.iter().filter(usual).copied().collect()
}

fn detail<B, D>(kind: &str, i2c: &mut B, delay: &mut D, address: u8) -> Detail
where
    B: I2c<Error = ErrorKind>,
    D: DelayNs,
{
    match kind {
        "ads1115" => {
            let Ok(mut adc) = Ads1115::new(i2c, delay, address) else {
                return Detail::None;
            };
            let inputs = Input::ALL.iter();
            Detail::Inputs(
                inputs
                    .map(|input| adc.counts(*input).ok().map(volts))
                    .collect(),
            )
        }
        "drip-controller" => {
            let status = DripController::new(i2c, address).and_then(|mut drip| drip.status());
            status.map_or(Detail::None, |status| Detail::Outputs(status.outputs))
        }
        _ => Detail::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_identifies_can_be_told() {
        let told: Told = "0x23=bh1750".parse().unwrap();
        assert_eq!((told.address, told.kind), (0x23, "bh1750"));
        for bad in ["23=bh1750", "0x23", "0x44=sht4x", "0x23="] {
            assert!(bad.parse::<Told>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stranger_is_offered_what_sits_at_its_address() {
        let stranger = |address| Stranger {
            bus: 1,
            address,
            behind: None,
            identity: None,
            could_be: could_be(address),
        };
        assert_eq!(candidates(&stranger(0x23)), ["bh1750"]);
        assert_eq!(candidates(&stranger(0x41)), ["ina219"]);
        assert_eq!(candidates(&stranger(0x10)), [""; 0]);
    }

    #[test]
    fn no_one_wire_folder_is_no_sensor() {
        let mut found = Found::default();
        look_at_one_wire(Path::new("/nowhere/at/all"), &mut found);
        assert_eq!(found, Found::default());
    }
}
