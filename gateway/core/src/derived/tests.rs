use super::light::{Light, Source};
use super::*;

const STEP_MS: u64 = 10_000;

fn input(channel: u16, exponent: i8) -> Input {
    Input {
        channel,
        exponent,
        interval_ms: STEP_MS,
    }
}

fn air(inputs: &[u16]) -> Derived {
    Derived::new(vec![Plan {
        formula: Formula::Air,
        inputs: inputs.iter().map(|channel| input(*channel, -2)).collect(),
        first_output: 10,
    }])
}

fn sample(quality: Quality, mantissa: i64) -> Sample {
    Sample {
        quality,
        mantissa: quality.has_value().then_some(mantissa),
    }
}

/// `channel@tick quality value`, of the channel asked for.
fn told(results: &[Calculated], channel: u16) -> Vec<String> {
    let of_channel = results.iter().filter(|(of, _, _)| *of == channel);
    let told = of_channel.map(|(_, at, sample)| match sample.mantissa {
        Some(value) => format!("{} {} {value}", at.0, sample.quality),
        None => format!("{} {}", at.0, sample.quality),
    });
    told.collect()
}

fn no_day(_: FieldMs) -> Option<i64> {
    None
}

#[test]
fn all_results_of_air_bear_the_tick_of_the_temperature() {
    let mut derived = air(&[0, 1]);
    derived.handle_sample(0, FieldMs(100), sample(Quality::Good, 2_500));
    derived.handle_sample(1, FieldMs(100), sample(Quality::Good, 6_000));
    let results = derived.poll(FieldMs(101), &no_day);
    let values: Vec<_> = results
        .iter()
        .map(|(channel, at, sample)| (*channel, at.0, sample.quality, sample.mantissa.unwrap()))
        .collect();
    let good = |channel, value| (channel, 100, Quality::Good, value);
    let expected = [
        good(10, 1_267),
        good(11, 1_670),
        good(12, 830),
        good(13, 1_381),
        good(14, 1_901),
        good(15, 1_887),
    ];
    assert_eq!(values, expected);
    assert_eq!(derived.poll(FieldMs(1_000), &no_day), []);
}

#[test]
fn the_worst_input_decides() {
    let worst_of = [
        (Quality::Good, Quality::Good, "0 good 1267"),
        (Quality::Suspect, Quality::Good, "0 suspect 1267"),
        (Quality::Good, Quality::Spike, "0 spike 1267"),
        (Quality::Stuck, Quality::Spike, "0 stuck 1267"),
        (Quality::OutOfRange, Quality::Stuck, "0 out_of_range 1267"),
        (Quality::OutOfRange, Quality::Stale, "0 stale"),
        (Quality::Stale, Quality::Failed, "0 failed"),
        (Quality::Failed, Quality::Good, "0 failed"),
    ];
    for (temperature, humidity, expected) in worst_of {
        let mut derived = air(&[0, 1]);
        derived.handle_sample(0, FieldMs(0), sample(temperature, 2_500));
        derived.handle_sample(1, FieldMs(0), sample(humidity, 6_000));
        assert_eq!(told(&derived.poll(FieldMs(1), &no_day), 10), [expected]);
    }
    assert_eq!(worst(Quality::ALL), Quality::Failed);
}

#[test]
fn values_outside_the_formulas_are_no_numbers() {
    let mut derived = air(&[0, 1]);
    derived.handle_sample(0, FieldMs(0), sample(Quality::OutOfRange, 13_000));
    derived.handle_sample(1, FieldMs(0), sample(Quality::Good, 6_000));
    assert_eq!(told(&derived.poll(FieldMs(1), &no_day), 10), ["0 failed"]);
}

#[test]
fn the_order_of_answers_changes_nothing_and_old_ones_go_stale() {
    // Temperature, humidity, surface; the surface is measured elsewhere and later.
    let samples = [
        (0, 0, 2_500),
        (1, 0, 6_000),
        (2, 0, 1_800),
        (0, 10_000, 2_500),
        (1, 10_000, 6_000),
        (0, 20_000, 2_500),
        (1, 20_000, 6_000),
        (0, 30_000, 2_500),
        (1, 30_000, 6_000),
    ];
    let run = |samples: &[(u16, u64, i64)]| {
        let mut derived = air(&[0, 1, 2]);
        for (channel, at, value) in samples {
            derived.handle_sample(*channel, FieldMs(*at), sample(Quality::Good, *value));
        }
        told(&derived.poll(FieldMs(40_000), &no_day), 12)
    };
    let expected = [
        "0 good 130",
        "10000 good 130",
        "20000 good 130",
        "30000 stale",
    ];
    assert_eq!(run(&samples), expected);
    let mut by_channel = samples;
    by_channel.sort_by_key(|(channel, at, _)| (2 - channel, *at));
    assert_eq!(run(&by_channel), expected);
}

#[test]
fn a_sum_of_light_says_whether_it_is_whole() {
    let plan = Plan {
        formula: Formula::Light(Light {
            source: Source::Radiation,
            transmission: 1.0,
        }),
        inputs: vec![input(0, 0)],
        first_output: 1,
    };
    let mut derived = Derived::new(vec![plan]);
    // Midnight lies at 20 s.
    let day_of = |at: FieldMs| Some(i64::from(at.0 >= 20_000));
    for (at, quality) in [
        (0, Quality::Good),
        (10_000, Quality::Good),
        (20_000, Quality::Good),
        (30_000, Quality::Good),
        (40_000, Quality::Failed),
        (50_000, Quality::Spike),
        (60_000, Quality::Good),
    ] {
        derived.handle_sample(0, FieldMs(at), sample(quality, 1_000));
    }
    let results = derived.poll(FieldMs(100_000), &day_of);
    assert_eq!(
        told(&results, 2),
        [
            // The day before was not seen from its beginning.
            "0 suspect 0",
            "10000 suspect 10",
            "20000 good 10",
            "30000 good 20",
            "40000 failed",
            "50000 spike 20",
            "60000 good 50",
        ]
    );
    derived.handle_sample(0, FieldMs(100_000), sample(Quality::Good, 1_000));
    assert_eq!(
        told(&derived.poll(FieldMs(200_000), &no_day), 1),
        ["100000 stale"]
    );
}

#[test]
fn what_is_kept_has_a_bound() {
    let mut derived = air(&[0, 1]);
    for at in 0..20_000 {
        derived.handle_sample(1, FieldMs(at), sample(Quality::Good, 1));
    }
    assert_eq!(derived.dropped(), 20_000 - KEPT_MAX as u64);
}
