//! Commands from afar: judged, done, answered.

use std::error::Error;

use furrow_gateway_core::commands::Judged;
use furrow_irrigation::Origin;
use furrow_wire::{Command, CommandResult, TopicKind, Wanted, ZoneId};

use super::gateway::Gateway;

impl Gateway {
    pub(super) fn handle_command(&mut self, payload: &[u8]) {
        let command = match Command::decode(payload) {
            Ok(command) => command,
            Err(error) => {
                let error: &(dyn Error + 'static) = &error;
                return self.delivery.handle_malformed(TopicKind::Command, error);
            }
        };
        let now_ms = self.field.now().mono_ms();
        let result = match self.commands.judge(&command, now_ms) {
            Judged::Say(result) => result,
            Judged::Do => {
                let done = self.obey(&command.wanted);
                self.commands.answer(command.id, done, now_ms)
            }
        };
        let (by, wanted, outcome) = (&command.issued_by, &command.wanted, result.outcome);
        tracing::info!(
            by,
            ?wanted,
            ?outcome,
            text = result.text,
            "a command from afar"
        );
        self.say(&result);
    }

    /// Answers the run that it begins, or why it is not done.
    fn obey(&mut self, wanted: &Wanted) -> Result<Option<u64>, String> {
        let now = self.field.now();
        let millis = |seconds: u32| u64::from(seconds) * 1_000;
        let unknown = |zone: &ZoneId| format!("there is no zone {zone}");
        match wanted {
            Wanted::OpenZone { zone, seconds } => {
                let place = self.zone_of(zone.as_str()).ok_or_else(|| unknown(zone))?;
                let run_ms = Some(millis(*seconds));
                let run = self
                    .watering
                    .handle_manual(place, run_ms, Origin::Cloud, now);
                run.map(Some).map_err(|refusal| refusal.to_string())
            }
            Wanted::StopZone { zone } => {
                let place = self.zone_of(zone.as_str()).ok_or_else(|| unknown(zone))?;
                if self.watering.handle_stop(place, Origin::Cloud, now) {
                    Ok(None)
                } else {
                    Err(format!("zone {zone} is not watered"))
                }
            }
            Wanted::Hold { seconds } => {
                let held = self
                    .watering
                    .handle_hold(Origin::Cloud, millis(*seconds), now);
                held.map(|()| None).map_err(|refusal| refusal.to_string())
            }
            Wanted::Release => {
                let released = self.watering.handle_release(Origin::Cloud, now);
                released
                    .map(|()| None)
                    .map_err(|refusal| refusal.to_string())
            }
        }
    }

    /// Without a link the person learns it from the events, or by asking again.
    fn say(&mut self, result: &CommandResult) {
        let message = result.encode();
        let link = &mut self.delivery.link;
        if let Err(error) = link.publish_once(TopicKind::Result, message) {
            self.commands.handle_unsaid();
            tracing::warn!(%error, id = %result.id, "the result of a command was not said");
        }
    }
}
