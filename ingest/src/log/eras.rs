//! Positions that only grow, even when the log was replaced by an older or an empty one.
//!
//! The archive skips entries at or before its position. A log that was deleted, or that lost its tail
//! with a disk that lied, begins again at smaller positions, and everything new would be skipped in
//! silence. So positions handed to the archive carry an era, and a log that ends before the archive's
//! position begins a new one.

use furrow_journal::Position;

use super::snapshot::Era;
use crate::archive::LogPosition;

/// Bits of a segment number within an archive position: 8 MiB each, more than any disk ever writes.
const SEGMENT_BITS: u32 = 40;

/// The eras of a log, oldest first. At most two: what lies before the last one has been applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Eras(Vec<Era>);

impl Eras {
    /// As stored in a snapshot.
    #[must_use]
    pub fn new(stored: Vec<Era>) -> Self {
        Self(stored)
    }

    /// To be stored in a snapshot.
    #[must_use]
    pub fn to_stored(&self) -> Vec<Era> {
        self.0.clone()
    }

    /// What the archive calls this position.
    #[must_use]
    pub fn archive_position(&self, position: Position) -> LogPosition {
        let began = |era: &&Era| (era.segment, era.offset) <= (position.segment, position.offset);
        let number = self.0.iter().rev().find(began).map_or(0, |era| era.number);
        let segment = (u64::from(number) << SEGMENT_BITS) | position.segment;
        LogPosition {
            segment,
            offset: position.offset,
        }
    }

    /// Whether an archive's position is of an era that is known here.
    #[must_use]
    pub fn know(&self, archive: LogPosition) -> bool {
        let latest = self.0.iter().map(|era| era.number).max().unwrap_or(0);
        archive.segment >> SEGMENT_BITS <= u64::from(latest)
    }

    /// Begins a new era at the beginning of the log: some archive lost what it had applied of it, so
    /// all of it is to be applied again, and each archive tells what it has.
    pub fn begin_over(&mut self, archives: impl Iterator<Item = LogPosition>) {
        let of_archives =
            archives.map(|at| u32::try_from(at.segment >> SEGMENT_BITS).unwrap_or(u32::MAX));
        let latest = of_archives.chain(self.0.iter().map(|era| era.number)).max();
        self.0 = vec![Era {
            segment: 0,
            offset: 0,
            number: latest.unwrap_or(0).saturating_add(1),
        }];
    }

    /// Begins a new era if an archive is at or behind what the log will write next: the log lost its
    /// end. It begins at `from`, up to where the archive is known to have applied this very log: what
    /// stands between there and the end may have been written after the loss. Says whether it did.
    pub fn begin_if_behind(
        &mut self,
        from: Position,
        end: Position,
        archive: Option<LogPosition>,
    ) -> bool {
        let Some(archive) = archive else {
            return false;
        };
        if archive < self.archive_position(end) {
            return false;
        }
        self.begin_ahead(from, archive);
        true
    }

    /// Begins a new era at `from` if an archive has applied anything from there on: it was of another log.
    /// Says whether it did.
    pub fn begin_if_applied(&mut self, from: Position, archive: LogPosition) -> bool {
        let has_applied = archive >= self.archive_position(from);
        if has_applied {
            self.begin_ahead(from, archive);
        }
        has_applied
    }

    fn begin_ahead(&mut self, from: Position, archive: LogPosition) {
        let number = u32::try_from(archive.segment >> SEGMENT_BITS).unwrap_or(u32::MAX);
        let era = Era {
            segment: from.segment,
            offset: from.offset,
            number: number.saturating_add(1),
        };
        self.0
            .retain(|old| (old.segment, old.offset) < (era.segment, era.offset));
        self.0.push(era);
        let surplus = self.0.len().saturating_sub(2);
        self.0.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u64, offset: u32) -> Position {
        Position { segment, offset }
    }

    #[test]
    fn a_log_that_goes_on_stays_in_its_era() {
        let mut eras = Eras::default();
        let archive = Some(eras.archive_position(at(3, 100)));
        assert!(!eras.begin_if_behind(at(3, 200), at(3, 200), archive));
        assert!(!eras.begin_if_behind(at(4, 0), at(4, 0), None));
        assert_eq!(eras, Eras::default());
    }

    #[test]
    fn an_era_over_the_whole_log_is_ahead_of_every_archive() {
        let mut eras = Eras::default();
        let archive = Some(eras.archive_position(at(900, 5)));
        eras.begin_if_behind(at(3, 512), at(3, 512), archive);
        let archives = [
            eras.archive_position(at(4, 0)),
            Eras::default().archive_position(at(900, 5)),
        ];
        assert!(archives.iter().all(|archive| eras.know(*archive)));
        let mut lost = Eras::default();
        assert!(!lost.know(archives[0]));
        lost.begin_over(archives.into_iter());
        assert!(lost.know(archives[0]));
        assert!(
            archives
                .iter()
                .all(|archive| *archive < lost.archive_position(at(0, 0)))
        );
    }

    #[test]
    fn what_may_have_been_written_after_a_loss_is_ahead_of_the_archive() {
        let mut eras = Eras::default();
        let archive = eras.archive_position(at(1, 7168));
        assert!(eras.begin_if_behind(at(1, 1229), at(1, 2345), Some(archive)));
        assert!(eras.archive_position(at(1, 1024)) <= archive);
        assert!(eras.archive_position(at(1, 1229)) > archive);
    }

    #[test]
    fn an_era_begins_where_an_archive_has_applied_another_log() {
        let mut eras = Eras::default();
        let archive = eras.archive_position(at(2, 900));
        assert!(!eras.begin_if_applied(at(2, 901), archive));
        assert_eq!(eras, Eras::default());
        assert!(eras.begin_if_applied(at(2, 512), archive));
        assert!(eras.archive_position(at(2, 511)) <= archive);
        assert!(eras.archive_position(at(2, 512)) > archive);
        // For another one of the same log: once is enough.
        assert!(!eras.begin_if_applied(at(2, 512), archive));
    }

    #[test]
    fn a_log_that_begins_again_is_ahead_of_the_archive_each_time() {
        let mut eras = Eras::default();
        let mut archive = eras.archive_position(at(900, 5));
        for end in [at(3, 512), at(3, 512), at(0, 512), at(0, 0)] {
            assert!(eras.begin_if_behind(end, end, Some(archive)));
            assert!(
                !eras.begin_if_behind(end, end, Some(archive)),
                "once is enough"
            );
            let next = eras.archive_position(end);
            assert!(archive < next);
            assert!(next < eras.archive_position(at(end.segment + 1, 0)));
            archive = next;
        }
        assert_eq!(eras.to_stored().len(), 1);
        assert_eq!(Eras::new(eras.to_stored()), eras);
    }
}
