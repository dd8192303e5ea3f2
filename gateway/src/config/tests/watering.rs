//! Zones, rules, pump and tank.

use furrow_irrigation::{
    Amount, Crop, Days, Fallback, FlowMode, InputIndex, Interlock, RuleKind, Window, ZoneIndex,
};
use jiff::civil::{Weekday, date, time};

use super::{BASE, DRIP, SHT, parse};
use crate::config::ButtonDoes;

const ANALOG: &str = r#"
[[device]]
id = "analog"
kind = "ads1115"
bus = "main"
address = 0x48
[[device.input]]
kind = "pyranometer"
input = 0
volts_per_unit = 0.002
[[derived]]
id = "climate"
kind = "air"
temperature = "sht-inside/air_temperature"
humidity = "sht-inside/relative_humidity"
[[derived]]
id = "water"
kind = "et0"
temperature = "sht-inside/air_temperature"
humidity = "sht-inside/relative_humidity"
radiation = "analog/global_radiation"
altitude_m = 1500
"#;

const MINUTE: u64 = 60_000;

fn site(rest: &str) -> String {
    format!("{BASE}{SHT}{ANALOG}{DRIP}{rest}")
}

const WHOLE: &str = r#"
[irrigation]
max_open_zones = 2
step = "3s"
pump_litres_per_hour = 1500
daily_limit = "6h"
daily_litres = 4000
leak = "active"
leak_litres = 3.5
season = [80, 80, 90, 100, 120, 130, 130, 120, 100, 90, 80, 80]
pump = { controller = "drip", output = 8 }
master_valve = { controller = "drip", output = 7 }
[irrigation.tank]
channel = "sht-inside/air_temperature"
low = 30
empty = 10
when_unknown = "water"
[[zone]]
id = "zone-1"
controller = "drip"
output = 1
max_run = "1h"
daily_limit = "3h"
daily_litres = 800
min_off = "10min"
starts_per_hour = 6
priority = 2
cycle = "10min"
soak = "20min"
flow = "active"
flow_litres_per_hour = 240
fill_up = "90s"
[[zone.schedule]]
at = "05:30"
days = "mon, thu"
for = "20min"
litres = 60
[[zone.rule]]
kind = "vpd"
channel = "climate/vpd"
above_kpa = 1.8
for = "2min"
from = "09:00"
to = "16:30"
[[zone.rule]]
name = "crop"
kind = "water-balance"
channel = "water/et0"
crop = "tomato"
planted = "2026-09-01"
trigger_mm = 1.5
area_m2 = 120
for = "1h"
fallback_for = "5min"
fallback_every = "8h"
[[zone.rule]]
kind = "radiation-sum"
channel = "analog/global_radiation"
threshold_j_cm2 = 100
for = "3min"
"#;

#[test]
fn what_all_zones_share() {
    let settings = parse(&site(WHOLE)).unwrap();
    let core = settings.irrigation_config();
    assert!(core.site.has_pump && core.site.has_master_valve && core.site.dosing.is_none());
    assert_eq!((core.site.step_ms, core.max_open_zones), (3_000, 2));
    assert_eq!(core.site.capacity_mlph, Some(1_500_000));
    assert_eq!(core.site.daily_limit_ml, Some(4_000_000));
    assert_eq!(core.site.season_percent[4], 120);
    let meter = &core.site.meters[0];
    assert_eq!(
        (meter.name.as_str(), meter.leak_ml, meter.mode),
        ("drip", 3_500, FlowMode::Active)
    );
    assert!(core.site.tank.unwrap().may_be_unknown);
    let names: Vec<_> = core
        .inputs
        .iter()
        .map(|input| input.name.as_str())
        .collect();
    let expected = [
        "climate/vpd",
        "water/et0",
        "analog/global_radiation",
        "sht-inside/air_temperature",
    ];
    assert_eq!(names, expected);
    // Three intervals of 10 s, a late reading; what is calculated comes with its batch.
    let ages: Vec<_> = core
        .inputs
        .iter()
        .map(|input| input.max_age_ms / 1_000)
        .collect();
    assert_eq!(ages, [65, 65, 35, 35]);
    // The pump is an output like a zone's valve, behind them.
    assert_eq!(settings.output(2).map(|place| place.output), Some(8));
    assert_eq!(settings.output(3), None, "no fertiliser pump");
    assert_eq!(Interlock::TankLow.text(), "the tank is too low to begin");
}

#[test]
fn limits_of_a_zone() {
    let core = parse(&site(WHOLE)).unwrap().irrigation_config();
    let zone = &core.zones[0];
    let entry = zone.schedule()[0];
    assert_eq!(
        entry.days,
        Days::only(&[Weekday::Monday, Weekday::Thursday])
    );
    let amount = Amount {
        run_ms: 20 * MINUTE,
        millilitres: Some(60_000),
    };
    assert_eq!(entry.amount, amount);
    let options = zone.options();
    assert_eq!(
        (options.daily_limit_ml, options.meter),
        (Some(800_000), Some(0))
    );
    assert_eq!(options.flow.expected_mlph, Some(240_000));
}

#[test]
fn rules_of_a_zone() {
    let core = parse(&site(WHOLE)).unwrap().irrigation_config();
    let options = core.zones[0].options();
    let [vpd, crop, light] = options.rules.as_slice() else {
        panic!("{:?}", options.rules);
    };
    let window = Window {
        from: time(9, 0, 0, 0),
        to: time(16, 30, 0, 0),
    };
    assert_eq!((vpd.name.as_str(), vpd.window), ("vpd", Some(window)));
    let expected = RuleKind::WaterBalance {
        input: InputIndex(1),
        crop: Crop {
            kc: [0.6, 1.15, 0.8],
            days: [30, 40, 45, 30],
            planted: date(2026, 9, 1),
        },
        trigger_mm: 1.5,
        area_m2: 120.0,
        efficiency: 0.9,
    };
    assert_eq!(crop.kind, expected);
    let dose = Fallback::Dose {
        amount: Amount::time(5 * MINUTE),
        every_ms: 8 * 60 * MINUTE,
    };
    assert_eq!(crop.fallback, dose);
    assert_eq!(light.kind.input(), InputIndex(2));
}

#[test]
fn mistakes_of_watering_are_told_together() {
    let error = parse(&site(
        r#"
[irrigation]
season = [100, 90]
leak = "maybe"
pump = { controller = "drip", output = 1 }
tank = { channel = "sht-inside/level", low = 1, empty = 2 }
[[zone]]
id = "zone-1"
controller = "drip"
output = 1
cycle = "10min"
[[zone.schedule]]
at = "06:00"
days = "monday"
for = "5min"
[[zone.rule]]
kind = "moisture"
channel = "sht-inside/relative_humidity"
start_below = 22
stop_above = 30
above_kpa = 1
for = "2h"
[[zone.rule]]
kind = "water-balance"
channel = "water/et0"
crop = "durian"
planted = "soon"
trigger_mm = 1
area_m2 = 10
for = "5min"
"#,
    ))
    .unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    let expected = [
        "zone[0].schedule[0].days: \"monday\" are no days; write mon, tue, wed, thu, fri, sat, sun, with commas between",
        "zone[0].rule[0].for: is longer than max_run (1800 s); shorten it, or raise max_run",
        "zone[0].rule[0].above_kpa: means nothing for moisture; remove it",
        "zone[0].rule[0].channel: \"sht-inside/relative_humidity\" is measured in %RH; name a channel in %",
        "zone[0].rule[1].planted: failed to parse",
        "zone[0].rule[1].crop: \"durian\" is not known; write one of tomato, cucumber, sweet-melon, cantaloupe, watermelon, lettuce, spinach, cabbage, bell-pepper, or kc and stage_days",
        "zone[0].soak: is missing; add it, for example soak = \"12h\"",
        "irrigation.leak: \"maybe\" is nothing that a wrong flow does; write off, monitor or active",
        "irrigation.season: there are 2 months; write 12 percentages, January first",
        "irrigation.tank.channel: there is no channel \"sht-inside/level\"; write device/channel of a device here, for example \"tank/level\"",
        "irrigation.tank.empty: is above low; lower it, or raise low",
    ];
    assert_eq!(lines.len(), expected.len(), "{error}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\nnot\n{expected}");
    }
}

#[test]
fn no_output_serves_two() {
    let zone = "[[zone]]\nid = \"zone-1\"\ncontroller = \"drip\"\noutput = 1\n";
    let pump =
        |output| format!("[irrigation]\npump = {{ controller = \"drip\", output = {output} }}\n");
    assert!(parse(&site(&format!("{}{zone}", pump(2)))).is_ok());
    let error = parse(&site(&format!("{}{zone}", pump(1)))).unwrap_err();
    assert_eq!(
        error,
        "irrigation.pump.output: output 1 is used twice; give each valve and pump its own output"
    );
}

#[test]
fn buttons_stop_or_water() {
    let lines = r#"
[[device]]
id = "lines"
kind = "gpio-inputs"
bus = "main"
every = "1s"
[[device.input]]
pin = 5
kind = "button"
channel = "stop"
[[device.input]]
pin = 6
kind = "button"
channel = "bed"
[[zone]]
id = "zone-1"
controller = "drip"
output = 1
"#;
    let right = r#"
[[button]]
channel = "lines/stop"
does = "stop"
[[button]]
channel = "lines/bed"
does = "water"
zone = "zone-1"
for = "5min"
"#;
    let settings = parse(&site(&format!("{lines}{right}"))).unwrap();
    let does: Vec<_> = settings
        .buttons()
        .iter()
        .map(|button| button.does)
        .collect();
    let water = ButtonDoes::Water {
        zone: ZoneIndex(0),
        for_ms: 5 * MINUTE,
    };
    let hold_ms = 30 * MINUTE;
    assert_eq!(does, [ButtonDoes::Stop { hold_ms }, water]);
    let wrong = r#"
[[button]]
channel = "lines/halt"
does = "stop"
zone = "zone-1"
[[button]]
channel = "lines/bed"
does = "sing"
[[button]]
channel = "lines/bed"
does = "water"
zone = "zone-9"
for = "5min"
"#;
    let error = parse(&site(&format!("{lines}{wrong}"))).unwrap_err();
    let keys: Vec<_> = error
        .lines()
        .filter_map(|line| line.split(": ").next())
        .collect();
    let expected = [
        "button[0].channel",
        "button[0].zone",
        "button[1].does",
        "button[2].zone",
    ];
    assert_eq!(keys, expected, "{error}");
}
