//! What an irrigation rule decided, with everything that it depended on.

use serde::{Deserialize, Serialize};

use crate::event::cut;
use crate::{BodyError, proto};

/// What a rule decided, with everything that it depended on: enough to decide it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The rule's name.
    pub rule: String,
    /// `water`, `safe-dose`, `enough`, `outside-window`, `clock-unknown` or `input-unknown`.
    pub verdict: String,
    /// Why what it wants is not done; empty if nothing forbids it.
    pub refusal: String,
    /// What it looked at, `device/channel`.
    pub input: String,
    /// Its value, absent when it may not act.
    pub value: Option<Exact>,
    /// Age of its last good reading, in milliseconds; absent when there was none.
    pub age_ms: Option<u64>,
    /// J/cm² since the last dose, or mm of depletion.
    pub sum: Exact,
    /// Whether a moisture rule has begun and not yet reached its end.
    pub is_thirsty: bool,
    /// Minutes since local midnight, while the clock is known.
    pub minute: Option<u16>,
    /// How long ago the zone's last run ended, at least, in milliseconds.
    pub since_run_ms: Option<u64>,
    /// What it wants, in milliseconds.
    pub wanted_ms: Option<u64>,
    /// What it wants, in millilitres.
    pub wanted_millilitres: Option<u64>,
}

/// A number that must come back bit for bit. Equal by its bits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Exact(pub f64);

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Exact {}

impl Decision {
    pub(crate) fn encode(&self) -> proto::event::Decision {
        let decision = self;
        proto::event::Decision {
            rule: cut(&decision.rule),
            verdict: cut(&decision.verdict),
            refusal: cut(&decision.refusal),
            input: cut(&decision.input),
            value: decision.value.map(|value| value.0),
            age_ms: decision.age_ms,
            // Optional there: a field that is 0 and always present loses the sign of -0.
            sum: Some(decision.sum.0),
            is_thirsty: decision.is_thirsty,
            minute: decision.minute.map(u32::from),
            since_run_ms: decision.since_run_ms,
            wanted_ms: decision.wanted_ms,
            wanted_millilitres: decision.wanted_millilitres,
        }
    }

    pub(crate) fn decode(raw: proto::event::Decision) -> Result<Self, BodyError> {
        let minute = |minute: u32| {
            u16::try_from(minute).map_err(|_| {
                BodyError::invalid("events", "minute", format!("{minute} is no minute"))
            })
        };
        Ok(Decision {
            rule: raw.rule,
            verdict: raw.verdict,
            refusal: raw.refusal,
            input: raw.input,
            value: raw.value.map(Exact),
            age_ms: raw.age_ms,
            sum: Exact(raw.sum.unwrap_or(0.0)),
            is_thirsty: raw.is_thirsty,
            minute: raw.minute.map(minute).transpose()?,
            since_run_ms: raw.since_run_ms,
            wanted_ms: raw.wanted_ms,
            wanted_millilitres: raw.wanted_millilitres,
        })
    }
}
