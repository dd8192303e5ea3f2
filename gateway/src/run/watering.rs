//! Executes what the irrigation core decides, in its order, and tells it what happened.
//!
//! **Invariant:** a command behind a [`Command::Persist`] is executed only when that state is durable:
//! a run is charged to its budget before its valve opens.

use std::collections::VecDeque;
use std::sync::Arc;

use furrow_irrigation::{
    Cause, Command, EndReason, EventKind as Watered, Irrigation, Now, OutputStatus, Refusal, State,
    ZoneIndex, ZoneView,
};
use furrow_wire::{self as wire, Event, EventKind, RunCause};
use jiff::Timestamp;

use crate::bus::FieldTime;
use crate::config::Settings;
use crate::devices::{Job, Outcome};

/// What the event loop shall do for the water.
#[derive(Debug)]
pub enum Effect {
    /// Make this durable, then call [`Watering::handle_persisted`].
    Persist(serde_json::Value),
    /// Give this to the devices.
    Job(Job),
    /// Journal this at once.
    Event(Event),
    /// A scheduled run did not start: for the log, and for who waits for it.
    Refused(ZoneIndex, Refusal),
}

/// See the module.
#[derive(Debug)]
pub struct Watering {
    settings: Arc<Settings>,
    core: Irrigation,
    waiting: VecDeque<Command>,
    persisting: bool,
    /// Per zone the meter's latest count, and its count when the run began.
    meters: Vec<Meter>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    latest: Option<u32>,
    at_start: Option<u32>,
}

/// Progress of a run, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Milliseconds until it ends.
    pub left_ms: u64,
    /// Water so far, in thousandths of a litre.
    pub millilitres: Option<u64>,
}

impl Watering {
    /// Continues from the persisted state; closes every output first.
    #[must_use]
    pub fn new(settings: &Arc<Settings>, state: Option<serde_json::Value>, now: FieldTime) -> Self {
        let state = state.and_then(|state| match serde_json::from_value::<State>(state) {
            Ok(state) => Some(state),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "the state of the irrigation can't be read, starting anew"
                );
                None
            }
        });
        let mut core = Irrigation::new(
            settings.irrigation_config(),
            state.unwrap_or_default(),
            now.boot,
        );
        core.handle_start(moment(now));
        let zones = settings.zones().len();
        Watering {
            settings: Arc::clone(settings),
            core,
            waiting: VecDeque::new(),
            persisting: false,
            meters: vec![Meter::default(); zones],
        }
    }

    /// A person wants water.
    ///
    /// # Errors
    /// Why the run was refused.
    pub fn handle_manual(
        &mut self,
        zone: ZoneIndex,
        run_ms: Option<u64>,
        now: FieldTime,
    ) -> Result<u64, Refusal> {
        self.core.handle_manual(zone, run_ms, moment(now))
    }

    /// A person wants no more water. Answers whether there was a run to stop.
    pub fn handle_stop(&mut self, zone: ZoneIndex, now: FieldTime) -> bool {
        self.core.handle_stop(zone, moment(now))
    }

    /// The process is about to end: closes everything, starts nothing.
    pub fn handle_shutdown(&mut self, now: FieldTime) {
        self.core.handle_shutdown(moment(now));
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: FieldTime) {
        self.core.handle_timeout(moment(now));
    }

    /// The state of the last [`Effect::Persist`] is durable.
    pub fn handle_persisted(&mut self) {
        self.persisting = false;
    }

    /// A controller answered, or failed to.
    pub fn handle_outcome(&mut self, job: Job, outcome: &Outcome, now: FieldTime) {
        match (job, outcome) {
            (Job::Lease { zone, seconds }, Outcome::Lease(answer)) => {
                log_failure(job, answer);
                let taken = answer.is_ok();
                self.core
                    .handle_lease(ZoneIndex(zone), seconds, taken, moment(now));
            }
            (Job::Status { zone }, Outcome::Status(answer)) => {
                log_failure(job, answer);
                let status = answer.as_ref().ok().copied();
                self.note_pulses(zone, status);
                self.core
                    .handle_status(ZoneIndex(zone), status, moment(now));
            }
            (Job::ClearFlags { .. }, Outcome::Cleared(answer)) => log_failure(job, answer),
            (
                Job::Prepare { .. }
                | Job::Read { .. }
                | Job::Lease { .. }
                | Job::Status { .. }
                | Job::ClearFlags { .. }
                | Job::Survey { .. },
                Outcome::Prepared(_)
                | Outcome::Later { .. }
                | Outcome::Readings(_)
                | Outcome::Lease(_)
                | Outcome::Surveyed(_)
                | Outcome::Status(_)
                | Outcome::Cleared(_),
            ) => tracing::error!(?job, "a controller's answer does not fit its job"),
        }
    }

    /// When [`Watering::handle_timeout`] is due, monotonic milliseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        self.core.poll_timeout()
    }

    /// The next thing to do. Nothing while a state is being made durable.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        while let Some(command) = self.core.poll_command() {
            self.waiting.push_back(command);
        }
        if self.persisting {
            return None;
        }
        let effect = match self.waiting.pop_front()? {
            Command::Persist(state) => {
                self.persisting = true;
                let state = serde_json::to_value(state);
                Effect::Persist(state.expect("numbers, texts and maps with text keys serialise"))
            }
            Command::WriteLease { zone, seconds } => Effect::Job(Job::Lease {
                zone: zone.0,
                seconds,
            }),
            Command::ReadStatus { zone } => Effect::Job(Job::Status { zone: zone.0 }),
            Command::ClearFlags { zone } => Effect::Job(Job::ClearFlags { zone: zone.0 }),
            Command::Emit(event) => self.event(event),
        };
        Some(effect)
    }

    /// Whether no valve is open or about to be.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.core.is_shut() && self.waiting.is_empty() && !self.persisting
    }

    /// A zone as people see it.
    #[must_use]
    pub fn view(&self, zone: ZoneIndex, now: FieldTime) -> Option<ZoneView> {
        self.core.view(zone, moment(now))
    }

    /// How far the run of a zone is; `None` when none is under way.
    #[must_use]
    pub fn progress(&self, zone: ZoneIndex, now: FieldTime) -> Option<Progress> {
        let left_ms = self.view(zone, now)?.left_ms?;
        let meter = self.meters.get(zone.0)?;
        let plan = &self.settings.zones().get(zone.0)?.plan;
        let pulses = meter
            .latest
            .zip(meter.at_start)
            .map(|(now, then)| now.wrapping_sub(then));
        Some(Progress {
            left_ms,
            millilitres: pulses.map(|pulses| plan.litres_milli(pulses)),
        })
    }

    fn note_pulses(&mut self, zone: usize, status: Option<OutputStatus>) {
        if let (Some(meter), Some(status)) = (self.meters.get_mut(zone), status) {
            meter.latest = Some(status.pulses);
            if meter.at_start.is_none() {
                meter.at_start = meter.latest;
            }
        }
    }

    fn event(&mut self, event: furrow_irrigation::Event) -> Effect {
        let zone = event.zone;
        let what = match event.kind {
            Watered::RunStarted {
                run,
                cause,
                planned_ms,
            } => {
                if let Some(meter) = self.meters.get_mut(zone.0) {
                    meter.at_start = meter.latest;
                }
                EventKind::RunStarted {
                    run,
                    cause: cause_of(cause),
                    planned_ms,
                }
            }
            Watered::RunEnded {
                run,
                cause,
                started_mono_ms,
                of_this_boot,
                open_ms,
                litres_milli,
                reason,
            } => {
                if !of_this_boot {
                    tracing::info!(run, "a run of an earlier boot was interrupted");
                }
                EventKind::RunEnded {
                    run,
                    cause: cause_of(cause),
                    started_mono_ms,
                    open_ms,
                    millilitres: litres_milli,
                    end: end_of(reason),
                }
            }
            Watered::NotStarted { refusal, .. } => return Effect::Refused(zone, refusal),
            Watered::LockedOut { text } => EventKind::Lockout { text },
            Watered::Recovered => match self.controller_of(zone) {
                Some(device) => EventKind::DeviceRecovered { device },
                None => return Effect::Refused(zone, Refusal::NoSuchZone),
            },
        };
        let id = self
            .settings
            .zones()
            .get(zone.0)
            .map(|zone| zone.id.clone());
        Effect::Event(Event {
            at_mono_ms: event.at_mono_ms,
            zone: id,
            planting: None,
            what,
        })
    }

    fn controller_of(&self, zone: ZoneIndex) -> Option<wire::DeviceId> {
        let controller = self.settings.zones().get(zone.0)?.controller;
        self.settings
            .devices()
            .get(controller)
            .map(|device| device.id.clone())
    }
}

fn moment(now: FieldTime) -> Now {
    let wall = now
        .wall_unix_ms
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Now {
        mono_ms: now.mono_ms(),
        wall,
    }
}

fn cause_of(cause: Cause) -> RunCause {
    match cause {
        Cause::Schedule => RunCause::Schedule,
        Cause::Manual => RunCause::Manual,
    }
}

fn end_of(reason: EndReason) -> wire::EndReason {
    match reason {
        EndReason::Completed => wire::EndReason::Completed,
        EndReason::Stopped => wire::EndReason::Stopped,
        EndReason::Fault => wire::EndReason::Fault,
        EndReason::Interrupted => wire::EndReason::Interrupted,
        EndReason::LeaseLost => wire::EndReason::LeaseLost,
    }
}

fn log_failure<T>(job: Job, answer: &Result<T, furrow_drivers::SensorError>) {
    if let Err(error) = answer {
        tracing::warn!(?job, %error, cause = %error.cause, "a controller does not answer");
    }
}
