//! Siren, beacon and alarms, as they are configured.

use std::collections::BTreeMap;
use std::time::Duration;

use furrow_alerts::{Condition, Rule, Severity};
use furrow_gateway_core::alarm::{Fault, Plan, Watch};

use super::device::Level;

/// How long an answer of a device may take beyond its batch's end.
const LATE: Duration = Duration::from_secs(10);

/// What is alarmed of, and what is switched on then.
#[derive(Debug, Clone)]
pub struct AlarmSettings {
    /// The line of the siren, if there is one.
    pub siren: Option<HornSettings>,
    /// The line of the beacon, if there is one.
    pub beacon: Option<HornSettings>,
    /// An alarm sounds no longer than this at once.
    pub sound: Duration,
    /// Rules over channels.
    pub rules: Vec<AlarmRule>,
    /// What faults of the watering are worth, where the file says so.
    pub faults: BTreeMap<Fault, Severity>,
}

/// A GPIO line that the gateway drives by itself. It has no lease: a siren that goes on harms nobody, and
/// it is off at the start and at the end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HornSettings {
    /// Place of its bus.
    pub bus: usize,
    /// BCM number, or line of the bus's chip.
    pub line: u8,
    /// The level that switches it on.
    pub active: Level,
}

/// A rule over a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmRule {
    /// Its id in events.
    pub id: String,
    /// For people; as a rule in Vietnamese.
    pub name: String,
    /// In English; the same as `name` unless written.
    pub name_en: String,
    /// The channel, as `device/channel`.
    pub input: String,
    /// Its place in the catalog.
    pub channel: usize,
    /// Its decimal exponent.
    pub exponent: i8,
    /// What is wrong, and for how long.
    pub rule: Rule,
    /// How much a person is disturbed.
    pub severity: Severity,
}

impl AlarmSettings {
    /// As the core takes it. Samples of calculated channels come with their batch.
    #[must_use]
    pub fn plan(&self, commit_interval: Duration) -> Plan {
        let watches = self.rules.iter().map(|rule| Watch {
            channel: rule.channel,
            rule: rule.rule,
            severity: rule.severity,
        });
        Plan {
            rules: watches.collect(),
            severities: self.faults.clone(),
            sound_ms: millis(self.sound),
            late_ms: millis(commit_interval + LATE),
        }
    }
}

impl AlarmRule {
    /// What is wrong, for people: `sht-inside/air_temperature above 38`.
    #[must_use]
    pub fn condition(&self) -> String {
        let input = &self.input;
        match self.rule.condition() {
            Condition::Above { limit, .. } => format!("{input} above {limit}"),
            Condition::Below { limit, .. } => format!("{input} below {limit}"),
            Condition::Absent => {
                let seconds = self.rule.for_ms() / 1_000;
                format!("{input} without a good value for {seconds} s")
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
