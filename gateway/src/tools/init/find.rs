//! What is on the buses, and what it is for a configuration: by the survey's eyes, and what a person
//! says.

use std::path::{Path, PathBuf};

use super::super::scan::could_be;
use super::spot::{BOARDS, Spot, Told, UNPROVEN};
use crate::config::{Kind, builtin_profiles};
use crate::survey::{self, Heard, Seen, SeenAt, one_wire};

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
    I2c { bus: u8, spot: Spot },
    OneWire { rom: String },
    Serial { port: PathBuf, slave: u8 },
}

/// What some kinds need beside their place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Detail {
    None,
    /// Volts at its inputs, where they could be read.
    Inputs(Vec<Option<f64>>),
    Outputs(u8),
    /// What a probe has in which register.
    Profile(&'static str),
}

/// An address that answers, and is not known to be anything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stranger {
    pub(super) bus: u8,
    pub(super) spot: Spot,
    /// What it says it is, though that can't be configured.
    pub(super) identity: Option<String>,
    pub(super) could_be: Vec<&'static str>,
}

/// A Modbus address that answers, and what it says by each profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) port: PathBuf,
    pub(super) slave: u8,
    /// Profile, and its readings for people.
    pub(super) readings: Vec<(&'static str, String)>,
}

/// All buses.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) devices: Vec<Device>,
    pub(super) strangers: Vec<Stranger>,
    pub(super) probes: Vec<Probe>,
    /// Buses that gave no answers, with the reason.
    pub(super) broken: Vec<(String, String)>,
}

/// What a person says of a Modbus address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ToldProbe {
    pub(super) slave: u8,
    pub(super) profile: &'static str,
}

impl std::str::FromStr for ToldProbe {
    type Err = String;

    /// `1=sen0604`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be ADDRESS=PROFILE, for example 1=sen0604";
        let (slave, profile) = text.split_once('=').ok_or(form)?;
        let slave = slave.parse().ok().filter(|slave| (1..=247).contains(slave));
        let names: Vec<&'static str> = profiles().collect();
        let known = names.iter().find(|name| **name == profile);
        let known = known.ok_or_else(|| format!("PROFILE must be {}", names.join(" or ")));
        Ok(ToldProbe {
            slave: slave.ok_or(form)?,
            profile: known?,
        })
    }
}

/// Names of the profiles that come along.
pub(super) fn profiles() -> impl Iterator<Item = &'static str> {
    builtin_profiles().into_iter().map(|(name, _, _)| name)
}

impl Found {
    /// What was seen on an I2C bus.
    pub(super) fn handle_i2c(&mut self, bus: u8, seen: Vec<Seen>, told: &[Told]) {
        for one in seen {
            let SeenAt::I2c { address, behind } = one.at else {
                continue;
            };
            let spot = Spot { address, behind };
            let by_person = told.iter().find(|told| told.spot == spot);
            let identity = one.identity;
            let proven = identity.as_ref().and_then(|one| one.kind.as_deref());
            let proven = proven.and_then(Kind::of).map(|kind| kind.name);
            let text = identity.map(|one| one.text);
            let Some(kind) = proven.or(by_person.map(|told| told.kind)) else {
                self.strangers.push(Stranger {
                    bus,
                    spot,
                    identity: text,
                    could_be: could_be(address),
                });
                continue;
            };
            self.devices.push(Device {
                at: At::I2c { bus, spot },
                kind,
                evidence: text.unwrap_or_else(|| "you say so".to_owned()),
                detail: match one.detail {
                    survey::Detail::Inputs(volts) => Detail::Inputs(volts),
                    survey::Detail::Outputs(outputs) => Detail::Outputs(outputs),
                    survey::Detail::None | survey::Detail::Registers(_) => Detail::None,
                },
            });
        }
    }

    /// The kernel's 1-Wire sensors; no folder is none.
    pub(super) fn handle_one_wire(&mut self, root: &Path) {
        for one in one_wire(root).unwrap_or_default() {
            if let SeenAt::OneWire { rom } = one.at {
                self.devices.push(Device {
                    at: At::OneWire { rom },
                    kind: "ds18b20",
                    evidence: "the kernel's 1-Wire driver sees it".to_owned(),
                    detail: Detail::None,
                });
            }
        }
    }

    /// What was seen on a serial line.
    pub(super) fn handle_line(&mut self, port: &Path, seen: Vec<Seen>, told: &[ToldProbe]) {
        for one in seen {
            let SeenAt::Serial { slave } = one.at else {
                continue;
            };
            let words = match one.detail {
                survey::Detail::Registers(words) => words,
                survey::Detail::None | survey::Detail::Inputs(_) | survey::Detail::Outputs(_) => {
                    Vec::new()
                }
            };
            let probe = Probe {
                port: port.to_owned(),
                slave,
                readings: match one.heard {
                    Heard::Answer => by_profiles(&words),
                    Heard::Refusal | Heard::Noise => Vec::new(),
                },
            };
            match told.iter().find(|told| told.slave == slave) {
                Some(told) => self.handle_told(probe, told.profile),
                None => self.probes.push(probe),
            }
        }
    }

    /// A person knows what a probe is.
    pub(super) fn handle_told(&mut self, probe: Probe, profile: &'static str) {
        let mut readings = probe.readings.into_iter();
        let says = readings.find(|(name, _)| *name == profile);
        let says = says.map_or_else(String::new, |(_, text)| format!(", and reads {text}"));
        self.devices.push(Device {
            at: At::Serial {
                port: probe.port,
                slave: probe.slave,
            },
            kind: "soil-probe",
            evidence: format!("you say so{says}"),
            detail: Detail::Profile(profile),
        });
    }
}

/// Kinds that a stranger could be, of those that need no more than their address, and boards.
pub(super) fn candidates(stranger: &Stranger) -> Vec<&'static str> {
    let usual = |name: &&'static str| {
        Kind::of(name).is_some_and(|kind| kind.is_usual_at(stranger.spot.address))
    };
    let boards = BOARDS.map(|(name, _)| name);
    UNPROVEN.into_iter().chain(boards).filter(usual).collect()
}

/// What the registers would mean; a profile that they don't fit is not among it.
fn by_profiles(words: &[u16]) -> Vec<(&'static str, String)> {
    let mut readings = Vec::new();
    for (name, profile, channels) in builtin_profiles() {
        let values = profile.registers.iter().zip(&channels);
        let values = values.map(|(register, channel)| {
            let word = words.get(usize::from(register.number))?;
            let value = register.decode(*word).ok()?;
            Some(format!("{} {value} {}", channel.name, channel.unit))
        });
        let values: Option<Vec<String>> = values.collect();
        readings.extend(values.map(|values| (name, values.join(", "))));
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_offered_what_sits_at_its_address() {
        let stranger = |address| Stranger {
            bus: 1,
            spot: Spot {
                address,
                behind: None,
            },
            identity: None,
            could_be: could_be(address),
        };
        assert_eq!(
            candidates(&stranger(0x23)),
            ["bh1750", "mcp23017", "pcf8574"]
        );
        assert_eq!(candidates(&stranger(0x41)), ["ina219"]);
        assert_eq!(candidates(&stranger(0x38)), ["pcf8574"]);
        assert_eq!(candidates(&stranger(0x10)), [""; 0]);
    }

    #[test]
    fn no_one_wire_folder_is_no_sensor() {
        let mut found = Found::default();
        found.handle_one_wire(Path::new("/nowhere/at/all"));
        assert_eq!(found, Found::default());
    }

    #[test]
    fn a_probe_is_shown_by_each_profile_that_its_registers_fit() {
        // The maker's example of a SEN0604; as an S-Soil, 65,435 would be no conductivity.
        assert_eq!(
            by_profiles(&[658, 65_435, 1_000, 56]),
            [(
                "sen0604",
                "soil_moisture 65.8 %, temperature -10.1 Cel, electrical_conductivity 1.000 dS/m, ph 5.6 [pH]"
                    .to_owned()
            )]
        );
        let both: Vec<&str> = by_profiles(&[210, 250, 300, 65])
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(both, ["sen0604", "s-soil"]);
        assert_eq!(by_profiles(&[]), []);
        assert_eq!(
            "1=sen0604".parse(),
            Ok(ToldProbe {
                slave: 1,
                profile: "sen0604"
            })
        );
        for bad in ["0=sen0604", "248=sen0604", "1=probe", "1"] {
            assert!(bad.parse::<ToldProbe>().is_err(), "{bad}");
        }
    }
}
