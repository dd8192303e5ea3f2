//! When each device is read, and what time its reading bears.
//!
//! Ticks lie on multiples of the interval, on wall time when it is known, else on the monotonic
//! clock. The tick, not the moment the sensor answered, is the reading's time. A tick that can't be
//! kept is skipped and counted; ticks are never bunched to catch up.
//!
//! (device, wall time) stays unique across clock steps: a small step back skips to the first tick
//! that is new; after a large one the ticks move off the grid by a millisecond per step, until wall
//! time has passed everything that was given out before.

use crate::FieldMs;

/// A device that is still busy, or a loop that was held up, may take a tick late by this share of
/// its interval; later than that the tick is missed.
const LATE_SHARE: u64 = 2;

/// One device is to be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Place of the device in the list given to [`Schedule::new`].
    pub device: usize,
    /// The reading's time.
    pub at: FieldMs,
}

/// Sampling of all devices.
#[derive(Debug)]
pub struct Schedule {
    entries: Vec<Entry>,
    offset_ms: Option<i64>,
    missed: u64,
}

#[derive(Debug)]
struct Entry {
    interval_ms: u64,
    next: FieldMs,
    last: Option<FieldMs>,
    /// Latest wall time given out, Unix milliseconds.
    frontier_ms: Option<i64>,
    /// How far off the grid ticks lie, in milliseconds.
    phase_ms: i64,
    /// The last phase used: never the same twice in a row of steps, since ticks of the one before
    /// may lie in the overlap too.
    phase_used: i64,
    /// Wall time went back since the last time ticks moved off the grid.
    stepped_back: bool,
    busy: bool,
    /// No tick before this: the device is being prepared.
    not_before: FieldMs,
}

impl Schedule {
    /// Plans devices with these intervals (milliseconds, at least 1) from `now` on. None has ticks
    /// before [`Schedule::handle_prepared`].
    ///
    /// `frontier_ms` is the latest wall time of any reading before, if known.
    #[must_use]
    pub fn new(
        intervals_ms: &[u32],
        now: FieldMs,
        offset_ms: Option<i64>,
        frontier_ms: Option<i64>,
    ) -> Self {
        let entry = |interval: &u32| Entry {
            interval_ms: u64::from(*interval).max(1),
            next: now,
            last: None,
            frontier_ms,
            phase_ms: 0,
            phase_used: 0,
            stepped_back: true,
            busy: false,
            not_before: FieldMs(u64::MAX),
        };
        let entries = intervals_ms.iter().map(entry).collect();
        let mut schedule = Schedule {
            entries,
            offset_ms,
            missed: 0,
        };
        schedule.plan(now);
        schedule
    }

    /// Ticks were moved off the grid by up to `phase_ms` before: the next step back goes on from
    /// there, since ticks of that phase may lie in its overlap.
    #[must_use]
    pub fn after_phase(mut self, phase_ms: i64) -> Self {
        for entry in &mut self.entries {
            entry.phase_used = entry.phase_used.max(phase_ms);
        }
        self
    }

    /// The farthest that ticks were moved off the grid by the latest step back, in milliseconds.
    #[must_use]
    pub fn phase_ms(&self) -> i64 {
        let phases = self.entries.iter().map(|entry| entry.phase_used);
        phases.max().unwrap_or(0)
    }

    /// Wall time became known or was stepped: Unix milliseconds = monotonic + `offset_ms`.
    ///
    /// `before_ms` is the offset by which readings given out so far get their wall time: that of
    /// the boot's mapping where wall time was not known.
    pub fn handle_clock(&mut self, now: FieldMs, offset_ms: i64, before_ms: i64) {
        for entry in &mut self.entries {
            if self.offset_ms.is_none()
                && let Some(last) = entry.last
            {
                let wall = wall(last, before_ms);
                entry.frontier_ms = entry.frontier_ms.max(Some(wall));
            }
            entry.stepped_back |= self.offset_ms.is_none_or(|old| offset_ms < old);
        }
        self.offset_ms = Some(offset_ms);
        self.plan(now);
    }

    /// The device can be read from `ready` on.
    pub fn handle_prepared(&mut self, device: usize, ready: FieldMs) {
        if let Some(entry) = self.entries.get_mut(device) {
            entry.not_before = ready;
            entry.plan(ready, self.offset_ms);
        }
    }

    /// The device answered, or failed to: it may be read again.
    pub fn handle_done(&mut self, device: usize) {
        if let Some(entry) = self.entries.get_mut(device) {
            entry.busy = false;
        }
    }

    /// When the next tick is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<FieldMs> {
        let prepared = self
            .entries
            .iter()
            .filter(|entry| entry.not_before < FieldMs(u64::MAX));
        prepared.map(|entry| entry.next).min()
    }

    /// The next device to read at `now`. To be called until it gives nothing.
    pub fn poll_tick(&mut self, now: FieldMs) -> Option<Tick> {
        let due = self
            .entries
            .iter_mut()
            .enumerate()
            .filter(|(_, entry)| entry.next <= now);
        for (device, entry) in due {
            let (skipped, late) = entry.skip_to(now);
            self.missed += skipped;
            let at = entry.next;
            entry.pass(at, self.offset_ms);
            entry.plan(now, self.offset_ms);
            if entry.busy || late {
                self.missed += 1;
                continue;
            }
            entry.busy = true;
            return Some(Tick { device, at });
        }
        None
    }

    /// Ticks at which nothing was read, since the start.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    fn plan(&mut self, now: FieldMs) {
        for entry in &mut self.entries {
            entry.plan(now, self.offset_ms);
        }
    }
}

/// The first multiple of `interval_ms` at or after `now`, on wall time where `offset_ms` gives it.
#[must_use]
pub fn next_aligned(now: FieldMs, interval_ms: u64, offset_ms: Option<i64>) -> FieldMs {
    let interval = interval_ms.max(1);
    let Some(offset) = offset_ms else {
        return FieldMs(now.0.div_ceil(interval).saturating_mul(interval));
    };
    let step = i64::try_from(interval).unwrap_or(i64::MAX);
    let past = wall(now, offset).rem_euclid(step).unsigned_abs();
    if past == 0 {
        now
    } else {
        now.plus(interval - past)
    }
}

fn wall(at: FieldMs, offset_ms: i64) -> i64 {
    offset_ms.saturating_add_unsigned(at.0)
}

impl Entry {
    /// Moves past ticks that lie whole intervals back; gives how many, and whether the one that is
    /// left is too old to be taken.
    fn skip_to(&mut self, now: FieldMs) -> (u64, bool) {
        let skipped = now.since(self.next) / self.interval_ms;
        self.next = self.next.plus(skipped * self.interval_ms);
        (
            skipped,
            now.since(self.next) > self.interval_ms / LATE_SHARE,
        )
    }

    fn pass(&mut self, at: FieldMs, offset_ms: Option<i64>) {
        self.last = Some(at);
        if let Some(offset) = offset_ms {
            self.frontier_ms = self.frontier_ms.max(Some(wall(at, offset)));
        }
    }

    /// The first tick at or after `now` that was not given out yet.
    fn plan(&mut self, now: FieldMs, offset_ms: Option<i64>) {
        let not_before = now.max(self.not_before);
        let earliest = match self.last {
            Some(last) => not_before.max(last.plus(1)),
            None => not_before,
        };
        let Some(offset) = offset_ms else {
            self.next = next_aligned(earliest, self.interval_ms, None);
            return;
        };
        let interval = i64::try_from(self.interval_ms).unwrap_or(i64::MAX);
        let frontier = self.frontier_ms.unwrap_or(i64::MIN);
        let on_grid = next_aligned(earliest, self.interval_ms, offset_ms);
        let behind = frontier.saturating_sub(wall(on_grid, offset));
        if behind < 0 {
            self.phase_ms = 0;
            self.next = on_grid;
        } else if self.phase_ms == 0 && behind < interval {
            self.next = on_grid.plus(self.interval_ms);
        } else {
            if self.stepped_back {
                self.phase_used = self.phase_used % (interval - 1).max(1) + 1;
                self.phase_ms = self.phase_used;
                self.stepped_back = false;
            }
            let shifted = offset.saturating_sub(self.phase_ms);
            self.next = next_aligned(earliest, self.interval_ms, Some(shifted));
        }
    }
}

#[cfg(test)]
mod tests;
