//! Alarms at the gateway, as they travel: raised, silenced, resolved.

use serde::{Deserialize, Serialize};

use crate::event::cut;
use crate::proto;

/// An alarm is raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmRaised {
    /// Id of the rule, or name of the fault.
    pub alarm: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// What is wrong, for people.
    pub text: String,
}

/// A person has silenced a raised alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmSilenced {
    /// Id of the rule, or name of the fault.
    pub alarm: String,
    /// From where: `button`, `page`, `tool` or `cloud`.
    pub by: String,
    /// For how long, in milliseconds.
    pub silence_ms: u64,
}

/// A raised alarm is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmResolved {
    /// Id of the rule, or name of the fault.
    pub alarm: String,
}

impl AlarmRaised {
    pub(crate) fn encode(&self) -> proto::event::AlarmRaised {
        proto::event::AlarmRaised {
            alarm: cut(&self.alarm),
            severity: cut(&self.severity),
            text: cut(&self.text),
        }
    }

    pub(crate) fn decode(raw: proto::event::AlarmRaised) -> Self {
        Self {
            alarm: raw.alarm,
            severity: raw.severity,
            text: raw.text,
        }
    }
}

impl AlarmSilenced {
    pub(crate) fn encode(&self) -> proto::event::AlarmSilenced {
        proto::event::AlarmSilenced {
            alarm: cut(&self.alarm),
            by: cut(&self.by),
            silence_ms: self.silence_ms,
        }
    }

    pub(crate) fn decode(raw: proto::event::AlarmSilenced) -> Self {
        Self {
            alarm: raw.alarm,
            by: raw.by,
            silence_ms: raw.silence_ms,
        }
    }
}

impl AlarmResolved {
    pub(crate) fn encode(&self) -> proto::event::AlarmResolved {
        proto::event::AlarmResolved {
            alarm: cut(&self.alarm),
        }
    }

    pub(crate) fn decode(raw: proto::event::AlarmResolved) -> Self {
        Self { alarm: raw.alarm }
    }
}
