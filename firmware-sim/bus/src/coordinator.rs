//! What a client's clock knows and decides: tokens, deadlines, and what the simulator was told.
//!
//! A state machine without a socket, thread or clock of its own: real time comes in as an argument,
//! messages and wakers go out as [`Effects`]. [`crate::clock`] is the shell around it.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::protocol::{Flow, Request, TimeState};

/// The field clock at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldTime {
    /// Names this start of the simulated machine, as a kernel's boot id does.
    pub boot: u64,
    /// Nanoseconds on the monotonic clock of this boot.
    pub mono_ns: u64,
    /// Unix time in milliseconds; `None` while the wall clock is not known.
    pub wall_unix_ms: Option<i64>,
}

/// Why simulated time does not advance any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The simulation is over, for example because a replay reached its last row. Busses still answer.
    Finished(String),
    /// The simulator can't be reached any more.
    Lost(String),
}

/// What the simulator was told last about this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Time stands still for us.
    Held,
    /// We wait; time may pass until the deadline.
    Waiting { seq: u32, deadline_ns: u64 },
    /// We took the wait back and have no answer yet: time may still be passing.
    HoldSent { seq: u32 },
}

/// What the shell must do after an input, in this order.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Effects {
    /// To be sent before any later message.
    pub(crate) send: Option<Request>,
    /// To be woken once the lock is free.
    pub(crate) wake: Vec<Waker>,
}

/// Names one wait within its coordinator.
pub(crate) type WaitId = u64;

/// The state. Its waits are bounded by the program's own tasks and threads: each has one.
#[derive(Debug)]
pub(crate) struct Coordinator {
    state: TimeState,
    /// Real time at which `state` arrived.
    anchor: Instant,
    /// Latest time told to anybody; never told less.
    now_ns: u64,
    told: Told,
    seq: u32,
    tokens: u32,
    next_id: WaitId,
    /// By deadline, then by age.
    pending: BTreeMap<(u64, WaitId), Option<Waker>>,
    /// Waits whose time has come; each holds one of `tokens` until it is collected.
    fired: Vec<WaitId>,
    end: Option<End>,
    end_wakers: BTreeMap<WaitId, Waker>,
}

/// Result of looking at a wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Poll {
    /// The time has come; the caller now owns a token.
    Fired,
    /// Not yet; the waker is kept.
    Pending,
}

impl Coordinator {
    pub(crate) fn new(state: TimeState, real: Instant) -> Self {
        Self {
            state,
            anchor: real,
            now_ns: state.mono_ns,
            told: Told::Held,
            seq: 0,
            tokens: 0,
            next_id: 0,
            pending: BTreeMap::new(),
            fired: Vec::new(),
            end: None,
            end_wakers: BTreeMap::new(),
        }
    }

    /// The field clock. In lock-step without a token it may lag behind the simulator's.
    pub(crate) fn now(&mut self, real: Instant) -> FieldTime {
        if let (Flow::Free { speed_permille }, None) = (self.state.flow, &self.end) {
            let passed = real.saturating_duration_since(self.anchor).as_nanos();
            let passed = passed.saturating_mul(u128::from(speed_permille)) / 1000;
            let now = self
                .state
                .mono_ns
                .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
            self.now_ns = self.now_ns.max(now);
        }
        let mono_ms = i64::try_from(self.now_ns / 1_000_000).unwrap_or(i64::MAX);
        FieldTime {
            boot: self.state.boot,
            mono_ns: self.now_ns,
            wall_unix_ms: self
                .state
                .wall_offset_ms
                .map(|offset| offset.saturating_add(mono_ms)),
        }
    }

    /// Why time has ended, if it has.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether a token just taken is in force: nothing is left to be heard from the simulator.
    pub(crate) fn is_held(&self) -> bool {
        self.end.is_some()
            || matches!(self.state.flow, Flow::Free { .. })
            || matches!(self.told, Told::Held)
    }

    /// Whether the timer thread has something to look at: deadlines by the real clock, or the end.
    pub(crate) fn needs_timer(&self) -> bool {
        self.end.is_some() || matches!(self.state.flow, Flow::Free { .. })
    }

    /// Adds a token. It is in force once [`is_held`](Self::is_held).
    pub(crate) fn take_token(&mut self) -> Effects {
        self.tokens += 1;
        self.settle(Vec::new())
    }

    /// A token is gone.
    pub(crate) fn drop_token(&mut self) -> Effects {
        self.tokens = self.tokens.saturating_sub(1);
        self.settle(Vec::new())
    }

    /// Trades a token for a wait. `None` when there is nothing to wait for: the caller keeps its token.
    pub(crate) fn begin_wait(
        &mut self,
        deadline_ns: u64,
        real: Instant,
    ) -> Option<(WaitId, Effects)> {
        if self.end.is_some() || deadline_ns <= self.now(real).mono_ns {
            return None;
        }
        let id = self.new_id();
        self.pending.insert((deadline_ns, id), None);
        Some((id, self.drop_token()))
    }

    /// Looks whether a wait's time has come.
    pub(crate) fn poll_wait(&mut self, deadline_ns: u64, id: WaitId, waker: &Waker) -> Poll {
        if let Some(place) = self.fired.iter().position(|&fired| fired == id) {
            self.fired.swap_remove(place);
            return Poll::Fired;
        }
        if let Some(slot) = self.pending.get_mut(&(deadline_ns, id)) {
            match slot {
                Some(known) if known.will_wake(waker) => {}
                Some(_) | None => *slot = Some(waker.clone()),
            }
        }
        Poll::Pending
    }

    /// Withdraws a wait.
    pub(crate) fn cancel_wait(&mut self, deadline_ns: u64, id: WaitId) -> Effects {
        if self.pending.remove(&(deadline_ns, id)).is_some() {
            return self.settle(Vec::new());
        }
        match self.fired.iter().position(|&fired| fired == id) {
            Some(place) => {
                self.fired.swap_remove(place);
                self.drop_token()
            }
            None => Effects::default(),
        }
    }

    /// Keeps a waker for the end of time; `None` asks for a new place.
    pub(crate) fn poll_end(&mut self, place: Option<WaitId>, waker: &Waker) -> WaitId {
        let place = place.unwrap_or_else(|| self.new_id());
        self.end_wakers.insert(place, waker.clone());
        place
    }

    /// Forgets a waker of [`poll_end`](Self::poll_end).
    pub(crate) fn cancel_end(&mut self, place: WaitId) {
        self.end_wakers.remove(&place);
    }

    /// The simulator woke us.
    pub(crate) fn handle_woken(&mut self, seq: u32, mono_ns: u64) -> Effects {
        self.now_ns = self.now_ns.max(mono_ns);
        match self.told {
            Told::Waiting { seq: told, .. } if told == seq => self.resume(),
            // It answers a wait that was replaced or taken back since: the answer to that one follows.
            Told::Waiting { .. } | Told::Held | Told::HoldSent { .. } => Effects::default(),
        }
    }

    /// The simulator holds time for us.
    pub(crate) fn handle_held(&mut self, seq: u32, mono_ns: u64) -> Effects {
        self.now_ns = self.now_ns.max(mono_ns);
        match self.told {
            Told::HoldSent { seq: told } if told == seq => self.resume(),
            Told::HoldSent { .. } | Told::Held | Told::Waiting { .. } => Effects::default(),
        }
    }

    /// Time passes differently from here on, or the wall clock changed.
    pub(crate) fn handle_time(&mut self, state: TimeState, real: Instant) -> Effects {
        // What was told so far must not be taken back.
        self.now(real);
        self.now_ns = self.now_ns.max(state.mono_ns);
        if self.state.flow != state.flow {
            self.told = Told::Held;
        }
        self.state = state;
        self.anchor = real;
        self.handle_timeout(real)
    }

    /// Time has ended: every wait returns.
    pub(crate) fn handle_end(&mut self, end: End, mono_ns: Option<u64>) -> Effects {
        if self.end.is_some() {
            return Effects::default();
        }
        self.now_ns = self.now_ns.max(mono_ns.unwrap_or_default());
        self.end = Some(end);
        let mut wake = self.fire(u64::MAX);
        wake.extend(std::mem::take(&mut self.end_wakers).into_values());
        Effects { send: None, wake }
    }

    /// Free-running: fires the waits whose time has come by the real clock.
    pub(crate) fn handle_timeout(&mut self, real: Instant) -> Effects {
        match self.state.flow {
            Flow::LockStep => self.settle(Vec::new()),
            Flow::Free { .. } => {
                let now = self.now(real).mono_ns;
                let wake = self.fire(now);
                Effects { send: None, wake }
            }
        }
    }

    /// Free-running: real time from `real` until [`handle_timeout`](Self::handle_timeout) has work.
    pub(crate) fn poll_timeout(&mut self, real: Instant) -> Option<Duration> {
        let Flow::Free { speed_permille } = self.state.flow else {
            return None;
        };
        let &(deadline_ns, _) = self.pending.keys().next()?;
        let left = deadline_ns.saturating_sub(self.now(real).mono_ns);
        // Rounded up: a timer that is early would only be set again.
        let left = u128::from(left)
            .saturating_mul(1000)
            .div_ceil(u128::from(speed_permille.max(1)));
        Some(Duration::from_nanos(
            u64::try_from(left).unwrap_or(u64::MAX),
        ))
    }

    fn new_id(&mut self) -> WaitId {
        self.next_id += 1;
        self.next_id
    }

    fn resume(&mut self) -> Effects {
        self.told = Told::Held;
        let wake = self.fire(self.now_ns);
        self.settle(wake)
    }

    /// Gives a token to every wait up to `now_ns`, and returns whom to wake.
    fn fire(&mut self, now_ns: u64) -> Vec<Waker> {
        let mut wake = Vec::new();
        while let Some(entry) = self.pending.first_entry() {
            let &(deadline_ns, id) = entry.key();
            if deadline_ns > now_ns {
                break;
            }
            wake.extend(entry.remove());
            self.fired.push(id);
            self.tokens += 1;
        }
        wake
    }

    /// Tells the simulator what has changed, if it has not been told.
    fn settle(&mut self, wake: Vec<Waker>) -> Effects {
        let mut send = None;
        if self.end.is_none() && matches!(self.state.flow, Flow::LockStep) {
            let deadline = match self.tokens {
                0 => self.pending.keys().next().map(|&(deadline, _)| deadline),
                _ => None,
            };
            let seq = self.seq.wrapping_add(1);
            match (self.told, deadline) {
                (Told::Waiting { deadline_ns, .. }, Some(deadline)) if deadline_ns == deadline => {}
                (Told::Held | Told::Waiting { .. }, Some(deadline_ns)) => {
                    self.told = Told::Waiting { seq, deadline_ns };
                    send = Some(Request::Wait { seq, deadline_ns });
                }
                (Told::Waiting { .. }, None) => {
                    self.told = Told::HoldSent { seq };
                    send = Some(Request::Hold { seq });
                }
                // The answer to the Hold comes first; then it is settled again.
                (Told::HoldSent { .. }, _) | (Told::Held, None) => {}
            }
            if send.is_some() {
                self.seq = seq;
            }
        }
        Effects { send, wake }
    }
}

#[cfg(test)]
mod tests;
