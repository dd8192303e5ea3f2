//! What one step of a reading led to.
//!
//! A chip that needs time for a conversion is started and left alone: the caller comes back, and
//! other chips on the bus are served meanwhile.

/// What a step led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<T> {
    /// The chip needs time; nothing to read before `until_ms`.
    Wait {
        /// On the clock of the caller, in milliseconds.
        until_ms: u64,
    },
    /// The reading.
    Reading(T),
}

impl<T> Step<T> {
    /// Nothing to read for so many whole milliseconds after `now_ms`, which is itself rounded down.
    pub(crate) fn after(now_ms: u64, ms: u64) -> Self {
        let until_ms = now_ms.saturating_add(ms).saturating_add(1);
        Self::Wait { until_ms }
    }
}
