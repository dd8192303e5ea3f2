//! Watering runs, faults and starts as rows and as JSON.

use furrow_wire::{
    Decision, DeviceId, EndReason, Event, EventKind, GatewayId, GreenhouseId, RecordName, RunCause,
};
use rusqlite::{Connection, params};
use serde_json::json;

use super::StoreError;

/// An event as it lies in its table and as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventRow {
    /// When, in Unix milliseconds.
    pub time_ms: i64,
    /// `run_started`, `run_ended`, `gateway_started`, `device_fault`, `device_recovered`, `lockout`,
    /// `calibrated`, `decision`, `alarm`, `flow_learnt`, `held`, `reset`, `ordered`, `alarm_raised`,
    /// `alarm_silenced` or `alarm_resolved`.
    pub kind: String,
    /// Where, if it concerns one zone.
    pub zone: Option<String>,
    /// What grew there.
    pub planting: Option<String>,
    /// Which device, for faults.
    pub device: Option<String>,
    /// Number of the run.
    pub run: Option<i64>,
    /// Why the run began; the id of a gateway's alarm.
    pub cause: Option<String>,
    /// How long the valve was, or is to be, open, in milliseconds.
    pub open_ms: Option<i64>,
    /// Water counted, in millilitres.
    pub millilitres: Option<i64>,
    /// Why the run ended; how severe a gateway's alarm is, or from where it was silenced.
    pub reason: Option<String>,
    /// For people.
    pub text: Option<String>,
}

impl EventRow {
    pub(super) fn of(event: &Event, time_ms: i64) -> Self {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let row = EventRow {
            time_ms,
            zone: event.zone.as_ref().map(ToString::to_string),
            planting: event.planting.as_ref().map(ToString::to_string),
            ..EventRow::default()
        };
        match &event.what {
            EventKind::RunStarted {
                run,
                cause,
                rule,
                planned_ms,
                planned_millilitres: _,
            } => EventRow {
                kind: "run_started".to_owned(),
                run: Some(run.cast_signed()),
                cause: Some(cause_text(*cause).to_owned()),
                open_ms: Some(signed(*planned_ms)),
                text: rule.clone(),
                ..row
            },
            EventKind::RunEnded {
                run,
                cause,
                started_mono_ms: _,
                open_ms,
                millilitres,
                end,
                text,
            } => EventRow {
                kind: "run_ended".to_owned(),
                run: Some(run.cast_signed()),
                cause: Some(cause_text(*cause).to_owned()),
                open_ms: Some(signed(*open_ms)),
                millilitres: millilitres.map(signed),
                reason: Some(end_text(*end).to_owned()),
                text: Some(text.clone()).filter(|text| !text.is_empty()),
                ..row
            },
            EventKind::GatewayStarted {
                software,
                clean_stop_before,
            } => EventRow {
                kind: "gateway_started".to_owned(),
                reason: Some(
                    if *clean_stop_before {
                        "clean"
                    } else {
                        "unclean"
                    }
                    .to_owned(),
                ),
                text: Some(software.clone()),
                ..row
            },
            EventKind::DeviceFault { .. }
            | EventKind::DeviceRecovered { .. }
            | EventKind::Lockout { .. }
            | EventKind::Calibrated { .. }
            | EventKind::Decision(_)
            | EventKind::Alarm { .. }
            | EventKind::FlowLearnt { .. }
            | EventKind::Held { .. }
            | EventKind::Reset { .. }
            | EventKind::Ordered { .. }
            | EventKind::AlarmRaised(_)
            | EventKind::AlarmSilenced(_)
            | EventKind::AlarmResolved(_) => row.told_of(&event.what),
        }
    }

    /// Faults, and what rules decided.
    fn told_of(self, what: &EventKind) -> Self {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        match what {
            EventKind::DeviceFault { device, text } => {
                self.told("device_fault", Some(device), Some(text))
            }
            EventKind::DeviceRecovered { device } => {
                self.told("device_recovered", Some(device), None)
            }
            EventKind::Lockout { text } => self.told("lockout", None, Some(text)),
            EventKind::Calibrated {
                device,
                channel,
                version,
                text,
            } => EventRow {
                reason: Some(format!("{channel} version {version}")),
                ..self.told("calibrated", Some(device), Some(text))
            },
            EventKind::Decision(decision) => EventRow {
                open_ms: decision.wanted_ms.map(signed),
                millilitres: decision.wanted_millilitres.map(signed),
                cause: Some(decision.rule.clone()),
                reason: Some(decision.verdict.clone()),
                ..self.told("decision", None, Some(&seen_text(decision)))
            },
            EventKind::Alarm { text } => self.told("alarm", None, Some(text)),
            EventKind::FlowLearnt {
                millilitres_per_hour,
            } => EventRow {
                millilitres: Some(signed(*millilitres_per_hour)),
                ..self.told("flow_learnt", None, None)
            },
            EventKind::Held { by, hold_ms } => EventRow {
                cause: Some(by.clone()),
                open_ms: hold_ms.map(signed),
                ..self.told("held", None, None)
            },
            EventKind::Reset { by } => EventRow {
                cause: Some(by.clone()),
                ..self.told("reset", None, None)
            },
            EventKind::Ordered {
                version,
                outcome,
                by,
                text,
            } => EventRow {
                run: Some(signed(*version)),
                cause: Some(by.clone()),
                reason: Some(outcome.as_str().to_owned()),
                ..self.told("ordered", None, Some(text).filter(|text| !text.is_empty()))
            },
            EventKind::AlarmRaised(alarm) => EventRow {
                reason: Some(alarm.severity.clone()),
                ..self.told_alarm("alarm_raised", &alarm.alarm, Some(&alarm.text))
            },
            EventKind::AlarmSilenced(alarm) => EventRow {
                reason: Some(alarm.by.clone()),
                open_ms: Some(signed(alarm.silence_ms)),
                ..self.told_alarm("alarm_silenced", &alarm.alarm, None)
            },
            EventKind::AlarmResolved(alarm) => {
                self.told_alarm("alarm_resolved", &alarm.alarm, None)
            }
            EventKind::RunStarted { .. }
            | EventKind::RunEnded { .. }
            | EventKind::GatewayStarted { .. } => self,
        }
    }

    fn told(self, kind: &str, device: Option<&DeviceId>, text: Option<&String>) -> Self {
        EventRow {
            kind: kind.to_owned(),
            device: device.map(ToString::to_string),
            text: text.cloned(),
            ..self
        }
    }

    fn told_alarm(self, kind: &str, alarm: &str, text: Option<&String>) -> Self {
        EventRow {
            cause: Some(alarm.to_owned()),
            ..self.told(kind, None, text)
        }
    }

    /// Whether it was new.
    pub(super) fn insert(
        &self,
        db: &Connection,
        gateway: &GatewayId,
        greenhouse: &GreenhouseId,
        record: RecordName,
        n: u32,
    ) -> Result<bool, StoreError> {
        let inserted = db
            .prepare_cached(
                "INSERT OR IGNORE INTO event (stream, seq, n, greenhouse, gateway, time_ms, kind,
                     zone, planting, device, run, cause, open_ms, millilitres, reason, text)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?
            .execute(params![
                record.stream.0.cast_signed(),
                record.seq.0.cast_signed(),
                n,
                greenhouse.as_str(),
                gateway.as_str(),
                self.time_ms,
                self.kind,
                self.zone,
                self.planting,
                self.device,
                self.run,
                self.cause,
                self.open_ms,
                self.millilitres,
                self.reason,
                self.text
            ])?;
        Ok(inserted > 0)
    }

    /// As the API shows it.
    #[must_use]
    pub fn json(&self, greenhouse: &GreenhouseId) -> serde_json::Value {
        #[expect(clippy::cast_precision_loss, reason = "2^53 millilitres are a lake")]
        let litres = self
            .millilitres
            .map(|millilitres| millilitres as f64 / 1000.0);
        json!({
            "greenhouse": greenhouse,
            "time_ms": self.time_ms,
            "kind": self.kind,
            "zone": self.zone,
            "planting": self.planting,
            "device": self.device,
            "run": self.run,
            "cause": self.cause,
            "open_ms": self.open_ms,
            "litres": litres,
            "reason": self.reason,
            "text": self.text,
        })
    }
}

/// What a decision looked at, and what forbids it.
fn seen_text(decision: &Decision) -> String {
    let value = match (decision.value, decision.age_ms) {
        (Some(value), _) => format!("{} {}", decision.input, value.0),
        (None, Some(age_ms)) => format!("{} unknown for {} s", decision.input, age_ms / 1_000),
        (None, None) => format!("{} unknown", decision.input),
    };
    if decision.refusal.is_empty() {
        value
    } else {
        format!("{value}; {}", decision.refusal)
    }
}

fn cause_text(cause: RunCause) -> &'static str {
    match cause {
        RunCause::Schedule => "schedule",
        RunCause::Manual => "manual",
        RunCause::Rule => "rule",
        RunCause::Command => "command",
    }
}

fn end_text(end: EndReason) -> &'static str {
    match end {
        EndReason::Completed => "completed",
        EndReason::Stopped => "stopped",
        EndReason::Fault => "fault",
        EndReason::Interrupted => "interrupted",
        EndReason::LeaseLost => "lease_lost",
        EndReason::Budget => "budget",
        EndReason::Interlock => "interlock",
    }
}
