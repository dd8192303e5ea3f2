//! What people ask at the control socket.

use std::sync::Arc;

use furrow_gateway_core::LinkMs;
use furrow_irrigation::{Origin, Refusal, ZoneIndex};
use furrow_wire::DeviceId;
use tokio::sync::mpsc;

use super::gateway::Gateway;
use super::report;
use crate::control::server::Question;
use crate::control::{Answer, Ask, CHANNELS_A_LINE};

/// Right after the start a wish for water waits this long for the outputs to be known closed.
const EARLY_WAIT_MS: u64 = 10_000;
/// Wishes that wait so: one for each place of the control socket.
const EARLY_MAX: usize = 8;

/// Water that somebody asked for.
#[derive(Debug)]
pub struct Wish {
    zone: ZoneIndex,
    for_ms: u64,
    origin: Origin,
    reply: mpsc::Sender<Answer>,
    since: LinkMs,
}

impl Gateway {
    /// A person asked something.
    pub fn handle_question(&mut self, question: Question) {
        let Question { ask, origin, reply } = question;
        let answer = match ask {
            Ask::Watch => return self.tell_samples(&reply),
            Ask::Read { device, readings } => match self.measure(&device, readings, &reply) {
                Ok(()) => return,
                Err(reason) => Answer::Refused { reason },
            },
            Ask::Scan { addresses } => match self.survey(addresses, &reply) {
                Ok(()) => return,
                Err(reason) => Answer::Refused { reason },
            },
            Ask::Calibrate { entry } => self.take_calibration(*entry),
            Ask::Status => Answer::Report {
                report: report::status(self, self.field.now()),
            },
            Ask::Journal => Answer::Report {
                report: report::journal(self),
            },
            Ask::Water { zone, for_ms } => match self.zone_of(zone.as_str()) {
                Some(zone) => {
                    let since = self.delivery.now();
                    return self.water(Wish {
                        zone,
                        for_ms,
                        origin,
                        reply,
                        since,
                    });
                }
                None => Answer::Refused {
                    reason: format!("there is no zone {zone}"),
                },
            },
            Ask::Hold { for_ms } => {
                let now = self.field.now();
                let done = self.watering.handle_hold(origin, for_ms, now);
                done_or_refused(
                    done,
                    "all valves close, and none opens before the hold ends",
                )
            }
            Ask::Silence { for_ms } => silenced(self.silence(for_ms, origin)),
            Ask::Recent => Answer::Recent {
                events: self.recent(),
            },
            Ask::Release => {
                let now = self.field.now();
                let done = self.watering.handle_release(origin, now);
                done_or_refused(done, "watering may begin again")
            }
            Ask::Reset => {
                let locks = self.watering.handle_reset(origin, self.field.now());
                Answer::Done {
                    text: format!("{locks} locks were removed"),
                }
            }
            Ask::Stop { zone } => match self.zone_of(zone.as_str()) {
                Some(zone) => {
                    let was_running = self.watering.handle_stop(zone, origin, self.field.now());
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

    /// Water that was asked for before the outputs were known to be closed.
    pub(super) fn retry_early(&mut self) {
        for early in std::mem::take(&mut self.early) {
            self.water(early);
        }
    }

    fn tell_samples(&self, reply: &mpsc::Sender<Answer>) {
        let now = self.field.now();
        let samples = report::samples(self, now);
        let lines = samples
            .chunks(CHANNELS_A_LINE)
            .map(|samples| Answer::Samples {
                samples: samples.to_vec(),
            });
        let report = report::status(self, now);
        for answer in lines.chain([Answer::Report { report }]) {
            if reply.try_send(answer).is_err() {
                tracing::debug!("nobody waits for an answer any more");
            }
        }
    }

    fn measure(
        &mut self,
        device: &DeviceId,
        readings: u32,
        reply: &mpsc::Sender<Answer>,
    ) -> Result<(), String> {
        let settings = Arc::clone(&self.settings);
        let mut devices = settings.devices().iter().enumerate();
        let found = devices.find(|(_, other)| other.id == *device);
        let found = found.ok_or_else(|| format!("there is no device {device}"))?;
        let now_ms = self.field.now().mono_ms();
        self.measuring.add(found, readings, reply.clone(), now_ms)
    }

    fn water(&mut self, wish: Wish) {
        let Wish {
            zone,
            for_ms,
            origin,
            since,
            ..
        } = wish;
        let refusal =
            match self
                .watering
                .handle_manual(zone, Some(for_ms), origin, self.field.now())
            {
                Ok(run) => return self.watch.add(zone, run, wish.reply),
                Err(refusal) => refusal,
            };
        let patient = self.delivery.now().since(since) < EARLY_WAIT_MS;
        if refusal == Refusal::NotReady && patient && self.early.len() < EARLY_MAX {
            return self.early.push(wish);
        }
        let reason = refusal.to_string();
        if wish.reply.try_send(Answer::Refused { reason }).is_err() {
            tracing::debug!("nobody waits for an answer any more");
        }
    }

    pub(super) fn zone_of(&self, id: &str) -> Option<ZoneIndex> {
        let place = self
            .settings
            .zones()
            .iter()
            .position(|zone| zone.id.as_str() == id)?;
        Some(ZoneIndex(place))
    }
}

fn silenced(alarms: usize) -> Answer {
    let text = match alarms {
        0 => "nothing sounds".to_owned(),
        1 => "1 alarm is silenced".to_owned(),
        more => format!("{more} alarms are silenced"),
    };
    Answer::Done { text }
}

fn done_or_refused(done: Result<(), Refusal>, text: &str) -> Answer {
    match done {
        Ok(()) => Answer::Done {
            text: text.to_owned(),
        },
        Err(refusal) => Answer::Refused {
            reason: refusal.to_string(),
        },
    }
}
