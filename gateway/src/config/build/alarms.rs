//! Siren, beacon and alarms.

use std::collections::BTreeMap;
use std::time::Duration;

use furrow_alerts::{Condition, Rule, Severity};
use furrow_gateway_core::alarm::Fault;
use furrow_wire::DeviceId;

use super::guard::{self, Lines};
use super::looked_at::LookedAt;
use super::section::Section;
use super::zones::millis;
use crate::config::alarm::{AlarmRule, AlarmSettings, HornSettings};
use crate::config::device::{DeviceSettings, Level};
use crate::config::guard::{GuardSettings, OutputAt};
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawAlarm, RawConfig, RawHorn};
use crate::config::settings::BusSettings;

/// Most alarms of a gateway: each is looked at with every sample of its channel.
const ALARMS_MAX: usize = 32;
/// Limits of what can be measured, in any unit.
const VALUES: std::ops::RangeInclusive<f64> = -1e6..=1e6;
/// An alarm sounds so long at once, unless told.
const SOUND: &str = "15min";

/// What lines are taken by others.
pub(super) struct Taken<'a> {
    lines: Lines<'a>,
    guard: Option<&'a GuardSettings>,
}

pub(super) fn alarms(
    raw: &RawConfig,
    taken: &Taken<'_>,
    looked_at: &LookedAt<'_>,
    found: &mut Mistakes,
) -> Option<AlarmSettings> {
    let siren = horn(raw, "siren", raw.siren.as_ref(), taken, found);
    let beacon = horn(raw, "beacon", raw.beacon.as_ref(), taken, found);
    if let (Some(Some(siren)), Some(Some(beacon))) = (&siren, &beacon)
        && siren.line == beacon.line
        && taken.lines.chip(siren.bus) == taken.lines.chip(beacon.bus)
    {
        let problem = format!("GPIO {} is the siren's", beacon.line);
        let mut section = Section::new("beacon", found);
        section.mistake::<()>("line", problem, "use another line");
    }
    let sound = raw.siren.as_ref().and_then(|siren| siren.sound.as_ref());
    let mut section = Section::new("siren", found);
    let sound = section.duration("sound", sound, ("10s", "1h"), Some(SOUND));
    let written = written(&raw.alarm, looked_at, found);
    let (rules, faults) = written?;
    Some(AlarmSettings {
        siren: siren?,
        beacon: beacon?,
        sound: sound?,
        rules,
        faults,
    })
}

/// `None` after a mistake, `Some(None)` where there is none.
fn horn(
    raw: &RawConfig,
    name: &str,
    written: Option<&RawHorn>,
    taken: &Taken<'_>,
    found: &mut Mistakes,
) -> Option<Option<HornSettings>> {
    let Some(written) = written else {
        return Some(None);
    };
    let mut section = Section::new(name, found);
    if name == "siren" {
        section.refuse_unknown(&written.unknown, "bus, line, active, sound");
    } else {
        section.refuse_unknown(&written.unknown, "bus, line, active");
        let why = "means nothing for a beacon: it is on for as long as an alarm is raised";
        section.refuse("sound", written.sound.as_ref(), why);
    }
    let bus = guard::bus(raw, "bus", written.bus.as_ref(), &mut section);
    let line = guard::line(raw, bus, "line", written.line.as_ref(), &mut section);
    let active = match section
        .text_or("active", written.active.as_ref(), "high")?
        .as_str()
    {
        "high" => Some(Level::High),
        "low" => Some(Level::Low),
        other => {
            let problem = format!("{other:?} is no level");
            let remedy =
                format!("write \"low\" or \"high\": the level that switches the {name} on");
            section.mistake("active", problem, remedy)
        }
    };
    let (bus, line) = (bus?, line?);
    if let Some(user) = taken.user(bus, line) {
        section.mistake::<()>("line", user, "use another line");
    }
    Some(Some(HornSettings {
        bus,
        line,
        active: active?,
    }))
}

impl<'a> Taken<'a> {
    pub(super) fn new(
        raw: &'a RawConfig,
        buses: Option<&'a [BusSettings]>,
        devices: Option<&'a [DeviceSettings]>,
        guard: Option<&'a Option<GuardSettings>>,
    ) -> Self {
        let lines = Lines {
            buses: buses.unwrap_or_default(),
            devices: devices.unwrap_or_default(),
            raw,
        };
        let guard = guard.and_then(Option::as_ref);
        Self { lines, guard }
    }

    fn user(&self, bus: usize, line: u8) -> Option<String> {
        let chip = self.lines.chip(bus);
        let of_guard = self.guard.and_then(|guard| {
            let here = |of: usize| self.lines.chip(of) == chip;
            let mut outputs = guard.outputs.iter();
            let output =
                outputs.find(|output| output.at == OutputAt::Line(line) && here(output.bus));
            let feeds = guard.watchdog.as_ref();
            let feeds = feeds.filter(|feeds| feeds.line == line && here(feeds.bus));
            let output = output.map(|output| {
                let number = output.number;
                format!("GPIO {line} is output {number} of the guard, which alone opens its lines")
            });
            let feeds =
                feeds.map(|_| format!("GPIO {line} is the line of the relay supply's watchdog"));
            output.or(feeds)
        });
        of_guard.or_else(|| self.lines.user(bus, line))
    }
}

type Written = (Vec<AlarmRule>, BTreeMap<Fault, Severity>);

fn written(raw: &[RawAlarm], looked_at: &LookedAt<'_>, found: &mut Mistakes) -> Option<Written> {
    if raw.len() > ALARMS_MAX {
        let problem = format!("there are {} alarms", raw.len());
        found.add("alarm", problem, format!("keep at most {ALARMS_MAX}"));
        return None;
    }
    let (mut rules, mut faults): Written = (Vec::new(), BTreeMap::new());
    let mut all_right = true;
    for (index, written) in raw.iter().enumerate() {
        let mut section = Section::new(format!("alarm[{index}]"), found);
        let known = "id, name, name_en, channel, above, below, clear, absent, for, fault, severity";
        section.refuse_unknown(&written.unknown, known);
        if written.fault.is_some() {
            let one = fault(written, &mut section);
            all_right &= one.is_some();
            if let Some((fault, severity)) = one
                && faults.insert(fault, severity).is_some()
            {
                let problem = format!("{:?} is named twice", fault.name());
                section.mistake::<()>("fault", problem, "keep one of them");
            }
            continue;
        }
        let one = rule(written, looked_at, &mut section);
        all_right &= one.is_some();
        if let Some(one) = one {
            if rules.iter().any(|other: &AlarmRule| other.id == one.id) {
                let problem = format!("{:?} names two alarms", one.id);
                section.mistake::<()>("id", problem, "give each alarm its own id");
            }
            rules.push(one);
        }
    }
    all_right.then_some((rules, faults))
}

fn fault(raw: &RawAlarm, section: &mut Section<'_>) -> Option<(Fault, Severity)> {
    let why = "means nothing beside fault: only severity can be said of one";
    for (key, leaf) in [
        ("id", &raw.id),
        ("name", &raw.name),
        ("name_en", &raw.name_en),
        ("channel", &raw.channel),
        ("above", &raw.above),
        ("below", &raw.below),
        ("clear", &raw.clear),
        ("absent", &raw.absent),
        ("for", &raw.lasting),
    ] {
        section.refuse(key, leaf.as_ref(), why);
    }
    let severity = severity(raw, section);
    let name = section.text("fault", raw.fault.as_ref(), "tank-low")?;
    let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
    let Some(fault) = fault else {
        let names = Fault::ALL.map(Fault::name).join(", ");
        let problem = format!("{name:?} is no fault of the watering");
        return section.mistake("fault", problem, format!("write one of {names}"));
    };
    Some((fault, severity?))
}

fn rule(raw: &RawAlarm, looked_at: &LookedAt<'_>, section: &mut Section<'_>) -> Option<AlarmRule> {
    let id: Option<DeviceId> = section.parsed("id", raw.id.as_ref(), "heat");
    let id = id.map(|id| id.to_string());
    if let Some(id) = id.as_ref()
        && Fault::ALL.iter().any(|fault| fault.name() == id)
    {
        let problem = format!("{id:?} is the name of a fault of the watering");
        section.mistake::<()>("id", problem, "choose another id, or write it as fault");
    }
    let name = section.text_or("name", raw.name.as_ref(), id.as_deref().unwrap_or("?"));
    let name_en = section.text_or(
        "name_en",
        raw.name_en.as_ref(),
        name.as_deref().unwrap_or("?"),
    );
    let severity = severity(raw, section);
    let example = "sht-inside/air_temperature";
    let input = raw.channel.as_ref();
    let place = looked_at.place("channel", input, example, section);
    let rule = condition(raw, section);
    let channel = place?;
    Some(AlarmRule {
        id: id?,
        name: name?,
        name_en: name_en?,
        input: section.text("channel", input, example)?,
        channel,
        exponent: looked_at.exponent(channel)?,
        rule: rule?,
        severity: severity?,
    })
}

fn condition(raw: &RawAlarm, section: &mut Section<'_>) -> Option<Rule> {
    let kinds = [&raw.above, &raw.below, &raw.absent];
    let written = kinds.into_iter().filter(|leaf| leaf.is_some()).count();
    if written != 1 {
        let problem = match written {
            0 => "nothing is said to be wrong",
            _ => "more than one thing is said to be wrong",
        };
        let remedy = "write one of above, below and absent; an alarm each";
        return section.mistake("channel", problem, remedy);
    }
    let (condition, for_ms, key) = if let Some(leaf) = raw.absent.as_ref() {
        section.refuse("clear", raw.clear.as_ref(), "means nothing beside absent");
        section.refuse(
            "for",
            raw.lasting.as_ref(),
            "means nothing beside absent: it says how long",
        );
        let range = ("1min", "24h");
        let absent = section.duration("absent", Some(leaf), range, None)?;
        (Condition::Absent, millis(absent), "absent")
    } else {
        let lasting = section.duration("for", raw.lasting.as_ref(), ("0s", "24h"), Some("0s"));
        let lasting = lasting.unwrap_or(Duration::ZERO);
        let mut limits = |key, leaf: Option<&Leaf>| {
            let limit = section.number(key, leaf, &VALUES, "38")?;
            let clear = match raw.clear.as_ref() {
                Some(leaf) => section.number("clear", Some(leaf), &VALUES, "36")?,
                None => limit,
            };
            Some((limit, clear))
        };
        let condition = if raw.above.is_some() {
            let (limit, clear) = limits("above", raw.above.as_ref())?;
            Condition::Above { limit, clear }
        } else {
            let (limit, clear) = limits("below", raw.below.as_ref())?;
            Condition::Below { limit, clear }
        };
        (condition, millis(lasting), "clear")
    };
    match Rule::new(condition, for_ms) {
        Ok(rule) => Some(rule),
        Err(error) => {
            let remedy = "an alarm is over when the value has come back to clear";
            section.mistake(key, error.to_string(), remedy)
        }
    }
}

fn severity(raw: &RawAlarm, section: &mut Section<'_>) -> Option<Severity> {
    match section
        .text_or("severity", raw.severity.as_ref(), "critical")?
        .as_str()
    {
        "critical" => Some(Severity::Critical),
        "warning" => Some(Severity::Warning),
        "info" => Some(Severity::Info),
        other => {
            let problem = format!("{other:?} is no severity");
            let remedy =
                "write critical (siren and beacon), warning (beacon) or info (page and journal)";
            section.mistake("severity", problem, remedy)
        }
    }
}
