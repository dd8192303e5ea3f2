//! Buttons at the gateway, as they are configured.

use furrow_irrigation::ZoneIndex;

/// A button at the gateway: a contact that is 1 while it is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ButtonSettings {
    /// Its place in the catalog.
    pub channel: usize,
    /// What it does.
    pub does: ButtonDoes,
}

/// What a button does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ButtonDoes {
    /// Stops all watering.
    Stop {
        /// For so long, in milliseconds; longer while it stays pressed.
        hold_ms: u64,
    },
    /// Waters a zone.
    Water {
        /// Which.
        zone: ZoneIndex,
        /// For so long, in milliseconds.
        for_ms: u64,
    },
    /// Silences what sounds.
    Silence {
        /// For so long, in milliseconds.
        for_ms: u64,
    },
}
