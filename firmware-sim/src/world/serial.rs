//! The RS-485 line: which probe answers, how late, and what the line makes of it.

use furrow_sim_bus::protocol::{Operation, Stops, Transaction};

use super::World;
use crate::layout::RS485_BUS;
use crate::physics::noise::Purpose;

/// A request for registers: address, function, first, count, checksum.
pub(crate) const REQUEST_BYTES: usize = 8;
/// Most registers that are asked for at once (the specification's limit).
const REGISTERS_MAX: u16 = 125;
/// An exception: address, function, code, checksum.
const EXCEPTION_BYTES: usize = 5;

/// What comes back on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// Real milliseconds until it begins.
    pub(crate) after_ms: u64,
}

impl World {
    /// A request on the line. `None` is silence.
    pub(crate) fn serial(&mut self, request: &[u8; REQUEST_BYTES]) -> Option<Answer> {
        if self.is_stuck(RS485_BUS) {
            return None;
        }
        let [slave, _, _, _, high, low, ..] = *request;
        let place = self
            .slots
            .iter()
            .position(|slot| slot.bus == RS485_BUS && slot.address == slave)?;
        let count = u16::from_be_bytes([high, low]).min(REGISTERS_MAX);
        let length = EXCEPTION_BYTES.max(5 + 2 * usize::from(count));
        let transaction = Transaction {
            bus: RS485_BUS,
            address: slave,
            stops: Stops::Repeated,
            operations: vec![
                Operation::Write(request.to_vec()),
                Operation::Read(u16::try_from(length).unwrap_or(u16::MAX)),
            ],
        };
        let mut bytes = self.transact_at(place, &transaction).ok()?;
        if bytes.get(1).is_some_and(|function| function & 0x80 != 0) {
            bytes.truncate(EXCEPTION_BYTES);
        }
        self.disturb(&mut bytes);
        let slot = self.slots.get(place)?;
        Some(Answer {
            bytes,
            after_ms: slot.condition.slow_ms,
        })
    }

    /// A bad line: bytes from nowhere before the answer, and one of its own that is lost.
    fn disturb(&mut self, bytes: &mut Vec<u8>) {
        self.serial_answers += 1;
        let noise = self.greenhouse.noise();
        let draw = |index| noise.bits(Purpose::Line, 4 * self.serial_answers + index);
        if self.line_noise <= noise.unit(Purpose::Line, 4 * self.serial_answers) {
            return;
        }
        let lost = usize::try_from(draw(1)).unwrap_or_default() % bytes.len().max(1);
        if lost < bytes.len() {
            bytes.remove(lost);
        }
        let before = draw(2).to_le_bytes();
        let length = usize::try_from(draw(3) % 4).unwrap_or_default() + 1;
        bytes.splice(0..0, before.into_iter().take(length));
    }
}
