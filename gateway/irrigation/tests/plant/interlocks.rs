//! What forbids water.

use furrow_irrigation::{
    FlowMode, InputIndex, Interlock, Origin, PressurePlan, SitePlan, TankPlan, Trouble, ZoneIndex,
    ZoneOptions,
};

use crate::bench::{Bench, Fault, HOUR, MINUTE, SECOND, pumped, watched, zone};

fn has(log: &[String], what: &str) -> bool {
    log.iter().any(|line| line.contains(what))
}

#[test]
fn no_flow_stops_is_tried_again_and_in_the_end_waits_for_a_person() {
    let mut bench = Bench::new(vec![zone("a", watched(FlowMode::Active))], 0, pumped());
    bench.plant.faults.push(Fault::Clogged(0));
    for turn in 1..=4 {
        bench.manual(0, HOUR).unwrap();
        bench.wait(5 * MINUTE);
        let log = bench.take_log();
        assert!(has(&log, "Interlock(NoFlow)"), "{log:#?}");
        assert!(bench.all_off());
        // 150 s to fill, 60 s without flow, 5 s between looks.
        assert!(
            bench.plant.open_ms[0] <= turn * 225 * SECOND,
            "{}",
            bench.plant.open_ms[0]
        );
        let refusal = bench.manual(0, HOUR).unwrap_err().to_string();
        assert_eq!(refusal, Interlock::NoFlow.text());
        bench.wait(HOUR);
    }
    let refusal = bench.manual(0, HOUR).unwrap_err().to_string();
    assert_eq!(
        refusal,
        Interlock::NoFlow.text(),
        "the fourth waits for a person"
    );
    let now = bench.moment();
    assert_eq!(bench.irrigation.handle_reset(Origin::Tool, now), 1);
    bench.plant.faults.clear();
    bench.execute();
    bench.manual(0, 10 * MINUTE).unwrap();
    bench.wait(20 * MINUTE);
    assert!(has(&bench.take_log(), "Completed"));
}

#[test]
fn a_burst_stops_and_stays_locked_through_a_reboot() {
    let zones = vec![
        zone("a", watched(FlowMode::Active)),
        zone("b", watched(FlowMode::Active)),
    ];
    let mut bench = Bench::new(zones, 0, pumped());
    bench.plant.faults.push(Fault::Burst(0));
    bench.manual(0, HOUR).unwrap();
    bench.wait(10 * MINUTE);
    let log = bench.take_log();
    let place = |what: &str| log.iter().position(|line| line.ends_with(what));
    assert!(place("off pump") < place("off valve 0"), "{log:#?}");
    assert!(
        has(&log, "Interlock(Burst)") && has(&log, "locked: more water flows"),
        "{log:#?}"
    );
    // 150 s to fill, 45 s of burst, 5 s between looks.
    assert!(
        bench.plant.open_ms[0] <= 210 * SECOND,
        "{}",
        bench.plant.open_ms[0]
    );
    bench.plant.faults.clear();
    bench.crash(5 * HOUR, true);
    bench.wait(MINUTE);
    assert_eq!(
        bench.manual(0, HOUR).unwrap_err().to_string(),
        Interlock::Burst.text()
    );
    bench.manual(1, MINUTE).unwrap();
    let view = bench.irrigation.view(ZoneIndex(0), bench.moment()).unwrap();
    assert_eq!(view.lock, Some(Interlock::Burst));
    // What alarms see: also after the reboot, and no more when somebody has looked.
    let troubles = [(Some(ZoneIndex(0)), Trouble::Interlock(Interlock::Burst))];
    assert_eq!(bench.irrigation.troubles(bench.moment()), troubles);
    let now = bench.moment();
    bench.irrigation.handle_reset(Origin::Button, now);
    assert_eq!(bench.irrigation.troubles(now), []);
}

#[test]
fn while_only_watched_a_wrong_flow_is_told_once_and_stops_nothing() {
    let mut bench = Bench::new(vec![zone("a", watched(FlowMode::Monitor))], 0, pumped());
    bench.plant.faults.push(Fault::Burst(0));
    bench.manual(0, 20 * MINUTE).unwrap();
    bench.wait(30 * MINUTE);
    let log = bench.take_log();
    let alarms = log
        .iter()
        .filter(|line| line.contains("alarm: more water flows"))
        .count();
    assert_eq!(alarms, 1, "{log:#?}");
    assert!(has(&log, "Completed"));
}

#[test]
fn a_right_flow_is_never_told() {
    // 30 runs of all lengths, with a coarse look at the meter.
    let mut bench = Bench::new(vec![zone("a", watched(FlowMode::Active))], 0, pumped());
    for minutes in 1..=30 {
        bench.manual(0, minutes * MINUTE).unwrap();
        bench.wait(40 * MINUTE);
    }
    let log = bench.take_log();
    assert!(!has(&log, "locked") && !has(&log, "alarm"), "{log:#?}");
    assert_eq!(
        log.iter().filter(|line| line.contains("Completed")).count(),
        30
    );
}

#[test]
fn a_leak_with_all_closed_locks_everything() {
    let mut bench = Bench::new(vec![zone("a", watched(FlowMode::Active))], 0, pumped());
    bench.wait(30 * MINUTE);
    bench.expect(&[]);
    bench.plant.faults.push(Fault::Leak);
    bench.wait(10 * MINUTE);
    let log = bench.take_log();
    assert!(
        has(
            &log,
            "site locked: water flows although every valve is closed: leak: 3.0 l"
        ),
        "{log:#?}"
    );
    assert_eq!(
        bench.manual(0, HOUR).unwrap_err().to_string(),
        Interlock::Leak.text()
    );
    bench.crash(HOUR, true);
    bench.wait(MINUTE);
    assert_eq!(
        bench.manual(0, HOUR).unwrap_err().to_string(),
        Interlock::Leak.text()
    );
    let troubles = [(None, Trouble::Interlock(Interlock::Leak))];
    assert_eq!(bench.irrigation.troubles(bench.moment()), troubles);
}

#[test]
fn a_tank_that_is_low_empty_or_unknown() {
    let tank = TankPlan {
        input: InputIndex(0),
        low: 30.0,
        empty: 10.0,
        may_be_unknown: false,
    };
    let site = SitePlan {
        tank: Some(tank),
        ..pumped()
    };
    let with = |site: &SitePlan, level| {
        let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 1, site.clone());
        bench.readings = vec![level];
        bench.wait(MINUTE);
        bench
    };
    for (level, refusal) in [
        (Some(29.0), Interlock::TankLow),
        (Some(9.0), Interlock::TankEmpty),
        (None, Interlock::TankUnknown),
    ] {
        let mut bench = with(&site, level);
        assert_eq!(
            bench.manual(0, HOUR).unwrap_err().to_string(),
            refusal.text()
        );
    }
    // Low ends no run, empty and unknown do.
    for (level, end) in [
        (Some(29.0), None),
        (Some(9.0), Some("TankEmpty")),
        (None, Some("TankUnknown")),
    ] {
        let mut bench = with(&site, Some(60.0));
        bench.manual(0, HOUR).unwrap();
        bench.wait(5 * MINUTE);
        bench.readings = vec![level];
        bench.wait(2 * MINUTE);
        let log = bench.take_log();
        match end {
            Some(end) => assert!(has(&log, end) && bench.all_off(), "{log:#?}"),
            None => assert!(bench.pump_is_on(), "{log:#?}"),
        }
    }
    let lenient = SitePlan {
        tank: Some(TankPlan {
            may_be_unknown: true,
            ..tank
        }),
        ..pumped()
    };
    assert!(with(&lenient, None).manual(0, HOUR).is_ok());
}

#[test]
fn low_pressure_ends_a_run_once_it_lasts() {
    let site = SitePlan {
        pressure: Some(PressurePlan {
            input: InputIndex(0),
            low: 0.8,
            for_ms: 10 * SECOND,
        }),
        ..pumped()
    };
    let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 1, site);
    bench.readings = vec![Some(1.5)];
    bench.manual(0, HOUR).unwrap();
    bench.wait(MINUTE);
    bench.readings = vec![Some(0.5)];
    bench.wait(10 * SECOND);
    bench.readings = vec![Some(1.5)];
    bench.wait(MINUTE);
    assert!(bench.pump_is_on(), "a dip is no fault");
    bench.readings = vec![Some(0.5)];
    bench.wait(40 * SECOND);
    assert!(bench.all_off());
    assert!(has(&bench.take_log(), "PressureLow"));
}

#[test]
fn least_time_off_and_starts_an_hour_outlast_a_restart() {
    let options = ZoneOptions {
        min_off_ms: 10 * MINUTE,
        starts_per_hour: 3,
        ..ZoneOptions::default()
    };
    let mut bench = Bench::new(vec![zone("a", options)], 0, SitePlan::default());
    for turn in 0..3 {
        bench.manual(0, MINUTE).unwrap();
        bench.wait(5 * MINUTE);
        let refusal = bench.manual(0, MINUTE).unwrap_err().to_string();
        assert!(refusal.contains("must stay off"), "{refusal}");
        bench.crash(SECOND, turn == 1);
        bench.wait(20 * SECOND);
        let refusal = bench.manual(0, MINUTE).unwrap_err().to_string();
        assert!(refusal.contains("must stay off"), "{refusal}");
        bench.wait(10 * MINUTE);
    }
    let refusal = bench.manual(0, MINUTE).unwrap_err().to_string();
    assert!(refusal.contains("3 times within the hour"), "{refusal}");
    bench.wait(HOUR);
    bench.manual(0, MINUTE).unwrap();
}

#[test]
fn litres_of_a_day_hold_even_when_the_line_bursts() {
    let options = ZoneOptions {
        daily_limit_ml: Some(200_000),
        ..watched(FlowMode::Monitor)
    };
    let mut bench = Bench::new(vec![zone("a", options)], 0, pumped());
    // 600 l/h: 20 min are 200 l.
    let refusal = bench.manual(0, 21 * MINUTE).unwrap_err().to_string();
    assert!(refusal.contains("200000 ml are left"), "{refusal}");
    bench.plant.faults.push(Fault::Burst(0));
    bench.manual(0, 19 * MINUTE).unwrap();
    bench.wait(30 * MINUTE);
    assert!(has(&bench.take_log(), "Interlock(Litres)"));
    let ml = bench.plant.zone_ml[0];
    assert!((200_000..=206_000).contains(&ml), "{ml}");
    bench.crash(MINUTE, true);
    bench.wait(MINUTE);
    assert!(
        bench.manual(0, MINUTE).is_err(),
        "spent, after a reboot too"
    );
}

#[test]
fn all_zones_together_have_a_budget() {
    let zones = || {
        vec![
            zone("a", watched(FlowMode::Off)),
            zone("b", watched(FlowMode::Off)),
        ]
    };
    for site in [
        SitePlan {
            daily_limit_ms: Some(30 * MINUTE),
            ..pumped()
        },
        SitePlan {
            daily_limit_ml: Some(300_000),
            ..pumped()
        },
    ] {
        let mut bench = Bench::new(zones(), 0, site);
        bench.manual(0, 20 * MINUTE).unwrap();
        bench.wait(MINUTE);
        // What runs is charged already.
        let refusal = bench.manual(1, 20 * MINUTE).unwrap_err().to_string();
        assert_eq!(refusal, "all zones together have used up today's water");
        bench.wait(29 * MINUTE);
        let refusal = bench.manual(1, 20 * MINUTE).unwrap_err().to_string();
        assert_eq!(refusal, "all zones together have used up today's water");
        bench.manual(1, 9 * MINUTE).unwrap();
    }
}

#[test]
fn a_pump_that_does_not_follow() {
    for (fault, text) in [
        (Fault::PumpDead, "the pump: it does not switch on"),
        (Fault::PumpWelded, "the pump: it is not off"),
    ] {
        let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 0, pumped());
        bench.manual(0, 5 * MINUTE).unwrap();
        bench.wait(2 * SECOND);
        bench.plant.faults.push(fault);
        bench.wait(6 * MINUTE);
        let log = bench.take_log();
        assert!(has(&log, text), "{log:#?}");
        bench.manual(0, MINUTE).ok();
        bench.wait(MINUTE);
        assert_eq!(
            bench.manual(0, MINUTE).unwrap_err().to_string(),
            Interlock::Supply.text(),
            "{log:#?}"
        );
        bench.plant.faults.clear();
        bench.wait(6 * MINUTE);
        bench.manual(0, MINUTE).unwrap();
    }
}

#[test]
fn a_person_on_site_comes_before_everything() {
    let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 0, pumped());
    bench.manual(0, HOUR).unwrap();
    bench.wait(MINUTE);
    let now = bench.moment();
    bench
        .irrigation
        .handle_hold(Origin::Button, HOUR, now)
        .unwrap();
    bench.execute();
    bench.wait(MINUTE);
    assert!(bench.all_off());
    let refusal = bench
        .manual_from(0, MINUTE, Origin::Cloud)
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("a person on site wants no water"),
        "{refusal}"
    );
    let now = bench.moment();
    assert!(bench.irrigation.handle_release(Origin::Cloud, now).is_err());
    assert!(bench.irrigation.handle_hold(Origin::Cloud, 1, now).is_err());
    // All of it again after a reboot: nobody knows how long it was off.
    bench.crash(MINUTE, true);
    bench.wait(30 * MINUTE);
    assert!(bench.manual(0, MINUTE).is_err());
    bench.wait(31 * MINUTE);
    bench.manual(0, MINUTE).unwrap();
    bench.wait(5 * MINUTE);
    let now = bench.moment();
    bench
        .irrigation
        .handle_hold(Origin::Page, HOUR, now)
        .unwrap();
    bench.irrigation.handle_release(Origin::Page, now).unwrap();
    bench.execute();
    bench.manual(0, MINUTE).unwrap();
}

#[test]
fn who_stops_a_zone_on_site_is_not_overruled() {
    let mut bench = Bench::new(
        vec![zone("a", ZoneOptions::default())],
        0,
        SitePlan::default(),
    );
    bench.manual_from(0, HOUR, Origin::Cloud).unwrap();
    bench.wait(MINUTE);
    assert!(bench.stop(0, Origin::Page));
    bench.wait(MINUTE);
    let refusal = bench
        .manual_from(0, MINUTE, Origin::Cloud)
        .unwrap_err()
        .to_string();
    assert!(
        refusal.contains("a person on site wants no water"),
        "{refusal}"
    );
    bench.manual(0, MINUTE).unwrap();
    bench.wait(5 * MINUTE);
    bench.manual_from(0, MINUTE, Origin::Cloud).unwrap();
}

#[test]
fn a_controller_that_falls_silent_stops_at_the_end_of_its_leases() {
    let mut bench = Bench::new(vec![zone("a", ZoneOptions::default())], 0, pumped());
    bench.manual(0, HOUR).unwrap();
    bench.wait(MINUTE);
    bench.plant.faults.push(Fault::Silent);
    bench.wait(31 * SECOND);
    assert!(bench.all_off());
    assert_eq!(bench.plant.deadhead_ms, 0);
}

#[test]
fn a_jammed_meter_is_no_endless_budget() {
    let options = ZoneOptions {
        daily_limit_ml: Some(200_000),
        ..watched(FlowMode::Monitor)
    };
    let mut bench = Bench::new(vec![zone("a", options)], 0, pumped());
    bench.plant.faults.push(Fault::MeterJammed);
    // 15 min at the right flow are 150 l, whatever the meter says.
    bench.manual(0, 15 * MINUTE).unwrap();
    bench.wait(20 * MINUTE);
    let refusal = bench.manual(0, 6 * MINUTE).unwrap_err().to_string();
    assert!(refusal.contains("50000 ml are left"), "{refusal}");
}
