//! When to try a store again.

use std::time::Duration;

use crate::store::StoreFault;

/// Longest wait that a store can ask for.
const ASKED_MOST: Duration = Duration::from_secs(600);

/// How fast a forwarder goes. Tests go faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Least time between two writes. What one request carries grows with it: gateways send every minute, so a second
    /// more matters to nobody, and a store takes a thousand readings at once for the price of one.
    pub between_writes: Duration,
    /// First wait after a store was busy or away; it doubles from there.
    pub retry_first: Duration,
    /// Longest wait: how late a store that came back is found.
    pub retry_longest: Duration,
    /// How often the store is looked at, and its place stored. Well below the time for which a store may forget, so that
    /// none can die and come back unseen in it.
    pub look_every: Duration,
    /// Wait where a person has to act first: how late the person's act is found.
    pub retry_denied: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            between_writes: Duration::from_secs(1),
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(60),
            look_every: Duration::from_secs(10),
            retry_denied: Duration::from_secs(30),
        }
    }
}

/// How often in a row a store failed.
#[derive(Debug)]
pub(super) struct Backoff {
    pace: Pace,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, failures: 0 }
    }

    /// It took something.
    pub(super) fn handle_success(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after this fault. `random` is drawn from 0..1: stores that went down together are not all
    /// asked in the same moment.
    pub(super) fn handle_fault(&mut self, fault: &StoreFault, random: f64) -> Duration {
        let doubled = self
            .pace
            .retry_first
            .saturating_mul(1 << self.failures.min(16));
        let doubled = doubled.min(self.pace.retry_longest);
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        match fault {
            StoreFault::Busy {
                retry_after: Some(asked),
                ..
            } => wait.max((*asked).min(ASKED_MOST)),
            StoreFault::Busy {
                retry_after: None, ..
            } => wait,
            StoreFault::Denied { .. } | StoreFault::Refused { .. } => {
                wait.max(self.pace.retry_denied)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(retry_after: Option<u64>) -> StoreFault {
        StoreFault::Busy {
            reason: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn waits_double_to_a_bound_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Pace::default());
        let mut next = || backoff.handle_fault(&busy(None), 1.0).as_secs();
        let waits: Vec<u64> = (0..9).map(|_| next()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.handle_success();
        assert_eq!(backoff.handle_fault(&busy(None), 0.0).as_millis(), 500);
    }

    #[test]
    fn what_a_store_asks_for_is_kept_to_a_bound() {
        let wait = |fault| {
            Backoff::new(Pace::default())
                .handle_fault(&fault, 1.0)
                .as_secs()
        };
        assert_eq!(wait(busy(Some(7))), 7);
        assert_eq!(wait(busy(Some(100_000))), 600);
        let reason = String::new();
        assert_eq!(wait(StoreFault::Denied { reason }), 30);
    }
}
