//! `scan`: what answers on the buses, and what does it say it is?

mod identify;
mod modbus;

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, I2c};
use furrow_drivers::tca9548a;
use serde::Serialize;

use self::identify::{Asked, Identity};
use self::modbus::Addresses;
use super::table::table;
use super::{EXIT_FAILURE, load, print};
use crate::bus::{Field, FieldDelay, one_wire_ids};
use crate::config::{BusKind, DeviceSettings, KINDS, Settings};

/// Addresses that the I2C specification leaves to devices.
const ADDRESSES: RangeInclusive<u8> = 0x08..=0x77;
/// Here an empty write could change an EEPROM, so one byte is read instead, as `i2cdetect` does.
const READ_INSTEAD: [RangeInclusive<u8>; 2] = [0x30..=0x37, 0x50..=0x5F];

/// Parts at which addresses that can't be configured here, or share them with others.
const OTHERS: [(RangeInclusive<u8>, &str); 8] = [
    (0x10..=0x10, "VEML7700 light"),
    (0x29..=0x29, "TSL2591 light"),
    (0x40..=0x4F, "INA226 power"),
    (0x61..=0x61, "EZO-DO probe"),
    (0x62..=0x62, "EZO-ORP probe"),
    (0x68..=0x68, "real-time clock"),
    (0x70..=0x77, "TCA9548A multiplexer"),
    (0x77..=0x77, "BMP180 pressure"),
];

/// Show what answers on each bus, what it says it is, what it could be, and what is configured there
///
/// Asks every address, also behind multiplexers, and reads serial numbers and identities; outputs and
/// stored settings stay as they are. Stop the gateway before: a reading of it may be disturbed, and
/// behind a multiplexer it could come from another channel. On an RS-485 line the configured addresses
/// are asked, or all with `--all-addresses`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway scan\n  \
    furrow-gateway --config /etc/furrow/gateway.toml scan --json")]
pub struct Scan {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask all 247 addresses of an RS-485 line: each that is silent takes a time-out
    #[arg(long)]
    all_addresses: bool,
}

/// One place of one bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    pub(super) bus: String,
    /// On I2C.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<u8>,
    /// Multiplexer and channel that it sits behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) behind: Option<(u8, u8)>,
    /// On 1-Wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    rom: Option<String>,
    /// On a serial line.
    #[serde(skip_serializing_if = "Option::is_none")]
    slave: Option<u8>,
    answers: bool,
    /// The kind in the configuration that it is for sure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    /// What it says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<String>,
    configured: Vec<String>,
    pub(super) could_be: Vec<&'static str>,
    note: &'static str,
}

/// A bus that gave no answers at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Broken {
    bus: String,
    pub(super) problem: String,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) found: Vec<Found>,
    pub(super) broken: Vec<Broken>,
}

impl Scan {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let field = match Field::open(&settings, "furrow-gateway scan") {
            Ok(field) => field,
            Err(error) => {
                print::error(&error);
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        let delay = FieldDelay::new(field.clock().clone());
        let asked = if self.all_addresses {
            Addresses::All
        } else {
            Addresses::Configured
        };
        let (report, busy) = delay.carry(field.clock().busy(), || {
            all(&settings, &field, &delay, asked)
        });
        drop(busy);
        if self.json {
            print::line(serde_json::to_string_pretty(&report).expect("texts and numbers"));
        } else {
            print::line(text(&report));
        }
        if report.broken.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn probe<B: I2c<Error = ErrorKind>>(bus: &mut B, address: u8) -> Result<bool, ErrorKind> {
    let asked = if READ_INSTEAD.iter().any(|range| range.contains(&address)) {
        bus.read(address, &mut [0])
    } else {
        bus.write(address, &[])
    };
    match asked {
        Ok(()) => Ok(true),
        Err(ErrorKind::NoAcknowledge(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn all(settings: &Settings, field: &Field, delay: &FieldDelay, asked: Addresses) -> Report {
    let mut report = Report::default();
    for (index, bus) in settings.buses().iter().enumerate() {
        if let Some(number) = bus.i2c {
            let mut i2c = field.i2c(&bus.kind, number);
            let mut delay = delay.clone();
            Scanner::new(settings, index, &mut i2c, &mut delay).run(&mut report);
        }
        if let BusKind::OneWire { root } = &bus.kind {
            one_wire(settings, index, one_wire_ids(root), &mut report);
        }
        modbus::line(settings, index, asked, &mut report);
    }
    report
}

/// One I2C bus.
pub(super) struct Scanner<'a, B, D> {
    /// `None` while there are none yet: nothing is configured then.
    settings: Option<&'a Settings>,
    index: usize,
    bus: &'a mut B,
    delay: &'a mut D,
    found: Vec<Found>,
}

impl<'a, B: I2c<Error = ErrorKind>, D: DelayNs> Scanner<'a, B, D> {
    fn new(settings: &'a Settings, index: usize, bus: &'a mut B, delay: &'a mut D) -> Self {
        Self {
            settings: Some(settings),
            index,
            bus,
            delay,
            found: Vec::new(),
        }
    }

    /// For a bus that is not configured yet.
    pub(super) fn unconfigured(bus: &'a mut B, delay: &'a mut D) -> Self {
        Self {
            settings: None,
            index: 0,
            bus,
            delay,
            found: Vec::new(),
        }
    }

    pub(super) fn run(mut self, report: &mut Report) {
        match self.scan() {
            Ok(()) => report.found.append(&mut self.found),
            Err((address, error)) => {
                let bus = bus_name(self.settings, self.index);
                let problem = format!("{address:#04x}: {error}");
                report.broken.push(Broken { bus, problem });
            }
        }
    }

    /// First the multiplexers, which closes them: a channel that a program left open would show its
    /// chips here. Then what is on the bus itself, then what is behind each multiplexer.
    fn scan(&mut self) -> Result<(), (u8, ErrorKind)> {
        let (mut here, mut muxes) = (Vec::new(), Vec::new());
        for address in tca9548a::ADDRESSES {
            let answers = probe(self.bus, address).map_err(|error| (address, error))?;
            if answers && self.identify(address).is_some_and(|chip| chip.is_mux) {
                muxes.push(address);
            }
        }
        for address in ADDRESSES {
            let answers = probe(self.bus, address).map_err(|error| (address, error))?;
            let identity = if answers {
                self.identify(address)
            } else {
                None
            };
            if answers {
                here.push(address);
            }
            self.note(address, None, answers, identity);
        }
        for mux in muxes {
            for channel in 0..tca9548a::CHANNELS {
                let opened = self.bus.write(mux, &[1 << channel]);
                opened.map_err(|error| (mux, error))?;
                // What answers with all channels closed is not behind one.
                for address in ADDRESSES.filter(|address| !here.contains(address)) {
                    let answers = probe(self.bus, address).map_err(|error| (address, error))?;
                    let identity = if answers {
                        self.identify(address)
                    } else {
                        None
                    };
                    self.note(address, Some((mux, channel)), answers, identity);
                }
            }
            self.bus.write(mux, &[0]).map_err(|error| (mux, error))?;
        }
        Ok(())
    }

    fn identify(&mut self, address: u8) -> Option<Identity> {
        let mut asked = Asked {
            bus: &mut *self.bus,
            delay: &mut *self.delay,
            address,
        };
        asked.identify()
    }

    fn note(
        &mut self,
        address: u8,
        behind: Option<(u8, u8)>,
        answers: bool,
        identity: Option<Identity>,
    ) {
        let devices = self.settings.map(Settings::devices).unwrap_or_default();
        let here: Vec<&DeviceSettings> = devices
            .iter()
            .filter(|device| {
                let route = device.route.map(|route| (route.mux, route.channel));
                device.bus == self.index && device.address() == Some(address) && route == behind
            })
            .collect();
        let is_used_mux = devices.iter().any(|device| {
            let mux = device.route.map(|route| route.mux);
            device.bus == self.index && mux == Some(address)
        });
        if !answers && here.is_empty() {
            return;
        }
        let kind = identity.as_ref().and_then(|identity| identity.kind);
        let is_mux = identity.as_ref().is_some_and(|identity| identity.is_mux);
        let differs =
            |device: &&DeviceSettings| identity.is_some() && kind != Some(device.kind.name());
        let note = match (answers, here.is_empty()) {
            (true, true) if is_mux && is_used_mux => "",
            (true, true) if is_mux => "nothing behind it is configured",
            (true, true) => "not configured",
            (false, _) => "does not answer",
            (true, false) if here.iter().any(differs) => "another part than configured",
            (true, false) => "",
        };
        self.found.push(Found {
            bus: bus_name(self.settings, self.index),
            address: Some(address),
            behind,
            rom: None,
            slave: None,
            answers,
            kind,
            // Known for sure: nothing else is possible.
            could_be: match &identity {
                Some(_) => Vec::new(),
                None => could_be(address),
            },
            identity: identity.map(|identity| identity.text),
            configured: here.into_iter().map(shown).collect(),
            note,
        });
    }
}

/// The kernel's 1-Wire sensors, and those that are configured.
fn one_wire(
    settings: &Settings,
    index: usize,
    ids: std::io::Result<Vec<String>>,
    report: &mut Report,
) {
    let bus = bus_name(Some(settings), index);
    let ids = match ids {
        Ok(ids) => ids,
        Err(error) => {
            let problem = error.to_string();
            return report.broken.push(Broken { bus, problem });
        }
    };
    let configured: Vec<(&str, &DeviceSettings)> = settings
        .devices()
        .iter()
        .filter(|device| device.bus == index)
        .filter_map(|device| Some((device.rom()?, device)))
        .collect();
    let there = |rom: &str| ids.iter().any(|id| id == rom);
    let missing = configured.iter().map(|(rom, _)| *rom);
    let missing = missing.filter(|rom| !there(rom));
    for rom in ids.iter().map(String::as_str).chain(missing) {
        let here = configured.iter().filter(|(of, _)| *of == rom);
        let here: Vec<String> = here.map(|(_, device)| shown(device)).collect();
        let answers = there(rom);
        let note = match (answers, here.is_empty()) {
            (true, true) => "not configured",
            (true, false) => "",
            (false, _) => "does not answer",
        };
        report.found.push(Found {
            bus: bus.clone(),
            address: None,
            behind: None,
            rom: Some(rom.to_owned()),
            slave: None,
            answers,
            kind: answers.then_some("ds18b20"),
            identity: answers.then(|| "DS18B20".to_owned()),
            configured: here,
            could_be: Vec::new(),
            note,
        });
    }
}

fn shown(device: &DeviceSettings) -> String {
    format!("{} ({})", device.id, device.kind.name())
}

fn bus_name(settings: Option<&Settings>, index: usize) -> String {
    let bus = settings.and_then(|settings| settings.buses().get(index));
    bus.map_or_else(|| "?".to_owned(), |bus| bus.id.to_string())
}

/// Parts that leave the factory with this address, or can be wired to it.
pub(super) fn could_be(address: u8) -> Vec<&'static str> {
    let kinds = KINDS.iter().filter(|kind| kind.is_usual_at(address));
    let others = OTHERS.iter().filter(|(range, _)| range.contains(&address));
    kinds
        .map(|kind| kind.title)
        .chain(others.map(|(_, title)| *title))
        .collect()
}

fn text(report: &Report) -> String {
    let mut rows = vec![
        ["bus", "place", "configured", "is, or could be", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for found in &report.found {
        rows.push(vec![
            found.bus.clone(),
            place(found),
            found.configured.join(", "),
            found
                .identity
                .clone()
                .unwrap_or_else(|| format!("{}?", found.could_be.join(" | "))),
            found.note.to_owned(),
        ]);
    }
    let mut text = table(&rows);
    for broken in &report.broken {
        text.push_str(&format!(
            "\nbus {} gives no answers: {}",
            broken.bus, broken.problem
        ));
    }
    text
}

fn place(found: &Found) -> String {
    match (found.address, found.behind) {
        (Some(address), None) => format!("{address:#04x}"),
        (Some(address), Some((mux, channel))) => format!("{mux:#04x}/{channel} {address:#04x}"),
        (None, _) => match found.slave {
            Some(slave) => format!("address {slave}"),
            None => found.rom.clone().unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests;
