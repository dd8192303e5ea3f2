//! The state machine of one rule on one series: ok → pending → firing → resolved.
//!
//! It owns the order of event time and what may be trusted. It does not know which series it watches.

use serde::{Deserialize, Serialize};

use crate::rule::{Condition, Rule};

/// Event time that a gateway covered: `[from_ms, to_ms)` in Unix milliseconds. Within it, what is not
/// there was not measured; outside, nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// First millisecond covered.
    pub from_ms: i64,
    /// First millisecond no longer covered.
    pub to_ms: i64,
}

/// One sample of the series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// The value in the channel's unit if its quality is good; `None` for every other quality.
    pub good: Option<f64>,
}

/// Where a machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is wrong as far as is known.
    #[default]
    Ok,
    /// The condition holds, but not for long enough.
    Pending {
        /// First sample that met it.
        since_ms: i64,
    },
    /// The alert is raised.
    Firing {
        /// Since when the condition holds.
        since_ms: i64,
    },
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// The condition began to hold.
    Pending,
    /// It ended, or could not be confirmed, before it had held for long enough. Nobody was told.
    Dropped,
    /// It has held for long enough: tell somebody.
    Firing,
    /// It is over: tell them.
    Resolved,
}

/// One step of a machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// What happened.
    pub kind: TransitionKind,
    /// When, in event time, Unix milliseconds.
    pub at_ms: i64,
    /// Since when the condition holds or held.
    pub since_ms: i64,
    /// The value that decided; `None` for absence.
    pub value: Option<f64>,
}

/// What an interval did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// In the order of event time.
    pub transitions: Vec<Transition>,
    /// Samples before the frontier, out of order, or outside the interval: looked at by nobody.
    pub ignored_samples: u64,
}

/// The state of one rule on one series. Serialise it with the data that it has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Everything before is history.
    frontier_ms: Option<i64>,
    phase: Phase,
    last_good_ms: Option<i64>,
    /// Since the last good sample something was bad, or was not covered.
    hole: bool,
    /// Covered time since the last good sample, and when it began.
    absent_ms: u64,
    absent_since_ms: Option<i64>,
}

impl Machine {
    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Up to where it has seen event time, in Unix milliseconds.
    #[must_use]
    pub fn frontier_ms(&self) -> Option<i64> {
        self.frontier_ms
    }

    /// Takes what a gateway covered. `samples` in ascending time.
    ///
    /// - What lies before the frontier is ignored and counted: late data and repeats never page.
    /// - Only good samples are evidence. A bad one, or time that was not covered, leaves a hole: a pending
    ///   condition survives a hole no longer than the rule's duration, or else starts anew at the next good sample,
    ///   because it was not observed to hold. A raised alert stays raised until a good sample clears it.
    /// - Absence counts covered time only: a gateway that is silent says nothing about its sensors.
    pub fn handle_interval(
        &mut self,
        rule: &Rule,
        interval: Interval,
        samples: &[Sample],
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let from_ms = self
            .frontier_ms
            .map_or(interval.from_ms, |f| f.max(interval.from_ms));
        if interval.to_ms <= from_ms {
            outcome.ignored_samples = samples.len() as u64;
            return outcome;
        }
        if self
            .frontier_ms
            .is_some_and(|frontier_ms| frontier_ms < interval.from_ms)
        {
            self.hole = true;
        }
        let mut next_ms = from_ms;
        let mut covered_ms = from_ms;
        for sample in samples {
            if sample.at_ms < next_ms || sample.at_ms >= interval.to_ms {
                outcome.ignored_samples += 1;
                continue;
            }
            next_ms = sample.at_ms.saturating_add(1);
            match sample.good.filter(|value| !value.is_nan()) {
                Some(value) => {
                    self.cover(rule, covered_ms, sample.at_ms, &mut outcome.transitions);
                    covered_ms = sample.at_ms;
                    self.take_good(rule, sample.at_ms, value, &mut outcome.transitions);
                }
                None => self.hole = true,
            }
        }
        self.cover(rule, covered_ms, interval.to_ms, &mut outcome.transitions);
        self.frontier_ms = Some(interval.to_ms);
        outcome
    }

    /// Covered time without a good sample.
    fn cover(&mut self, rule: &Rule, from_ms: i64, to_ms: i64, out: &mut Vec<Transition>) {
        let length_ms = u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0);
        if length_ms == 0 || rule.condition() != Condition::Absent {
            return;
        }
        let since_ms = *self.absent_since_ms.get_or_insert(from_ms);
        let before_ms = self.absent_ms;
        self.absent_ms = before_ms.saturating_add(length_ms);
        // Strictly more: a good sample at the very end of the duration still counts.
        if matches!(self.phase, Phase::Firing { .. }) || self.absent_ms <= rule.for_ms() {
            return;
        }
        let rest_ms = i64::try_from(rule.for_ms().saturating_sub(before_ms)).unwrap_or(i64::MAX);
        let at_ms = from_ms.saturating_add(rest_ms);
        self.phase = Phase::Firing { since_ms };
        out.push(Transition {
            kind: TransitionKind::Firing,
            at_ms,
            since_ms,
            value: None,
        });
    }

    fn take_good(&mut self, rule: &Rule, at_ms: i64, value: f64, out: &mut Vec<Transition>) {
        let mut step = |kind, since_ms| {
            let value = (rule.condition() != Condition::Absent).then_some(value);
            out.push(Transition {
                kind,
                at_ms,
                since_ms,
                value,
            });
        };
        let unobserved = self.hole
            && self
                .last_good_ms
                .is_some_and(|last_ms| elapsed_ms(last_ms, at_ms) > rule.for_ms());
        self.hole = false;
        self.last_good_ms = Some(at_ms);
        self.absent_ms = 0;
        self.absent_since_ms = None;
        let met = rule.condition().is_met(value);
        if let Phase::Pending { since_ms } = self.phase
            && (unobserved || !met)
        {
            self.phase = Phase::Ok;
            step(TransitionKind::Dropped, since_ms);
        }
        match self.phase {
            Phase::Ok if met && rule.for_ms() == 0 => {
                self.phase = Phase::Firing { since_ms: at_ms };
                step(TransitionKind::Firing, at_ms);
            }
            Phase::Ok if met => {
                self.phase = Phase::Pending { since_ms: at_ms };
                step(TransitionKind::Pending, at_ms);
            }
            Phase::Pending { since_ms } if elapsed_ms(since_ms, at_ms) >= rule.for_ms() => {
                self.phase = Phase::Firing { since_ms };
                step(TransitionKind::Firing, since_ms);
            }
            Phase::Firing { since_ms } if rule.condition().is_cleared(value) => {
                self.phase = Phase::Ok;
                step(TransitionKind::Resolved, since_ms);
            }
            Phase::Ok | Phase::Pending { .. } | Phase::Firing { .. } => {}
        }
    }
}

fn elapsed_ms(from_ms: i64, to_ms: i64) -> u64 {
    u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
