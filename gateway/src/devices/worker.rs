//! The thread that owns a bus: takes jobs, retries them within bounds, answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use embedded_hal::delay::DelayNs as _;
use furrow_drivers::tca9548a::OpenMux;
use furrow_drivers::{BusFault, Cause, PulseCounter as _, SensorError};
use tokio::sync::mpsc::Sender;

use super::driver::{Driver, Meters, Shared, spread};
use super::queue::{Queue, Queued};
use super::reading::{self, ATTEMPTS, RETRY_MS, Turn, UnderWay};
use super::surveying::{Surveying, Way};
use super::{Done, Job, OPEN_LATE_MS, Outcome, Part};
use crate::bus::{Busy, Field, FieldDelay, Rs485, SharedI2c};
use crate::config::{BusKind, Settings};

/// A stuck bus is clocked this often at most, in milliseconds: a short circuit stays.
const CLEAR_EVERY_MS: u64 = 10_000;

pub(super) struct Worker {
    pub(super) settings: Arc<Settings>,
    pub(super) bus: usize,
    pub(super) field: Field,
    pub(super) queue: Arc<Queue>,
    pub(super) answers: Sender<Done>,
    /// How often buses were clocked.
    pub(super) clears: Arc<AtomicU64>,
    /// Of zones whose controller has none; other buses' workers have them, too.
    pub(super) meters: Meters,
}

impl Worker {
    pub(super) fn run(self) {
        let mut bench = Bench::new(&self);
        let clock = self.field.clock();
        let mut held: Option<Busy> = None;
        while let Some(next) = self.queue.pop() {
            let Queued {
                job,
                busy,
                since_ms,
            } = next;
            let busy = busy.or(held.take()).unwrap_or_else(|| clock.busy());
            let delay = bench.delay.clone();
            let (outcome, busy) = delay.carry(busy, || bench.run(job, since_ms));
            let at_mono_ms = clock.now().mono_ms();
            // Taken before the other one is given away, so that no time passes in between.
            let own = clock.busy();
            if self.queue.finished() {
                held = Some(own);
            } else {
                drop(own);
            }
            let done = Done {
                job,
                outcome,
                at_mono_ms,
                busy,
            };
            if self.answers.blocking_send(done).is_err() {
                // The program is ending; valves that wait to be closed are closed all the same.
                tracing::debug!(?job, "nobody waits for this answer any more");
            }
        }
    }
}

/// The drivers of one bus.
struct Bench {
    settings: Arc<Settings>,
    bus: usize,
    field: Field,
    delay: FieldDelay,
    drivers: BTreeMap<usize, Driver>,
    under_way: UnderWay,
    surveying: Surveying,
    /// When the bus was clocked last, in monotonic milliseconds.
    cleared_ms: Option<u64>,
    clears: Arc<AtomicU64>,
    meters: Meters,
}

impl Bench {
    fn new(worker: &Worker) -> Self {
        let Worker {
            settings,
            bus,
            field,
            clears,
            meters,
            ..
        } = worker;
        let delay = FieldDelay::new(field.clock().clone());
        let mut drivers = BTreeMap::new();
        let mut way = Way::Nothing;
        if let Some(of_bus) = settings.buses().get(*bus) {
            let i2c = of_bus
                .i2c
                .map(|number| SharedI2c::new(field.i2c(&of_bus.kind, number)));
            let line = match &of_bus.kind {
                BusKind::Rs485(settings) => Some(Rs485::new(settings)),
                BusKind::Pi
                | BusKind::Linux { .. }
                | BusKind::Simulated { .. }
                | BusKind::OneWire { .. }
                | BusKind::Guard { .. } => None,
            };
            let open = OpenMux::default();
            let shared = Shared {
                field,
                bus: of_bus,
                i2c: i2c.as_ref(),
                line: line.as_ref(),
                open: &open,
                delay: &delay,
                meters,
            };
            for (index, device) in settings.devices().iter().enumerate() {
                if device.bus != *bus {
                    continue;
                }
                match Driver::new(index, device, &shared) {
                    Ok(driver) => {
                        drivers.insert(index, driver);
                    }
                    // The settings allow no address that a driver refuses.
                    Err(error) => {
                        tracing::error!(device = %device.id, error = %error, "no driver");
                    }
                }
            }
            way = Way::new(of_bus, i2c, line);
        }
        Self {
            settings: Arc::clone(settings),
            bus: *bus,
            field: field.clone(),
            delay,
            drivers,
            under_way: UnderWay::default(),
            surveying: Surveying::new(*bus, way),
            cleared_ms: None,
            clears: Arc::clone(clears),
            meters: meters.clone(),
        }
    }

    fn run(&mut self, job: Job, since_ms: u64) -> Outcome {
        let waited_ms = self.now_ms().saturating_sub(since_ms);
        if let Job::Lease { seconds: 1.., .. } = job
            && waited_ms > OPEN_LATE_MS
        {
            tracing::warn!(
                ?job,
                waited_ms,
                "lease waited too long for its bus, not written"
            );
            return failed(&self.settings, job, BusFault::Stuck);
        }
        let outcome = self
            .attempt(job)
            .unwrap_or_else(|| failed(&self.settings, job, BusFault::Other));
        if is_stuck(&outcome) {
            self.clear_bus();
        }
        outcome
    }

    /// `None` for a device that has no driver.
    fn attempt(&mut self, job: Job) -> Option<Outcome> {
        let clock = self.field.clock().clone();
        let mut delay = self.delay.clone();
        match job {
            Job::Prepare { device } => {
                let driver = self.drivers.get_mut(&device)?;
                let prepared = retry(&mut delay, |delay| driver.prepare(&clock, delay));
                Some(Outcome::Prepared(prepared))
            }
            Job::Read { device, tick_ms } => {
                let driver = self.drivers.get_mut(&device)?;
                let of_device = self.settings.devices().get(device)?;
                let channels = of_device.channels.len();
                let now_ms = || clock.now().mono_ms();
                if let Some(until_ms) = self.surveying.holds(of_device, now_ms()) {
                    return Some(Outcome::Later { until_ms });
                }
                let turn = self
                    .under_way
                    .step(device, tick_ms, driver, channels, now_ms);
                Some(match turn {
                    Turn::Later { until_ms } => Outcome::Later { until_ms },
                    Turn::Again { until_ms, stuck } => {
                        if stuck {
                            // Else the next attempt would find it as it is.
                            self.clear_bus();
                        }
                        Outcome::Later { until_ms }
                    }
                    Turn::Readings(readings) => Outcome::Readings(readings),
                })
            }
            Job::Survey {
                part, addresses, ..
            } => {
                let settings = Arc::clone(&self.settings);
                let now_ms = || clock.now().mono_ms();
                Some(Outcome::Surveyed(self.surveying.step(
                    &settings,
                    (part, addresses),
                    &self.under_way,
                    &mut delay,
                    now_ms,
                )))
            }
            Job::Lease { output, seconds } => {
                let place = self.settings.output(output)?;
                let driver = self.drivers.get_mut(&place.controller)?;
                let set = |_: &mut FieldDelay| driver.set_lease(place.output, seconds);
                Some(Outcome::Lease(retry(&mut delay, set)))
            }
            Job::Status { output } => {
                let place = self.settings.output(output)?;
                let driver = self.drivers.get_mut(&place.controller)?;
                let mut status = retry(&mut delay, |_| driver.output(place.output));
                let meter = place.meter.and_then(|meter| self.meters.get_mut(&meter));
                if let (Ok(status), Some(meter)) = (&mut status, meter) {
                    status.pulses = counted(meter.pulses());
                }
                Some(Outcome::Status(status))
            }
            Job::ClearFlags { output } => {
                let place = self.settings.output(output)?;
                let driver = self.drivers.get_mut(&place.controller)?;
                let clear = |_: &mut FieldDelay| driver.clear_flags(place.output);
                Some(Outcome::Cleared(retry(&mut delay, clear)))
            }
        }
    }

    /// Clocks the bus free, where its lines are configured, not too often.
    fn clear_bus(&mut self) {
        let Some(bus) = self.settings.buses().get(self.bus) else {
            return;
        };
        let now_ms = self.now_ms();
        let recent = |at_ms: u64| now_ms.saturating_sub(at_ms) < CLEAR_EVERY_MS;
        if self.cleared_ms.is_some_and(recent) {
            return;
        }
        let Some(pins) = bus.clear else { return };
        self.cleared_ms = Some(now_ms);
        self.clears.fetch_add(1, Ordering::Relaxed);
        let cleared = self.field.clear_bus(pins, &mut self.delay);
        tracing::warn!(bus = %bus.id, ?cleared, "the bus was stuck and got clocks");
    }

    fn now_ms(&self) -> u64 {
        self.field.clock().now().mono_ms()
    }
}

/// A meter's count as a controller's would be: it wraps. What could not be read is absent.
fn counted(pulses: Result<u64, &'static str>) -> Option<u32> {
    let pulses = pulses.inspect_err(|why| tracing::warn!(why, "a zone's flow meter is not read"));
    pulses.ok().map(|pulses| {
        let [.., a, b, c, d] = pulses.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    })
}

/// Whether a job found its bus stuck.
fn is_stuck(outcome: &Outcome) -> bool {
    let stuck = |error: &SensorError| error.cause == Cause::Bus(BusFault::Stuck);
    match outcome {
        Outcome::Later { .. } | Outcome::Surveyed(_) => false,
        Outcome::Prepared(outcome) => outcome.as_ref().is_err_and(stuck),
        Outcome::Readings(readings) => reading::is_stuck(readings),
        Outcome::Lease(outcome) | Outcome::Cleared(outcome) => outcome.as_ref().is_err_and(stuck),
        Outcome::Status(outcome) => outcome.as_ref().is_err_and(stuck),
    }
}

/// Tries again while the failure may be a disturbance.
fn retry<T>(
    delay: &mut FieldDelay,
    mut attempt: impl FnMut(&mut FieldDelay) -> Result<T, SensorError>,
) -> Result<T, SensorError> {
    let mut outcome = attempt(delay);
    for _ in 1..ATTEMPTS {
        match &outcome {
            Err(error) if error.is_transient() => {
                tracing::debug!(error = %error, cause = %error.cause, "bus disturbed, trying again");
                delay.delay_ms(u32::try_from(RETRY_MS).unwrap_or(u32::MAX));
                outcome = attempt(delay);
            }
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}

/// The answer to a job whose bus could not be asked.
pub(super) fn failed(settings: &Settings, job: Job, fault: BusFault) -> Outcome {
    let device = match job {
        Job::Prepare { device } | Job::Read { device, .. } => Some(device),
        Job::Lease { output, .. } | Job::Status { output } | Job::ClearFlags { output } => {
            settings.output(output).map(|place| place.controller)
        }
        Job::Survey { .. } => None,
    };
    let device = device.and_then(|device| settings.devices().get(device));
    let error = SensorError {
        chip: device.map_or("device", |device| device.kind.name()),
        address: device.and_then(|device| device.address()),
        register: "bus",
        cause: Cause::Bus(fault),
    };
    match job {
        Job::Prepare { .. } => Outcome::Prepared(Err(error)),
        Job::Read { .. } => {
            let channels = device.map_or(0, |device| device.channels.len());
            Outcome::Readings(spread(Err(error), channels))
        }
        Job::Lease { .. } => Outcome::Lease(Err(error)),
        Job::Status { .. } => Outcome::Status(Err(error)),
        Job::ClearFlags { .. } => Outcome::Cleared(Err(error)),
        Job::Survey { .. } => Outcome::Surveyed(Part {
            seen: Vec::new(),
            next: Err("the bus hangs".to_owned()),
            slave: None,
        }),
    }
}
