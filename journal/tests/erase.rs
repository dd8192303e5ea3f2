//! What is erased is off the disk, whatever happens meanwhile, and nothing else is.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use common::{Bench, TINY};
use furrow_journal::sim::Survival;
use furrow_journal::{Disk, Journal, JournalError, Options, Position};

/// Segments are recycled, so that old bytes lie behind written ends and in the spare; then all of it goes.
fn fill(bench: &mut Bench) {
    for round in 0..8 {
        bench.append(900 + round).unwrap();
        bench.append(1100).unwrap();
        bench.commit().unwrap();
        if round % 2 == 1 {
            bench.release_all();
        }
    }
    bench.append(30).unwrap();
    bench.commit().unwrap();
}

fn work(bench: &mut Bench) -> Result<u64, JournalError> {
    let below = bench.erase_all()?;
    bench.append(40)?;
    bench.commit()?;
    Ok(below)
}

#[test]
fn nothing_that_was_erased_is_on_the_disk_and_what_follows_is() {
    let options = [
        TINY,
        Options {
            keep_bytes: u64::MAX,
            ..TINY
        },
    ];
    for options in options {
        let mut bench = Bench::new(options);
        fill(&mut bench);
        let below = work(&mut bench).unwrap();
        let appended = bench.appended.clone();
        assert!(appended.len() > 10);
        bench.check_erased(below, &appended);
        assert_eq!(bench.read_all(), appended[appended.len() - 1..]);
        for round in 0..30 {
            bench.append(1700).unwrap();
            bench.commit().unwrap();
            bench.check_erased(below, &appended);
            if round % 4 == 0 {
                bench.release_all();
            }
        }
        bench.cut(Survival::Nothing);
        bench.check_erased(below, &appended);
    }
}

#[test]
fn power_cut_at_every_byte_while_a_journal_is_erased() {
    let mut whole = Bench::new(TINY);
    fill(&mut whole);
    let begin = whole.disk.steps();
    work(&mut whole).unwrap();
    let steps = whole.disk.steps() - begin;
    let survivals: [fn(u64) -> Survival; 3] = [
        |_| Survival::Everything,
        |_| Survival::Nothing,
        |seed| Survival::Torn { seed },
    ];
    for survival in survivals {
        for step in 0..steps {
            let mut bench = Bench::new(TINY);
            fill(&mut bench);
            bench.disk.cut_power_in(step);
            assert!(work(&mut bench).is_err(), "step {step}");
            let before = bench.appended.clone();
            let recovery = bench.cut(survival(step));
            assert_eq!(recovery.damaged, [], "step {step}");
            // The owner does it again, from wherever it was.
            let again = bench.erase_all().unwrap();
            bench.append(600).unwrap();
            bench.commit().unwrap();
            bench.check_erased(again, &before);
            assert_eq!(bench.read_all().len(), 1, "step {step}");
            let recovery = bench.cut(Survival::Nothing);
            let found = (recovery.damaged, recovery.torn, recovery.entries);
            assert_eq!(found, (vec![], None, 1), "step {step}");
            bench.check_erased(again, &before);
        }
    }
}

/// What a segment that is not released holds stays; its file is not used again later either.
#[test]
fn what_is_still_needed_stays_until_it_is_released() {
    let mut bench = Bench::new(TINY);
    for _ in 0..4 {
        bench.append(3000).unwrap();
        bench.commit().unwrap();
    }
    let below = bench.journal().roll().unwrap();
    let appended = bench.appended.clone();
    let segments = bench.journal().segments();
    assert_eq!(bench.journal().end().segment, below);
    assert!(bench.journal().release(segments[0].number));
    bench.released_below = segments[0].number + 1;
    assert_eq!(bench.journal().erase(below).unwrap(), 3);
    assert_eq!(bench.read_all(), appended[1..]);
    // As after a restart, of which the journal knows nothing.
    bench.cut(Survival::Nothing);
    assert_eq!(bench.journal().erase(below).unwrap(), 3);
    for _ in 0..3 {
        bench.append(3000).unwrap();
        bench.commit().unwrap();
    }
    for segment in &segments[1..4] {
        assert!(bench.journal().release(segment.number));
    }
    bench.released_below = below;
    for _ in 0..3 {
        bench.append(3000).unwrap();
        bench.commit().unwrap();
    }
    assert_eq!(bench.journal().erase(below).unwrap(), 0);
    bench.check_erased(below, &appended);
    bench.check_readable();
}

#[test]
fn damaged_files_go_too() {
    let mut bench = Bench::new(TINY);
    for _ in 0..3 {
        bench.append(3000).unwrap();
        bench.commit().unwrap();
    }
    bench.disk.flip_bit("0000000000000001-00.seg", 600, 1);
    bench.journal = None;
    let (journal, recovery) = Journal::open(bench.disk.clone(), TINY).unwrap();
    assert_eq!(recovery.damaged.len(), 1);
    bench.journal = Some(journal);
    bench.release_all();
    for _ in 0..2 {
        bench.journal().append(1, &[b'x'; 3000]).unwrap();
        bench.journal().commit().unwrap();
    }
    let is_aside = |name: &String| name.contains(".damaged");
    assert!(bench.disk.list().unwrap().iter().any(is_aside));
    let appended = bench.appended.clone();
    bench.committed = 0;
    let below = bench.journal().roll().unwrap();
    bench.release_all();
    assert_eq!(bench.journal().erase(below).unwrap(), 0);
    assert!(!bench.disk.list().unwrap().iter().any(is_aside));
    bench.check_erased(below, &appended);
}

#[test]
fn a_disk_that_fails_is_an_error_and_is_asked_again() {
    let mut bench = Bench::new(TINY);
    bench.append(3000).unwrap();
    bench.commit().unwrap();
    bench.append(100).unwrap();
    bench.disk.fail_writes(1);
    bench.journal().roll().unwrap_err();
    bench.disk.fail_name_syncs(2);
    bench.journal().roll().unwrap_err();
    bench.journal().roll().unwrap_err();
    let below = bench.journal().roll().unwrap();
    bench.committed = bench.appended.len();
    assert_eq!(bench.journal().end().segment, below);
    bench.release_all();
    bench.disk.fail_name_syncs(1);
    bench.journal().erase(below).unwrap_err();
    assert_eq!(bench.journal().erase(below).unwrap(), 0);
    let appended = bench.appended.clone();
    bench.append(10).unwrap();
    bench.commit().unwrap();
    bench.cut(Survival::Nothing);
    bench.check_erased(below, &appended);
    assert_eq!(bench.read_all().len(), 1);
    assert!(
        bench
            .journal()
            .entries_from(Position::default())
            .all(|one| one.is_ok())
    );
}
