//! The firmware of the drip controller (`docs/drip-controller.md`).
//!
//! It owns the leases: an output is driven open only while one runs, and closes by itself when it ends.
//! What a valve then does is none of its business; it watches the position switches and reports those
//! that don't follow.

use super::crc::crc8;
use super::{Chip, Field, MS, Nack};

const VERSION: [u8; 2] = [1, 0];
const LEASE_MAX_S: u16 = 300;
/// A valve that has not followed after this time is a fault.
const FOLLOW_NS: u64 = 5_000 * MS;
const CLEAR_KEY: u8 = 0xA5;

const IDENTITY: u8 = 0x00;
const STATUS: u8 = 0x01;
const COMMANDED: u8 = 0x02;
const CONFIRMED: u8 = 0x03;
const FAULTS: u8 = 0x04;
const FLOW: u8 = 0x05;
const CLEAR: u8 = 0x0F;
const LEASE: u8 = 0x10;
const LEASE_LAST: u8 = 0x17;

const FLAG_FAULT: u8 = 1;
const FLAG_LEASE_RAN_OUT: u8 = 1 << 1;
const FLAG_RESET: u8 = 1 << 2;

/// Fault codes of the register map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None = 0,
    DidNotOpen = 1,
    DidNotClose = 2,
    BadWrite = 3,
    NotAllowed = 4,
}

/// Why an output changed, for the log of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The master wrote its lease.
    Master,
    /// The lease ran out.
    LeaseRanOut,
    /// The controller reset.
    Reset,
}

/// An output that was driven open or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// From 0.
    pub(crate) output: usize,
    pub(crate) open: bool,
    pub(crate) cause: Cause,
    pub(crate) at_ns: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Output {
    /// End of the lease.
    until_ns: Option<u64>,
    /// Since when its switch differs from its command.
    differs_since_ns: Option<u64>,
    faulty: bool,
}

/// A drip controller.
#[derive(Debug)]
pub(crate) struct Drip {
    outputs: Vec<Output>,
    started_ns: u64,
    /// The meter's count at power-up.
    first_pulse: u64,
    pointer: u8,
    flags: u8,
    fault: Fault,
    /// Not yet collected by the simulation; at most one per output and event.
    changes: Vec<Change>,
}

impl Drip {
    /// A controller with one to eight outputs that has just been powered.
    pub(crate) fn new(zones: usize, now_ns: u64) -> Self {
        Self {
            outputs: vec![Output::default(); zones.clamp(1, 8)],
            started_ns: now_ns,
            first_pulse: 0,
            pointer: IDENTITY,
            flags: FLAG_RESET,
            fault: Fault::None,
            changes: Vec::new(),
        }
    }

    /// When it does something by itself.
    pub(crate) fn next_event_ns(&self) -> Option<u64> {
        let lease = self.outputs.iter().filter_map(|output| output.until_ns);
        let fault = self.outputs.iter().filter_map(|output| {
            let since = output.differs_since_ns.filter(|_| !output.faulty)?;
            Some(since + FOLLOW_NS)
        });
        lease.chain(fault).min()
    }

    /// Ends leases and looks at the switches; `now_ns` must not lie beyond the next event.
    pub(crate) fn advance(&mut self, now_ns: u64, switches: u8) {
        for at in 0..self.outputs.len() {
            let ran_out = self
                .outputs
                .get(at)
                .and_then(|output| output.until_ns)
                .is_some_and(|until| until <= now_ns);
            if ran_out {
                self.flags |= FLAG_LEASE_RAN_OUT;
                self.drive(at, None, Cause::LeaseRanOut, now_ns);
            }
        }
        for (at, output) in self.outputs.iter_mut().enumerate() {
            let open = output.until_ns.is_some();
            if open == (switches >> at & 1 == 1) {
                output.differs_since_ns = None;
                output.faulty = false;
                continue;
            }
            let since = *output.differs_since_ns.get_or_insert(now_ns);
            if now_ns.saturating_sub(since) >= FOLLOW_NS && !output.faulty {
                output.faulty = true;
                self.fault = if open {
                    Fault::DidNotOpen
                } else {
                    Fault::DidNotClose
                };
            }
        }
    }

    /// Outputs that changed since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Bit z is set while output z + 1 holds a lease.
    pub(crate) fn commanded(&self) -> u8 {
        self.mask(|output| output.until_ns.is_some())
    }

    /// A reset: every output closes.
    pub(crate) fn reset(&mut self, now_ns: u64, pulses: u64) {
        for at in 0..self.outputs.len() {
            self.drive(at, None, Cause::Reset, now_ns);
        }
        let changes = self.take_changes();
        *self = Self::new(self.outputs.len(), now_ns);
        self.first_pulse = pulses;
        self.changes = changes;
    }

    fn drive(&mut self, at: usize, until_ns: Option<u64>, cause: Cause, at_ns: u64) {
        let Some(output) = self.outputs.get_mut(at) else {
            return;
        };
        let open = until_ns.is_some();
        if open != output.until_ns.is_some() {
            self.changes.push(Change {
                output: at,
                open,
                cause,
                at_ns,
            });
            // The valve has its five seconds from this command on.
            output.differs_since_ns = None;
            output.faulty = false;
        }
        output.until_ns = until_ns;
    }

    fn mask(&self, bit: impl Fn(&Output) -> bool) -> u8 {
        self.outputs
            .iter()
            .rev()
            .fold(0, |mask, output| mask << 1 | u8::from(bit(output)))
    }

    /// Data of a register; `None` where nothing can be read.
    fn register(&self, now_ns: u64, field: &dyn Field) -> Option<Vec<u8>> {
        let zones = self.outputs.len();
        let faulty = self.mask(|output| output.faulty);
        Some(match self.pointer {
            IDENTITY => [b"FR".as_slice(), &VERSION].concat(),
            STATUS => {
                let fault = faulty != 0 || self.fault != Fault::None;
                let flags = self.flags | if fault { FLAG_FAULT } else { 0 };
                let uptime_s = now_ns.saturating_sub(self.started_ns) / 1_000_000_000;
                let uptime_s = u16::try_from(uptime_s).unwrap_or(u16::MAX);
                let [high, low] = uptime_s.to_be_bytes();
                vec![flags, u8::try_from(zones).unwrap_or(u8::MAX), high, low]
            }
            COMMANDED => vec![self.commanded()],
            CONFIRMED => {
                let wired = u8::MAX >> 8_usize.saturating_sub(zones).min(7);
                vec![field.valve_switches() & wired]
            }
            FAULTS => vec![faulty, self.fault as u8],
            FLOW => {
                let pulses = field.pulses().wrapping_sub(self.first_pulse);
                #[allow(clippy::cast_possible_truncation, reason = "the register wraps")]
                let pulses = pulses as u32;
                pulses.to_be_bytes().to_vec()
            }
            LEASE..=LEASE_LAST => {
                let output = self.outputs.get(usize::from(self.pointer - LEASE))?;
                let left_ns = output.until_ns.unwrap_or(now_ns).saturating_sub(now_ns);
                // Rounded up: 0 is a closed output.
                let left_s = left_ns.div_ceil(1_000_000_000);
                u16::try_from(left_s)
                    .unwrap_or(u16::MAX)
                    .to_be_bytes()
                    .to_vec()
            }
            _ => return None,
        })
    }

    /// A write with data. What is wrong changes nothing but the fault code.
    fn write_register(&mut self, now_ns: u64, register: u8, data: &[u8]) -> Result<(), Fault> {
        match (register, data) {
            (CLEAR, &[key]) if key == CLEAR_KEY => {
                self.flags = 0;
                self.fault = Fault::None;
                Ok(())
            }
            (CLEAR, &[_]) => Err(Fault::NotAllowed),
            (LEASE..=LEASE_LAST, &[high, low]) => {
                let seconds = u16::from_be_bytes([high, low]);
                let at = usize::from(register - LEASE);
                if seconds > LEASE_MAX_S || at >= self.outputs.len() {
                    return Err(Fault::NotAllowed);
                }
                let until = (seconds > 0).then(|| now_ns + u64::from(seconds) * 1_000_000_000);
                self.drive(at, until, Cause::Master, now_ns);
                Ok(())
            }
            // No register takes this many bytes here.
            _ => Err(Fault::BadWrite),
        }
    }
}

impl Chip for Drip {
    fn write(&mut self, now_ns: u64, bytes: &[u8], _: &dyn Field) -> Result<(), Nack> {
        let Some((&register, rest)) = bytes.split_first() else {
            return Ok(());
        };
        self.pointer = register;
        if rest.is_empty() {
            return Ok(());
        }
        let (covered, crc) = bytes.split_at(bytes.len() - 1);
        let result = if crc == [crc8(covered)] {
            let data = covered.get(1..).unwrap_or_default();
            self.write_register(now_ns, register, data)
        } else {
            Err(Fault::BadWrite)
        };
        if let Err(fault) = result {
            self.fault = fault;
        }
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], field: &dyn Field) -> Result<(), Nack> {
        let mut answer = vec![self.pointer];
        if let Some(data) = self.register(now_ns, field) {
            answer.extend_from_slice(&data);
            answer.push(crc8(&answer));
        }
        super::fill(bytes, answer.get(1..).unwrap_or_default());
        Ok(())
    }

    fn power_cycle(&mut self, now_ns: u64) {
        self.reset(now_ns, self.first_pulse);
    }
}

#[cfg(test)]
mod tests;
