//! Alert rules and their evaluation in event time.
//!
//! One [`Machine`] watches one series under one [`Rule`]. It is fed intervals that a gateway covered and the
//! samples in them, and answers with transitions. It never asks what time it is: the same intervals
//! give the same transitions today, in a replay, and however they were cut into batches. What lies
//! before a machine's frontier is history: it is counted and changes nothing.
//!
//! This crate does not choose which series a rule is for, store state, or send messages.
//!
//! ```
//! use furrow_alerts::{Condition, Interval, Machine, Rule, Sample, TransitionKind};
//! let heat = Rule::new(Condition::Above { limit: 35.0, clear: 33.5 }, 600_000).unwrap();
//! let mut machine = Machine::default();
//! for minute in 0..=10 {
//!     let at_ms = minute * 60_000;
//!     let interval = Interval { from_ms: at_ms, to_ms: at_ms + 60_000 };
//!     let outcome = machine.handle_interval(&heat, interval, &[Sample { at_ms, good: Some(36.2) }]);
//!     let fired = outcome.transitions.iter().any(|t| t.kind == TransitionKind::Firing);
//!     assert_eq!(fired, minute == 10);
//! }
//! ```

mod machine;
mod rule;

pub use machine::{Interval, Machine, Outcome, Phase, Sample, Transition, TransitionKind};
pub use rule::{Condition, MAX_FOR_MS, Rule, RuleError, Severity};
