//! Signs that a gateway's card was replaced by an older image, or cloned.
//!
//! Nothing is lost or mixed by either: a gateway that starts draws a new stream, and what comes twice is
//! known by its name. But people must know: readings that were only on the old card are gone, and two
//! gateways that share a name push each other off the broker.

use std::collections::BTreeMap;

use furrow_ingest_core::{GatewayKey, SetBack};
use furrow_wire::BootId;

use crate::http::{CardStatus, SetBackStatus};
use crate::metrics::{Counter, Metrics};

/// Boots remembered per gateway: two clones alternate between two.
const MAX_BOOTS: usize = 8;
/// Least time between two warnings of the same gateway: clones take turns every few seconds.
const WARN_EVERY_MS: i64 = 10 * 60 * 1_000;

/// What is known of all gateways' cards. In memory: each birth tells it again.
#[derive(Debug)]
pub(super) struct Cards {
    gateways: BTreeMap<GatewayKey, Known>,
    set_back: Counter,
    clones: Counter,
}

#[derive(Debug, Default)]
struct Known {
    /// The latest last.
    boots: Vec<BootId>,
    warned_ms: Option<i64>,
    status: CardStatus,
}

impl Cards {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let plain = |name, help| metrics.counter(name, help, &[]);
        Self {
            gateways: BTreeMap::new(),
            set_back: plain(
                "furrow_cards_set_back_total",
                "Times that a gateway's card was found to hold less than it had delivered.",
            ),
            clones: plain(
                "furrow_gateway_clones_total",
                "Times that two boots of one gateway were found to be up at once.",
            ),
        }
    }

    /// A birth: its boot, and what its card lacks.
    pub(super) fn handle_birth(
        &mut self,
        key: &GatewayKey,
        boot: BootId,
        set_back: &[SetBack],
        received_ms: i64,
    ) {
        let known = self.gateways.entry(key.clone()).or_default();
        let set_back: Vec<SetBackStatus> = set_back.iter().map(SetBackStatus::of).collect();
        if set_back != known.status.set_back && !set_back.is_empty() {
            self.set_back.increment();
            tracing::warn!(gateway = %key, streams = set_back.len(), "journal went back in time");
        }
        known.status.set_back = set_back;
        if known.boots.last() == Some(&boot) {
            return;
        }
        // A boot that was followed by another is over, unless both are up.
        if known.boots.contains(&boot) {
            self.clones.increment();
            known.status.clones_seen_ms = Some(received_ms);
            let is_news = known
                .warned_ms
                .is_none_or(|at| received_ms.saturating_sub(at) >= WARN_EVERY_MS);
            if is_news {
                known.warned_ms = Some(received_ms);
                tracing::warn!(gateway = %key, "two gateways are up under one name");
            }
        }
        known.boots.retain(|other| *other != boot);
        known.boots.push(boot);
        let surplus = known.boots.len().saturating_sub(MAX_BOOTS);
        known.boots.drain(..surplus);
    }

    /// Records came whose names are held with other bytes.
    pub(super) fn handle_conflicts(&mut self, key: &GatewayKey, records: u64) {
        let known = self.gateways.entry(key.clone()).or_default();
        known.status.conflicting_records += records;
        tracing::error!(gateway = %key, records, "two contents under one name; the later is set aside");
    }

    pub(super) fn status(&self, key: &GatewayKey) -> CardStatus {
        let known = self.gateways.get(key);
        known.map(|known| known.status.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_that_comes_back_is_a_clone_and_a_reboot_is_not() {
        let mut cards = Cards::new(&Metrics::default());
        let key = GatewayKey {
            cooperative: "a".parse().unwrap(),
            gateway: "g".parse().unwrap(),
        };
        let mut clones = Vec::new();
        for (at, boot) in (0..).zip([1, 1, 2, 2, 3, 3, 2, 3]) {
            cards.handle_birth(&key, BootId(boot), &[], at);
            clones.push(cards.status(&key).clones_seen_ms);
        }
        let none = [None; 6];
        assert_eq!(clones[..6], none);
        assert_eq!(clones[6..], [Some(6), Some(7)]);
        for boot in 10..40 {
            cards.handle_birth(&key, BootId(boot), &[], 99);
        }
        assert_eq!(cards.gateways[&key].boots.len(), MAX_BOOTS);
        assert_eq!(cards.status(&key).clones_seen_ms, Some(7));
    }
}
