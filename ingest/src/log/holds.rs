//! Who still needs which part of the log, and what may go.
//!
//! Every reader of the log holds it from its checkpoint on. A segment goes when all of them have passed it. A firm
//! hold stays whatever happens: the log fills up, and nothing more is acknowledged. A loose one is cut when the log
//! runs out of room because of it: its reader can get what it missed elsewhere.

use std::collections::BTreeMap;

use furrow_journal::{Disk, Journal, Position};

/// Part of the log's space that readers with loose holds may keep from being used again, in percent.
const LOOSE_SHARE_PERCENT: u64 = 75;

/// Bytes of a log that readers may keep from being used again.
pub(super) fn loose_share(max_bytes: u64) -> u64 {
    max_bytes / 100 * LOOSE_SHARE_PERCENT
}

/// How firmly a reader holds the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grip {
    /// Until it lets go.
    Firm,
    /// As long as there is room.
    Loose,
}

/// A reader's name and how firmly it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Names the reader; one a log.
    pub name: String,
    /// How firmly.
    pub grip: Grip,
}

impl Hold {
    /// One that is never cut.
    #[must_use]
    pub fn firm(name: &str) -> Self {
        let (name, grip) = (name.to_owned(), Grip::Firm);
        Self { name, grip }
    }

    /// One that is cut when the log runs out of room.
    #[must_use]
    pub fn loose(name: &str) -> Self {
        let (name, grip) = (name.to_owned(), Grip::Loose);
        Self { name, grip }
    }
}

/// The holds of one log.
#[derive(Debug, Default)]
pub(super) struct Holds(BTreeMap<String, (Position, Grip)>);

impl Holds {
    /// A reader needs nothing before `position` any more; or is new.
    pub(super) fn hold(&mut self, hold: &Hold, position: Position) {
        self.0.insert(hold.name.clone(), (position, hold.grip));
    }

    /// Whether a reader still holds what it held.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A reader is gone for good.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Releases what all readers have passed; cuts loose holds as long as more than their share of `max_bytes` is
    /// taken. Gives the names of those that were cut.
    pub(super) fn release<D: Disk>(
        &mut self,
        journal: &mut Journal<D>,
        max_bytes: u64,
    ) -> Vec<String> {
        let share = loose_share(max_bytes);
        let mut cut = Vec::new();
        loop {
            self.release_passed(journal);
            if journal.stats().live_bytes <= share {
                return cut;
            }
            let Some(name) = self.last_loose() else {
                return cut;
            };
            self.remove(&name);
            cut.push(name);
        }
    }

    /// Cuts loose holds that need a segment before this one. Gives the names of those that were cut.
    pub(super) fn cut_before(&mut self, segment: u64) -> Vec<String> {
        let loose = |(_, (at, grip)): &(&String, &(Position, Grip))| {
            at.segment < segment && *grip == Grip::Loose
        };
        let cut: Vec<String> = self
            .0
            .iter()
            .filter(loose)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &cut {
            self.remove(name);
        }
        cut
    }

    /// Readers that need a segment before this one.
    pub(super) fn before(&self, segment: u64) -> Vec<String> {
        let before = self.0.iter().filter(|(_, (at, _))| at.segment < segment);
        before.map(|(name, _)| name.clone()).collect()
    }

    /// Releases what all readers have passed.
    pub(super) fn release_passed<D: Disk>(&self, journal: &mut Journal<D>) {
        let Some(least) = self.0.values().map(|(position, _)| *position).min() else {
            return;
        };
        for segment in journal.segments() {
            if segment.number < least.segment && !segment.released {
                journal.release(segment.number);
            }
        }
    }

    /// The reader that is furthest behind, if it holds loosely, and cutting it lets a segment go.
    fn last_loose(&self) -> Option<String> {
        let (name, (position, grip)) = self.0.iter().min_by_key(|(_, (at, _))| *at)?;
        let others = self.0.iter().filter(|(other, _)| *other != name);
        let next = others.map(|(_, (at, _))| at.segment).min()?;
        (*grip == Grip::Loose && position.segment < next).then(|| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use furrow_journal::sim::SimDisk;
    use furrow_journal::{Journal, Options};

    use super::*;

    const SEGMENT_BYTES: u32 = 64 * 1024;

    fn journal(segments: u64) -> Journal<SimDisk> {
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            cap_bytes: 1 << 30,
            keep_bytes: 0,
        };
        let (mut journal, _) = Journal::open(SimDisk::new(), options).unwrap();
        while journal.end().segment < segments {
            journal.append(1, &[7; 8_000]).unwrap();
            journal.commit().unwrap();
        }
        journal
    }

    fn at(segment: u64) -> Position {
        Position { segment, offset: 9 }
    }

    fn unreleased(journal: &Journal<SimDisk>) -> Vec<u64> {
        let segments = journal.segments().into_iter();
        let live = segments.filter(|segment| !segment.released);
        live.map(|segment| segment.number).collect()
    }

    #[test]
    fn a_segment_goes_when_all_have_passed_it() {
        let mut journal = journal(6);
        let mut holds = Holds::default();
        holds.hold(&Hold::firm("archive"), at(5));
        holds.hold(&Hold::loose("influx"), at(3));
        assert!(holds.release(&mut journal, u64::MAX).is_empty());
        assert_eq!(unreleased(&journal), [3, 4, 5, 6]);
        holds.hold(&Hold::loose("influx"), at(4));
        holds.release(&mut journal, u64::MAX);
        assert_eq!(unreleased(&journal), [4, 5, 6]);
        holds.remove("influx");
        holds.release(&mut journal, u64::MAX);
        assert_eq!(unreleased(&journal), [5, 6]);
    }

    #[test]
    fn only_loose_holds_are_cut_and_only_where_that_makes_room() {
        let mut journal = journal(9);
        let mut holds = Holds::default();
        holds.hold(&Hold::firm("archive"), at(7));
        holds.hold(&Hold::loose("influx"), at(3));
        holds.hold(&Hold::loose("victoria"), at(6));
        // Three quarters of it: a little more than four segments.
        let max_bytes = u64::from(SEGMENT_BYTES) * 6;
        assert_eq!(holds.release(&mut journal, max_bytes), ["influx"]);
        assert_eq!(unreleased(&journal), [6, 7, 8, 9]);
        assert!(!holds.has("influx") && holds.has("victoria"));
        assert_eq!(holds.release(&mut journal, 0), ["victoria"]);
        assert!(
            holds.release(&mut journal, 0).is_empty(),
            "the archive's is firm"
        );
        assert_eq!(unreleased(&journal), [7, 8, 9]);
    }
}
