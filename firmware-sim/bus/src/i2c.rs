//! A simulated I2C bus as `embedded-hal` sees it.

use embedded_hal::i2c::{ErrorType, I2c, Operation};

use crate::error::BusError;
use crate::link::Link;
use crate::protocol::{self, Request, Response, Stops, Transaction};

/// One I2C bus. Each handle has its own connection, so that busses don't wait for each other.
#[derive(Debug)]
pub struct RemoteI2c {
    link: Link,
    bus: u8,
    stops: Stops,
}

impl RemoteI2c {
    pub(crate) fn new(link: Link, bus: u8) -> Self {
        Self {
            link,
            bus,
            stops: Stops::Repeated,
        }
    }

    /// Behaves like an adapter that can't send a repeated START: a STOP stands between the operations of
    /// a transaction, and neighbours of one kind are not merged.
    #[must_use]
    pub fn with_stops_between(mut self) -> Self {
        self.stops = Stops::Between;
        self
    }
}

impl ErrorType for RemoteI2c {
    type Error = BusError;
}

impl I2c for RemoteI2c {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), BusError> {
        let attempt = "i2c transaction";
        let request = Request::I2c(Transaction {
            bus: self.bus,
            address,
            stops: self.stops,
            operations: wire_operations(operations, self.stops),
        });
        let Response::I2cDone(data) = self.link.call(&request, attempt)? else {
            return Err(BusError::Unexpected(attempt));
        };
        let mut rest = data.as_slice();
        for operation in operations {
            if let Operation::Read(buffer) = operation {
                let (taken, left) = rest
                    .split_at_checked(buffer.len())
                    .ok_or(BusError::Unexpected(attempt))?;
                buffer.copy_from_slice(taken);
                rest = left;
            }
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(BusError::Unexpected(attempt))
        }
    }
}

/// Neighbours of one kind become one operation, as the `embedded-hal` contract says, unless a STOP
/// stands between them.
fn wire_operations(operations: &[Operation<'_>], stops: Stops) -> Vec<protocol::Operation> {
    let mut wire: Vec<protocol::Operation> = Vec::with_capacity(operations.len());
    for operation in operations {
        let merge = matches!(stops, Stops::Repeated);
        match (operation, wire.last_mut().filter(|_| merge)) {
            (Operation::Write(bytes), Some(protocol::Operation::Write(before))) => {
                before.extend_from_slice(bytes);
            }
            (Operation::Read(buffer), Some(protocol::Operation::Read(before))) => {
                *before = before.saturating_add(length(buffer));
            }
            (Operation::Write(bytes), _) => wire.push(protocol::Operation::Write(bytes.to_vec())),
            (Operation::Read(buffer), _) => wire.push(protocol::Operation::Read(length(buffer))),
        }
    }
    wire
}

/// The simulator refuses what is longer than a transaction may be, so cutting here loses nothing.
fn length(buffer: &[u8]) -> u16 {
    u16::try_from(buffer.len()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Operation as Wire;

    #[test]
    fn neighbours_are_merged_only_without_stops() {
        let (mut a, mut b) = ([0; 2], [0; 3]);
        let operations = [
            Operation::Write(&[1]),
            Operation::Write(&[2, 3]),
            Operation::Read(&mut a),
            Operation::Read(&mut b),
            Operation::Write(&[4]),
        ];
        assert_eq!(
            wire_operations(&operations, Stops::Repeated),
            [
                Wire::Write(vec![1, 2, 3]),
                Wire::Read(5),
                Wire::Write(vec![4])
            ]
        );
        assert_eq!(
            wire_operations(&operations, Stops::Between),
            [
                Wire::Write(vec![1]),
                Wire::Write(vec![2, 3]),
                Wire::Read(2),
                Wire::Read(3),
                Wire::Write(vec![4])
            ]
        );
    }
}
