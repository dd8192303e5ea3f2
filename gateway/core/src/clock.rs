//! When wall time is known, and the mapping of a boot that began without.
//!
//! A Pi has no clock of its own. Wall time is *adopted* once the field clock gives it, and then held
//! still: a slew of less than [`STEP_MS`] changes nothing, so that ticks keep to whole seconds.
//! A boot that has records without wall time gets exactly one mapping, which is final: from the
//! clock when it comes, else from ingest's time, else estimated by a later boot.

use furrow_wire::{BootId, ClockMapping, ClockState};

use crate::FieldMs;
use crate::state::LastWall;

/// The adopted offset is changed when the clock disagrees with it by more than this.
pub const STEP_MS: u64 = 250;
/// So long after the start the clock may still come by itself, before ingest's time is taken.
pub const INGEST_TIME_AFTER_MS: u64 = 120_000;
/// Error of a mapping from the clock: what it may have been slewed since the records were made.
const CLOCK_ERROR_MS: u32 = 500;
/// Error of a mapping from ingest's time: how long an acknowledgement may have been under way.
const INGEST_ERROR_MS: u32 = 5_000;

/// Wall time of the current boot.
#[derive(Debug)]
pub struct Clock {
    boot: BootId,
    started: FieldMs,
    offset_ms: Option<i64>,
    mapping_ms: Option<i64>,
    /// By the latest acknowledgement.
    ingest_offset_ms: Option<i64>,
    unmapped: bool,
}

/// Wall time became known, or was stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// Unix milliseconds = monotonic milliseconds + this, from now on.
    pub offset_ms: i64,
    /// The same for everything before.
    pub before_ms: i64,
    /// To be journalled first: the mapping of what was recorded without wall time.
    pub mapping: Option<ClockMapping>,
}

impl Clock {
    /// The clock of `boot`. `mapping_ms` is the offset of the boot's mapping, if an earlier process
    /// of the same boot has journalled one; `unmapped` says that it left records without.
    #[must_use]
    pub fn new(boot: BootId, now: FieldMs, mapping_ms: Option<i64>, unmapped: bool) -> Self {
        Clock {
            boot,
            started: now,
            offset_ms: None,
            mapping_ms,
            ingest_offset_ms: None,
            unmapped,
        }
    }

    /// The field clock was read. To be called only between batches: a batch has one offset.
    pub fn handle_clock(&mut self, now: FieldMs, unix_ms: Option<i64>) -> Option<Adopted> {
        let offset_ms = unix_ms?.saturating_sub_unsigned(now.0);
        let before_ms = match self.offset_ms {
            Some(held) if held.abs_diff(offset_ms) <= STEP_MS => return None,
            Some(held) => held,
            None => self.mapping_ms.unwrap_or(offset_ms),
        };
        self.offset_ms = Some(offset_ms);
        let mapping = self.map(offset_ms, CLOCK_ERROR_MS, ClockState::Repaired);
        Some(Adopted {
            offset_ms,
            before_ms,
            mapping,
        })
    }

    /// Ingest told its time in an acknowledgement.
    pub fn handle_ingest_time(&mut self, now: FieldMs, unix_ms: i64) {
        self.ingest_offset_ms = Some(unix_ms.saturating_sub_unsigned(now.0));
    }

    /// The mapping by ingest's time, once: where there is a link but no clock for so long that it
    /// will hardly come by itself. To be called now and then.
    pub fn handle_timeout(&mut self, now: FieldMs) -> Option<ClockMapping> {
        if self.offset_ms.is_some() || now.since(self.started) < INGEST_TIME_AFTER_MS {
            return None;
        }
        self.map(
            self.ingest_offset_ms?,
            INGEST_ERROR_MS,
            ClockState::Estimated,
        )
    }

    /// A record without wall time is about to be journalled. Gives the boot whose mapping it has to
    /// wait for; `None` when that mapping is already there.
    pub fn handle_unmapped(&mut self) -> Option<BootId> {
        self.unmapped = true;
        self.mapping_ms.is_none().then_some(self.boot)
    }

    /// The boot.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// Unix milliseconds = monotonic milliseconds + this; `None` while wall time is not known.
    #[must_use]
    pub fn offset_ms(&self) -> Option<i64> {
        self.offset_ms
    }

    /// The best offset that there is: adopted, or that of the boot's mapping.
    #[must_use]
    pub fn known_offset_ms(&self) -> Option<i64> {
        self.offset_ms.or(self.mapping_ms)
    }

    /// How wall time is known, for records and for people.
    #[must_use]
    pub fn state(&self) -> ClockState {
        match (self.offset_ms, self.mapping_ms) {
            (Some(_), _) => ClockState::Synchronised,
            (None, Some(_)) => ClockState::Estimated,
            (None, None) => ClockState::Unknown,
        }
    }

    /// The wall time of a moment, as far as it is known.
    #[must_use]
    pub fn wall(&self, at: FieldMs) -> Option<LastWall> {
        let unix_ms = self.offset_ms?.saturating_add_unsigned(at.0);
        Some(LastWall {
            boot: self.boot,
            mono_ms: at.0,
            unix_ms,
        })
    }

    fn map(
        &mut self,
        wall_offset_ms: i64,
        error_ms: u32,
        state: ClockState,
    ) -> Option<ClockMapping> {
        if !self.unmapped || self.mapping_ms.is_some() {
            return None;
        }
        self.mapping_ms = Some(wall_offset_ms);
        Some(ClockMapping {
            boot: self.boot,
            wall_offset_ms,
            error_ms,
            state,
        })
    }
}

/// The mapping of an earlier boot that never learnt the time: it ran after `before`, the last known
/// moment, and was over, after `last_mono_ms` on its clock, by `now_unix_ms`.
///
/// It is taken to have begun in the middle of what is possible, with half of that as its error.
#[must_use]
pub fn estimate(
    boot: BootId,
    last_mono_ms: u64,
    before: Option<LastWall>,
    now_unix_ms: i64,
) -> ClockMapping {
    let latest = now_unix_ms.saturating_sub_unsigned(last_mono_ms);
    let earliest = before.map_or(latest, |before| before.unix_ms).min(latest);
    let room = latest.abs_diff(earliest);
    let error_ms = u32::try_from(room / 2).unwrap_or(u32::MAX);
    let wall_offset_ms = earliest.saturating_add_unsigned(room / 2);
    ClockMapping {
        boot,
        wall_offset_ms,
        error_ms,
        state: ClockState::Estimated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: BootId = BootId(1);
    const UNIX: i64 = 1_790_000_000_000;

    #[test]
    fn a_slew_is_held_and_a_step_is_adopted() {
        let mut clock = Clock::new(BOOT, FieldMs(0), None, false);
        let adopted = |offset_ms, before_ms| {
            Some(Adopted {
                offset_ms,
                before_ms,
                mapping: None,
            })
        };
        assert_eq!(clock.handle_clock(FieldMs(10), None), None);
        assert_eq!(clock.state(), ClockState::Unknown);
        assert_eq!(
            clock.handle_clock(FieldMs(100), Some(UNIX + 100)),
            adopted(UNIX, UNIX)
        );
        assert_eq!(clock.handle_clock(FieldMs(200), Some(UNIX + 450)), None);
        assert_eq!(
            clock.handle_clock(FieldMs(300), Some(UNIX + 551)),
            adopted(UNIX + 251, UNIX)
        );
        assert_eq!(
            clock.handle_clock(FieldMs(400), Some(UNIX)),
            adopted(UNIX - 400, UNIX + 251)
        );
        // A clock that is no longer trusted does not take wall time away again.
        assert_eq!(clock.handle_clock(FieldMs(500), None), None);
        assert_eq!(clock.offset_ms(), Some(UNIX - 400));
    }

    #[test]
    fn a_boot_without_time_is_mapped_once_when_the_clock_comes() {
        let mut clock = Clock::new(BOOT, FieldMs(0), None, false);
        assert_eq!(clock.handle_unmapped(), Some(BOOT));
        let adopted = clock
            .handle_clock(FieldMs(90_000), Some(UNIX + 90_000))
            .unwrap();
        let mapping = ClockMapping {
            boot: BOOT,
            wall_offset_ms: UNIX,
            error_ms: CLOCK_ERROR_MS,
            state: ClockState::Repaired,
        };
        assert_eq!(
            adopted,
            Adopted {
                offset_ms: UNIX,
                before_ms: UNIX,
                mapping: Some(mapping)
            }
        );
        let stepped = clock.handle_clock(FieldMs(99_000), Some(UNIX)).unwrap();
        assert_eq!(stepped.mapping, None);
    }

    #[test]
    fn ingests_time_is_taken_late_once_and_is_final() {
        let mut clock = Clock::new(BOOT, FieldMs(1_000), None, false);
        clock.handle_unmapped();
        assert_eq!(clock.handle_timeout(FieldMs(500_000)), None);
        clock.handle_ingest_time(FieldMs(2_000), UNIX + 1);
        clock.handle_ingest_time(FieldMs(3_000), UNIX + 3_000);
        assert_eq!(clock.handle_timeout(FieldMs(120_999)), None);
        let mapping = clock.handle_timeout(FieldMs(121_000)).unwrap();
        let (offset, error) = (mapping.wall_offset_ms, mapping.error_ms);
        assert_eq!(
            (offset, error, mapping.state),
            (UNIX, 5_000, ClockState::Estimated)
        );
        clock.handle_ingest_time(FieldMs(200_000), UNIX);
        assert_eq!(clock.handle_timeout(FieldMs(200_000)), None);
        // Records without wall time need not wait any more.
        assert_eq!(
            (clock.handle_unmapped(), clock.state()),
            (None, ClockState::Estimated)
        );
        // NTP says that it was 2 s off: what came before keeps its mapping.
        let adopted = clock
            .handle_clock(FieldMs(300_000), Some(UNIX + 302_000))
            .unwrap();
        let expected = Adopted {
            offset_ms: UNIX + 2_000,
            before_ms: UNIX,
            mapping: None,
        };
        assert_eq!(adopted, expected);
    }

    #[test]
    fn a_restarted_process_knows_the_mapping_of_its_boot() {
        let mut clock = Clock::new(BOOT, FieldMs(500_000), Some(UNIX), true);
        assert_eq!(clock.handle_unmapped(), None);
        let adopted = clock
            .handle_clock(FieldMs(500_000), Some(UNIX + 500_700))
            .unwrap();
        assert_eq!((adopted.before_ms, adopted.mapping), (UNIX, None));
    }

    #[test]
    fn an_earlier_boot_lies_between_what_is_known() {
        let before = LastWall {
            boot: BootId(9),
            mono_ms: 5,
            unix_ms: UNIX,
        };
        let mapping = estimate(BOOT, 3_600_000, Some(before), UNIX + 3_600_000 + 60_000);
        assert_eq!(
            (mapping.wall_offset_ms, mapping.error_ms),
            (UNIX + 30_000, 30_000)
        );
        let mapping = estimate(BOOT, 1_000, None, UNIX);
        assert_eq!(
            (mapping.wall_offset_ms, mapping.error_ms),
            (UNIX - 1_000, 0)
        );
    }
}
