//! Executes what the irrigation core decides, in its order, and tells it what happened.
//!
//! **Invariant:** a command behind a [`Command::Persist`] is executed only when that state is durable:
//! a run is charged to its budget before its valve opens.

use std::collections::VecDeque;
use std::sync::Arc;

use furrow_gateway_core::FieldMs;
use furrow_irrigation::{
    Command, EventKind as Watered, InputIndex, Irrigation, Now, Origin, Output, OutputStatus,
    Refusal, SiteView, State, Trouble, ZoneIndex, ZoneView,
};
use furrow_wire::{self as wire, Decimal, Event, Quality};
use jiff::Timestamp;

use super::latest::Latest;
use super::told::what_of;
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
    /// A run did not start, and why: for the journal, and for who waits for it.
    Refused(ZoneIndex, String, Event),
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
    /// The tick of the last reading of each input that was taken.
    taken: Vec<Option<FieldMs>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    latest: Option<u32>,
    at_start: Option<u32>,
    /// The run that `at_start` belongs to.
    run: Option<u64>,
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
            taken: vec![None; settings.irrigation().inputs.len()],
        }
    }

    /// Whether no water flows, is wanted or waits.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.core.is_idle() && self.waiting.is_empty() && !self.persisting
    }

    /// From now on other schedules and rules hold for the same zones. Answers whether it was done: only
    /// while [`Watering::is_idle`].
    pub fn replan(&mut self, settings: &Arc<Settings>, now: FieldTime) -> bool {
        if !self.is_idle() {
            return false;
        }
        if !self
            .core
            .handle_plan(settings.irrigation_config(), moment(now))
        {
            return false;
        }
        // What was read is taken again by its new place.
        self.taken = vec![None; settings.irrigation().inputs.len()];
        self.settings = Arc::clone(settings);
        true
    }

    /// A person wants water.
    ///
    /// # Errors
    /// Why the run was refused.
    pub fn handle_manual(
        &mut self,
        zone: ZoneIndex,
        run_ms: Option<u64>,
        origin: Origin,
        now: FieldTime,
    ) -> Result<u64, Refusal> {
        self.core.handle_manual(zone, run_ms, origin, moment(now))
    }

    /// A person wants no more water. Answers whether there was a run to stop.
    pub fn handle_stop(&mut self, zone: ZoneIndex, origin: Origin, now: FieldTime) -> bool {
        self.core.handle_stop(zone, origin, moment(now))
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
            (Job::Lease { output, seconds }, Outcome::Lease(answer)) => {
                log_failure(job, answer);
                let Some(output) = self.settings.output_at(output) else {
                    return;
                };
                let taken = answer.is_ok();
                self.core.handle_lease(output, seconds, taken, moment(now));
            }
            (Job::Status { output }, Outcome::Status(answer)) => {
                log_failure(job, answer);
                let Some(output) = self.settings.output_at(output) else {
                    return;
                };
                let status = answer.as_ref().ok().copied();
                if let Output::Zone(zone) = output {
                    self.note_pulses(zone.0, status);
                }
                self.core.handle_status(output, status, moment(now));
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
    pub fn poll_effect(&mut self, now: FieldTime) -> Option<Effect> {
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
            Command::WriteLease { output, seconds } => Effect::Job(Job::Lease {
                output: self.settings.place_of(output),
                seconds,
            }),
            Command::ReadStatus { output } => Effect::Job(Job::Status {
                output: self.settings.place_of(output),
            }),
            Command::ClearFlags { output } => Effect::Job(Job::ClearFlags {
                output: self.settings.place_of(output),
            }),
            Command::Emit(event) => self.event(event, now),
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
        let view = self.view(zone, now)?;
        let left_ms = view.left_ms?;
        let meter = self.meters.get(zone.0)?;
        let plan = &self.settings.zones().get(zone.0)?.plan;
        // Until the run is journalled the count is that of the one before.
        let at_start = meter.at_start.filter(|_| meter.run == view.run);
        let pulses = meter
            .latest
            .zip(at_start)
            .map(|(now, then)| now.wrapping_sub(then));
        Some(Progress {
            left_ms,
            millilitres: pulses.map(|pulses| plan.litres_milli(pulses)),
        })
    }

    /// What all zones share, as people see it.
    #[must_use]
    pub fn site_view(&self, now: FieldTime) -> SiteView {
        self.core.site_view(moment(now))
    }

    /// Everything that is wrong now, of one zone or of all.
    #[must_use]
    pub fn faults(&self, now: FieldTime) -> Vec<(Option<ZoneIndex>, Trouble)> {
        self.core.troubles(moment(now))
    }

    /// There may be new readings: those of good quality that rules or interlocks look at are taken.
    pub fn handle_readings(&mut self, latest: &Latest, now: FieldTime) {
        let settings = Arc::clone(&self.settings);
        let inputs = settings.irrigation().inputs.iter().enumerate();
        for ((place, input), taken) in inputs.zip(&mut self.taken) {
            let Some(reading) = latest.of(input.channel) else {
                continue;
            };
            let mantissa = reading.sample.mantissa;
            let is_good = reading.sample.quality == Quality::Good;
            let (Some(mantissa), true) = (mantissa, is_good && *taken != Some(reading.at)) else {
                continue;
            };
            *taken = Some(reading.at);
            let exponent = input.exponent;
            let value = Decimal { mantissa, exponent }.to_f64();
            self.core
                .handle_reading(InputIndex(place), value, reading.at.0, moment(now));
        }
    }

    /// A person wants no water at all for a while.
    ///
    /// # Errors
    /// The cloud wants to shorten what was wanted on site.
    pub fn handle_hold(
        &mut self,
        origin: Origin,
        hold_ms: u64,
        now: FieldTime,
    ) -> Result<(), Refusal> {
        self.core.handle_hold(origin, hold_ms, moment(now))
    }

    /// Water may flow again.
    ///
    /// # Errors
    /// The cloud wants to end what was wanted on site.
    pub fn handle_release(&mut self, origin: Origin, now: FieldTime) -> Result<(), Refusal> {
        self.core.handle_release(origin, moment(now))
    }

    /// A person has looked at a fault. Answers how many locks went.
    pub fn handle_reset(&mut self, origin: Origin, now: FieldTime) -> usize {
        self.core.handle_reset(origin, moment(now))
    }

    fn note_pulses(&mut self, zone: usize, status: Option<OutputStatus>) {
        if let (Some(meter), Some(status)) = (self.meters.get_mut(zone), status) {
            meter.latest = status.pulses.or(meter.latest);
            if meter.at_start.is_none() {
                meter.at_start = meter.latest;
            }
        }
    }

    fn event(&mut self, event: furrow_irrigation::Event, now: FieldTime) -> Effect {
        let zone = event.zone;
        if let (Watered::RunStarted { run, .. }, Some(zone)) = (&event.kind, zone)
            && let Some(meter) = self.meters.get_mut(zone.0)
        {
            meter.at_start = meter.latest;
            meter.run = Some(*run);
        }
        let refused = match &event.kind {
            Watered::NotStarted { refusal, .. } => Some(refusal.to_string()),
            Watered::RunStarted { .. }
            | Watered::RunEnded { .. }
            | Watered::LockedOut { .. }
            | Watered::Recovered
            | Watered::Reset { .. }
            | Watered::Held { .. }
            | Watered::Alarm { .. }
            | Watered::FlowLearnt { .. }
            | Watered::Decided(_) => None,
        };
        let controller = zone.and_then(|zone| self.controller_of(zone));
        let planting = zone.and_then(|zone| self.planting_of(zone, now));
        let zones = self.settings.zones();
        let id = zone
            .and_then(|zone| zones.get(zone.0))
            .map(|zone| zone.id.clone());
        let event = Event {
            at_mono_ms: event.at_mono_ms,
            zone: id,
            planting,
            what: what_of(event.kind, controller),
        };
        match (zone, refused) {
            (Some(zone), Some(reason)) => Effect::Refused(zone, reason, event),
            (_, _) => Effect::Event(event),
        }
    }

    /// What grows there on this day.
    fn planting_of(&self, zone: ZoneIndex, now: FieldTime) -> Option<wire::PlantingId> {
        let time_zone = &self.settings.gateway().time_zone;
        let wall = moment(now).wall;
        let date = wall.map(|wall| time_zone.to_datetime(wall).date());
        let planting = self.settings.planting(zone, date);
        planting.map(|planting| planting.id.clone())
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

fn log_failure<T>(job: Job, answer: &Result<T, furrow_drivers::SensorError>) {
    if let Err(error) = answer {
        tracing::warn!(?job, %error, cause = %error.cause, "a controller does not answer");
    }
}
