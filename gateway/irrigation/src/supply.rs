//! What brings the water to the valves: master valve and pump, and the dosing pump behind them.
//!
//! They open after the zone's valve and close before it, a step apart, so that a pump never works
//! against closed valves. Each has a lease of its own. The pump's is the shortest: should this
//! process die, it stops before the valves close.

use crate::event::Output;
use crate::plan::LEASE_SECONDS_MIN;
use crate::zone::{OutputStatus, RETRY_MS, TRAVEL_MS};

/// A line that does not follow is told to close and asked this often, in milliseconds.
const FAULTY_EVERY_MS: u64 = 10_000;
/// What did not follow is left alone for so long, in milliseconds: off, it looks right at once.
const FAULTY_LEAST_MS: u64 = 5 * 60_000;
/// An answer that has not come by then is taken for lost, in milliseconds.
const ANSWER_MS: u64 = 5_000;

/// One output that all zones share.
#[derive(Debug)]
struct Line {
    output: Output,
    lease_seconds: u16,
    state: State,
    effects: Vec<LineEffect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After a start: being closed.
    Clearing {
        next_ms: u64,
    },
    Off {
        since_ms: u64,
        /// When to look whether it really is.
        verify_ms: Option<u64>,
    },
    On(On),
    Closing {
        lease_until_ms: u64,
        next_ms: u64,
    },
    Faulty {
        since_ms: u64,
        next_ms: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct On {
    granted_ms: Option<u64>,
    lease_until_ms: u64,
    renew_at_ms: u64,
    status_at_ms: u64,
}

/// What a line wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEffect {
    Lease(u16),
    Status,
    ClearFlags,
}

/// What the owner of all lines does for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Lease(Output, u16),
    Status(Output),
    ClearFlags(Output),
    /// It does not follow: no water until it does.
    Faulty(Output, &'static str),
    Recovered(Output),
}

impl Line {
    fn new(output: Output, lease_seconds: u16) -> Self {
        Self {
            output,
            lease_seconds,
            state: State::Clearing { next_ms: 0 },
            effects: Vec::new(),
        }
    }

    fn open(&mut self, now_ms: u64) {
        if let State::Off { .. } = self.state {
            self.renew(None, now_ms);
        }
    }

    fn renew(&mut self, on: Option<On>, now_ms: u64) {
        let lease_ms = u64::from(self.lease_seconds) * 1_000;
        let on = on.unwrap_or(On {
            granted_ms: None,
            lease_until_ms: now_ms.saturating_add(lease_ms),
            renew_at_ms: now_ms,
            status_at_ms: now_ms.saturating_add(TRAVEL_MS),
        });
        self.state = State::On(On {
            renew_at_ms: now_ms.saturating_add(lease_ms / 3),
            ..on
        });
        self.effects.push(LineEffect::Lease(self.lease_seconds));
    }

    fn close(&mut self, now_ms: u64) {
        if let State::On(On { lease_until_ms, .. }) = self.state {
            self.state = State::Closing {
                lease_until_ms,
                next_ms: now_ms.saturating_add(ANSWER_MS),
            };
            self.effects.push(LineEffect::Lease(0));
        }
    }

    fn on_for_ms(&self, now_ms: u64) -> Option<u64> {
        match self.state {
            State::On(on) => Some(now_ms.saturating_sub(on.granted_ms?)),
            State::Clearing { .. }
            | State::Off { .. }
            | State::Closing { .. }
            | State::Faulty { .. } => None,
        }
    }

    fn off_for_ms(&self, now_ms: u64) -> Option<u64> {
        match self.state {
            State::Off { since_ms, .. } => Some(now_ms.saturating_sub(since_ms)),
            State::Clearing { .. }
            | State::On(_)
            | State::Closing { .. }
            | State::Faulty { .. } => None,
        }
    }

    fn next_ms(&self) -> Option<u64> {
        match self.state {
            State::Clearing { next_ms }
            | State::Closing { next_ms, .. }
            | State::Faulty { next_ms, .. } => Some(next_ms),
            State::Off { verify_ms, .. } => verify_ms,
            State::On(on) => Some(on.renew_at_ms.min(on.status_at_ms).min(on.lease_until_ms)),
        }
    }

    fn timeout(&mut self, now_ms: u64) {
        if self.next_ms().is_none_or(|due| now_ms < due) {
            return;
        }
        let later_ms = now_ms.saturating_add(ANSWER_MS);
        match self.state {
            State::Clearing { .. } => {
                self.state = State::Clearing { next_ms: later_ms };
                self.effects.push(LineEffect::Lease(0));
            }
            State::Off { since_ms, .. } => {
                self.state = State::Off {
                    since_ms,
                    verify_ms: Some(later_ms),
                };
                self.effects.push(LineEffect::Status);
            }
            // No lease is left: its owner has closed it.
            State::Closing { lease_until_ms, .. } if now_ms > lease_until_ms => {
                self.closed(lease_until_ms, now_ms);
            }
            State::Closing { lease_until_ms, .. } => {
                self.state = State::Closing {
                    lease_until_ms,
                    next_ms: later_ms,
                };
                self.effects.push(LineEffect::Lease(0));
            }
            State::On(on) if now_ms >= on.lease_until_ms => self.closed(on.lease_until_ms, now_ms),
            State::On(mut on) => {
                if now_ms >= on.status_at_ms {
                    on.status_at_ms = now_ms.saturating_add(u64::from(self.lease_seconds) * 500);
                    self.state = State::On(on);
                    self.effects.push(LineEffect::Status);
                }
                if now_ms >= on.renew_at_ms {
                    self.renew(Some(on), now_ms);
                }
            }
            State::Faulty { since_ms, .. } => {
                self.state = State::Faulty {
                    since_ms,
                    next_ms: now_ms.saturating_add(FAULTY_EVERY_MS),
                };
                self.effects.push(LineEffect::Lease(0));
                self.effects.push(LineEffect::Status);
            }
        }
    }

    fn closed(&mut self, since_ms: u64, now_ms: u64) {
        self.state = State::Off {
            since_ms,
            verify_ms: Some(now_ms.saturating_add(TRAVEL_MS)),
        };
    }

    fn lease(&mut self, seconds: u16, taken: bool, now_ms: u64) {
        match &mut self.state {
            State::Clearing { .. } if seconds == 0 && taken => self.closed(now_ms, now_ms),
            State::Clearing { next_ms } if seconds == 0 => {
                *next_ms = now_ms.saturating_add(RETRY_MS);
            }
            State::On(on) if seconds > 0 && taken => {
                on.granted_ms.get_or_insert(now_ms);
                let until_ms = now_ms.saturating_add(u64::from(seconds) * 1_000);
                on.lease_until_ms = on.lease_until_ms.max(until_ms);
            }
            State::On(on) if seconds > 0 => {
                on.renew_at_ms = on.renew_at_ms.min(now_ms.saturating_add(RETRY_MS));
            }
            State::Closing { .. } if seconds == 0 && taken => self.closed(now_ms, now_ms),
            State::Closing { next_ms, .. } if seconds == 0 => {
                *next_ms = now_ms.saturating_add(RETRY_MS);
            }
            // An answer to what was asked before: what was asked last follows.
            State::Clearing { .. }
            | State::Off { .. }
            | State::On(_)
            | State::Closing { .. }
            | State::Faulty { .. } => {}
        }
    }

    /// Answers what has become of it, if that is news.
    fn status(&mut self, status: Option<OutputStatus>, now_ms: u64) -> Option<Effect> {
        let status = status?;
        if status.was_reset || status.lease_ran_out {
            self.effects.push(LineEffect::ClearFlags);
        }
        match self.state {
            State::Off { since_ms, .. } => {
                if status.commanded || status.confirmed || status.fault {
                    return Some(self.faulty("it is not off", now_ms));
                }
                self.state = State::Off {
                    since_ms,
                    verify_ms: None,
                };
                None
            }
            State::On(On {
                granted_ms: Some(granted_ms),
                ..
            }) => {
                let travelled = now_ms.saturating_sub(granted_ms) >= TRAVEL_MS;
                if status.fault || travelled && status.commanded && !status.confirmed {
                    return Some(self.faulty("it does not switch on", now_ms));
                }
                if !status.commanded {
                    self.closed(now_ms, now_ms);
                }
                None
            }
            State::Faulty { since_ms, .. }
                if !status.commanded
                    && !status.confirmed
                    && !status.fault
                    && now_ms.saturating_sub(since_ms) >= FAULTY_LEAST_MS =>
            {
                self.state = State::Off {
                    since_ms: now_ms,
                    verify_ms: None,
                };
                Some(Effect::Recovered(self.output))
            }
            State::Clearing { .. }
            | State::On(_)
            | State::Closing { .. }
            | State::Faulty { .. } => None,
        }
    }

    fn faulty(&mut self, text: &'static str, now_ms: u64) -> Effect {
        self.state = State::Faulty {
            since_ms: now_ms,
            next_ms: now_ms.saturating_add(FAULTY_EVERY_MS),
        };
        self.effects.push(LineEffect::Lease(0));
        Effect::Faulty(self.output, text)
    }
}

/// Master valve, pump and dosing pump, as far as there are any.
#[derive(Debug)]
pub(crate) struct Supply {
    master: Option<Line>,
    pump: Option<Line>,
    dosing: Option<Line>,
    step_ms: u64,
}

impl Supply {
    /// `step_ms` lies between two of them, and between a zone's valve and the first.
    pub(crate) fn new(
        has_master: bool,
        has_pump: bool,
        has_dosing: bool,
        step_ms: u64,
        lease_seconds: u16,
    ) -> Self {
        // Zones renew after a third: two thirds of a lease are always left.
        let step_s = u16::try_from(step_ms.div_ceil(1_000)).unwrap_or(u16::MAX);
        let shorter = (lease_seconds / 3 * 2)
            .saturating_sub(step_s)
            .max(LEASE_SECONDS_MIN / 2);
        let line = |is_there: bool, output, seconds| is_there.then(|| Line::new(output, seconds));
        Self {
            master: line(has_master, Output::MasterValve, lease_seconds),
            pump: line(has_pump, Output::Pump, shorter),
            dosing: line(has_dosing, Output::Dosing, shorter),
            step_ms,
        }
    }

    /// Longest time from the wish that water stops to the moment when the zone's valve may close.
    pub(crate) fn wind_down_ms(&self) -> u64 {
        let steps = u64::from(self.master.is_some()) + u64::from(self.pump.is_some());
        steps * self.step_ms
    }

    /// Whether nothing here has still to be closed after a start, or does not follow.
    pub(crate) fn is_ready(&self) -> bool {
        self.lines().all(|line| match line.state {
            State::Clearing { .. } | State::Faulty { .. } => false,
            State::Off { .. } | State::On(_) | State::Closing { .. } => true,
        })
    }

    pub(crate) fn is_faulty(&self) -> bool {
        let mut water = self.master.iter().chain(&self.pump);
        water.any(|line| matches!(line.state, State::Faulty { .. }))
    }

    /// Whether water can flow; always where it comes by itself.
    pub(crate) fn is_up(&self, now_ms: u64) -> bool {
        let mut water = self.master.iter().chain(&self.pump);
        water.all(|line| line.on_for_ms(now_ms).is_some())
    }

    /// Whether a zone's valve may close.
    pub(crate) fn is_down(&self, now_ms: u64) -> bool {
        let mut water = self.master.iter().chain(&self.pump);
        water.all(|line| line.off_for_ms(now_ms).is_some_and(|ms| ms >= self.step_ms))
    }

    /// Whether everything is closed or has been told to.
    pub(crate) fn is_shut(&self) -> bool {
        self.lines().all(|line| match line.state {
            State::Clearing { .. } | State::Off { .. } | State::Faulty { .. } => true,
            State::On(_) | State::Closing { .. } => false,
        })
    }

    pub(crate) fn is_dosing(&self) -> bool {
        self.dosing
            .as_ref()
            .is_some_and(|line| matches!(line.state, State::On(_)))
    }

    /// Steps towards what is wanted: `demand` for water, `dose` for fertiliser in it.
    pub(crate) fn drive(&mut self, demand: bool, dose: bool, now_ms: u64) {
        let step_ms = self.step_ms;
        let long_on = |line: &Option<Line>| {
            line.as_ref()
                .is_none_or(|line| line.on_for_ms(now_ms).is_some_and(|ms| ms >= step_ms))
        };
        let long_off = |line: &Option<Line>| {
            line.as_ref()
                .is_none_or(|line| line.off_for_ms(now_ms).is_some_and(|ms| ms >= step_ms))
        };
        let (master_on, pump_off) = (long_on(&self.master), long_off(&self.pump));
        let water_on = master_on && long_on(&self.pump);
        let set = |line: &mut Option<Line>, on: bool, off: bool| {
            if let Some(line) = line {
                if on {
                    line.open(now_ms);
                } else if off {
                    line.close(now_ms);
                }
            }
        };
        set(
            &mut self.dosing,
            dose && demand && water_on,
            !(dose && demand),
        );
        set(&mut self.pump, demand && master_on, !demand);
        set(&mut self.master, demand, !demand && pump_off);
    }

    /// Closes everything at once: a fault, or the end of the process.
    pub(crate) fn cut(&mut self, now_ms: u64) {
        for line in self.lines_mut() {
            line.close(now_ms);
        }
    }

    pub(crate) fn timeout(&mut self, now_ms: u64) {
        for line in self.lines_mut() {
            line.timeout(now_ms);
        }
    }

    pub(crate) fn lease(&mut self, output: Output, seconds: u16, taken: bool, now_ms: u64) {
        if let Some(line) = self.line(output) {
            line.lease(seconds, taken, now_ms);
        }
    }

    pub(crate) fn status(
        &mut self,
        output: Output,
        status: Option<OutputStatus>,
        now_ms: u64,
    ) -> Option<Effect> {
        self.line(output)?.status(status, now_ms)
    }

    /// When [`Supply::timeout`] or [`Supply::drive`] has something to do.
    pub(crate) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let step = |line: &Line| match line.state {
            State::On(On {
                granted_ms: Some(since_ms),
                ..
            })
            | State::Off { since_ms, .. } => Some(since_ms.saturating_add(self.step_ms)),
            State::Clearing { .. }
            | State::On(_)
            | State::Closing { .. }
            | State::Faulty { .. } => None,
        };
        let steps = self.lines().filter_map(step).filter(|due| *due > now_ms);
        steps.chain(self.lines().filter_map(Line::next_ms)).min()
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for line in self.lines_mut() {
            let output = line.output;
            effects.extend(line.effects.drain(..).map(|effect| match effect {
                LineEffect::Lease(seconds) => Effect::Lease(output, seconds),
                LineEffect::Status => Effect::Status(output),
                LineEffect::ClearFlags => Effect::ClearFlags(output),
            }));
        }
        effects
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.dosing.iter().chain(&self.pump).chain(&self.master)
    }

    /// Pump before master valve: the order in which they are closed.
    fn lines_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.dosing
            .iter_mut()
            .chain(&mut self.pump)
            .chain(&mut self.master)
    }

    fn line(&mut self, output: Output) -> Option<&mut Line> {
        self.lines_mut().find(|line| line.output == output)
    }
}
