//! The retained birth: said on connect, and again when it is old.

use furrow_wire::TopicKind;

use super::gateway::Gateway;
use super::report;

/// The birth is said again when it is this old: it tells people and ingest how much waits.
const BIRTH_EVERY_MS: u64 = 30 * 60_000;
/// And when a backlog that it told of is through, but not before it is this old.
const BIRTH_DRAINED_MS: u64 = 10_000;
/// Readings that make a backlog; fewer wait between any two packets.
const BACKLOG_READINGS: u64 = 1_000;

impl Gateway {
    pub(super) fn say_birth(&mut self) {
        let state = report::birth(self, self.field.now());
        let message = state.to_json().into();
        match self
            .delivery
            .link
            .publish_retained(TopicKind::State, message)
        {
            Ok(()) => {
                self.born_at = Some(self.delivery.now());
                self.told_waiting = self.delivery.outbox.totals().waiting_readings;
            }
            Err(error) => tracing::debug!(%error, "the birth was not said"),
        }
    }

    /// Again when it is old, and when a backlog is through.
    pub(super) fn say_birth_if_due(&mut self) {
        let Some(born_at) = self.born_at.filter(|_| self.delivery.link.is_up()) else {
            return;
        };
        let age = self.delivery.now().since(born_at);
        let drained = self.told_waiting >= BACKLOG_READINGS && self.delivery.outbox.is_empty();
        if age >= BIRTH_EVERY_MS || (drained && age >= BIRTH_DRAINED_MS) {
            self.say_birth();
        }
    }
}
