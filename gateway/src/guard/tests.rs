//! The guard's loop and the gateway's devices against simulated relays, in lock-step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use furrow_irrigation::OutputStatus;
use furrow_sim::faults::{Fault, FaultOrder};
use furrow_sim::{Mode, Options, Setup, Simulator};

use super::all_off::all_off;
use super::client::GuardClient;
use super::protocol::{Answer, Ask};
use crate::bus::{Busy, Field};
use crate::config::{GuardPart, Settings};
use crate::devices::{Devices, Done, Job, Outcome, Results};

const SECOND: u64 = 1_000;
/// An MCP23017, a PCF8574, a line, and a line without a meter.
const ZONES: usize = 4;

#[test]
fn leases_open_and_close_every_kind_of_output() {
    let mut bench = Bench::new(&[]);
    bench.wait_until(10 * SECOND);
    for zone in 0..ZONES {
        let status = bench.status(zone);
        assert!(!status.was_reset && !status.commanded && !status.confirmed);
        bench.lease(zone, 6).unwrap();
        let status = bench.status(zone);
        assert!(status.commanded && status.confirmed && !status.fault);
        assert_eq!(status.pulses.is_some(), zone < 3, "only with a meter");
    }
    assert_eq!(bench.open(), 0b1111);
    let before = bench.status(0).pulses.unwrap();
    bench.wait_until(15 * SECOND);
    let counted = bench.status(0).pulses.unwrap() - before;
    assert!(counted > 100, "{counted} pulses");
    // Renewed, the rest runs out.
    bench.lease(1, 30).unwrap();
    bench.wait_until(16 * SECOND);
    bench.settles(0b0010);
    assert!(bench.status(0).lease_ran_out && !bench.status(1).lease_ran_out);
    bench.lease(1, 0).unwrap();
    assert_eq!(bench.open(), 0);
}

#[test]
fn simulated_time_does_not_wait_for_the_guard() {
    let mut bench = Bench::new(&[]);
    bench.lease(0, 300).unwrap();
    // An hour of leases and of edges for the watchdog of the relays' supply.
    for at in (100..=3_600).step_by(100) {
        bench.wait_until(at * SECOND);
        assert_eq!(bench.open(), 1, "at {at} s");
        bench.lease(0, 300).unwrap();
    }
}

#[test]
fn a_board_that_does_not_answer_is_a_fault_and_no_lease() {
    let unplug = Fault::Unplug {
        device: "relays-mcp23017".into(),
    };
    let mut bench = Bench::new(&[(unplug, 20)]);
    bench.wait_until(30 * SECOND);
    assert!(bench.status(0).fault);
    assert!(bench.lease(0, 6).is_err());
    assert!(!bench.status(1).fault);
    // It was off before, so the others keep their supply.
    bench.lease(1, 6).unwrap();
    bench.wait_until(34 * SECOND);
    assert_eq!(bench.open(), 0b0010);
}

#[test]
fn everything_is_closed_beside_a_guard_that_keeps_it_open() {
    let mut bench = Bench::new(&[]);
    for zone in 0..ZONES {
        bench.lease(zone, 300).unwrap();
    }
    let part = bench.part.clone();
    let closed = std::thread::spawn(move || all_off(&part).unwrap());
    bench.wait_until(bench.now() + SECOND / 10);
    assert_eq!(closed.join().unwrap(), []);
    bench.wait_until(bench.now() + 2 * SECOND);
    for zone in 0..ZONES {
        let status = bench.status(zone);
        assert!(status.fault && !status.confirmed, "{zone}: {status:?}");
    }
}

#[test]
fn a_guard_that_is_not_there_is_no_answer() {
    let mut bench = Bench::new(&[]);
    bench.part.guard.socket = PathBuf::from("nowhere.sock");
    let clock = bench.field.clock().clone();
    let mut client = GuardClient::new(&bench.part.guard.socket, clock);
    let error = client.set_lease(1, 30).unwrap_err();
    assert_eq!(error.to_string(), "guard: lease");
    assert_eq!(error.cause.to_string(), "bus failure");
}

struct Bench {
    part: GuardPart,
    field: Field,
    devices: Option<Devices>,
    results: Results,
    busy: Option<Busy>,
    guard: Option<JoinHandle<()>>,
    simulator: Option<Simulator>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(faults: &[(Fault, u64)]) -> Self {
        let order = |(fault, at_s): &(Fault, u64)| FaultOrder {
            fault: fault.clone(),
            after_ms: at_s * SECOND,
            for_ms: None,
        };
        let simulator = Simulator::start(Options {
            listen: "tcp:127.0.0.1:0".parse().unwrap(),
            control: "tcp:127.0.0.1:0".parse().unwrap(),
            setup: Setup {
                seed: 7,
                start_unix_ms: 1_795_320_000_000,
                start_mono_ns: 0,
                zones: ZONES,
                boards: 0,
                wall_known: true,
                boot: None,
                beginning: furrow_sim::Beginning::default(),
                places: Vec::new(),
            },
            mode: Mode::LockStep {
                ceiling_permille: None,
            },
            clients_min: 2,
            trace: None,
            end: None,
            faults: faults.iter().map(order).collect(),
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let text = configuration(&simulator.bus.to_string(), folder.path());
        std::fs::write(&path, text).unwrap();
        let settings = Arc::new(Settings::load(&path).unwrap());
        let part = GuardPart::load(&path).unwrap();
        let guard = std::thread::spawn({
            let part = part.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                // It ends when its simulator does.
                let ended = runtime.block_on(super::run::run(part));
                assert!(ended.unwrap_err().to_string().contains("the field is lost"));
            }
        });
        let field = Field::open(&settings, "test").unwrap();
        let busy = Some(field.clock().busy());
        let (devices, results) = Devices::start(&settings, &field).unwrap();
        let mut bench = Self {
            part,
            field,
            devices: Some(devices),
            results,
            busy,
            guard: Some(guard),
            simulator: Some(simulator),
            _folder: folder,
        };
        // Time passes once the guard is there, too; a second later it listens.
        bench.wait_until(SECOND);
        for zone in 0..ZONES {
            assert!(bench.status(zone).was_reset);
            assert!(bench.lease(zone, 6).is_err());
            let cleared = bench.ask(Job::ClearFlags { output: zone });
            assert!(matches!(cleared, Outcome::Cleared(Ok(()))));
        }
        bench
    }

    fn now(&self) -> u64 {
        self.field.clock().now().mono_ms()
    }

    fn wait_until(&mut self, ms: u64) {
        let busy = self.busy.take().unwrap();
        self.busy = Some(self.field.clock().wait_until(ms * 1_000_000, busy));
    }

    fn ask(&mut self, job: Job) -> Outcome {
        let devices = self.devices.as_ref().unwrap();
        let refused = devices.submit(job, self.busy.take().unwrap());
        let Done { outcome, busy, .. } =
            refused.unwrap_or_else(|| self.results.blocking_recv().unwrap());
        self.busy = Some(busy);
        outcome
    }

    fn lease(&mut self, zone: usize, seconds: u16) -> Result<(), furrow_drivers::SensorError> {
        let Outcome::Lease(granted) = self.ask(Job::Lease {
            output: zone,
            seconds,
        }) else {
            panic!("not a lease");
        };
        granted
    }

    fn status(&mut self, zone: usize) -> OutputStatus {
        let Outcome::Status(status) = self.ask(Job::Status { output: zone }) else {
            panic!("not a status");
        };
        status.unwrap()
    }

    /// What the device of the guard reads: outputs that are on.
    /// Simulated time does not wait for the guard: what is due is done a moment later.
    fn settles(&mut self, expected: i64) {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while self.open() != expected {
            assert!(std::time::Instant::now() < patience, "{:#b}", self.open());
            std::thread::yield_now();
        }
    }

    fn open(&mut self) -> i64 {
        let Outcome::Readings(readings) = self.ask(Job::Read {
            device: 1,
            tick_ms: 0,
        }) else {
            panic!("not readings");
        };
        readings[0].clone().unwrap().mantissa
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.devices = None;
        self.busy = None;
        self.simulator = None;
        let ended = self.guard.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))));
        }
    }
}

#[test]
fn a_report_names_outputs_supply_and_memory() {
    let mut bench = Bench::new(&[]);
    bench.lease(2, 30).unwrap();
    let clock = bench.field.clock().clone();
    let mut client = GuardClient::new(&bench.part.guard.socket, clock);
    let Answer::Report(report) = client.ask(&Ask::Report).unwrap() else {
        panic!("not a report");
    };
    let open: Vec<(u8, &str, bool)> = report
        .outputs
        .iter()
        .map(|output| (output.output, output.place.as_str(), output.confirmed))
        .collect();
    let expected = [
        (1, "mcp23017 0x20 pin 0", false),
        (2, "pcf8574 0x21 pin 1", false),
        (3, "GPIO 16", true),
        (4, "GPIO 18", false),
    ];
    assert_eq!(open, expected);
    assert_eq!(report.supply, Some(true));
    assert!(report.memory_kib.is_some());
}

fn configuration(bus: &str, folder: &Path) -> String {
    let socket = folder.join("guard.sock");
    let state = folder.join("state");
    let mut text = format!(
        "[gateway]\ncooperative = \"c\"\nid = \"g\"\ngreenhouse = \"h\"\ntimezone = \"UTC\"\n\
         state_dir = {state:?}\n[mqtt]\nhost = \"127.0.0.1\"\npassword = \"x\"\n\
         [guard]\nwatchdog_bus = \"main\"\nwatchdog_line = 26\n\
         [[bus]]\nid = \"main\"\nkind = \"simulated\"\ni2c = 1\naddress = \"{bus}\"\n\
         [[bus]]\nid = \"relays\"\nkind = \"simulated\"\ni2c = 9\naddress = \"{bus}\"\n\
         [[bus]]\nid = \"guard\"\nkind = \"guard\"\nsocket = {socket:?}\n\
         [[device]]\nid = \"flow\"\nkind = \"flow-meter\"\nbus = \"main\"\npin = 17\n\
         pulses_per_litre = 450\n\
         [[device]]\nid = \"relays\"\nkind = \"guarded-outputs\"\nbus = \"guard\"\n"
    );
    let places = [
        "kind = \"mcp23017\"\nbus = \"relays\"\naddress = 0x20\npin = 0\nactive = \"low\"",
        "kind = \"pcf8574\"\nbus = \"relays\"\naddress = 0x21\npin = 1\nactive = \"low\"",
        "kind = \"gpio\"\nbus = \"main\"\nline = 16\nactive = \"high\"",
        "kind = \"gpio\"\nbus = \"main\"\nline = 18\nactive = \"high\"",
    ];
    for (number, place) in (1..).zip(places) {
        let meter = if number < 4 { "meter = \"flow\"\n" } else { "" };
        text += &format!(
            "[[guard.output]]\nnumber = {number}\n{place}\n\
             [[zone]]\nid = \"zone-{number}\"\ncontroller = \"relays\"\noutput = {number}\n{meter}"
        );
    }
    text
}
