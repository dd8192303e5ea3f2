//! When wall time is known, and the mapping of a boot that began without.
//!
//! A Pi has no clock of its own. Wall time is *adopted* once the field clock gives it, and then held
//! still: a slew of less than [`STEP_MS`] changes nothing, so that ticks keep to whole seconds.
//! A boot that has records without wall time gets exactly one mapping, which is final: from the
//! clock when it comes, else from ingest's time, else estimated by a later boot.

use furrow_wire::{BootId, ClockMapping, ClockState};

use crate::FieldMs;
use crate::recovery::HeldBoot;
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

/// The mappings of earlier boots that never learnt the time, in the order in which they ran: each was
/// over, after its `last_mono_ms`, before the next one began, and the last one before this boot, at
/// `boot_unix_ms`, which is this boot's wall time at 0 on its monotonic clock.
///
/// What is not known of the time between is spread evenly before, between and behind them, so that no two
/// of them overlap: (series, time) stays unique. Each bears the farthest that it can be off as its error.
#[must_use]
pub fn estimate(boots: &[HeldBoot], boot_unix_ms: i64) -> Vec<ClockMapping> {
    let mut left_ms: u64 = boots.iter().map(|one| one.last_mono_ms).sum();
    let mut free_from: Option<i64> = None;
    let mut mappings = Vec::with_capacity(boots.len());
    for (one, places) in boots.iter().zip((2..=boots.len() as u64 + 1).rev()) {
        // This one and all that follow it end in time.
        let latest = boot_unix_ms.saturating_sub_unsigned(left_ms);
        left_ms -= one.last_mono_ms;
        let known = free_from.max(one.before.map(|before| before.unix_ms));
        let earliest = known.map_or(latest, |known| known.min(latest));
        let room = latest.abs_diff(earliest);
        let wall_offset_ms = earliest.saturating_add_unsigned(room / places);
        free_from = Some(wall_offset_ms.saturating_add_unsigned(one.last_mono_ms));
        mappings.push(ClockMapping {
            boot: one.boot,
            wall_offset_ms,
            error_ms: u32::try_from(room - room / places).unwrap_or(u32::MAX),
            state: ClockState::Estimated,
        });
    }
    mappings
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
        let mapping = estimate(&[held(1, 3_600_000, Some(0))], UNIX + 3_600_000 + 60_000);
        assert_eq!(mapping, [estimated(1, 30_000, 30_000)]);
        assert_eq!(
            estimate(&[held(1, 1_000, None)], UNIX),
            [estimated(1, -1_000, 0)]
        );
        assert_eq!(estimate(&[], UNIX), []);
    }

    #[test]
    fn earlier_boots_without_time_never_overlap() {
        let hour = 3_600_000;
        // Both after the same known moment: they ran one after the other.
        let both = [held(7, hour, Some(0)), held(3, 2 * hour, Some(0))];
        assert_eq!(
            estimate(&both, UNIX + 3 * 3_600_000 + 90_000),
            [
                estimated(7, 30_000, 60_000),
                estimated(3, 3_600_000 + 60_000, 30_000)
            ]
        );
        // Nothing is known but the order; nor is there room where the clock was set back.
        for before in [None, Some(9_000_000)] {
            let both = [held(7, 1_000, before), held(3, 2_000, before)];
            let expected = [estimated(7, -3_000, 0), estimated(3, -2_000, 0)];
            assert_eq!(estimate(&both, UNIX), expected);
        }
    }

    fn held(boot: u64, last_mono_ms: u64, before_ms: Option<i64>) -> HeldBoot {
        HeldBoot {
            boot: BootId(boot),
            last_mono_ms,
            before: before_ms.map(|ms| LastWall {
                boot: BootId(9),
                mono_ms: 5,
                unix_ms: UNIX + ms,
            }),
        }
    }

    fn estimated(boot: u64, offset_ms: i64, error_ms: u32) -> ClockMapping {
        ClockMapping {
            boot: BootId(boot),
            wall_offset_ms: UNIX + offset_ms,
            error_ms,
            state: ClockState::Estimated,
        }
    }
}
