//! Alert rules over the stored stream, and messages about them.
//!
//! The evaluator is called by the archive inside its transaction, so that readings, alert state and the
//! outbox of messages commit together: what was stored was looked at, and what fired will be told, once, even
//! when the process dies between the two. The webhook sender empties the outbox afterwards. What a rule
//! means is decided in `furrow-alerts`.

use furrow_alerts::{Rule, Severity};
use furrow_wire::{ChannelName, DeviceId, GreenhouseId, RuleId, SeriesId};

mod evaluator;
mod webhook;

pub(crate) use evaluator::Evaluator;
pub use webhook::{Webhook, run_webhook};

/// One configured rule: which series it is for, and what is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRule {
    /// Unique within the cooperative.
    pub id: RuleId,
    /// Only this greenhouse; `None`: all.
    pub greenhouse: Option<GreenhouseId>,
    /// Only this device; `None`: all that have the channel.
    pub device: Option<DeviceId>,
    /// Which quantity.
    pub channel: ChannelName,
    /// How much a person is disturbed.
    pub severity: Severity,
    /// What is watched for. `Rule::new(Condition::Above { limit, clear }, for_ms)` checks it.
    pub rule: Rule,
}

impl AlertRule {
    /// Whether the rule is for this series.
    #[must_use]
    pub fn matches(&self, series: &SeriesId) -> bool {
        self.channel == series.channel
            && self
                .device
                .as_ref()
                .is_none_or(|device| *device == series.device)
            && self
                .greenhouse
                .as_ref()
                .is_none_or(|greenhouse| *greenhouse == series.greenhouse)
    }
}

/// A series and the rules that are for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched<'a> {
    /// Which.
    pub(crate) series: &'a SeriesId,
    /// Its unit, for messages.
    pub(crate) unit: &'a str,
    /// Indices in the cooperative's rules.
    pub(crate) rules: &'a [usize],
}
