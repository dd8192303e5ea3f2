//! The event loop's part in alarms: samples and faults go in, lines and events come out.

use anyhow::Context as _;
use furrow_gateway_core::FieldMs;
use furrow_gateway_core::alarm::{Alarms, Change, Effect, Fault, Sound, Source, View};
use furrow_irrigation::{FOLLOWS_AGAIN, Interlock, Origin, Trouble};
use furrow_wire::{
    AlarmRaised, AlarmResolved, AlarmSilenced, Decimal, Event, EventKind, Quality, Sample,
};
use serde_json::{Value, json};

use super::gateway::Gateway;
use super::horn::Horns;
use super::told::origin_name;
use crate::bus::{Busy, Field, FieldTime};
use crate::config::{AlarmRule, Settings};

/// See the module.
#[derive(Debug)]
pub struct Alarming {
    core: Alarms,
    horns: Horns,
}

impl Alarming {
    /// Nothing is raised; the lines are switched off at the first turn.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(settings: &Settings, field: &Field, now: FieldMs) -> anyhow::Result<Self> {
        let plan = settings.alarms().plan(settings.journal().commit_interval);
        Ok(Self {
            core: Alarms::new(plan, now),
            horns: Horns::start(settings, field).context("start the thread of the siren")?,
        })
    }

    /// When there is something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.core.poll_timeout().map(|at| at.0)
    }

    /// The watering told something. Faults that stay are looked at by themselves: this is for what
    /// is told once.
    pub fn handle_event(&mut self, zone: Option<usize>, what: &EventKind, now: FieldTime) {
        if let Some(fault) = fault_told(what) {
            self.core.handle_told(fault, zone, FieldMs(now.mono_ms()));
        }
    }

    /// Everything off: the process ends.
    pub fn stop(self, busy: impl FnOnce() -> Busy) {
        self.horns.stop(busy);
    }
}

impl Gateway {
    /// Takes new samples and faults to the alarms and does what they decide.
    pub(super) fn watch_alarms(&mut self, now: FieldTime) {
        let at = FieldMs(now.mono_ms());
        while let Some((channel, tick, sample)) = self.sampling.poll_watched() {
            let good = good_value(&self.settings, channel, sample);
            let alarms = &mut self.alarming.core;
            alarms.handle_sample(channel, tick, good, at);
        }
        let faults = self.watering.faults(now);
        let faults = faults.into_iter().filter_map(|(zone, trouble)| {
            let fault = fault_of(trouble)?;
            Some((fault, zone.map(|zone| zone.0)))
        });
        let faults: Vec<_> = faults.collect();
        self.alarming.core.handle_faults(&faults, at);
        if self
            .alarming
            .core
            .poll_timeout()
            .is_some_and(|due| due <= at)
        {
            self.alarming.core.handle_timeout(at);
        }
        self.execute_alarms(None);
    }

    /// A person silences what sounds. Answers how many alarms that were.
    pub(super) fn silence(&mut self, for_ms: u64, by: Origin) -> usize {
        let silenced = self.alarming.core.handle_silence(for_ms, self.field_ms());
        self.execute_alarms(Some(by));
        silenced
    }

    fn execute_alarms(&mut self, by: Option<Origin>) {
        while let Some(effect) = self.alarming.core.poll_effect() {
            match effect {
                Effect::Output(output) => {
                    let (siren, beacon) = (output.siren, output.beacon);
                    tracing::info!(siren, beacon, "siren and beacon");
                    self.alarming.horns.want(output);
                }
                Effect::Event(event) => {
                    let event = told(&self.settings, event, by);
                    tracing::warn!(zone = ?event.zone, what = ?event.what, "alarm");
                    self.remember(&event);
                    self.journal_event(event);
                }
            }
        }
        let field = &self.field;
        self.alarming.horns.send(|| field.busy());
    }

    /// Alarms, siren and beacon at a glance. Without a line they are null.
    pub(super) fn alarm_report(&self, now: FieldTime) -> Value {
        let settings = self.settings.alarms();
        let output = self.alarming.core.output();
        let raised = self.alarming.core.raised();
        let raised: Vec<Value> = raised
            .map(|view| raised_json(&self.settings, view, now))
            .collect();
        json!({
            "siren": settings.siren.map(|_| output.siren),
            "beacon": settings.beacon.map(|_| output.beacon),
            "sounds": output.siren,
            "ignored_samples": self.alarming.core.ignored_samples(),
            "raised": raised,
        })
    }
}

fn raised_json(settings: &Settings, view: View, now: FieldTime) -> Value {
    let left_ms = |until: FieldMs| until.since(FieldMs(now.mono_ms()));
    let (sound, left_ms) = match view.sound {
        Sound::Sounding { until } => ("sounding", Some(left_ms(until))),
        Sound::Silenced { until } => ("silenced", Some(left_ms(until))),
        Sound::Quiet => ("quiet", None),
    };
    let (id, name, name_en) = names(settings, view.source);
    json!({
        "id": id,
        "name": name,
        "name_en": name_en,
        "zone": zone_of(settings, view.source),
        "severity": view.severity.as_str(),
        "value": view.value,
        "since_ms": now.mono_ms().saturating_sub(view.since.0),
        "sound": sound,
        "left_ms": left_ms,
    })
}

/// An alarm's change as it is journalled.
fn told(
    settings: &Settings,
    event: furrow_gateway_core::alarm::Event,
    by: Option<Origin>,
) -> Event {
    let (id, name, name_en) = names(settings, event.source);
    let alarm = id.to_owned();
    let what = match event.change {
        Change::Raised { severity, value } => {
            let mut text = name.to_owned();
            if name_en != name {
                text = format!("{text} / {name_en}");
            }
            if let Source::Rule(place) = event.source
                && let Some(rule) = settings.alarms().rules.get(place)
            {
                let seen = value.map_or_else(String::new, |value| seen(rule, value));
                text = format!("{text}: {}{seen}", rule.condition());
            }
            EventKind::AlarmRaised(AlarmRaised {
                alarm,
                severity: severity.as_str().to_owned(),
                text,
            })
        }
        Change::Silenced { for_ms } => EventKind::AlarmSilenced(AlarmSilenced {
            alarm,
            by: by.map_or("", origin_name).to_owned(),
            silence_ms: for_ms,
        }),
        Change::Resolved => EventKind::AlarmResolved(AlarmResolved { alarm }),
    };
    Event {
        at_mono_ms: event.at.0,
        zone: zone_of(settings, event.source).cloned(),
        planting: None,
        what,
    }
}

fn seen(rule: &AlarmRule, value: f64) -> String {
    let decimals = usize::from(rule.exponent.min(0).unsigned_abs());
    format!(", is {value:.decimals$}")
}

/// Id, name, and English name.
fn names(settings: &Settings, source: Source) -> (&str, &str, &str) {
    match source {
        Source::Rule(place) => {
            let rule = settings.alarms().rules.get(place);
            rule.map_or(("?", "?", "?"), |rule| {
                (&rule.id, &rule.name, &rule.name_en)
            })
        }
        Source::Fault { fault, .. } => {
            let (vi, en) = fault.texts();
            (fault.name(), vi, en)
        }
    }
}

fn zone_of(settings: &Settings, source: Source) -> Option<&furrow_wire::ZoneId> {
    match source {
        Source::Rule(_) | Source::Fault { zone: None, .. } => None,
        Source::Fault {
            zone: Some(zone), ..
        } => settings.zones().get(zone).map(|zone| &zone.id),
    }
}

/// Only a good sample has a value here.
fn good_value(settings: &Settings, channel: usize, sample: Sample) -> Option<f64> {
    let mantissa = sample
        .mantissa
        .filter(|_| sample.quality == Quality::Good)?;
    let rules = settings.alarms().rules.iter();
    let exponent = rules
        .filter(|rule| rule.channel == channel)
        .map(|rule| rule.exponent)
        .next()?;
    Some(Decimal { mantissa, exponent }.to_f64())
}

/// What an event tells of once, without ever telling that it is over.
fn fault_told(what: &EventKind) -> Option<Fault> {
    match what {
        EventKind::Alarm { text } => (!text.ends_with(FOLLOWS_AGAIN)).then_some(Fault::Watched),
        EventKind::RunEnded { text, .. } => {
            (text == Interlock::PressureLow.text()).then_some(Fault::PressureLow)
        }
        EventKind::RunStarted { .. }
        | EventKind::GatewayStarted { .. }
        | EventKind::DeviceFault { .. }
        | EventKind::DeviceRecovered { .. }
        | EventKind::Lockout { .. }
        | EventKind::Calibrated { .. }
        | EventKind::Decision(_)
        | EventKind::FlowLearnt { .. }
        | EventKind::Held { .. }
        | EventKind::Reset { .. }
        | EventKind::Ordered { .. }
        | EventKind::AlarmRaised(_)
        | EventKind::AlarmSilenced(_)
        | EventKind::AlarmResolved(_) => None,
    }
}

/// A day's water that is used up is no fault.
fn fault_of(trouble: Trouble) -> Option<Fault> {
    match trouble {
        Trouble::Valve => Some(Fault::Valve),
        Trouble::Interlock(interlock) => match interlock {
            Interlock::TankLow => Some(Fault::TankLow),
            Interlock::TankEmpty => Some(Fault::TankEmpty),
            Interlock::TankUnknown => Some(Fault::TankUnknown),
            Interlock::PressureLow => Some(Fault::PressureLow),
            Interlock::NoFlow => Some(Fault::NoFlow),
            Interlock::Burst => Some(Fault::Burst),
            Interlock::Leak => Some(Fault::Leak),
            Interlock::Supply => Some(Fault::Supply),
            Interlock::Litres => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use furrow_irrigation::Output;
    use furrow_wire::{EndReason, RunCause};

    use super::*;

    #[test]
    fn what_is_told_once_is_a_fault_and_its_end_is_none() {
        let alarm = |text: String| EventKind::Alarm { text };
        let ended = |interlock: Interlock| EventKind::RunEnded {
            run: 1,
            cause: RunCause::Schedule,
            started_mono_ms: 0,
            open_ms: 1,
            millilitres: None,
            end: EndReason::Interlock,
            text: interlock.text().to_owned(),
        };
        let table = [
            (alarm("EC is too high".into()), Some(Fault::Watched)),
            (
                alarm(format!("{}{FOLLOWS_AGAIN}", Output::Pump.text())),
                None,
            ),
            (ended(Interlock::PressureLow), Some(Fault::PressureLow)),
            (ended(Interlock::TankEmpty), None),
            (EventKind::Reset { by: "page".into() }, None),
        ];
        for (what, expected) in table {
            assert_eq!(fault_told(&what), expected, "{what:?}");
        }
    }
}
