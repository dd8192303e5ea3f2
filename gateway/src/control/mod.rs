//! The control socket: how people at the gateway talk to the running process.
//!
//! JSON lines over a Unix socket in the state folder, which only its owner can open. One question a
//! connection; `water` is answered by several lines, until the run has ended.

pub mod client;
pub mod server;

use furrow_wire::ZoneId;
use serde::{Deserialize, Serialize};

/// Longest line in either direction, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Everything at a glance.
    Status,
    /// What the journal holds and what waits.
    Journal,
    /// Water a zone.
    Water {
        /// Which.
        zone: ZoneId,
        /// How long, in milliseconds.
        for_ms: u64,
    },
    /// Stop watering a zone.
    Stop {
        /// Which.
        zone: ZoneId,
    },
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The answer to [`Ask::Status`] or [`Ask::Journal`].
    Report {
        /// As documented in the operator's guide.
        report: serde_json::Value,
    },
    /// The run was accepted and begins as soon as its controller has been checked.
    Accepted {
        /// Its number.
        run: u64,
    },
    /// The valve is open.
    Opened,
    /// The run goes on.
    Progress {
        /// Milliseconds until it ends.
        left_ms: u64,
        /// Water so far, in thousandths of a litre.
        millilitres: Option<u64>,
    },
    /// The valve is closed.
    Closed {
        /// How long it was open, in milliseconds.
        open_ms: u64,
        /// Water, in thousandths of a litre.
        millilitres: Option<u64>,
        /// Why it ended.
        end: furrow_wire::EndReason,
    },
    /// The answer to [`Ask::Stop`].
    Stopping {
        /// Whether there was anything to stop.
        was_running: bool,
    },
    /// The question was refused, or the run did not begin.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_are_what_they_look_like() {
        let ask = Ask::Water {
            zone: "zone-1".parse().unwrap(),
            for_ms: 60_000,
        };
        let text = r#"{"ask":"water","zone":"zone-1","for_ms":60000}"#;
        assert_eq!(serde_json::to_string(&ask).unwrap(), text);
        assert_eq!(serde_json::from_str::<Ask>(text).unwrap(), ask);
        assert_eq!(
            serde_json::from_str::<Ask>(r#"{"ask":"status"}"#).unwrap(),
            Ask::Status
        );
        assert!(serde_json::from_str::<Ask>(r#"{"ask":"open_all"}"#).is_err());
        let answer = Answer::Accepted { run: 7 };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"answer":"accepted","run":7}"#
        );
    }
}
