//! Relays of the zone valves: two boards at port expanders, plain ones at pins, and the watchdog of
//! their supply.
//!
//! A zone's valve is open while any of its relays, or the drip controller, feeds it.

use crate::layout::{RELAY_PINS, RELAY_WATCHDOG_PIN};

/// The supply's watchdog lets go this long after the last edge of its line, ns.
const WATCHDOG_NS: u64 = 3_000_000_000;

/// All relays of a site, by zone: bit z is zone z + 1.
#[derive(Debug, Default)]
pub(super) struct Relays {
    /// Closed contacts.
    contacts: u8,
    /// Contacts that do not open any more once they are closed.
    welded: u8,
    /// The supply's watchdog is bridged until its first edge.
    watchdog: Option<Watchdog>,
}

#[derive(Debug, Clone, Copy)]
struct Watchdog {
    high: bool,
    fed_ns: u64,
    cut: bool,
}

/// Why contacts changed.
pub(super) const BY_RELAY: &str = "relay";
/// The watchdog took the supply away, or gave it back.
pub(super) const BY_SUPPLY: &str = "relay-supply";

impl Relays {
    /// When the supply goes by itself.
    pub(super) fn next_event_ns(&self) -> Option<u64> {
        let watchdog = self.watchdog.filter(|watchdog| !watchdog.cut)?;
        Some(watchdog.fed_ns.saturating_add(WATCHDOG_NS))
    }

    /// `now_ns` must not lie beyond the next event.
    pub(super) fn advance(&mut self, now_ns: u64) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.cut |= now_ns.saturating_sub(watchdog.fed_ns) >= WATCHDOG_NS;
        }
    }

    /// A pin was driven.
    pub(super) fn handle_pin(&mut self, pin: u8, high: bool, now_ns: u64) {
        if pin != RELAY_WATCHDOG_PIN {
            return;
        }
        let is_edge = self.watchdog.is_none_or(|watchdog| watchdog.high != high);
        if is_edge {
            self.watchdog = Some(Watchdog {
                high,
                fed_ns: now_ns,
                cut: false,
            });
        }
    }

    /// The machine lost its power: its pins float.
    pub(super) fn handle_power_cut(&mut self) {
        self.watchdog = None;
    }

    /// The contact of a zone welds when it is closed, or opens again.
    pub(super) fn set_welded(&mut self, zone: usize, welded: bool) {
        let bit = 1_u8
            .checked_shl(u32::try_from(zone).unwrap_or(u32::MAX))
            .unwrap_or_default();
        if welded {
            self.welded |= bit;
        } else {
            self.welded &= !bit;
        }
    }

    /// The coils are driven like this; gives the contacts that changed and why.
    pub(super) fn settle(&mut self, driven: u8) -> (u8, &'static str) {
        let cut = self.is_cut();
        let coils = if cut { 0 } else { driven };
        let before = self.contacts;
        self.contacts = coils | before & self.welded;
        let why = if cut { BY_SUPPLY } else { BY_RELAY };
        (before ^ self.contacts, why)
    }

    pub(super) fn contacts(&self) -> u8 {
        self.contacts
    }

    /// Whether the watchdog holds the supply back.
    pub(super) fn is_cut(&self) -> bool {
        self.watchdog.is_some_and(|watchdog| watchdog.cut)
    }
}

/// Relays at pins are on while their pin is high.
pub(super) fn at_pins(is_high: impl Fn(u8) -> bool) -> u8 {
    let pins = RELAY_PINS.iter().rev();
    pins.fold(0, |mask, pin| mask << 1 | u8::from(is_high(*pin)))
}
