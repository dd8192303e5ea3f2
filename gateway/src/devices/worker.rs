//! The thread that owns a bus: takes jobs, retries them within bounds, answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use embedded_hal::delay::DelayNs as _;
use furrow_drivers::{BusFault, Cause, SensorError};
use tokio::sync::mpsc::Sender;

use super::driver::{Driver, Readings, spread};
use super::queue::{Queue, Queued};
use super::{Done, Job, OPEN_LATE_MS, Outcome};
use crate::bus::{Busy, Field, FieldDelay, SharedI2c};
use crate::config::Settings;

/// Attempts at one job: a disturbance passes, a fault does not.
const ATTEMPTS: u32 = 3;
/// Pause before another attempt, in milliseconds: a conversion of the slowest sensor.
const RETRY_MS: u32 = 10;

pub(super) struct Worker {
    pub(super) settings: Arc<Settings>,
    pub(super) bus: usize,
    pub(super) field: Field,
    pub(super) queue: Arc<Queue>,
    pub(super) answers: Sender<Done>,
}

impl Worker {
    pub(super) fn run(self) {
        let mut bench = Bench::new(&self.settings, self.bus, &self.field);
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
    field: Field,
    delay: FieldDelay,
    drivers: BTreeMap<usize, Driver>,
}

impl Bench {
    fn new(settings: &Arc<Settings>, bus: usize, field: &Field) -> Self {
        let delay = FieldDelay::new(field.clock().clone());
        let mut drivers = BTreeMap::new();
        if let Some(settings_of_bus) = settings.buses().get(bus) {
            let i2c = SharedI2c::new(field.i2c(settings_of_bus.i2c));
            for (index, device) in settings.devices().iter().enumerate() {
                if device.bus != bus {
                    continue;
                }
                let pulses = |pin| field.pulses(pin);
                match Driver::new(&device.kind, i2c.clone(), delay.clone(), pulses) {
                    Ok(driver) => {
                        drivers.insert(index, driver);
                    }
                    // The settings allow no address that a driver refuses.
                    Err(error) => {
                        tracing::error!(device = %device.id, error = %error, "no driver");
                    }
                }
            }
        }
        Self {
            settings: Arc::clone(settings),
            field: field.clone(),
            delay,
            drivers,
        }
    }

    fn run(&mut self, job: Job, since_ms: u64) -> Outcome {
        let waited_ms = self.field.clock().now().mono_ms().saturating_sub(since_ms);
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
        match self.attempt(job) {
            Some(outcome) => outcome,
            None => failed(&self.settings, job, BusFault::Other),
        }
    }

    /// `None` for a device that has no driver.
    fn attempt(&mut self, job: Job) -> Option<Outcome> {
        let clock = self.field.clock().clone();
        let mut delay = self.delay.clone();
        let zones = self.settings.zones();
        match job {
            Job::Prepare { device } => {
                let driver = self.drivers.get_mut(&device)?;
                let prepared = retry(&mut delay, |delay| driver.prepare(&clock, delay));
                Some(Outcome::Prepared(prepared))
            }
            Job::Read { device, .. } => {
                let driver = self.drivers.get_mut(&device)?;
                Some(Outcome::Readings(read(&mut delay, |delay| {
                    driver.read(&clock, delay)
                })))
            }
            Job::Lease { zone, seconds } => {
                let zone = zones.get(zone)?;
                let driver = self.drivers.get_mut(&zone.controller)?;
                let set = |_: &mut FieldDelay| driver.set_lease(zone.output, seconds);
                Some(Outcome::Lease(retry(&mut delay, set)))
            }
            Job::Status { zone } => {
                let zone = zones.get(zone)?;
                let driver = self.drivers.get_mut(&zone.controller)?;
                Some(Outcome::Status(retry(&mut delay, |_| {
                    driver.output(zone.output)
                })))
            }
            Job::ClearFlags { zone } => {
                let driver = self.drivers.get_mut(&zones.get(zone)?.controller)?;
                Some(Outcome::Cleared(retry(&mut delay, |_| {
                    driver.clear_flags()
                })))
            }
        }
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
                delay.delay_ms(RETRY_MS);
                outcome = attempt(delay);
            }
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}

/// As [`retry`], for all channels of a device: what came good the first time stays.
fn read(delay: &mut FieldDelay, mut attempt: impl FnMut(&mut FieldDelay) -> Readings) -> Readings {
    let disturbed = |readings: &Readings| {
        readings
            .iter()
            .any(|reading| reading.as_ref().is_err_and(SensorError::is_transient))
    };
    let mut readings = attempt(delay);
    for _ in 1..ATTEMPTS {
        if !disturbed(&readings) {
            break;
        }
        delay.delay_ms(RETRY_MS);
        for (kept, again) in readings.iter_mut().zip(attempt(delay)) {
            if kept.is_err() {
                *kept = again;
            }
        }
    }
    readings
}

/// The answer to a job whose bus could not be asked.
pub(super) fn failed(settings: &Settings, job: Job, fault: BusFault) -> Outcome {
    let device = match job {
        Job::Prepare { device } | Job::Read { device, .. } => Some(device),
        Job::Lease { zone, .. } | Job::Status { zone } | Job::ClearFlags { zone } => {
            settings.zones().get(zone).map(|zone| zone.controller)
        }
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
    }
}
