//! Ten days of a season, with something broken in each greenhouse on each day. `cargo xtask season` plays
//! a whole one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that prints its figures"
)]

use furrow_season::{Season, play};

/// All kinds of faults come round at least once.
const DAYS: u32 = 10;

#[test]
fn faults_are_told_in_time_interlocks_hold_and_rules_save_water() {
    let seed = std::env::var("FURROW_SEASON_SEED").map_or(7, |seed| seed.parse().unwrap());
    let season = Season {
        seed,
        days: DAYS,
        fault_every_days: 1,
    };
    let report = play(season).unwrap();
    println!("{}", report.table());
    assert!(report.is_passed(), "{:#?}", report.failures);
    assert_eq!(report.faults.len(), 18, "kinds of faults that were sown");
    let shown: usize = report.faults.iter().map(|kind| kind.shown).sum();
    assert!(shown >= 18, "only {shown} faults were touched by a run");
    assert!(report.rules.looks > 100_000 && report.schedule.looks > 100_000);
}
