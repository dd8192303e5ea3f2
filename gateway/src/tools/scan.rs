//! `scan`: what answers on the buses, and what does it say it is?

mod look;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use furrow_drivers::registers::SLAVES;
use serde::Serialize;

use self::look::gateway_or_bus;
pub(super) use self::look::{BusSeen, LookError, at_gateway, serial_line};
use super::table::table;
use super::{EXIT_FAILURE, load, print};
use crate::bus::Field;
use crate::config::{BusKind, DeviceSettings, GuardOutput, KINDS, Settings};
use crate::guard::client::GuardClient;
use crate::guard::protocol::{Answer, Ask};
use crate::survey::{Addresses, Heard, Identity, Seen, SeenAt};

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
/// stored settings stay as they are. A running gateway looks by itself, between its readings, and goes
/// on meanwhile. On an RS-485 line the configured addresses are asked, or all with `--all-addresses`.
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
struct Found {
    bus: String,
    /// On I2C.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<u8>,
    /// Multiplexer and channel that it sits behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<(u8, u8)>,
    /// On 1-Wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    rom: Option<String>,
    /// On a serial line.
    #[serde(skip_serializing_if = "Option::is_none")]
    slave: Option<u8>,
    /// Of the guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<u8>,
    answers: bool,
    /// The kind in the configuration that it is for sure.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// What it says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    configured: Vec<String>,
    could_be: Vec<&'static str>,
    note: &'static str,
}

/// A bus that gave no answers at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Broken {
    bus: String,
    problem: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    found: Vec<Found>,
    broken: Vec<Broken>,
}

impl Scan {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let addresses = if self.all_addresses {
            Addresses::UpTo(*SLAVES.end())
        } else {
            Addresses::Configured
        };
        let report = match gateway_or_bus(&settings, addresses) {
            Ok(seen) => report(&settings, seen),
            Err(error) => {
                print::error(&error);
                return ExitCode::from(EXIT_FAILURE);
            }
        };
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

fn report(settings: &Settings, seen: Vec<BusSeen>) -> Report {
    let mut report = Report::default();
    for (index, bus) in seen.into_iter().enumerate() {
        let name = bus.bus;
        report.broken.extend(bus.problem.map(|problem| Broken {
            bus: name.clone(),
            problem,
        }));
        let is_broken = report.broken.iter().any(|broken| broken.bus == name);
        let configured = settings.devices().iter();
        let configured = configured
            .filter(|device| device.bus == index && !is_broken)
            .filter_map(place_of);
        let seen_at = bus.seen.iter().map(|seen| seen.at.clone());
        let places: BTreeSet<(bool, SeenAt)> = seen_at.chain(configured).map(keyed).collect();
        for (_, at) in places {
            let seen = bus.seen.iter().find(|seen| seen.at == at);
            report.found.push(found(settings, index, &name, at, seen));
        }
        if let Some(BusKind::Guard { socket }) = settings.buses().get(index).map(|bus| &bus.kind) {
            guarded(settings, index, ask_guard(socket), &mut report);
        }
    }
    report
}

/// What is on the bus itself comes before what is behind a multiplexer.
fn keyed(at: SeenAt) -> (bool, SeenAt) {
    let is_behind = matches!(
        at,
        SeenAt::I2c {
            behind: Some(_),
            ..
        }
    );
    (is_behind, at)
}

/// Where a device is configured; lines have no place that can be asked.
fn place_of(device: &DeviceSettings) -> Option<SeenAt> {
    if let Some(rom) = device.rom() {
        let rom = rom.to_owned();
        return Some(SeenAt::OneWire { rom });
    }
    let address = device.address()?;
    if device.kind.name() == "soil-probe" {
        return Some(SeenAt::Serial { slave: address });
    }
    Some(SeenAt::I2c {
        address,
        behind: device.route.map(|route| (route.mux, route.channel)),
    })
}

fn found(settings: &Settings, index: usize, bus: &str, at: SeenAt, seen: Option<&Seen>) -> Found {
    let devices = settings.devices().iter();
    let of_bus: Vec<&DeviceSettings> = devices.filter(|device| device.bus == index).collect();
    let here = of_bus
        .iter()
        .copied()
        .filter(|device| place_of(device).as_ref() == Some(&at));
    let here: Vec<&DeviceSettings> = here.collect();
    let guards = guards(settings, index, &at);
    let note = match note(&of_bus, &here, &at, seen) {
        "not configured" if guards.is_some() => "",
        note => note,
    };
    let identity = seen.and_then(|seen| seen.identity.clone());
    let mut found = Found {
        bus: bus.to_owned(),
        address: None,
        behind: None,
        rom: None,
        slave: None,
        output: None,
        answers: seen.is_some(),
        kind: identity.as_ref().and_then(|identity| identity.kind.clone()),
        identity: None,
        configured: here.into_iter().map(shown).chain(guards).collect(),
        could_be: Vec::new(),
        note,
    };
    match at {
        SeenAt::I2c { address, behind } => {
            (found.address, found.behind) = (Some(address), behind);
            // Known for sure: nothing else is possible.
            if identity.is_none() {
                found.could_be = could_be(address);
            }
        }
        SeenAt::OneWire { rom } => found.rom = Some(rom),
        SeenAt::Serial { slave } => {
            found.slave = Some(slave);
            found.kind = seen.map(|_| "soil-probe".to_owned());
            found.could_be = vec!["Modbus soil probe"];
        }
    }
    found.identity = identity.map(|identity| identity.text);
    found
}

/// The guard's report; it is asked directly, for its socket serves several.
fn ask_guard(socket: &Path) -> Result<Answer, String> {
    let field =
        Field::connect(None, "furrow-gateway scan").map_err(|error| print::chain(&error))?;
    let mut guard = GuardClient::new(socket, field.clock().clone());
    guard
        .ask(&Ask::Report)
        .map_err(|error| print::chain(&error))
}

/// The guard's outputs, and the zones that they water.
fn guarded(settings: &Settings, index: usize, asked: Result<Answer, String>, report: &mut Report) {
    let bus = settings
        .buses()
        .get(index)
        .map_or_else(String::new, |bus| bus.id.to_string());
    let outputs = match asked {
        Ok(Answer::Report(of_guard)) => of_guard.outputs,
        Ok(Answer::Done | Answer::Output(_) | Answer::Refused { .. }) => Vec::new(),
        Err(problem) => return report.broken.push(Broken { bus, problem }),
    };
    for output in outputs {
        let zones = settings.zones().iter().filter(|zone| {
            let device = settings.devices().get(zone.controller);
            device.is_some_and(|device| device.bus == index) && zone.output == output.output
        });
        let state = match (output.confirmed, output.fault) {
            (_, true) => "at fault",
            (true, false) => "open",
            (false, false) => "closed",
        };
        report.found.push(Found {
            bus: bus.clone(),
            address: None,
            behind: None,
            rom: None,
            slave: None,
            output: Some(output.output),
            answers: true,
            kind: None,
            identity: Some(format!("{}, {state}", output.place)),
            configured: zones.map(|zone| format!("{} (zone)", zone.id)).collect(),
            could_be: Vec::new(),
            note: if output.fault { "does not follow" } else { "" },
        });
    }
}

/// The guard's outputs at an address of a bus, if its chip is there.
fn guards(settings: &Settings, bus: usize, at: &SeenAt) -> Option<String> {
    let SeenAt::I2c {
        address,
        behind: None,
    } = at
    else {
        return None;
    };
    let guard = settings.guard()?;
    let here = |output: &&GuardOutput| output.bus == bus && output.at.address() == Some(*address);
    let output = guard.outputs.iter().find(here)?;
    Some(format!("relays of the guard ({})", output.at.kind()))
}

fn note(
    of_bus: &[&DeviceSettings],
    here: &[&DeviceSettings],
    at: &SeenAt,
    seen: Option<&Seen>,
) -> &'static str {
    let Some(seen) = seen else {
        return "does not answer";
    };
    let is_used_mux = |address: &u8| {
        let mut muxes = of_bus.iter().filter_map(|device| device.route);
        muxes.any(|route| route.mux == *address)
    };
    let differs = |identity: &Identity| {
        let kind = identity.kind.as_deref();
        here.iter().any(|device| kind != Some(device.kind.name()))
    };
    match (&seen.identity, at) {
        (Some(Identity { is_mux: true, .. }), SeenAt::I2c { address, .. }) if here.is_empty() => {
            if is_used_mux(address) {
                ""
            } else {
                "nothing behind it is configured"
            }
        }
        (Some(identity), _) if differs(identity) => "another part than configured",
        (Some(_) | None, _) => match (seen.heard, here.is_empty()) {
            (Heard::Noise, _) => "answers, but disturbed: two of one address?",
            (Heard::Answer | Heard::Refusal, true) => "not configured",
            (Heard::Refusal, false) => "refuses this register: another profile?",
            (Heard::Answer, false) => "",
        },
    }
}

fn shown(device: &DeviceSettings) -> String {
    format!("{} ({})", device.id, device.kind.name())
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
    if let Some(output) = found.output {
        return format!("output {output}");
    }
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
