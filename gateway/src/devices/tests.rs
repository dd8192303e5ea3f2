//! Real drivers and workers against simulated chips, in lock-step.

use std::sync::Arc;

use furrow_sim::faults::{Fault, FaultOrder};
use furrow_sim::{Mode, Options, Setup, Simulator};

use super::queue::Queue;
use super::{Devices, Done, Job, OPEN_LATE_MS, Outcome, Results};
use crate::bus::{Busy, Field};
use crate::calibrations::{Calibrations, Scales};
use crate::config::Settings;

const SECOND: u64 = 1_000;

#[test]
fn every_channel_of_the_reference_greenhouse_is_read() {
    let mut bench = Bench::new(&[]);
    bench.prepare();
    bench.wait_until(20 * SECOND);
    bench.read_all();
    bench.wait_until(30 * SECOND);
    let readings = bench.read_all();
    let failed: Vec<&String> = readings
        .iter()
        .filter(|reading| reading.contains('!'))
        .collect();
    assert_eq!(failed, [""; 0]);
    assert_eq!(readings.len(), 14);
}

#[test]
fn every_channel_of_one_of_each_device_is_read() {
    let mut bench = Bench::of("gateway-every-sensor.toml", &[]);
    bench.prepare();
    bench.wait_until(20 * SECOND);
    bench.read_all();
    bench.wait_until(80 * SECOND);
    let readings = bench.read_all();
    let failed: Vec<&String> = readings.iter().filter(|r| r.contains('!')).collect();
    assert_eq!(failed, [""; 0]);
    assert_eq!(readings.len(), 49);
}

#[test]
fn a_slow_conversion_holds_up_nobody_on_its_bus() {
    let mut bench = Bench::of("gateway-every-sensor.toml", &[]);
    bench.wait_until(20 * SECOND);
    let place = |bench: &Bench, id: &str| {
        let mut devices = bench.settings.devices().iter();
        devices.position(|device| device.id.as_str() == id).unwrap()
    };
    let began_ms = bench.field.clock().now().mono_ms();
    let mut later = Vec::new();
    // Probes of 900 ms, light of 81, air of 15 and 10: all begin at once.
    for id in ["feed-ph", "feed-ec", "light", "sht31", "box"] {
        let device = place(&bench, id);
        let job = Job::Read { device, tick_ms: 0 };
        let outcome = bench.once(job);
        let Outcome::Later { until_ms } = outcome else {
            panic!("{id}: {outcome:?}");
        };
        later.push((id, until_ms - began_ms));
    }
    let expected = [
        ("feed-ph", 301),
        ("feed-ec", 301),
        ("light", 82),
        ("sht31", 16),
        ("box", 11),
    ];
    assert_eq!(later, expected);
    assert_eq!(bench.field.clock().now().mono_ms(), began_ms);
    bench.wait_until(began_ms + 16);
    let device = place(&bench, "sht31");
    let job = Job::Read { device, tick_ms: 0 };
    assert!(matches!(bench.once(job), Outcome::Readings(_)));
}

#[test]
fn a_held_bus_is_clocked_free_before_the_next_attempt() {
    let mut bench = Bench::of(
        "gateway-every-sensor.toml",
        &[(Fault::HoldBus { clocks: 7 }, 10)],
    );
    bench.wait_until(20 * SECOND);
    let air = bench.read("sht-inside");
    assert!(air.iter().all(|reading| !reading.contains('!')), "{air:?}");
    assert_eq!(bench.devices.bus_clears(), 1);
    // Without the lines as pins it stays as it is.
    let mut bench = Bench::new(&[(Fault::HoldBus { clocks: 7 }, 10)]);
    bench.wait_until(20 * SECOND);
    let air = bench.read("sht-inside");
    assert!(air.iter().all(|reading| reading.contains('!')), "{air:?}");
    assert_eq!(bench.devices.bus_clears(), 0);
}

#[test]
fn a_co2_sensor_is_ready_one_period_after_its_start() {
    let mut bench = Bench::new(&[]);
    let ready_ms = bench.prepare().expect("the sensor needs time");
    assert!((5_000..6_000).contains(&ready_ms), "{ready_ms}");
    bench.wait_until(ready_ms - SECOND);
    assert_eq!(bench.read("co2")[0], "co2/co2! no measurement yet");
    bench.wait_until(ready_ms + 100);
    assert!(!bench.read("co2")[0].contains('!'));
}

#[test]
fn one_device_that_is_gone_does_not_touch_the_others() {
    let unplug = Fault::Unplug {
        device: "sht-inside".into(),
    };
    let mut bench = Bench::new(&[(unplug, 10)]);
    bench.prepare();
    bench.wait_until(20 * SECOND);
    bench.read_all();
    bench.wait_until(30 * SECOND);
    let failed: Vec<String> = bench
        .read_all()
        .into_iter()
        .filter(|reading| reading.contains('!'))
        .collect();
    let expected = [
        "sht-inside/air_temperature! bus failure",
        "sht-inside/relative_humidity! bus failure",
    ];
    assert_eq!(failed, expected);
}

#[test]
fn a_disturbance_is_tried_through_and_a_broken_chip_is_not() {
    let nack = Fault::Nack {
        device: "sht-inside".into(),
        count: 2,
    };
    let noise = Fault::Crc {
        device: "sht-outside".into(),
        rate: 1.0,
    };
    let mut bench = Bench::new(&[(nack, 10), (noise, 10)]);
    bench.prepare();
    bench.wait_until(20 * SECOND);
    assert!(
        bench
            .read("sht-inside")
            .iter()
            .all(|reading| !reading.contains('!'))
    );
    let expected = [
        "sht-outside/air_temperature! checksum mismatch",
        "sht-outside/relative_humidity! checksum mismatch",
    ];
    assert_eq!(bench.read("sht-outside"), expected);
}

#[test]
fn a_stuck_bus_does_not_stop_the_valves() {
    let mut bench = Bench::new(&[(Fault::BusStuck { bus: 1 }, 10)]);
    bench.prepare();
    bench.wait_until(20 * SECOND);
    assert!(
        bench
            .read("sht-inside")
            .iter()
            .all(|reading| reading.ends_with("! bus failure"))
    );
    let Outcome::Lease(Ok(())) = bench.ask(Job::Lease {
        output: 0,
        seconds: 30,
    }) else {
        panic!("the valve's bus is another one");
    };
}

#[test]
fn a_lease_opens_the_right_output_and_runs_out_by_itself() {
    let mut bench = Bench::new(&[]);
    bench.wait_until(SECOND);
    assert_eq!(
        bench.ask(Job::Lease {
            output: 1,
            seconds: 20
        }),
        Outcome::Lease(Ok(()))
    );
    bench.wait_until(10 * SECOND);
    let status = bench.status(1);
    assert!(
        status.commanded && status.confirmed && !status.fault,
        "{status:?}"
    );
    assert!(!bench.status(0).commanded);
    bench.wait_until(30 * SECOND);
    let after = bench.status(1);
    assert!(
        !after.commanded && !after.confirmed && after.lease_ran_out,
        "{after:?}"
    );
    assert!(after.pulses > status.pulses);
    assert_eq!(
        bench.ask(Job::ClearFlags { output: 1 }),
        Outcome::Cleared(Ok(()))
    );
    assert!(!bench.status(1).lease_ran_out);
}

#[test]
fn what_does_not_exist_is_answered_at_once() {
    let bench = Bench::new(&[]);
    for job in [
        Job::Lease {
            output: 9,
            seconds: 1,
        },
        Job::Read {
            device: 99,
            tick_ms: 0,
        },
    ] {
        let busy = bench.field.clock().busy();
        let done = bench
            .devices
            .submit(job, busy)
            .expect("nobody else can answer");
        let nothing = Outcome::Readings(Vec::new());
        assert!(done.outcome == nothing || matches!(done.outcome, Outcome::Lease(Err(_))));
    }
}

#[test]
fn valves_go_first_and_the_queue_has_an_end() {
    let bench = Bench::new(&[]);
    let busy = || bench.field.clock().busy();
    let queue = Queue::new(3, 2);
    let read = |device| Job::Read { device, tick_ms: 0 };
    let lease = Job::Lease {
        output: 0,
        seconds: 30,
    };
    let pushed = |job| queue.push(job, busy(), 0).is_none();
    assert!(pushed(read(0)));
    assert!(!pushed(read(0)), "its last reading is not back");
    assert!(pushed(read(1)) && pushed(read(2)));
    assert!(!pushed(read(3)), "full");
    assert!(pushed(lease) && pushed(lease));
    assert!(!pushed(lease), "full");
    let popped: Vec<Job> = (0..5).map(|_| queue.pop().unwrap().job).collect();
    assert_eq!(popped, [lease, lease, read(0), read(1), read(2)]);
    assert!(!queue.finished());
    assert!(pushed(read(2)));
    // What closes a valve is done even after the end.
    let close = Job::Lease {
        output: 1,
        seconds: 0,
    };
    assert!(pushed(lease) && pushed(close));
    queue.close();
    assert_eq!(queue.pop().unwrap().job, close);
    assert!(queue.pop().is_none());
    assert!(!pushed(read(3)), "closed");
}

#[test]
fn a_bus_keeps_one_token_and_the_first_job_taken_gets_it() {
    let bench = Bench::new(&[]);
    let queue = Queue::new(8, 8);
    let push = |job| assert!(queue.push(job, bench.field.clock().busy(), 0).is_none());
    let pop = || {
        let next = queue.pop().unwrap();
        (next.job, next.busy.is_some())
    };
    let read = |device| Job::Read { device, tick_ms: 0 };
    let status = Job::Status { output: 0 };
    push(read(0));
    push(read(1));
    // A valve overtakes the reading whose token woke the bus: the token must not stay behind, or
    // simulated time would stand still for the valve's own delays.
    push(status);
    assert_eq!(pop(), (status, true));
    push(read(2));
    assert!(queue.finished(), "more is to be done");
    assert_eq!(pop(), (read(0), false));
    assert!(queue.finished());
    assert_eq!(pop(), (read(1), false));
    assert!(queue.finished());
    assert_eq!(pop(), (read(2), false));
    assert!(!queue.finished(), "idle");
    push(read(0));
    assert_eq!(pop(), (read(0), true));
}

#[test]
fn a_lease_that_waited_too_long_is_not_written() {
    let mut bench = Bench::new(&[]);
    bench.wait_until(OPEN_LATE_MS + 10);
    let busy = bench.busy.take().unwrap();
    let queue = bench.devices.queues.last().expect("the valves' bus");
    assert!(
        queue
            .push(
                Job::Lease {
                    output: 0,
                    seconds: 30
                },
                busy,
                0
            )
            .is_none()
    );
    let mut results = bench.results;
    let done = results.blocking_recv().unwrap();
    assert!(
        matches!(done.outcome, Outcome::Lease(Err(_))),
        "{:?}",
        done.outcome
    );
    // Closing is never too late.
    assert!(
        queue
            .push(
                Job::Lease {
                    output: 0,
                    seconds: 0
                },
                done.busy,
                0
            )
            .is_none()
    );
    assert_eq!(
        results.blocking_recv().unwrap().outcome,
        Outcome::Lease(Ok(()))
    );
}

/// A simulator, the devices of the shipped example, and a token as an event loop holds it.
struct Bench {
    settings: Arc<Settings>,
    field: Field,
    devices: Devices,
    results: Results,
    busy: Option<Busy>,
    _simulator: Simulator,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// Faults with the second in which they happen.
    fn new(faults: &[(Fault, u64)]) -> Self {
        Self::of("gateway-simulated.toml", faults)
    }

    /// One of the shipped examples.
    fn of(file: &str, faults: &[(Fault, u64)]) -> Self {
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
            faults: faults.iter().map(order).collect(),
        })
        .unwrap();
        let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/");
        let text = std::fs::read_to_string(format!("{deploy}{file}")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.toml");
        let address = simulator.bus.to_string();
        let wire = dir.path().join("w1");
        simulator.serve_one_wire(&wire).unwrap();
        let line = dir.path().join("rs485");
        simulator.serve_serial(&line).unwrap();
        let text = text
            .replace("tcp:127.0.0.1:7000", &address)
            .replace("./furrow-state/w1", wire.to_str().unwrap())
            .replace("./furrow-state/rs485", line.to_str().unwrap());
        std::fs::write(&path, text).unwrap();
        let settings = Arc::new(Settings::load(&path).unwrap());
        let field = Field::open(&settings, "test").unwrap();
        let busy = Some(field.clock().busy());
        let (devices, results) = Devices::start(&settings, &field).unwrap();
        Self {
            settings,
            field,
            devices,
            results,
            busy,
            _simulator: simulator,
            _dir: dir,
        }
    }

    /// Simulated time runs until then.
    fn wait_until(&mut self, ms: u64) {
        let busy = self.busy.take().unwrap();
        self.busy = Some(self.field.clock().wait_until(ms * 1_000_000, busy));
    }

    /// One job, start to end.
    fn ask(&mut self, job: Job) -> Outcome {
        loop {
            let outcome = self.once(job);
            let Outcome::Later { until_ms } = outcome else {
                return outcome;
            };
            self.wait_until(until_ms);
        }
    }

    /// One job, one step.
    fn once(&mut self, job: Job) -> Outcome {
        let refused = self.devices.submit(job, self.busy.take().unwrap());
        let Done {
            job: answered,
            outcome,
            busy,
            at_mono_ms,
        } = refused.unwrap_or_else(|| self.results.blocking_recv().unwrap());
        assert_eq!(answered, job);
        assert_eq!(at_mono_ms, self.field.clock().now().mono_ms());
        self.busy = Some(busy);
        outcome
    }

    /// When the last device is ready.
    fn prepare(&mut self) -> Option<u64> {
        let ready = (0..self.settings.devices().len()).map(|device| {
            let Outcome::Prepared(ready) = self.ask(Job::Prepare { device }) else {
                panic!("not prepared");
            };
            ready.unwrap()
        });
        ready.max().flatten()
    }

    fn status(&mut self, zone: usize) -> furrow_irrigation::OutputStatus {
        let Outcome::Status(status) = self.ask(Job::Status { output: zone }) else {
            panic!("not a status");
        };
        status.unwrap()
    }

    fn read_all(&mut self) -> Vec<String> {
        let ids: Vec<String> = self
            .settings
            .devices()
            .iter()
            .map(|d| d.id.to_string())
            .collect();
        ids.iter().flat_map(|id| self.read(id)).collect()
    }

    /// `device/channel value`, or `device/channel! cause`.
    fn read(&mut self, id: &str) -> Vec<String> {
        let device = self
            .settings
            .devices()
            .iter()
            .position(|d| d.id.as_str() == id)
            .unwrap();
        let Outcome::Readings(readings) = self.ask(Job::Read { device, tick_ms: 0 }) else {
            panic!("not readings");
        };
        let scales = Scales::new(&self.settings, &Calibrations::default());
        let readings = scales.values(device, &readings);
        let channels = &self.settings.devices()[device].channels;
        assert_eq!(readings.len(), channels.len());
        readings
            .iter()
            .zip(channels)
            .map(|(reading, channel)| match reading {
                Ok(value) => {
                    assert_eq!(value.exponent, channel.exponent, "{id}/{}", channel.name);
                    format!("{id}/{} {value}", channel.name)
                }
                Err(error) => format!("{id}/{}! {}", channel.name, error.cause),
            })
            .collect()
    }
}
