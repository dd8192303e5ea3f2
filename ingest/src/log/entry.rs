//! The bytes of a log entry: who sent it, when it came, and what came.
//!
//! ```text
//! version 1 | receive time, i64 LE | length, cooperative | length, gateway | bytes as they came
//! ```
//! Length, checksum and kind are the journal's.

use bytes::Bytes;
use furrow_ingest_core::GatewayKey;
use furrow_wire::{BodyError, Command, CommandId, GatewayId, IdError};

const VERSION: u8 = 1;

/// What an entry's bytes are: the journal's kind byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A packet of records.
    Packet,
    /// A gateway's state message that changed which streams are remembered.
    State,
    /// A dead letter that somebody wants to be run again: a [`Rerun`].
    Rerun,
    /// No bytes: what was parked of a gateway and can be decoded by the program that has just started.
    /// It comes out with this entry, since the gateway may have nothing to say for long.
    Wake,
    /// A command that is about to be sent to the gateway: an [`Issued`].
    Command,
    /// A gateway's answer to a command, as it came.
    Result,
    /// Orders that are to hold at the gateway, as they will be sent.
    Orders,
    /// No bytes: everything of the cooperative, from here back, is to go. Its gateway is [`LogRecord::whole`].
    Delete,
}

/// A dead letter to be run again, with everything that is needed for it: the log stays readable by
/// itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerun {
    /// Its number in the cooperative's archive.
    pub id: i64,
    /// When the record came, Unix milliseconds: what it may say is judged by that.
    pub received_unix_ms: i64,
    /// The encoded record.
    pub bytes: Bytes,
}

/// A command as it is sent, and which one it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The one that the gateway found stale, if this is its repetition.
    pub instead_of: Option<CommandId>,
    /// The command.
    pub command: Command,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// What it is.
    pub kind: EntryKind,
    /// The authenticated sender.
    pub gateway: GatewayKey,
    /// Receive time in Unix milliseconds.
    pub received_unix_ms: i64,
    /// As they came.
    pub bytes: Bytes,
}

/// Why an entry can't be read, although its checksum is right: it is another program's.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// A kind of a newer program.
    #[error("log entry kind {0} is unknown")]
    Kind(u8),
    /// A version of a newer program.
    #[error("log entry version {0} is unknown")]
    Version(u8),
    /// Shorter than its own lengths say.
    #[error("log entry is cut short")]
    Truncated,
    /// A sender that is not an id.
    #[error("log entry has a malformed sender")]
    Sender(#[from] IdError),
    /// A command, a result or orders of a newer program.
    #[error("log entry has a body that can't be read")]
    Body(#[from] BodyError),
}

impl EntryKind {
    /// The journal's kind byte.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            EntryKind::Packet => 1,
            EntryKind::State => 2,
            EntryKind::Rerun => 3,
            EntryKind::Wake => 4,
            EntryKind::Command => 5,
            EntryKind::Result => 6,
            EntryKind::Orders => 7,
            EntryKind::Delete => 8,
        }
    }
}

impl LogRecord {
    /// What stands for the gateway in an entry that is about a whole cooperative, and means none.
    #[must_use]
    pub fn whole() -> GatewayId {
        "all".parse().expect("it is an id")
    }

    /// The entry's payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let ids = [
            self.gateway.cooperative.as_str(),
            self.gateway.gateway.as_str(),
        ];
        let mut out = Vec::with_capacity(11 + ids.concat().len() + self.bytes.len());
        out.push(VERSION);
        out.extend_from_slice(&self.received_unix_ms.to_le_bytes());
        for id in ids {
            out.push(u8::try_from(id.len()).expect("ids have at most 32 bytes"));
            out.extend_from_slice(id.as_bytes());
        }
        out.extend_from_slice(&self.bytes);
        out
    }

    /// Reads a payload of the journal.
    ///
    /// # Errors
    /// [`EntryError`] when it is not such an entry.
    pub fn decode(kind: u8, payload: Vec<u8>) -> Result<Self, EntryError> {
        let kind = match kind {
            1 => EntryKind::Packet,
            2 => EntryKind::State,
            3 => EntryKind::Rerun,
            4 => EntryKind::Wake,
            5 => EntryKind::Command,
            6 => EntryKind::Result,
            7 => EntryKind::Orders,
            8 => EntryKind::Delete,
            other => return Err(EntryError::Kind(other)),
        };
        let payload = Bytes::from(payload);
        let (version, rest) = payload.split_first().ok_or(EntryError::Truncated)?;
        if *version != VERSION {
            return Err(EntryError::Version(*version));
        }
        let (time, rest) = rest.split_first_chunk::<8>().ok_or(EntryError::Truncated)?;
        let (cooperative, rest) = take_id(rest)?;
        let (gateway, rest) = take_id(rest)?;
        let gateway = GatewayKey {
            cooperative: cooperative.parse()?,
            gateway: gateway.parse()?,
        };
        let received_unix_ms = i64::from_le_bytes(*time);
        Ok(Self {
            kind,
            gateway,
            received_unix_ms,
            bytes: payload.slice_ref(rest),
        })
    }
}

impl Rerun {
    /// The entry's bytes: number and receive time, i64 LE each, then the record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(16 + self.bytes.len());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.received_unix_ms.to_le_bytes());
        out.extend_from_slice(&self.bytes);
        out.into()
    }

    /// Reads the bytes of an entry.
    ///
    /// # Errors
    /// [`EntryError::Truncated`] when they are too short.
    pub fn decode(bytes: &Bytes) -> Result<Self, EntryError> {
        let (id, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or(EntryError::Truncated)?;
        let (time, rest) = rest.split_first_chunk::<8>().ok_or(EntryError::Truncated)?;
        Ok(Self {
            id: i64::from_le_bytes(*id),
            received_unix_ms: i64::from_le_bytes(*time),
            bytes: bytes.slice_ref(rest),
        })
    }
}

impl Issued {
    /// The entry's bytes: 0, or 1 and the other's id; then the command.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![u8::from(self.instead_of.is_some())];
        if let Some(CommandId(other)) = &self.instead_of {
            out.extend_from_slice(other);
        }
        out.extend_from_slice(&self.command.encode());
        out.into()
    }

    /// Reads the bytes of an entry.
    ///
    /// # Errors
    /// [`EntryError`] when they are too short, or hold no command that is known here.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let (repeats, rest) = bytes.split_first().ok_or(EntryError::Truncated)?;
        let (instead_of, rest) = if *repeats == 0 {
            (None, rest)
        } else {
            let (other, rest) = rest.split_first_chunk().ok_or(EntryError::Truncated)?;
            (Some(CommandId(*other)), rest)
        };
        let command = Command::decode(rest)?;
        Ok(Self {
            instead_of,
            command,
        })
    }
}

fn take_id(bytes: &[u8]) -> Result<(&str, &[u8]), EntryError> {
    let (length, rest) = bytes.split_first().ok_or(EntryError::Truncated)?;
    let (id, rest) = rest
        .split_at_checked(usize::from(*length))
        .ok_or(EntryError::Truncated)?;
    // What is not UTF-8 is no id either; its parser says so.
    Ok((std::str::from_utf8(id).unwrap_or("\u{fffd}"), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> LogRecord {
        LogRecord {
            kind: EntryKind::Packet,
            gateway: GatewayKey {
                cooperative: "hoa-binh".parse().unwrap(),
                gateway: "gw-01".parse().unwrap(),
            },
            received_unix_ms: 1_790_000_000_123,
            bytes: Bytes::from_static(b"packet"),
        }
    }

    #[test]
    fn round_trip_of_every_kind() {
        for kind in [
            EntryKind::Packet,
            EntryKind::State,
            EntryKind::Rerun,
            EntryKind::Wake,
            EntryKind::Command,
            EntryKind::Result,
            EntryKind::Orders,
            EntryKind::Delete,
        ] {
            let record = LogRecord { kind, ..record() };
            assert_eq!(
                LogRecord::decode(kind.code(), record.encode()).unwrap(),
                record
            );
        }
    }

    #[test]
    fn the_kinds_of_logs_that_are_out_there_keep_their_codes() {
        let kinds = [
            EntryKind::Packet,
            EntryKind::State,
            EntryKind::Rerun,
            EntryKind::Wake,
            EntryKind::Command,
            EntryKind::Result,
            EntryKind::Orders,
            EntryKind::Delete,
        ];
        assert_eq!(kinds.map(EntryKind::code), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn every_truncation_of_the_head_is_refused() {
        let bytes = record().encode();
        let head = bytes.len() - b"packet".len();
        for cut in 0..head {
            let error = LogRecord::decode(1, bytes[..cut].to_vec()).unwrap_err();
            assert!(
                matches!(error, EntryError::Truncated),
                "cut at {cut}: {error}"
            );
        }
    }

    #[test]
    fn a_rerun_round_trips_and_a_short_one_is_refused() {
        let rerun = Rerun {
            id: -2,
            received_unix_ms: 1_790_000_000_123,
            bytes: Bytes::from_static(b"record"),
        };
        let bytes = rerun.encode();
        assert_eq!(Rerun::decode(&bytes).unwrap(), rerun);
        for cut in 0..16 {
            assert!(Rerun::decode(&bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn an_issued_command_round_trips_and_a_short_one_is_refused() {
        let command = Command {
            id: CommandId([9; 16]),
            boot: furrow_wire::BootId(3),
            mono_ms: 77,
            issued_by: "hoa".into(),
            wanted: furrow_wire::Wanted::Hold { seconds: 60 },
        };
        for instead_of in [None, Some(CommandId([8; 16]))] {
            let issued = Issued {
                instead_of,
                command: command.clone(),
            };
            let bytes = issued.encode();
            assert_eq!(Issued::decode(&bytes).unwrap(), issued);
            for cut in 0..bytes.len() {
                assert!(Issued::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn strangers_are_named() {
        let mut bytes = record().encode();
        let error = |kind, bytes: &[u8]| {
            LogRecord::decode(kind, bytes.to_vec())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error(9, &bytes), "log entry kind 9 is unknown");
        bytes[10] = b'H';
        assert_eq!(error(1, &bytes), "log entry has a malformed sender");
        bytes[0] = 2;
        assert_eq!(error(1, &bytes), "log entry version 2 is unknown");
    }
}
