//! What a person far away wants now, and what became of it.
//!
//! A command quotes the boot and the monotonic time that the gateway last published: a gateway refuses
//! one that is of another boot or too old, whatever held it up. Its result quotes the gateway's own boot
//! and time, so that whoever still wants it can ask again at once.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::event::{cut, parse_id};
use crate::ids::{BootId, ZoneId};
use crate::{BodyError, decode_message, proto};

/// A command is refused when more of the gateway's own monotonic time than this has passed since the
/// time that it quotes, in milliseconds.
pub const COMMAND_MAX_AGE_MS: u64 = 60_000;
/// Longest command and result, in bytes.
pub const MAX_COMMAND_BYTES: usize = 4 * 1_024;
/// Bytes of an id.
const ID_BYTES: usize = 16;

/// Names one command: random, single use.
///
/// ```
/// use furrow_wire::CommandId;
/// assert_eq!(CommandId([7; 16]).to_string(), "07070707070707070707070707070707");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub [u8; ID_BYTES]);

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wanted {
    /// Water for a zone.
    OpenZone {
        /// Which.
        zone: ZoneId,
        /// For so long, in seconds; then it ends by itself.
        seconds: u32,
    },
    /// No more water for a zone.
    StopZone {
        /// Which.
        zone: ZoneId,
    },
    /// No water at all.
    Hold {
        /// For so long, in seconds.
        seconds: u32,
    },
    /// The end of a hold from afar.
    Release,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub id: CommandId,
    /// The boot that the gateway last published.
    pub boot: BootId,
    /// The monotonic time that it last published, in milliseconds.
    pub mono_ms: u64,
    /// Who wants it, for the journal.
    pub issued_by: String,
    /// What is wanted.
    pub wanted: Wanted,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    /// It is being done.
    Accepted,
    /// It is not done.
    Refused,
    /// It is of another boot, or too old, and not done.
    Stale,
}

/// A gateway's answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// Which command.
    pub id: CommandId,
    /// What became of it.
    pub outcome: CommandOutcome,
    /// Why it is not done, for people.
    pub text: String,
    /// The gateway's boot.
    pub boot: BootId,
    /// Its monotonic time, in milliseconds.
    pub at_mono_ms: u64,
    /// The run that it began.
    pub run: Option<u64>,
}

impl Command {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use proto::command::{Hold, OpenZone, Release, StopZone, What};
        let what = match &self.wanted {
            Wanted::OpenZone { zone, seconds } => What::OpenZone(OpenZone {
                zone: zone.to_string(),
                seconds: *seconds,
            }),
            Wanted::StopZone { zone } => What::StopZone(StopZone {
                zone: zone.to_string(),
            }),
            Wanted::Hold { seconds } => What::Hold(Hold { seconds: *seconds }),
            Wanted::Release => What::Release(Release {}),
        };
        proto::Command {
            id: self.id.0.to_vec(),
            boot: self.boot.0,
            mono_ms: self.mono_ms,
            issued_by: cut(&self.issued_by),
            what: Some(what),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BodyError`] when it is no command, or one of a newer version.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        use proto::command::What;
        let raw: proto::Command = decode_short("command", body)?;
        let wanted = match raw.what {
            Some(What::OpenZone(open)) => Wanted::OpenZone {
                zone: parse_id("command", "zone", &open.zone)?,
                seconds: open.seconds,
            },
            Some(What::StopZone(stop)) => Wanted::StopZone {
                zone: parse_id("command", "zone", &stop.zone)?,
            },
            Some(What::Hold(hold)) => Wanted::Hold {
                seconds: hold.seconds,
            },
            Some(What::Release(_)) => Wanted::Release,
            None => {
                let reason = "of a newer version";
                return Err(BodyError::invalid("command", "wish", reason));
            }
        };
        Ok(Self {
            id: id_of("command", &raw.id)?,
            boot: BootId(raw.boot),
            mono_ms: raw.mono_ms,
            issued_by: raw.issued_by,
            wanted,
        })
    }
}

impl CommandResult {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use proto::command_result::Outcome;
        let outcome = match self.outcome {
            CommandOutcome::Accepted => Outcome::Accepted,
            CommandOutcome::Refused => Outcome::Refused,
            CommandOutcome::Stale => Outcome::Stale,
        };
        proto::CommandResult {
            id: self.id.0.to_vec(),
            outcome: outcome.into(),
            text: cut(&self.text),
            at_mono_ms: self.at_mono_ms,
            boot: self.boot.0,
            run: self.run,
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BodyError`] when it is no result, or one of a newer version.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        use proto::command_result::Outcome;
        let raw: proto::CommandResult = decode_short("command result", body)?;
        let outcome = match Outcome::try_from(raw.outcome) {
            Ok(Outcome::Accepted) => CommandOutcome::Accepted,
            Ok(Outcome::Refused) => CommandOutcome::Refused,
            Ok(Outcome::Stale) => CommandOutcome::Stale,
            Ok(Outcome::Unspecified) | Err(_) => {
                let reason = format!("unknown code {}", raw.outcome);
                return Err(BodyError::invalid("command result", "outcome", reason));
            }
        };
        Ok(Self {
            id: id_of("command result", &raw.id)?,
            outcome,
            text: raw.text,
            boot: BootId(raw.boot),
            at_mono_ms: raw.at_mono_ms,
            run: raw.run,
        })
    }
}

fn decode_short<M: Message + Default>(name: &'static str, body: &[u8]) -> Result<M, BodyError> {
    if body.len() > MAX_COMMAND_BYTES {
        let reason = format!("{} bytes (must be at most {MAX_COMMAND_BYTES})", body.len());
        return Err(BodyError::invalid(name, "length", reason));
    }
    decode_message(name, body)
}

fn id_of(message: &'static str, bytes: &[u8]) -> Result<CommandId, BodyError> {
    let id = bytes.try_into().map(CommandId);
    id.map_err(|_| {
        let reason = format!("{} bytes (must be {ID_BYTES})", bytes.len());
        BodyError::invalid(message, "id", reason)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn commands() -> Vec<Command> {
        let zone: ZoneId = "zone-1".parse().unwrap();
        let wanted = [
            Wanted::OpenZone {
                zone: zone.clone(),
                seconds: 600,
            },
            Wanted::StopZone { zone },
            Wanted::Hold { seconds: 1_800 },
            Wanted::Release,
        ];
        let command = |wanted| Command {
            id: CommandId([9; 16]),
            boot: BootId(3),
            mono_ms: 77,
            issued_by: "chị Hoa".into(),
            wanted,
        };
        wanted.map(command).to_vec()
    }

    fn results() -> Vec<CommandResult> {
        let outcomes = [
            CommandOutcome::Accepted,
            CommandOutcome::Refused,
            CommandOutcome::Stale,
        ];
        let result = |outcome| CommandResult {
            id: CommandId([9; 16]),
            outcome,
            text: "tank is empty".into(),
            boot: BootId(3),
            at_mono_ms: 78,
            run: (outcome == CommandOutcome::Accepted).then_some(4),
        };
        outcomes.map(result).to_vec()
    }

    #[test]
    fn all_round_trip() {
        for command in commands() {
            assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
        for result in results() {
            assert_eq!(CommandResult::decode(&result.encode()), Ok(result));
        }
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let raw = |id: Vec<u8>, what| proto::Command {
            id,
            what,
            ..proto::Command::default()
        };
        let release = || Some(proto::command::What::Release(proto::command::Release {}));
        let stop = proto::command::StopZone {
            zone: "Zone 1".into(),
        };
        let stop = Some(proto::command::What::StopZone(stop));
        for (what, raw) in [
            ("short id", raw(vec![1; 15], release())),
            ("newer", raw(vec![1; 16], None)),
            ("no zone id", raw(vec![1; 16], stop)),
        ] {
            assert!(Command::decode(&raw.encode_to_vec()).is_err(), "{what}");
        }
        let long = vec![0; MAX_COMMAND_BYTES + 1];
        assert!(Command::decode(&long).is_err());
        let unknown = proto::CommandResult {
            id: vec![1; 16],
            outcome: 9,
            ..proto::CommandResult::default()
        };
        assert!(CommandResult::decode(&unknown.encode_to_vec()).is_err());
    }

    proptest! {
        #[test]
        fn damaged_ones_never_panic(at in any::<prop::sample::Index>(), byte: u8) {
            for body in commands().iter().map(Command::encode).chain(results().iter().map(CommandResult::encode)) {
                let mut body = body.to_vec();
                let at = at.index(body.len());
                body[at] = byte;
                Command::decode(&body).ok();
                CommandResult::decode(&body).ok();
            }
        }
    }
}
