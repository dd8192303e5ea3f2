//! What is known of gateways right now: shared by the subscriber, which writes, and the API, which reads.
//!
//! Nothing here is durable; the marks themselves live with the log's consumer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use furrow_ingest_core::SetBack;
use furrow_wire::{CooperativeId, GatewayId};
use serde::Serialize;

/// One gateway, as last heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Its birth or last will, whichever came last.
    pub online: bool,
    /// Receive time of its last message in Unix milliseconds.
    pub last_seen_unix_ms: Option<i64>,
    /// Version of its program.
    pub software: String,
    /// Readings it holds that are not acknowledged, by its own word.
    pub waiting_readings: u64,
    /// Readings it had to drop, by its own word.
    pub lost_readings: u64,
    /// Readings it ever journalled, by its own word.
    pub journalled_readings: u64,
    /// Records that exist by a later seq or by the gateway's word and have not come.
    pub missing_records: u64,
    /// Records that came again and were acknowledged again without being stored.
    pub duplicates_ignored: u64,
    /// Records that wait for a catalog, a mapping or a newer program.
    pub parked: u64,
    /// Records that were refused.
    pub dead: u64,
    /// Per stream, what ingest holds.
    pub streams: Vec<StreamStatus>,
    /// Signs that its card was replaced or cloned.
    pub card: CardStatus,
}

/// Signs that a gateway's card was replaced by an older image, or cloned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CardStatus {
    /// Records whose names were held with other bytes, since ingest's start; they are dead letters.
    pub conflicting_records: u64,
    /// Streams of which the card holds less than was delivered, by the last birth.
    pub set_back: Vec<SetBackStatus>,
    /// When two boots were last found to be up at once, Unix milliseconds.
    pub clones_seen_ms: Option<i64>,
}

/// A stream of which the card holds less than was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetBackStatus {
    /// 16 hexadecimal digits.
    pub stream: String,
    /// The last record on the card.
    pub held_last: u64,
    /// The last record that was delivered.
    pub stored_last: u64,
}

impl SetBackStatus {
    pub(crate) fn of(set_back: &SetBack) -> Self {
        Self {
            stream: set_back.stream.to_string(),
            held_last: set_back.held_last,
            stored_last: set_back.stored_last,
        }
    }
}

/// What ingest holds of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamStatus {
    /// 16 hexadecimal digits.
    pub stream: String,
    /// Everything up to here is stored.
    pub mark: u64,
    /// Inclusive ranges stored above the mark.
    pub ranges: Vec<(u64, u64)>,
    /// First and last record the gateway says it holds, if it said so.
    pub held: Option<(u64, u64)>,
}

/// All gateways and the link to the broker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    gateways: Arc<RwLock<BTreeMap<(CooperativeId, GatewayId), GatewayStatus>>>,
    broker_up: Arc<AtomicBool>,
}

impl Fleet {
    /// Changes what is known of a gateway.
    pub fn update(
        &self,
        cooperative: &CooperativeId,
        gateway: &GatewayId,
        change: impl FnOnce(&mut GatewayStatus),
    ) {
        let mut gateways = self
            .gateways
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(
            gateways
                .entry((cooperative.clone(), gateway.clone()))
                .or_default(),
        );
    }

    /// Nothing is known of a cooperative's gateways any more.
    pub fn forget(&self, cooperative: &CooperativeId) {
        let mut gateways = self
            .gateways
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        gateways.retain(|(of, _), _| of != cooperative);
    }

    /// What is known of a gateway; nothing if it was never heard.
    #[must_use]
    pub fn get(&self, cooperative: &CooperativeId, gateway: &GatewayId) -> GatewayStatus {
        let gateways = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
        gateways
            .get(&(cooperative.clone(), gateway.clone()))
            .cloned()
            .unwrap_or_default()
    }

    /// How many gateways are online.
    #[must_use]
    pub fn online(&self) -> u64 {
        let gateways = self.gateways.read().unwrap_or_else(PoisonError::into_inner);
        u64::try_from(gateways.values().filter(|gateway| gateway.online).count())
            .unwrap_or(u64::MAX)
    }

    /// Says whether ingest is connected to its broker and subscribed.
    pub fn set_broker_up(&self, up: bool) {
        self.broker_up.store(up, Ordering::Release);
    }

    /// Whether ingest is connected to its broker and subscribed.
    #[must_use]
    pub fn broker_up(&self) -> bool {
        self.broker_up.load(Ordering::Acquire)
    }
}
