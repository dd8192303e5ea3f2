//! Jobs of the buses: which are begun, and what follows from their answers.

use furrow_drivers::{BusFault, Cause, SensorError};
use furrow_gateway_core::FieldMs;
use furrow_irrigation::ZoneIndex;
use furrow_wire::Event;

use super::dispatch::Turn;
use super::gateway::Gateway;
use super::measuring::EXTRA_TICK_MS;
use crate::bus::Busy;
use crate::devices::{Done, Job, Outcome};

impl Gateway {
    /// A device answered. Gives the token of its job, to be kept until what follows has begun.
    pub fn handle_done(&mut self, done: Done) -> Busy {
        let turn = self.dispatch.done(done.job, self.field.now().mono_ms());
        let busy = self.take_outcome(done);
        self.take_turn(turn);
        busy
    }

    fn take_outcome(&mut self, done: Done) -> Busy {
        let Done {
            job,
            outcome,
            at_mono_ms,
            busy,
        } = done;
        let now = self.field.now();
        match (job, &outcome) {
            (Job::Prepare { device }, Outcome::Prepared(ready)) => {
                let ready = match ready {
                    Ok(ready) => ready.unwrap_or(at_mono_ms),
                    Err(error) => {
                        tracing::warn!(%error, cause = %error.cause, "a device can't be prepared");
                        at_mono_ms
                    }
                };
                let ready = FieldMs(ready.max(now.mono_ms()));
                self.sampling.handle_prepared(device, ready);
            }
            (Job::Read { .. }, Outcome::Later { until_ms }) => {
                self.dispatch.later(job, *until_ms);
            }
            (Job::Read { device, tick_ms }, Outcome::Readings(readings)) => {
                let of_tick = if tick_ms == EXTRA_TICK_MS {
                    self.measuring.handle_extra_done(device)
                } else {
                    Some(tick_ms)
                };
                self.tell_measured(device, readings, now.mono_ms());
                let Some(tick_ms) = of_tick else {
                    return busy;
                };
                let told = self
                    .sampling
                    .handle_readings(device, FieldMs(tick_ms), readings);
                if let Some(what) = told {
                    tracing::info!(?what, "a device changed");
                    self.journal_event(Event {
                        at_mono_ms,
                        zone: None,
                        planting: None,
                        what,
                    });
                }
            }
            (Job::Lease { .. } | Job::Status { .. } | Job::ClearFlags { .. }, _) => {
                self.watering.handle_outcome(job, &outcome, now);
                if let Job::Status { output } = job
                    && let Some(progress) = self.watering.progress(ZoneIndex(output), now)
                {
                    self.watch.handle_progress(ZoneIndex(output), &progress);
                }
            }
            (
                Job::Survey {
                    bus,
                    part,
                    addresses,
                },
                Outcome::Surveyed(seen),
            ) => self.handle_surveyed((bus, part, addresses), seen, now.mono_ms()),
            (Job::Prepare { .. } | Job::Read { .. } | Job::Survey { .. }, _) => {
                tracing::error!(?job, "a device's answer does not fit its job");
            }
        }
        busy
    }

    /// Reads what is due, and what people ask for beside that. A device is in one reading at a time:
    /// a tick that comes while another one is under way gets that one's.
    pub(super) fn begin_readings(&mut self, at: FieldMs) {
        while let Some(tick) = self.sampling.poll_tick(at) {
            let job = Job::Read {
                device: tick.device,
                tick_ms: tick.at.0,
            };
            if self.measuring.handle_tick(tick.device, tick.at.0) {
                self.sampling.handle_submitted(job, at);
            } else {
                self.submit(job);
            }
        }
        loop {
            let sampling = &self.sampling;
            let is_read = |device| sampling.is_reading_of(device);
            let Some(job) = self.measuring.poll_job(at.0, is_read) else {
                return;
            };
            self.submit(job);
        }
    }

    pub(super) fn prepare_devices(&mut self) {
        for device in 0..self.settings.devices().len() {
            self.submit(Job::Prepare { device });
        }
    }

    /// Gives a job to its bus, in its turn.
    pub(super) fn submit(&mut self, job: Job) {
        let turn = self.dispatch.push(job, self.field.now().mono_ms());
        self.take_turn(turn);
    }

    /// Jobs that can't be done are answered at once, which gives the next one its turn.
    fn take_turn(&mut self, mut turn: Option<Turn>) {
        while let Some(next) = turn {
            let done = match next {
                Turn::Submit(job) => {
                    self.sampling.handle_submitted(job, self.field_ms());
                    self.devices.submit(job, self.field.busy())
                }
                Turn::TooLate(job) => {
                    let outcome = Outcome::Lease(Err(too_late()));
                    let at_mono_ms = self.field.now().mono_ms();
                    Some(Done {
                        job,
                        outcome,
                        at_mono_ms,
                        busy: self.field.busy(),
                    })
                }
            };
            let Some(done) = done else { return };
            turn = self.dispatch.done(done.job, self.field.now().mono_ms());
            drop(self.take_outcome(done));
        }
    }
}

/// A lease that has waited too long for its bus.
fn too_late() -> SensorError {
    let cause = Cause::Bus(BusFault::Stuck);
    SensorError {
        chip: "controller",
        address: None,
        register: "lease",
        cause,
    }
}
