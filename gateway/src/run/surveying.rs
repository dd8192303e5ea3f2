//! A person wants to know what is on the buses: the workers look, between their readings.

use tokio::sync::mpsc;

use super::gateway::Gateway;
use crate::config::BusKind;
use crate::control::{Answer, BusAt, SurveyLine};
use crate::devices::{Job, Part};
use crate::survey::{Addresses, Next};

/// Who asked; one at a time.
#[derive(Debug, Default)]
pub struct Surveying(Option<Asker>);

#[derive(Debug)]
struct Asker {
    reply: mpsc::Sender<Answer>,
    /// Buses that are not done.
    left: usize,
    /// A line did not get through: the answer would have a gap, and must not seem to be whole.
    is_lost: bool,
}

impl Gateway {
    /// Somebody asks for a survey of all buses.
    ///
    /// # Errors
    /// Why not, for people.
    pub(super) fn survey(
        &mut self,
        addresses: Addresses,
        reply: &mpsc::Sender<Answer>,
    ) -> Result<(), String> {
        if self.surveying.0.is_some() {
            return Err("somebody scans already: try again in a minute".to_owned());
        }
        let buses = self.settings.buses().iter();
        let buses: Vec<BusAt> = buses
            .map(|bus| BusAt {
                id: bus.id.to_string(),
                i2c: bus.i2c,
                port: match &bus.kind {
                    BusKind::Rs485(serial) => Some(serial.device.clone()),
                    BusKind::Pi
                    | BusKind::Linux { .. }
                    | BusKind::Simulated { .. }
                    | BusKind::OneWire { .. }
                    | BusKind::Guard { .. } => None,
                },
            })
            .collect();
        let left = buses.len();
        self.surveying.0 = Some(Asker {
            reply: reply.clone(),
            left,
            is_lost: false,
        });
        self.tell_surveyed(SurveyLine::Scanning { buses });
        for bus in 0..left {
            self.submit(Job::Survey {
                bus,
                part: 0,
                addresses,
            });
        }
        Ok(())
    }

    /// A bus was looked at in part: tells what was seen, and has it go on.
    pub(super) fn handle_surveyed(
        &mut self,
        (bus, part, addresses): (usize, u32, Addresses),
        outcome: &Part,
        now_ms: u64,
    ) {
        let Some(asker) = &self.surveying.0 else {
            return;
        };
        // Who no longer listens is told nothing, and the bus is asked nothing more.
        let is_wanted = !asker.reply.is_closed() && !asker.is_lost && !self.stopping;
        let id = self.settings.buses().get(bus);
        let id = id.map_or_else(String::new, |bus| bus.id.to_string());
        if !outcome.seen.is_empty() {
            let (bus, seen) = (id.clone(), outcome.seen.clone());
            self.tell_surveyed(SurveyLine::Seen { bus, seen });
        }
        if let Some(slave) = outcome.slave {
            let bus = id.clone();
            self.tell_surveyed(SurveyLine::Looking { bus, slave });
        }
        match &outcome.next {
            Ok(Next::After { ms }) if is_wanted => {
                let next = Job::Survey {
                    bus,
                    part: part.saturating_add(1),
                    addresses,
                };
                self.dispatch
                    .later(next, now_ms.saturating_add((*ms).into()));
            }
            Ok(Next::After { .. } | Next::Done) => self.handle_bus_done(id, None),
            Err(problem) => self.handle_bus_done(id, Some(problem.clone())),
        }
    }

    fn handle_bus_done(&mut self, bus: String, problem: Option<String>) {
        self.tell_surveyed(SurveyLine::Scanned { bus, problem });
        if let Some(asker) = &mut self.surveying.0 {
            asker.left = asker.left.saturating_sub(1);
            if asker.left == 0 {
                self.surveying.0 = None;
            }
        }
    }

    fn tell_surveyed(&mut self, line: SurveyLine) {
        let Some(asker) = self.surveying.0.as_mut().filter(|asker| !asker.is_lost) else {
            return;
        };
        if asker.reply.try_send(Answer::Survey { line }).is_err() {
            tracing::debug!("who asked for a survey is gone or does not read: it ends");
            asker.is_lost = true;
        }
    }
}
