//! What happens, as it happens: bounded broadcast to subscribers of one cooperative.
//!
//! Nothing here is a promise of delivery: a subscriber that is too slow is dropped and counted, and
//! reads the archive again when it returns.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use furrow_wire::CooperativeId;
use serde_json::Value;
use tokio::sync::broadcast;

/// Messages a subscriber may be behind before it is dropped: two rounds of a cooperative with 100 greenhouses
/// of 16 channels each, all applied at once.
pub const LIVE_QUEUE_MESSAGES: usize = 4096;

/// What a message is about: the SSE event name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LiveKind {
    /// The newest value of a series; one message for each series and group of log entries.
    Reading,
    /// An alert changed its state.
    Alert,
    /// A watering run, fault or start.
    Event,
    /// A gateway came, went, or told what it holds.
    Gateway,
}

impl LiveKind {
    /// The SSE event name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LiveKind::Reading => "reading",
            LiveKind::Alert => "alert",
            LiveKind::Event => "event",
            LiveKind::Gateway => "gateway",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveMessage {
    /// What it is about.
    pub kind: LiveKind,
    /// One JSON object.
    pub data: Value,
}

/// The channels of all cooperatives. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LiveHub {
    channels: Arc<RwLock<BTreeMap<CooperativeId, broadcast::Sender<Arc<LiveMessage>>>>>,
}

impl LiveHub {
    /// Whether anybody listens to this cooperative: spares the work of making messages.
    #[must_use]
    pub fn has_listeners(&self, cooperative: &CooperativeId) -> bool {
        let channels = self
            .channels
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        channels
            .get(cooperative)
            .is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Sends to whoever listens; nobody is waited for.
    pub fn send(&self, cooperative: &CooperativeId, message: LiveMessage) {
        let channels = self
            .channels
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(sender) = channels.get(cooperative) {
            // An error only says that the last listener has just left.
            drop(sender.send(Arc::new(message)));
        }
    }

    /// Listens to a cooperative from now on.
    #[must_use]
    pub fn subscribe(&self, cooperative: &CooperativeId) -> broadcast::Receiver<Arc<LiveMessage>> {
        let mut channels = self
            .channels
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        channels
            .entry(cooperative.clone())
            .or_insert_with(|| broadcast::channel(LIVE_QUEUE_MESSAGES).0)
            .subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::sync::broadcast::error::TryRecvError;

    #[test]
    fn a_cooperative_hears_only_its_own_and_a_slow_listener_lags() {
        let hub = LiveHub::default();
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        let message = |n: usize| LiveMessage {
            kind: LiveKind::Event,
            data: json!({ "n": n }),
        };
        hub.send(&one, message(0));
        assert!(!hub.has_listeners(&one));
        let mut heard = hub.subscribe(&one);
        let mut other = hub.subscribe(&two);
        assert!(hub.has_listeners(&one));
        for n in 0..=LIVE_QUEUE_MESSAGES {
            hub.send(&one, message(n));
        }
        assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(heard.try_recv(), Err(TryRecvError::Lagged(1)));
        assert_eq!(*heard.try_recv().unwrap(), message(1));
        drop(heard);
        assert!(!hub.has_listeners(&one));
    }
}
