//! When simulated time may pass: which clients wait for what, and how fast it goes.
//!
//! Pure: real time is an argument, and nothing is sent here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use furrow_sim_bus::protocol::Flow;

/// Names a clock connection.
pub(crate) type ClientId = u64;

/// With a ceiling, time that was lost to slow clients is made up for this long at most.
const MAKE_UP: Duration = Duration::from_millis(100);

/// How simulated time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It jumps to the earliest deadline once every client waits.
    LockStep {
        /// Thousandths of simulated seconds a real second that are not exceeded.
        ceiling_permille: Option<u32>,
    },
    /// Lock-step until the simulated time of day meets the real one, then real time.
    CatchUp,
    /// It follows the real clock.
    Free {
        /// Thousandths of simulated seconds a real second, at least 1.
        speed_permille: u32,
    },
}

/// What one client said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// It works, or has not said anything yet.
    Busy,
    /// It waits.
    Waits { seq: u32, deadline_ns: u64 },
}

/// The pace of simulated time.
#[derive(Debug)]
pub(crate) struct Pace {
    mode: Mode,
    clients_min: usize,
    clients: BTreeMap<ClientId, Said>,
    /// A moment of both clocks from which the speed counts.
    anchor: (Instant, u64),
}

/// When lock-step may jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Somebody is busy, or not enough clients are there.
    Stands,
    /// To this time, now.
    Jump(u64),
    /// Not before this much real time, because of the ceiling.
    Later(Duration),
}

impl Pace {
    pub(crate) fn new(mode: Mode, clients_min: usize, real: Instant, mono_ns: u64) -> Self {
        Self {
            mode,
            clients_min: clients_min.max(1),
            clients: BTreeMap::new(),
            anchor: (real, mono_ns),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn flow(&self) -> Flow {
        match self.mode {
            Mode::LockStep { .. } | Mode::CatchUp => Flow::LockStep,
            Mode::Free { speed_permille } => Flow::Free { speed_permille },
        }
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn handle_hello(&mut self, client: ClientId) {
        self.clients.insert(client, Said::Busy);
    }

    pub(crate) fn handle_wait(&mut self, client: ClientId, seq: u32, deadline_ns: u64) {
        self.clients
            .insert(client, Said::Waits { seq, deadline_ns });
    }

    pub(crate) fn handle_hold(&mut self, client: ClientId) {
        self.clients.insert(client, Said::Busy);
    }

    pub(crate) fn handle_gone(&mut self, client: ClientId) {
        self.clients.remove(&client);
    }

    /// Lock-step: where time may jump to. `now_ns` when a deadline has passed already.
    pub(crate) fn poll_next(&mut self, real: Instant, now_ns: u64) -> Next {
        if self.clients.len() < self.clients_min {
            return Next::Stands;
        }
        let mut earliest = u64::MAX;
        for said in self.clients.values() {
            match said {
                Said::Busy => return Next::Stands,
                Said::Waits { deadline_ns, .. } => earliest = earliest.min(*deadline_ns),
            }
        }
        let to_ns = earliest.max(now_ns);
        match self.mode {
            Mode::LockStep {
                ceiling_permille: Some(speed),
            } => self.under_ceiling(real, to_ns, speed),
            Mode::LockStep {
                ceiling_permille: None,
            }
            | Mode::CatchUp => Next::Jump(to_ns),
            Mode::Free { .. } => Next::Stands,
        }
    }

    /// Lock-step: clients whose deadline has come, with the number of their wait. They are busy now.
    pub(crate) fn wake(&mut self, now_ns: u64) -> Vec<(ClientId, u32)> {
        let mut woken = Vec::new();
        for (client, said) in &mut self.clients {
            match *said {
                Said::Waits { seq, deadline_ns } if deadline_ns <= now_ns => {
                    *said = Said::Busy;
                    woken.push((*client, seq));
                }
                Said::Waits { .. } | Said::Busy => {}
            }
        }
        woken
    }

    /// Free-running: the time now.
    pub(crate) fn free_now(&self, real: Instant) -> Option<u64> {
        let Mode::Free { speed_permille } = self.mode else {
            return None;
        };
        let (start, start_ns) = self.anchor;
        let passed = real.saturating_duration_since(start).as_nanos();
        let passed = passed.saturating_mul(u128::from(speed_permille)) / 1_000;
        Some(start_ns.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// From here on time follows the real clock.
    pub(crate) fn run_free(&mut self, speed_permille: u32, real: Instant, now_ns: u64) {
        self.mode = Mode::Free {
            speed_permille: speed_permille.max(1),
        };
        self.anchor = (real, now_ns);
    }

    fn under_ceiling(&mut self, real: Instant, to_ns: u64, speed_permille: u32) -> Next {
        let (start, start_ns) = self.anchor;
        let wanted =
            u128::from(to_ns.saturating_sub(start_ns)) * 1_000 / u128::from(speed_permille.max(1));
        let wanted = Duration::from_nanos(u64::try_from(wanted).unwrap_or(u64::MAX));
        let passed = real.saturating_duration_since(start);
        if passed < wanted {
            return Next::Later(wanted.saturating_sub(passed));
        }
        // Slow clients are not followed by a race, and sums stay small.
        let late = passed.saturating_sub(wanted).min(MAKE_UP);
        self.anchor = (real.checked_sub(late).unwrap_or(real), to_ns);
        Next::Jump(to_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK_STEP: Mode = Mode::LockStep {
        ceiling_permille: None,
    };

    fn pace(mode: Mode, clients_min: usize) -> (Pace, Instant) {
        let real = Instant::now();
        (Pace::new(mode, clients_min, real, 0), real)
    }

    #[test]
    fn time_stands_until_every_client_waits() {
        let (mut pace, real) = pace(LOCK_STEP, 2);
        let check = |pace: &mut Pace, expected| {
            assert_eq!(pace.poll_next(real, 5), expected);
        };
        check(&mut pace, Next::Stands);
        pace.handle_hello(1);
        pace.handle_wait(1, 1, 30);
        // One of two clients.
        check(&mut pace, Next::Stands);
        pace.handle_hello(2);
        // The other has not said anything yet.
        check(&mut pace, Next::Stands);
        pace.handle_wait(2, 1, 20);
        check(&mut pace, Next::Jump(20));
        assert_eq!(pace.wake(20), [(2, 1)]);
        check(&mut pace, Next::Stands);
        pace.handle_wait(2, 2, 30);
        pace.handle_hold(1);
        check(&mut pace, Next::Stands);
        pace.handle_wait(1, 3, 30);
        check(&mut pace, Next::Jump(30));
        assert_eq!(pace.wake(30), [(1, 3), (2, 2)]);
        // A deadline in the past is now.
        pace.handle_wait(1, 4, 1);
        pace.handle_wait(2, 3, 50);
        check(&mut pace, Next::Jump(5));
        // A killed client is not waited for, but one of two is missing.
        pace.handle_gone(2);
        check(&mut pace, Next::Stands);
        pace.handle_hello(3);
        pace.handle_wait(3, 1, 40);
        pace.handle_wait(1, 5, 40);
        check(&mut pace, Next::Jump(40));
    }

    #[test]
    fn a_ceiling_slows_lock_step_down() {
        let (mut pace, start) = pace(
            Mode::LockStep {
                ceiling_permille: Some(10_000),
            },
            1,
        );
        let ms = |ms| start + Duration::from_millis(ms);
        pace.handle_wait(1, 1, 1_000_000_000);
        assert_eq!(
            pace.poll_next(ms(40), 0),
            Next::Later(Duration::from_millis(60))
        );
        assert_eq!(pace.poll_next(ms(100), 0), Next::Jump(1_000_000_000));
        // Two real seconds late: only a tenth of a second is made up for.
        pace.handle_wait(1, 2, 2_000_000_000);
        assert_eq!(
            pace.poll_next(ms(2_200), 1_000_000_000),
            Next::Jump(2_000_000_000)
        );
        pace.handle_wait(1, 3, 4_000_000_000);
        assert_eq!(
            pace.poll_next(ms(2_200), 2_000_000_000),
            Next::Later(Duration::from_millis(100))
        );
    }

    #[test]
    fn free_running_follows_the_real_clock() {
        let (mut pace, start) = pace(Mode::CatchUp, 1);
        assert_eq!(pace.free_now(start), None);
        assert_eq!(pace.flow(), Flow::LockStep);
        pace.run_free(60_000, start, 7);
        pace.handle_wait(1, 1, 10);
        assert_eq!(pace.poll_next(start, 20), Next::Stands);
        assert_eq!(
            pace.free_now(start + Duration::from_millis(500)),
            Some(30_000_000_007)
        );
    }
}
