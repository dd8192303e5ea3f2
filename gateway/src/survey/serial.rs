//! A serial line: which addresses answer. Modbus has no identity to ask for.

use std::collections::VecDeque;

use furrow_drivers::Cause;
use furrow_drivers::registers::{Ask, Function, SLAVES};

use super::{Addresses, Detail, Heard, Next, Seen, SeenAt};
use crate::bus::Rs485;
use crate::config::{DeviceKind, DeviceSettings, Settings};

/// Between two addresses, in milliseconds of the field: readings of the line go first.
const PAUSE_MS: u32 = 1;
/// Registers of the first request to a probe that nothing is known of, and of the next ones: some
/// refuse or ignore what is longer than what they have.
const COUNTS: [u16; 3] = [4, 3, 1];

/// One line, from its first address to its last.
#[derive(Debug)]
pub struct SerialWalk {
    slaves: VecDeque<u8>,
}

impl SerialWalk {
    /// The addresses of the bus with this index that are configured, and others.
    #[must_use]
    pub fn new(settings: Option<&Settings>, bus: usize, addresses: Addresses) -> Self {
        let is_here = |slave: &u8| !devices(settings, bus, *slave).is_empty();
        let is_asked = |slave: &u8| match addresses {
            Addresses::Configured => is_here(slave),
            Addresses::UpTo(last) => *slave <= last || is_here(slave),
        };
        Self {
            slaves: SLAVES.filter(is_asked).collect(),
        }
    }

    /// The address that is asked next.
    #[must_use]
    pub fn slave(&self) -> Option<u8> {
        self.slaves.front().copied()
    }

    /// Asks one address, for the time of some time-outs at most.
    ///
    /// # Errors
    /// The port is not to be had, for people.
    pub fn step(
        &mut self,
        line: &Rs485,
        settings: Option<&Settings>,
        bus: usize,
        seen: &mut Vec<Seen>,
    ) -> Result<Next, String> {
        let Some(slave) = self.slaves.pop_front() else {
            return Ok(Next::Done);
        };
        let known = first_register(slave, &devices(settings, bus, slave));
        let (answer, detail) = match known {
            Some(ask) => (line.once(ask).map(|_| ()), Detail::None),
            None => look(line, slave),
        };
        if let Some(problem) = line.broken() {
            return Err(problem);
        }
        let heard = match answer {
            Ok(()) => Some(Heard::Answer),
            Err(Cause::Status { .. }) => Some(Heard::Refusal),
            Err(Cause::NoAnswer { .. }) => None,
            Err(_) => Some(Heard::Noise),
        };
        seen.extend(heard.map(|heard| Seen {
            at: SeenAt::Serial { slave },
            heard,
            identity: None,
            detail,
        }));
        Ok(if self.slaves.is_empty() {
            Next::Done
        } else {
            Next::After { ms: PAUSE_MS }
        })
    }
}

/// A probe of which nothing is known. One that is silent is asked once.
fn look(line: &Rs485, slave: u8) -> (Result<(), Cause>, Detail) {
    let mut answer = Err(Cause::NoAnswer { waited_ms: 0 });
    for count in COUNTS {
        let words = line.once(Ask {
            slave,
            function: Function::Holding,
            first: 0,
            count,
        });
        match words {
            Ok(words) => return (Ok(()), Detail::Registers(words)),
            Err(cause @ Cause::Status { .. }) => answer = Err(cause),
            Err(cause) => return (Err(cause), Detail::None),
        }
    }
    (answer, Detail::None)
}

fn devices(settings: Option<&Settings>, bus: usize, slave: u8) -> Vec<&DeviceSettings> {
    let devices = settings.map(Settings::devices).unwrap_or_default().iter();
    devices
        .filter(|device| device.bus == bus && device.address() == Some(slave))
        .collect()
}

/// A register that a configured device should have: the first of its profile.
fn first_register(slave: u8, devices: &[&DeviceSettings]) -> Option<Ask> {
    let profile = devices.iter().find_map(|device| {
        if let DeviceKind::SoilProbe { profile, .. } = &device.kind {
            Some(profile)
        } else {
            None
        }
    })?;
    Some(Ask {
        slave,
        function: profile.function,
        first: profile.registers.first()?.number,
        count: 1,
    })
}
