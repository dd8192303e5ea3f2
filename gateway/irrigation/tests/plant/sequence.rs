//! What opens and closes, and in which order.

use furrow_irrigation::{FlowMode, MeterPlan, Origin, SitePlan, ZoneOptions};

use crate::bench::{Bench, FLOW_MLPH, HOUR, MINUTE, SECOND, cycle, minutes, pumped, watched, zone};

#[test]
fn valve_then_master_then_pump_and_back() {
    let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 0, pumped());
    bench.manual(0, MINUTE).unwrap();
    bench.wait(2 * MINUTE);
    bench.expect(&[
        "0 zone 0 started Manual for 60",
        "0 on valve 0",
        "2 on master",
        "4 on pump",
        "56 off pump",
        "58 off master",
        "60 off valve 0",
        "67 zone 0 ended after 60, 8664 ml, Completed",
    ]);
    assert_eq!(bench.plant.deadhead_ms, 0);
}

#[test]
fn the_pump_goes_on_for_the_next_zone() {
    let zones = vec![
        zone("a", ZoneOptions::default()),
        zone("b", ZoneOptions::default()),
    ];
    let mut bench = Bench::new(zones, 0, pumped());
    bench.manual(0, MINUTE).unwrap();
    bench.wait(30 * SECOND);
    bench.manual(1, MINUTE).unwrap();
    bench.wait(2 * MINUTE);
    let events = bench.take_log();
    let switched: Vec<_> = events
        .iter()
        .filter(|e| e.contains(" on ") || e.contains(" off "))
        .collect();
    assert_eq!(
        switched,
        [
            "0 on valve 0",
            "2 on master",
            "4 on pump",
            "30 on valve 1",
            "56 off valve 0",
            "86 off pump",
            "88 off master",
            "90 off valve 1"
        ]
    );
    assert_eq!(bench.plant.deadhead_ms, 0);
}

#[test]
fn a_stop_takes_two_steps() {
    let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 0, pumped());
    bench.manual(0, HOUR).unwrap();
    bench.wait(MINUTE);
    bench.take_log();
    assert!(bench.stop(0, Origin::Tool));
    bench.wait(MINUTE);
    bench.expect(&[
        "60 off pump",
        "62 off master",
        "64 off valve 0",
        "71 zone 0 ended after 64, 9331 ml, Stopped",
    ]);
}

#[test]
fn a_process_that_dies_leaves_no_pump_against_closed_valves() {
    for waited in (40..100).map(|s| s * SECOND) {
        let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 0, pumped());
        bench.manual(0, HOUR).unwrap();
        bench.wait(waited);
        assert!(bench.pump_is_on());
        bench.crash(31 * SECOND, false);
        assert_eq!(bench.plant.deadhead_ms, 0, "after {waited}");
        assert!(bench.all_off());
    }
}

#[test]
fn a_run_too_short_for_the_pump_is_refused() {
    let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 0, pumped());
    assert_eq!(
        bench.manual(0, 8 * SECOND).unwrap_err().to_string(),
        "the run must last at least 1 s"
    );
    bench.manual(0, 9 * SECOND).unwrap();
}

#[test]
fn a_volume_ends_the_run() {
    let rule = crate::rules::always(furrow_irrigation::Amount {
        run_ms: HOUR,
        millilitres: Some(50_000),
    });
    let options = ZoneOptions {
        rules: vec![rule],
        min_off_ms: 10 * HOUR,
        ..watched(FlowMode::Active)
    };
    let mut bench = Bench::new(vec![zone("a", options)], 1, pumped());
    bench.readings = vec![Some(9.0)];
    bench.wait(20 * MINUTE);
    // 50 l at 600 l/h are 5 min.
    let ml = bench.plant.zone_ml[0];
    assert!((50_000..=51_000).contains(&ml), "{ml}");
    let log = bench.take_log();
    assert!(
        log.iter()
            .any(|e| e.contains("started Rule always for 3600, 50000 ml")),
        "{log:#?}"
    );
}

#[test]
fn a_silent_meter_makes_a_volume_a_time() {
    let rule = crate::rules::always(furrow_irrigation::Amount {
        run_ms: HOUR,
        millilitres: Some(50_000),
    });
    let options = ZoneOptions {
        rules: vec![rule],
        min_off_ms: 10 * HOUR,
        ..watched(FlowMode::Monitor)
    };
    let mut bench = Bench::new(vec![zone("a", options)], 1, pumped());
    bench.plant.faults.push(crate::bench::Fault::MeterJammed);
    bench.readings = vec![Some(9.0)];
    bench.wait(20 * MINUTE);
    let ml = bench.plant.zone_ml[0];
    assert!((48_000..=51_000).contains(&ml), "{ml}");
}

#[test]
fn cycles_soak_and_others_are_watered_meanwhile() {
    let mut a = ZoneOptions {
        rules: vec![crate::rules::always(minutes(10))],
        cycle: Some(cycle(4 * MINUTE, 20 * MINUTE)),
        min_off_ms: 20 * MINUTE,
        ..ZoneOptions::default()
    };
    let b = ZoneOptions {
        rules: vec![crate::rules::always(minutes(5))],
        min_off_ms: 10 * HOUR,
        ..ZoneOptions::default()
    };
    a.rules[0].name = "cycles".into();
    let mut bench = Bench::new(vec![zone("a", a), zone("b", b)], 1, SitePlan::default());
    bench.config.max_open_zones = 1;
    bench.crash(0, false);
    bench.readings = vec![Some(9.0)];
    bench.wait(56 * MINUTE);
    let log = bench.take_log();
    let runs: Vec<_> = log.iter().filter(|e| e.contains(" valve ")).collect();
    assert_eq!(runs.len(), 8, "{log:#?}");
    // 4 + 4 + 2 minutes.
    let [a, b, _] = bench.plant.open_ms;
    assert!(
        a.abs_diff(10 * MINUTE) < 2 * SECOND && b.abs_diff(5 * MINUTE) < SECOND,
        "{a} {b}"
    );
}

#[test]
fn the_first_whole_run_teaches_the_flow() {
    let mut options = watched(FlowMode::Active);
    options.flow.expected_mlph = None;
    let mut bench = Bench::new(vec![zone("a", options)], 0, pumped());
    bench.manual(0, 3 * MINUTE).unwrap();
    bench.wait(10 * MINUTE);
    assert!(
        !bench.take_log().iter().any(|e| e.contains("learnt")),
        "too short"
    );
    bench.manual(0, 10 * MINUTE).unwrap();
    bench.wait(11 * MINUTE);
    let log = bench.take_log();
    let learnt = log
        .iter()
        .find_map(|e| e.split_once("learnt "))
        .map(|(_, v)| v.parse::<u64>().unwrap());
    let learnt = learnt.unwrap_or_else(|| panic!("{log:#?}"));
    assert!(learnt.abs_diff(FLOW_MLPH) < FLOW_MLPH / 100, "{learnt}");
    // Known after a restart, and enough to see a burst.
    bench.crash(MINUTE, true);
    bench.wait(MINUTE);
    bench.plant.faults.push(crate::bench::Fault::Burst(0));
    bench.manual(0, HOUR).unwrap();
    bench.wait(10 * MINUTE);
    assert!(bench.take_log().iter().any(|e| e.contains("Burst")));
}

#[test]
fn two_zones_only_as_far_as_the_pump_feeds_them() {
    let zones = |flow| vec![zone("a", watched(flow)), zone("b", watched(flow))];
    for (capacity_mlph, both) in [(FLOW_MLPH * 2, true), (FLOW_MLPH * 2 - 1, false)] {
        let site = SitePlan {
            capacity_mlph: Some(capacity_mlph),
            ..pumped()
        };
        let mut bench = Bench::new(zones(FlowMode::Active), 0, site);
        bench.manual(0, HOUR).unwrap();
        bench.wait(MINUTE);
        assert_eq!(bench.manual(1, HOUR).is_ok(), both);
    }
}

#[test]
fn the_higher_priority_goes_first() {
    let with = |priority| ZoneOptions {
        rules: vec![crate::rules::always(minutes(5))],
        min_off_ms: HOUR,
        priority,
        ..ZoneOptions::default()
    };
    let zones = vec![zone("a", with(0)), zone("b", with(1)), zone("c", with(2))];
    let mut bench = Bench::new(zones, 1, SitePlan::default());
    bench.config.max_open_zones = 1;
    bench.crash(0, false);
    bench.readings = vec![Some(9.0)];
    bench.wait(30 * MINUTE);
    let log = bench.take_log();
    let order: Vec<_> = log
        .iter()
        .filter(|e| e.contains(" on valve"))
        .map(|e| e.chars().last().unwrap())
        .collect();
    // All three wish in the same moment; the first is taken at once.
    assert_eq!(order.len(), 3, "{log:#?}");
    assert!(
        order == ['a', 'c', 'b'] || order == ['0', '2', '1'] || order == ['2', '1', '0'],
        "{order:?}"
    );
}

#[test]
fn fertiliser_only_into_water_that_flows() {
    use furrow_irrigation::{DosingPlan, InputIndex};
    let site = SitePlan {
        dosing: Some(DosingPlan {
            ec: Some((InputIndex(0), 2.5)),
            ph: Some((InputIndex(1), 5.5, 6.8)),
            flush_ms: 2 * MINUTE,
        }),
        meters: vec![MeterPlan {
            name: "main".into(),
            leak_ml: 2_000,
            mode: FlowMode::Off,
        }],
        ..pumped()
    };
    let options = ZoneOptions {
        fertigate: true,
        ..watched(FlowMode::Monitor)
    };
    let run = |readings: [Option<f64>; 2], fault: Option<crate::bench::Fault>| {
        let mut bench = Bench::new(vec![zone("a", options.clone())], 2, site.clone());
        bench.readings = readings.to_vec();
        bench.plant.faults.extend(fault);
        bench.manual(0, 10 * MINUTE).unwrap();
        bench.wait(15 * MINUTE);
        assert!(bench.all_off());
        bench.plant.dosed_ms
    };
    // Full after 150 s, flush for the last 120 s of 600.
    let dosed = run([Some(2.0), Some(6.0)], None);
    assert!((300 * SECOND..=330 * SECOND).contains(&dosed), "{dosed}");
    for readings in [
        [Some(2.6), Some(6.0)],
        [Some(2.0), Some(7.0)],
        [None, Some(6.0)],
        [Some(2.0), None],
    ] {
        assert_eq!(run(readings, None), 0, "{readings:?}");
    }
    assert_eq!(
        run(
            [Some(2.0), Some(6.0)],
            Some(crate::bench::Fault::MeterJammed)
        ),
        0
    );
}

/// A bench with a fertiliser pump and one zone of 240 L/h that is fed.
fn fed() -> Bench {
    use furrow_irrigation::{DosingPlan, InputIndex};
    let site = SitePlan {
        dosing: Some(DosingPlan {
            ec: Some((InputIndex(0), 2.5)),
            ph: None,
            flush_ms: 2 * MINUTE,
        }),
        meters: vec![MeterPlan {
            name: "main".into(),
            leak_ml: 2_000,
            mode: FlowMode::Off,
        }],
        ..pumped()
    };
    let options = ZoneOptions {
        fertigate: true,
        ..watched(FlowMode::Monitor)
    };
    let mut bench = Bench::new(vec![zone("a", options)], 1, site);
    bench.readings = vec![Some(2.0)];
    bench
}

#[test]
fn once_ec_was_too_high_the_run_gets_no_more_fertiliser_and_it_is_told() {
    let mut bench = fed();
    bench.manual(0, 20 * MINUTE).unwrap();
    bench.wait(6 * MINUTE);
    assert!(bench.plant.dosed_ms > 0);
    bench.readings = vec![Some(3.9)];
    bench.wait(MINUTE);
    let dosed = bench.plant.dosed_ms;
    // Clear water comes: that is no reason to begin again.
    bench.readings = vec![Some(0.6)];
    bench.wait(20 * MINUTE);
    assert_eq!(bench.plant.dosed_ms, dosed);
    let log = bench.take_log();
    let told = log.iter().filter(|line| line.contains("EC is too high"));
    assert_eq!(told.count(), 1, "{log:#?}");
    assert!(
        log.iter().any(|line| line.contains("Completed")),
        "{log:#?}"
    );
    // The next run begins anew.
    bench.manual(0, 20 * MINUTE).unwrap();
    bench.wait(10 * MINUTE);
    assert!(bench.plant.dosed_ms > dosed);
}

#[test]
fn what_waits_is_never_dropped_untold() {
    let options = || ZoneOptions {
        rules: vec![crate::rules::always(minutes(5))],
        min_off_ms: 10 * HOUR,
        ..ZoneOptions::default()
    };
    let zones = vec![zone("a", options()), zone("b", options())];
    let mut bench = Bench::new(zones, 1, SitePlan::default());
    bench.config.max_open_zones = 1;
    bench.crash(0, false);
    bench.readings = vec![Some(9.0)];
    bench.wait(3 * MINUTE);
    assert!(bench.valve_is_open(0), "the other waits");
    let now = bench.moment();
    let held = bench.irrigation.handle_hold(Origin::Page, HOUR, now);
    held.unwrap();
    bench.execute();
    let log = bench.take_log();
    let told = log
        .iter()
        .any(|line| line.contains("zone 1 not started Rule: it was stopped"));
    assert!(told, "{log:#?}");
}

#[test]
fn a_rest_of_seconds_goes_with_the_last_cycle() {
    let options = ZoneOptions {
        rules: vec![crate::rules::always(furrow_irrigation::Amount::time(
            630 * SECOND,
        ))],
        cycle: Some(cycle(5 * MINUTE, 20 * MINUTE)),
        min_off_ms: 20 * MINUTE,
        ..ZoneOptions::default()
    };
    let mut bench = Bench::new(vec![zone("a", options)], 1, SitePlan::default());
    bench.readings = vec![Some(9.0)];
    bench.wait(40 * MINUTE);
    let open_ms = bench.plant.open_ms[0];
    assert!(open_ms.abs_diff(630 * SECOND) < 2 * SECOND, "{open_ms}");
}

#[test]
fn what_still_waits_at_the_end_is_told() {
    let options = ZoneOptions {
        rules: vec![crate::rules::always(minutes(10))],
        cycle: Some(cycle(4 * MINUTE, 20 * MINUTE)),
        min_off_ms: 20 * MINUTE,
        ..ZoneOptions::default()
    };
    let mut bench = Bench::new(vec![zone("a", options)], 1, SitePlan::default());
    bench.readings = vec![Some(9.0)];
    // In the first soak.
    bench.wait(10 * MINUTE);
    bench.take_log();
    let now = bench.moment();
    bench.irrigation.handle_shutdown(now);
    bench.execute();
    let log = bench.take_log();
    assert_eq!(
        log,
        ["600 zone 0 not started Rule: it was stopped before the valve opened"],
        "{log:#?}"
    );
}
