//! Chips, water and faults over real sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::i2c::{Error, ErrorKind, I2c, NoAcknowledgeSource, Operation};
use furrow_sim::Mode;
use furrow_sim::control::{self, Command};
use furrow_sim::faults::{Fault, FaultOrder, Position};
use furrow_sim::trace::Trace;
use furrow_sim_bus::protocol::{self, Request, Response, Role};
use furrow_sim_bus::socket::Address;
use support::{LOCK_STEP, OPEN_FOR_30_S, SECOND, connect, drip, fault, options, start, status};

const NACK_ADDRESS: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

#[test]
fn both_kinds_of_bus_read_the_same() {
    let simulator = start(options(LOCK_STEP));
    let bus = connect(&simulator, "two adapters");
    for mut i2c in [bus.i2c(3), bus.i2c(3).with_stops_between()] {
        let mut identity = [0; 5];
        i2c.write_read(0x2C, &[0x00], &mut identity).unwrap();
        assert_eq!(identity, [0x46, 0x52, 0x01, 0x00, 0x54]);
    }
    for mut i2c in [bus.i2c(1), bus.i2c(1).with_stops_between()] {
        let (mut high, mut low) = ([0; 1], [0; 1]);
        let operations = &mut [
            Operation::Write(&[0x01]),
            Operation::Read(&mut high),
            Operation::Write(&[]),
            Operation::Read(&mut low),
        ];
        i2c.transaction(0x48, operations).unwrap();
        assert_eq!((high, low), ([0x85], [0x85]));
    }
    // Where nothing is, nothing acknowledges.
    for (number, address) in [(1, 0x2C), (3, 0x44), (1, 0x10), (7, 0x44)] {
        let error = bus.i2c(number).write(address, &[]).unwrap_err();
        assert_eq!(error.kind(), NACK_ADDRESS);
    }
    let error = bus.i2c(1).write(0x44, &[0x00]).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data)
    );
}

#[test]
fn a_lease_closes_the_valve_in_simulated_time() {
    let simulator = start(options(LOCK_STEP));
    let bus = connect(&simulator, "forgets to renew");
    let (clock, mut i2c) = (bus.clock(), bus.i2c(3));
    let meter = bus.pulses(17);
    i2c.write(0x2C, &OPEN_FOR_30_S).unwrap();
    assert_eq!(drip(&mut i2c, 0x02, 1), [1]);
    assert_eq!(drip(&mut i2c, 0x03, 1), [0]);
    // Valve travel is one to three seconds.
    let busy = clock.wait_until(3 * SECOND, clock.busy());
    assert_eq!(drip(&mut i2c, 0x03, 1), [1]);
    let busy = clock.wait_until(29 * SECOND, busy);
    assert_eq!(drip(&mut i2c, 0x10, 2), [0, 1]);
    let before = meter.count().unwrap();
    assert!((26 * 60 - 120..=28 * 60).contains(&before), "{before}");
    // Nobody renews: nothing but time passes until well after the end.
    let busy = clock.wait_until(3_600 * SECOND, busy);
    assert_eq!(drip(&mut i2c, 0x02, 1), [0]);
    assert_eq!(drip(&mut i2c, 0x03, 1), [0]);
    assert_eq!(drip(&mut i2c, 0x01, 1)[0] & 0b010, 0b010);
    let status = status(&simulator);
    assert_eq!(status["valves_open"], serde_json::json!([]));
    let log = &status["valve_log"];
    assert_eq!(log[0]["cause"], "master");
    assert_eq!(log[1]["cause"], "lease-ran-out");
    assert_eq!(log[1]["mono_ms"], 30_000);
    // 30 s of 60 pulses, and no more.
    let after = meter.count().unwrap();
    assert!((1_700..=1_900).contains(&after), "{after}");
    assert_eq!(status["pulses"], after);
    assert_eq!(
        drip(&mut i2c, 0x05, 4),
        u32::try_from(after).unwrap().to_be_bytes()
    );
    drop(busy);
}

#[test]
fn faults_come_and_go() {
    let simulator = start(options(LOCK_STEP));
    let bus = connect(&simulator, "unlucky");
    let (clock, mut i2c) = (bus.clock(), bus.i2c(1));
    let order = |fault, after_ms, for_ms| {
        let order = FaultOrder {
            fault,
            after_ms,
            for_ms,
        };
        control::ask(&simulator.control.to_string(), &Command::Fault { order })
    };
    let device = || "sht-inside".to_owned();
    // Unplugged from 10 s to 70 s.
    order(Fault::Unplug { device: device() }, 10_000, Some(60_000)).unwrap();
    let mut busy = clock.busy();
    for (second, expected) in [
        (9, None),
        (10, Some(NACK_ADDRESS)),
        (69, Some(NACK_ADDRESS)),
        (71, None),
    ] {
        busy = clock.wait_until(second * SECOND, busy);
        let result = i2c.write(0x44, &[0xFD]);
        assert_eq!(
            result.map_err(|error| error.kind()).err(),
            expected,
            "{second}"
        );
    }
    // Two transactions are lost, in the chip's eyes they never were.
    order(
        Fault::Nack {
            device: device(),
            count: 2,
        },
        0,
        None,
    )
    .unwrap();
    busy = clock.wait_until(72 * SECOND, busy);
    assert!(i2c.write(0x44, &[0xFD]).is_err());
    assert!(i2c.write(0x44, &[0xFD]).is_err());
    i2c.write(0x44, &[0xFD]).unwrap();
    // Every answer has a flipped bit: the temperature, its checksum or the humidity is wrong.
    order(
        Fault::Crc {
            device: device(),
            rate: 1.0,
        },
        0,
        None,
    )
    .unwrap();
    busy = clock.wait_until(73 * SECOND, busy);
    let mut bytes = [0; 6];
    i2c.read(0x44, &mut bytes).unwrap();
    assert_ne!(
        (crc8(&bytes[..2]), crc8(&bytes[3..5])),
        (bytes[2], bytes[5])
    );
    order(
        Fault::Crc {
            device: device(),
            rate: 0.0,
        },
        0,
        None,
    )
    .unwrap();
    drop(busy);
}

#[test]
fn a_frozen_sensor_says_the_same_for_hours() {
    let simulator = start(options(LOCK_STEP));
    let bus = connect(&simulator, "frozen");
    let (clock, mut i2c) = (bus.clock(), bus.i2c(1));
    let mut busy = clock.busy();
    let mut bytes = [0; 6];
    fault(
        &simulator,
        Fault::Freeze {
            device: "sht-inside".to_owned(),
        },
    );
    let mut seen = Vec::new();
    for second in [80, 800, 8_000] {
        busy = clock.wait_until(second * SECOND, busy);
        i2c.write(0x44, &[0xFD]).unwrap();
        busy = clock.wait_until((second + 1) * SECOND, busy);
        i2c.read(0x44, &mut bytes).unwrap();
        seen.push(bytes);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    drop(busy);
}

#[test]
fn a_bus_that_hangs() {
    let simulator = start(options(LOCK_STEP));
    let mut i2c = connect(&simulator, "hangs").i2c(1);
    fault(&simulator, Fault::BusStuck { bus: 1 });
    assert_eq!(i2c.write(0x62, &[]).unwrap_err().kind(), ErrorKind::Bus);
    fault(&simulator, Fault::BusFree { bus: 1 });
    i2c.write(0x62, &[]).unwrap();
}

#[test]
fn faults_that_can_not_be_are_refused() {
    let simulator = start(options(LOCK_STEP));
    let refusal = |fault, for_ms| {
        let order = FaultOrder {
            fault,
            after_ms: 0,
            for_ms,
        };
        let error = control::ask(&simulator.control.to_string(), &Command::Fault { order });
        error.unwrap_err().to_string()
    };
    let device = || "sht-inside".to_owned();
    // What can't be is refused, with a reason.
    for (wrong, expected) in [
        (
            Fault::Unplug { device: "x".into() },
            "there is no device \"x\"; there are sht-inside, sht-outside, scd41, ads1115, drip, \
             sht31, bh1750, bme280, scd30, ina219-mains, ina219-battery, ezo-ph, ezo-ec, mcp23017, \
             pcf8574, tca9548a, sht-bed-1, sht-bed-2, ds18b20-1, ds18b20-2, soil-sen0604, soil-s-soil, soil-npk, \
             relays-mcp23017, relays-pcf8574",
        ),
        (
            Fault::WeldRelay { zone: 0 },
            "there is no zone 0; there are 4",
        ),
        (
            Fault::FreeValve { zone: 5 },
            "there is no zone 5; there are 4",
        ),
        (
            Fault::Crc {
                device: device(),
                rate: 2.0,
            },
            "rate must be 0 to 1",
        ),
        (
            Fault::Freeze {
                device: "drip".into(),
            },
            "drip can't be frozen: stick a valve or jam the meter",
        ),
    ] {
        assert_eq!(
            refusal(wrong, None),
            format!("the simulator refused: {expected}")
        );
    }
    assert_eq!(
        refusal(Fault::ResetDrip, Some(1)),
        "the simulator refused: this has no end: leave out --for"
    );
}

#[test]
fn a_stuck_valve_and_an_empty_tank() {
    let simulator = start(options(LOCK_STEP));
    let bus = connect(&simulator, "waters");
    let (clock, mut i2c) = (bus.clock(), bus.i2c(3));
    fault(
        &simulator,
        Fault::StickValve {
            zone: 1,
            position: Some(Position::Closed),
        },
    );
    i2c.write(0x2C, &OPEN_FOR_30_S).unwrap();
    let busy = clock.wait_until(6 * SECOND, clock.busy());
    assert_eq!(drip(&mut i2c, 0x04, 2), [1, 1]);
    fault(&simulator, Fault::FreeValve { zone: 1 });
    let busy = clock.wait_until(12 * SECOND, busy);
    assert_eq!(drip(&mut i2c, 0x04, 2), [0, 1]);
    fault(&simulator, Fault::TankEmpty);
    let before = bus.pulses(17).count().unwrap();
    assert!(before > 0);
    let busy = clock.wait_until(25 * SECOND, busy);
    assert_eq!(bus.pulses(17).count().unwrap(), before);
    fault(&simulator, Fault::ResetDrip);
    assert_eq!(drip(&mut i2c, 0x02, 1), [0]);
    assert_eq!(status(&simulator)["valve_log"][1]["cause"], "reset");
    drop(busy);
}

#[test]
fn pins() {
    let simulator = start(options(LOCK_STEP));
    let bus = connect(&simulator, "pins");
    let (mut siren, mut sense) = (bus.output(5), bus.input(5));
    // A contact may be there, and nobody has closed it.
    assert!(sense.is_high().unwrap());
    siren.set_high().unwrap();
    assert!(sense.is_high().unwrap());
    assert_eq!(status(&simulator)["outputs"]["5"], true);
    siren.set_low().unwrap();
    assert!(sense.is_low().unwrap());
    let error = bus.output(17).set_high().unwrap_err();
    assert_eq!(
        error.to_string(),
        "gpio 17 is an input: the flow meter drives it"
    );
    let error = bus.pulses(28).count().unwrap_err();
    assert_eq!(error.to_string(), "there is no gpio 28");
    assert_eq!(bus.pulses(4).count().unwrap(), 0);
}

#[test]
fn strangers_are_refused_and_harm_nobody() {
    let simulator = start(options(Mode::Free {
        speed_permille: 1_000,
    }));
    let Address::Tcp(address) = &simulator.bus else {
        unreachable!("a TCP port was asked for");
    };
    let check = |bytes: &[u8], expected: Option<&str>| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an end: the server closed with bytes unread.
        drop(stream.read_to_end(&mut answer));
        let text = answer
            .get(4..)
            .and_then(|frame| match Response::decode(frame) {
                Ok(Response::Failed { text, .. }) => Some(text),
                _ => None,
            });
        assert_eq!(text.as_deref(), expected, "{bytes:02X?}");
    };
    check(b"GET / HTTP/1.1\r\n\r\n", None);
    check(&[0, 0, 0, 1, 0x99], Some("unknown message kind 0x99"));
    check(
        &[0, 0, 0, 6, 0x01, b'H', b'T', b'T', b'P', 1],
        Some("this is not a remote-bus client"),
    );
    check(
        &[0, 0, 0, 8, 0x01, b'F', b'R', b'W', b'B', 9, 1, 0],
        Some("remote-bus version 9 is not supported"),
    );
    check(
        &[0, 0, 0, 5, 0x11, 0, 0, 0, 0],
        Some("the first message must be hello"),
    );
    // Each role has its own messages.
    let ask = |role, request: &Request| {
        let mut bytes = Vec::new();
        let client = "confused".to_owned();
        Request::Hello { role, client }.encode(&mut bytes);
        request.encode(&mut bytes);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut frame = Vec::new();
        assert!(protocol::read_frame(&mut stream, &mut frame).unwrap());
        assert!(matches!(Response::decode(&frame), Ok(Response::Welcome(_))));
        assert!(protocol::read_frame(&mut stream, &mut frame).unwrap());
        match Response::decode(&frame) {
            Ok(Response::Failed { text, .. }) => text,
            other => panic!("{other:?}"),
        }
    };
    let wait = Request::Wait {
        seq: 1,
        deadline_ns: 1,
    };
    assert_eq!(ask(Role::Bus, &wait), "this connection is a bus");
    let pulses = Request::Pulses { pin: 17 };
    assert_eq!(ask(Role::Clock, &pulses), "this connection is a clock");
    let control = control::ask(&simulator.control.to_string(), &Command::Status);
    assert!(control.unwrap().is_some());
    connect(&simulator, "friend")
        .i2c(1)
        .write(0x62, &[])
        .unwrap();
}

#[test]
fn unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(LOCK_STEP);
    options.listen = Address::Unix(folder.path().join("sim"));
    options.control = Address::Unix(folder.path().join("sim.control"));
    let simulator = start(options);
    let bus = connect(&simulator, "unix");
    let busy = bus.clock().wait_until(5 * SECOND, bus.clock().busy());
    bus.i2c(1).write(0x62, &[]).unwrap();
    assert_eq!(status(&simulator)["mono_ms"], 5_000);
    drop(busy);
}

#[test]
fn a_sample_at_a_rows_time_is_that_row() {
    let mut text = "time,air_temperature_c,relative_humidity_pct,co2_ppm,outside_global_w_m2,\
        outside_temperature_c,outside_relative_humidity_pct\n"
        .to_owned();
    let rows: Vec<[f64; 6]> = (0..100_u32)
        .map(|n| {
            let n = f64::from(n);
            [
                10.0 + 0.27 * n,
                0.5 + 0.99 * n,
                400.0 + 7.0 * n,
                12.5 * n,
                -5.0 + 0.33 * n,
                100.0 - 0.97 * n,
            ]
        })
        .collect();
    for (n, [t, rh, co2, global, to, rho]) in rows.iter().enumerate() {
        let time = jiff::Timestamp::from_second(1_536_537_600 + 300 * i64::try_from(n).unwrap());
        text += &format!(
            "{},{t:.2},{rh:.2},{co2:.2},{global:.2},{to:.2},{rho:.2}\n",
            time.unwrap()
        );
    }
    let mut options = options(LOCK_STEP);
    options.trace = Some(Trace::read(text.as_bytes()).unwrap());
    options.setup.start_unix_ms = 1_536_537_600_000 - 30_000;
    options.setup.start_mono_ns = 270 * SECOND;
    let simulator = start(options);
    let bus = connect(&simulator, "replay");
    let (clock, mut i2c) = (bus.clock(), bus.i2c(1));
    let mut busy = clock.busy();
    i2c.write(0x62, &[0x21, 0xB1]).unwrap();
    for (n, row) in rows.iter().enumerate() {
        let tick = (300 + 300 * u64::try_from(n).unwrap()) * SECOND;
        busy = clock.wait_until(tick, busy);
        assert_eq!(
            clock.now().wall_unix_ms,
            Some(1_536_537_600_000 + 300_000 * i64::try_from(n).unwrap())
        );
        i2c.write(0x44, &[0xFD]).unwrap();
        i2c.write(0x45, &[0xFD]).unwrap();
        i2c.write(0x62, &[0xEC, 0x05]).unwrap();
        i2c.write(0x48, &[0x01, 0xC3, 0x83]).unwrap();
        busy = clock.wait_until(tick + 10_000_000, busy);
        let (mut inside, mut outside, mut co2, mut light) = ([0; 6], [0; 6], [0; 9], [0; 2]);
        i2c.read(0x44, &mut inside).unwrap();
        i2c.read(0x45, &mut outside).unwrap();
        i2c.read(0x62, &mut co2).unwrap();
        i2c.write_read(0x48, &[0x00], &mut light).unwrap();
        let read = [
            round(celsius(&inside), 2),
            round(humidity(&inside), 2),
            f64::from(word(&co2, 0)),
            f64::from(word(&light, 0)) * 0.000_125 / 0.002,
            round(celsius(&outside), 2),
            round(humidity(&outside), 2),
        ];
        for (place, (read, row)) in read.iter().zip(row).enumerate() {
            // The converter resolves 0.0625 W/m²; all else is exact.
            let allowed = if place == 3 { 0.032 } else { 1e-9 };
            assert!(
                (read - row).abs() < allowed,
                "row {n}: {read:?} is not {row:?}"
            );
        }
    }
    drop(busy);
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn celsius(bytes: &[u8]) -> f64 {
    -45.0 + 175.0 * f64::from(word(bytes, 0)) / 65_535.0
}

fn humidity(bytes: &[u8]) -> f64 {
    -6.0 + 125.0 * f64::from(word(bytes, 3)) / 65_535.0
}

fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| {
            if crc & 0x80 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x31
            }
        })
    })
}
