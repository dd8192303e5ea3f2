//! The outputs that the guard owns, as they are configured.

use std::path::PathBuf;
use std::time::Duration;

use super::device::Level;
use super::settings::BusSettings;

/// Everything that the guard needs. Only the guard opens these lines and addresses.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// Where it listens.
    pub socket: PathBuf,
    /// At least one.
    pub outputs: Vec<GuardOutput>,
    /// The line that keeps the relays' supply on.
    pub watchdog: Option<WatchdogLine>,
}

/// One relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardOutput {
    /// 1 to 32: zones name it.
    pub number: u8,
    /// For people.
    pub name: String,
    /// Place of its bus.
    pub bus: usize,
    /// Where on the bus.
    pub at: OutputAt,
    /// The level that switches it on.
    pub active: Level,
}

/// Where a relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputAt {
    /// A GPIO line.
    Line(u8),
    /// A pin of an MCP23017.
    Mcp23017 {
        /// 0x20 to 0x27.
        address: u8,
        /// 0 to 7 is port A, 8 to 15 port B.
        pin: u8,
    },
    /// A pin of a PCF8574 or PCF8574A.
    Pcf8574 {
        /// 0x20 to 0x27 or 0x38 to 0x3F.
        address: u8,
        /// 0 to 7.
        pin: u8,
    },
}

/// A line that changes its level while the guard is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogLine {
    /// Place of its bus.
    pub bus: usize,
    /// BCM number, or line of the bus's chip.
    pub line: u8,
    /// From one edge to the next.
    pub period: Duration,
}

impl OutputAt {
    /// The address of its chip, if it is at one.
    #[must_use]
    pub fn address(&self) -> Option<u8> {
        match self {
            OutputAt::Line(_) => None,
            OutputAt::Mcp23017 { address, .. } | OutputAt::Pcf8574 { address, .. } => {
                Some(*address)
            }
        }
    }

    /// As in the configuration.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            OutputAt::Line(_) => "gpio",
            OutputAt::Mcp23017 { .. } => "mcp23017",
            OutputAt::Pcf8574 { .. } => "pcf8574",
        }
    }

    /// For people: `GPIO 12`, `mcp23017 0x20 pin 3`.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            OutputAt::Line(line) => format!("GPIO {line}"),
            OutputAt::Mcp23017 { address, pin } | OutputAt::Pcf8574 { address, pin } => {
                format!("{} {address:#04x} pin {pin}", self.kind())
            }
        }
    }
}

/// What the guard reads of the configuration: mistakes elsewhere do not keep it from closing valves.
#[derive(Debug, Clone)]
pub struct GuardPart {
    /// All buses; outputs name theirs by its place.
    pub buses: Vec<BusSettings>,
    /// The outputs.
    pub guard: GuardSettings,
}
