//! Full disks, the cap, failing writes and syncs, recycling, the preamble.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use common::{Bench, TINY};
use furrow_journal::sim::{SimDisk, Survival};
use furrow_journal::{
    Disk, Entry, Journal, JournalError, JournalReader, MAX_PAYLOAD_BYTES, MAX_UNCOMMITTED_BYTES,
    Options, Position, Recovery,
};

/// What a segment leaves free on the disk, and a bit.
const HEADROOM: u64 = 16 * 1024 * 1024;

#[test]
fn a_full_disk_is_an_error_and_with_space_it_goes_on() {
    let mut bench = Bench::new(TINY);
    bench.append(1000).unwrap();
    bench.commit().unwrap();
    bench
        .disk
        .set_capacity(Some(bench.disk.used_bytes() + HEADROOM));
    let error = loop {
        bench.append(1000).unwrap();
        if let Err(error) = bench.commit() {
            break error;
        }
    };
    assert!(error.is_disk_full(), "{error:?}");
    assert_eq!(error.to_string(), "cannot create next.tmp");
    let committed = bench.committed;
    assert_eq!(committed, 3);
    // More waits, nothing is lost, and nothing is said to be committed.
    bench.append(500).unwrap();
    assert!(bench.commit().unwrap_err().is_disk_full());
    bench.check_readable();
    assert_eq!(bench.committed, committed);
    bench.disk.set_capacity(None);
    bench.commit().unwrap();
    assert_eq!(bench.committed, committed + 2);
    bench.cut(Survival::Nothing);
    assert_eq!(bench.read_all().len(), committed + 2);
}

#[test]
fn a_full_disk_does_not_stop_a_journal_that_can_recycle() {
    let mut bench = Bench::new(Options {
        keep_bytes: u64::MAX,
        ..TINY
    });
    for _ in 0..4 {
        bench.append(2500).unwrap();
        bench.commit().unwrap();
    }
    bench.disk.set_capacity(Some(bench.disk.used_bytes()));
    for _ in 0..20 {
        bench.release_all();
        bench.append(2500).unwrap();
        bench.commit().unwrap();
    }
    assert_eq!(bench.journal().stats().created, 4);
}

#[test]
fn the_cap_is_reached_reported_and_left_by_a_release() {
    let mut bench = Bench::new(TINY);
    let error = loop {
        match bench.append(1500) {
            Ok(()) => bench.commit().unwrap(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, JournalError::Full { cap_bytes } if cap_bytes == TINY.cap_bytes));
    assert!(bench.journal().stats().total_bytes <= TINY.cap_bytes);
    assert!(bench.journal().stats().total_bytes > TINY.cap_bytes / 2);
    let oldest = bench.journal().segments()[0];
    assert!(bench.journal().release(oldest.number));
    bench.released_below = oldest.number + 1;
    // Readable until its space is needed.
    assert_eq!(bench.journal().first(), oldest.first);
    bench.append(1500).unwrap();
    bench.commit().unwrap();
    assert!(bench.journal().first() > oldest.first);
    bench.cut(Survival::Nothing);
}

#[test]
fn a_release_is_taken_back_as_long_as_the_space_was_not_used() {
    let mut bench = Bench::new(Options {
        keep_bytes: u64::MAX,
        ..TINY
    });
    while bench.append(1500).is_ok() {
        bench.commit().unwrap();
    }
    let segments = bench.journal().segments();
    let live = bench.journal().stats().live_bytes;
    for segment in &segments[..3] {
        assert!(bench.journal().release(segment.number));
    }
    assert!(bench.journal().keep(segments[0].number));
    assert_eq!(bench.journal().stats().live_bytes, live - 2 * 4096);
    bench.released_below = segments[3].number;
    while bench.append(1500).is_ok() {
        bench.commit().unwrap();
    }
    let left: Vec<u64> = bench
        .journal()
        .segments()
        .iter()
        .map(|s| s.number)
        .collect();
    assert!(left.contains(&segments[0].number), "{left:?}");
    assert!(!left.contains(&segments[1].number), "{left:?}");
    assert!(!bench.journal().keep(segments[1].number), "it is gone");
}

#[test]
fn released_segments_are_kept_up_to_the_bytes_asked_for() {
    let mut bench = Bench::new(Options {
        keep_bytes: 3 * 4096,
        ..TINY
    });
    for _ in 0..60 {
        bench.append(1500).unwrap();
        bench.commit().unwrap();
        bench.release_all();
        let stats = bench.journal().stats();
        assert!(stats.total_bytes <= 6 * 4096, "{stats:?}");
    }
    assert_eq!(bench.journal().stats().total_bytes, 5 * 4096);
}

#[test]
fn the_directory_shrinks_again_after_an_outage() {
    let mut bench = Bench::new(Options {
        keep_bytes: 4096,
        ..TINY
    });
    while bench.append(1500).is_ok() {
        bench.commit().unwrap();
    }
    let largest = bench.journal().stats().total_bytes;
    assert_eq!(largest, 9 * 4096);
    for _ in 0..40 {
        bench.release_all();
        bench.append(1500).unwrap();
        bench.commit().unwrap();
    }
    assert_eq!(bench.journal().stats().total_bytes, 3 * 4096);
    assert_eq!(bench.disk.used_bytes(), 3 * 4096);
}

#[test]
fn a_file_whose_sync_failed_is_not_trusted_again() {
    for failures in 1..4 {
        let mut bench = Bench::new(TINY);
        bench.append(300).unwrap();
        bench.commit().unwrap();
        bench.append(300).unwrap();
        bench.disk.fail_syncs(failures);
        for _ in 0..failures {
            bench.commit().unwrap_err();
            assert_eq!(bench.committed, 1);
        }
        bench.append(100).unwrap();
        bench.commit().unwrap();
        bench.append(100).unwrap();
        bench.commit().unwrap();
        bench.check_readable();
        let recovery = bench.cut(Survival::Nothing);
        assert_eq!((recovery.damaged, recovery.torn), (vec![], None));
        assert_eq!(bench.read_all().len(), 4);
        let stats = bench.journal().stats();
        assert_eq!(stats.total_bytes, 4096);
        // The reader of another process sees the same.
        let reader = JournalReader::new(bench.disk.clone());
        let seen = reader
            .entries_from(Position::default())
            .unwrap()
            .map(Result::unwrap);
        assert_eq!(
            seen.map(|e| (e.position, e.payload)).collect::<Vec<_>>(),
            bench.appended
        );
    }
}

/// Nine hundred failures within one segment, on a disk that holds three.
#[test]
fn a_disk_that_fails_again_and_again_takes_no_more_space() {
    let options = Options {
        segment_bytes: 256 * 1024,
        cap_bytes: 3 * 256 * 1024,
        keep_bytes: 0,
    };
    let faults: [fn(&SimDisk, u32); 3] = [
        SimDisk::fail_writes,
        SimDisk::fail_syncs,
        SimDisk::fail_name_syncs,
    ];
    for (case, fail) in faults.into_iter().enumerate() {
        let mut bench = Bench::new(options);
        for round in 0..300 {
            bench.append(20).unwrap();
            fail(&bench.disk, 1 + round % 3);
            while bench.commit().is_err() {}
            let used = bench.disk.used_bytes();
            assert!(used <= 2 * 256 * 1024, "case {case}, round {round}: {used}");
        }
        bench.check_readable();
        assert_eq!(bench.journal().segments().len(), 1, "case {case}");
        assert_eq!(bench.journal().stats().total_bytes, 256 * 1024);
        assert_eq!(bench.disk.used_bytes(), 256 * 1024, "case {case}");
        assert_eq!(
            bench.cut(Survival::Nothing),
            Recovery {
                entries: 300,
                ..Recovery::default()
            }
        );
    }
}

#[test]
fn a_power_cut_while_a_failed_file_is_replaced_loses_nothing() {
    let survivals: [fn(u64) -> Survival; 3] = [
        |_| Survival::Everything,
        |_| Survival::Nothing,
        |seed| Survival::Torn { seed },
    ];
    for survival in survivals {
        let mut cut_in = 0;
        loop {
            let mut bench = Bench::new(TINY);
            for length in [600, 90] {
                bench.append(length).unwrap();
                bench.commit().unwrap();
            }
            bench.append(700).unwrap();
            bench.disk.fail_writes(1);
            bench.commit().unwrap_err();
            bench.disk.cut_power_in(cut_in);
            let is_done = bench.commit().is_ok();
            let recovery = bench.cut(survival(cut_in));
            assert_eq!(recovery.damaged, [], "cut in {cut_in}");
            bench.append(100).unwrap();
            bench.commit().unwrap();
            let recovery = bench.cut(Survival::Nothing);
            let found = (recovery.damaged, recovery.torn);
            assert_eq!(found, (vec![], None), "cut in {cut_in}");
            if is_done {
                break;
            }
            cut_in += 1;
        }
        assert!(cut_in > 2_000, "{cut_in} steps");
    }
}

/// What can't be copied stays where it is, and the next entry begins a segment, so that the one that
/// failed can be released.
#[test]
fn a_damaged_segment_whose_file_fails_is_left_for_another() {
    let mut bench = Bench::new(Options {
        cap_bytes: 5 * 4096,
        ..TINY
    });
    for round in 0..60_u64 {
        bench.append(100).unwrap();
        bench.commit().unwrap();
        let end = bench.journal().end();
        let name = format!("{:016x}-00.seg", end.segment);
        bench.disk.flip_bit(&name, u64::from(end.offset) - 20, 3);
        bench.append(100).unwrap();
        bench.disk.fail_syncs(1);
        bench.commit().unwrap_err();
        bench.commit().unwrap();
        let waiting = bench.appended.last().unwrap().0;
        assert_eq!(waiting.segment, end.segment, "its position was given out");
        assert_eq!(bench.journal().read(waiting).unwrap().position, waiting);
        bench.append(100).unwrap();
        bench.commit().unwrap();
        assert_eq!(bench.journal().end().segment, end.segment + 1);
        bench.release_all();
        let stats = bench.journal().stats();
        assert!(stats.total_bytes <= 5 * 4096, "round {round}: {stats:?}");
    }
}

#[test]
fn a_failed_write_is_made_again() {
    let mut bench = Bench::new(TINY);
    for round in 0..6 {
        bench.append(200).unwrap();
        bench.append(900).unwrap();
        bench.disk.fail_writes(round % 3);
        for _ in 0..round % 3 {
            bench.commit().unwrap_err();
        }
        bench.commit().unwrap();
    }
    bench.cut(Survival::Nothing);
    assert_eq!(bench.read_all().len(), 12);
}

#[test]
fn an_owner_that_never_commits_is_stopped() {
    let mut bench = Bench::new(Options {
        cap_bytes: 1 << 30,
        ..Options::default()
    });
    let error = loop {
        if let Err(error) = bench.append(1 << 20) {
            break error;
        }
    };
    assert!(matches!(error, JournalError::Uncommitted { .. }), "{error}");
    assert!(bench.journal().stats().uncommitted_bytes <= MAX_UNCOMMITTED_BYTES);
    bench.commit().unwrap();
    assert_eq!(bench.read_all().len(), 7);
}

#[test]
fn an_entry_that_cannot_fit_is_refused() {
    let mut bench = Bench::new(TINY);
    let error = bench.append(4096).unwrap_err();
    assert_eq!(
        error.to_string(),
        "entry of 4096 bytes exceeds the limit of 3568 bytes"
    );
    bench.append(3568).unwrap();
    bench
        .journal()
        .set_preamble(vec![(2, vec![0; 1000])])
        .unwrap();
    bench.append(2552).unwrap();
    assert!(bench.append(2553).is_err());
    assert!(
        bench
            .journal()
            .set_preamble(vec![(2, vec![0; 1009])])
            .is_err()
    );
    bench.commit().unwrap();

    let mut bench = Bench::new(Options::default());
    bench.append(MAX_PAYLOAD_BYTES as usize).unwrap();
    assert!(bench.append(MAX_PAYLOAD_BYTES as usize + 1).is_err());
    bench.commit().unwrap();
    bench.cut(Survival::Nothing);
    assert_eq!(bench.read_all()[0].1.len(), MAX_PAYLOAD_BYTES as usize);
}

#[test]
fn a_recycled_file_never_shows_its_earlier_life() {
    let mut bench = Bench::new(TINY);
    // The same sizes in each life, so that old frames stand exactly where new ones might.
    for round in 0..40 {
        bench.append(400).unwrap();
        bench.append(100).unwrap();
        bench.commit().unwrap();
        bench.release_all();
        let recovery = bench.cut(Survival::Torn { seed: round });
        assert_eq!((recovery.damaged, recovery.torn), (vec![], None), "{round}");
        bench.check_readable();
        bench.release_all();
    }
    assert!(bench.disk.list().unwrap().len() <= 3);
    let last = bench.journal().segments().last().unwrap().number;
    assert!(last > 10, "{last}");
}

#[test]
fn numbers_are_not_used_again_after_everything_was_released() {
    let mut bench = Bench::new(TINY);
    let mut last = 0;
    for _ in 0..10 {
        bench.append(3000).unwrap();
        bench.commit().unwrap();
        bench.release_all();
        let number = bench.journal().end().segment;
        assert!(number > last);
        last = number;
        bench.cut(Survival::Nothing);
        bench.release_all();
    }
}

#[test]
fn every_segment_begins_with_the_preamble() {
    let mut bench = Bench::new(TINY);
    for round in 0..12_u8 {
        bench
            .journal()
            .set_preamble(vec![(2, vec![round; 5]), (3, vec![])])
            .unwrap();
        bench.append(1700).unwrap();
        bench.commit().unwrap();
        bench.release_all();
    }
    let journal = bench.journal.as_ref().unwrap();
    let entries: Vec<Entry> = journal
        .entries_from(Position::default())
        .map(Result::unwrap)
        .collect();
    for segment in journal.segments() {
        let inside: Vec<_> = entries
            .iter()
            .filter(|e| e.position.segment == segment.number)
            .collect();
        assert_eq!(inside.len() as u64, segment.entries);
        assert_eq!(
            (inside[0].position, inside[0].kind, inside[0].preamble),
            (segment.first, 2, true)
        );
        assert_eq!(inside[0].payload.len(), 5);
        assert_eq!((inside[1].kind, inside[1].preamble), (3, true));
        assert!(
            inside[2..]
                .iter()
                .all(|entry| entry.kind == 1 && !entry.preamble)
        );
    }
}

#[test]
fn a_segment_that_was_only_begun_gets_its_preamble_after_the_restart() {
    let mut bench = Bench::new(TINY);
    bench
        .journal()
        .set_preamble(vec![(2, b"state".to_vec())])
        .unwrap();
    bench.append(100).unwrap();
    // The file is made, its first commit fails, the process ends.
    bench.disk.fail_writes(0);
    let until_file_is_made = 1 + 513 + 1 + 1 + 1;
    bench.disk.cut_power_in(until_file_is_made);
    bench.commit().unwrap_err();
    bench.cut(Survival::Everything);
    bench
        .journal()
        .set_preamble(vec![(2, b"state".to_vec())])
        .unwrap();
    bench.append(100).unwrap();
    bench.commit().unwrap();
    let journal = bench.journal.as_ref().unwrap();
    let entries = journal
        .entries_from(Position::default())
        .map(Result::unwrap);
    assert_eq!(
        entries
            .map(|e| (e.position.segment, e.preamble))
            .collect::<Vec<_>>(),
        [(1, true), (1, false)]
    );
}

#[test]
fn one_commit_is_one_write_and_one_sync() {
    let mut bench = Bench::new(Options::default());
    bench.append(100).unwrap();
    bench.commit().unwrap();
    let before = bench.disk.steps();
    for _ in 0..10 {
        bench.append(100).unwrap();
    }
    bench.commit().unwrap();
    // A call is a step and so is a byte: one write of three sectors, one sync.
    assert_eq!(bench.disk.steps() - before, 1 + 3 * 512 + 1);
    bench.commit().unwrap();
    assert_eq!(bench.disk.steps() - before, 1 + 3 * 512 + 1);
}

#[test]
fn released_and_unknown_positions_are_not_found() {
    let mut bench = Bench::new(TINY);
    bench.append(10).unwrap();
    let waiting = bench.appended[0].0;
    assert!(matches!(
        bench.journal().read(waiting),
        Err(JournalError::NotFound { .. })
    ));
    assert!(!bench.journal().release(1));
    bench.commit().unwrap();
    bench.journal().read(waiting).unwrap();
    assert!(
        !bench.journal().release(1),
        "the segment that is written to"
    );
    let end = bench.journal().end();
    assert!(matches!(
        bench.journal().read(end),
        Err(JournalError::NotFound { .. })
    ));
    assert_eq!(bench.journal().entries_from(end).count(), 0);
    assert_eq!(
        bench
            .journal()
            .entries_from(Position {
                segment: 99,
                offset: 0
            })
            .count(),
        0
    );
}

#[test]
fn a_spare_of_another_size_is_replaced() {
    let mut bench = Bench::new(TINY);
    bench.append(3000).unwrap();
    bench.commit().unwrap();
    bench.disk.create("next.tmp", 100).unwrap();
    bench.disk.sync_dir().unwrap();
    bench.cut(Survival::Nothing);
    bench.options.segment_bytes = 8 * 1024;
    bench.cut(Survival::Nothing);
    for _ in 0..4 {
        bench.append(3000).unwrap();
        bench.commit().unwrap();
        bench.release_all();
    }
    let (journal, _) = Journal::open(bench.disk.clone(), bench.options).unwrap();
    assert_eq!(journal.stats().total_bytes, bench.disk.used_bytes());
}

#[test]
fn what_a_lying_disk_reported_durable_is_gone_and_an_image_is_a_disk_of_its_own() {
    let mut bench = Bench::new(TINY);
    bench.append(100).unwrap();
    bench.commit().unwrap();
    let image = bench.disk.image();
    bench.disk.lie_about_syncs(true);
    bench.append(100).unwrap();
    bench.commit().unwrap();
    bench.disk.restart(Survival::Nothing);
    bench.disk.lie_about_syncs(false);
    for disk in [&bench.disk, &image] {
        let (journal, recovery) = Journal::open(disk.clone(), TINY).unwrap();
        assert_eq!((recovery.entries, journal.end().segment), (1, 1));
    }
}
