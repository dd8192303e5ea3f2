//! What the rules do, day by day.

use furrow_irrigation::{
    Amount, Config, Crop, Fallback, InputIndex, Rule, RuleKind, SitePlan, Window, ZoneOptions,
};
use jiff::civil::{date, time};

use crate::bench::{Bench, FLOW_MLPH, HOUR, MINUTE, minutes, watched, zone};
use furrow_irrigation::FlowMode;

/// Waters whenever it may, as long as its input is known.
pub(crate) fn always(amount: Amount) -> Rule {
    Rule {
        name: "always".into(),
        amount,
        window: None,
        fallback: Fallback::Skip,
        kind: RuleKind::Vpd {
            input: InputIndex(0),
            above_kpa: 0.05,
        },
    }
}

fn moisture(fallback: Fallback) -> Rule {
    Rule {
        name: "dry".into(),
        amount: minutes(5),
        window: Some(Window {
            from: time(5, 0, 0, 0),
            to: time(18, 0, 0, 0),
        }),
        fallback,
        kind: RuleKind::Moisture {
            input: InputIndex(0),
            start_below: 22.0,
            stop_above: 30.0,
        },
    }
}

fn with(rule: Rule, min_off_ms: u64) -> ZoneOptions {
    ZoneOptions {
        rules: vec![rule],
        min_off_ms,
        ..watched(FlowMode::Off)
    }
}

fn started(log: &[String]) -> usize {
    log.iter().filter(|line| line.contains(" started ")).count()
}

#[test]
fn dry_soil_is_watered_in_doses_until_it_is_wet() {
    let options = with(moisture(Fallback::Skip), 10 * MINUTE);
    let mut bench = Bench::new(vec![zone("a", options)], 1, SitePlan::default());
    bench.readings = vec![Some(25.0)];
    bench.wait(HOUR);
    bench.expect(&["0 zone 0 dry decides enough"]);
    // Each litre makes the soil 0.1 % wetter; a dose has 50 l.
    let mut moisture = 21.0;
    let mut before = bench.plant.zone_ml[0];
    for _ in 0..120 {
        bench.readings = vec![Some(moisture)];
        bench.wait(MINUTE);
        moisture += (bench.plant.zone_ml[0] - before) as f64 / 10_000.0;
        before = bench.plant.zone_ml[0];
    }
    let log = bench.take_log();
    assert_eq!(started(&log), 2, "{log:#?}");
    assert!((30.0..31.5).contains(&moisture), "{moisture}");
    assert!(
        log.iter()
            .any(|l| l.contains("dry decides water (the zone must stay off")),
        "{log:#?}"
    );
    let enough = log.iter().filter(|l| l.contains("dry decides enough"));
    assert_eq!(enough.count(), 1, "{log:#?}");
}

#[test]
fn a_run_ends_when_the_soil_is_wet() {
    let options = with(moisture(Fallback::Skip), 0);
    let mut bench = Bench::new(vec![zone("a", options)], 1, SitePlan::default());
    bench.readings = vec![Some(21.0)];
    bench.wait(3 * MINUTE);
    assert!(bench.valve_is_open(0));
    bench.readings = vec![Some(30.5)];
    bench.wait(20_000);
    assert!(!bench.valve_is_open(0));
}

#[test]
fn a_lost_probe_never_means_dry() {
    let dose = Fallback::Dose {
        amount: minutes(2),
        every_ms: 3 * HOUR,
    };
    for (fallback, runs) in [(Fallback::Skip, 0), (dose, 3)] {
        let options = with(moisture(fallback), 0);
        let mut bench = Bench::new(vec![zone("a", options)], 1, SitePlan::default());
        bench.readings = vec![Some(25.0)];
        bench.wait(HOUR);
        bench.readings = vec![None];
        bench.wait(10 * HOUR);
        let log = bench.take_log();
        assert_eq!(started(&log), runs, "{log:#?}");
        assert!(bench.plant.open_ms[0] <= runs as u64 * 2 * MINUTE);
    }
}

#[test]
fn light_gives_doses_through_the_day() {
    let rule = Rule {
        name: "light".into(),
        amount: minutes(3),
        window: None,
        fallback: Fallback::Skip,
        kind: RuleKind::RadiationSum {
            input: InputIndex(0),
            threshold_j_cm2: 100.0,
        },
    };
    let mut bench = Bench::new(vec![zone("a", with(rule, 0))], 1, SitePlan::default());
    bench.readings = vec![Some(500.0)];
    // 500 W/m² give 180 J/cm² an hour: 10 h are 18 doses.
    bench.wait(10 * HOUR);
    let log = bench.take_log();
    assert!((17..=18).contains(&started(&log)), "{}", started(&log));
    bench.readings = vec![Some(0.0)];
    bench.wait(10 * HOUR);
    assert!(started(&bench.take_log()) <= 1, "no light, no water");
}

#[test]
fn a_balance_gives_what_the_crop_used() {
    let rule = Rule {
        name: "balance".into(),
        amount: Amount {
            run_ms: HOUR,
            millilitres: None,
        },
        window: None,
        fallback: Fallback::Skip,
        kind: RuleKind::WaterBalance {
            input: InputIndex(0),
            crop: Crop {
                kc: [0.6, 1.15, 0.8],
                days: [30, 40, 45, 30],
                planted: date(2026, 9, 1),
            },
            trigger_mm: 1.0,
            area_m2: 50.0,
            efficiency: 0.9,
        },
    };
    let mut bench = Bench::new(vec![zone("a", with(rule, 0))], 1, SitePlan::default());
    bench.readings = vec![Some(0.4)];
    bench.wait(12 * HOUR);
    let log = bench.take_log();
    // 0.4 mm/h × 1.15 × 12 h = 5.52 mm of which at least 4.5 are given back, over 50 m² at 90 %.
    let needed = 5.52 * 50.0 / 0.9;
    let given = bench.plant.zone_ml[0] as f64 / 1_000.0;
    assert!(
        (needed - 70.0..=needed + 5.0).contains(&given),
        "{given} of {needed}: {log:#?}"
    );
    assert_eq!(FLOW_MLPH, 600_000);
}

#[test]
fn sums_outlast_a_restart_to_the_hour() {
    let rule = Rule {
        name: "light".into(),
        amount: minutes(3),
        window: None,
        fallback: Fallback::Skip,
        kind: RuleKind::RadiationSum {
            input: InputIndex(0),
            threshold_j_cm2: 1_000.0,
        },
    };
    let mut bench = Bench::new(vec![zone("a", with(rule, 0))], 1, SitePlan::default());
    bench.readings = vec![Some(500.0)];
    bench.wait(3 * HOUR + 30 * MINUTE);
    bench.crash(MINUTE, true);
    bench.wait(3 * HOUR);
    // 540 J/cm² before, 540 after.
    let log = bench.take_log();
    assert_eq!(started(&log), 1, "{log:#?}");
}

#[test]
fn a_balance_that_was_stopped_gives_the_rest_later() {
    let rule = Rule {
        name: "balance".into(),
        amount: Amount::time(HOUR),
        window: None,
        fallback: Fallback::Skip,
        kind: RuleKind::WaterBalance {
            input: InputIndex(0),
            crop: Crop {
                kc: [1.0; 3],
                days: [30, 40, 45, 30],
                planted: date(2026, 9, 1),
            },
            trigger_mm: 1.0,
            area_m2: 100.0,
            efficiency: 1.0,
        },
    };
    let mut bench = Bench::new(vec![zone("a", with(rule, 0))], 1, SitePlan::default());
    // A meter that is jammed: what was given follows from the time that the valve was open.
    bench.plant.faults.push(crate::bench::Fault::MeterJammed);
    bench.readings = vec![Some(1.0)];
    bench.wait(HOUR + 2 * MINUTE);
    assert!(bench.valve_is_open(0), "1 mm on 100 m2: 100 l, ten minutes");
    assert!(bench.stop(0, furrow_irrigation::Origin::Cloud));
    bench.wait(10 * MINUTE);
    let log = bench.take_log();
    assert_eq!(started(&log), 2, "the rest is still wanted: {log:#?}");
}

#[test]
fn other_rules_hold_from_the_moment_on_and_budgets_go_on() {
    let options = with(moisture(Fallback::Skip), 0);
    let mut bench = Bench::new(vec![zone("a", options)], 1, SitePlan::default());
    bench.readings = vec![Some(21.0)];
    bench.wait(3 * MINUTE);
    assert!(bench.valve_is_open(0));
    let mut config = bench.config.clone();
    // Later in the list of inputs than it was.
    config.inputs.insert(0, config.inputs[0].clone());
    config.inputs[0].name = "another".into();
    let mut rule = moisture(Fallback::Skip);
    let RuleKind::Moisture {
        input, start_below, ..
    } = &mut rule.kind
    else {
        panic!("{rule:?}");
    };
    *input = InputIndex(1);
    *start_below = 15.0;
    config.zones = vec![zone("a", with(rule, 0))];
    assert!(!bench.replan(&config), "water flows");
    bench.readings = vec![Some(30.5)];
    bench.wait(MINUTE);
    let used_ms = bench.irrigation.state().zones["a"].budget.used_ms;
    assert!(used_ms > 0);
    let other = Config {
        zones: vec![zone("b", with(moisture(Fallback::Skip), 0))],
        ..config.clone()
    };
    assert!(!bench.replan(&other), "another zone");
    assert!(bench.replan(&config));
    bench.readings = vec![None, Some(21.0)];
    bench.wait(HOUR);
    assert!(!bench.valve_is_open(0), "wet enough for the new rule");
    assert_eq!(bench.irrigation.state().zones["a"].budget.used_ms, used_ms);
    bench.readings = vec![None, Some(14.0)];
    bench.wait(3 * MINUTE);
    assert!(bench.valve_is_open(0));
}
