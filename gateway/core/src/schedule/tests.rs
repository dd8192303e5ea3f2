use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOON: i64 = 1_790_000_040_000;

/// A schedule whose devices are all ready.
fn prepared(
    intervals_ms: &[u32],
    now: FieldMs,
    offset_ms: Option<i64>,
    frontier_ms: Option<i64>,
) -> Schedule {
    let mut schedule = Schedule::new(intervals_ms, now, offset_ms, frontier_ms);
    for device in 0..intervals_ms.len() {
        schedule.handle_prepared(device, now);
    }
    schedule
}

/// Runs the schedule from `from` to `to`, devices answering at once; gives (device, tick).
fn ticks(schedule: &mut Schedule, from: u64, to: u64) -> Vec<(usize, u64)> {
    let mut out = Vec::new();
    let mut now = FieldMs(from);
    while now.0 <= to {
        while let Some(tick) = schedule.poll_tick(now) {
            out.push((tick.device, tick.at.0));
            schedule.handle_done(tick.device);
        }
        now = schedule.poll_timeout().unwrap().max(now.plus(1));
    }
    out
}

#[test]
fn ticks_lie_on_whole_wall_times() {
    // Monotonic 1,234 is 12:00:00.000 plus 34 ms.
    let mut schedule = prepared(
        &[10_000, 60_000],
        FieldMs(1_234),
        Some(NOON + 34 - 1_234),
        None,
    );
    assert_eq!(
        ticks(&mut schedule, 1_234, 62_000),
        [
            (0, 11_200),
            (0, 21_200),
            (0, 31_200),
            (0, 41_200),
            (0, 51_200),
            (0, 61_200),
            (1, 61_200),
        ]
    );
    assert_eq!(schedule.missed(), 0);
}

#[test]
fn the_first_tick_may_be_now() {
    let mut schedule = prepared(&[10_000], FieldMs(500), Some(NOON - 500), None);
    assert_eq!(ticks(&mut schedule, 500, 11_000), [(0, 500), (0, 10_500)]);
}

#[test]
fn a_device_has_no_tick_before_it_is_prepared() {
    let mut schedule = Schedule::new(&[10_000, 10_000], FieldMs(0), None, None);
    assert_eq!(schedule.poll_timeout(), None);
    assert_eq!(schedule.poll_tick(FieldMs(0)), None);
    schedule.handle_prepared(0, FieldMs(0));
    schedule.handle_prepared(1, FieldMs(5_500));
    assert_eq!(
        ticks(&mut schedule, 0, 10_000),
        [(0, 0), (0, 10_000), (1, 10_000)]
    );
    assert_eq!(schedule.missed(), 0);
}

#[test]
fn without_a_clock_ticks_lie_on_monotonic_time_and_move_when_it_comes() {
    let mut schedule = prepared(&[10_000], FieldMs(3_000), None, None);
    assert_eq!(
        ticks(&mut schedule, 3_000, 20_000),
        [(0, 10_000), (0, 20_000)]
    );
    let offset = NOON - 26_000;
    schedule.handle_clock(FieldMs(24_000), offset, offset);
    assert_eq!(
        ticks(&mut schedule, 24_000, 40_000),
        [(0, 26_000), (0, 36_000)]
    );
}

#[test]
fn a_held_up_loop_misses_ticks_and_never_bunches_them() {
    let mut schedule = prepared(&[10_000], FieldMs(0), None, None);
    assert_eq!(ticks(&mut schedule, 0, 0), [(0, 0)]);
    // The loop comes back 2 s after the fourth tick: 10, 20 and 30 are missed, 40 is taken late.
    assert_eq!(ticks(&mut schedule, 42_000, 42_000), [(0, 40_000)]);
    assert_eq!(schedule.missed(), 3);
    // 58 s is too late for 50 s.
    assert_eq!(ticks(&mut schedule, 58_000, 60_000), [(0, 60_000)]);
    assert_eq!(schedule.missed(), 4);
}

#[test]
fn a_busy_device_misses_its_tick_and_the_others_do_not() {
    let mut schedule = prepared(&[10_000, 10_000], FieldMs(0), None, None);
    let now = FieldMs(0);
    assert_eq!(schedule.poll_tick(now), Some(Tick { device: 0, at: now }));
    assert_eq!(schedule.poll_tick(now), Some(Tick { device: 1, at: now }));
    assert_eq!(schedule.poll_tick(now), None);
    schedule.handle_done(1);
    let now = FieldMs(10_000);
    assert_eq!(schedule.poll_tick(now), Some(Tick { device: 1, at: now }));
    assert_eq!(schedule.poll_tick(now), None);
    assert_eq!(schedule.missed(), 1);
}

#[test]
fn a_small_step_back_skips_and_a_large_one_moves_beside_the_grid() {
    let mut schedule = prepared(&[10_000], FieldMs(0), Some(NOON), None);
    assert_eq!(
        ticks(&mut schedule, 0, 20_000),
        [(0, 0), (0, 10_000), (0, 20_000)]
    );
    // Back by 300 ms: wall 20.000 comes a second time at 20,300 and is not given out again.
    schedule.handle_clock(FieldMs(20_100), NOON - 300, NOON);
    assert_eq!(ticks(&mut schedule, 20_100, 31_000), [(0, 30_300)]);
    // Back by 20 s: wall 20.000 and 30.000 come again, one millisecond beside.
    schedule.handle_clock(FieldMs(31_000), NOON - 20_300, NOON - 300);
    assert_eq!(
        ticks(&mut schedule, 31_000, 70_400),
        [(0, 40_301), (0, 50_301), (0, 60_300), (0, 70_300)]
    );
}

#[test]
fn after_a_restart_the_latest_wall_time_given_out_before_is_respected() {
    let frontier = Some(NOON + 25_000);
    let mut schedule = prepared(&[10_000], FieldMs(0), Some(NOON), frontier);
    assert_eq!(
        ticks(&mut schedule, 0, 40_000),
        [(0, 1), (0, 10_001), (0, 20_001), (0, 30_000), (0, 40_000)]
    );
}

#[test]
fn after_a_restart_a_step_back_moves_ticks_farther_than_before() {
    let frontier = Some(NOON + 25_000);
    let first = Schedule::new(&[10_000], FieldMs(0), Some(NOON), frontier).after_phase(2);
    let mut schedule = first;
    schedule.handle_prepared(0, FieldMs(0));
    assert_eq!(ticks(&mut schedule, 0, 15_000), [(0, 3), (0, 10_003)]);
    assert_eq!(schedule.phase_ms(), 3);
}

proptest! {
    /// Whatever the clock does, no device is given the same wall time twice.
    #[test]
    fn wall_times_are_unique(
        interval in 1_000u32..20_000,
        steps in proptest::collection::vec((0u64..200_000, -100_000i64..100_000), 1..12),
        known_at_start: bool,
    ) {
        let mut offset = NOON;
        let start = known_at_start.then_some(offset);
        let mut schedule = prepared(&[interval], FieldMs(0), start, None);
        let mut seen = BTreeSet::new();
        let mut now = 0;
        for (run, step) in steps {
            for (_, at) in ticks(&mut schedule, now, now + run) {
                prop_assert!(seen.insert(offset + i64::try_from(at).unwrap()));
            }
            now += run + 1;
            let before = offset;
            offset += step;
            schedule.handle_clock(FieldMs(now), offset, before);
        }
    }
}
