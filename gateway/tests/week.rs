//! A simulated week of a greenhouse with one of each device, with faults sown by a seed: every fault
//! is seen on its own channels, as what it is, and no other channel is disturbed.
//!
//! The real drivers, bus workers, schedule, quality checks and derived channels run against the
//! simulator in lock-step; only journal and link are left out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that prints its figures"
)]

mod kit;

use std::collections::BTreeMap;

use furrow_sim::faults::{Fault, FaultOrder};
use furrow_sim::{Mode, Options, Setup, Simulator};
use furrow_wire::{Quality, Sample};
use kit::{Book, Loop, START_UNIX_MS};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const WEEK: u64 = 7 * 24 * HOUR;
/// Every device is read this often.
const INTERVAL: u64 = 2 * MINUTE;
/// The first readings of CO2 sensors are not there yet.
const WARM_UP: u64 = 4 * MINUTE;
/// From the end of a fault until its device must be good again: a minute of back-off, the set-up of
/// a CO2 sensor, and the interval in which that happens.
const SETTLE: u64 = MINUTE + 3 * INTERVAL;
/// Faults follow each other at this distance, so that each can be told by itself.
const APART: u64 = 25 * MINUTE;

/// What a fault must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Every sample while it lasts has this quality.
    Throughout(Quality),
    /// At least one sample while it lasts has this quality.
    Once(Quality),
    /// The samples stay good; a disturbance is tried through, or one sample is lost.
    AtMost(usize),
}

struct Sown {
    name: &'static str,
    fault: Fault,
    from: u64,
    to: u64,
    devices: Vec<&'static str>,
    seen: Seen,
}

#[test]
fn every_fault_is_seen_where_it_is_and_nowhere_else() {
    let seed = std::env::var("FURROW_WEEK_SEED").map_or(20, |seed| seed.parse().unwrap());
    let sown = sow(seed);
    let (book, clears, lag_ms) = run(seed, &sown);
    let settings_inputs = derived_inputs();
    let mut figures: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut excused: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for fault in &sown {
        for device in &fault.devices {
            let window = (fault.from, fault.to + SETTLE);
            excused.entry(device).or_default().push(window);
            for (derived, of) in &settings_inputs {
                if of == device {
                    excused.entry(derived).or_default().push(window);
                }
            }
        }
        let samples = check_seen(&book, fault);
        let (faults, of_kind) = figures.entry(fault.name).or_default();
        *faults += 1;
        *of_kind += samples;
    }
    let (mut total, mut bad) = (0_usize, BTreeMap::<Quality, usize>::new());
    let mut disturbed = Vec::new();
    for (channel, samples) in &book {
        let device = channel.split_once('/').unwrap().0;
        let windows = excused.get(device).map_or(&[][..], Vec::as_slice);
        for (at, sample) in samples {
            total += 1;
            if sample.quality == Quality::Good {
                continue;
            }
            *bad.entry(sample.quality).or_default() += 1;
            let known = windows.iter().any(|(from, to)| (from..=to).contains(&at));
            // Sums of a day that was not seen whole are suspect for the rest of it.
            let sum = device == "day-light" && sample.quality == Quality::Suspect;
            if !known && !sum && *at > WARM_UP {
                disturbed.push(format!("{channel} at {at} ms: {}", sample.quality));
            }
        }
    }
    println!(
        "seed {seed}: {} channels, {total} samples in a week",
        book.len()
    );
    for (name, (faults, samples)) in &figures {
        println!("{name:<22} sown {faults:>2}, seen in {samples:>5} samples");
    }
    let told: Vec<String> = bad
        .iter()
        .map(|(quality, n)| format!("{n} {quality}"))
        .collect();
    println!("not good: {}; bus clocked {clears} times", told.join(", "));
    println!("no tick missed; the last answer to a tick came {lag_ms} ms after it");
    assert!(lag_ms < 4_000, "{lag_ms} ms: somebody held up the others");
    disturbed.truncate(20);
    assert_eq!(disturbed, [""; 0], "channels without a fault");
    assert_eq!(clears, 3, "each held bus was clocked free once");
    check_meaning(&book, &sown);
}

/// One fault after the other, in an order, at times and for lengths that the seed decides.
fn sow(seed: u64) -> Vec<Sown> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut kinds = templates();
    for place in (1..kinds.len()).rev() {
        kinds.swap(place, rng.random_range(0..=place));
    }
    let mut at = 3 * HOUR;
    let mut sown = Vec::new();
    for mut one in kinds {
        let jitter = rng.random_range(0..10 * MINUTE);
        let longer = rng.random_range(0..10 * MINUTE);
        // A moment stays one.
        let length = one.to + if one.to >= MINUTE { longer } else { 0 };
        one.from = at + jitter;
        one.to = one.from + length;
        at = one.to + SETTLE + APART;
        sown.push(one);
    }
    assert!(at < WEEK, "all faults fit into the week: {} h", at / HOUR);
    sown
}

/// Chips of the simulator, and the devices that they are in the configuration. Soil probes are there, but
/// their faults are sown by `rs485.rs`: after one a line waits for late answers by the real clock, and a
/// week in lock-step runs through hours meanwhile.
const CHIPS: [(&str, &str); 18] = [
    ("sht-inside", "sht-inside"),
    ("scd41", "co2"),
    ("ads1115", "analog"),
    ("sht31", "sht31"),
    ("bh1750", "light"),
    ("bme280", "box"),
    ("scd30", "co2-ndir"),
    ("ina219-mains", "mains-supply"),
    ("ina219-battery", "battery"),
    ("ezo-ph", "feed-ph"),
    ("ezo-ec", "feed-ec"),
    ("mcp23017", "panel"),
    ("pcf8574", "panel-2"),
    ("sht-bed-1", "sht-bed-1"),
    ("sht-bed-2", "sht-bed-2"),
    ("ds18b20-1", "substrate-1"),
    ("ds18b20-2", "substrate-2"),
    ("drip", "drip"),
];
/// Those whose answers carry a checksum, by device.
const CHECKED: [&str; 9] = [
    "sht-inside",
    "co2",
    "sht31",
    "co2-ndir",
    "sht-bed-1",
    "sht-bed-2",
    "substrate-1",
    "substrate-2",
    "drip",
];
/// Those that stand still when they feel the same for ever, by device.
const LIVELY: [&str; 3] = ["sht-inside", "sht31", "sht-bed-1"];
const ON_BUS_1: [&str; 3] = ["sht-inside", "co2", "analog"];
const ON_BUS_2: [&str; 12] = [
    "sht31",
    "light",
    "box",
    "co2-ndir",
    "mains-supply",
    "battery",
    "feed-ph",
    "feed-ec",
    "panel",
    "panel-2",
    "sht-bed-1",
    "sht-bed-2",
];
const FAILED: Seen = Seen::Throughout(Quality::Failed);

/// A fault of a least length, without its time.
fn one(
    name: &'static str,
    fault: Fault,
    length: u64,
    devices: &[&'static str],
    seen: Seen,
) -> Sown {
    Sown {
        name,
        fault,
        from: 0,
        to: length,
        devices: devices.to_vec(),
        seen,
    }
}

/// Every fault that there is, for every device that can have it.
fn templates() -> Vec<Sown> {
    let mut all: Vec<Sown> = CHIPS
        .iter()
        .flat_map(|(chip, device)| of_chip(chip, device))
        .collect();
    all.extend(of_site());
    all
}

fn of_chip(chip: &str, device: &'static str) -> Vec<Sown> {
    let chip = || chip.to_owned();
    let of = [device];
    let lost = if device == "co2" { 2 } else { 1 };
    let unplug = Fault::Unplug { device: chip() };
    let nack = Fault::Nack {
        device: chip(),
        count: 2,
    };
    let brown_out = Fault::BrownOut { device: chip() };
    let mut all = vec![
        one("unplugged", unplug, 12 * MINUTE, &of, FAILED),
        one("two transactions refused", nack, 0, &of, Seen::AtMost(1)),
        one("brown-out", brown_out, 0, &of, Seen::AtMost(lost)),
    ];
    if CHECKED.contains(&device) {
        let crc = Fault::Crc {
            device: chip(),
            rate: 1.0,
        };
        all.push(one("flipped bits", crc, 12 * MINUTE, &of, FAILED));
    }
    if LIVELY.contains(&device) {
        let freeze = Fault::Freeze { device: chip() };
        let stuck = Seen::Once(Quality::Stuck);
        all.push(one("frozen", freeze, 4 * HOUR, &of, stuck));
    }
    all
}

fn of_site() -> Vec<Sown> {
    let beds = ["sht-bed-1", "sht-bed-2"];
    let mux = Fault::Unplug {
        device: "tca9548a".into(),
    };
    let stuck = Fault::BusStuck { bus: 2 };
    let mains = ["mains-supply", "battery", "panel", "contacts"];
    let good = Seen::AtMost(0);
    let mut all = vec![
        one("multiplexer unplugged", mux, 12 * MINUTE, &beds, FAILED),
        one("bus shorted", stuck, 12 * MINUTE, &ON_BUS_2, FAILED),
        one("mains off", Fault::MainsOff, HOUR, &mains, good),
        one(
            "button pressed",
            Fault::PressButton,
            SECOND,
            &["panel"],
            good,
        ),
    ];
    for clocks in [1, 5, 9] {
        let held = Fault::HoldBus { clocks };
        all.push(one("bus held", held, 0, &ON_BUS_1, good));
    }
    all
}

/// How many samples show the fault; panics when they do not.
fn check_seen(book: &Book, sown: &Sown) -> usize {
    let mut seen = 0;
    for (channel, samples) in book {
        let device = channel.split_once('/').unwrap().0;
        if !sown.devices.contains(&device) {
            continue;
        }
        let told = |at: u64, sample: &Sample| {
            format!(
                "{channel} at {at} ms is {} during {:?}",
                sample.quality, sown.fault
            )
        };
        let inside = samples.range(sown.from + 1..sown.to.max(sown.from + 1));
        match sown.seen {
            Seen::Throughout(quality) => {
                for (at, sample) in inside {
                    assert_eq!(sample.quality, quality, "{}", told(*at, sample));
                    seen += 1;
                }
            }
            Seen::Once(quality) => {
                seen += inside
                    .filter(|(_, sample)| sample.quality == quality)
                    .count();
            }
            Seen::AtMost(most) => {
                let after = samples.range(sown.from..sown.to + SETTLE);
                let bad = after.filter(|(_, sample)| sample.quality != Quality::Good);
                let bad = bad.count();
                assert!(
                    bad <= most,
                    "{channel}: {bad} samples lost to {:?}",
                    sown.fault
                );
                seen += bad;
            }
        }
        // Whatever it was, it is over.
        let after = sown.to + SETTLE..sown.to + SETTLE + INTERVAL;
        for (at, sample) in samples.range(after) {
            assert_eq!(
                sample.quality,
                Quality::Good,
                "after: {}",
                told(*at, sample)
            );
        }
    }
    assert!(
        seen > 0 || matches!(sown.seen, Seen::AtMost(_)),
        "{:?} was not seen",
        sown.fault
    );
    seen
}

/// Contacts and supplies say what happened, and stay good.
fn check_meaning(book: &Book, sown: &[Sown]) {
    let of = |name| sown.iter().find(|one| one.name == name).unwrap();
    let value = |channel: &str, at: u64| {
        let (_, sample) = book[channel].range(..=at).next_back().unwrap();
        sample.mantissa.unwrap()
    };
    let (mains, button) = (of("mains off"), of("button pressed"));
    for channel in ["panel/mains_present", "contacts/mains_present"] {
        assert_eq!(value(channel, mains.from), 1, "{channel}");
        assert_eq!(value(channel, mains.to - 1), 0, "{channel}");
        assert_eq!(value(channel, mains.to + SETTLE), 1, "{channel}");
    }
    assert!(value("mains-supply/voltage", mains.from) > 23_000);
    assert!(value("mains-supply/voltage", mains.to - 1) < 100);
    assert!(value("battery/voltage", mains.to - 1) < 12_900);
    // Pressed for a second between two readings: told by the next one, and by no other.
    let pressed = book["panel/button"].range(button.from - HOUR..button.to + HOUR);
    let pressed: Vec<i64> = pressed.filter_map(|(_, sample)| sample.mantissa).collect();
    assert_eq!(pressed.iter().sum::<i64>(), 1);
    let doors = |channel: &str| {
        book[channel]
            .values()
            .filter_map(|s| s.mantissa)
            .sum::<i64>()
    };
    assert!(doors("panel/door_open") > 7 && doors("panel-2/door_open") > 7);
    let days = value("day-light/dli", 2 * 24 * HOUR - 10 * MINUTE);
    assert!((500..6_000).contains(&days), "hundredths of mol/m²: {days}");
}

fn settings_text() -> String {
    let deploy = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/gateway-every-sensor.toml"
    );
    let text = std::fs::read_to_string(deploy).unwrap();
    text.replace("every = \"60s\"", "every = \"2min\"")
}

/// Which derived set hangs on which device.
fn derived_inputs() -> Vec<(&'static str, &'static str)> {
    vec![
        ("climate", "sht-inside"),
        ("climate", "substrate-1"),
        ("day-light", "analog"),
    ]
}

fn run(seed: u64, sown: &[Sown]) -> (Book, u64, u64) {
    let order = |one: &Sown| FaultOrder {
        fault: one.fault.clone(),
        after_ms: one.from,
        for_ms: (one.to > one.from).then_some(one.to - one.from),
    };
    let simulator = Simulator::start(Options {
        listen: "tcp:127.0.0.1:0".parse().unwrap(),
        control: "tcp:127.0.0.1:0".parse().unwrap(),
        setup: Setup {
            seed,
            start_unix_ms: START_UNIX_MS,
            start_mono_ns: 0,
            zones: 4,
            boards: 0,
            wall_known: true,
            boot: None,
            beginning: furrow_sim::Beginning::default(),
            places: Vec::new(),
        },
        mode: Mode::LockStep {
            ceiling_permille: None,
        },
        clients_min: 1,
        trace: None,
        end: None,
        faults: sown.iter().map(order).collect(),
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wire = folder.path().join("w1");
    simulator.serve_one_wire(&wire).unwrap();
    let line = folder.path().join("rs485");
    simulator.serve_serial(&line).unwrap();
    let text = settings_text()
        .replace("tcp:127.0.0.1:7000", &simulator.bus.to_string())
        .replace("./furrow-state/w1", wire.to_str().unwrap())
        .replace("./furrow-state/rs485", line.to_str().unwrap());
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    let mut loop_ = Loop::new(&path);
    let mut book = Book::new();
    while loop_.now() < WEEK {
        loop_.turn(&mut book);
    }
    let clears = loop_.devices.bus_clears();
    assert_eq!((loop_.sampling.missed(), loop_.sampling.late()), (0, 0));
    (book, clears, loop_.lag_ms)
}
