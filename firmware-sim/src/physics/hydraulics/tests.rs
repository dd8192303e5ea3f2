use super::*;

const SECOND: u64 = 1_000_000_000;

fn water() -> Hydraulics {
    let travel = [1_000, 2_000, 3_000, 1_500].map(|ms| Valve::new(ms * 1_000_000));
    Hydraulics::new(0, travel.to_vec(), Plant::default())
}

/// Runs event by event, settling every ten seconds as the physics does.
fn run(water: &mut Hydraulics, seconds: u64) {
    for _ in 0..seconds / 10 {
        let until = water.now_ns + 10 * SECOND;
        run_ns(water, until);
        water.settle();
    }
    let until = water.now_ns + seconds % 10 * SECOND;
    run_ns(water, until);
}

fn run_ns(water: &mut Hydraulics, until_ns: u64) {
    while let Some(event) = water.next_event_ns().filter(|event| *event <= until_ns) {
        water.advance(event);
    }
    water.advance(until_ns);
}

#[test]
fn a_valve_travels_and_its_switch_follows() {
    let mut water = water();
    water.drive(1, true);
    run_ns(&mut water, 2 * SECOND - 1);
    assert_eq!(water.switches(), 0);
    run_ns(&mut water, 2 * SECOND);
    assert_eq!(water.switches(), 0b10);
    water.drive(1, false);
    run_ns(&mut water, 3 * SECOND);
    assert_eq!(water.switches(), 0b10);
    // It turns round half-way.
    water.drive(1, true);
    run_ns(&mut water, 3 * SECOND + SECOND / 2);
    water.drive(1, false);
    run_ns(&mut water, 5 * SECOND);
    assert_eq!(water.switches(), 0);
    assert_eq!(water.next_event_ns(), None);
}

#[test]
fn pulses_count_the_water_however_often_one_looks() {
    let mut coarse = water();
    coarse.drive(0, true);
    run(&mut coarse, 601);
    // Ten minutes at 8 L/min.
    assert_eq!(coarse.pulses(), 35_999);
    assert!((coarse.litres() - 80.0).abs() < 1e-5, "{}", coarse.litres());

    let mut fine = water();
    fine.drive(0, true);
    for ms in 1..=601_000 {
        run_ns(&mut fine, ms * 1_000_000);
    }
    assert_eq!(
        (fine.drawn, fine.metered, fine.given.clone()),
        (coarse.drawn, coarse.metered, coarse.given.clone())
    );
}

#[test]
fn the_soil_gets_what_the_meter_saw_but_later() {
    let mut water = water();
    water.drive(0, true);
    run(&mut water, 41);
    // The pipes fill first.
    assert!((water.litres() - 40.0 * 8.0 / 60.0).abs() < 1e-5);
    assert!(water.given_litres()[0] < 0.04);
    run(&mut water, 100);
    water.drive(0, false);
    run(&mut water, 10);
    assert_eq!(water.given[0], water.drawn);
    assert_eq!(water.given[1], 0);
}

#[test]
fn the_pump_limits_the_flow() {
    let mut water = water();
    for zone in 0..4 {
        water.drive(zone, true);
    }
    run(&mut water, 3);
    let before = water.litres();
    run(&mut water, 60);
    let flow = water.litres() - before;
    assert!((flow - 25.0).abs() < 0.01, "{flow}");
}

#[test]
fn the_tank_falls_and_is_refilled() {
    let mut water = water();
    let start = water.tank_m();
    assert!((start - 2.0).abs() < 1e-9);
    water.drive(0, true);
    // 800 litres until 40 %, then 15 L/min come in and 8 go out.
    run(&mut water, 101 * 60);
    assert!((0.98..1.01).contains(&water.tank_m()), "{}", water.tank_m());
    assert!(water.refilling);
    water.drive(0, false);
    run(&mut water, 6 * 3_600);
    assert!(water.tank_m() > 2.3, "{}", water.tank_m());
    assert!(!water.refilling);
}

#[test]
fn an_empty_tank_stops_the_flow() {
    let mut water = water();
    water.drive(0, true);
    run(&mut water, 20);
    let before = water.pulses();
    water.set_empty(true);
    run(&mut water, 100);
    assert_eq!(water.pulses(), before);
    assert!(water.tank_m() < 1e-9);
    // The well gives again.
    water.set_empty(false);
    run(&mut water, 600);
    assert!(water.pulses() > before);
}

#[test]
fn faults_of_valve_meter_and_pipe() {
    let mut water = water();
    water.drive(0, true);
    run(&mut water, 10);
    water.stick(0, None);
    water.drive(0, false);
    run(&mut water, 60);
    assert_eq!(water.switches(), 1);
    water.set_meter_jammed(true);
    let before = (water.pulses(), water.litres());
    run(&mut water, 60);
    assert_eq!(water.pulses(), before.0);
    assert!(water.litres() > before.1);
    water.set_meter_jammed(false);
    water.free(0);
    run(&mut water, 10);
    assert_eq!(water.switches(), 0);
    let before = water.litres();
    run(&mut water, 60);
    assert!((water.litres() - before).abs() < 1e-9);
    water.set_leak(2);
    run(&mut water, 60);
    assert!((water.litres() - before - 2.0).abs() < 1e-4);
    // Stuck closed: it is driven, and stays.
    water.stick(1, Some(false));
    water.drive(1, true);
    run(&mut water, 10);
    assert_eq!(water.switches(), 0);
    water.stick(1, Some(true));
    assert_eq!(water.switches(), 0b10);
}

/// Zones at outputs 1 and 2, master valve at 3, pump at 4.
fn pumped() -> Hydraulics {
    let travel = [1_000, 2_000, 1_000, 100].map(|ms| Valve::new(ms * 1_000_000));
    let plant = Plant {
        pump: Some(4),
        master_valve: Some(3),
        dosing: None,
    };
    Hydraulics::new(0, travel.to_vec(), plant)
}

#[test]
fn water_needs_valve_master_valve_and_pump() {
    let mut water = pumped();
    for open in [&[0][..], &[0, 2], &[3], &[2, 3], &[0, 3]] {
        (0..4).for_each(|output| water.drive(output, false));
        run(&mut water, 10);
        (0..4).for_each(|output| water.drive(output, open.contains(&output)));
        run(&mut water, 60);
        // The pump draws nothing while every way is shut.
        assert!(water.litres() < 1e-9, "{open:?}: {}", water.litres());
    }
    (0..4).for_each(|output| water.drive(output, output != 1));
    run(&mut water, 61);
    assert!((water.litres() - 8.0).abs() < 0.1, "{}", water.litres());
    assert!((2.7..2.8).contains(&water.bar()), "{}", water.bar());
    let times = water.times();
    let seconds = |ns: u64| (ns + SECOND / 2) / SECOND;
    // Three minutes without a way, in three pieces, then one with water.
    assert_eq!((seconds(times.pump), seconds(times.shut)), (241, 181));
    assert_eq!(seconds(times.shut_longest), 61);
}

#[test]
fn faults_of_line_pump_and_meter() {
    let mut water = pumped();
    (0..4).for_each(|output| water.drive(output, output != 1));
    run(&mut water, 60);
    let flow = |water: &mut Hydraulics| {
        let before = (water.litres(), water.pulses(), water.given_litres()[0]);
        run(water, 60);
        let of = |now: f64, before: f64| (now - before).round();
        let pulses = (water.pulses() - before.1) as f64 / 450.0;
        let given = of(water.given_litres()[0], before.2);
        (of(water.litres(), before.0), pulses.round(), given)
    };
    assert_eq!(flow(&mut water), (8.0, 8.0, 8.0));
    water.set_hole(0, 12);
    assert_eq!(flow(&mut water), (19.0, 19.0, 8.0));
    water.set_hole(0, 0);
    water.set_clogged(0, 50);
    assert_eq!(flow(&mut water), (4.0, 4.0, 4.0));
    water.set_clogged(0, 0);
    water.set_meter_percent(200);
    assert_eq!(flow(&mut water), (8.0, 16.0, 8.0));
    water.set_meter_percent(100);
    water.set_pump_fails(true);
    assert_eq!(flow(&mut water), (0.0, 0.0, 0.0));
    assert!(water.bar() < 1e-9 && water.switches() >> 3 & 1 == 1);
    water.set_pump_fails(false);
    // Welded: the contactor stays, and the water with it.
    water.set_pump_welded(true);
    water.drive(3, false);
    assert_eq!(flow(&mut water), (8.0, 8.0, 8.0));
    water.set_pump_welded(false);
    run(&mut water, 1);
    assert_eq!(flow(&mut water), (0.0, 0.0, 0.0));
    // Without water the pump runs dry.
    water.drive(3, true);
    water.set_empty(true);
    run(&mut water, 31);
    assert!(water.times().dry >= 30 * SECOND, "{}", water.times().dry);
}
