//! What is on the buses: addresses that answer, and what they say they are.
//!
//! Owns: which addresses are asked, in which order, and in steps of some milliseconds, so that the
//! thread of a bus in a running gateway can serve its devices in between. What is configured where is
//! the business of whoever asks. Nothing here changes a chip's outputs or its stored settings.

mod i2c;
mod identify;
mod serial;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bus::one_wire_ids;

pub use i2c::{Fault, I2cWalk, Place, walk};
pub use serial::SerialWalk;

/// Addresses of a serial line between two lines that tell how far a long search is.
pub const TOLD_EVERY: u8 = 25;

/// Something that answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Where.
    pub at: SeenAt,
    /// How.
    pub heard: Heard,
    /// What it is, for sure.
    pub identity: Option<Identity>,
    /// What more is known of it.
    pub detail: Detail,
}

/// Where something answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenAt {
    /// On an I2C bus.
    I2c {
        /// Address.
        address: u8,
        /// Multiplexer and channel that it sits behind.
        behind: Option<(u8, u8)>,
    },
    /// On 1-Wire, by its id.
    OneWire {
        /// As in the kernel's folder.
        rom: String,
    },
    /// On a serial line.
    Serial {
        /// Modbus address.
        slave: u8,
    },
}

/// How something answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// As it should.
    Answer,
    /// It refused the register that it was asked for.
    Refusal,
    /// With a wrong checksum, or in another's name.
    Noise,
}

/// What a chip is, for sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The kind in the configuration; `None` for a part that can't be configured.
    pub kind: Option<String>,
    /// Part and serial number or version, for people.
    pub text: String,
    /// It is a multiplexer: there may be more behind it.
    pub is_mux: bool,
}

/// What is worth knowing of some parts beside what they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Nothing.
    None,
    /// Volts at the inputs of a converter, where they could be read.
    Inputs(Vec<Option<f64>>),
    /// Outputs of a drip controller.
    Outputs(u8),
    /// A probe's first holding registers.
    Registers(Vec<u16>),
}

/// Which addresses of a serial line are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Addresses {
    /// Those that are configured.
    Configured,
    /// From 1 to this one; each that is silent takes a time-out.
    UpTo(u8),
}

/// What comes after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one, so many milliseconds later.
    After {
        /// Other jobs of the bus come first.
        ms: u32,
    },
    /// Nothing: all was asked.
    Done,
}

/// The kernel's 1-Wire sensors.
///
/// # Errors
/// The folder can't be read, for people.
pub fn one_wire(root: &Path) -> Result<Vec<Seen>, String> {
    let ids = one_wire_ids(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let seen = ids.into_iter().map(|rom| Seen {
        at: SeenAt::OneWire { rom },
        heard: Heard::Answer,
        identity: Some(Identity {
            kind: Some("ds18b20".to_owned()),
            text: "DS18B20".to_owned(),
            is_mux: false,
        }),
        detail: Detail::None,
    });
    Ok(seen.collect())
}
