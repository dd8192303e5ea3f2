//! What grows where, and since when.

use std::ops::RangeInclusive;

use furrow_irrigation::ZoneIndex;
use furrow_wire::PlantingId;
use jiff::civil::Date;

use super::devices::plain;
use super::section::Section;
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::planting::PlantingSettings;
use crate::config::raw::{RawConfig, RawPlanting};
use crate::config::settings::ZoneSettings;

const KNOWN: &str = "id, zones, crop, variety, plot, household, area_m2, planted, ended";
/// Most plantings of a gateway: two seasons of a full set of zones.
const PLANTINGS_MAX: usize = 128;
/// Of a planting, in square metres.
pub(super) const AREA_M2: RangeInclusive<f64> = 0.1..=100_000.0;

pub(super) fn plantings(
    raw: &RawConfig,
    zones: &[ZoneSettings],
    found: &mut Mistakes,
) -> Option<Vec<PlantingSettings>> {
    if raw.planting.len() > PLANTINGS_MAX {
        let problem = format!("there are {} plantings", raw.planting.len());
        let remedy = format!("keep at most {PLANTINGS_MAX}: those of last year are in the archive");
        found.add("planting", problem, remedy);
        return None;
    }
    let mut built: Vec<Option<PlantingSettings>> = Vec::new();
    for (index, raw) in raw.planting.iter().enumerate() {
        let mut section = Section::new(format!("planting[{index}]"), found);
        let one = planting(raw, zones, &mut section);
        if let Some(one) = &one {
            check_others(one, built.iter().flatten(), zones, &mut section);
        }
        built.push(one);
    }
    built.into_iter().collect()
}

fn planting(
    raw: &RawPlanting,
    zones: &[ZoneSettings],
    section: &mut Section<'_>,
) -> Option<PlantingSettings> {
    section.refuse_unknown(&raw.unknown, KNOWN);
    let id: Option<PlantingId> = section.parsed("id", raw.id.as_ref(), "ca-chua-2026-09");
    let zones = places(&raw.zones, zones, section);
    let text = |key: &str, leaf: Option<&Leaf>, section: &mut Section<'_>| match leaf {
        None => Some(String::new()),
        leaf => section.text(key, leaf, "A1"),
    };
    let crop = section.text("crop", raw.crop.as_ref(), "tomato");
    let variety = text("variety", raw.variety.as_ref(), section);
    let plot = text("plot", raw.plot.as_ref(), section);
    let household = text("household", raw.household.as_ref(), section);
    let area_m2 = match raw.area_m2.as_ref() {
        None => Some(None),
        leaf => section.number("area_m2", leaf, &AREA_M2, "120").map(Some),
    };
    let planted = section.parsed::<Date>("planted", raw.planted.as_ref(), "2026-09-01");
    let ended = match raw.ended.as_ref() {
        None => Some(None),
        leaf => section
            .parsed::<Date>("ended", leaf, "2027-01-31")
            .map(Some),
    };
    let (planted, ended) = (planted?, ended?);
    if ended.is_some_and(|ended| ended <= planted) {
        let remedy = "write the first day on which nothing of it grows any more";
        return section.mistake("ended", "is not after planted", remedy);
    }
    Some(PlantingSettings {
        id: id?,
        zones: zones?,
        crop: crop?,
        variety: variety?,
        plot: plot?,
        household: household?,
        area_m2: area_m2?,
        planted,
        ended,
    })
}

fn places(
    raw: &[Leaf],
    zones: &[ZoneSettings],
    section: &mut Section<'_>,
) -> Option<Vec<ZoneIndex>> {
    if raw.is_empty() {
        let remedy = "add it, for example zones = [\"zone-1\"]";
        return section.mistake("zones", "is missing", remedy);
    }
    let mut places = Vec::new();
    for leaf in raw {
        let name = section.text("zones", Some(leaf), "zone-1")?;
        let Some(place) = zones.iter().position(|zone| zone.id.as_str() == name) else {
            let names: Vec<&str> = zones.iter().map(|zone| zone.id.as_str()).collect();
            let remedy = format!("name some of: {}", names.join(", "));
            return section.mistake("zones", format!("there is no zone {name:?}"), remedy);
        };
        if !places.contains(&ZoneIndex(place)) {
            places.push(ZoneIndex(place));
        }
    }
    Some(places)
}

/// A watering belongs to one planting.
fn check_others<'a>(
    one: &PlantingSettings,
    others: impl Iterator<Item = &'a PlantingSettings>,
    zones: &[ZoneSettings],
    section: &mut Section<'_>,
) {
    for other in others {
        if other.id == one.id {
            let problem = format!("{:?} names two plantings", one.id.as_str());
            section.mistake::<()>("id", problem, "give each planting its own id");
        }
        let overlap = other.ended.is_none_or(|ended| one.planted < ended)
            && one.ended.is_none_or(|ended| other.planted < ended);
        let shared = one.zones.iter().find(|zone| other.zones.contains(zone));
        if let Some(zone) = shared
            .and_then(|zone| zones.get(zone.0))
            .filter(|_| overlap)
        {
            let problem = format!(
                "zone {:?} has {:?} at the same time",
                zone.id.as_str(),
                other.id.as_str()
            );
            let remedy = "say when the earlier one ended, or make two zones of it";
            section.mistake::<()>("zones", problem, remedy);
        }
    }
}

/// The planting that a rule names.
pub(super) fn named<'a>(
    leaf: Option<&Leaf>,
    plantings: &'a [RawPlanting],
    section: &mut Section<'_>,
) -> Option<Option<&'a RawPlanting>> {
    if leaf.is_none() {
        return Some(None);
    }
    let name = section.text("planting", leaf, "ca-chua-2026-09")?;
    let is_it = |raw: &&RawPlanting| plain(raw.id.as_ref()).as_ref() == Some(&name);
    match plantings.iter().find(is_it) {
        Some(found) => Some(Some(found)),
        None => {
            let problem = format!("there is no planting {name:?}");
            section.mistake("planting", problem, "add a [[planting]] with this id")
        }
    }
}
