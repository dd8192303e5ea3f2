//! `silence`, and alarms as `check` and `status` show them.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use furrow_alerts::Condition;
use furrow_gateway_core::alarm::Fault;
use serde_json::Value;

use super::hold::{duration, tell};
use super::status::{at, plain};
use crate::config::{HornSettings, Level, Settings};
use crate::control::Ask;

/// Silence the siren for a while, as its button does
///
/// What is still wrong then sounds again, and whatever is new sounds at once. 30 minutes unless told,
/// 12 hours at most.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  furrow-gateway silence\n  furrow-gateway silence --for 2h")]
pub struct Silence {
    /// How long
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "30min")]
    duration: Duration,
}

impl Silence {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let for_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        tell(config, &Ask::Silence { for_ms })
    }
}

/// Siren, beacon and rules, a line each.
pub(super) fn describe(settings: &Settings, text: &mut String) -> fmt::Result {
    let alarms = settings.alarms();
    let at = |horn: &HornSettings| {
        let bus = settings.buses().get(horn.bus);
        let bus = bus.map_or("?", |bus| bus.id.as_str());
        let level = match horn.active {
            Level::High => "high",
            Level::Low => "low",
        };
        format!("GPIO {} on {bus}, on while {level}", horn.line)
    };
    if let Some(siren) = &alarms.siren {
        let minutes = alarms.sound.as_secs_f64() / 60.0;
        writeln!(
            text,
            "siren     {}, at most {minutes} min at once",
            at(siren)
        )?;
    }
    if let Some(beacon) = &alarms.beacon {
        writeln!(text, "beacon    {}", at(beacon))?;
    }
    for rule in &alarms.rules {
        let lasting = match rule.rule.condition() {
            Condition::Absent => String::new(),
            Condition::Above { clear, .. } | Condition::Below { clear, .. } => {
                format!(" for {} s, over at {clear}", rule.rule.for_ms() / 1_000)
            }
        };
        writeln!(
            text,
            "alarm     {} ({}): {}{lasting}; {}",
            rule.id,
            rule.name_en,
            rule.condition(),
            rule.severity.as_str()
        )?;
    }
    let is_told = alarms.siren.is_some() || alarms.beacon.is_some() || !alarms.rules.is_empty();
    if is_told && !settings.zones().is_empty() {
        let faults = Fault::ALL.map(|fault| {
            let severity = alarms.faults.get(&fault).copied();
            let severity = severity.unwrap_or(fault.severity());
            format!("{} {}", fault.name(), severity.as_str())
        });
        writeln!(text, "alarm     of watering: {}", faults.join(", "))?;
    }
    Ok(())
}

/// What is raised, of a status report.
pub(super) fn lines(report: &Value) -> String {
    let alarms = at(report, "alarms");
    let raised = at(alarms, "raised").as_array().into_iter().flatten();
    let mut text = String::new();
    for alarm in raised {
        let of = |key: &str| plain(at(alarm, key));
        let zone = at(alarm, "zone").as_str();
        let zone = zone.map_or_else(String::new, |zone| format!(" in {zone}"));
        let left = at(alarm, "left_ms").as_u64();
        let left = left.map_or_else(String::new, |ms| {
            format!(" for {} s more", ms.div_ceil(1_000))
        });
        let (id, name, severity, sound) = (of("id"), of("name_en"), of("severity"), of("sound"));
        writeln!(
            text,
            "alarm     {id}{zone}: {name}, {severity}, {sound}{left}"
        )
        .expect("writing to a string never fails");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_alarms_are_told() {
        let report = serde_json::json!({ "alarms": { "raised": [
            { "id": "heat", "name_en": "Too hot", "zone": null, "severity": "critical",
              "sound": "silenced", "left_ms": 60_500 },
            { "id": "tank-low", "name_en": "The tank is low", "zone": "zone-1",
              "severity": "warning", "sound": "quiet", "left_ms": null },
        ] } });
        assert_eq!(
            lines(&report),
            "alarm     heat: Too hot, critical, silenced for 61 s more\n\
             alarm     tank-low in zone-1: The tank is low, warning, quiet\n"
        );
    }
}
