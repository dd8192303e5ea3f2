//! When a contact has come to rest.
//!
//! A contact bounces for some milliseconds, a float switch on waves for longer. A new level counts
//! once it was seen twice, the given time apart, without the old one in between.

use crate::FieldMs;

/// One contact.
#[derive(Debug, Clone)]
pub struct Debounce {
    hold_ms: u64,
    rest: Option<bool>,
    candidate: Option<(bool, FieldMs)>,
}

/// What a look at the contact led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settling {
    /// It rests at this level.
    Rest(bool),
    /// To be looked at again then.
    Until(FieldMs),
}

impl Debounce {
    /// A contact whose level counts after `hold_ms`.
    #[must_use]
    pub fn new(hold_ms: u64) -> Self {
        Self {
            hold_ms,
            rest: None,
            candidate: None,
        }
    }

    /// The contact has this level now.
    pub fn handle_level(&mut self, level: bool, now: FieldMs) -> Settling {
        if self.rest == Some(level) {
            self.candidate = None;
            return Settling::Rest(level);
        }
        let since = match self.candidate {
            Some((candidate, since)) if candidate == level => since,
            Some(_) | None => now,
        };
        if now.since(since) >= self.hold_ms && (self.candidate.is_some() || self.hold_ms == 0) {
            self.rest = Some(level);
            self.candidate = None;
            return Settling::Rest(level);
        }
        self.candidate = Some((level, since));
        Settling::Until(since.plus(self.hold_ms))
    }

    /// Nothing is known any more: it could not be read.
    pub fn forget(&mut self) {
        self.rest = None;
        self.candidate = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels at times, and what they lead to: a level at rest, or the time to look again.
    #[track_caller]
    fn check(hold_ms: u64, steps: &[(u64, bool, Result<bool, u64>)]) {
        let mut contact = Debounce::new(hold_ms);
        for (at, level, expected) in steps {
            let found = match contact.handle_level(*level, FieldMs(*at)) {
                Settling::Rest(level) => Ok(level),
                Settling::Until(until) => Err(until.0),
            };
            assert_eq!(found, *expected, "at {at} ms");
        }
    }

    #[test]
    fn a_level_counts_when_it_was_seen_twice() {
        check(
            50,
            &[
                (0, true, Err(50)),
                (49, true, Err(50)),
                (50, true, Ok(true)),
                (1_000, true, Ok(true)),
                (2_000, false, Err(2_050)),
                (2_060, false, Ok(false)),
            ],
        );
    }

    #[test]
    fn bounces_do_not_count() {
        check(
            50,
            &[
                (0, true, Err(50)),
                (50, true, Ok(true)),
                (1_000, false, Err(1_050)),
                // Back at the old level: nothing has changed.
                (1_010, true, Ok(true)),
                (1_020, false, Err(1_070)),
                (1_070, false, Ok(false)),
            ],
        );
    }

    #[test]
    fn at_the_beginning_a_dancing_contact_never_rests() {
        check(
            50,
            &[
                (0, true, Err(50)),
                (50, false, Err(100)),
                (100, true, Err(150)),
            ],
        );
    }

    #[test]
    fn without_a_time_every_level_counts() {
        check(0, &[(0, true, Ok(true)), (1, false, Ok(false))]);
    }
}
