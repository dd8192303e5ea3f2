//! A journal on a simulated disk beside a list of what it should contain.

#![allow(clippy::unwrap_used, reason = "test helpers")]
#![allow(clippy::indexing_slicing, reason = "test helpers")]
#![allow(dead_code, reason = "each test file uses its share")]

use furrow_journal::sim::{SimDisk, Survival};
use furrow_journal::{Disk, Journal, JournalError, Options, Position, Recovery};

/// Two or three sectors of entries and a new segment is due: every path is short.
pub(crate) const TINY: Options = Options {
    segment_bytes: 4 * 1024,
    cap_bytes: 40 * 1024,
    keep_bytes: 0,
};

/// A payload that tells its number and is as long as asked for.
pub(crate) fn payload(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = format!("#{number} ").into_bytes();
    bytes.resize(length.max(bytes.len()), u8::try_from(number % 251).unwrap());
    bytes
}

pub(crate) struct Bench {
    pub(crate) disk: SimDisk,
    pub(crate) journal: Option<Journal<SimDisk>>,
    pub(crate) options: Options,
    /// Everything appended and not known to be lost, in order.
    pub(crate) appended: Vec<(Position, Vec<u8>)>,
    /// How many of these a successful commit covered.
    pub(crate) committed: usize,
    /// Segments below this number may be gone.
    pub(crate) released_below: u64,
    numbers: usize,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        let disk = SimDisk::new();
        let (journal, recovery) = Journal::open(disk.clone(), options).unwrap();
        assert_eq!(recovery, Recovery::default());
        Self {
            disk,
            journal: Some(journal),
            options,
            appended: Vec::new(),
            committed: 0,
            released_below: 0,
            numbers: 0,
        }
    }

    pub(crate) fn journal(&mut self) -> &mut Journal<SimDisk> {
        self.journal.as_mut().unwrap()
    }

    pub(crate) fn append(&mut self, length: usize) -> Result<(), JournalError> {
        let payload = payload(self.numbers, length);
        let position = self.journal().append(1, &payload)?;
        self.numbers += 1;
        if let Some((last, _)) = self.appended.last() {
            assert!(position > *last, "{position} after {last}");
        }
        self.appended.push((position, payload));
        Ok(())
    }

    pub(crate) fn commit(&mut self) -> Result<(), JournalError> {
        let done = self.journal().commit();
        let end = self.journal().end();
        self.committed = self
            .appended
            .partition_point(|(position, _)| *position < end);
        if done.is_ok() {
            assert_eq!(self.committed, self.appended.len());
        }
        done
    }

    /// Releases all segments before the one that is written to.
    pub(crate) fn release_all(&mut self) {
        let segments = self.journal().segments();
        for segment in segments.iter().rev().skip(1) {
            assert!(self.journal().release(segment.number));
            self.released_below = self.released_below.max(segment.number + 1);
        }
    }

    /// Goes on in a new segment and erases everything before it; gives its number.
    pub(crate) fn erase_all(&mut self) -> Result<u64, JournalError> {
        let rolled = self.journal().roll();
        let end = self.journal().end();
        self.committed = self
            .appended
            .partition_point(|(position, _)| *position < end);
        let below = rolled?;
        self.release_all();
        assert_eq!(self.journal().erase(below)?, 0);
        Ok(below)
    }

    /// No file has a byte of what was appended before a segment, also behind what can be read.
    pub(crate) fn check_erased(&self, below: u64, appended: &[(Position, Vec<u8>)]) {
        for name in self.disk.list().unwrap() {
            let mut bytes = vec![0; usize::try_from(self.disk.len(&name).unwrap()).unwrap()];
            self.disk.read_at(&name, 0, &mut bytes).unwrap();
            for (position, payload) in appended.iter().filter(|(at, _)| at.segment < below) {
                let text = payload.split(|byte| *byte == b' ').next().unwrap();
                let text = [text, b" "].concat();
                let found = bytes.windows(text.len()).any(|window| window == text);
                assert!(!found, "{position} is in {name}");
            }
        }
    }

    /// Ends the process, cuts the power, opens again and checks.
    pub(crate) fn cut(&mut self, survival: Survival) -> Recovery {
        self.journal = None;
        self.disk.restart(survival);
        self.reopen().unwrap()
    }

    /// Ends the process without a commit, opens again and checks; `None` if the power goes.
    pub(crate) fn reopen(&mut self) -> Option<Recovery> {
        self.journal = None;
        let opened = Journal::open(self.disk.clone(), self.options);
        if self.disk.is_off() {
            return None;
        }
        let (journal, recovery) = opened.unwrap();
        self.journal = Some(journal);
        self.check_after_open();
        Some(recovery)
    }

    /// What is read back is a prefix of what was appended that holds everything committed and
    /// not released; what is not in it is forgotten.
    fn check_after_open(&mut self) {
        let read = self.read_all();
        let kept = self.appended.len().min(match read.last() {
            Some((last, _)) => self
                .appended
                .partition_point(|(position, _)| position <= last),
            None => 0,
        });
        let least = self.appended[..self.committed]
            .iter()
            .filter(|(position, _)| position.segment >= self.released_below)
            .count();
        assert!(
            read.len() >= least,
            "{} of at least {least} entries",
            read.len()
        );
        assert!(
            least == 0 || kept >= self.committed,
            "{kept} of {}",
            self.committed
        );
        let lost_in_front = kept - read.len().min(kept);
        assert_eq!(
            read,
            self.appended[lost_in_front..kept],
            "not a run of what was appended"
        );
        let front = &self.appended[..lost_in_front];
        assert!(
            front
                .iter()
                .all(|(position, _)| position.segment < self.released_below)
        );
        if kept > 0 || least > 0 {
            self.appended.truncate(kept.max(lost_in_front));
        } else {
            let below = self.released_below;
            self.appended
                .retain(|(position, _)| position.segment < below);
        }
        self.committed = self.appended.len();
    }

    /// Positions and payloads without preambles; each is read alone as well.
    pub(crate) fn read_all(&self) -> Vec<(Position, Vec<u8>)> {
        let journal = self.journal.as_ref().unwrap();
        let entries = journal
            .entries_from(Position::default())
            .map(Result::unwrap);
        let mut read = Vec::new();
        for entry in entries {
            assert_eq!(journal.read(entry.position).unwrap(), entry);
            if !entry.preamble {
                read.push((entry.position, entry.payload));
            }
        }
        read
    }

    /// Everything committed and not released can be read now.
    pub(crate) fn check_readable(&self) {
        let read = self.read_all();
        let (last, committed) = (read.len(), &self.appended[..self.committed]);
        assert!(committed.ends_with(&read), "read {last} entries");
        let gone = &committed[..committed.len() - last];
        assert!(
            gone.iter()
                .all(|(position, _)| position.segment < self.released_below)
        );
    }
}
