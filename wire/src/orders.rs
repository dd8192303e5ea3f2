//! What ingest wants a gateway to water by, and what became of it.

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::event::cut;
use crate::{BodyError, decode_message, proto};

/// Longest text of orders, in bytes: far more than 64 zones with rules need.
pub const MAX_ORDERS_BYTES: usize = 48 * 1_024;

/// Plantings, schedules and rules for one gateway. Wiring and limits stand in its local file alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Counts up for each gateway, from 1.
    pub version: u64,
    /// Who wants it, for the journal.
    pub issued_by: String,
    /// TOML, at most [`MAX_ORDERS_BYTES`].
    pub text: String,
}

/// What became of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrdersOutcome {
    /// They don't fit this gateway; nothing was changed.
    Refused,
    /// They hold, until the trial is over.
    OnTrial,
    /// They hold.
    Confirmed,
    /// What was before holds again.
    RolledBack,
}

impl Orders {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        proto::Orders {
            version: self.version,
            issued_by: cut(&self.issued_by),
            text: self.text.clone(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BodyError`] when it is no such message, is too long, or has no version.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let raw: proto::Orders = decode_message("orders", body)?;
        if raw.text.len() > MAX_ORDERS_BYTES {
            let len = raw.text.len();
            let reason = format!("{len} bytes (must be at most {MAX_ORDERS_BYTES})");
            return Err(BodyError::invalid("orders", "text", reason));
        }
        if raw.version == 0 {
            return Err(BodyError::invalid("orders", "version", "0"));
        }
        Ok(Self {
            version: raw.version,
            issued_by: raw.issued_by,
            text: raw.text,
        })
    }
}

impl OrdersOutcome {
    /// As in the API and in the archive.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            OrdersOutcome::Refused => "refused",
            OrdersOutcome::OnTrial => "on_trial",
            OrdersOutcome::Confirmed => "confirmed",
            OrdersOutcome::RolledBack => "rolled_back",
        }
    }

    pub(crate) fn to_proto(self) -> proto::event::ordered::Outcome {
        use proto::event::ordered::Outcome;
        match self {
            OrdersOutcome::Refused => Outcome::Refused,
            OrdersOutcome::OnTrial => Outcome::OnTrial,
            OrdersOutcome::Confirmed => Outcome::Confirmed,
            OrdersOutcome::RolledBack => Outcome::RolledBack,
        }
    }

    pub(crate) fn from_proto(code: i32) -> Result<Self, BodyError> {
        use proto::event::ordered::Outcome;
        match Outcome::try_from(code) {
            Ok(Outcome::Refused) => Ok(OrdersOutcome::Refused),
            Ok(Outcome::OnTrial) => Ok(OrdersOutcome::OnTrial),
            Ok(Outcome::Confirmed) => Ok(OrdersOutcome::Confirmed),
            Ok(Outcome::RolledBack) => Ok(OrdersOutcome::RolledBack),
            Ok(Outcome::Unspecified) | Err(_) => {
                let reason = format!("unknown code {code}");
                Err(BodyError::invalid("events", "outcome of orders", reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_round_trip_within_their_limits() {
        let orders = Orders {
            version: 3,
            issued_by: "chị Hoa".into(),
            text: "[[zone]]\nid = \"zone-1\"\n".into(),
        };
        assert_eq!(Orders::decode(&orders.encode()), Ok(orders.clone()));
        let none = Orders {
            version: 0,
            ..orders.clone()
        };
        assert!(Orders::decode(&none.encode()).is_err());
        let long = Orders {
            text: "a".repeat(MAX_ORDERS_BYTES + 1),
            ..orders
        };
        assert!(Orders::decode(&long.encode()).is_err());
    }
}
