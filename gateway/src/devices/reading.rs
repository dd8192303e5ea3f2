//! A reading under way: its steps, and what is tried again, within bounds.
//!
//! Between two steps the bus serves others. What came good the first time stays.

use std::collections::BTreeMap;

use furrow_drivers::{BusFault, Cause, SensorError};

use super::driver::{Driver, Progress, Readings, spread};

/// Attempts at one reading: a disturbance passes, a fault does not.
pub(super) const ATTEMPTS: u32 = 3;
/// Pause before another attempt, in milliseconds: a conversion of the slowest bus transaction.
pub(super) const RETRY_MS: u64 = 10;
/// An attempt whose transactions took longer than this is not repeated, in milliseconds: a chip that
/// stretches the clock until the bus times out costs the others enough once.
const SLOW_MS: u64 = 80;
/// Steps of one reading before it counts as lost.
const STEPS_MAX: u32 = 40;

/// Readings under way, by device.
#[derive(Debug, Default)]
pub(super) struct UnderWay(BTreeMap<usize, Pending>);

#[derive(Debug)]
struct Pending {
    tick_ms: u64,
    steps: u32,
    attempts: u32,
    kept: Option<Readings>,
}

/// What a step of a reading leads to.
#[derive(Debug)]
pub(super) enum Turn {
    Later {
        until_ms: u64,
    },
    /// It was disturbed and is tried again.
    Again {
        until_ms: u64,
        stuck: bool,
    },
    Readings(Readings),
}

impl UnderWay {
    /// Whether a device is in the middle of a reading.
    pub(super) fn has(&self, device: usize) -> bool {
        self.0.contains_key(&device)
    }

    /// Begins the reading of a tick, or goes on with it. `clock` tells monotonic milliseconds.
    pub(super) fn step(
        &mut self,
        device: usize,
        tick_ms: u64,
        driver: &mut Driver,
        channels: usize,
        clock: impl Fn() -> u64,
    ) -> Turn {
        let fresh = Pending {
            tick_ms,
            steps: 0,
            attempts: 0,
            kept: None,
        };
        let mut pending = match self.0.remove(&device) {
            Some(pending) if pending.tick_ms == tick_ms => pending,
            Some(_) | None => fresh,
        };
        pending.steps = pending.steps.saturating_add(1);
        if pending.steps > STEPS_MAX {
            return Turn::Readings(spread(Err(lost()), channels));
        }
        let began_ms = clock();
        let readings = match driver.step(began_ms) {
            Progress::Wait { until_ms } => {
                self.0.insert(device, pending);
                return Turn::Later { until_ms };
            }
            Progress::Done(readings) => readings,
        };
        let now_ms = clock();
        let readings = match pending.kept.take() {
            Some(kept) => kept
                .into_iter()
                .zip(readings)
                .map(|(kept, again)| kept.or(again))
                .collect(),
            None => readings,
        };
        pending.attempts = pending.attempts.saturating_add(1);
        let slow = now_ms.saturating_sub(began_ms) > SLOW_MS;
        if !is_disturbed(&readings) || pending.attempts >= ATTEMPTS || slow {
            return Turn::Readings(readings);
        }
        tracing::debug!(device, "bus disturbed, trying again");
        let stuck = is_stuck(&readings);
        pending.kept = Some(readings);
        self.0.insert(device, pending);
        Turn::Again {
            until_ms: now_ms.saturating_add(RETRY_MS),
            stuck,
        }
    }
}

/// Whether the bus itself was found stuck.
pub(super) fn is_stuck(readings: &Readings) -> bool {
    let stuck = |error: &SensorError| error.cause == Cause::Bus(BusFault::Stuck);
    readings
        .iter()
        .any(|reading| reading.as_ref().is_err_and(stuck))
}

fn is_disturbed(readings: &Readings) -> bool {
    readings
        .iter()
        .any(|reading| reading.as_ref().is_err_and(SensorError::is_transient))
}

fn lost() -> SensorError {
    SensorError {
        chip: "device",
        address: None,
        register: "reading",
        cause: Cause::Refused("the reading did not come to an end"),
    }
}
