//! The event loop's part in watering.

use super::gateway::Gateway;
use super::watering::Effect;

/// Effects of the irrigation core that one turn executes: all of a full set of zones.
const EFFECTS_A_TURN: usize = 64;

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
                    self.journal_event(event);
                }
                Some(Effect::Refused(zone, reason, event)) => {
                    tracing::warn!(zone = ?event.zone, reason, "a run did not start");
                    self.watch.handle_refused(zone, &reason);
                    self.journal_event(event);
                }
                None => return,
            }
        }
    }
}
