//! Rules of a zone: when to water, beside the schedule.

use std::time::Duration;

use furrow_irrigation::{Amount, Crop, Fallback, Rule, RuleKind, Window};
use jiff::civil::{Date, Time};

use super::looked_at::LookedAt;
use super::plantings::{self, AREA_M2};
use super::section::Section;
use super::zones::{amount, millis};
use crate::config::leaf::Leaf;
use crate::config::raw::{RawPlanting, RawRule, RawZone};

/// Most rules of a zone.
const RULES_MAX: usize = 8;
const KNOWN: &str = "name, kind, channel, for, litres, from, to, fallback_for, fallback_every, \
                     start_below, stop_above, threshold_j_cm2, above_kpa, planting, crop, planted, \
                     kc, stage_days, trigger_mm, area_m2, efficiency";

/// Name, Kc of the stages, days of the stages.
type KnownCrop = (&'static str, [f64; 3], Option<[u16; 4]>);

/// FAO-56 table 12 (Kc ini, mid, end) and table 11 (days of the stages), where it has them.
const CROPS: [KnownCrop; 9] = [
    ("tomato", [0.6, 1.15, 0.80], Some([30, 40, 45, 30])),
    ("cucumber", [0.6, 1.00, 0.75], Some([20, 30, 40, 15])),
    ("sweet-melon", [0.5, 1.05, 0.75], Some([25, 35, 40, 20])),
    ("cantaloupe", [0.5, 0.85, 0.60], None),
    ("watermelon", [0.4, 1.00, 0.75], None),
    ("lettuce", [0.7, 1.00, 0.95], Some([20, 30, 15, 10])),
    ("spinach", [0.7, 1.00, 0.95], None),
    ("cabbage", [0.7, 1.05, 0.95], None),
    ("bell-pepper", [0.6, 1.05, 0.90], None),
];

pub(super) fn rules(
    (zone, plantings): (&RawZone, &[RawPlanting]),
    max_run: Option<Duration>,
    looked_at: &mut LookedAt<'_>,
    section: &mut Section<'_>,
) -> Option<Vec<Rule>> {
    if zone.rule.len() > RULES_MAX {
        let problem = format!("there are {} rules", zone.rule.len());
        return section.mistake("rule", problem, format!("keep at most {RULES_MAX}"));
    }
    let mut built: Vec<Option<Rule>> = Vec::new();
    for (index, raw) in zone.rule.iter().enumerate() {
        let mut section = section.inner(format!("rule[{index}]"));
        let one = rule((raw, plantings), max_run, looked_at, &mut section);
        if let Some(one) = &one
            && built.iter().flatten().any(|other| other.name == one.name)
        {
            let problem = format!("{:?} names two rules", one.name);
            section.mistake::<()>("name", problem, "give each rule of the zone its own name");
        }
        built.push(one);
    }
    built.into_iter().collect()
}

fn rule(
    (raw, plantings): (&RawRule, &[RawPlanting]),
    max_run: Option<Duration>,
    looked_at: &mut LookedAt<'_>,
    section: &mut Section<'_>,
) -> Option<Rule> {
    section.refuse_unknown(&raw.unknown, KNOWN);
    let kind = section.text("kind", raw.kind.as_ref(), "moisture")?;
    let name = section.text_or("name", raw.name.as_ref(), &kind);
    let amount = amount(raw.run.as_ref(), raw.litres.as_ref(), max_run, section);
    let window = window(raw, section);
    let fallback = fallback(raw, max_run, section);
    refuse_foreign(&kind, raw, section);
    let channel = raw.channel.as_ref();
    let kind = match kind.as_str() {
        "moisture" => {
            let example = "probe-1/soil_moisture";
            let input = looked_at.find("channel", channel, &["%"], example, section);
            let range = 0.0..=100.0;
            let start = section.number("start_below", raw.start_below.as_ref(), &range, "22");
            let stop = section.number("stop_above", raw.stop_above.as_ref(), &range, "30");
            RuleKind::Moisture {
                input: input?,
                start_below: start?,
                stop_above: stop?,
            }
        }
        "radiation-sum" => {
            let example = "analog/global_radiation";
            let input = looked_at.find("channel", channel, &["W/m2"], example, section);
            let leaf = raw.threshold_j_cm2.as_ref();
            let threshold = section.number("threshold_j_cm2", leaf, &(1.0..=10_000.0), "100");
            RuleKind::RadiationSum {
                input: input?,
                threshold_j_cm2: threshold?,
            }
        }
        "vpd" => {
            let input = looked_at.find("channel", channel, &["kPa"], "climate/vpd", section);
            let leaf = raw.above_kpa.as_ref();
            let above = section.number("above_kpa", leaf, &(0.05..=10.0), "1.6");
            RuleKind::Vpd {
                input: input?,
                above_kpa: above?,
            }
        }
        "water-balance" => balance((raw, plantings), looked_at, section)?,
        other => {
            let problem = format!("{other:?} is no kind of rule");
            let remedy = "write moisture, radiation-sum, vpd or water-balance";
            return section.mistake("kind", problem, remedy);
        }
    };
    let name = name?;
    if name.starts_with('(') {
        return section.mistake("name", "begins with a bracket", "begin it with a letter");
    }
    Some(Rule {
        name,
        amount: amount?,
        window: window?,
        fallback: fallback?,
        kind,
    })
}

/// What the rule does not say itself, the planting that it names does.
fn balance(
    (raw, plantings): (&RawRule, &[RawPlanting]),
    looked_at: &mut LookedAt<'_>,
    section: &mut Section<'_>,
) -> Option<RuleKind> {
    let planting = plantings::named(raw.planting.as_ref(), plantings, section);
    let named = planting.flatten();
    let channel = raw.channel.as_ref();
    let input = looked_at.find("channel", channel, &["mm/h"], "et0/et0", section);
    let crop = crop(raw, named, section);
    let trigger = section.number("trigger_mm", raw.trigger_mm.as_ref(), &(0.1..=100.0), "1.5");
    let area = raw.area_m2.as_ref();
    let area = area.or(named.and_then(|planting| planting.area_m2.as_ref()));
    let area = section.number("area_m2", area, &AREA_M2, "120");
    let efficiency = match raw.efficiency.as_ref() {
        None => Some(0.9),
        leaf => section.number("efficiency", leaf, &(0.5..=1.0), "0.9"),
    };
    planting?;
    Some(RuleKind::WaterBalance {
        input: input?,
        crop: crop?,
        trigger_mm: trigger?,
        area_m2: area?,
        efficiency: efficiency?,
    })
}

fn crop(raw: &RawRule, planting: Option<&RawPlanting>, section: &mut Section<'_>) -> Option<Crop> {
    let planted = raw.planted.as_ref();
    let planted = planted.or(planting.and_then(|planting| planting.planted.as_ref()));
    let planted = section.parsed::<Date>("planted", planted, "2026-09-01");
    // A planting's crop is a free text; what the rule says of it comes first.
    let free = planting.and_then(|planting| planting.crop.as_ref());
    let free = free.filter(|_| raw.kc.is_empty() || raw.stage_days.is_empty());
    let known = match raw.crop.as_ref().or(free) {
        None => None,
        leaf => {
            let name = section.text("crop", leaf, "tomato")?;
            let found = CROPS.iter().find(|(crop, _, _)| *crop == name);
            if found.is_none() {
                let names: Vec<_> = CROPS.iter().map(|(crop, _, _)| *crop).collect();
                let remedy = format!("write one of {}, or kc and stage_days", names.join(", "));
                return section.mistake("crop", format!("{name:?} is not known"), remedy);
            }
            found
        }
    };
    let kc = numbers::<3>("kc", &raw.kc, (0.05, 2.0), section)?;
    let days = numbers::<4>("stage_days", &raw.stage_days, (0.0, 365.0), section)?;
    let Some(kc) = kc.or(known.map(|(_, kc, _)| *kc)) else {
        let remedy = "add crop, or kc = [0.6, 1.15, 0.8]";
        return section.mistake("kc", "is missing", remedy);
    };
    // Whole by the range check's remedy, and small.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "days from 0 to 365"
    )]
    let days = days.map(|days| days.map(|day| day as u16));
    let Some(days) = days.or(known.and_then(|(_, _, days)| *days)) else {
        let remedy = "add stage_days = [30, 40, 45, 30]";
        return section.mistake("stage_days", "is missing", remedy);
    };
    Some(Crop {
        kc,
        days,
        planted: planted?,
    })
}

/// A list of exactly so many numbers; `Some(None)` where nothing is written.
fn numbers<const N: usize>(
    key: &str,
    raw: &[Leaf],
    (least, most): (f64, f64),
    section: &mut Section<'_>,
) -> Option<Option<[f64; N]>> {
    if raw.is_empty() {
        return Some(None);
    }
    if raw.len() != N {
        let problem = format!("has {} numbers", raw.len());
        return section.mistake(key, problem, format!("write {N} numbers"));
    }
    let read: Option<Vec<f64>> = raw
        .iter()
        .map(|leaf| section.number(key, Some(leaf), &(least..=most), "1"))
        .collect();
    let list: [f64; N] = read?.try_into().ok()?;
    Some(Some(list))
}

fn window(raw: &RawRule, section: &mut Section<'_>) -> Option<Option<Window>> {
    let time = |key: &str, leaf: Option<&Leaf>, section: &mut Section<'_>| {
        let text = section.text(key, leaf, "06:00")?;
        match Time::strptime("%H:%M", &text) {
            Ok(time) => Some(time),
            Err(_) => {
                let remedy = "write local time as HH:MM, for example \"06:00\"";
                section.mistake(key, format!("{text:?} is no time of day"), remedy)
            }
        }
    };
    if raw.from.is_none() && raw.to.is_none() {
        return Some(None);
    }
    let from = time("from", raw.from.as_ref(), section);
    let to = time("to", raw.to.as_ref(), section);
    Some(Some(Window {
        from: from?,
        to: to?,
    }))
}

fn fallback(
    raw: &RawRule,
    max_run: Option<Duration>,
    section: &mut Section<'_>,
) -> Option<Fallback> {
    match (raw.fallback_for.as_ref(), raw.fallback_every.as_ref()) {
        (None, None) => Some(Fallback::Skip),
        (run, every) => {
            let run = section.duration("fallback_for", run, ("1s", "4h"), None);
            let every = section.duration("fallback_every", every, ("1h", "48h"), None);
            let (run, every) = (run?, every?);
            if max_run.is_some_and(|max_run| run > max_run) {
                let remedy = "shorten it, or raise max_run";
                return section.mistake("fallback_for", "is longer than max_run", remedy);
            }
            Some(Fallback::Dose {
                amount: Amount::time(millis(run)),
                every_ms: millis(every),
            })
        }
    }
}

fn refuse_foreign(kind: &str, raw: &RawRule, section: &mut Section<'_>) {
    let first = raw.kc.first();
    let stages = raw.stage_days.first();
    for (key, leaf, of) in [
        ("start_below", raw.start_below.as_ref(), "moisture"),
        ("stop_above", raw.stop_above.as_ref(), "moisture"),
        (
            "threshold_j_cm2",
            raw.threshold_j_cm2.as_ref(),
            "radiation-sum",
        ),
        ("above_kpa", raw.above_kpa.as_ref(), "vpd"),
        ("planting", raw.planting.as_ref(), "water-balance"),
        ("crop", raw.crop.as_ref(), "water-balance"),
        ("planted", raw.planted.as_ref(), "water-balance"),
        ("kc", first, "water-balance"),
        ("stage_days", stages, "water-balance"),
        ("trigger_mm", raw.trigger_mm.as_ref(), "water-balance"),
        ("area_m2", raw.area_m2.as_ref(), "water-balance"),
        ("efficiency", raw.efficiency.as_ref(), "water-balance"),
    ] {
        let leaf = leaf.filter(|_| kind != of);
        section.refuse(key, leaf, &format!("means nothing for {kind}"));
    }
}
