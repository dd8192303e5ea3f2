//! The event loop's place on the field clock: its tokens and its next deadline.
//!
//! In lock-step, simulated time stands still while the loop holds a token. The loop gives its token
//! up only with a deadline, and keeps a second one while something is unfinished that simulated time
//! must not outrun. On a real clock tokens mean nothing and only the deadlines count.

use std::future::Future;
use std::pin::Pin;

use crate::bus::{Busy, FieldClock};

type Wait = Pin<Box<dyn Future<Output = Busy> + Send>>;

/// See the module.
pub struct FieldWait {
    clock: FieldClock,
    /// The loop's token, while it does not wait.
    token: Option<Busy>,
    /// Keeps simulated time from running on although the loop waits.
    hold: Option<Busy>,
    wait: Option<(u64, Wait)>,
}

impl FieldWait {
    /// Takes a token: simulated time stands still until the first deadline is declared.
    #[must_use]
    pub fn new(clock: &FieldClock) -> Self {
        let token = Some(clock.busy());
        FieldWait {
            clock: clock.clone(),
            token,
            hold: None,
            wait: None,
        }
    }

    /// Keeps simulated time from running on, or lets it.
    pub fn set_hold(&mut self, hold: bool) {
        match (hold, &self.hold) {
            (true, None) => self.hold = Some(self.clock.busy()),
            (false, Some(_)) => self.hold = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Declares the next deadline, in milliseconds of the field clock, and gives the token up.
    pub fn declare(&mut self, deadline_ms: u64) {
        if self.token.is_none() && self.wait.as_ref().is_some_and(|(at, _)| *at == deadline_ms) {
            return;
        }
        let token = self.token.take().unwrap_or_else(|| self.clock.busy());
        let deadline_ns = deadline_ms.saturating_mul(1_000_000);
        let wait = Box::pin(self.clock.wait_until_async(deadline_ns, token));
        // The old wait goes only now: until here it kept a deadline declared.
        self.wait = Some((deadline_ms, wait));
    }

    /// Takes part in simulated time no more: it has ended.
    pub fn resign(&mut self) {
        self.wait = None;
        self.token = None;
        self.hold = None;
    }

    /// Ready when the deadline has come; never without one. Cancel-safe.
    pub async fn reached(&mut self) {
        match &mut self.wait {
            Some((_, wait)) => {
                let token = wait.await;
                self.token = Some(token);
                self.wait = None;
            }
            None => std::future::pending().await,
        }
    }
}
