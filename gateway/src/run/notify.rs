//! What systemd is told: ready, alive, stopping. Does nothing where nobody asked.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// The watchdog is told this many times in its interval.
const SHARE: u32 = 3;

/// See the module.
#[derive(Debug)]
pub struct Notify {
    every: Option<Duration>,
    next: Instant,
}

impl Notify {
    /// Reads from the environment whether systemd wants a sign of life.
    #[must_use]
    pub fn new() -> Self {
        let every = sd_notify::watchdog_enabled().map(|interval| interval / SHARE);
        Notify {
            every,
            next: Instant::now(),
        }
    }

    /// The gateway reads, waters and journals.
    pub fn ready(&self) {
        tell(NotifyState::Ready);
    }

    /// The event loop has come round.
    pub fn alive(&mut self) {
        let Some(every) = self.every else { return };
        let now = Instant::now();
        if now >= self.next {
            tell(NotifyState::Watchdog);
            self.next = now + every;
        }
    }

    /// When the loop has to come round again at the latest.
    #[must_use]
    pub fn next_alive(&self) -> Option<Instant> {
        self.every.map(|_| self.next)
    }

    /// The gateway is ending.
    pub fn stopping(&self) {
        tell(NotifyState::Stopping);
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}
