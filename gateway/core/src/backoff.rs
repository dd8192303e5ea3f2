//! A device that keeps failing is asked less often, so that its retries and timeouts don't take the
//! bus from the others.
//!
//! Its ticks stay, and each still gives a failed sample: only the bus is not asked. The pause is
//! bounded, so that a device that was plugged in again shows within a minute.

use crate::FieldMs;
use crate::health::FAULT_AFTER;

/// Longest pause, in milliseconds: what a technician waits at the sensor without doubting it.
pub const PAUSE_MAX_MS: u64 = 60_000;
/// First pause, in milliseconds; each further failure doubles it.
pub const PAUSE_MIN_MS: u64 = 2_000;

/// Of one device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    failed: u32,
    /// Not to be asked before.
    until: Option<FieldMs>,
}

impl Backoff {
    /// A reading failed, in all channels.
    pub fn handle_failed(&mut self, now: FieldMs) {
        self.failed = self.failed.saturating_add(1);
        let doubled = self.failed.checked_sub(FAULT_AFTER);
        self.until = doubled.map(|times| {
            let pause = PAUSE_MIN_MS.checked_shl(times.min(32)).unwrap_or(u64::MAX);
            now.plus(pause.min(PAUSE_MAX_MS))
        });
    }

    /// A reading succeeded, at least in part.
    pub fn handle_good(&mut self) {
        *self = Self::default();
    }

    /// Whether the device is to be left alone at `now`.
    #[must_use]
    pub fn is_pausing(&self, now: FieldMs) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When it is asked again, if it is left alone.
    #[must_use]
    pub fn until(&self) -> Option<FieldMs> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_one_good_reading_ends_them() {
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            backoff.handle_failed(FieldMs(1_000));
            pauses.push(backoff.until().map(|until| until.since(FieldMs(1_000))));
        }
        let expected = [0, 0, 2, 4, 8, 16, 32, 60, 60, 60].map(|s| (s > 0).then_some(s * 1_000));
        assert_eq!(pauses, expected);
        assert!(backoff.is_pausing(FieldMs(60_999)) && !backoff.is_pausing(FieldMs(61_000)));
        backoff.handle_good();
        assert!(!backoff.is_pausing(FieldMs(1_001)));
        for _ in 0..100 {
            backoff.handle_failed(FieldMs(u64::MAX));
        }
        assert_eq!(backoff.until(), Some(FieldMs(u64::MAX)));
    }
}
