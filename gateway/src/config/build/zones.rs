//! Zones: outputs, limits and schedules.

use std::time::Duration;

use furrow_irrigation::{
    Amount, DAILY_LIMIT_CEILING_MS, Days, MAX_RUN_CEILING_MS, ScheduleEntry, ZonePlan,
};
use furrow_wire::ZoneId;
use jiff::civil::{Time, Weekday};

use super::devices::plain;
use super::guard::NUMBERS;
use super::kind::optional_factor;
use super::looked_at::LookedAt;
use super::rules;
use super::section::Section;
use super::zone_options::{needs_meter, options};
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawConfig, RawSchedule, RawZone};
use crate::config::settings::{OutputSettings, ZoneSettings};

const KNOWN: &str = "id, name, controller, output, meter, pulses_per_litre, litres_per_pulse, \
                     max_run, daily_limit, daily_litres, min_off, starts_per_hour, priority, cycle, \
                     soak, flow, flow_litres_per_hour, fill_up, fertigate, schedule, rule";
/// Most zones of a gateway.
const ZONES_MAX: usize = 64;
/// Of a zone that no meter counts for.
const UNUSED_FACTOR: u64 = 1_000_000;
/// Most waterings of a zone a day.
const SCHEDULE_MAX: usize = 48;

/// The zones, and the places of the devices that count their water.
pub(super) fn zones(
    raw: &RawConfig,
    looked_at: &mut LookedAt<'_>,
    found: &mut Mistakes,
) -> Option<(Vec<ZoneSettings>, Vec<usize>)> {
    if raw.zone.len() > ZONES_MAX {
        let problem = format!("there are {} zones", raw.zone.len());
        found.add("zone", problem, format!("keep at most {ZONES_MAX}"));
        return None;
    }
    let mut meters = Vec::new();
    let built: Vec<_> = (0..raw.zone.len())
        .map(|index| zone(raw, index, &mut meters, looked_at, found))
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
    let zones: Option<Vec<_>> = built.into_iter().collect();
    Some((zones?, meters))
}

fn zone(
    raw: &RawConfig,
    index: usize,
    meters: &mut Vec<usize>,
    looked_at: &mut LookedAt<'_>,
    found: &mut Mistakes,
) -> Option<ZoneSettings> {
    let zone = raw.zone.get(index)?;
    let mut section = Section::new(format!("zone[{index}]"), found);
    section.refuse_unknown(&zone.unknown, KNOWN);
    let id: Option<ZoneId> = section.parsed("id", zone.id.as_ref(), "zone-1");
    let default_name = id.as_ref().map_or("?", ZoneId::as_str);
    let name = section.text_or("name", zone.name.as_ref(), default_name);
    let place = output(
        raw,
        zone.controller.as_ref(),
        zone.output.as_ref(),
        &mut section,
    );
    let controller = place.map(|place| place.controller);
    let is_guarded = controller.is_some_and(|place| is_guarded(raw, place));
    let limits = limits(zone, &mut section);
    let schedule = schedule(zone, limits.map(|(max_run, _)| max_run), &mut section);
    let (meter, factor) = if is_guarded {
        metered(raw, zone, &mut section)
    } else {
        let why = "a drip controller has a meter of its own";
        section.refuse("meter", zone.meter.as_ref(), why);
        (Some(None), factor(raw, zone, controller, &mut section))
    };
    let longest = limits.map(|(max_run, _)| max_run);
    let rules = rules::rules((zone, &raw.planting), longest, looked_at, &mut section);
    let options = options(zone, &mut section);
    let counter = meter.and_then(|meter| meter.or(controller.filter(|_| !is_guarded)));
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
    let mut options = options?;
    options.rules = rules?;
    options.meter = counter.map(|device| {
        meters
            .iter()
            .position(|meter| *meter == device)
            .unwrap_or_else(|| {
                meters.push(device);
                meters.len() - 1
            })
    });
    needs_meter(&options, &mut section);
    let plan = ZonePlan::new(id.as_str(), millis(max_run), daily_ms, factor?, schedule);
    let plan = match plan.and_then(|plan| plan.with(options)) {
        Ok(plan) => plan,
        // Most of what can be wrong was looked at above; this is the last word.
        Err(error) => return section.mistake("max_run", error.to_string(), "correct the limits"),
    };
    let place = place?;
    Some(ZoneSettings {
        id,
        name: name?,
        controller: place.controller,
        output: place.output,
        meter: meter?,
        plan,
    })
}

/// An output of a controller.
pub(super) fn output(
    raw: &RawConfig,
    controller: Option<&Leaf>,
    output: Option<&Leaf>,
    section: &mut Section<'_>,
) -> Option<OutputSettings> {
    let controller = self::controller(raw, controller, section);
    let is_guarded = controller.is_some_and(|place| is_guarded(raw, place));
    let numbers = if is_guarded { NUMBERS } else { 1..=8 };
    let output = section.whole("output", output, &numbers, "1");
    Some(OutputSettings {
        controller: controller?,
        output: u8::try_from(output?).ok()?,
        meter: None,
    })
}

fn controller(
    raw: &RawConfig,
    controller: Option<&Leaf>,
    section: &mut Section<'_>,
) -> Option<usize> {
    let name = section.text("controller", controller, "drip")?;
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
    section.refuse_unknown(&raw.unknown, "at, days, for, litres");
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
    let days = days(raw, section);
    let amount = amount(raw.run.as_ref(), raw.litres.as_ref(), max_run, section);
    Some(ScheduleEntry {
        at: at?,
        days: days?,
        amount: amount?,
    })
}

/// How much: a time, and litres where that is the aim and the time a bound.
pub(super) fn amount(
    run: Option<&Leaf>,
    litres: Option<&Leaf>,
    max_run: Option<Duration>,
    section: &mut Section<'_>,
) -> Option<Amount> {
    let run = section.duration("for", run, ("1s", "4h"), None);
    let litres = match litres {
        None => Some(None),
        leaf => section
            .number("litres", leaf, &(0.1..=50_000.0), "60")
            .map(Some),
    };
    let run = run?;
    if let Some(max_run) = max_run.filter(|max_run| run > *max_run) {
        let problem = format!("is longer than max_run ({} s)", max_run.as_secs());
        return section.mistake("for", problem, "shorten it, or raise max_run");
    }
    Some(Amount {
        run_ms: millis(run),
        millilitres: litres?.map(millilitres),
    })
}

fn days(raw: &RawSchedule, section: &mut Section<'_>) -> Option<Days> {
    let Some(leaf) = raw.days.as_ref() else {
        return Some(Days::ALL);
    };
    let text = section.text("days", Some(leaf), "mon, thu")?;
    let named: Option<Vec<Weekday>> = text.split(',').map(|day| weekday(day.trim())).collect();
    match named {
        Some(named) => Some(Days::only(&named)),
        None => {
            let problem = format!("{text:?} are no days");
            let remedy = "write mon, tue, wed, thu, fri, sat, sun, with commas between";
            section.mistake("days", problem, remedy)
        }
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
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

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Thousandths, rounded; the range check before keeps it small.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "settings are small numbers above 0"
)]
pub(super) fn millilitres(litres: f64) -> u64 {
    (litres * 1_000.0).round() as u64
}
