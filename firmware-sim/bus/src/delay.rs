//! A driver's delay in simulated time.

use std::sync::{Arc, Mutex, PoisonError};

use embedded_hal::delay::DelayNs;

use crate::clock::{Busy, RemoteClock};

/// Waits in simulated time. Clones share one token: they belong to one bus thread.
///
/// A job brings its [`Busy`] token along, so that time never runs between the job's steps other than by
/// its own delays: [`carry`](Self::carry) at its start, [`release`](Self::release) at its end. Without a
/// token a delay takes one of its own for as long as it lasts.
#[derive(Debug, Clone)]
pub struct RemoteDelay {
    clock: RemoteClock,
    token: Arc<Mutex<Option<Busy>>>,
}

impl RemoteDelay {
    pub(crate) fn new(clock: RemoteClock) -> Self {
        Self {
            clock,
            token: Arc::default(),
        }
    }

    /// Keeps a job's token until [`release`](Self::release). A token that was still there is dropped.
    pub fn carry(&self, busy: Busy) {
        // The old token is dropped after the lock is free.
        let before = self.replace(Some(busy));
        drop(before);
    }

    /// Gives the job's token back; `None` when none is carried.
    #[must_use = "dropping the token lets simulated time run on"]
    pub fn release(&self) -> Option<Busy> {
        self.replace(None)
    }

    fn replace(&self, busy: Option<Busy>) -> Option<Busy> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut token, busy)
    }
}

impl DelayNs for RemoteDelay {
    fn delay_ns(&mut self, ns: u32) {
        self.wait(u64::from(ns));
    }

    fn delay_us(&mut self, us: u32) {
        self.wait(u64::from(us) * 1_000);
    }

    fn delay_ms(&mut self, ms: u32) {
        self.wait(u64::from(ms) * 1_000_000);
    }
}

impl RemoteDelay {
    fn wait(&self, ns: u64) {
        let (busy, carried) = match self.release() {
            Some(busy) => (busy, true),
            None => (self.clock.busy(), false),
        };
        let deadline = self.clock.now().mono_ns.saturating_add(ns);
        let busy = self.clock.wait_until(deadline, busy);
        if carried {
            self.carry(busy);
        }
    }
}
