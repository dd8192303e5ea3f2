//! What simulated seasons found: each of these went unseen for days.

use furrow_irrigation::{
    Amount, Fallback, FlowMode, InputIndex, Interlock, PressurePlan, Rule, RuleKind, SitePlan,
    ZoneOptions,
};

use crate::bench::{Bench, Fault, HOUR, MINUTE, SECOND, pumped, watched, zone};
use crate::rules::always;

fn has(log: &[String], what: &str) -> bool {
    log.iter().any(|line| line.contains(what))
}

#[test]
fn a_controller_that_begins_anew_in_a_run_is_no_flood() {
    // Its flags are those of all outputs: whoever sees and clears them first is the only one who does.
    let options = ZoneOptions {
        daily_limit_ml: Some(2_000_000),
        ..watched(FlowMode::Active)
    };
    let mut bench = Bench::new(vec![zone("a", options)], 0, pumped());
    bench.manual(0, 30 * MINUTE).unwrap();
    bench.wait(40 * MINUTE);
    bench.manual(0, 30 * MINUTE).unwrap();
    bench.wait(5 * MINUTE);
    bench.take_log();
    bench.plant.reset();
    bench.wait(MINUTE);
    let log = bench.take_log();
    assert!(has(&log, "? ml, LeaseLost"), "{log:#?}");
    assert!(bench.all_off());
    // What it counts from now on is neither a flood nor a leak, and the day's litres are left.
    bench.wait(HOUR);
    bench.manual(0, 30 * MINUTE).unwrap();
    bench.wait(HOUR);
    let log = bench.take_log();
    assert!(has(&log, "Completed") && !has(&log, "locked"), "{log:#?}");
}

#[test]
fn a_valve_that_does_not_open_uses_up_no_light() {
    let rule = Rule {
        name: "light".into(),
        amount: Amount::time(4 * MINUTE),
        window: None,
        fallback: Fallback::Skip,
        kind: RuleKind::RadiationSum {
            input: InputIndex(0),
            threshold_j_cm2: 100.0,
        },
    };
    let options = ZoneOptions {
        rules: vec![rule],
        min_off_ms: 5 * MINUTE,
        ..watched(FlowMode::Active)
    };
    let mut bench = Bench::new(vec![zone("a", options)], 1, pumped());
    bench.plant.faults.push(Fault::Stuck(0));
    bench.readings = vec![Some(500.0)];
    // 500 W/m² give 100 J/cm² in 2,000 s.
    bench.wait(35 * MINUTE);
    assert!(has(&bench.take_log(), "Fault"));
    bench.plant.faults.clear();
    bench.readings = vec![Some(0.0)];
    bench.wait(20 * MINUTE);
    let log = bench.take_log();
    assert!(has(&log, "Completed"), "the dose is still due: {log:#?}");
    assert!(bench.plant.zone_ml[0] > 30_000);
    bench.wait(HOUR);
    assert!(!has(&bench.take_log(), "started"), "and given once");
}

#[test]
fn a_burst_is_found_though_its_litres_are_soon_given() {
    // 60 l of the right flow take 6 minutes; from this line they take 2, before its flow is judged.
    let dose = Amount {
        run_ms: 20 * MINUTE,
        millilitres: Some(60_000),
    };
    for (mode, burst, found) in [
        (FlowMode::Active, true, "locked: more water flows"),
        (FlowMode::Monitor, true, "alarm: more water flows"),
        (FlowMode::Active, false, ""),
    ] {
        let options = ZoneOptions {
            rules: vec![always(dose)],
            min_off_ms: HOUR,
            ..watched(mode)
        };
        let mut bench = Bench::new(vec![zone("a", options)], 1, pumped());
        if burst {
            bench.plant.faults.push(Fault::Burst(0));
        }
        bench.readings = vec![Some(1.0)];
        bench.wait(15 * MINUTE);
        let log = bench.take_log();
        assert!(has(&log, "Completed"), "{log:#?}");
        if found.is_empty() {
            assert!(!has(&log, "locked") && !has(&log, "alarm"), "{log:#?}");
        } else {
            assert!(has(&log, found), "{log:#?}");
        }
        if burst && mode == FlowMode::Active {
            let refusal = bench.manual(0, 20 * MINUTE).unwrap_err().to_string();
            assert_eq!(refusal, Interlock::Burst.text());
        }
    }
}

#[test]
fn a_run_too_short_to_be_judged_is_judged_at_its_end() {
    for (fault, mode, found) in [
        (
            Some(Fault::Clogged(0)),
            FlowMode::Active,
            "locked: the valve is open and no water",
        ),
        (
            Some(Fault::MeterJammed),
            FlowMode::Active,
            "locked: the valve is open and no water",
        ),
        (
            Some(Fault::Clogged(0)),
            FlowMode::Monitor,
            "alarm: the valve is open and no water",
        ),
        (None, FlowMode::Active, ""),
    ] {
        let mut bench = Bench::new(vec![zone("a", watched(mode))], 0, pumped());
        bench.plant.faults.extend(fault);
        bench.manual(0, 2 * MINUTE).unwrap();
        bench.wait(5 * MINUTE);
        let log = bench.take_log();
        assert!(has(&log, "Completed"), "{log:#?}");
        if found.is_empty() {
            assert!(!has(&log, "locked") && !has(&log, "alarm"), "{log:#?}");
        } else {
            assert!(has(&log, found), "{log:#?}");
        }
    }
}

#[test]
fn a_pressure_that_was_read_before_the_pump_turned_ends_no_run() {
    let site = SitePlan {
        pressure: Some(PressurePlan {
            input: InputIndex(0),
            low: 0.8,
            for_ms: 10 * SECOND,
        }),
        ..pumped()
    };
    for (later, ends) in [(2.0, "Completed"), (0.1, "Interlock(PressureLow)")] {
        let zones = vec![zone("a", watched(FlowMode::Active))];
        let mut bench = Bench::new(zones, 1, site.clone());
        bench.readings = vec![Some(0.0)];
        bench.wait(11 * SECOND);
        bench.readings = vec![None];
        bench.manual(0, 5 * MINUTE).unwrap();
        bench.wait(28 * SECOND);
        bench.readings = vec![Some(later)];
        bench.wait(6 * MINUTE);
        let log = bench.take_log();
        assert!(has(&log, ends), "{log:#?}");
    }
}
