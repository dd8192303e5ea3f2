//! Reading devices without a running gateway: the command opens the buses itself.

use std::sync::Arc;

use furrow_drivers::SensorError;
use furrow_wire::Decimal;

use super::read::ask;
use crate::bus::{Busy, Field, FieldClock, FieldError};
use crate::calibrations::{self, FileError, Scales};
use crate::config::Settings;
use crate::devices::{Devices, Job, Outcome, Results, StartError};

/// The longest wait for sensors that need time before their first reading, in milliseconds: one
/// period of an SCD4x and a little.
const READY_MAX_MS: u64 = 6_000;

/// See the module.
pub(super) struct Reader {
    settings: Arc<Settings>,
    scales: Scales,
    devices: Devices,
    results: Results,
    clock: FieldClock,
    busy: Option<Busy>,
}

/// One reading of one device.
#[derive(Debug, Clone)]
pub(super) struct DeviceReadings {
    /// Its place in the settings.
    pub(super) device: usize,
    /// What the driver gave.
    pub(super) raw: Vec<Result<Decimal, SensorError>>,
    /// Calibrated.
    pub(super) values: Vec<Result<Decimal, SensorError>>,
}

/// The devices can't be read at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReaderError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Calibrations(#[from] FileError),
}

impl Reader {
    /// Opens the buses, prepares the devices (or the one), waits until they can be read.
    pub(super) fn open(
        settings: &Arc<Settings>,
        client: &str,
        only: Option<usize>,
    ) -> Result<Self, ReaderError> {
        let calibrations = calibrations::load(&settings.gateway().state_dir)?;
        let scales = Scales::new(settings, &calibrations);
        let field = Field::open(settings, client)?;
        let clock = field.clock().clone();
        let (devices, mut results) = Devices::start(settings, &field)?;
        let started_ms = clock.now().mono_ms();
        let wanted = wanted(settings, only);
        let prepare = wanted.map(|device| Job::Prepare { device });
        let (prepared, busy) = ask(&devices, &mut results, prepare, clock.busy());
        let ready_ms = prepared
            .iter()
            .filter_map(|(_, outcome)| ready_of(outcome))
            .max();
        // A flow needs some time between its two readings too.
        let until_ms = ready_ms
            .unwrap_or(0)
            .max(started_ms.saturating_add(1_000))
            .min(started_ms.saturating_add(READY_MAX_MS))
            .saturating_add(100);
        let busy = clock.wait_until(until_ms.saturating_mul(1_000_000), busy);
        Ok(Reader {
            settings: Arc::clone(settings),
            scales,
            devices,
            results,
            clock,
            busy: Some(busy),
        })
    }

    /// One reading of every device, or of the one.
    pub(super) fn read(&mut self, only: Option<usize>) -> Vec<DeviceReadings> {
        let tick_ms = self.clock.now().mono_ms();
        let jobs = wanted(&self.settings, only).map(|device| Job::Read { device, tick_ms });
        let busy = self.busy.take().unwrap_or_else(|| self.clock.busy());
        let (done, busy) = ask(&self.devices, &mut self.results, jobs, busy);
        self.busy = Some(busy);
        let readings = done.into_iter().filter_map(|answer| match answer {
            (Job::Read { device, .. }, Outcome::Readings(raw)) => Some(DeviceReadings {
                device,
                values: self.scales.values(device, &raw),
                raw,
            }),
            _ => None,
        });
        readings.collect()
    }

    /// Lets time pass in the field.
    pub(super) fn wait(&mut self, ms: u64) {
        let until_ms = self.clock.now().mono_ms().saturating_add(ms);
        let busy = self.busy.take().unwrap_or_else(|| self.clock.busy());
        let until_ns = until_ms.saturating_mul(1_000_000);
        self.busy = Some(self.clock.wait_until(until_ns, busy));
    }

    /// The field's time, in milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now().mono_ms()
    }

    /// Ends the workers.
    pub(super) fn stop(self) {
        drop(self.busy);
        self.devices.stop();
    }
}

fn wanted(settings: &Settings, only: Option<usize>) -> impl Iterator<Item = usize> + use<> {
    let count = settings.devices().len();
    (0..count).filter(move |device| only.is_none_or(|only| only == *device))
}

fn ready_of(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Prepared(Ok(ready)) => *ready,
        // Shows again when it is read.
        Outcome::Prepared(Err(_))
        | Outcome::Later { .. }
        | Outcome::Readings(_)
        | Outcome::Lease(_)
        | Outcome::Status(_)
        | Outcome::Cleared(_)
        | Outcome::Surveyed(_) => None,
    }
}
