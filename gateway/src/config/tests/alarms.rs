//! Siren, beacon and alarms.

use std::time::Duration;

use furrow_alerts::{Condition, Severity};
use furrow_gateway_core::alarm::Fault;

use super::{BASE, DRIP, SHT, check, parse};
use crate::config::{ButtonDoes, HornSettings, Level};

const LINES: &str = r#"
[[device]]
id = "lines"
kind = "gpio-inputs"
bus = "main"
[[device.input]]
pin = 5
kind = "button"
"#;

fn site(rest: &str) -> String {
    format!("{BASE}{SHT}{DRIP}{LINES}{rest}")
}

const WHOLE: &str = r#"
[siren]
bus = "main"
line = 9
sound = "5min"
[beacon]
bus = "main"
line = 10
active = "low"
[[button]]
channel = "lines/button"
does = "silence"
[[alarm]]
id = "heat"
name = "Quá nóng"
name_en = "Too hot"
channel = "sht-inside/air_temperature"
above = 38
clear = 36.5
for = "5min"
[[alarm]]
id = "dry-air"
channel = "sht-inside/relative_humidity"
below = 40
severity = "warning"
[[alarm]]
id = "probe"
channel = "sht-inside/air_temperature"
absent = "10min"
[[alarm]]
fault = "tank-low"
severity = "info"
"#;

#[test]
fn alarms_and_what_they_switch_on() {
    let settings = parse(&site(WHOLE)).unwrap();
    let alarms = settings.alarms();
    let horn = |line, active| {
        Some(HornSettings {
            bus: 0,
            line,
            active,
        })
    };
    assert_eq!(alarms.siren, horn(9, Level::High));
    assert_eq!(alarms.beacon, horn(10, Level::Low));
    let for_ms = 30 * 60_000;
    assert_eq!(settings.buttons()[0].does, ButtonDoes::Silence { for_ms });
    let plan = alarms.plan(Duration::from_secs(30));
    assert_eq!((plan.sound_ms, plan.late_ms), (300_000, 40_000));
    assert_eq!(plan.severities.get(&Fault::TankLow), Some(&Severity::Info));
    let rules: Vec<_> = plan
        .rules
        .iter()
        .map(|watch| {
            let rule = &watch.rule;
            (
                watch.channel,
                rule.condition(),
                rule.for_ms(),
                watch.severity,
            )
        })
        .collect();
    let hot = Condition::Above {
        limit: 38.0,
        clear: 36.5,
    };
    let dry = Condition::Below {
        limit: 40.0,
        clear: 40.0,
    };
    let expected = [
        (0, hot, 300_000, Severity::Critical),
        (1, dry, 0, Severity::Warning),
        (0, Condition::Absent, 600_000, Severity::Critical),
    ];
    assert_eq!(rules, expected);
    let names: Vec<_> = alarms
        .rules
        .iter()
        .map(|rule| (rule.name.as_str(), rule.name_en.as_str(), rule.exponent))
        .collect();
    let expected = [
        ("Quá nóng", "Too hot", -2),
        ("dry-air", "dry-air", -2),
        ("probe", "probe", -2),
    ];
    assert_eq!(names, expected);
}

#[test]
fn without_any_there_are_none() {
    let settings = parse(&site("")).unwrap();
    let alarms = settings.alarms();
    assert_eq!((alarms.siren, alarms.beacon), (None, None));
    assert!(alarms.rules.is_empty() && alarms.faults.is_empty());
    assert_eq!(alarms.sound, Duration::from_secs(900));
}

#[test]
fn mistakes_at_alarms() {
    check(
        &site(
            r#"
[[alarm]]
id = "burst"
channel = "sht-inside/air_temperature"
above = 38
[[alarm]]
id = "a"
channel = "sht-inside/heat"
above = 38
below = 3
[[alarm]]
id = "b"
channel = "sht-inside/air_temperature"
above = 38
clear = 39
severity = "loud"
[[alarm]]
id = "c"
channel = "sht-inside/air_temperature"
absent = "5s"
for = "1min"
volume = 11
[[alarm]]
fault = "flood"
above = 3
[[alarm]]
fault = "leak"
[[alarm]]
fault = "leak"
severity = "info"
"#,
        ),
        &[
            "alarm[0].id: \"burst\" is the name of a fault of the watering; choose another id, or \
             write it as fault",
            "alarm[1].channel: there is no channel \"sht-inside/heat\"; write device/channel of a \
             device here, for example \"sht-inside/air_temperature\"",
            "alarm[1].channel: more than one thing is said to be wrong; write one of above, below \
             and absent; an alarm each",
            "alarm[2].severity: \"loud\" is no severity; write critical (siren and beacon), warning \
             (beacon) or info (page and journal)",
            "alarm[2].clear: clear is 39 (must be at most the limit 38); an alarm is over when the \
             value has come back to clear",
            "alarm[3].volume: unknown key; remove it or correct its spelling (known here: id, name, \
             name_en, channel, above, below, clear, absent, for, fault, severity)",
            "alarm[3].for: means nothing beside absent: it says how long; remove it",
            "alarm[3].absent: \"5s\" is out of range; write 1min to 24h, for example \"24h\"",
            "alarm[4].above: means nothing beside fault: only severity can be said of one; remove it",
            "alarm[4].fault: \"flood\" is no fault of the watering; write one of burst, leak, \
             no-flow, valve, supply, tank-empty, tank-low, tank-unknown, pressure-low, watched",
            "alarm[6].fault: \"leak\" is named twice; keep one of them",
        ],
    );
}

#[test]
fn lines_of_siren_and_beacon_are_their_own() {
    let taken = site(
        r#"
[siren]
bus = "main"
line = 5
loud = true
[beacon]
bus = "main"
line = 5
sound = "1min"
active = "up"
"#,
    );
    check(
        &taken,
        &[
            "siren.loud: unknown key; remove it or correct its spelling (known here: bus, line, \
             active, sound)",
            "siren.line: GPIO 5 is already used by the gateway's device \"lines\"; use another line",
            "beacon.sound: means nothing for a beacon: it is on for as long as an alarm is raised; \
             remove it",
            "beacon.active: \"up\" is no level; write \"low\" or \"high\": the level that switches \
             the beacon on",
            "beacon.line: GPIO 5 is already used by the gateway's device \"lines\"; use another \
             line",
        ],
    );
    check(
        &site("[siren]\nbus = \"main\"\nline = 9\n[beacon]\nbus = \"main\"\nline = 9\n"),
        &["beacon.line: GPIO 9 is the siren's; use another line"],
    );
    let guarded = r#"
[siren]
bus = "guard"
line = 9
[beacon]
bus = "main"
line = 12
[[bus]]
id = "guard"
kind = "guard"
socket = "/run/furrow/guard.sock"
[[guard.output]]
number = 1
kind = "gpio"
bus = "main"
line = 12
active = "high"
"#;
    check(
        &site(guarded),
        &[
            "siren.bus: there is no bus \"guard\" with pins; name one of: main",
            "beacon.line: GPIO 12 is output 1 of the guard, which alone opens its lines; use another \
             line",
        ],
    );
}
