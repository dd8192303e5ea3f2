//! What of a zone is optional: further limits, cycles, flow.

use furrow_irrigation::{CyclePlan, FlowMode, FlowPlan, STARTS_PER_HOUR_DEFAULT, ZoneOptions};

use super::irrigation::flow_mode;
use super::section::Section;
use super::zones::{millilitres, millis};
use crate::config::raw::RawZone;

/// Further limits; rules and meter are filled in by the caller.
pub(super) fn options(zone: &RawZone, section: &mut Section<'_>) -> Option<ZoneOptions> {
    let daily_litres = match zone.daily_litres.as_ref() {
        None => Some(None),
        leaf => section
            .number("daily_litres", leaf, &(0.1..=50_000.0), "800")
            .map(Some),
    };
    let min_off = section.duration("min_off", zone.min_off.as_ref(), ("0s", "24h"), Some("0s"));
    let starts = match zone.starts_per_hour.as_ref() {
        None => Some(i64::from(STARTS_PER_HOUR_DEFAULT)),
        leaf => section.whole("starts_per_hour", leaf, &(1..=30), "12"),
    };
    let priority = match zone.priority.as_ref() {
        None => Some(0),
        leaf => section.whole("priority", leaf, &(0..=9), "1"),
    };
    let cycle = cycle(zone, section);
    let mode = flow_mode("flow", zone.flow.as_ref(), "off", section);
    let expected = match zone.flow_litres_per_hour.as_ref() {
        None => Some(None),
        leaf => section
            .number("flow_litres_per_hour", leaf, &(0.1..=100_000.0), "240")
            .map(Some),
    };
    let fill_up = section.duration(
        "fill_up",
        zone.fill_up.as_ref(),
        ("0s", "10min"),
        Some("150s"),
    );
    let fertigate = section.truth("fertigate", zone.fertigate.as_ref(), Some(false));
    Some(ZoneOptions {
        daily_limit_ml: daily_litres?.map(millilitres),
        min_off_ms: millis(min_off?),
        starts_per_hour: u8::try_from(starts?).ok()?,
        priority: u8::try_from(priority?).ok()?,
        cycle: cycle?,
        meter: None,
        flow: FlowPlan {
            mode: mode?,
            expected_mlph: expected?.map(millilitres),
            fill_up_ms: millis(fill_up?),
            ..FlowPlan::default()
        },
        fertigate: fertigate?,
        rules: Vec::new(),
    })
}

fn cycle(zone: &RawZone, section: &mut Section<'_>) -> Option<Option<CyclePlan>> {
    match (zone.cycle.as_ref(), zone.soak.as_ref()) {
        (None, None) => Some(None),
        (cycle, soak) => {
            let on = section.duration("cycle", cycle, ("1min", "4h"), None);
            let soak = section.duration("soak", soak, ("1min", "12h"), None);
            let (on, soak) = on.zip(soak)?;
            Some(Some(CyclePlan {
                on_ms: millis(on),
                soak_ms: millis(soak),
            }))
        }
    }
}

/// What counts litres needs something that counts them, or a flow to reckon with.
pub(super) fn needs_meter(options: &ZoneOptions, section: &mut Section<'_>) {
    if options.meter.is_some() {
        return;
    }
    let remedy = "add meter, the id of a flow-meter device";
    if options.flow.mode != FlowMode::Off {
        section.mistake::<()>("flow", "nothing counts this zone's water", remedy);
    }
    if options.fertigate {
        let problem = "fertiliser needs a flow that is seen";
        section.mistake::<()>("fertigate", problem, remedy);
    }
    if options.daily_limit_ml.is_some() && options.flow.expected_mlph.is_none() {
        let remedy = "add meter, or flow_litres_per_hour";
        section.mistake::<()>("daily_litres", "nothing counts this zone's water", remedy);
    }
}
