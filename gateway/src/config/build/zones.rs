//! Zones: outputs, limits and schedules.

use std::time::Duration;

use furrow_irrigation::{
    Amount, DAILY_LIMIT_CEILING_MS, Days, MAX_RUN_CEILING_MS, ScheduleEntry, ZonePlan,
};
use furrow_wire::ZoneId;
use jiff::civil::Time;

use super::devices::plain;
use super::guard::NUMBERS;
use super::kind::optional_factor;
use super::section::Section;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawConfig, RawSchedule, RawZone};
use crate::config::settings::ZoneSettings;

/// Most zones of a gateway.
const ZONES_MAX: usize = 64;
/// Of a zone that no meter counts for.
const UNUSED_FACTOR: u64 = 1_000_000;
/// Most waterings of a zone a day.
const SCHEDULE_MAX: usize = 48;

pub(super) fn zones(raw: &RawConfig, found: &mut Mistakes) -> Option<Vec<ZoneSettings>> {
    if raw.zone.len() > ZONES_MAX {
        let problem = format!("there are {} zones", raw.zone.len());
        found.add("zone", problem, format!("keep at most {ZONES_MAX}"));
        return None;
    }
    let built: Vec<_> = (0..raw.zone.len())
        .map(|index| zone(raw, index, found))
        .collect();
    let mut seen: Vec<&ZoneSettings> = Vec::new();
    for (index, zone) in built
        .iter()
        .enumerate()
        .filter_map(|(i, zone)| Some((i, zone.as_ref()?)))
    {
        let mut section = Section::new(format!("zone[{index}]"), found);
        if seen.iter().any(|other| other.id == zone.id) {
            let problem = format!("{:?} names two zones", zone.id.as_str());
            section.mistake::<()>("id", problem, "give each zone its own id");
        }
        let same = |other: &&&ZoneSettings| {
            other.controller == zone.controller && other.output == zone.output
        };
        if let Some(other) = seen.iter().find(same) {
            let problem = format!(
                "output {} already waters zone {:?}",
                zone.output,
                other.id.as_str()
            );
            section.mistake::<()>("output", problem, "give each zone its own output");
        }
        seen.push(zone);
    }
    built.into_iter().collect()
}

fn zone(raw: &RawConfig, index: usize, found: &mut Mistakes) -> Option<ZoneSettings> {
    let zone = raw.zone.get(index)?;
    let mut section = Section::new(format!("zone[{index}]"), found);
    let known = "id, name, controller, output, meter, pulses_per_litre, litres_per_pulse, max_run, \
                 daily_limit, schedule";
    section.refuse_unknown(&zone.unknown, known);
    let id: Option<ZoneId> = section.parsed("id", zone.id.as_ref(), "zone-1");
    let default_name = id.as_ref().map_or("?", ZoneId::as_str);
    let name = section.text_or("name", zone.name.as_ref(), default_name);
    let controller = controller(raw, zone, &mut section);
    let is_guarded = controller.is_some_and(|place| is_guarded(raw, place));
    let numbers = if is_guarded { NUMBERS } else { 1..=8 };
    let output = section.whole("output", zone.output.as_ref(), &numbers, "1");
    let limits = limits(zone, &mut section);
    let schedule = schedule(zone, limits.map(|(max_run, _)| max_run), &mut section);
    let (meter, factor) = if is_guarded {
        metered(raw, zone, &mut section)
    } else {
        let why = "a drip controller has a meter of its own";
        section.refuse("meter", zone.meter.as_ref(), why);
        (Some(None), factor(raw, zone, controller, &mut section))
    };
    let (id, (max_run, daily_limit), schedule) = (id?, limits?, schedule?);
    let daily_ms = millis(daily_limit);
    let wanted_ms: u64 = schedule.iter().map(|entry| entry.amount.run_ms).sum();
    if wanted_ms > daily_ms {
        let problem = format!("all runs together take {} min a day", wanted_ms / 60_000);
        let remedy = format!(
            "shorten them or raise daily_limit ({} min)",
            daily_ms / 60_000
        );
        section.mistake::<()>("schedule", problem, remedy);
    }
    let plan = match ZonePlan::new(id.as_str(), millis(max_run), daily_ms, factor?, schedule) {
        Ok(plan) => plan,
        // What can be wrong was looked at above; this is the last word.
        Err(error) => return section.mistake("max_run", error.to_string(), "correct the limits"),
    };
    let output = u8::try_from(output?).ok()?;
    Some(ZoneSettings {
        id,
        name: name?,
        controller: controller?,
        output,
        meter: meter?,
        plan,
    })
}

fn controller(raw: &RawConfig, zone: &RawZone, section: &mut Section<'_>) -> Option<usize> {
    let name = section.text("controller", zone.controller.as_ref(), "drip")?;
    let place = raw
        .device
        .iter()
        .position(|d| plain(d.id.as_ref()).as_ref() == Some(&name));
    let Some(device) = place.and_then(|place| raw.device.get(place)) else {
        let is_drip = |kind: Option<String>| is_controller(kind.as_deref());
        let drips = raw
            .device
            .iter()
            .filter(|d| is_drip(plain(d.kind.as_ref())));
        let names: Vec<_> = drips.filter_map(|d| plain(d.id.as_ref())).collect();
        let remedy = if names.is_empty() {
            "add a [[device]] of kind drip-controller or guarded-outputs".to_owned()
        } else {
            format!("name one of: {}", names.join(", "))
        };
        return section.mistake("controller", format!("there is no device {name:?}"), remedy);
    };
    match plain(device.kind.as_ref()).as_deref() {
        kind if is_controller(kind) => place,
        _ => section.mistake(
            "controller",
            format!("device {name:?} has no outputs"),
            "name a device of kind drip-controller or guarded-outputs",
        ),
    }
}

fn limits(zone: &RawZone, section: &mut Section<'_>) -> Option<(Duration, Duration)> {
    let ceiling = Duration::from_millis(MAX_RUN_CEILING_MS);
    let day = Duration::from_millis(DAILY_LIMIT_CEILING_MS);
    let most = (
        format!("{}h", ceiling.as_secs() / 3_600),
        format!("{}h", day.as_secs() / 3_600),
    );
    let max_run = section.duration(
        "max_run",
        zone.max_run.as_ref(),
        ("1s", &most.0),
        Some("30min"),
    );
    let daily_limit = section.duration(
        "daily_limit",
        zone.daily_limit.as_ref(),
        ("1s", &most.1),
        Some("2h"),
    );
    let (max_run, daily_limit) = (max_run?, daily_limit?);
    if daily_limit < max_run {
        let problem = "is shorter than max_run";
        return section.mistake("daily_limit", problem, "raise it, or lower max_run");
    }
    Some((max_run, daily_limit))
}

fn schedule(
    zone: &RawZone,
    max_run: Option<Duration>,
    section: &mut Section<'_>,
) -> Option<Vec<ScheduleEntry>> {
    if zone.schedule.len() > SCHEDULE_MAX {
        let problem = format!("has {} entries", zone.schedule.len());
        return section.mistake("schedule", problem, format!("keep at most {SCHEDULE_MAX}"));
    }
    let entries: Vec<_> = zone
        .schedule
        .iter()
        .enumerate()
        .map(|(index, raw)| {
            entry(
                raw,
                max_run,
                &mut section.inner(format!("schedule[{index}]")),
            )
        })
        .collect();
    entries.into_iter().collect()
}

fn entry(
    raw: &RawSchedule,
    max_run: Option<Duration>,
    section: &mut Section<'_>,
) -> Option<ScheduleEntry> {
    section.refuse_unknown(&raw.unknown, "at, for");
    let at = section
        .text("at", raw.at.as_ref(), "06:00")
        .and_then(|text| {
            let time =
                Time::strptime("%H:%M", &text).or_else(|_| Time::strptime("%H:%M:%S", &text));
            if let Ok(time) = time {
                return Some(time);
            }
            let remedy = "write local time as HH:MM, for example \"06:00\"";
            section.mistake("at", format!("{text:?} is no time of day"), remedy)
        });
    let run = section.duration("for", raw.run.as_ref(), ("1s", "4h"), None)?;
    if let Some(max_run) = max_run.filter(|max_run| run > *max_run) {
        let problem = format!("is longer than max_run ({} s)", max_run.as_secs());
        return section.mistake("for", problem, "shorten it, or raise max_run");
    }
    Some(ScheduleEntry {
        at: at?,
        days: Days::ALL,
        amount: Amount::time(millis(run)),
    })
}

fn is_controller(kind: Option<&str>) -> bool {
    matches!(kind, Some("drip-controller" | "guarded-outputs"))
}

fn is_guarded(raw: &RawConfig, place: usize) -> bool {
    let device = raw.device.get(place);
    let kind = device.and_then(|device| plain(device.kind.as_ref()));
    kind.as_deref() == Some("guarded-outputs")
}

/// The flow meter of a zone with a relay and its micropulses per litre. Without one nothing is
/// counted, and the factor is never used.
fn metered(
    raw: &RawConfig,
    zone: &RawZone,
    section: &mut Section<'_>,
) -> (Option<Option<usize>>, Option<u64>) {
    let why = "belongs to the flow meter";
    section.refuse("pulses_per_litre", zone.pulses_per_litre.as_ref(), why);
    section.refuse("litres_per_pulse", zone.litres_per_pulse.as_ref(), why);
    let Some(leaf) = zone.meter.as_ref() else {
        return (Some(None), Some(UNUSED_FACTOR));
    };
    let Some(name) = section.text("meter", Some(leaf), "flow") else {
        return (None, None);
    };
    let is_meter = |kind: Option<String>| kind.as_deref() == Some("flow-meter");
    let named = raw.device.iter().position(|device| {
        plain(device.id.as_ref()).as_ref() == Some(&name) && is_meter(plain(device.kind.as_ref()))
    });
    let Some(place) = named else {
        let problem = format!("there is no flow meter {name:?}");
        let remedy = "name a device of kind flow-meter, or leave it out";
        section.mistake::<()>("meter", problem, remedy);
        return (None, None);
    };
    let keys = raw.device.get(place);
    let keys = keys.map(|meter| (&meter.pulses_per_litre, &meter.litres_per_pulse));
    let mut ignored = Mistakes::default();
    // Mistakes of the meter's factor are told where the meter is read.
    let mut silent = Section::new("", &mut ignored);
    let factor = keys.and_then(|(pulses, litres)| {
        optional_factor(pulses.as_ref(), litres.as_ref(), &mut silent).flatten()
    });
    let factor = factor.map_or(UNUSED_FACTOR, |factor| factor.micropulses_per_litre());
    (Some(Some(place)), Some(factor))
}

/// Micropulses per litre: the zone's own, or its controller's.
fn factor(
    raw: &RawConfig,
    zone: &RawZone,
    controller: Option<usize>,
    section: &mut Section<'_>,
) -> Option<u64> {
    let keys = (
        zone.pulses_per_litre.as_ref(),
        zone.litres_per_pulse.as_ref(),
    );
    if let Some(factor) = optional_factor(keys.0, keys.1, section)? {
        return Some(factor.micropulses_per_litre());
    }
    let device = raw.device.get(controller?)?;
    let keys = (
        device.pulses_per_litre.as_ref(),
        device.litres_per_pulse.as_ref(),
    );
    let mut ignored = Mistakes::default();
    // Mistakes of the controller's factor are told where the controller is read.
    if let Some(Some(factor)) = optional_factor(keys.0, keys.1, &mut Section::new("", &mut ignored))
    {
        return Some(factor.micropulses_per_litre());
    }
    let remedy = "add it here or at the controller, for example pulses_per_litre = 450";
    section.mistake("pulses_per_litre", "is missing", remedy)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
