//! Orders from ingest over the local file, and plantings.

use furrow_irrigation::{Crop, RuleKind, ZoneIndex};
use jiff::civil::{Date, date};

use super::{BASE, DRIP, SHT, parse};
use crate::config::{LocalFile, OrdersError, Settings};

const ZONES: &str = r#"
[[derived]]
id = "water"
kind = "et0"
temperature = "sht-inside/air_temperature"
humidity = "sht-inside/relative_humidity"
radiation = "analog/global_radiation"
altitude_m = 1500
[[device]]
id = "analog"
kind = "ads1115"
bus = "main"
address = 0x48
[[device.input]]
kind = "pyranometer"
input = 0
volts_per_unit = 0.002
[[zone]]
id = "zone-1"
controller = "drip"
output = 1
max_run = "30min"
daily_limit = "2h"
[[zone.schedule]]
at = "06:00"
for = "10min"
[[zone]]
id = "zone-2"
controller = "drip"
output = 2
max_run = "10min"
daily_limit = "1h"
"#;

fn local() -> LocalFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, format!("{BASE}{SHT}{DRIP}{ZONES}")).unwrap();
    let nothing = crate::config::environment().source(Some(config::Map::new()));
    LocalFile::read_with(&path, nothing).unwrap()
}

fn refused(orders: &str) -> Vec<String> {
    match local().with_orders(orders) {
        Err(OrdersError::Mistakes(mistakes)) => {
            let mistakes = mistakes.as_slice().iter();
            mistakes
                .map(|one| format!("{}: {}", one.key, one.problem))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}

const PLANTED: &str = r#"
[[planting]]
id = "ca-chua-2026-09"
zones = ["zone-1"]
crop = "tomato"
variety = "Savior"
plot = "A1"
household = "chị Hoa"
area_m2 = 240
planted = "2026-09-01"
"#;

#[test]
fn orders_change_schedules_rules_and_plantings_and_nothing_else() {
    let local = local();
    let own = local.settings().unwrap();
    let text = format!(
        r#"{PLANTED}
[[zone]]
id = "zone-2"
schedule = [{{ at = "17:00", for = "5min" }}]
rule = [{{ kind = "water-balance", channel = "water/et0", planting = "ca-chua-2026-09",
           for = "10min", trigger_mm = 2 }}]
"#
    );
    let both = own.with_watering_of(local.with_orders(&text).unwrap());
    assert_eq!(both.zones()[0], own.zones()[0]);
    let plan = &both.zones()[1].plan;
    assert_eq!(plan.schedule().len(), 1);
    assert_eq!(plan.max_run_ms(), own.zones()[1].plan.max_run_ms());
    let RuleKind::WaterBalance { crop, area_m2, .. } = &plan.options().rules[0].kind else {
        panic!("{plan:?}");
    };
    let tomato = Crop {
        kc: [0.6, 1.15, 0.80],
        days: [30, 40, 45, 30],
        planted: date(2026, 9, 1),
    };
    assert_eq!((crop, *area_m2), (&tomato, 240.0));
    assert_eq!(both.plantings()[0].household, "chị Hoa");
    assert_eq!(own.plantings(), []);
    assert_eq!(
        format!("{:?}", both.devices()),
        format!("{:?}", own.devices())
    );
    // An empty list is one, a missing one is the local file's.
    let none = local.with_orders("[[zone]]\nid = \"zone-1\"\nschedule = []\n");
    assert!(none.unwrap().zones()[0].plan.schedule().is_empty());
    let same = local.with_orders("[[zone]]\nid = \"zone-1\"\n").unwrap();
    assert_eq!(same.zones(), own.zones());
    assert_eq!(local.with_orders("").unwrap().zones(), own.zones());
}

#[test]
fn wiring_and_limits_are_not_theirs() {
    let wiring = r#"
[mqtt]
host = "elsewhere"
[[zone]]
id = "zone-1"
max_run = "4h"
output = 7
[[zone]]
id = "zone-9"
"#;
    assert_eq!(
        refused(wiring),
        [
            "mqtt: unknown key",
            "zone[0].max_run: unknown key",
            "zone[0].output: unknown key",
            "zone[1].id: there is no zone \"zone-9\"",
        ]
    );
    // The local limits hold for what is ordered.
    let long = "[[zone]]\nid = \"zone-2\"\nschedule = [{ at = \"06:00\", for = \"20min\" }]\n";
    assert_eq!(
        refused(long),
        ["zone \"zone-2\".schedule[0].for: is longer than max_run (600 s)"]
    );
    let twice = "[[zone]]\nid = \"zone-1\"\n[[zone]]\nid = \"zone-1\"\n";
    assert_eq!(refused(twice), ["zone[1].id: \"zone-1\" stands twice"]);
    let error = local().with_orders("[[zone]\n").unwrap_err();
    assert!(matches!(error, OrdersError::Toml(_)), "{error}");
    assert!(error.to_string().contains("line 1, column 8"), "{error}");
}

#[test]
fn what_grows_where_is_known_by_the_day() {
    let text = format!(
        "{PLANTED}ended = \"2026-12-15\"\n{}",
        PLANTED
            .replace("ca-chua-2026-09", "xa-lach-2026-12")
            .replace("2026-09-01", "2026-12-15")
    );
    let settings = local().with_orders(&text).unwrap();
    let planting = |settings: &Settings, zone, date: Option<Date>| {
        let found = settings.planting(ZoneIndex(zone), date);
        found.map(|planting| planting.id.to_string())
    };
    for (zone, day, expected) in [
        (0, Some(date(2026, 8, 31)), None),
        (0, Some(date(2026, 9, 1)), Some("ca-chua-2026-09")),
        (0, Some(date(2026, 12, 14)), Some("ca-chua-2026-09")),
        (0, Some(date(2026, 12, 15)), Some("xa-lach-2026-12")),
        (1, Some(date(2026, 12, 15)), None),
        // Without a clock two can't be told apart.
        (0, None, None),
    ] {
        let found = planting(&settings, zone, day);
        assert_eq!(found.as_deref(), expected, "zone {zone} at {day:?}");
    }
    let alone = local().with_orders(PLANTED).unwrap();
    assert_eq!(
        planting(&alone, 0, None).as_deref(),
        Some("ca-chua-2026-09")
    );
}

#[test]
fn plantings_that_can_not_be_are_told() {
    let other = PLANTED.replace("ca-chua-2026-09", "xa-lach-2026-12");
    for (text, expected) in [
        (
            format!("{PLANTED}{other}"),
            "planting[1].zones: zone \"zone-1\" has \"ca-chua-2026-09\" at the same time",
        ),
        (
            format!("{PLANTED}ended = \"2026-09-01\"\n"),
            "planting[0].ended: is not after planted",
        ),
        (
            PLANTED.replace("zone-1", "zone-7"),
            "planting[0].zones: there is no zone \"zone-7\"",
        ),
        (
            PLANTED.replace("zones = [\"zone-1\"]", ""),
            "planting[0].zones: is missing",
        ),
        (
            "[[zone]]\nid = \"zone-1\"\nrule = [{ kind = \"water-balance\", channel = \
             \"water/et0\", planting = \"none\", for = \"10min\", trigger_mm = 2, area_m2 = 9, \
             crop = \"tomato\", planted = \"2026-09-01\" }]\n"
                .to_owned(),
            "zone \"zone-1\".rule[0].planting: there is no planting \"none\"",
        ),
    ] {
        assert_eq!(refused(&text), [expected]);
    }
    // The same holds in the local file.
    let local = format!("{BASE}{SHT}{DRIP}{ZONES}{PLANTED}{PLANTED}");
    let mistakes = parse(&local).unwrap_err();
    assert!(mistakes.contains("names two plantings"), "{mistakes}");
}
