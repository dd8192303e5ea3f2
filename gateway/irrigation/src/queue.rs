//! Runs that wait: for the pump, for their soak.

use crate::{Amount, Cause};

/// A run that waits; at most one a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) zone: usize,
    pub(crate) cause: Cause,
    pub(crate) rule: Option<usize>,
    pub(crate) amount: Amount,
    pub(crate) since_ms: u64,
    /// The soak.
    pub(crate) not_before_ms: u64,
    pub(crate) priority: u8,
}

/// First by priority, then by age.
#[derive(Debug, Default)]
pub(crate) struct Queue(Vec<Waiting>);

impl Queue {
    /// Puts a run in its place. Answers whether its zone had none.
    pub(crate) fn push(&mut self, waiting: Waiting) -> bool {
        if self.has(waiting.zone) {
            return false;
        }
        let place = self
            .0
            .iter()
            .position(|other| other.priority < waiting.priority)
            .unwrap_or(self.0.len());
        self.0.insert(place, waiting);
        true
    }

    pub(crate) fn has(&self, zone: usize) -> bool {
        self.0.iter().any(|waiting| waiting.zone == zone)
    }

    /// Forgets a zone's run. Answers whether there was one.
    pub(crate) fn remove(&mut self, zone: usize) -> Option<Waiting> {
        let place = self.0.iter().position(|waiting| waiting.zone == zone)?;
        Some(self.0.remove(place))
    }

    /// Forgets a zone's run if a rule wanted it.
    pub(crate) fn remove_of_rule(&mut self, zone: usize, rule: usize) {
        self.0
            .retain(|waiting| waiting.zone != zone || waiting.rule != Some(rule));
    }

    /// All, to be pushed back where they still wait.
    pub(crate) fn take(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the next soak ends.
    pub(crate) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let soaks = self.0.iter().map(|waiting| waiting.not_before_ms);
        soaks.filter(|end_ms| *end_ms > now_ms).min()
    }
}
