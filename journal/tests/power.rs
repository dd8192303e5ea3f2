//! Power cuts: what was committed is there, and nothing but a prefix of what was appended.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use common::{Bench, TINY};
use furrow_journal::sim::Survival;
use furrow_journal::{DamageReason, JournalError, Recovery};
use proptest::prelude::*;

/// Commits of one and of several entries, across sectors, segments and a recycling; ends where
/// the power goes.
fn work(bench: &mut Bench) -> Result<(), JournalError> {
    for round in 0..6 {
        for length in [20, 700, 90] {
            bench.append(length + round)?;
        }
        bench.commit()?;
        bench.append(1200)?;
        bench.commit()?;
        if round == 4 {
            bench.release_all();
        }
    }
    Ok(())
}

fn cut_everywhere(survival: impl Fn(u64) -> Survival) {
    let mut whole = Bench::new(TINY);
    work(&mut whole).unwrap();
    let steps = whole.disk.steps();
    assert!(steps > 10_000, "{steps}");
    for step in 0..steps {
        let mut bench = Bench::new(TINY);
        bench.disk.cut_power_in(step);
        assert!(work(&mut bench).is_err(), "step {step}");
        let recovery = bench.cut(survival(step));
        assert_eq!(recovery.damaged, [], "step {step}");
        // It goes on, and what is behind the cut stays gone.
        bench.append(600).unwrap();
        bench.commit().unwrap();
        let recovery = bench.cut(Survival::Nothing);
        assert_eq!(
            (recovery.damaged, recovery.torn),
            (vec![], None),
            "step {step}"
        );
    }
}

#[test]
fn power_cut_at_every_byte_with_everything_written_so_far_on_the_disk() {
    cut_everywhere(|_| Survival::Everything);
}

#[test]
fn power_cut_at_every_byte_with_nothing_unsynced_on_the_disk() {
    cut_everywhere(|_| Survival::Nothing);
}

#[test]
fn power_cut_at_every_byte_with_torn_sectors() {
    cut_everywhere(|step| Survival::Torn { seed: step });
}

#[test]
fn a_torn_commit_is_dropped_behind_its_first_missing_sector() {
    let mut torn = 0;
    for seed in 0..200 {
        let mut bench = Bench::new(TINY);
        bench.append(100).unwrap();
        bench.commit().unwrap();
        for _ in 0..10 {
            bench.append(200).unwrap();
        }
        // All bytes are written, the sync is not.
        bench
            .disk
            .cut_power_in(1 + 10 * 216_u64.next_multiple_of(8) + 400);
        bench.commit().unwrap_err();
        let Recovery {
            damaged,
            torn: dropped,
            ..
        } = bench.cut(Survival::Torn { seed });
        assert_eq!(damaged, []);
        if let Some(dropped) = dropped {
            assert_eq!(dropped.reason, DamageReason::TornTail);
            torn += 1;
        }
        // The same bytes again in the same places must not bring the dropped ones back.
        let kept = bench.read_all().len();
        bench.append(200).unwrap();
        bench.commit().unwrap();
        assert_eq!(bench.cut(Survival::Nothing).torn, None);
        assert_eq!(bench.read_all().len(), kept + 1);
    }
    assert!(torn > 50, "{torn}");
}

#[test]
fn erasing_a_torn_commit_does_not_complete_a_frame_of_zeros() {
    for seed in 0..300 {
        let mut bench = Bench::new(TINY);
        bench
            .journal()
            .set_preamble(vec![(2, vec![9; 133])])
            .unwrap();
        // The first one is nearly all zeros; its header shares a sector with the preamble.
        for length in [860, 501, 691] {
            bench.append(length).unwrap();
        }
        bench.disk.cut_power_in(517 + 1 + 2300);
        bench.commit().unwrap_err();
        bench.cut(Survival::Torn { seed });
        bench.cut(Survival::Nothing);
    }
}

#[test]
fn a_restart_after_a_failed_sync_finds_only_what_is_on_the_disk() {
    let mut bench = Bench::new(TINY);
    bench.append(100).unwrap();
    bench.commit().unwrap();
    bench.append(100).unwrap();
    bench.disk.fail_syncs(1);
    bench.commit().unwrap_err();
    // The process dies; the bytes are in the page cache, clean, and not on the disk.
    bench.reopen().unwrap();
    assert_eq!(bench.read_all().len(), 1);
    bench.append(100).unwrap();
    bench.commit().unwrap();
    bench.cut(Survival::Nothing);
    assert_eq!(bench.read_all().len(), 2);
}

#[test]
fn a_name_that_a_restart_found_is_durable_before_it_is_used() {
    for recycled in [false, true] {
        let mut bench = Bench::new(TINY);
        bench.append(3000).unwrap();
        bench.commit().unwrap();
        if recycled {
            bench.append(3000).unwrap();
            bench.commit().unwrap();
            bench.release_all();
        }
        bench.append(3000).unwrap();
        // A new file gets its name, and the process ends before that is durable.
        bench.disk.fail_name_syncs(1);
        bench.commit().unwrap_err();
        bench.reopen().unwrap();
        bench.append(3000).unwrap();
        bench.commit().unwrap();
        let recovery = bench.cut(Survival::Nothing);
        assert_eq!(recovery.damaged, []);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Commit,
    Release,
    Erase,
    Reopen,
    Cut { after: u64, survival: Survival },
    FailSync,
    FailNameSync,
    FailWrite,
    Full,
}

fn step() -> impl Strategy<Value = Step> {
    let survival = prop_oneof![
        Just(Survival::Everything),
        Just(Survival::Nothing),
        any::<u64>().prop_map(|seed| Survival::Torn { seed }),
    ];
    prop_oneof![
        8 => (0_usize..1500).prop_map(Step::Append),
        6 => Just(Step::Commit),
        1 => Just(Step::Release),
        1 => Just(Step::Erase),
        1 => Just(Step::Reopen),
        2 => (0_u64..6000, survival).prop_map(|(after, survival)| Step::Cut { after, survival }),
        1 => Just(Step::FailSync),
        1 => Just(Step::FailNameSync),
        1 => Just(Step::FailWrite),
        1 => Just(Step::Full),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_faults_keeps_what_was_committed(
        steps in prop::collection::vec(step(), 1..80),
        preamble in 0_usize..300,
    ) {
        let mut bench = Bench::new(TINY);
        let mut survival = Survival::Nothing;
        let state = vec![(2, vec![9; preamble])];
        bench.journal().set_preamble(state.clone()).unwrap();
        for step in steps {
            match step {
                Step::Append(length) => match bench.append(length) {
                    Ok(()) => {}
                    Err(JournalError::Full { .. }) => bench.release_all(),
                    Err(error) => panic!("{error}"),
                },
                Step::Commit => {
                    let done = bench.commit();
                    prop_assert!(done.is_ok() || bench.committed <= bench.appended.len());
                    if !bench.disk.is_off() {
                        bench.check_readable();
                    }
                }
                Step::Release => bench.release_all(),
                Step::Erase => {
                    let before = bench.appended.clone();
                    if let Ok(below) = bench.erase_all() {
                        bench.check_erased(below, &before);
                    }
                }
                Step::Reopen => {
                    if bench.disk.is_off() {
                        continue;
                    }
                    bench.disk.fail_syncs(0);
                    bench.disk.fail_name_syncs(0);
                    bench.disk.fail_writes(0);
                    if let Some(recovery) = bench.reopen() {
                        prop_assert_eq!(recovery.damaged, []);
                        bench.journal().set_preamble(state.clone()).unwrap();
                    }
                }
                Step::Cut { after, survival: next } => {
                    survival = next;
                    bench.disk.cut_power_in(after);
                }
                Step::FailSync => bench.disk.fail_syncs(1),
                Step::FailNameSync => bench.disk.fail_name_syncs(1),
                Step::FailWrite => bench.disk.fail_writes(1),
                Step::Full => {
                    let used = bench.disk.used_bytes();
                    bench.disk.set_capacity(Some(used));
                    bench.commit().ok();
                    bench.disk.set_capacity(None);
                }
            }
            if bench.disk.is_off() {
                prop_assert_eq!(bench.cut(survival).damaged, []);
                bench.journal().set_preamble(state.clone()).unwrap();
            }
            let total = bench.journal().stats().total_bytes;
            prop_assert!(total <= TINY.cap_bytes, "{total}");
        }
        bench.cut(Survival::Nothing);
    }
}
