//! Soil probes on a serial line: the gateway's own port, Modbus and drivers against simulated probes at a
//! pseudo-terminal, with every fault that such a line has.
//!
//! Each fault is seen as what it is on the channels of its probe, and on no other.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that prints its figures"
)]

mod kit;

use std::path::Path;
use std::time::Duration;

use furrow_drivers::registers::{Ask, Function};
use furrow_drivers::{Cause, RegisterSource as _};
use furrow_gateway::bus::Rs485;
use furrow_gateway::config::{Parity, SerialSettings};
use furrow_sim::faults::{Fault, FaultOrder};
use furrow_sim::{Mode, Options, Setup, Simulator};
use furrow_wire::Quality;
use kit::{Book, Loop, START_UNIX_MS};

const MINUTE: u64 = 60_000;
/// Every device is read this often.
const INTERVAL: u64 = 2 * MINUTE;
/// How long a fault lasts.
const LASTS: u64 = 6 * MINUTE;
/// From the end of a fault until its device must be good again: back-off, and the time in which a late
/// answer may still come; see the pace of [`run`].
const SETTLE: u64 = MINUTE + 12 * INTERVAL;
/// From the end of a fault to the next one.
const APART: u64 = SETTLE + 5 * MINUTE;
/// The RS-485 line among the simulator's buses.
const LINE: u8 = 31;

const CONFIG: &str = r#"
[gateway]
cooperative = "hoa-binh"
id = "gw-01"
greenhouse = "nha-luoi-1"
timezone = "Asia/Ho_Chi_Minh"
[mqtt]
host = "127.0.0.1"
password = "secret"
[[bus]]
id = "main"
kind = "simulated"
i2c = 1
address = "ADDRESS"
[[bus]]
id = "soil"
kind = "rs485"
device = "LINE"
timeout = "100ms"
[[device]]
id = "sht-inside"
kind = "sht4x"
bus = "main"
address = 0x44
every = "2min"
[[device]]
id = "soil-1"
kind = "soil-probe"
bus = "soil"
address = 1
profile = "sen0604"
every = "2min"
[[device]]
id = "soil-2"
kind = "soil-probe"
bus = "soil"
address = 2
profile = "s-soil"
every = "2min"
[[device]]
id = "soil-3"
kind = "soil-probe"
bus = "soil"
address = 3
profile_file = "PROFILE"
every = "2min"
"#;

/// A probe whose potassium never fits its range, and with a gap between its registers: two requests.
const PROFILE: &str = r#"
function = 4
[[register]]
register = 6
channel = "potassium_indicative"
unit = "mg/kg"
scale = 1
decimals = 0
min = 0
max = 1
[[register]]
register = 0
channel = "soil_moisture"
unit = "%"
scale = 0.1
decimals = 1
min = 0
max = 100
"#;
const NEVER_IN_RANGE: &str = "soil-3/potassium_indicative";

const ALL: [&str; 3] = ["soil-1", "soil-2", "soil-3"];

/// A fault, whom it hits, and how many of the samples it may cost: `None` is all of them.
struct Sown {
    fault: Fault,
    devices: &'static [&'static str],
    lost_max: Option<usize>,
}

fn sown() -> Vec<Sown> {
    let one = |fault, devices, lost_max| Sown {
        fault,
        devices,
        lost_max,
    };
    let name = |device: &str| device.to_owned();
    let unplug = Fault::Unplug {
        device: name("soil-sen0604"),
    };
    let crc = Fault::Crc {
        device: name("soil-s-soil"),
        rate: 1.0,
    };
    let some_crc = Fault::Crc {
        device: name("soil-s-soil"),
        rate: 0.1,
    };
    let slow = |device, ms| Fault::Slow {
        device: name(device),
        ms,
    };
    vec![
        one(unplug, &["soil-1"], None),
        one(crc, &["soil-2"], None),
        // A reading is lost when a request, its repeat and both of what clears the line fail: one in 5,000.
        // Then its device is left alone until the end of the fault, so nothing near certain can be told of
        // a worse line.
        one(some_crc, &["soil-2"], Some(1)),
        // Far beyond two time-outs. Its answers come while others are asked.
        one(slow("soil-npk", 800), &["soil-3"], None),
        // Answers to the first request come while the repeat waits, and those to the repeat must not
        // become the next request's.
        one(slow("soil-npk", 180), &["soil-3"], Some(0)),
        one(slow("soil-sen0604", 180), &["soil-1"], Some(0)),
        one(Fault::LineNoise { rate: 1.0 }, &ALL, None),
        one(Fault::LineNoise { rate: 0.1 }, &ALL, Some(1)),
        one(Fault::BusStuck { bus: LINE }, &ALL, None),
    ]
}

#[test]
fn every_fault_of_the_line_is_seen_where_it_is_and_nowhere_else() {
    let sown = sown();
    // Between two ticks.
    let at = |index: usize| 21 * MINUTE + u64::try_from(index).unwrap() * (LASTS + APART);
    let order = |(index, one): (usize, &Sown)| FaultOrder {
        fault: one.fault.clone(),
        after_ms: at(index),
        for_ms: Some(LASTS),
    };
    let orders = sown.iter().enumerate().map(order).collect();
    let book = run(orders, at(sown.len()));
    let mut checked = 0;
    for (channel, samples) in &book {
        let device = channel.split_once('/').unwrap().0;
        let mut lost = vec![0; sown.len()];
        for (tick, sample) in samples {
            let hit = |index: &usize| {
                let during = at(*index) + 1..at(*index) + LASTS + SETTLE;
                during.contains(tick) && sown[*index].devices.contains(&device)
            };
            let fault = (0..sown.len()).find(hit);
            let good = if channel == NEVER_IN_RANGE {
                Quality::OutOfRange
            } else {
                Quality::Good
            };
            let told = format!("{channel} at {tick} ms is {}", sample.quality);
            match fault {
                None => assert_eq!(sample.quality, good, "{told}"),
                Some(index) if sown[index].lost_max.is_none() && *tick < at(index) + LASTS => {
                    let told = format!("{told} during {:?}", sown[index].fault);
                    assert_eq!(sample.quality, Quality::Failed, "{told}");
                }
                Some(index) if sample.quality != good => {
                    assert_eq!(sample.quality, Quality::Failed, "{told}");
                    lost[index] += usize::from(*tick < at(index) + LASTS);
                }
                Some(_) => {}
            }
            checked += 1;
        }
        for (index, one) in sown.iter().enumerate() {
            let most = one.lost_max.unwrap_or(0);
            assert!(
                lost[index] <= most,
                "{channel} lost {} samples to {:?}",
                lost[index],
                one.fault
            );
        }
    }
    println!(
        "{} channels, {checked} samples, {} faults",
        book.len(),
        sown.len()
    );
    assert_eq!(book.len(), 2 + 4 + 3 + 2);
    let moisture = |device: &str| {
        let (_, first) = book[&format!("{device}/soil_moisture")]
            .first_key_value()
            .unwrap();
        first.mantissa.unwrap()
    };
    // The same soil, by three makes: tenths, hundredths, tenths of a percent.
    assert_eq!(moisture("soil-1"), moisture("soil-3"));
    assert!((moisture("soil-2") - 10 * moisture("soil-1")).abs() <= 5);
}

/// A probe that answers later than it is waited for: its answers come while the next request waits,
/// and look like that one's.
#[test]
fn a_late_answer_is_never_the_next_requests() {
    let (first, last) = (register(0), register(6));
    let undisturbed = late_run(0, &[first, last]);
    let [moisture, potassium] = undisturbed.as_slice() else {
        panic!("{undisturbed:?}");
    };
    let (moisture, potassium) = (moisture.clone().unwrap(), potassium.clone().unwrap());
    // Else a mistaken answer could not be told.
    assert!(moisture[0].abs_diff(potassium[0]) > 20, "{undisturbed:?}");
    for late_ms in [40, 80, 110, 140, 170, 200, 240, 300, 450] {
        let asks: Vec<Ask> = [first, last].into_iter().cycle().take(24).collect();
        let answers = late_run(late_ms, &asks);
        let expected = [&moisture, &potassium].into_iter().cycle();
        let mut good = 0;
        for (place, (answer, expected)) in answers.iter().zip(expected).enumerate() {
            let Ok(words) = answer else { continue };
            good += 1;
            let near = words.len() == 1 && words[0].abs_diff(expected[0]) <= 5;
            assert!(
                near,
                "{late_ms} ms late: request {place} got {words:?}, not {expected:?}"
            );
        }
        println!("{late_ms} ms late: {good} of {} answered", answers.len());
        assert!(late_ms > 40 || good == answers.len(), "{late_ms} ms late");
    }
}

fn register(first: u16) -> Ask {
    Ask {
        slave: 3,
        function: Function::Holding,
        first,
        count: 1,
    }
}

/// Asks one after the other; each is waited for twice some 67 ms.
fn late_run(late_ms: u64, asks: &[Ask]) -> Vec<Result<Vec<u16>, Cause>> {
    let slow = FaultOrder {
        fault: Fault::Slow {
            device: "soil-npk".to_owned(),
            ms: late_ms,
        },
        after_ms: 0,
        for_ms: None,
    };
    let mode = Mode::Free {
        speed_permille: 1_000,
    };
    let simulator = simulator(mode, 0, vec![slow]);
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("rs485");
    simulator.serve_serial(&port).unwrap();
    let mut line = Rs485::new(&SerialSettings {
        device: port,
        baud: 9_600,
        parity: Parity::None,
        timeout: Duration::from_millis(50),
    });
    asks.iter().map(|ask| line.registers(*ask)).collect()
}

fn run(faults: Vec<FaultOrder>, until_ms: u64) -> Book {
    // The second in which a late answer may still come is twenty minutes here.
    let mode = Mode::LockStep {
        ceiling_permille: Some(1_200_000),
    };
    let simulator = simulator(mode, 1, faults);
    let folder = tempfile::tempdir().unwrap();
    let line = folder.path().join("rs485");
    simulator.serve_serial(&line).unwrap();
    let profile = folder.path().join("probe.toml");
    std::fs::write(&profile, PROFILE).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let config = CONFIG
        .replace("ADDRESS", &simulator.bus.to_string())
        .replace("LINE", &text(&line))
        .replace("PROFILE", &text(&profile));
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, config).unwrap();
    let mut loop_ = Loop::new(&path);
    let mut book = Book::new();
    while loop_.now() < until_ms {
        loop_.turn(&mut book);
    }
    assert_eq!((loop_.sampling.missed(), loop_.sampling.late()), (0, 0));
    assert_eq!(loop_.devices.bus_clears(), 0);
    assert!(loop_.lag_ms < 1_000, "{} ms", loop_.lag_ms);
    book
}

fn simulator(mode: Mode, clients_min: usize, faults: Vec<FaultOrder>) -> Simulator {
    Simulator::start(Options {
        listen: "tcp:127.0.0.1:0".parse().unwrap(),
        control: "tcp:127.0.0.1:0".parse().unwrap(),
        setup: Setup {
            seed: 7,
            start_unix_ms: START_UNIX_MS,
            start_mono_ns: 0,
            zones: 4,
            boards: 0,
            wall_known: true,
            boot: None,
            beginning: furrow_sim::Beginning::default(),
            places: Vec::new(),
        },
        mode,
        clients_min,
        trace: None,
        end: None,
        faults,
    })
    .unwrap()
}
