//! What people see of a forwarder.

use crate::metrics::{Counter, Gauge, Metrics};

/// How it goes with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It takes what comes.
    Forwarding,
    /// It is busy or away.
    Waiting,
    /// A person has to act.
    Denied,
    /// It gets everything from the archive.
    Copying,
}

impl Condition {
    fn code(self) -> u64 {
        match self {
            Condition::Forwarding => 0,
            Condition::Waiting => 1,
            Condition::Denied => 2,
            Condition::Copying => 3,
        }
    }
}

/// Figures of one forwarder.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    pub(super) readings: Counter,
    pub(super) refused: Counter,
    pub(super) faults: Counter,
    pub(super) restarts: Counter,
    lag_bytes: Gauge,
    lag_seconds: Gauge,
    condition: Gauge,
}

impl Figures {
    pub(super) fn new(metrics: &Metrics, store: &str) -> Self {
        let labels = &[("store", store)];
        Self {
            readings: metrics.counter(
                "furrow_store_readings_total",
                "Readings that a store took, repetitions included.",
                labels,
            ),
            refused: metrics.counter(
                "furrow_store_refused_total",
                "Readings that a store will never take.",
                labels,
            ),
            faults: metrics.counter(
                "furrow_store_faults_total",
                "Times a store did not take what it was offered.",
                labels,
            ),
            restarts: metrics.counter(
                "furrow_store_restarts_total",
                "Times a store began again from the archive.",
                labels,
            ),
            lag_bytes: metrics.gauge(
                "furrow_store_lag_bytes",
                "Bytes of the log that a store has still to get.",
                labels,
            ),
            lag_seconds: metrics.gauge(
                "furrow_store_lag_seconds",
                "Age of the newest reading that a store has, while there are newer ones; 0: none.",
                labels,
            ),
            condition: metrics.gauge(
                "furrow_store_condition",
                "0 forwards, 1 waits for the store, 2 a person has to act, 3 copies from the archive.",
                labels,
            ),
        }
    }

    pub(super) fn show(&self, condition: Condition) {
        self.condition.set(condition.code());
    }

    pub(super) fn show_lag(&self, bytes: u64, seconds: u64) {
        self.lag_bytes.set(bytes);
        self.lag_seconds.set(seconds);
    }
}
