//! When a gateway gets its next acknowledgement: at once, but one a second or every 8 packets.
//!
//! A quiet gateway's packet is acknowledged at once: the acknowledgement then follows so closely on
//! the broker's PUBACK that one TCP acknowledgement answers both, which a mobile link is paid for.
//!
//! It counts and keeps time. What the acknowledgement says is the tracker's business.

use std::collections::{BTreeMap, BTreeSet};

use furrow_wire::StreamId;

use crate::tracker::GatewayKey;

/// Packets after which an acknowledgement goes out without waiting: a quarter of a gateway's window
/// of 32, so that a draining backlog never stands still.
pub const ACK_AFTER_PACKETS: u32 = 8;
/// Shortest pause between two acknowledgements, unless that many packets came, and so the longest
/// wait of a packet's, in milliseconds.
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
    turns: BTreeMap<GatewayKey, Turn>,
}

/// A gateway that waits for an acknowledgement, or had one within the last second.
#[derive(Debug, Default)]
struct Turn {
    packets: u32,
    /// When the next one goes; `None`: there is nothing to say.
    due_ms: Option<u64>,
    /// The pause after the last one ends here.
    rested_ms: u64,
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
        let turn = self.turns.entry(gateway.clone()).or_default();
        turn.packets = turn.packets.saturating_add(1);
        turn.streams.extend(streams);
        let due_ms = if turn.packets >= ACK_AFTER_PACKETS {
            now_ms
        } else {
            turn.rested_ms.max(now_ms)
        };
        turn.be_due(due_ms);
    }

    /// The gateway has connected: it is told everything at once.
    pub fn handle_connect(&mut self, gateway: &GatewayKey, now_ms: u64) {
        let turn = self.turns.entry(gateway.clone()).or_default();
        turn.all = true;
        turn.be_due(now_ms);
    }

    /// When [`AckSchedule::poll_due`] next has something to give.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.turns.values().filter_map(|turn| turn.due_ms).min()
    }

    /// Takes what is due.
    pub fn poll_due(&mut self, now_ms: u64) -> Vec<DueAck> {
        self.turns
            .retain(|_, turn| turn.due_ms.is_some() || turn.rested_ms > now_ms);
        self.turns
            .iter_mut()
            .filter(|(_, turn)| turn.due_ms.is_some_and(|due_ms| due_ms <= now_ms))
            .map(|(gateway, turn)| {
                let said = std::mem::take(turn);
                turn.rested_ms = now_ms.saturating_add(ACK_AFTER_MS);
                let scope = if said.all {
                    AckScope::All
                } else {
                    AckScope::Touched(said.streams)
                };
                let gateway = gateway.clone();
                DueAck { gateway, scope }
            })
            .collect()
    }

    /// Puts one back that could not be sent; it is due again after a second.
    pub fn handle_unsent(&mut self, due: DueAck, now_ms: u64) {
        let turn = self.turns.entry(due.gateway).or_default();
        match due.scope {
            AckScope::All => turn.all = true,
            AckScope::Touched(streams) => turn.streams.extend(streams),
        }
        turn.be_due(now_ms.saturating_add(ACK_AFTER_MS));
    }
}

impl Turn {
    /// What is due sooner stays so.
    fn be_due(&mut self, due_ms: u64) {
        self.due_ms = Some(self.due_ms.map_or(due_ms, |before| before.min(due_ms)));
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
    fn a_quiet_gateways_packet_does_not_wait_and_others_at_most_a_second() {
        let mut acks = AckSchedule::default();
        acks.handle_packet(&key("g"), [StreamId(7)], 100);
        assert_eq!(acks.poll_timeout(), Some(100));
        assert_eq!(acks.poll_due(100), [touched("g", &[7])]);
        assert_eq!(acks.poll_timeout(), None);
        acks.handle_packet(&key("g"), [StreamId(1)], 110);
        acks.handle_packet(&key("g"), [StreamId(2)], 900);
        assert_eq!(acks.poll_timeout(), Some(1_100));
        assert_eq!(acks.poll_due(1_099), []);
        assert_eq!(acks.poll_due(1_100), [touched("g", &[1, 2])]);
        assert_eq!(acks.poll_timeout(), None);
        acks.handle_packet(&key("g"), [StreamId(1)], 2_100);
        assert_eq!(acks.poll_due(2_100), [touched("g", &[1])]);
    }

    #[test]
    fn who_has_rested_is_forgotten() {
        let mut acks = AckSchedule::default();
        acks.handle_packet(&key("g"), [StreamId(1)], 0);
        assert_eq!(acks.poll_due(0).len(), 1);
        assert_eq!(acks.poll_due(999), []);
        assert_eq!(acks.turns.len(), 1);
        assert_eq!(acks.poll_due(1_000), []);
        assert_eq!(acks.turns.len(), 0);
    }

    #[test]
    fn eight_packets_do_not_wait_and_gateways_do_not_mix() {
        let mut acks = AckSchedule::default();
        for gateway in ["busy", "other"] {
            acks.handle_packet(&key(gateway), [StreamId(1)], 0);
        }
        assert_eq!(acks.poll_due(0).len(), 2);
        acks.handle_packet(&key("other"), [StreamId(9)], 1);
        for at in 1..=8 {
            assert_eq!(acks.poll_due(at), []);
            acks.handle_packet(&key("busy"), [StreamId(1)], at);
        }
        assert_eq!(acks.poll_due(8), [touched("busy", &[1])]);
        assert_eq!(acks.poll_due(1_000), [touched("other", &[9])]);
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
