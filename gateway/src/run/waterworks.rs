//! The event loop's part in watering.

use furrow_wire::Event;

use super::gateway::Gateway;
use super::watering::Effect;

/// Effects of the irrigation core that one turn executes: all of a full set of zones.
const EFFECTS_A_TURN: usize = 64;
/// Events that the page on the gateway shows: the journal keeps all.
const RECENT_MAX: usize = 64;

impl Gateway {
    /// Takes new readings to the irrigation and does what it decides.
    pub(super) fn execute_watering(&mut self) {
        let now = self.field.now();
        self.watering.handle_readings(self.sampling.latest(), now);
        for _ in 0..EFFECTS_A_TURN {
            match self.watering.poll_effect() {
                Some(Effect::Persist(state)) => {
                    self.records.persist(state);
                }
                Some(Effect::Job(job)) => self.submit(job),
                Some(Effect::Event(event)) => {
                    tracing::info!(zone = ?event.zone, what = ?event.what, "watering");
                    self.watch.handle_event(&event.what);
                    self.remember(&event);
                    self.journal_event(event);
                }
                Some(Effect::Refused(zone, reason, event)) => {
                    tracing::warn!(zone = ?event.zone, reason, "a run did not start");
                    self.watch.handle_refused(zone, &reason);
                    self.remember(&event);
                    self.journal_event(event);
                }
                None => return,
            }
        }
    }

    /// The latest events, oldest first, as people see them.
    pub(super) fn recent(&self) -> Vec<serde_json::Value> {
        let json = |event: &Event| serde_json::to_value(event).ok();
        self.recent.iter().filter_map(json).collect()
    }

    fn remember(&mut self, event: &Event) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(event.clone());
    }
}
