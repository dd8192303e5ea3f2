use super::super::noise::Noise;
use super::super::weather::weather;
use super::*;

/// Extremes of a day.
#[derive(Debug)]
struct Day {
    air_c: (f64, f64),
    humidity_pct: (f64, f64),
    co2_ppm: (f64, f64),
    exchanges_h: (f64, f64),
    transpired_mm: f64,
    outside_c: (f64, f64),
    light_w_m2: f64,
}

const OPEN: Openings = Openings {
    roof: 1.0,
    side: 1.0,
};

/// A day after one of spin-up.
fn day(seed: u64, unix_s: f64, openings: Openings) -> Day {
    let noise = Noise::new(seed);
    let mut climate = Climate::at_rest(weather(&noise, None, unix_s - 86_400.0), 1, Bed::default());
    let around = (f64::MAX, f64::MIN);
    let mut day = Day {
        air_c: around,
        humidity_pct: around,
        co2_ppm: around,
        exchanges_h: around,
        transpired_mm: 0.0,
        outside_c: around,
        light_w_m2: 0.0,
    };
    let widen = |range: &mut (f64, f64), value: f64| {
        *range = (range.0.min(value), range.1.max(value));
    };
    for step in -8_640..8_640 {
        if step == 0 {
            climate.transpired_mm = 0.0;
        }
        let now = weather(&noise, None, unix_s + f64::from(step) * STEP_S);
        climate.step(now, openings, &[0.0]);
        if step < 0 {
            continue;
        }
        let air = climate.air();
        widen(&mut day.air_c, air.temperature_c);
        widen(&mut day.humidity_pct, air.humidity_pct);
        widen(&mut day.co2_ppm, climate.co2_ppm());
        let warmer = climate.air_c - now.air.temperature_c;
        let vent = ventilation(warmer, climate.air_c, now.wind_m_s, openings);
        widen(&mut day.exchanges_h, vent * 3_600.0 / HEIGHT_M);
        widen(&mut day.outside_c, now.air.temperature_c);
        day.light_w_m2 = day.light_w_m2.max(now.global_w_m2);
    }
    day.transpired_mm = climate.transpired_mm;
    day
}

/// Midnight in Vietnam, 18 April 2026, and `days` later.
fn april(days: f64) -> f64 {
    1_776_445_200.0 + days * 86_400.0
}

#[track_caller]
fn check(range: (f64, f64), low: (f64, f64), high: (f64, f64)) {
    assert!((low.0..=low.1).contains(&range.0), "lowest of {range:?}");
    assert!((high.0..=high.1).contains(&range.1), "highest of {range:?}");
}

#[test]
fn a_sunny_day_with_open_vents() {
    let day = day(1, april(1.0), OPEN);
    check(day.outside_c, (22.0, 24.5), (32.0, 34.0));
    assert!((850.0..1_000.0).contains(&day.light_w_m2));
    check(day.air_c, (22.0, 24.5), (33.0, 36.0));
    check(day.humidity_pct, (55.0, 66.0), (93.0, 99.0));
    check(day.co2_ppm, (395.0, 409.0), (412.0, 425.0));
    check(day.exchanges_h, (3.0, 12.0), (30.0, 60.0));
    assert!((3.3..4.3).contains(&day.transpired_mm));
}

#[test]
fn a_cloudy_day() {
    let day = day(1, april(10.0), OPEN);
    check(day.air_c, (22.0, 24.5), (29.0, 32.5));
    assert!((1.5..2.6).contains(&day.transpired_mm));
}

#[test]
fn nearly_closed_vents_are_hot_wet_and_swing_the_co2() {
    let fifth = Openings {
        roof: 0.2,
        side: 0.2,
    };
    let day = day(1, april(1.0), fifth);
    check(day.air_c, (22.0, 25.0), (36.5, 42.0));
    check(day.humidity_pct, (60.0, 80.0), (93.0, 100.0));
    check(day.co2_ppm, (370.0, 400.0), (430.0, 470.0));
}

#[test]
fn soil_dries_by_transpiration_and_is_wetted_by_water() {
    let noise = Noise::new(1);
    let mut climate = Climate::at_rest(weather(&noise, None, april(0.0)), 2, Bed::default());
    let start = climate.soil.clone();
    for step in 0..8_640 {
        let now = weather(&noise, None, april(0.0) + f64::from(step) * STEP_S);
        // Ten minutes of water for the second bed.
        let water_mm = if step < 60 { 1.6 / 60.0 } else { 0.0 };
        climate.step(now, OPEN, &[0.0, water_mm]);
        if step == 60 {
            let rise = climate.soil[1].at_dripper() - start[1].at_dripper();
            assert!((0.02..0.04).contains(&rise), "{rise}");
        }
    }
    let lost = start[0].water - climate.soil[0].water;
    assert!((0.008..0.03).contains(&lost), "{lost}");
    let gained = climate.soil[1].water - climate.soil[0].water;
    assert!((gained - 1.6 / 200.0).abs() < 1e-9, "{gained}");
    // The water went, the salt stayed.
    assert!(climate.soil[0].conductivity(&Bed::default()) > start[0].conductivity(&Bed::default()));
}

#[test]
fn wet_soil_drains_to_field_capacity() {
    let mut soil = Soil {
        water: SATURATION,
        bulb: 0.0,
        salt: 0.1,
    };
    for _ in 0..10 * 8_640 {
        soil.step(&Bed::default(), 0.0, 0.0);
    }
    assert!((0.31..0.33).contains(&soil.water));
    assert!(soil.salt < 0.1);
}
