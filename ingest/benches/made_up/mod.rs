//! Made-up readings of the reference greenhouse, and how a benchmark tells its figures.
//!
//! Values follow a day, wander, and jitter by a few steps, as those of the sensors do at their resolution.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::time::Duration;

use furrow_wire::{Catalog, CatalogChannel, CatalogDevice, Sample};
use rand::RngExt;
use rand::rngs::StdRng;

/// A day in milliseconds.
pub(crate) const DAY_MS: i64 = 86_400_000;
/// 2026-01-01 in Unix milliseconds.
pub(crate) const BEGIN_MS: i64 = 1_767_225_600_000;
/// Of all benchmarks.
pub(crate) const SEED: u64 = 7;
/// Values wander by so many milliseconds a step.
const WANDER_MS: i64 = 10_000;

/// Name, exponent, level, daily swing, wander per step, jitter; the last four in steps of the exponent.
pub(crate) type Channel = (&'static str, i8, f64, f64, f64, f64);

/// Those of the reference greenhouse.
pub(crate) const CHANNELS: [Channel; 16] = [
    ("air_temperature", -2, 2800.0, 500.0, 1.5, 2.0),
    ("relative_humidity", -2, 7500.0, 1200.0, 4.0, 6.0),
    ("outside_temperature", -2, 2700.0, 450.0, 1.5, 2.0),
    ("outside_humidity", -2, 7800.0, 1000.0, 4.0, 6.0),
    ("co2", 0, 480.0, 90.0, 0.8, 1.5),
    ("canopy_temperature", -2, 2750.0, 480.0, 1.5, 3.0),
    ("canopy_humidity", -2, 8000.0, 900.0, 4.0, 8.0),
    ("global_radiation", -2, 20_000.0, 30_000.0, 150.0, 40.0),
    ("tank_level", -3, 1800.0, 300.0, 0.1, 0.6),
    ("soil_moisture_1", -1, 620.0, 40.0, 0.1, 0.5),
    ("soil_moisture_2", -1, 580.0, 40.0, 0.1, 0.5),
    ("soil_temperature", -2, 2600.0, 150.0, 0.2, 1.0),
    ("root_ec", -2, 180.0, 10.0, 0.1, 0.4),
    ("water_flow", -2, 0.0, 0.0, 0.0, 0.0),
    ("zones_open", 0, 0.0, 0.0, 0.0, 0.0),
    ("battery_voltage", -3, 12_600.0, 300.0, 0.5, 2.0),
];

/// The next sample of a channel, `step_ms` after the one before. Watering for ten minutes every six hours moves two
/// channels; all others follow the day.
pub(crate) fn sample(
    rng: &mut StdRng,
    spec: &Channel,
    wander: &mut f64,
    time_ms: i64,
    step_ms: i64,
) -> Sample {
    let (name, _, level, swing, step, jitter) = *spec;
    let watering = time_ms % (6 * 3_600_000) < 600_000;
    match name {
        "zones_open" => return Sample::good(i64::from(watering)),
        "water_flow" => {
            let flow = if watering {
                1200 + rng.random_range(-20..=20)
            } else {
                0
            };
            return Sample::good(flow);
        }
        _ => {}
    }
    let day = (time_ms % DAY_MS) as f64 / DAY_MS as f64 * std::f64::consts::TAU;
    for _ in 0..(step_ms / WANDER_MS).max(1) {
        *wander = *wander * 0.9995 + gauss(rng) * step;
    }
    let value = level - swing * day.cos() + *wander + gauss(rng) * jitter;
    let value = if name == "global_radiation" {
        value.max(0.0)
    } else {
        value
    };
    Sample::good(value.round() as i64)
}

/// Sum of twelve uniform numbers: near enough to a normal distribution of deviation 1.
fn gauss(rng: &mut StdRng) -> f64 {
    (0..12).map(|_| rng.random_range(0.0..1.0)).sum::<f64>() - 6.0
}

/// A greenhouse with one device that has these channels, by name and exponent.
pub(crate) fn catalog<'a>(
    greenhouse: &str,
    step_ms: i64,
    channels: impl Iterator<Item = (&'a str, i8)>,
) -> Catalog {
    let channel = |(name, exponent): (&str, i8)| CatalogChannel {
        device: "d".parse().unwrap(),
        channel: name.parse().unwrap(),
        unit: "1".into(),
        exponent,
        interval_ms: step_ms.cast_unsigned() as u32,
        name: String::new(),
    };
    Catalog {
        greenhouse: greenhouse.parse().unwrap(),
        greenhouse_name: String::new(),
        software: String::new(),
        devices: vec![CatalogDevice {
            id: "d".parse().unwrap(),
            kind: String::new(),
            bus: String::new(),
            address: None,
            name: String::new(),
            calibration_version: 0,
        }],
        channels: channels.map(channel).collect(),
        zones: Vec::new(),
    }
}

/// CPU time of this thread: other work on the machine does not count.
pub(crate) fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    Duration::from(nix::time::clock_gettime(clock).unwrap())
}

/// Prints a figure as `cargo xtask bench` reads it: one JSON object a line. A budget is an upper bound.
pub(crate) fn tell(name: &str, value: f64, unit: &str, budget: Option<f64>) {
    let figure =
        serde_json::json!({ "name": name, "value": value, "unit": unit, "budget": budget });
    println!("{figure}");
}
