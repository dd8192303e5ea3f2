//! Orders from ingest, laid over what the local file says.

use super::section::Section;
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawConfig, RawOrders, RawZone};

const KNOWN: &str = "planting, season, zone";
/// Keys of a zone's orders.
const KNOWN_OF_ZONE: &str = "id, schedule, rule; wiring and limits are the local file's alone";

/// The local file with orders laid over it; what is wrong with the orders themselves is noted.
pub(in crate::config) fn merged(
    local: &RawConfig,
    orders: RawOrders,
    found: &mut Mistakes,
) -> RawConfig {
    let mut merged = local.clone();
    let mut section = Section::new("", found);
    section.refuse_unknown(&orders.unknown, KNOWN);
    if let Some(planting) = orders.planting {
        merged.planting = planting;
    }
    if let Some(season) = orders.season {
        merged.irrigation.get_or_insert_default().season = season;
    }
    let mut seen: Vec<String> = Vec::new();
    for (index, zone) in orders.zone.into_iter().enumerate() {
        let mut section = section.inner(format!("zone[{index}]"));
        section.refuse_unknown(&zone.unknown, KNOWN_OF_ZONE);
        let Some(id) = section.text("id", zone.id.as_ref(), "zone-1") else {
            continue;
        };
        let own = |local: &&mut RawZone| id_of(local) == Some(&id);
        let Some(local) = merged.zone.iter_mut().find(own) else {
            let remedy = "name a zone of the local file";
            section.mistake::<()>("id", format!("there is no zone {id:?}"), remedy);
            continue;
        };
        if seen.contains(&id) {
            let problem = format!("{id:?} stands twice");
            section.mistake::<()>("id", problem, "write each zone once");
        }
        if let Some(schedule) = zone.schedule {
            local.schedule = schedule;
        }
        if let Some(rule) = zone.rule {
            local.rule = rule;
        }
        seen.push(id);
    }
    merged
}

fn id_of(zone: &RawZone) -> Option<&String> {
    match zone.id.as_ref() {
        Some(Leaf::Text(id)) => Some(id),
        Some(Leaf::Integer(_) | Leaf::Float(_) | Leaf::Bool(_) | Leaf::List | Leaf::Table)
        | None => None,
    }
}

/// A key for whoever wrote the orders and does not know the places of zones in the local file.
pub(in crate::config) fn by_name(key: &str, zones: &[RawZone]) -> String {
    let named = || {
        let (place, rest) = key.strip_prefix("zone[")?.split_once(']')?;
        let zone = zones.get(place.parse::<usize>().ok()?)?;
        Some(format!("zone {:?}{rest}", id_of(zone)?))
    };
    named().unwrap_or_else(|| key.to_owned())
}
