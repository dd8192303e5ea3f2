//! Timelines: what the irrigation does, second by second, against a small model of the controller.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

mod bench;
mod random;

use bench::{Bench, Fault, HOUR, MINUTE, SECOND, zone};
use furrow_irrigation::{Refusal, ZoneIndex};

const Z1: ZoneIndex = ZoneIndex(0);
const Z2: ZoneIndex = ZoneIndex(1);

#[test]
fn every_output_is_closed_at_start() {
    let mut bench = Bench::new(vec![zone("a", 30, 120, &[]), zone("b", 30, 120, &[])]);
    bench.controller.open_by_someone(0, 3_600 * SECOND);
    bench.until(MINUTE);
    // Output 1's valve takes its 3 s to close; the second look finds it shut.
    bench.expect(&["0 a lease 0", "0 b lease 0"]);
    assert!(bench.controller.is_shut(MINUTE));
    assert!(bench.irrigation.is_shut());
}

#[test]
fn a_manual_run_lives_by_renewed_leases_and_ends_by_itself() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, 60 * SECOND).unwrap();
    bench.until(3 * MINUTE);
    // Charged before the first lease; a lease never reaches beyond the planned end.
    bench.expect(&[
        "10 a used 60",
        "10 a started run 1 Manual for 60",
        "10 a lease 30",
        "20 a lease 30",
        "30 a lease 30",
        "40 a lease 30",
        "50 a lease 20",
        "60 a lease 10",
        "70 a lease 0",
        "77 a ended run 1 Manual, open 60, litres 1000, Completed",
        "77 a used 60",
    ]);
    assert_eq!(bench.controller.open_ms(0), 60 * SECOND);
}

#[test]
fn a_stopped_run_gives_its_rest_back() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, 30 * MINUTE).unwrap();
    bench.until(25 * SECOND);
    assert!(bench.stop(Z1));
    assert!(!bench.stop(Z1));
    bench.until(MINUTE);
    bench.expect(&[
        "10 a used 1800",
        "10 a started run 1 Manual for 1800",
        "10 a lease 30",
        "20 a lease 30",
        "25 a lease 0",
        "32 a ended run 1 Manual, open 15, litres 250, Stopped",
        "32 a used 15",
    ]);
}

#[test]
fn interlocks_refuse_a_manual_run() {
    let mut bench = Bench::new(vec![zone("a", 30, 40, &[]), zone("b", 30, 120, &[])]);
    bench.controller.fault = Fault::Unplugged;
    bench.until(SECOND);
    assert_eq!(bench.manual(Z1, MINUTE), Err(Refusal::NotReady));
    bench.controller.fault = Fault::None;
    bench.until(10 * SECOND);
    assert_eq!(bench.manual(ZoneIndex(7), MINUTE), Err(Refusal::NoSuchZone));
    assert_eq!(bench.manual(Z1, 10), Err(Refusal::TooShort));
    let max_run_ms = 30 * MINUTE;
    assert_eq!(bench.manual(Z1, HOUR), Err(Refusal::TooLong { max_run_ms }));
    bench.manual(Z1, 30 * MINUTE).unwrap();
    bench.until(20 * SECOND);
    assert_eq!(bench.manual(Z1, MINUTE), Err(Refusal::AlreadyRunning));
    assert_eq!(
        bench.manual(Z2, MINUTE),
        Err(Refusal::OthersRunning { open: 1 })
    );
    bench.until(31 * MINUTE);
    let left_ms = 10 * MINUTE;
    assert_eq!(
        bench.manual(Z1, 11 * MINUTE),
        Err(Refusal::BudgetSpent { left_ms })
    );
    bench.manual(Z1, 10 * MINUTE).unwrap();
    bench.until(50 * MINUTE);
    assert_eq!(
        bench.manual(Z1, MINUTE),
        Err(Refusal::BudgetSpent { left_ms: 0 })
    );
}

#[test]
fn a_controller_that_does_not_answer_gets_no_run() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.controller.fault = Fault::Unplugged;
    bench.manual(Z1, MINUTE).unwrap();
    bench.until(MINUTE);
    bench.expect(&["12 a not started Manual: the controller does not answer"]);
    assert_eq!(bench.used_s("a"), 0);
}

#[test]
fn a_cable_pulled_during_a_run_ends_it_with_the_lease() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, 10 * MINUTE).unwrap();
    bench.until(35 * SECOND);
    bench.controller.fault = Fault::Unplugged;
    bench.until(5 * MINUTE);
    // The last lease was taken at 30 s. It ends at 60 s, whatever is tried.
    assert_eq!(bench.controller.open_ms(0), 50 * SECOND);
    let ended = "70 a ended run 1 Manual, open 50, litres unknown, LeaseLost";
    bench.expect_events(&[
        "10 a started run 1 Manual for 600",
        ended,
        "70 a locked out: the controller does not answer after the run",
    ]);
    assert_eq!(bench.used_s("a"), 50);
    bench.controller.fault = Fault::None;
    bench.until(6 * MINUTE);
    bench.expect_events(&["310 a recovered"]);
    bench.manual(Z1, MINUTE).unwrap();
}

#[test]
fn a_controller_that_resets_ends_the_run() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, 10 * MINUTE).unwrap();
    bench.until(32 * SECOND);
    bench.controller.reset(32 * SECOND);
    bench.until(2 * MINUTE);
    // The renewal at 40 s opens it again; the status that follows shows the reset's flag and a
    // pulse count that restarted.
    assert!(bench.controller.is_shut(2 * MINUTE));
    let events = bench.events();
    assert_eq!(events[0], "10 a started run 1 Manual for 600");
    assert!(
        events[1].contains("litres unknown, LeaseLost"),
        "{events:?}"
    );
    assert_eq!(events.len(), 2);
}

#[test]
fn a_valve_that_does_not_open_is_closed_and_told() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.controller.fault = Fault::StuckShut;
    bench.manual(Z1, 10 * MINUTE).unwrap();
    bench.until(MINUTE);
    bench.expect_events(&[
        "10 a started run 1 Manual for 600",
        "24 a ended run 1 Manual, open 7, litres 117, Fault",
    ]);
    assert_eq!(bench.used_s("a"), 7);
}

#[test]
fn a_valve_that_does_not_close_locks_its_zone_out() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, MINUTE).unwrap();
    bench.until(40 * SECOND);
    bench.controller.fault = Fault::StuckOpen;
    bench.until(2 * MINUTE);
    bench.expect_events(&[
        "10 a started run 1 Manual for 60",
        "77 a ended run 1 Manual, open 60, litres 1117, Completed",
        "77 a locked out: the valve is open although its output is closed",
    ]);
    assert_eq!(bench.manual(Z1, MINUTE), Err(Refusal::LockedOut));
    bench.controller.fault = Fault::None;
    bench.until(3 * MINUTE);
    bench.expect_events(&["127 a recovered"]);
    bench.manual(Z1, MINUTE).unwrap();
}

#[test]
fn a_short_disturbance_costs_nothing() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, MINUTE).unwrap();
    bench.until(19 * SECOND);
    bench.controller.fault = Fault::Unplugged;
    bench.until(28 * SECOND);
    bench.controller.fault = Fault::None;
    bench.until(2 * MINUTE);
    bench.expect_events(&[
        "10 a started run 1 Manual for 60",
        "77 a ended run 1 Manual, open 60, litres 1000, Completed",
    ]);
}

#[test]
fn a_crash_closes_at_the_next_start_and_says_so() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, 10 * MINUTE).unwrap();
    bench.until(35 * SECOND);
    bench.crash_and_restart(5 * SECOND, 7);
    bench.until(MINUTE);
    bench.expect(&[
        "10 a used 600",
        "10 a started run 1 Manual for 600",
        "10 a lease 30",
        "20 a lease 30",
        "30 a lease 30",
        "40 a lease 0",
        "40 a ended run 1 Manual, open 30, litres 500, Interrupted",
        "40 a used 30",
    ]);
    // The next run has another number.
    bench.until(2 * MINUTE);
    assert_eq!(bench.manual(Z1, MINUTE), Ok(2));
}

#[test]
fn after_a_reboot_the_whole_charge_stands() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, 10 * MINUTE).unwrap();
    bench.until(35 * SECOND);
    bench.crash_and_restart(5 * MINUTE, 8);
    bench.until(6 * MINUTE);
    let events = bench.events();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(
        events[1].ends_with("other boot, open 600, litres 833, Interrupted"),
        "{events:?}"
    );
    assert_eq!(bench.used_s("a"), 600);
    // Its controller closed the valve one lease after the last renewal.
    assert_eq!(bench.controller.open_ms(0), 50 * SECOND);
}

#[test]
fn shutting_down_closes_at_once() {
    let mut bench = Bench::started(vec![zone("a", 30, 120, &[])]);
    bench.manual(Z1, 10 * MINUTE).unwrap();
    bench.until(35 * SECOND);
    bench.shutdown();
    assert!(bench.irrigation.is_shut());
    assert_eq!(bench.manual(Z1, MINUTE), Err(Refusal::Stopped));
    bench.expect_events(&[
        "10 a started run 1 Manual for 600",
        "35 a ended run 1 Manual, open 25, litres 417, Interrupted",
    ]);
}

#[test]
fn the_schedule_waters_once_a_day_one_zone_after_the_other() {
    let zones = vec![
        zone("a", 30, 60, &[("06:00", 10)]),
        zone("b", 30, 60, &[("06:05", 5)]),
    ];
    let mut bench = Bench::at("2026-11-22T05:59:00+07:00", zones);
    bench.until(30 * HOUR);
    bench.expect_events(&[
        "60 a started run 1 Schedule for 600",
        "667 a ended run 1 Schedule, open 600, litres 10000, Completed",
        "667 b started run 2 Schedule for 300",
        "974 b ended run 2 Schedule, open 300, litres 5000, Completed",
        "86460 a started run 3 Schedule for 600",
        "87067 a ended run 3 Schedule, open 600, litres 10000, Completed",
        "87067 b started run 4 Schedule for 300",
        "87374 b ended run 4 Schedule, open 300, litres 5000, Completed",
    ]);
}

#[test]
fn without_a_clock_nothing_runs_by_schedule() {
    let mut bench = Bench::at(
        "2026-11-22T05:59:00+07:00",
        vec![zone("a", 30, 60, &[("06:00", 10)])],
    );
    bench.clock_known = false;
    bench.until(5 * HOUR);
    bench.expect_events(&[]);
    bench.manual(Z1, MINUTE).unwrap();
    bench.until(6 * HOUR);
    assert_eq!(bench.events().len(), 2);
    // Becoming known at noon makes nothing up, since the clock was never known before.
    bench.clock_known = true;
    bench.until(20 * HOUR);
    bench.expect_events(&[]);
}

#[test]
fn a_start_missed_by_minutes_is_made_up_and_by_hours_is_told() {
    let zones = || vec![zone("a", 30, 60, &[("06:00", 10)])];
    let mut bench = Bench::at("2026-11-22T05:50:00+07:00", zones());
    bench.until(MINUTE);
    // Off from 05:51 to 06:10.
    bench.crash_and_restart(19 * MINUTE, 8);
    bench.until(21 * MINUTE);
    bench.expect_events(&["1200 a started run 1 Schedule for 600"]);
    let mut bench = Bench::at("2026-11-22T05:50:00+07:00", zones());
    bench.until(MINUTE);
    bench.crash_and_restart(2 * HOUR, 8);
    bench.until(3 * HOUR);
    let late = "7260 a not started Schedule: the scheduled time passed 6660000 ms ago";
    bench.expect_events(&[late]);
    // Told once, also across another restart.
    bench.crash_and_restart(MINUTE, 9);
    bench.until(4 * HOUR);
    bench.expect_events(&[]);
}

#[test]
fn a_scheduled_run_is_shortened_to_the_budget_or_left_out() {
    let times = [("06:00", 30), ("07:00", 30), ("08:00", 30)];
    let mut bench = Bench::at("2026-11-22T05:59:00+07:00", vec![zone("a", 30, 45, &times)]);
    bench.until(4 * HOUR);
    bench.expect_events(&[
        "60 a started run 1 Schedule for 1800",
        "1867 a ended run 1 Schedule, open 1800, litres 30000, Completed",
        "3660 a started run 2 Schedule for 900",
        "4567 a ended run 2 Schedule, open 900, litres 15000, Completed",
        "7260 a not started Schedule: only 0 ms are left of today's watering time",
    ]);
}

#[test]
fn a_clock_that_steps_over_midnight_and_back_refills_nothing() {
    let mut bench = Bench::at("2026-11-22T12:00:00+07:00", vec![zone("a", 30, 30, &[])]);
    bench.until(25 * HOUR);
    bench.manual(Z1, 30 * MINUTE).unwrap();
    bench.until(26 * HOUR);
    assert_eq!(bench.used_s("a"), 1_800);
    // The first new day has come at 12 h; a second one within 20 h is none.
    bench.wall_step_ms = 12 * 3_600_000;
    bench.until(27 * HOUR);
    assert_eq!(bench.used_s("a"), 1_800);
    bench.wall_step_ms = 0;
    bench.until(28 * HOUR);
    assert_eq!(bench.used_s("a"), 1_800);
    // The true next day, 24 h after the last reset.
    bench.until(37 * HOUR);
    assert_eq!(bench.used_s("a"), 0);
}

#[test]
fn a_run_over_midnight_is_charged_to_the_new_day() {
    let mut bench = Bench::at("2026-11-22T23:50:00+07:00", vec![zone("a", 30, 30, &[])]);
    bench.until(5 * MINUTE);
    bench.manual(Z1, 20 * MINUTE).unwrap();
    bench.until(11 * MINUTE);
    assert_eq!(bench.used_s("a"), 1_200);
    bench.until(HOUR);
    assert_eq!(bench.used_s("a"), 1_200);
}

#[test]
fn summer_time_neither_skips_nor_doubles_a_run() {
    let zones = || vec![zone("a", 30, 60, &[("02:30", 10)])];
    // 29 March 2026, Berlin: 02:00 becomes 03:00. The run comes right after the gap.
    let mut bench = Bench::at_zone("Europe/Berlin", "2026-03-29T01:00:00+01:00", zones());
    bench.until(23 * HOUR);
    let started: Vec<String> = bench
        .events()
        .into_iter()
        .filter(|event| event.contains("started"))
        .collect();
    assert_eq!(started, ["5400 a started run 1 Schedule for 600"]);
    // 25 October 2026, Berlin: 03:00 becomes 02:00. The run comes the first time only.
    let mut bench = Bench::at_zone("Europe/Berlin", "2026-10-25T00:00:00+02:00", zones());
    bench.until(24 * HOUR);
    let started: Vec<String> = bench
        .events()
        .into_iter()
        .filter(|event| event.contains("started"))
        .collect();
    assert_eq!(started, ["9000 a started run 1 Schedule for 600"]);
}
