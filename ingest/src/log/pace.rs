//! How fast the log takes messages while the archive is behind it.
//!
//! The log takes several times what the archive can: after an outage, when all gateways send what they kept, the archive
//! would fall minutes behind, and the alerts and the page with it. So the writer pauses between two commits when the
//! archive, at the speed it has, needs more than some seconds for what is already there. Gateways keep what is not
//! acknowledged, and send the newest first. It never stops the log: an archive that takes nothing at all costs pauses,
//! and the log's own bound is what stops it then.

use std::time::Duration;

/// What the archive may have before it until pauses begin, in milliseconds of its work.
const BEHIND_FROM_MS: u64 = 4_000;
/// What the archive has before it when pauses are longest. The budget is 10 s.
const BEHIND_MOST_MS: u64 = 8_000;
/// Longest pause. With 512 messages a commit that is still a thousand messages a second: ten thousand gateways that send
/// twice a minute have a third of it.
const PAUSE_MAX_MS: u64 = 500;
/// With less before it the archive counts as up to date: one of its transactions takes as much.
const UP_TO_DATE_BYTES: u64 = 4 * 1024 * 1024;
/// With less before it at any time, the archive may have waited for something to do: its speed is not known then.
const BUSY_BYTES: u64 = 1024 * 1024;
/// The archive's speed is taken over so long, in milliseconds: longer than one of its transactions.
const SAMPLE_MS: u64 = 1_000;

/// See the module. Times are monotonic milliseconds, amounts are bytes of log.
#[derive(Debug, Default)]
pub(super) struct Pace {
    sample: Option<Sample>,
    /// Bytes a second that the archive takes while it has something to do.
    speed: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: u64,
    applied: u64,
    /// There was something to do all the time since.
    is_busy: bool,
}

impl Pace {
    /// How long to wait before the next commit. `applied`: bytes that the archive has taken since some beginning;
    /// `behind`: bytes of the log that it has before it.
    pub(super) fn pause(&mut self, now_ms: u64, applied: u64, behind: u64) -> Duration {
        self.note(now_ms, applied, behind);
        let Some(speed) = self.speed else {
            return Duration::ZERO;
        };
        if behind < UP_TO_DATE_BYTES {
            return Duration::ZERO;
        }
        let behind_ms = behind.saturating_mul(1_000) / speed.max(1);
        let over_ms = behind_ms.saturating_sub(BEHIND_FROM_MS);
        let pause_ms = over_ms.saturating_mul(PAUSE_MAX_MS) / (BEHIND_MOST_MS - BEHIND_FROM_MS);
        Duration::from_millis(pause_ms.min(PAUSE_MAX_MS))
    }

    /// An archive that waits for something to do says nothing about its speed.
    fn note(&mut self, now_ms: u64, applied: u64, behind: u64) {
        let new = Sample {
            at_ms: now_ms,
            applied,
            is_busy: behind >= BUSY_BYTES,
        };
        let Some(sample) = self
            .sample
            .as_mut()
            .filter(|sample| sample.applied <= applied)
        else {
            self.sample = Some(new);
            return;
        };
        sample.is_busy &= behind >= BUSY_BYTES;
        let passed_ms = now_ms.saturating_sub(sample.at_ms);
        if passed_ms < SAMPLE_MS {
            return;
        }
        if sample.is_busy {
            let now = (applied - sample.applied).saturating_mul(1_000) / passed_ms;
            self.speed = Some(match self.speed {
                Some(before) => before.midpoint(now),
                None => now,
            });
        }
        self.sample = Some(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// An archive of some speed behind a log that takes `inflow` bytes in a commit of 10 ms; gives the longest that the
    /// archive had before it, in its own milliseconds, and how much was taken in all.
    fn run(seconds: u64, archive: impl Fn(u64) -> u64, inflow: u64) -> (u64, u64) {
        let mut pace = Pace::default();
        let (mut now_ms, mut end, mut applied, mut most) = (0u64, 0u64, 0u64, 0u64);
        while now_ms < seconds * 1_000 {
            end += inflow;
            let pause = pace.pause(now_ms, applied, end - applied);
            let spent_ms = 10 + u64::try_from(pause.as_millis()).unwrap();
            let speed = archive(now_ms);
            applied = end.min(applied + speed * spent_ms / 1_000);
            now_ms += spent_ms;
            most = most.max((end - applied) * 1_000 / speed.max(1));
        }
        (most, applied)
    }

    #[test]
    fn an_archive_that_keeps_up_is_never_waited_for() {
        let (most, applied) = run(60, |_| 10 * MIB, MIB / 20);
        assert!(most < 100, "{most}");
        assert_eq!(applied, 60 * 100 * (MIB / 20));
    }

    #[test]
    fn an_archive_at_a_third_of_the_speed_stays_within_the_budget_and_busy() {
        let (most, applied) = run(300, |_| 5 * MIB, MIB / 7);
        assert!((BEHIND_FROM_MS..10_000).contains(&most), "{most}");
        assert!(applied > 299 * 5 * MIB, "{}", applied / MIB);
    }

    #[test]
    fn an_archive_that_slows_down_comes_back_within_the_budget() {
        let slower = |now_ms| if now_ms < 60_000 { 8 * MIB } else { 4 * MIB };
        let (most, applied) = run(300, slower, MIB / 4);
        // What had been four seconds of work is eight for a moment.
        assert!((8_000..10_000).contains(&most), "{most}");
        assert!(applied > (59 * 8 + 239 * 4) * MIB, "{}", applied / MIB);
    }

    #[test]
    fn an_archive_that_stops_costs_pauses_and_does_not_stop_the_log() {
        let mut pace = Pace::default();
        for now_ms in (0..=3_000).step_by(1_000) {
            let pause = pace.pause(now_ms, now_ms * 2 * MIB / 1_000, 5 * MIB);
            assert_eq!(pause, Duration::ZERO);
        }
        let mut pause = Duration::ZERO;
        for now_ms in (4_000..=60_000).step_by(1_000) {
            pause = pace.pause(now_ms, 6 * MIB, 100 * MIB);
        }
        assert_eq!(pause, Duration::from_millis(PAUSE_MAX_MS));
    }

    #[test]
    fn an_idle_archive_does_not_count_as_a_slow_one() {
        let mut pace = Pace::default();
        pace.pause(0, 0, MIB);
        pace.pause(1_000, 10 * MIB, MIB);
        assert_eq!(pace.speed, Some(10 * MIB));
        // A quiet hour, then everything at once.
        for now_ms in (2_000..3_600_000).step_by(1_000) {
            pace.pause(now_ms, 11 * MIB, 0);
        }
        assert_eq!(pace.speed, Some(10 * MIB));
        assert_eq!(pace.pause(3_600_000, 11 * MIB, 20 * MIB), Duration::ZERO);
    }

    #[test]
    fn a_log_that_begins_anew_is_measured_anew() {
        let mut pace = Pace::default();
        pace.pause(0, 100 * MIB, MIB);
        assert_eq!(pace.pause(2_000, 0, 100 * MIB), Duration::ZERO);
        assert_eq!(pace.speed, None);
    }
}
