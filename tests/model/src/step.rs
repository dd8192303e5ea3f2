//! What can happen, one step at a time.

use crate::state::{Ack, Message, Name, Stream};

/// What becomes of a message that is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Copies {
    /// It was the only one.
    Last,
    /// The broker will deliver it once more.
    Another,
}

/// What a crash leaves of bytes that were written and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsynced {
    /// They reached the disk all the same.
    Kept,
    /// They did not.
    Gone,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The gateway appends a reading to its journal.
    Journal,
    /// The gateway's journal is synced; the outbox takes the records.
    Commit,
    /// The journal is at its cap: a loss record is appended for its oldest waiting reading.
    Evict(Name),
    /// The journal reuses the space of a settled record.
    Recycle(Name),
    /// The gateway connects and says its birth.
    Connect,
    /// The gateway says its birth again.
    SayBirth,
    /// The gateway loses its connection.
    Disconnect,
    /// The gateway publishes records, and the broker answers with a PUBACK.
    Offer {
        /// Of this stream.
        stream: Stream,
        /// First seq.
        from: u8,
        /// Last seq.
        to: u8,
    },
    /// The gateway takes an acknowledgement.
    HandleAck(Ack, Copies),
    /// The gateway is killed and starts again.
    CrashGateway(Unsynced),
    /// Somebody copies the gateway's card.
    TakeImage,
    /// The gateway starts from the copy.
    RestoreImage,
    /// Ingest takes a packet or a birth.
    HandleMessage(Message, Copies),
    /// Ingest's log is synced.
    CommitLog,
    /// Ingest says what it holds.
    Acknowledge,
    /// The archive takes what the log holds.
    Archive,
    /// Ingest is killed and starts again.
    CrashIngest(Unsynced),
    /// Somebody copies ingest's disk.
    TakeBackup,
    /// Ingest starts from the copy.
    RestoreBackup,
    /// A message to ingest is lost, although the broker may have confirmed it.
    Lose(Message),
    /// An acknowledgement is lost.
    LoseAck(Ack),
    /// The broker forgets every session, message and retained birth.
    ForgetSessions,
}
