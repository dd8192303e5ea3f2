//! The serial lines: which addresses answer. Modbus has no identity to ask for.

use furrow_drivers::Cause;
use furrow_drivers::registers::{Ask, Function, SLAVES};

use super::super::print;
use super::{Broken, Found, Report, bus_name, shown};
use crate::bus::Rs485;
use crate::config::{BusKind, DeviceKind, DeviceSettings, Settings};

/// Addresses between two lines that tell how far a long search is.
const TOLD_EVERY: u8 = 25;

/// What is asked for on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addresses {
    /// Those that are configured.
    Configured,
    /// All 247; each that is silent takes a time-out.
    All,
}

pub(super) fn line(settings: &Settings, index: usize, asked: Addresses, report: &mut Report) {
    let Some(BusKind::Rs485(serial)) = settings.buses().get(index).map(|bus| &bus.kind) else {
        return;
    };
    let line = Rs485::new(serial);
    let bus = bus_name(Some(settings), index);
    for slave in SLAVES {
        let here: Vec<&DeviceSettings> = settings
            .devices()
            .iter()
            .filter(|device| device.bus == index && device.address() == Some(slave))
            .collect();
        if here.is_empty() && asked == Addresses::Configured {
            continue;
        }
        if asked == Addresses::All && slave % TOLD_EVERY == 0 {
            print::progress(&format!("{bus}: address {slave} of {}", SLAVES.end()));
        }
        let answer = line.once(first_register(slave, here.first().copied()));
        let (answers, note) = match (answer, here.is_empty()) {
            (Ok(_), true) => (true, "not configured"),
            (Ok(_), false) => (true, ""),
            (Err(Cause::Status { .. }), true) => (true, "not configured"),
            (Err(Cause::Status { .. }), false) => (true, "refuses this register: another profile?"),
            (Err(Cause::Checksum), _) => (true, "answers, but disturbed: two of one address?"),
            (Err(Cause::NoAnswer { .. }), true) => continue,
            (Err(Cause::NoAnswer { .. }), false) => (false, "does not answer"),
            (Err(cause), _) => {
                let problem = format!("address {slave} at {}: {cause}", serial.device.display());
                return report.broken.push(Broken { bus, problem });
            }
        };
        report.found.push(Found {
            bus: bus.clone(),
            address: None,
            behind: None,
            rom: None,
            slave: Some(slave),
            answers,
            kind: answers.then_some("soil-probe"),
            identity: None,
            configured: here.into_iter().map(shown).collect(),
            could_be: vec!["Modbus soil probe"],
            note,
        });
    }
}

/// A register that the device should have: the first of its profile, or the first of all.
fn first_register(slave: u8, device: Option<&DeviceSettings>) -> Ask {
    let profile = device.and_then(|device| {
        if let DeviceKind::SoilProbe { profile, .. } = &device.kind {
            Some(profile)
        } else {
            None
        }
    });
    let first = profile.and_then(|profile| profile.registers.first());
    Ask {
        slave,
        function: profile.map_or(Function::Holding, |profile| profile.function),
        first: first.map_or(0, |register| register.number),
        count: 1,
    }
}
