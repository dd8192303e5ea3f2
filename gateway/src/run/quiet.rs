//! Failures that repeat, said at a bounded rate: the first, then how many there were, then that it works
//! again. A log that fills what is left of a disk would be no help.
//!
//! Reads no clock.

/// Least time between two lines that tell of failures, in milliseconds.
pub const SAY_EVERY_MS: u64 = 60_000;

/// Which of many failures are said.
#[derive(Debug, Default)]
pub struct Quiet {
    said_ms: Option<u64>,
    /// Failures since the last line.
    unsaid: u64,
    /// A failure was said, and not that it is over.
    is_open: bool,
}

impl Quiet {
    /// It failed. Where that is to be said: how many failures before it were not. `now_ms` is monotonic.
    pub fn handle_failure(&mut self, now_ms: u64) -> Option<u64> {
        let is_early = |at| now_ms.saturating_sub(at) < SAY_EVERY_MS;
        if self.said_ms.is_some_and(is_early) {
            self.unsaid += 1;
            return None;
        }
        self.said_ms = Some(now_ms);
        self.is_open = true;
        Some(std::mem::take(&mut self.unsaid))
    }

    /// It worked. Where that is to be said, since a failure was: how many were not since.
    pub fn handle_success(&mut self) -> Option<u64> {
        if !std::mem::take(&mut self.is_open) {
            return None;
        }
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_then_one_a_minute_with_a_count_then_the_end() {
        let mut quiet = Quiet::default();
        assert_eq!(quiet.handle_success(), None);
        let said: Vec<(u64, u64)> = (0..=300)
            .map(|half_second| 10_000 + half_second * 500)
            .filter_map(|now| Some((now, quiet.handle_failure(now)?)))
            .collect();
        assert_eq!(said, [(10_000, 0), (70_000, 119), (130_000, 119)]);
        assert_eq!(quiet.handle_success(), Some(60));
        assert_eq!(quiet.handle_success(), None);
    }

    #[test]
    fn what_fails_and_works_in_turns_is_not_said_more_often() {
        let mut quiet = Quiet::default();
        let mut lines = Vec::new();
        for now in (0..180_000).step_by(500) {
            lines.extend(quiet.handle_failure(now).map(|unsaid| (now, unsaid)));
            lines.extend(quiet.handle_success().map(|unsaid| (now, unsaid)));
        }
        let expected = [
            (0, 0),
            (0, 0),
            (60_000, 119),
            (60_000, 0),
            (120_000, 119),
            (120_000, 0),
        ];
        assert_eq!(lines, expected);
    }
}
