//! The event loop's part in watering.

use furrow_irrigation::{Cause, Origin, Refusal};
use furrow_wire::{Event, EventKind, ZoneId};

use super::buttons::Press;
use super::gateway::Gateway;
use super::told::refusal_of;
use super::watering::Effect;
use crate::bus::FieldTime;

/// Effects of the irrigation core that one turn executes: all of a full set of zones.
const EFFECTS_A_TURN: usize = 64;
/// Events that the page on the gateway shows: the journal keeps all.
const RECENT_MAX: usize = 64;

impl Gateway {
    /// Takes new readings to the irrigation and does what it decides.
    pub(super) fn execute_watering(&mut self) {
        let now = self.field.now();
        self.watering.handle_readings(self.sampling.latest(), now);
        self.press_buttons(now);
        for _ in 0..EFFECTS_A_TURN {
            match self.watering.poll_effect(now) {
                Some(Effect::Persist(state)) => {
                    self.records.persist(state);
                }
                Some(Effect::Job(job)) => self.submit(job),
                Some(Effect::Event(event)) => {
                    tracing::info!(zone = ?event.zone, what = ?event.what, "watering");
                    self.watch.handle_event(&event.what);
                    if let EventKind::Lockout { text } = &event.what {
                        self.handle_locked(text);
                    }
                    let zone = event.zone.as_ref().and_then(|id| self.place_of(id));
                    self.alarming.handle_event(zone, &event.what, now);
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

    fn press_buttons(&mut self, now: FieldTime) {
        let held_ms = self.watering.site_view(now).held_ms;
        let presses = self
            .buttons
            .handle_readings(self.sampling.latest(), held_ms);
        for press in presses {
            tracing::info!(?press, "a button was pressed");
            let done = match press {
                Press::Stop { hold_ms } => self.watering.handle_hold(Origin::Button, hold_ms, now),
                Press::Water { zone, for_ms } => self
                    .watering
                    .handle_manual(zone, Some(for_ms), Origin::Button, now)
                    .map(drop),
                Press::Silence { for_ms } => {
                    self.silence(for_ms, Origin::Button);
                    Ok(())
                }
            };
            if let Err(refusal) = done {
                tracing::warn!(?press, %refusal, "what a button wants is not done");
                self.tell_refused(press, &refusal, now);
            }
        }
    }

    /// A button has no screen: why it did nothing stands in the journal and on the page.
    fn tell_refused(&mut self, press: Press, refusal: &Refusal, now: FieldTime) {
        let zone = match press {
            Press::Water { zone, .. } => self.settings.zones().get(zone.0),
            Press::Stop { .. } | Press::Silence { .. } => None,
        };
        let event = Event {
            at_mono_ms: now.mono_ms(),
            zone: zone.map(|zone| zone.id.clone()),
            planting: None,
            what: EventKind::Decision(Box::new(refusal_of(Cause::Manual, refusal))),
        };
        self.remember(&event);
        self.journal_event(event);
    }

    /// The latest events, oldest first, as people see them.
    pub(super) fn recent(&self) -> Vec<serde_json::Value> {
        let json = |event: &Event| serde_json::to_value(event).ok();
        self.recent.iter().filter_map(json).collect()
    }

    fn place_of(&self, id: &ZoneId) -> Option<usize> {
        self.settings.zones().iter().position(|zone| zone.id == *id)
    }

    pub(super) fn remember(&mut self, event: &Event) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(event.clone());
    }
}
