//! `explain` and `replay`: why the gateway did or did not water, from its journal.

use std::path::Path;
use std::process::ExitCode;

use furrow_irrigation::{Known, Rule, Seen, evaluate};
use furrow_wire::{BootId, Decision, Event, EventKind, Events, OrdersOutcome, RecordKind};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use super::journal::{Error, each_record, reader};
use super::{EXIT_FAILURE, load, load_local, print};
use crate::config::{Settings, parse_duration};
use crate::orders;

/// Tell why zones were watered or not: decisions, runs, faults, holds
///
/// Reads the journal's files, beside a running gateway, too. A rule's decision is kept when it is
/// another than the one before. What was acknowledged and whose space was used again is not here
/// any more, but in the archive.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway explain\n  \
    furrow-gateway explain --zone zone-3 --since yesterday\n  \
    furrow-gateway explain --since 6h --json")]
pub struct Explain {
    /// Only this zone: its id, or its number in the configuration
    #[arg(long)]
    zone: Option<String>,
    /// From when: today, yesterday, a time back such as 6h, or a local date such as 2026-11-22
    #[arg(long, default_value = "today")]
    since: Since,
    /// Print each event as JSON, one a line
    #[arg(long)]
    json: bool,
}

/// Decide again what the rules decided, from what they saw, and compare
///
/// Takes every decision of the journal whose rule is still in force, by the local file or by orders. Exit code 1 when one comes
/// out otherwise: the rule was changed since, or this program decides differently.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  furrow-gateway replay\n  furrow-gateway replay --since 2026-11-01"
)]
pub struct Replay {
    /// From when: today, yesterday, a time back such as 6h, or a local date such as 2026-11-22
    #[arg(long, default_value = "2000-01-01")]
    since: Since,
}

/// A moment in the past, as people say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Today,
    Yesterday,
    Back(std::time::Duration),
    Date(Date),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "today" => return Ok(Since::Today),
            "yesterday" => return Ok(Since::Yesterday),
            _ => {}
        }
        if let Ok(date) = text.parse::<Date>() {
            return Ok(Since::Date(date));
        }
        parse_duration(text).map(Since::Back).map_err(|_| {
            "write today, yesterday, a time back such as 6h, or a date such as 2026-11-22".into()
        })
    }
}

impl Since {
    fn moment(self, now: Timestamp, zone: &TimeZone) -> Timestamp {
        let midnight = |date: Date| {
            let local = date.to_zoned(zone.clone());
            local.map_or(Timestamp::MIN, |local| local.timestamp())
        };
        let today = zone.to_datetime(now).date();
        match self {
            Since::Today => midnight(today),
            Since::Yesterday => midnight(today.checked_sub(1.day()).unwrap_or(today)),
            Since::Back(back) => now.checked_sub(back).unwrap_or(Timestamp::MIN),
            Since::Date(date) => midnight(date),
        }
    }
}

impl Explain {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let zone = match self.zone.as_deref().map(|zone| zone_id(&settings, zone)) {
            None => None,
            Some(Some(id)) => Some(id),
            Some(None) => {
                let ids: Vec<_> = settings.zones().iter().map(|z| z.id.as_str()).collect();
                let zone = self.zone.as_deref().unwrap_or_default();
                print::error(&std::io::Error::other(format!(
                    "there is no zone {zone:?}; the zones are {}",
                    ids.join(", ")
                )));
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        let time_zone = &settings.gateway().time_zone;
        let from = self.since.moment(Timestamp::now(), time_zone);
        let mut shown = 0_usize;
        let done = each_event(&settings, |when, event| {
            let is_its = zone.is_none() || event.zone.as_ref().map(ToString::to_string) == zone;
            if !is_its || when.wall.is_some_and(|wall| wall < from) {
                return;
            }
            let line = if self.json {
                serde_json::to_string(event).ok()
            } else {
                text(&event.what).map(|text| {
                    let zone = event.zone.as_ref().map_or("all", |zone| zone.as_str());
                    format!("{}  {zone:<10} {text}", when.text(time_zone))
                })
            };
            if let Some(line) = line {
                shown += 1;
                print::line(line);
            }
        });
        finish(done.map(|()| {
            if shown == 0 && !self.json {
                print::line("nothing was decided or watered in this time");
            }
            true
        }))
    }
}

impl Replay {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let (local, own) = match load_local(config) {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        let settings = match orders::settings_in_force(&local, own) {
            Ok(settings) => settings,
            Err(error) => {
                print::error(&error);
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        let time_zone = &settings.gateway().time_zone;
        let from = self.since.moment(Timestamp::now(), time_zone);
        let (mut same, mut other, mut unknown) = (0_usize, 0_usize, 0_usize);
        let done = each_event(&settings, |when, event| {
            let EventKind::Decision(decision) = &event.what else {
                return;
            };
            // What no rule wanted has nothing to decide again.
            if decision.rule.starts_with('(') || when.wall.is_some_and(|wall| wall < from) {
                return;
            }
            match again(&settings, event, decision) {
                None => unknown += 1,
                Some(true) => same += 1,
                Some(false) => {
                    other += 1;
                    let at = when.text(time_zone);
                    print::line(format!("{at}  {} is decided otherwise now", decision.rule));
                }
            }
        });
        finish(done.map(|()| {
            print::line(format!(
                "{same} decisions come out the same, {other} otherwise; of {unknown} the rule is \
                 not configured any more"
            ));
            other == 0
        }))
    }
}

fn finish(done: Result<bool, Error>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILURE),
        Err(error) => {
            print::error(&error);
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Decides again. `None` without the rule.
fn again(settings: &Settings, event: &Event, decision: &Decision) -> Option<bool> {
    let zones = settings.zones();
    let zone = zones
        .iter()
        .find(|zone| Some(&zone.id) == event.zone.as_ref())?;
    let rules = &zone.plan.options().rules;
    let rule = rules.iter().find(|rule| rule.name == decision.rule)?;
    Some(is_same(rule, decision))
}

fn is_same(rule: &Rule, decision: &Decision) -> bool {
    let known = match (decision.value, decision.age_ms) {
        (Some(value), age_ms) => Known::Fresh {
            value: value.0,
            age_ms: age_ms.unwrap_or(0),
        },
        (None, Some(age_ms)) => Known::Stale { age_ms },
        (None, None) => Known::Never,
    };
    let seen = Seen {
        known,
        sum: decision.sum.0,
        is_thirsty: decision.is_thirsty,
        minute: decision.minute,
        since_run_ms: decision.since_run_ms,
    };
    let verdict = evaluate(rule, &seen);
    let wanted = verdict.amount();
    verdict.name() == decision.verdict
        && wanted.map(|amount| amount.run_ms) == decision.wanted_ms
        && wanted.and_then(|amount| amount.millilitres) == decision.wanted_millilitres
}

fn zone_id(settings: &Settings, text: &str) -> Option<String> {
    let zones = settings.zones();
    let by_id = zones.iter().find(|zone| zone.id.as_str() == text);
    let by_number = || {
        let number: usize = text.parse().ok()?;
        zones.get(number.checked_sub(1)?)
    };
    by_id.or_else(by_number).map(|zone| zone.id.to_string())
}

/// When something happened, as well as it is known.
struct When {
    wall: Option<Timestamp>,
    boot: BootId,
    mono_ms: u64,
}

impl When {
    fn text(&self, zone: &TimeZone) -> String {
        match self.wall {
            Some(wall) => zone
                .to_datetime(wall)
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string(),
            None => format!("boot {} +{} s", self.boot, self.mono_ms / 1_000),
        }
    }
}

/// Every event of the journal, in its order.
fn each_event(settings: &Settings, mut act: impl FnMut(&When, &Event)) -> Result<(), Error> {
    each_record(&reader(settings)?, |stored| {
        let record = stored.record;
        if RecordKind::from_code(record.kind) != Some(RecordKind::Events) {
            return;
        }
        let Ok(events) = Events::decode(record.body) else {
            return;
        };
        for event in &events.events {
            let unix_ms = events
                .wall_offset_ms
                .map(|offset| event.at_mono_ms.cast_signed().saturating_add(offset));
            let when = When {
                wall: unix_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
                boot: events.boot,
                mono_ms: event.at_mono_ms,
            };
            act(&when, event);
        }
    })
}

/// For people; `None` for what has nothing to do with water.
fn text(what: &EventKind) -> Option<String> {
    let litres = |ml: &u64| format!("{}.{} l", ml / 1_000, ml % 1_000 / 100);
    Some(match what {
        EventKind::RunStarted {
            cause,
            rule,
            planned_ms,
            planned_millilitres,
            ..
        } => {
            let who = rule
                .clone()
                .unwrap_or_else(|| format!("{cause:?}").to_lowercase());
            let volume = planned_millilitres.as_ref().map(litres);
            let volume = volume.map_or(String::new(), |volume| format!(" or {volume}"));
            format!(
                "watering begins, by {who}, for {} s{volume}",
                planned_ms / 1_000
            )
        }
        EventKind::RunEnded {
            open_ms,
            millilitres,
            end,
            text,
            ..
        } => {
            let volume = millilitres.as_ref().map_or("unknown water".into(), litres);
            let why = if text.is_empty() {
                format!("{end:?}").to_lowercase()
            } else {
                text.clone()
            };
            format!(
                "watering ended after {} s, {volume}: {why}",
                open_ms / 1_000
            )
        }
        EventKind::Decision(decision) => decision_text(decision),
        EventKind::Lockout { text } => format!("locked: {text}"),
        EventKind::Alarm { text } => format!("alarm: {text}"),
        EventKind::FlowLearnt {
            millilitres_per_hour,
        } => format!("learnt its flow: {} an hour", litres(millilitres_per_hour)),
        EventKind::Held {
            by,
            hold_ms: Some(ms),
        } => format!("no water for {} min, by {by}", ms / 60_000),
        EventKind::Held { by, hold_ms: None } => format!("water may flow again, by {by}"),
        EventKind::Reset { by } => format!("faults were looked at, by {by}"),
        EventKind::Ordered {
            version,
            outcome,
            by,
            text,
        } => orders_text(*version, *outcome, by, text),
        EventKind::AlarmRaised(alarm) => format!("{} alarm: {}", alarm.severity, alarm.text),
        EventKind::AlarmSilenced(alarm) => format!(
            "alarm {} silenced for {} min, by {}",
            alarm.alarm,
            alarm.silence_ms / 60_000,
            alarm.by
        ),
        EventKind::AlarmResolved(alarm) => format!("alarm {} is over", alarm.alarm),
        EventKind::GatewayStarted { .. }
        | EventKind::DeviceFault { .. }
        | EventKind::DeviceRecovered { .. }
        | EventKind::Calibrated { .. } => return None,
    })
}

fn orders_text(version: u64, outcome: OrdersOutcome, by: &str, text: &str) -> String {
    let what = match outcome {
        OrdersOutcome::Refused => "were refused",
        OrdersOutcome::OnTrial => "hold on trial",
        OrdersOutcome::Confirmed => "hold",
        OrdersOutcome::RolledBack => "were rolled back",
    };
    let why = if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    };
    format!("orders of version {version}, by {by}, {what}{why}")
}

fn decision_text(decision: &Decision) -> String {
    if decision.rule.starts_with('(') {
        let who = decision.rule.trim_matches(['(', ')']);
        return format!("not watered, though wanted by {who}: {}", decision.refusal);
    }
    let input = match (decision.value, decision.age_ms) {
        (Some(value), Some(age)) => {
            format!(
                "{} was {} {} s before",
                decision.input,
                value.0,
                age / 1_000
            )
        }
        (Some(value), None) => format!("{} was {}", decision.input, value.0),
        (None, Some(age)) => format!("{} was unknown for {} s", decision.input, age / 1_000),
        (None, None) => format!("{} was never read", decision.input),
    };
    let sum = if decision.sum.0 > 0.0 {
        format!(", summed up {:.2}", decision.sum.0)
    } else {
        String::new()
    };
    let verdict = match decision.verdict.as_str() {
        "water" => "wants water",
        "safe-dose" => "wants its safe dose",
        "enough" => "has enough",
        "outside-window" => "may not at this time of day",
        "clock-unknown" => "does not know the time",
        "input-unknown" => "can't trust its input, and waits",
        other => other,
    };
    let why = if decision.refusal.is_empty() {
        String::new()
    } else {
        format!("; not done: {}", decision.refusal)
    };
    format!("rule {} {verdict} ({input}{sum}){why}", decision.rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use furrow_irrigation::{Amount, Fallback, InputIndex, RuleKind};
    use furrow_wire::Exact;

    fn decision() -> Decision {
        Decision {
            rule: "dry".into(),
            verdict: "water".into(),
            refusal: String::new(),
            input: "probe-1/soil_moisture".into(),
            value: Some(Exact(21.5)),
            age_ms: Some(4_000),
            sum: Exact(0.0),
            is_thirsty: false,
            minute: Some(400),
            since_run_ms: Some(7_200_000),
            wanted_ms: Some(600_000),
            wanted_millilitres: None,
        }
    }

    #[test]
    fn a_decision_is_made_again() {
        let rule = Rule {
            name: "dry".into(),
            amount: Amount::time(600_000),
            window: None,
            fallback: Fallback::Skip,
            kind: RuleKind::Moisture {
                input: InputIndex(0),
                start_below: 22.0,
                stop_above: 30.0,
            },
        };
        assert!(is_same(&rule, &decision()));
        let mut other = decision();
        other.value = Some(Exact(22.0));
        assert!(!is_same(&rule, &other), "it was dry enough only below 22");
        let mut other = decision();
        other.wanted_ms = Some(1);
        assert!(!is_same(&rule, &other));
        let mut unknown = decision();
        (unknown.value, unknown.wanted_ms) = (None, None);
        unknown.verdict = "input-unknown".into();
        assert!(is_same(&rule, &unknown));
    }

    #[test]
    fn decisions_are_told_in_words() {
        assert_eq!(
            decision_text(&decision()),
            "rule dry wants water (probe-1/soil_moisture was 21.5 4 s before)"
        );
        let mut refused = decision();
        refused.refusal = "the tank is empty".into();
        refused.sum = Exact(3.456);
        assert_eq!(
            decision_text(&refused),
            "rule dry wants water (probe-1/soil_moisture was 21.5 4 s before, summed up 3.46); \
             not done: the tank is empty"
        );
        refused.rule = "(schedule)".into();
        assert_eq!(
            decision_text(&refused),
            "not watered, though wanted by schedule: the tank is empty"
        );
    }

    #[test]
    fn since_is_said_as_people_say_it() {
        let zone = TimeZone::get("Asia/Ho_Chi_Minh").unwrap();
        let now: Timestamp = "2026-11-22T09:00:00+07:00".parse().unwrap();
        for (text, expected) in [
            ("today", "2026-11-22T00:00:00+07:00"),
            ("yesterday", "2026-11-21T00:00:00+07:00"),
            ("6h", "2026-11-22T03:00:00+07:00"),
            ("2026-11-01", "2026-11-01T00:00:00+07:00"),
        ] {
            let since: Since = text.parse().unwrap();
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(since.moment(now, &zone), expected, "{text}");
        }
        assert!("last week".parse::<Since>().is_err());
    }
}
