//! The control socket: how people at the gateway talk to the running process.
//!
//! JSON lines over a Unix socket in the state folder, which only its owner can open. One question a
//! connection; `water` is answered by several lines, until the run has ended.

pub mod client;
pub mod server;

use std::path::PathBuf;

use furrow_wire::{ChannelName, DeviceId, Quality, ZoneId};
use serde::{Deserialize, Serialize};

use crate::calibrations::Entry;
use crate::survey::{Addresses, Seen};

/// Longest line in either direction, in bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// Channels in one line of an answer: with the longest texts some 40 KB.
pub const CHANNELS_A_LINE: usize = 64;
/// Most readings that one question may ask for: with half a second between them most of a minute.
pub const READINGS_MAX: u32 = 100;

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
    /// Stop all watering, and let none begin for a while.
    Hold {
        /// How long, in milliseconds.
        for_ms: u64,
    },
    /// Let watering begin again.
    Release,
    /// Unlock what a fault has locked.
    Reset,
    /// Silence the siren for a while.
    Silence {
        /// How long, in milliseconds.
        for_ms: u64,
    },
    /// What was lately watered, decided and found wrong.
    Recent,
    /// The latest sample of every channel, and everything at a glance.
    Watch,
    /// Read a device now, beside its schedule; a sensor that can't be hurried gives what its schedule
    /// gives.
    Read {
        /// Which.
        device: DeviceId,
        /// How often, 1 to [`READINGS_MAX`].
        readings: u32,
    },
    /// Look at every address of every bus, between the readings.
    Scan {
        /// Of serial lines.
        addresses: Addresses,
    },
    /// A calibration was written to the file: take it up.
    Calibrate {
        /// What was written.
        entry: Box<Entry>,
    },
}

/// A line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The answer to [`Ask::Status`] or [`Ask::Journal`]; the last line of that to [`Ask::Watch`].
    Report {
        /// As documented in the operator's guide.
        report: serde_json::Value,
    },
    /// The run was accepted and begins as soon as its controller has been checked.
    Accepted {
        /// Its number.
        run: u64,
    },
    /// It was done.
    Done {
        /// What, for people.
        text: String,
    },
    /// The answer to [`Ask::Recent`]: the latest events, oldest first.
    Recent {
        /// As in the journal.
        events: Vec<serde_json::Value>,
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
    /// Some of the answer to [`Ask::Watch`]: channels in the order of the catalog.
    Samples {
        /// At most [`CHANNELS_A_LINE`].
        samples: Vec<ChannelNow>,
    },
    /// One reading of [`Ask::Read`].
    Readings {
        /// All channels of the device, in order.
        readings: Vec<RawReading>,
    },
    /// A line of the answer to [`Ask::Scan`].
    Survey {
        /// See there.
        line: SurveyLine,
    },
    /// The answer to [`Ask::Calibrate`].
    Calibrated {
        /// Version of the device's calibrations from now on.
        version: u32,
    },
    /// The question was refused, or the run did not begin.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// A bus that is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusAt {
    /// Its id.
    pub id: String,
    /// Its number, where it is I2C.
    pub i2c: Option<u8>,
    /// Its port, where it is a serial line.
    pub port: Option<PathBuf>,
}

/// What is on the buses, as it is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum SurveyLine {
    /// The first line.
    Scanning {
        /// All that are looked at.
        buses: Vec<BusAt>,
    },
    /// Some of what answers.
    Seen {
        /// On which bus, by its id.
        bus: String,
        /// At most one for each address that one step asks.
        seen: Vec<Seen>,
    },
    /// A long search of a serial line goes on.
    Looking {
        /// Which, by its id.
        bus: String,
        /// The address that it has come to.
        slave: u8,
    },
    /// All was asked on a bus; so often as [`SurveyLine::Scanning`] said.
    Scanned {
        /// Which, by its id.
        bus: String,
        /// Why it gave no answers, for people.
        problem: Option<String>,
    },
}

/// The latest sample of a channel. Qualities that carry no value have none here either.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelNow {
    /// Whose.
    pub device: DeviceId,
    /// Which.
    pub channel: ChannelName,
    /// UCUM or SenML code.
    pub unit: String,
    /// The value, in the unit.
    pub value: Option<f64>,
    /// Decimals of the value.
    pub decimals: u8,
    /// What it is worth; `None` before the first sample.
    pub quality: Option<Quality>,
    /// Why it is not good.
    pub reason: Option<String>,
    /// Milliseconds since the sample.
    pub age_ms: Option<u64>,
    /// Version of the device's calibrations, 0 for none.
    pub calibration: u32,
}

/// One channel of a reading that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RawReading {
    /// Which.
    pub channel: ChannelName,
    /// What the driver gave, before any calibration: volts for a moisture probe, otherwise the
    /// channel's unit. An exact decimal.
    pub raw: Option<String>,
    /// The calibrated value, an exact decimal in the channel's unit.
    pub value: Option<String>,
    /// Why there is no raw value, or no calibrated one.
    pub error: Option<String>,
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
