//! A simulator in this process, and what programs do with it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers, of which each test uses some"
)]

use std::time::Duration;

use embedded_hal::i2c::I2c;
use furrow_sim::control::{self, Command};
use furrow_sim::faults::{Fault, FaultOrder};
use furrow_sim::{Mode, Options, Setup, Simulator};
use furrow_sim_bus::{RemoteBus, RemoteI2c};

pub const SECOND: u64 = 1_000_000_000;
pub const LOCK_STEP: Mode = Mode::LockStep {
    ceiling_permille: None,
};
/// 18 April 2026, noon in Vietnam.
pub const NOON_MS: i64 = 1_776_488_400_000;

pub fn options(mode: Mode) -> Options {
    Options {
        listen: "tcp:127.0.0.1:0".parse().unwrap(),
        control: "tcp:127.0.0.1:0".parse().unwrap(),
        setup: Setup {
            seed: 1,
            start_unix_ms: NOON_MS,
            start_mono_ns: 0,
            zones: 4,
            boards: 0,
            wall_known: true,
            boot: None,
            beginning: furrow_sim::Beginning::default(),
            places: Vec::new(),
        },
        mode,
        clients_min: 1,
        trace: None,
        end: None,
        faults: Vec::new(),
    }
}

pub fn start(options: Options) -> Simulator {
    Simulator::start(options).unwrap()
}

pub fn connect(simulator: &Simulator, name: &str) -> RemoteBus {
    RemoteBus::connect(&simulator.bus.to_string(), name).unwrap()
}

pub fn fault(simulator: &Simulator, fault: Fault) {
    let order = FaultOrder {
        fault,
        after_ms: 0,
        for_ms: None,
    };
    control::ask(&simulator.control.to_string(), &Command::Fault { order }).unwrap();
}

pub fn status(simulator: &Simulator) -> serde_json::Value {
    control::ask(&simulator.control.to_string(), &Command::Status)
        .unwrap()
        .unwrap()
}

/// A controller's register, with its checksum left out.
pub fn drip(i2c: &mut RemoteI2c, register: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length + 1];
    i2c.write_read(0x2C, &[register], &mut bytes).unwrap();
    bytes.pop();
    bytes
}

/// Bytes that open output 1 for 30 s, from the register map.
pub const OPEN_FOR_30_S: [u8; 4] = [0x10, 0x00, 0x1E, 0xB3];

/// Fails a test that hangs instead of letting it hang.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::spawn(move || drop(send.send(work())));
    match receive.recv_timeout(limit) {
        Ok(value) => value,
        Err(_) => match thread.is_finished() {
            true => std::panic::resume_unwind(thread.join().unwrap_err()),
            false => panic!("still running after {limit:?}"),
        },
    }
}
