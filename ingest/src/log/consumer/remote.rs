//! What entries say of commands and orders, and what records tell of gateways' times.

use furrow_ingest_core::Tick;
use furrow_wire::{CommandResult, Orders};

use crate::archive::{AnsweredCommand, Change, IssuedCommand, PutOrders};
use crate::log::entry::{EntryError, EntryKind, Issued, LogRecord};

/// What somebody far away asked, or what was answered.
pub(super) fn remote_change(record: &LogRecord) -> Result<Option<Change>, EntryError> {
    let (gateway, at) = (record.gateway.gateway.clone(), record.received_unix_ms);
    Ok(match record.kind {
        EntryKind::Command => {
            let Issued {
                instead_of,
                command,
            } = Issued::decode(&record.bytes)?;
            Some(Change::Command(IssuedCommand {
                gateway,
                issued_unix_ms: at,
                instead_of,
                command,
            }))
        }
        EntryKind::Result => Some(Change::Result(AnsweredCommand {
            gateway,
            received_unix_ms: at,
            result: CommandResult::decode(&record.bytes)?,
        })),
        EntryKind::Orders => Some(Change::Orders(PutOrders {
            gateway,
            issued_unix_ms: at,
            orders: Orders::decode(&record.bytes)?,
        })),
        EntryKind::Packet
        | EntryKind::State
        | EntryKind::Rerun
        | EntryKind::Wake
        | EntryKind::Delete => None,
    })
}

/// Until when a record tells of its boot.
pub(super) fn tick_of(change: &Change) -> Option<Tick> {
    match change {
        Change::Readings(readings) => Some(Tick {
            boot: readings.batch.boot,
            mono_ms: readings.batch.to_mono_ms,
        }),
        Change::Events { events, .. } => Some(Tick {
            boot: events.boot,
            mono_ms: events.events.iter().map(|event| event.at_mono_ms).max()?,
        }),
        Change::Catalog { .. }
        | Change::Mapping { .. }
        | Change::Loss { .. }
        | Change::DeadLetter { .. }
        | Change::Parked(_)
        | Change::Unparked { .. }
        | Change::Missing { .. }
        | Change::Rerun { .. }
        | Change::Command(_)
        | Change::Result(_)
        | Change::Orders(_) => None,
    }
}
