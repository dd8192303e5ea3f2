//! A driver's delay, in field time.

use std::cell::RefCell;
use std::rc::Rc;

use embedded_hal::delay::DelayNs;

use super::{Busy, FieldClock};

/// Waits on the field clock. Clones share the token of the job at hand, so that simulated time
/// passes during a job by its own delays and by nothing else. Not `Send`: one per bus thread.
#[derive(Debug, Clone)]
pub struct FieldDelay {
    clock: FieldClock,
    token: Rc<RefCell<Option<Busy>>>,
}

impl FieldDelay {
    /// Without a token.
    #[must_use]
    pub fn new(clock: FieldClock) -> Self {
        Self {
            clock,
            token: Rc::default(),
        }
    }

    /// Runs a job under its token and gives the token back.
    pub fn carry<T>(&self, busy: Busy, job: impl FnOnce() -> T) -> (T, Busy) {
        self.token.replace(Some(busy));
        let answer = job();
        let busy = self.token.take().unwrap_or_else(|| self.clock.busy());
        (answer, busy)
    }

    fn wait(&self, ns: u64) {
        let carried = self.token.take();
        let outside = carried.is_none();
        let busy = carried.unwrap_or_else(|| self.clock.busy());
        let until_ns = self.clock.now().mono_ns.saturating_add(ns);
        let busy = self.clock.wait_until(until_ns, busy);
        if !outside {
            self.token.replace(Some(busy));
        }
    }
}

impl DelayNs for FieldDelay {
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
