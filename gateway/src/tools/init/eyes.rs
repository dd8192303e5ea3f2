//! Who looks at the buses for `init`: a running gateway at those that it has, this command at others.

use std::path::{Path, PathBuf};

use super::super::print;
use super::super::scan::{BusSeen, LookError, at_gateway, serial_line};
use super::find::{Found, ToldProbe};
use super::spot::Told;
use crate::bus::{Field, FieldDelay, Rs485};
use crate::config::{BusKind, Parity, SerialSettings, Settings};
use crate::control::client::AskError;
use crate::survey::{Addresses, SerialWalk, walk};

/// Addresses of a serial line that are looked at: probes leave the factory with 1, and are numbered
/// from there.
const SLAVE_MAX: u8 = 16;
/// What nearly all probes leave the factory with, bits per second.
const BAUD: u32 = 9_600;

/// What is to be looked at.
pub(super) struct Eyes<'a> {
    pub(super) config: &'a Path,
    pub(super) state_dir: &'a Path,
    pub(super) kind: &'a BusKind,
    pub(super) buses: &'a [u8],
    pub(super) ports: &'a [PathBuf],
    pub(super) told: &'a [Told],
    pub(super) told_probes: &'a [ToldProbe],
}

impl Eyes<'_> {
    pub(super) fn look(&self) -> Result<Found, LookError> {
        let mut found = Found::default();
        let theirs = self.by_gateway()?;
        let others = |number: &&u8| !theirs.iter().any(|bus| bus.i2c == Some(**number));
        let own: Vec<u8> = self.buses.iter().filter(others).copied().collect();
        for number in self.buses.iter().filter(|number| !own.contains(number)) {
            let of_number = theirs.iter().filter(|bus| bus.i2c == Some(*number));
            for bus in of_number {
                found.handle_i2c(*number, bus.seen.clone(), self.told);
                self.note(&mut found, &format!("i2c-{number}"), bus.problem.clone());
            }
        }
        if !own.is_empty() {
            self.look_at(&own, &mut found)?;
        }
        for port in self.ports {
            let name = port.display().to_string();
            let has_it = |bus: &&BusSeen| bus.port.as_deref().is_some_and(|of| same(of, port));
            let (seen, problem) = match theirs.iter().find(has_it) {
                Some(bus) => (bus.seen.clone(), bus.problem.clone()),
                None => line(port),
            };
            found.handle_line(port, seen, self.told_probes);
            self.note(&mut found, &name, problem);
        }
        Ok(found)
    }

    /// The buses of the running gateway, if there is one.
    fn by_gateway(&self) -> Result<Vec<BusSeen>, LookError> {
        let state_dir = match Settings::load(self.config) {
            Ok(settings) => settings.gateway().state_dir.clone(),
            Err(_) => self.state_dir.to_owned(),
        };
        let addresses = if self.ports.is_empty() {
            Addresses::Configured
        } else {
            Addresses::UpTo(SLAVE_MAX)
        };
        match at_gateway(&state_dir.join("control.sock"), addresses) {
            Ok(buses) => {
                print::progress("a gateway is running: it looks at its buses by itself");
                Ok(buses)
            }
            Err(LookError::Ask(AskError::NotRunning { .. })) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn look_at(&self, buses: &[u8], found: &mut Found) -> Result<(), LookError> {
        let field = Field::connect(Some(self.kind), "furrow-gateway init")?;
        let delay = FieldDelay::new(field.clock().clone());
        let busy = field.clock().busy();
        let ((), busy) = delay.carry(busy, || {
            for number in buses {
                let (mut i2c, mut delay) = (field.i2c(self.kind, *number), delay.clone());
                let mut seen = Vec::new();
                let walked = walk(&mut i2c, &mut delay, &mut seen);
                found.handle_i2c(*number, seen, self.told);
                let problem = walked.err().map(|fault| fault.to_string());
                self.note(found, &format!("i2c-{number}"), problem);
            }
        });
        drop(busy);
        Ok(())
    }

    fn note(&self, found: &mut Found, bus: &str, problem: Option<String>) {
        let problem = problem.map(|problem| (bus.to_owned(), problem));
        found.broken.extend(problem);
    }
}

fn line(port: &Path) -> (Vec<crate::survey::Seen>, Option<String>) {
    let settings = SerialSettings {
        device: port.to_owned(),
        baud: BAUD,
        parity: Parity::None,
        timeout: std::time::Duration::from_millis(300),
    };
    let walk = SerialWalk::new(None, 0, Addresses::UpTo(SLAVE_MAX));
    let mut seen = Vec::new();
    let told = |_| {};
    let problem = serial_line(&Rs485::new(&settings), walk, None, told, &mut seen);
    (seen, problem.err())
}

/// Names of a port differ: a link by its id, and the device.
fn same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        (Ok(_) | Err(_), _) => one == other,
    }
}
