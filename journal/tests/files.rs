//! The journal on a real file system.

#![allow(clippy::unwrap_used, reason = "test helpers")]

use furrow_journal::{FileDisk, Journal, JournalError, JournalReader, Options, Position};
use tempfile::TempDir;

const SMALL: Options = Options {
    segment_bytes: 8 * 1024,
    cap_bytes: 64 * 1024,
    keep_bytes: 0,
};

fn open(directory: &TempDir) -> Journal<FileDisk> {
    let disk = FileDisk::open(directory.path().join("journal")).unwrap();
    Journal::open(disk, SMALL).unwrap().0
}

fn payloads(journal: &Journal<FileDisk>, from: Position) -> Vec<Vec<u8>> {
    journal
        .entries_from(from)
        .map(|entry| entry.unwrap().payload)
        .collect()
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers
        .map(|n| format!("entry {n} {}", "x".repeat(n as usize * 37 % 700)).into_bytes())
        .collect()
}

#[test]
fn entries_come_back_in_order_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let expected = numbered(0..80);
    let mut journal = open(&directory);
    let mut positions = Vec::new();
    for chunk in expected.chunks(3) {
        for payload in chunk {
            positions.push(journal.append(7, payload).unwrap());
        }
        journal.commit().unwrap();
    }
    assert!(journal.segments().len() > 2);
    assert!(positions.is_sorted());
    drop(journal);

    let disk = FileDisk::open(directory.path().join("journal")).unwrap();
    let (journal, recovery) = Journal::open(disk, SMALL).unwrap();
    assert_eq!(
        (recovery.entries, recovery.damaged, recovery.torn),
        (80, vec![], None)
    );
    assert_eq!(payloads(&journal, Position::default()), expected);
    assert_eq!(payloads(&journal, positions[41]), expected[41..]);
    for (position, payload) in positions.iter().zip(&expected) {
        let entry = journal.read(*position).unwrap();
        assert_eq!(
            (entry.position, entry.kind, &entry.payload),
            (*position, 7, payload)
        );
        assert_eq!(
            payloads(&journal, entry.next).len(),
            expected.len() - 1 - positions.binary_search(position).unwrap()
        );
    }
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let directory = TempDir::new().unwrap();
    let mut journal = open(&directory);
    journal.append(1, b"one").unwrap();
    journal.commit().unwrap();

    let second = FileDisk::open(directory.path().join("journal")).unwrap();
    assert!(matches!(
        Journal::open(second, SMALL),
        Err(JournalError::Locked)
    ));

    let reader = JournalReader::new(FileDisk::existing(directory.path().join("journal")));
    let seen: Vec<_> = reader
        .entries_from(Position::default())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(seen.len(), 1);
    journal.append(1, b"two").unwrap();
    journal.commit().unwrap();
    let more: Vec<_> = reader
        .entries_from(seen[0].next)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        more.iter()
            .map(|e| e.payload.as_slice())
            .collect::<Vec<_>>(),
        [b"two"]
    );

    drop(journal);
    assert_eq!(payloads(&open(&directory), Position::default()).len(), 2);
}

#[test]
fn the_files_stay_within_the_cap_and_are_used_again() {
    let directory = TempDir::new().unwrap();
    let mut journal = open(&directory);
    for round in 0..200_u32 {
        journal.append(1, &[0; 2000]).unwrap();
        journal.commit().unwrap();
        let segments = journal.segments();
        for segment in segments.iter().rev().skip(2) {
            assert!(journal.release(segment.number), "round {round}");
        }
    }
    let on_disk: u64 = std::fs::read_dir(directory.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(on_disk, journal.stats().total_bytes);
    assert!(on_disk <= 4 * 8 * 1024, "{on_disk}");
    assert!(journal.stats().recycled > 40, "{:?}", journal.stats());
}
