//! The greenhouses: their configuration as a gateway gets it, their soil and crop, and the limits that the
//! checker reads from the same text by itself.

use anyhow::Context;
use furrow_sim::{Bed, Beginning, Plant, Setup};
use toml::{Table, Value};

/// Monday, 20 April 2026, midnight in Vietnam.
pub(crate) const START_UNIX_MS: i64 = 1_776_618_000_000;
/// Zones of each greenhouse; they are the first outputs.
pub(crate) const ZONES: usize = 3;
/// The converter that the soil probe hangs on.
pub(crate) const SOIL_CHIP: &str = "ads1115-2";

const COMMON: &str = include_str!("../sites/common.toml");

/// A greenhouse.
pub(crate) struct Site {
    pub(crate) name: &'static str,
    zones: &'static str,
    pub(crate) bed: fn() -> Bed,
    /// Where its soil begins, m³/m³.
    soil_water: f64,
    /// What a timer is set to, twice a day, minutes: what the crop transpires on the sunniest day, over
    /// 50 m² and at 8 L/min.
    timer_min: u32,
}

/// How it is watered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// By its rules.
    Rules,
    /// By a timer, at 5:30 and 15:00. The gateway, its interlocks and limits are the same.
    Schedule,
}

/// All of them.
pub(crate) const SITES: [Site; 3] = [
    Site {
        name: "tomato in loam",
        zones: include_str!("../sites/tomato.toml"),
        bed: Bed::tomato_in_loam,
        soil_water: 0.28,
        timer_min: 14,
    },
    Site {
        name: "lettuce in sandy loam",
        zones: include_str!("../sites/lettuce.toml"),
        bed: Bed::lettuce_in_sandy_loam,
        soil_water: 0.22,
        timer_min: 10,
    },
    Site {
        name: "pepper in clay loam",
        zones: include_str!("../sites/pepper.toml"),
        bed: Bed::pepper_in_clay_loam,
        soil_water: 0.34,
        timer_min: 12,
    },
];

/// What a zone's configuration allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_run_ms: u64,
    pub(crate) daily_ms: u64,
    pub(crate) daily_litres: f64,
    pub(crate) min_off_ms: u64,
    pub(crate) starts_per_hour: usize,
}

impl Site {
    /// The configuration, as text.
    pub(crate) fn config(&self, way: Way) -> anyhow::Result<String> {
        let text = format!("{COMMON}\n{}", self.zones);
        if way == Way::Rules {
            return Ok(text);
        }
        let mut table: Table = text.parse().context("read a greenhouse's configuration")?;
        let zones = table.get_mut("zone").and_then(Value::as_array_mut);
        for zone in zones.into_iter().flatten() {
            let zone = zone.as_table_mut().context("a zone is a table")?;
            zone.remove("rule");
            let at = |at: &str| {
                let mut entry = Table::new();
                entry.insert("at".into(), at.into());
                entry.insert("for".into(), format!("{}min", self.timer_min).into());
                Value::Table(entry)
            };
            let both = vec![at("05:30"), at("15:00")];
            zone.insert("schedule".into(), Value::Array(both));
        }
        Ok(table.to_string())
    }

    /// What each zone's configuration allows.
    pub(crate) fn limits(&self) -> anyhow::Result<Vec<Limits>> {
        let table: Table = self.zones.parse().context("read a greenhouse's zones")?;
        let zones = table.get("zone").and_then(Value::as_array);
        zones.into_iter().flatten().map(limits_of).collect()
    }

    /// The machine and the greenhouse that it stands in.
    pub(crate) fn setup(&self, seed: u64) -> Setup {
        Setup {
            seed,
            start_unix_ms: START_UNIX_MS,
            start_mono_ns: 0,
            zones: ZONES + 2,
            boards: 1,
            wall_known: true,
            boot: None,
            beginning: Beginning {
                plant: Plant {
                    master_valve: Some(4),
                    pump: Some(5),
                    dosing: None,
                },
                sky: None,
                soil_water: Some(self.soil_water),
                tank_percent: None,
                bed: (self.bed)(),
            },
            places: Vec::new(),
        }
    }
}

fn limits_of(zone: &Value) -> anyhow::Result<Limits> {
    let whole = |key: &str| {
        let value = zone.get(key).and_then(Value::as_integer);
        value.with_context(|| format!("a zone has no {key}"))
    };
    let minutes = |key: &str| {
        let text = zone.get(key).and_then(Value::as_str);
        let text = text.with_context(|| format!("a zone has no {key}"))?;
        let minutes = text.strip_suffix("min").context("written in minutes")?;
        Ok::<u64, anyhow::Error>(minutes.parse::<u64>().context("a number of minutes")? * 60_000)
    };
    Ok(Limits {
        max_run_ms: minutes("max_run")?,
        daily_ms: minutes("daily_limit")?,
        daily_litres: f64::from(i32::try_from(whole("daily_litres")?)?),
        min_off_ms: minutes("min_off")?,
        starts_per_hour: usize::try_from(whole("starts_per_hour")?)?,
    })
}
