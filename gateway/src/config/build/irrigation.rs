//! What all zones share: lease, pump, tank, limits, season.

use furrow_irrigation::{DosingPlan, FlowMode, MeterPlan, PressurePlan, SitePlan, TankPlan};

use super::looked_at::LookedAt;
use super::section::Section;
use super::zones::{self, millilitres, millis};
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawConfig, RawIrrigation};
use crate::config::settings::{IrrigationSettings, OutputSettings, ZoneSettings};

const KNOWN: &str = "lease, max_open_zones, step, pump_litres_per_hour, daily_limit, daily_litres, \
                     leak, leak_litres, season, master_valve, pump, dosing, tank, pressure";
/// What the supply can have, in the order of its places.
pub(super) const SUPPLY: [&str; 3] = ["master_valve", "pump", "dosing"];
/// Months of a year.
const MONTHS: usize = 12;

/// `meters` are the places of the devices that count zones' water, in the order in which zones name
/// them. What is looked at is filled in by the caller, when zones have named theirs.
pub(super) fn irrigation(
    raw: &RawConfig,
    (zones, meters): (&[ZoneSettings], &[usize]),
    looked_at: &mut LookedAt<'_>,
    found: &mut Mistakes,
) -> Option<IrrigationSettings> {
    let default = RawIrrigation::default();
    let own = raw.irrigation.as_ref().unwrap_or(&default);
    let mut section = Section::new("irrigation", found);
    section.refuse_unknown(&own.unknown, KNOWN);
    let lease = section.duration("lease", own.lease.as_ref(), ("6s", "300s"), Some("30s"));
    let open = match own.max_open_zones.as_ref() {
        None => Some(1),
        leaf => section.whole("max_open_zones", leaf, &(1..=64), "1"),
    };
    let supply = supply(raw, own, zones, &mut section);
    let site = site(raw, own, meters, looked_at, &mut section);
    Some(IrrigationSettings {
        lease_seconds: u16::try_from(lease?.as_secs()).ok()?,
        max_open_zones: usize::try_from(open?).ok()?,
        site: site?,
        inputs: Vec::new(),
        supply: supply?,
    })
}

/// Master valve, pump and fertiliser pump.
fn supply(
    raw: &RawConfig,
    own: &RawIrrigation,
    zones: &[ZoneSettings],
    section: &mut Section<'_>,
) -> Option<[Option<OutputSettings>; 3]> {
    let master = own.master_valve.as_ref().map(|output| {
        let mut section = section.inner("master_valve");
        section.refuse_unknown(&output.unknown, "controller, output");
        zones::output(
            raw,
            output.controller.as_ref(),
            output.output.as_ref(),
            &mut section,
        )
    });
    let pump = own.pump.as_ref().map(|output| {
        let mut section = section.inner("pump");
        section.refuse_unknown(&output.unknown, "controller, output");
        zones::output(
            raw,
            output.controller.as_ref(),
            output.output.as_ref(),
            &mut section,
        )
    });
    let dosing = own.dosing.as_ref().map(|output| {
        let mut section = section.inner("dosing");
        zones::output(
            raw,
            output.controller.as_ref(),
            output.output.as_ref(),
            &mut section,
        )
    });
    let built = [master, pump, dosing].map(|one| match one {
        // Absent is right, wrong is not.
        None => Some(None),
        Some(None) => None,
        Some(Some(output)) => Some(Some(output)),
    });
    let [master, pump, dosing] = built;
    let supply = [master?, pump?, dosing?];
    let mut used: Vec<(usize, u8)> = zones
        .iter()
        .map(|zone| (zone.controller, zone.output))
        .collect();
    for (name, output) in SUPPLY.iter().zip(&supply) {
        let Some(output) = output else { continue };
        let place = (output.controller, output.output);
        if used.contains(&place) {
            let problem = format!("output {} is used twice", output.output);
            let mut section = section.inner(name);
            section.mistake::<()>("output", problem, "give each valve and pump its own output");
        }
        used.push(place);
    }
    Some(supply)
}

fn site(
    raw: &RawConfig,
    own: &RawIrrigation,
    meters: &[usize],
    looked_at: &mut LookedAt<'_>,
    section: &mut Section<'_>,
) -> Option<SitePlan> {
    let step = section.duration("step", own.step.as_ref(), ("0s", "10s"), Some("4s"));
    let capacity = litres(
        "pump_litres_per_hour",
        own.pump_litres_per_hour.as_ref(),
        section,
    );
    let daily_limit = match own.daily_limit.as_ref() {
        None => Some(None),
        leaf => section
            .duration("daily_limit", leaf, ("1min", "24h"), None)
            .map(Some),
    };
    let daily_litres = litres("daily_litres", own.daily_litres.as_ref(), section);
    let mode = flow_mode("leak", own.leak.as_ref(), "monitor", section);
    let leak_litres = match own.leak_litres.as_ref() {
        None => Some(2.0),
        leaf => section.number("leak_litres", leaf, &(0.1..=10_000.0), "2"),
    };
    let season = season(&own.season, section);
    let tank = tank(own, looked_at, section);
    let pressure = pressure(own, looked_at, section);
    let dosing = dosing(own, looked_at, section);
    let leak_ml = millilitres(leak_litres?);
    let name = |place: &usize| {
        let device = raw.device.get(*place);
        let id = device.and_then(|device| super::devices::plain(device.id.as_ref()));
        id.unwrap_or_default()
    };
    let mode = mode?;
    Some(SitePlan {
        has_master_valve: own.master_valve.is_some(),
        has_pump: own.pump.is_some(),
        dosing: dosing?,
        step_ms: millis(step?),
        capacity_mlph: capacity?.map(millilitres),
        daily_limit_ms: daily_limit?.map(millis),
        daily_limit_ml: daily_litres?.map(millilitres),
        tank: tank?,
        pressure: pressure?,
        meters: meters
            .iter()
            .map(|place| MeterPlan {
                name: name(place),
                leak_ml,
                mode,
            })
            .collect(),
        season_percent: season?,
    })
}

/// An optional number of litres; the outer `None` is a mistake.
fn litres(key: &str, leaf: Option<&Leaf>, section: &mut Section<'_>) -> Option<Option<f64>> {
    match leaf {
        None => Some(None),
        leaf => section
            .number(key, leaf, &(0.1..=1_000_000.0), "1200")
            .map(Some),
    }
}

pub(super) fn flow_mode(
    key: &str,
    leaf: Option<&Leaf>,
    default: &str,
    section: &mut Section<'_>,
) -> Option<FlowMode> {
    let text = section.text_or(key, leaf, default)?;
    match text.as_str() {
        "off" => Some(FlowMode::Off),
        "monitor" => Some(FlowMode::Monitor),
        "active" => Some(FlowMode::Active),
        other => section.mistake(
            key,
            format!("{other:?} is nothing that a wrong flow does"),
            "write off, monitor or active",
        ),
    }
}

fn season(raw: &[Leaf], section: &mut Section<'_>) -> Option<[u16; MONTHS]> {
    if raw.is_empty() {
        return Some([100; MONTHS]);
    }
    if raw.len() != MONTHS {
        let problem = format!("there are {} months", raw.len());
        return section.mistake("season", problem, "write 12 percentages, January first");
    }
    let mut percent = [100; MONTHS];
    let mut is_right = true;
    for (place, leaf) in percent.iter_mut().zip(raw) {
        match section.whole("season", Some(leaf), &(0..=200), "100") {
            Some(whole) => *place = u16::try_from(whole).unwrap_or(100),
            None => is_right = false,
        }
    }
    is_right.then_some(percent)
}

fn tank(
    own: &RawIrrigation,
    looked_at: &mut LookedAt<'_>,
    section: &mut Section<'_>,
) -> Option<Option<TankPlan>> {
    let Some(raw) = own.tank.as_ref() else {
        return Some(None);
    };
    let mut section = section.inner("tank");
    section.refuse_unknown(&raw.unknown, "channel, low, empty, when_unknown");
    let channel = raw.channel.as_ref();
    let input = looked_at.find("channel", channel, &[], "tank/level", &mut section);
    let low = section.number("low", raw.low.as_ref(), &(-1e9..=1e9), "30");
    let empty = section.number("empty", raw.empty.as_ref(), &(-1e9..=1e9), "10");
    let when_unknown = section.text_or("when_unknown", raw.when_unknown.as_ref(), "stop")?;
    let may_be_unknown = match when_unknown.as_str() {
        "stop" => false,
        "water" => true,
        other => {
            let problem = format!("{other:?} is nothing that can be done");
            return section.mistake("when_unknown", problem, "write stop or water");
        }
    };
    let (low, empty) = (low?, empty?);
    if empty > low {
        return section.mistake("empty", "is above low", "lower it, or raise low");
    }
    Some(Some(TankPlan {
        input: input?,
        low,
        empty,
        may_be_unknown,
    }))
}

fn pressure(
    own: &RawIrrigation,
    looked_at: &mut LookedAt<'_>,
    section: &mut Section<'_>,
) -> Option<Option<PressurePlan>> {
    let Some(raw) = own.pressure.as_ref() else {
        return Some(None);
    };
    let mut section = section.inner("pressure");
    section.refuse_unknown(&raw.unknown, "channel, low, for");
    let channel = raw.channel.as_ref();
    let input = looked_at.find("channel", channel, &[], "pump/pressure", &mut section);
    let low = section.number("low", raw.low.as_ref(), &(0.0..=1e9), "0.8");
    let lasting = section.duration("for", raw.lasting.as_ref(), ("2s", "120s"), Some("10s"));
    Some(Some(PressurePlan {
        input: input?,
        low: low?,
        for_ms: millis(lasting?),
    }))
}

fn dosing(
    own: &RawIrrigation,
    looked_at: &mut LookedAt<'_>,
    section: &mut Section<'_>,
) -> Option<Option<DosingPlan>> {
    let Some(raw) = own.dosing.as_ref() else {
        return Some(None);
    };
    let mut section = section.inner("dosing");
    let known = "controller, output, ec, ec_max, ph, ph_min, ph_max, flush";
    section.refuse_unknown(&raw.unknown, known);
    let flush = section.duration("flush", raw.flush.as_ref(), ("0s", "30min"), Some("2min"));
    let ec = match raw.ec.as_ref() {
        None => {
            section.refuse("ec_max", raw.ec_max.as_ref(), "means nothing without ec");
            Some(None)
        }
        leaf => {
            let units = ["dS/m", "mS/cm", "uS/cm"];
            let input = looked_at.find(
                "ec",
                leaf,
                &units,
                "ec/electrical_conductivity",
                &mut section,
            );
            let most = section.number("ec_max", raw.ec_max.as_ref(), &(0.01..=100_000.0), "2.8");
            input.zip(most).map(Some)
        }
    };
    let ph = match raw.ph.as_ref() {
        None => {
            section.refuse("ph_min", raw.ph_min.as_ref(), "means nothing without ph");
            section.refuse("ph_max", raw.ph_max.as_ref(), "means nothing without ph");
            Some(None)
        }
        leaf => {
            let input = looked_at.find("ph", leaf, &["[pH]", "pH"], "ph/ph", &mut section);
            let least = section.number("ph_min", raw.ph_min.as_ref(), &(0.0..=14.0), "5.5");
            let most = section.number("ph_max", raw.ph_max.as_ref(), &(0.0..=14.0), "6.8");
            match (input, least, most) {
                (Some(input), Some(least), Some(most)) => Some(Some((input, least, most))),
                (_, _, _) => None,
            }
        }
    };
    Some(Some(DosingPlan {
        ec: ec?,
        ph: ph?,
        flush_ms: millis(flush?),
    }))
}
