//! What the log's consumer hands to the archive: decoded, in log order.

use std::sync::Arc;

use bytes::Bytes;
use furrow_ingest_core::Missing;
use furrow_wire::{
    Batch, BootId, Catalog, CatalogHash, ClockMapping, Command, CommandId, CommandResult, Events,
    GatewayId, GreenhouseId, Loss, Orders, RecordName, StreamId,
};

/// Place of an entry in ingest's log. Ordered like the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition {
    /// Segment number; only grows.
    pub segment: u64,
    /// Byte offset in the segment.
    pub offset: u32,
}

/// One log entry of one cooperative, decoded.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Where it stands in the log.
    pub position: LogPosition,
    /// Checksum over the log up to and with this entry: kept with the position, and compared with the log
    /// when ingest starts.
    pub chain: u32,
    /// What it says, in order. May be empty: the position still moves.
    pub changes: Vec<Change>,
}

impl LogEntry {
    /// The newest receive time of its readings, in Unix milliseconds.
    pub(super) fn received_ms(&self) -> Option<i64> {
        let readings = self.changes.iter().filter_map(|change| match change {
            Change::Readings(readings) => Some(readings.received_unix_ms),
            Change::Catalog { .. }
            | Change::Mapping { .. }
            | Change::Events { .. }
            | Change::Loss { .. }
            | Change::DeadLetter { .. }
            | Change::Parked(_)
            | Change::Unparked { .. }
            | Change::Missing { .. }
            | Change::Rerun { .. }
            | Change::Command(_)
            | Change::Result(_)
            | Change::Orders(_) => None,
        });
        readings.max()
    }
}

/// One thing to apply.
#[derive(Debug, Clone)]
pub enum Change {
    /// A batch whose catalog and wall time are known.
    Readings(Readings),
    /// A catalog: names, units and intervals of a gateway's channels, its zones.
    Catalog {
        /// Who sent it.
        gateway: GatewayId,
        /// Hash that batches name it by.
        hash: CatalogHash,
        /// The record's body, kept so that parked batches can be decoded after a restart.
        body: Bytes,
        /// The body, decoded. Its greenhouse has been checked against the gateway's assignment.
        catalog: Arc<Catalog>,
        /// Receive time in Unix milliseconds.
        received_unix_ms: i64,
    },
    /// Wall time of a boot.
    Mapping {
        /// Who sent it.
        gateway: GatewayId,
        /// The mapping. The first one of a boot is final; later ones are ignored.
        mapping: ClockMapping,
        /// Receive time in Unix milliseconds.
        received_unix_ms: i64,
    },
    /// Watering runs, faults, starts, with known wall time.
    Events {
        /// Who sent them.
        gateway: GatewayId,
        /// Where it stands.
        greenhouse: GreenhouseId,
        /// The record that held them.
        record: RecordName,
        /// Unix milliseconds = monotonic milliseconds + this.
        wall_offset_ms: i64,
        /// The events.
        events: Events,
    },
    /// Records that will never come.
    Loss {
        /// Who said so.
        gateway: GatewayId,
        /// Where it stands.
        greenhouse: GreenhouseId,
        /// The record that said it.
        record: RecordName,
        /// What is lost.
        loss: Loss,
        /// Receive time in Unix milliseconds.
        received_unix_ms: i64,
    },
    /// A record that was refused; kept with its bytes so that it can be run again.
    DeadLetter {
        /// Who sent it.
        gateway: GatewayId,
        /// Its name, if the header could be read.
        record: Option<RecordName>,
        /// Why it was refused.
        reason: String,
        /// The bytes as they came.
        bytes: Bytes,
        /// Receive time in Unix milliseconds.
        received_unix_ms: i64,
    },
    /// A record that can't be decoded yet; kept with its bytes until it can.
    Parked(ParkedRecord),
    /// A parked record that has since been applied or refused: its bytes may go.
    Unparked {
        /// Which.
        record: RecordName,
    },
    /// What is missing of a stream, in place of what was.
    Missing {
        /// Whose stream.
        gateway: GatewayId,
        /// Where it stands.
        greenhouse: GreenhouseId,
        /// Which.
        stream: StreamId,
        /// All of it; empty when everything has come.
        missing: Vec<Missing>,
    },
    /// A dead letter that was run again. If it is still there, with these bytes, it goes and the changes
    /// are applied; if not, this was done before, and nothing is.
    Rerun {
        /// Its number.
        id: i64,
        /// Its bytes.
        bytes: Bytes,
        /// What its record changes.
        changes: Vec<Change>,
    },
    /// A command that is sent, or was meant to be.
    Command(IssuedCommand),
    /// A gateway's answer to a command.
    Result(AnsweredCommand),
    /// A new version of a gateway's orders.
    Orders(PutOrders),
}

/// A command that is sent, or was meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCommand {
    /// To whom.
    pub gateway: GatewayId,
    /// When, Unix milliseconds.
    pub issued_unix_ms: i64,
    /// The stale one that it repeats.
    pub instead_of: Option<CommandId>,
    /// The command.
    pub command: Command,
}

/// A gateway's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweredCommand {
    /// Whose.
    pub gateway: GatewayId,
    /// Receive time in Unix milliseconds.
    pub received_unix_ms: i64,
    /// The answer.
    pub result: CommandResult,
}

/// A new version of a gateway's orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOrders {
    /// Whose.
    pub gateway: GatewayId,
    /// When they were put, Unix milliseconds.
    pub issued_unix_ms: i64,
    /// The orders.
    pub orders: Orders,
}

/// A batch with all that is needed to store it.
#[derive(Debug, Clone)]
pub struct Readings {
    /// Who sent it.
    pub gateway: GatewayId,
    /// Where it stands, by assignment.
    pub greenhouse: GreenhouseId,
    /// The record that held it.
    pub record: RecordName,
    /// What its columns mean: the catalog that `batch.catalog` names.
    pub catalog: Arc<Catalog>,
    /// Unix milliseconds = monotonic milliseconds + this: the batch's own offset or its boot's mapping.
    pub wall_offset_ms: i64,
    /// The readings.
    pub batch: Batch,
    /// Receive time in Unix milliseconds.
    pub received_unix_ms: i64,
}

/// What a parked record waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkReason {
    /// A catalog that has not come.
    Catalog(CatalogHash),
    /// Wall time of its boot.
    Mapping(BootId),
    /// A newer version of this program: the version or the kind is unknown.
    Version,
}

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedRecord {
    /// Who sent it.
    pub gateway: GatewayId,
    /// Its name.
    pub record: RecordName,
    /// What it waits for.
    pub reason: ParkReason,
    /// The whole encoded record, header included.
    pub bytes: Bytes,
    /// Receive time in Unix milliseconds.
    pub received_unix_ms: i64,
}

/// What became of one group of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Entries that had been applied before and were skipped.
    pub entries_skipped: u64,
    /// Readings stored.
    pub readings_stored: u64,
    /// Readings whose (series, time) was there already: not stored again.
    pub readings_duplicate: u64,
    /// Readings that no series can hold (unit or exponent does not fit): in the dead letters.
    pub readings_refused: u64,
    /// Readings older than their series' newest: stored, but no alert looked at them.
    pub readings_late: u64,
    /// Readings not kept since their window's were given up before.
    pub readings_behind: u64,
    /// Readings given up for their age.
    pub readings_given_up: u64,
    /// Alert state transitions.
    pub alert_transitions: u64,
    /// Samples that a rule ignored because they lie before its live frontier: history pages nobody.
    pub alert_samples_ignored: u64,
}

impl Applied {
    /// Adds another group's figures to these.
    pub fn add(&mut self, other: Applied) {
        self.entries_skipped += other.entries_skipped;
        self.readings_stored += other.readings_stored;
        self.readings_duplicate += other.readings_duplicate;
        self.readings_refused += other.readings_refused;
        self.readings_late += other.readings_late;
        self.readings_behind += other.readings_behind;
        self.readings_given_up += other.readings_given_up;
        self.alert_transitions += other.alert_transitions;
        self.alert_samples_ignored += other.alert_samples_ignored;
    }
}
