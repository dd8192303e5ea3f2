//! Who looks: the running gateway, which has the buses, or this command.

use std::path::{Path, PathBuf};

use super::super::print;
use crate::bus::{Field, FieldDelay, FieldError, Rs485};
use crate::config::{BusKind, BusSettings, Settings};
use crate::control::client::{AskError, ask};
use crate::control::{Answer, Ask, SurveyLine};
use crate::survey::{Addresses, Next, Seen, SerialWalk, TOLD_EVERY, one_wire, walk};

/// What was seen on a bus.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::tools) struct BusSeen {
    /// Its id.
    pub(in crate::tools) bus: String,
    /// Its number, where it is I2C.
    pub(in crate::tools) i2c: Option<u8>,
    /// Its port, where it is a serial line.
    pub(in crate::tools) port: Option<PathBuf>,
    pub(in crate::tools) seen: Vec<Seen>,
    /// Why it gave no answers, or no more.
    pub(in crate::tools) problem: Option<String>,
}

/// Nobody could look.
#[derive(Debug, thiserror::Error)]
pub(in crate::tools) enum LookError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the gateway refused: {0}")]
    Refused(String),
    #[error("the gateway did not finish looking: ask again")]
    Unfinished,
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// All buses of the settings, in their order.
pub(super) fn gateway_or_bus(
    settings: &Settings,
    addresses: Addresses,
) -> Result<Vec<BusSeen>, LookError> {
    let mut theirs = match at_gateway(&settings.gateway().control_socket(), addresses) {
        Err(LookError::Ask(AskError::NotRunning { .. })) => {
            return Ok(by_bus(settings, addresses)?);
        }
        other => other?,
    };
    let of_file = settings.buses().iter().map(|bus| {
        let place = theirs.iter().position(|one| one.bus == bus.id.as_str());
        place.map_or_else(
            || BusSeen {
                bus: bus.id.to_string(),
                i2c: None,
                port: None,
                seen: Vec::new(),
                problem: Some("the running gateway does not have it: restart it".to_owned()),
            },
            |place| theirs.swap_remove(place),
        )
    });
    Ok(of_file.collect())
}

/// As the running gateway sees its buses.
pub(in crate::tools) fn at_gateway(
    socket: &Path,
    addresses: Addresses,
) -> Result<Vec<BusSeen>, LookError> {
    let mut buses: Vec<BusSeen> = Vec::new();
    let mut left = None;
    for answer in ask(socket, &Ask::Scan { addresses })? {
        match answer? {
            Answer::Survey { line } => take(line, &mut buses, &mut left),
            Answer::Refused { reason } => return Err(LookError::Refused(reason)),
            Answer::Report { .. }
            | Answer::Done { .. }
            | Answer::Recent { .. }
            | Answer::Accepted { .. }
            | Answer::Opened
            | Answer::Progress { .. }
            | Answer::Closed { .. }
            | Answer::Stopping { .. }
            | Answer::Samples { .. }
            | Answer::Readings { .. }
            | Answer::Calibrated { .. } => {}
        }
    }
    if left == Some(0) {
        Ok(buses)
    } else {
        Err(LookError::Unfinished)
    }
}

fn take(line: SurveyLine, buses: &mut Vec<BusSeen>, left: &mut Option<usize>) {
    match line {
        SurveyLine::Scanning { buses: all } => {
            *left = Some(all.len());
            buses.extend(all.into_iter().map(|at| BusSeen {
                bus: at.id,
                i2c: at.i2c,
                port: at.port,
                seen: Vec::new(),
                problem: None,
            }));
        }
        SurveyLine::Looking { bus, slave } => print::progress(&format!("{bus}: address {slave}")),
        SurveyLine::Seen { bus, seen } => {
            if let Some(one) = buses.iter_mut().find(|one| one.bus == bus) {
                one.seen.extend(seen);
            }
        }
        SurveyLine::Scanned { bus, problem } => {
            *left = left.map(|left| left.saturating_sub(1));
            if let Some(one) = buses.iter_mut().find(|one| one.bus == bus) {
                one.problem = problem;
            }
        }
    }
}

/// As they are, with nobody else on them.
fn by_bus(settings: &Settings, addresses: Addresses) -> Result<Vec<BusSeen>, FieldError> {
    let field = Field::open(settings, "furrow-gateway scan")?;
    let delay = FieldDelay::new(field.clock().clone());
    let busy = field.clock().busy();
    let (seen, busy) = delay.carry(busy, || {
        let buses = settings.buses().iter().enumerate();
        buses
            .map(|(index, bus)| one(settings, (index, bus), &field, &delay, addresses))
            .collect()
    });
    drop(busy);
    Ok(seen)
}

fn one(
    settings: &Settings,
    (index, bus): (usize, &BusSettings),
    field: &Field,
    delay: &FieldDelay,
    addresses: Addresses,
) -> BusSeen {
    let mut seen = Vec::new();
    let mut problem = None;
    if let Some(number) = bus.i2c {
        let (mut i2c, mut delay) = (field.i2c(&bus.kind, number), delay.clone());
        if let Err(fault) = walk(&mut i2c, &mut delay, &mut seen) {
            problem = Some(fault.to_string());
        }
    }
    match &bus.kind {
        BusKind::OneWire { root } => match one_wire(root) {
            Ok(found) => seen.extend(found),
            Err(why) => problem = Some(why),
        },
        BusKind::Rs485(serial) => {
            let line = Rs485::new(serial);
            let walk = SerialWalk::new(Some(settings), index, addresses);
            let told = |slave| print::progress(&format!("{}: address {slave}", bus.id));
            problem = serial_line(&line, walk, Some((settings, index)), told, &mut seen).err();
        }
        BusKind::Pi | BusKind::Linux { .. } | BusKind::Simulated { .. } | BusKind::Guard { .. } => {
        }
    }
    BusSeen {
        bus: bus.id.to_string(),
        i2c: bus.i2c,
        port: None,
        seen,
        problem,
    }
}

/// A serial line to its end.
pub(in crate::tools) fn serial_line(
    line: &Rs485,
    mut walk: SerialWalk,
    settings: Option<(&Settings, usize)>,
    told: impl Fn(u8),
    seen: &mut Vec<Seen>,
) -> Result<(), String> {
    let (settings, index) = settings.unzip();
    loop {
        if let Some(slave) = walk.slave().filter(|slave| slave % TOLD_EVERY == 0) {
            told(slave);
        }
        let next = walk.step(line, settings, index.unwrap_or_default(), seen)?;
        if next == Next::Done {
            return Ok(());
        }
    }
}
