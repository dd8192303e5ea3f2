//! When a gateway gets its next acknowledgement: after 8 packets or 1 s, and at once on connect.
//!
//! It counts and keeps time. What the acknowledgement says is the tracker's business.

use std::collections::{BTreeMap, BTreeSet};

use furrow_wire::StreamId;

use crate::tracker::GatewayKey;

/// Packets after which an acknowledgement goes out without waiting: a quarter of a gateway's window
/// of 32, so that a draining backlog never stands still.
pub const ACK_AFTER_PACKETS: u32 = 8;
/// Longest wait of a packet's acknowledgement, in milliseconds.
pub const ACK_AFTER_MS: u64 = 1_000;

/// Which streams an acknowledgement speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckScope {
    /// All that the gateway holds: it has just connected.
    All,
    /// Those of which something came since the last one.
    Touched(BTreeSet<StreamId>),
}

/// An acknowledgement to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAck {
    /// To whom.
    pub gateway: GatewayKey,
    /// About what.
    pub scope: AckScope,
}

/// Pending acknowledgements of all gateways. Times are monotonic milliseconds.
#[derive(Debug, Default)]
pub struct AckSchedule {
    pending: BTreeMap<GatewayKey, Pending>,
}

#[derive(Debug)]
struct Pending {
    packets: u32,
    due_ms: u64,
    all: bool,
    streams: BTreeSet<StreamId>,
}

impl AckSchedule {
    /// A packet of this gateway has been taken (or was a duplicate: that is acknowledged again).
    pub fn handle_packet(
        &mut self,
        gateway: &GatewayKey,
        streams: impl IntoIterator<Item = StreamId>,
        now_ms: u64,
    ) {
        let pending = self.pending_of(gateway, now_ms);
        pending.packets = pending.packets.saturating_add(1);
        pending.streams.extend(streams);
        if pending.packets >= ACK_AFTER_PACKETS {
            pending.due_ms = now_ms;
        }
    }

    /// The gateway has connected: it is told everything at once.
    pub fn handle_connect(&mut self, gateway: &GatewayKey, now_ms: u64) {
        let pending = self.pending_of(gateway, now_ms);
        pending.all = true;
        pending.due_ms = now_ms;
    }

    /// When [`AckSchedule::poll_due`] next has something to give.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.pending.values().map(|pending| pending.due_ms).min()
    }

    /// Takes what is due.
    pub fn poll_due(&mut self, now_ms: u64) -> Vec<DueAck> {
        self.pending
            .extract_if(.., |_, pending| pending.due_ms <= now_ms)
            .map(|(gateway, pending)| DueAck {
                gateway,
                scope: if pending.all {
                    AckScope::All
                } else {
                    AckScope::Touched(pending.streams)
                },
            })
            .collect()
    }

    /// Puts one back that could not be sent; it is due again after a second.
    pub fn handle_unsent(&mut self, due: DueAck, now_ms: u64) {
        let pending = self.pending_of(&due.gateway, now_ms);
        match due.scope {
            AckScope::All => pending.all = true,
            AckScope::Touched(streams) => pending.streams.extend(streams),
        }
    }

    fn pending_of(&mut self, gateway: &GatewayKey, now_ms: u64) -> &mut Pending {
        self.pending
            .entry(gateway.clone())
            .or_insert_with(|| Pending {
                packets: 0,
                due_ms: now_ms.saturating_add(ACK_AFTER_MS),
                all: false,
                streams: BTreeSet::new(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(gateway: &str) -> GatewayKey {
        GatewayKey {
            cooperative: "a".parse().unwrap(),
            gateway: gateway.parse().unwrap(),
        }
    }

    fn touched(gateway: &str, streams: &[u64]) -> DueAck {
        let streams = streams.iter().copied().map(StreamId).collect();
        DueAck {
            gateway: key(gateway),
            scope: AckScope::Touched(streams),
        }
    }

    #[test]
    fn a_packet_waits_at_most_a_second() {
        let mut acks = AckSchedule::default();
        acks.handle_packet(&key("g"), [StreamId(1)], 100);
        acks.handle_packet(&key("g"), [StreamId(2)], 900);
        assert_eq!(acks.poll_timeout(), Some(1_100));
        assert_eq!(acks.poll_due(1_099), []);
        assert_eq!(acks.poll_due(1_100), [touched("g", &[1, 2])]);
        assert_eq!(acks.poll_timeout(), None);
        assert_eq!(acks.poll_due(9_999), []);
    }

    #[test]
    fn eight_packets_do_not_wait_and_gateways_do_not_mix() {
        let mut acks = AckSchedule::default();
        for at in 0..8 {
            acks.handle_packet(&key("busy"), [StreamId(1)], at);
            acks.handle_packet(&key("other"), [StreamId(9)], 500);
            if at < 6 {
                assert_eq!(acks.poll_due(at), []);
            }
        }
        assert_eq!(acks.poll_due(7), [touched("busy", &[1])]);
        assert_eq!(acks.poll_due(500), [touched("other", &[9])]);
    }

    #[test]
    fn a_connect_is_answered_at_once_and_an_unsent_one_is_kept() {
        let mut acks = AckSchedule::default();
        acks.handle_packet(&key("g"), [StreamId(1)], 0);
        acks.handle_connect(&key("g"), 10);
        let all = DueAck {
            gateway: key("g"),
            scope: AckScope::All,
        };
        assert_eq!(acks.poll_due(10), std::slice::from_ref(&all));
        acks.handle_unsent(all.clone(), 10);
        assert_eq!(acks.poll_due(10), []);
        assert_eq!(acks.poll_due(1_010), [all]);
    }
}
