//! The lines of siren and beacon, on a thread of their own.
//!
//! A bus whose sensors hang must not keep the siren silent, and the event loop waits for no line. The
//! thread drives what was wanted last, and tries again while a line fails. What is wanted is decided
//! elsewhere.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use embedded_hal::digital::{OutputPin as _, PinState};
use furrow_gateway_core::alarm::Output;

use crate::bus::{Busy, Field, FieldOutput};
use crate::config::{HornSettings, Level, Settings};

/// Changes that wait for the thread; what comes above this is sent when there is room.
const QUEUED: usize = 8;
/// A line that could not be driven is tried again so often.
const RETRY: Duration = Duration::from_secs(1);
/// At the end of the process the lines have to be off within this.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Horns {
    thread: Option<Thread>,
    wanted: Output,
    is_sent: bool,
}

#[derive(Debug)]
struct Thread {
    wants: SyncSender<(Output, Busy)>,
    ended: Receiver<()>,
}

impl Horns {
    /// Starts the thread, where there is a line to drive. Nothing is driven yet.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(settings: &Settings, field: &Field) -> io::Result<Self> {
        let alarms = settings.alarms();
        let line = |name, horn: Option<HornSettings>| {
            let horn = horn?;
            let bus = settings.buses().get(horn.bus)?;
            Some(Line {
                name,
                pin: field.output(&bus.kind, horn.line),
                active: horn.active,
            })
        };
        let lines = Lines {
            siren: line("siren", alarms.siren),
            beacon: line("beacon", alarms.beacon),
        };
        let mut horns = Self {
            thread: None,
            wanted: Output::default(),
            is_sent: true,
        };
        if lines.siren.is_none() && lines.beacon.is_none() {
            return Ok(horns);
        }
        let (wants, wanted) = mpsc::sync_channel(QUEUED);
        let (end, ended) = mpsc::sync_channel(1);
        // Not joined: a line may hang in the kernel, and the process must end all the same.
        std::thread::Builder::new()
            .name("horns".to_owned())
            .spawn(move || {
                lines.run(&wanted);
                // Nobody may wait for it any more.
                end.try_send(()).ok();
            })?;
        horns.thread = Some(Thread { wants, ended });
        Ok(horns)
    }

    /// What is wanted from now on.
    pub fn want(&mut self, wanted: Output) {
        self.wanted = wanted;
        self.is_sent = false;
    }

    /// Hands on what is wanted, if the thread takes it now. `busy` makes a token that keeps simulated
    /// time standing meanwhile.
    pub fn send(&mut self, busy: impl FnOnce() -> Busy) {
        let Some(thread) = self.thread.as_ref().filter(|_| !self.is_sent) else {
            return;
        };
        match thread.wants.try_send((self.wanted, busy())) {
            Ok(()) => self.is_sent = true,
            Err(TrySendError::Full(_)) => {
                tracing::debug!("the lines of siren and beacon do not keep up");
            }
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("the thread of siren and beacon has ended");
                self.is_sent = true;
            }
        }
    }

    /// Switches off, and waits until that is done or takes too long.
    pub fn stop(mut self, busy: impl FnOnce() -> Busy) {
        self.want(Output::default());
        self.send(busy);
        let Some(Thread { wants, ended }) = self.thread.take() else {
            return;
        };
        drop(wants);
        if ended.recv_timeout(STOP_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("siren and beacon are not known to be off");
        }
    }
}

struct Lines {
    siren: Option<Line>,
    beacon: Option<Line>,
}

struct Line {
    name: &'static str,
    pin: FieldOutput,
    active: Level,
}

impl Lines {
    /// Until nobody wants anything any more.
    fn run(mut self, wanted: &Receiver<(Output, Busy)>) {
        let mut last = Output::default();
        let mut is_driven = true;
        loop {
            let next = if is_driven {
                wanted.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                wanted.recv_timeout(RETRY)
            };
            let busy = match next {
                Ok((wanted, busy)) => {
                    last = wanted;
                    Some(busy)
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let siren = drive(self.siren.as_mut(), last.siren);
            let beacon = drive(self.beacon.as_mut(), last.beacon);
            let was_driven = std::mem::replace(&mut is_driven, siren.and(beacon).is_ok());
            if let (Err(name), true) = (siren.and(beacon), was_driven) {
                tracing::error!(name, "a line can't be driven, trying again");
            }
            drop(busy);
        }
    }
}

/// The name of a line that fails.
fn drive(line: Option<&mut Line>, on: bool) -> Result<(), &'static str> {
    let Some(line) = line else { return Ok(()) };
    let high = on == (line.active == Level::High);
    let driven = line.pin.set_state(PinState::from(high));
    driven.map_err(|_| line.name)
}
