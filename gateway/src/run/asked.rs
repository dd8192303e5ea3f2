//! What people ask at the control socket.

use furrow_irrigation::ZoneIndex;
use tokio::sync::mpsc;

use super::gateway::Gateway;
use super::report;
use crate::control::server::Question;
use crate::control::{Answer, Ask};

impl Gateway {
    /// A person asked something.
    pub fn handle_question(&mut self, question: Question) {
        let Question { ask, reply } = question;
        let answer = match ask {
            Ask::Status => Answer::Report {
                report: report::status(self, self.field.now()),
            },
            Ask::Journal => Answer::Report {
                report: report::journal(self),
            },
            Ask::Water { zone, for_ms } => match self.zone_of(zone.as_str()) {
                Some(zone) => return self.water(zone, for_ms, reply),
                None => Answer::Refused {
                    reason: format!("there is no zone {zone}"),
                },
            },
            Ask::Stop { zone } => match self.zone_of(zone.as_str()) {
                Some(zone) => {
                    let was_running = self.watering.handle_stop(zone, self.field.now());
                    Answer::Stopping { was_running }
                }
                None => Answer::Refused {
                    reason: format!("there is no zone {zone}"),
                },
            },
        };
        if reply.try_send(answer).is_err() {
            tracing::debug!("nobody waits for an answer any more");
        }
    }

    fn water(&mut self, zone: ZoneIndex, for_ms: u64, reply: mpsc::Sender<Answer>) {
        match self
            .watering
            .handle_manual(zone, Some(for_ms), self.field.now())
        {
            Ok(run) => self.watch.add(zone, run, reply),
            Err(refusal) => {
                let reason = refusal.to_string();
                if reply.try_send(Answer::Refused { reason }).is_err() {
                    tracing::debug!("nobody waits for an answer any more");
                }
            }
        }
    }

    fn zone_of(&self, id: &str) -> Option<ZoneIndex> {
        let place = self
            .settings
            .zones()
            .iter()
            .position(|zone| zone.id.as_str() == id)?;
        Some(ZoneIndex(place))
    }
}
