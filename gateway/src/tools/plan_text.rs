//! By what zones are watered, for people: a line for each planting, scheduled watering and rule.

use furrow_irrigation::{Days, Fallback, Rule, RuleKind};
use jiff::civil::Weekday;

use crate::config::{PlantingSettings, Settings, ZoneSettings};

/// A line, and all that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Tells lines apart that read the same.
    whole: String,
}

impl Line {
    fn new(text: String, whole: &impl std::fmt::Debug) -> Self {
        Self {
            text,
            whole: format!("{whole:?}"),
        }
    }
}

/// Everything that orders from ingest may say.
pub(super) fn lines(settings: &Settings) -> Vec<Line> {
    let season = settings.irrigation().site.season_percent;
    let percent: Vec<String> = season.iter().map(ToString::to_string).collect();
    let mut lines = Vec::new();
    if season != [100; 12] {
        let text = format!("season: {} % by month", percent.join(", "));
        lines.push(Line::new(text, &season));
    }
    for planting in settings.plantings() {
        lines.push(Line::new(planting_text(settings, planting), planting));
    }
    for zone in settings.zones() {
        for entry in zone.plan.schedule() {
            let volume = entry.amount.millilitres;
            let text = format!(
                "{}: {}at {} for {} s{}",
                zone.id,
                days_text(entry.days),
                entry.at.strftime("%H:%M"),
                entry.amount.run_ms / 1_000,
                volume_text(volume)
            );
            lines.push(Line::new(text, &(&zone.id, entry)));
        }
        for rule in &zone.plan.options().rules {
            lines.push(Line::new(
                rule_text(settings, zone, rule),
                &(&zone.id, rule),
            ));
        }
    }
    lines
}

/// What a rule looks at, and what it does when that can't be trusted.
pub(super) fn rule_text(settings: &Settings, zone: &ZoneSettings, rule: &Rule) -> String {
    let input = settings.irrigation().inputs.get(rule.kind.input().0);
    let input = input.map_or("?", |input| &input.plan.name);
    let wish = match &rule.kind {
        RuleKind::Moisture {
            start_below,
            stop_above,
            ..
        } => format!("{input} below {start_below}, until {stop_above}"),
        RuleKind::RadiationSum {
            threshold_j_cm2, ..
        } => format!("{input} has summed up to {threshold_j_cm2} J/cm2"),
        RuleKind::Vpd { above_kpa, .. } => format!("{input} above {above_kpa} kPa"),
        RuleKind::WaterBalance {
            trigger_mm,
            area_m2,
            crop,
            ..
        } => format!(
            "{input} times Kc adds up to {trigger_mm} mm on {area_m2} m2 (planted {}, Kc {:?})",
            crop.planted, crop.kc
        ),
    };
    let window = rule.window.map_or_else(String::new, |window| {
        let (from, to) = (window.from.strftime("%H:%M"), window.to.strftime("%H:%M"));
        format!(" from {from} to {to}")
    });
    let fallback = match rule.fallback {
        Fallback::Skip => "if it can't be trusted nothing".to_owned(),
        Fallback::Dose { amount, every_ms } => format!(
            "if it can't be trusted {} s every {} h",
            amount.run_ms / 1_000,
            every_ms / 3_600_000
        ),
    };
    format!(
        "{} of {}: {} s{}{window} when {wish}; {fallback}",
        rule.name,
        zone.id,
        rule.amount.run_ms / 1_000,
        volume_text(rule.amount.millilitres),
    )
}

fn planting_text(settings: &Settings, planting: &PlantingSettings) -> String {
    let zone = |place: &furrow_irrigation::ZoneIndex| settings.zones().get(place.0);
    let zones: Vec<&str> = planting
        .zones
        .iter()
        .filter_map(zone)
        .map(|zone| zone.id.as_str())
        .collect();
    let ended = planting.ended.map(|ended| format!(" until {ended}"));
    format!(
        "planting {}: {} in {} since {}{}",
        planting.id,
        planting.crop,
        zones.join(", "),
        planting.planted,
        ended.unwrap_or_default()
    )
}

fn volume_text(millilitres: Option<u64>) -> String {
    millilitres.map_or_else(String::new, |ml| format!(" or {} l", ml / 1_000))
}

/// Nothing for each day.
fn days_text(days: Days) -> String {
    if days == Days::ALL {
        return String::new();
    }
    let week = [
        (Weekday::Monday, "mon"),
        (Weekday::Tuesday, "tue"),
        (Weekday::Wednesday, "wed"),
        (Weekday::Thursday, "thu"),
        (Weekday::Friday, "fri"),
        (Weekday::Saturday, "sat"),
        (Weekday::Sunday, "sun"),
    ];
    let names = week.into_iter().filter(|(day, _)| days.contains(*day));
    let names: Vec<&str> = names.map(|(_, name)| name).collect();
    format!("{} ", names.join(", "))
}
