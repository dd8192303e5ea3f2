//! Who waits for a run: the commands `water` at the control socket.

use furrow_irrigation::ZoneIndex;
use furrow_wire::EventKind;
use tokio::sync::mpsc;

use super::watering::Progress;
use crate::control::Answer;

/// Runs that are watched at once: one for each place of the control socket.
const WATCHED: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub struct WaterWatch(Vec<Watcher>);

#[derive(Debug)]
struct Watcher {
    zone: ZoneIndex,
    run: u64,
    reply: mpsc::Sender<Answer>,
}

impl WaterWatch {
    /// Tells `reply` of a run from now on.
    pub fn add(&mut self, zone: ZoneIndex, run: u64, reply: mpsc::Sender<Answer>) {
        self.0.retain(|watcher| !watcher.reply.is_closed());
        if self.0.len() < WATCHED {
            tell(&reply, Answer::Accepted { run });
            self.0.push(Watcher { zone, run, reply });
        }
    }

    /// Zones that somebody watches.
    pub fn zones(&self) -> impl Iterator<Item = ZoneIndex> {
        self.0.iter().map(|watcher| watcher.zone)
    }

    /// A run began or ended.
    pub fn handle_event(&mut self, event: &EventKind) {
        match event {
            EventKind::RunStarted { run, .. } => {
                for watcher in self.0.iter().filter(|watcher| watcher.run == *run) {
                    tell(&watcher.reply, Answer::Opened);
                }
            }
            EventKind::RunEnded {
                run,
                open_ms,
                millilitres,
                end,
                ..
            } => {
                let (open_ms, millilitres, end) = (*open_ms, *millilitres, *end);
                for watcher in self.0.extract_if(.., |watcher| watcher.run == *run) {
                    tell(
                        &watcher.reply,
                        Answer::Closed {
                            open_ms,
                            millilitres,
                            end,
                        },
                    );
                }
            }
            EventKind::GatewayStarted { .. }
            | EventKind::DeviceFault { .. }
            | EventKind::DeviceRecovered { .. }
            | EventKind::Lockout { .. }
            | EventKind::Calibrated { .. }
            | EventKind::Decision(_)
            | EventKind::Alarm { .. }
            | EventKind::FlowLearnt { .. }
            | EventKind::Held { .. }
            | EventKind::Reset { .. }
            | EventKind::Ordered { .. }
            | EventKind::AlarmRaised(_)
            | EventKind::AlarmSilenced(_)
            | EventKind::AlarmResolved(_) => {}
        }
    }

    /// A zone's run did not begin.
    pub fn handle_refused(&mut self, zone: ZoneIndex, reason: &str) {
        for watcher in self.0.extract_if(.., |watcher| watcher.zone == zone) {
            tell(
                &watcher.reply,
                Answer::Refused {
                    reason: reason.to_owned(),
                },
            );
        }
    }

    /// A zone's controller told how far it is.
    pub fn handle_progress(&self, zone: ZoneIndex, progress: &Progress) {
        let Progress {
            left_ms,
            millilitres,
        } = *progress;
        for watcher in self.0.iter().filter(|watcher| watcher.zone == zone) {
            tell(
                &watcher.reply,
                Answer::Progress {
                    left_ms,
                    millilitres,
                },
            );
        }
    }
}

/// A reader that is slow misses progress; one that is gone misses all.
fn tell(reply: &mpsc::Sender<Answer>, answer: Answer) {
    if let Err(error) = reply.try_send(answer) {
        tracing::debug!(%error, "nobody reads the progress of a run");
    }
}
