use proptest::prelude::*;

use super::*;
use TransitionKind::{Dropped, Firing, Pending, Resolved};

const MINUTE: i64 = 60_000;

/// A machine and what came out of it since the last `expect`. Times are minutes.
struct Timeline {
    rule: Rule,
    machine: Machine,
    seen: Vec<(TransitionKind, i64, i64)>,
    ignored: u64,
}

impl Timeline {
    fn new(condition: Condition, for_minutes: u64) -> Self {
        let rule = Rule::new(condition, for_minutes * 60_000).unwrap();
        Self {
            rule,
            machine: Machine::default(),
            seen: Vec::new(),
            ignored: 0,
        }
    }

    fn heat() -> Self {
        Self::new(
            Condition::Above {
                limit: 35.0,
                clear: 33.5,
            },
            10,
        )
    }

    fn feed(&mut self, from: i64, to: i64, samples: &[(i64, Option<f64>)]) {
        let samples: Vec<Sample> = samples
            .iter()
            .map(|(minute, good)| Sample {
                at_ms: minute * MINUTE,
                good: *good,
            })
            .collect();
        let interval = Interval {
            from_ms: from * MINUTE,
            to_ms: to * MINUTE,
        };
        let outcome = self.machine.handle_interval(&self.rule, interval, &samples);
        self.ignored += outcome.ignored_samples;
        let steps = outcome.transitions.iter();
        self.seen
            .extend(steps.map(|t| (t.kind, t.at_ms / MINUTE, t.since_ms / MINUTE)));
    }

    /// A good reading; its minute is covered.
    fn reading(&mut self, minute: i64, value: f64) {
        self.feed(minute, minute + 1, &[(minute, Some(value))]);
    }

    /// A reading that is not to be trusted; its minute is covered.
    fn bad(&mut self, minute: i64) {
        self.feed(minute, minute + 1, &[(minute, None)]);
    }

    /// The gateway lived, the series gave nothing.
    fn nothing(&mut self, from: i64, to: i64) {
        self.feed(from, to, &[]);
    }

    /// Everything that happened since the last call: kind, when, since when.
    #[track_caller]
    fn expect(&mut self, transitions: &[(TransitionKind, i64, i64)]) {
        assert_eq!(std::mem::take(&mut self.seen), transitions);
    }
}

#[test]
fn fires_after_its_duration_and_resolves_at_the_clear_threshold() {
    let mut test = Timeline::heat();
    test.reading(0, 30.0);
    test.expect(&[]);
    test.reading(1, 36.2);
    test.expect(&[(Pending, 1, 1)]);
    for minute in 2..11 {
        test.reading(minute, 35.1);
    }
    test.expect(&[]);
    test.reading(11, 36.2);
    test.expect(&[(Firing, 11, 1)]);
    test.reading(12, 34.0);
    test.expect(&[]);
    test.reading(13, 33.5);
    test.expect(&[(Resolved, 13, 1)]);
    test.reading(14, 34.9);
    test.expect(&[]);
}

#[test]
fn the_limit_itself_is_still_fine_and_a_dip_starts_the_duration_anew() {
    let mut test = Timeline::heat();
    test.reading(0, 35.0);
    test.expect(&[]);
    test.reading(1, 35.01);
    test.reading(9, 34.9);
    test.reading(10, 36.0);
    test.reading(19, 36.0);
    test.expect(&[(Pending, 1, 1), (Dropped, 9, 1), (Pending, 10, 10)]);
    test.reading(20, 36.0);
    test.expect(&[(Firing, 20, 10)]);
}

#[test]
fn below_mirrors_above() {
    let mut test = Timeline::new(
        Condition::Below {
            limit: 13.0,
            clear: 14.0,
        },
        0,
    );
    test.reading(0, 13.0);
    test.reading(1, 12.9);
    test.reading(2, 13.9);
    test.reading(3, 14.0);
    test.expect(&[(Firing, 1, 1), (Resolved, 3, 1)]);
}

#[test]
fn bad_values_are_neither_evidence_for_nor_against() {
    let mut test = Timeline::heat();
    test.reading(0, 36.0);
    for minute in 1..10 {
        test.bad(minute);
    }
    test.expect(&[(Pending, 0, 0)]);
    // A good one within the duration confirms it.
    test.reading(10, 36.0);
    test.expect(&[(Firing, 10, 0)]);
    for minute in 11..60 {
        test.bad(minute);
    }
    test.expect(&[]);
    test.reading(60, 30.0);
    test.expect(&[(Resolved, 60, 0)]);
    // Not a number is not good, whoever says so.
    test.reading(61, f64::NAN);
    test.expect(&[]);
}

#[test]
fn a_hole_longer_than_the_duration_starts_it_anew() {
    let mut test = Timeline::heat();
    test.reading(0, 36.0);
    test.bad(1);
    test.reading(11, 36.0);
    test.expect(&[(Pending, 0, 0), (Dropped, 11, 0), (Pending, 11, 11)]);
    // Time that was not covered is a hole as well: 12 to 30.
    test.reading(30, 36.0);
    test.expect(&[(Dropped, 30, 11), (Pending, 30, 30)]);
    // A slow series without holes is not punished for its interval.
    test.feed(31, 46, &[(45, Some(36.0))]);
    test.expect(&[(Firing, 45, 30)]);
}

#[test]
fn absence_is_covered_time_without_a_good_reading() {
    let mut test = Timeline::new(Condition::Absent, 10);
    test.reading(0, 20.0);
    test.nothing(1, 5);
    for minute in 5..10 {
        test.bad(minute);
    }
    test.expect(&[]);
    test.nothing(10, 12);
    test.expect(&[(Firing, 10, 0)]);
    test.nothing(12, 100);
    test.expect(&[]);
    test.reading(100, 20.0);
    test.expect(&[(Resolved, 100, 0)]);
    // Fires and resolves inside one interval.
    test.feed(101, 121, &[(115, Some(20.0))]);
    test.expect(&[(Firing, 110, 100), (Resolved, 115, 100)]);
}

#[test]
fn a_silent_gateway_is_not_an_absent_sensor() {
    let mut test = Timeline::new(Condition::Absent, 10);
    test.reading(0, 20.0);
    test.reading(500, 20.0);
    test.expect(&[]);
    test.nothing(501, 506);
    test.nothing(900, 904);
    test.expect(&[]);
    test.nothing(904, 906);
    test.expect(&[(Firing, 904, 500)]);
}

#[test]
fn a_sensor_that_never_spoke_is_absent() {
    let mut test = Timeline::new(Condition::Absent, 10);
    test.nothing(50, 61);
    test.expect(&[(Firing, 60, 50)]);
}

#[test]
fn late_data_never_pages_and_never_soothes() {
    let mut test = Timeline::heat();
    test.reading(100, 30.0);
    for minute in 0..100 {
        test.reading(minute, 40.0);
    }
    test.expect(&[]);
    assert_eq!(test.ignored, 100);
    for minute in 101..112 {
        test.reading(minute, 36.0);
    }
    test.expect(&[(Pending, 101, 101), (Firing, 111, 101)]);
    test.reading(50, 20.0);
    test.expect(&[]);
    // An interval that overlaps the frontier counts from the frontier on.
    test.feed(
        90,
        114,
        &[(95, Some(20.0)), (111, Some(20.0)), (113, Some(36.0))],
    );
    test.expect(&[]);
    assert_eq!(test.ignored, 103);
    test.reading(114, 20.0);
    test.expect(&[(Resolved, 114, 101)]);
}

#[test]
fn samples_out_of_order_or_outside_their_interval_are_counted() {
    let mut test = Timeline::heat();
    test.feed(
        10,
        20,
        &[
            (5, Some(40.0)),
            (12, Some(30.0)),
            (11, Some(40.0)),
            (20, Some(40.0)),
        ],
    );
    test.expect(&[]);
    assert_eq!(test.ignored, 3);
}

#[test]
fn state_survives_serialisation_at_any_point() {
    let mut test = Timeline::heat();
    for minute in 0..=10 {
        test.reading(minute, 36.0);
        let text = serde_json::to_string(&test.machine).unwrap();
        test.machine = serde_json::from_str(&text).unwrap();
    }
    test.expect(&[(Pending, 0, 0), (Firing, 10, 0)]);
}

fn conditions() -> impl Strategy<Value = (Condition, u64)> {
    prop_oneof![
        (0u64..8).prop_map(|f| (
            Condition::Above {
                limit: 35.0,
                clear: 33.0
            },
            f
        )),
        (0u64..8).prop_map(|f| (
            Condition::Below {
                limit: 34.0,
                clear: 35.0
            },
            f
        )),
        (1u64..8).prop_map(|f| (Condition::Absent, f)),
    ]
}

/// One slot a minute: nothing, a bad sample, or a good one around the limits.
fn slots() -> impl Strategy<Value = Vec<Option<Option<f64>>>> {
    let slot = prop_oneof![
        Just(None),
        Just(Some(None)),
        (32u8..38).prop_map(|value| Some(Some(f64::from(value)))),
    ];
    prop::collection::vec(slot, 1..60)
}

fn samples(slots: &[Option<Option<f64>>]) -> Vec<(i64, Option<f64>)> {
    let minutes = slots.iter().enumerate();
    minutes
        .filter_map(|(at, slot)| slot.map(|good| (i64::try_from(at).unwrap(), good)))
        .collect()
}

/// Feeds minutes `cuts[0]..cuts[1]..…` as one interval each.
fn feed_cut(test: &mut Timeline, samples: &[(i64, Option<f64>)], cuts: &[i64]) {
    for pair in cuts.windows(2) {
        let part: Vec<_> = samples
            .iter()
            .copied()
            .filter(|(at, _)| (pair[0]..pair[1]).contains(at))
            .collect();
        test.feed(pair[0], pair[1], &part);
    }
}

proptest! {
    #[test]
    fn cutting_intervals_differently_changes_nothing(
        (condition, for_minutes) in conditions(),
        slots in slots(),
        cuts in prop::collection::btree_set(1i64..60, 0..20),
    ) {
        let samples = samples(&slots);
        let end = i64::try_from(slots.len()).unwrap();
        let mut whole = Timeline::new(condition, for_minutes);
        whole.feed(0, end, &samples);
        let mut cut = Timeline::new(condition, for_minutes);
        let inner = cuts.into_iter().filter(|at| *at < end);
        let cuts: Vec<i64> = std::iter::once(0).chain(inner).chain([end]).collect();
        feed_cut(&mut cut, &samples, &cuts);
        prop_assert_eq!(whole.seen, cut.seen);
        prop_assert_eq!(whole.machine, cut.machine);
    }

    #[test]
    fn late_duplicates_in_any_order_change_nothing(
        (condition, for_minutes) in conditions(),
        slots in slots(),
        late in prop::collection::vec((0i64..60, 1i64..10, 30u8..40), 0..30),
        at in prop::collection::vec(0usize..60, 0..30),
    ) {
        let samples = samples(&slots);
        let end = i64::try_from(slots.len()).unwrap();
        let mut clean = Timeline::new(condition, for_minutes);
        let mut noisy = Timeline::new(condition, for_minutes);
        for minute in 0..end {
            feed_cut(&mut clean, &samples, &[minute, minute + 1]);
            feed_cut(&mut noisy, &samples, &[minute, minute + 1]);
            for (_, (from, length, value)) in
                at.iter().zip(&late).filter(|(at, _)| i64::try_from(**at).unwrap() == minute)
            {
                let to = (from + length).min(minute + 1);
                noisy.feed(*from, to, &[(*from, Some(f64::from(*value)))]);
            }
        }
        prop_assert_eq!(clean.seen, noisy.seen);
        prop_assert_eq!(clean.machine, noisy.machine);
    }

    #[test]
    fn firing_and_resolved_alternate(
        (condition, for_minutes) in conditions(),
        slots in slots(),
    ) {
        let samples = samples(&slots);
        let mut test = Timeline::new(condition, for_minutes);
        test.feed(0, i64::try_from(slots.len()).unwrap(), &samples);
        let pages: Vec<_> =
            test.seen.iter().map(|t| t.0).filter(|k| matches!(k, Firing | Resolved)).collect();
        for (at, kind) in pages.iter().enumerate() {
            prop_assert_eq!(*kind, if at % 2 == 0 { Firing } else { Resolved });
        }
        let ordered = test.seen.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        prop_assert!(ordered);
    }
}
