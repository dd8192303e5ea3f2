//! Executes what the irrigation core decides, in its order, and tells it what happened.
//!
//! **Invariant:** a command behind a [`Command::Persist`] is executed only when that state is durable:
//! a run is charged to its budget before its valve opens.

use std::collections::VecDeque;
use std::sync::Arc;

use furrow_irrigation::{
    Cause, Command, Decision, EndReason, EventKind as Watered, InputIndex, Interlock, Irrigation,
    Known, Now, Origin, Output, OutputStatus, Refusal, SiteView, State, ZoneIndex, ZoneView,
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
            (Job::Lease { zone, seconds }, Outcome::Lease(answer)) => {
                log_failure(job, answer);
                let taken = answer.is_ok();
                let output = Output::Zone(ZoneIndex(zone));
                self.core.handle_lease(output, seconds, taken, moment(now));
            }
            (Job::Status { zone }, Outcome::Status(answer)) => {
                log_failure(job, answer);
                let status = answer.as_ref().ok().copied();
                self.note_pulses(zone, status);
                let output = Output::Zone(ZoneIndex(zone));
                self.core.handle_status(output, status, moment(now));
            }
            (Job::ClearFlags { .. }, Outcome::Cleared(answer)) => log_failure(job, answer),
            (
                Job::Prepare { .. }
                | Job::Read { .. }
                | Job::Lease { .. }
                | Job::Status { .. }
                | Job::ClearFlags { .. },
                Outcome::Prepared(_)
                | Outcome::Later { .. }
                | Outcome::Readings(_)
                | Outcome::Lease(_)
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
            Command::WriteLease { output, seconds } => Effect::Job(Job::Lease {
                zone: self.place_of(output)?,
                seconds,
            }),
            Command::ReadStatus { output } => Effect::Job(Job::Status {
                zone: self.place_of(output)?,
            }),
            Command::ClearFlags { output } => Effect::Job(Job::ClearFlags {
                zone: self.place_of(output)?,
            }),
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

    /// What all zones share, as people see it.
    #[must_use]
    pub fn site_view(&self, now: FieldTime) -> SiteView {
        self.core.site_view(moment(now))
    }

    /// A reading of good quality of something that rules or interlocks look at.
    pub fn handle_reading(&mut self, input: InputIndex, value: f64, now: FieldTime) {
        self.core.handle_reading(input, value, moment(now));
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

    fn place_of(&self, output: Output) -> Option<usize> {
        match output {
            Output::Zone(zone) => Some(zone.0),
            Output::MasterValve | Output::Pump | Output::Dosing => None,
        }
    }

    fn note_pulses(&mut self, zone: usize, status: Option<OutputStatus>) {
        if let (Some(meter), Some(status)) = (self.meters.get_mut(zone), status) {
            meter.latest = status.pulses.or(meter.latest);
            if meter.at_start.is_none() {
                meter.at_start = meter.latest;
            }
        }
    }

    fn event(&mut self, event: furrow_irrigation::Event) -> Effect {
        let zone = event.zone;
        let mut refused = None;
        let what = match event.kind {
            Watered::RunStarted {
                run,
                cause,
                rule,
                planned_ms,
                planned_ml,
            } => {
                if let Some(meter) = zone.and_then(|zone| self.meters.get_mut(zone.0)) {
                    meter.at_start = meter.latest;
                }
                EventKind::RunStarted {
                    run,
                    cause: cause_of(cause),
                    rule,
                    planned_ms,
                    planned_millilitres: planned_ml,
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
                    text: interlock_text(reason).to_owned(),
                }
            }
            Watered::NotStarted { cause, refusal } => {
                refused = Some(refusal.to_string());
                EventKind::Decision(Box::new(refusal_of(cause, &refusal)))
            }
            Watered::LockedOut { text } => EventKind::Lockout { text },
            Watered::Recovered => match zone.and_then(|zone| self.controller_of(zone)) {
                Some(device) => EventKind::DeviceRecovered { device },
                None => EventKind::Alarm {
                    text: "a controller that is not configured follows again".into(),
                },
            },
            Watered::Reset { by } => EventKind::Reset {
                by: origin_name(by).to_owned(),
            },
            Watered::Held { by, hold_ms } => EventKind::Held {
                by: origin_name(by).to_owned(),
                hold_ms,
            },
            Watered::Alarm { text } => EventKind::Alarm { text },
            Watered::FlowLearnt {
                millilitres_per_hour,
            } => EventKind::FlowLearnt {
                millilitres_per_hour,
            },
            Watered::Decided(decision) => EventKind::Decision(Box::new(decision_of(decision))),
        };
        let zones = self.settings.zones();
        let id = zone
            .and_then(|zone| zones.get(zone.0))
            .map(|zone| zone.id.clone());
        let event = Event {
            at_mono_ms: event.at_mono_ms,
            zone: id,
            planting: None,
            what,
        };
        match (zone, refused) {
            (Some(zone), Some(reason)) => Effect::Refused(zone, reason, event),
            (_, _) => Effect::Event(event),
        }
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
        Cause::Rule => RunCause::Rule,
        Cause::Command => RunCause::Command,
    }
}

fn end_of(reason: EndReason) -> wire::EndReason {
    match reason {
        EndReason::Completed => wire::EndReason::Completed,
        EndReason::Stopped => wire::EndReason::Stopped,
        EndReason::Fault => wire::EndReason::Fault,
        EndReason::Interrupted => wire::EndReason::Interrupted,
        EndReason::LeaseLost => wire::EndReason::LeaseLost,
        EndReason::Interlock(Interlock::Litres) => wire::EndReason::Budget,
        EndReason::Interlock(_) => wire::EndReason::Interlock,
    }
}

fn interlock_text(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Interlock(interlock) => interlock.text(),
        EndReason::Completed
        | EndReason::Stopped
        | EndReason::Fault
        | EndReason::Interrupted
        | EndReason::LeaseLost => "",
    }
}

/// From where somebody asked, as events and people have it.
#[must_use]
pub fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Button => "button",
        Origin::Page => "page",
        Origin::Tool => "tool",
        Origin::Cloud => "cloud",
    }
}

/// A wish that no rule had, and that is not done.
fn refusal_of(cause: Cause, refusal: &Refusal) -> wire::Decision {
    let rule = match cause {
        Cause::Schedule => "(schedule)",
        Cause::Manual => "(manual)",
        Cause::Rule => "(rule)",
        Cause::Command => "(command)",
    };
    wire::Decision {
        rule: rule.to_owned(),
        verdict: "water".to_owned(),
        refusal: refusal.to_string(),
        input: String::new(),
        value: None,
        age_ms: None,
        sum: wire::Exact(0.0),
        is_thirsty: false,
        minute: None,
        since_run_ms: None,
        wanted_ms: None,
        wanted_millilitres: None,
    }
}

fn decision_of(decision: Decision) -> wire::Decision {
    let Decision {
        rule,
        input,
        seen,
        verdict,
        refusal,
    } = decision;
    let (value, age_ms) = match seen.known {
        Known::Fresh { value, age_ms } => (Some(wire::Exact(value)), Some(age_ms)),
        Known::Stale { age_ms } => (None, Some(age_ms)),
        Known::Never => (None, None),
    };
    let wanted = verdict.amount();
    wire::Decision {
        rule,
        verdict: verdict.name().to_owned(),
        refusal: refusal.map_or_else(String::new, |refusal| refusal.to_string()),
        input,
        value,
        age_ms,
        sum: wire::Exact(seen.sum),
        is_thirsty: seen.is_thirsty,
        minute: seen.minute,
        since_run_ms: seen.since_run_ms,
        wanted_ms: wanted.map(|amount| amount.run_ms),
        wanted_millilitres: wanted.and_then(|amount| amount.millilitres),
    }
}

fn log_failure<T>(job: Job, answer: &Result<T, furrow_drivers::SensorError>) {
    if let Err(error) = answer {
        tracing::warn!(?job, %error, cause = %error.cause, "a controller does not answer");
    }
}
