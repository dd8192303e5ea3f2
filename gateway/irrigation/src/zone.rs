//! One zone: from the wish to water to the proof that the water stopped.
//!
//! ```text
//! Clearing ──► Idle ──► Checking ──► Watering ──► Closing ──► Idle
//!                ▲                                   │
//!                └──────────── LockedOut ◄───────────┘
//! ```

mod after;
mod before;
mod during;
mod wish;

use crate::budget::Use;
use crate::flow::FlowMode;
use crate::flow::time_for;
use crate::plan::ZonePlan;
use crate::{Cause, EndReason, EventKind, Refusal, ZoneState};

pub(crate) use wish::{Effect, Over, Run, Wish};

/// A failed bus transaction is tried again after this, in milliseconds.
pub(crate) const RETRY_MS: u64 = 1_000;
/// A valve travels for at most 5 s (register map, fault codes 1 and 2); then its feedback counts.
pub(crate) const TRAVEL_MS: u64 = 7_000;
/// A valve that has not confirmed by then, for want of answers too, is closed.
pub(crate) const CONFIRM_LIMIT_MS: u64 = 30_000;
/// An answer that has not come by then is taken for lost, in milliseconds. Longer than a bus
/// transaction with its retries; the lease ends by itself whatever is lost.
const ANSWER_MS: u64 = 5_000;
/// Tries to read the status before a run is given up.
const CHECK_TRIES: u8 = 3;
/// Tries to read the flow meter after a run before its litres are given up.
const FINAL_TRIES: u8 = 3;
/// Tries to close an output at start, a second apart, before they become rarer.
const CLEARING_QUICK_TRIES: u8 = 5;
/// How often a controller that must not be trusted is told to close and asked, in milliseconds.
const LOCKED_OUT_EVERY_MS: u64 = 10_000;
/// A run whose flow is watched or measured is looked at this often, in milliseconds.
const FLOW_EVERY_MS: u64 = 5_000;
/// A measured run is looked at this often near its end, in milliseconds.
const FLOW_LEAST_MS: u64 = 1_000;

/// What the controller says about one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputStatus {
    /// The output holds a lease.
    pub commanded: bool,
    /// The valve's feedback says open.
    pub confirmed: bool,
    /// The output does not follow its command.
    pub fault: bool,
    /// The controller reset since its flags were cleared: its pulse count restarted.
    pub was_reset: bool,
    /// Some lease ran out since the flags were cleared.
    pub lease_ran_out: bool,
    /// The flow meter's pulses since power-up; wraps. Absent where there is no meter, or it was not read.
    pub pulses: Option<u32>,
}

/// Where a zone is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// After a start: the output is being closed, nothing may open yet.
    Clearing,
    /// Shut.
    Idle,
    /// About to open: the controller is asked first.
    Checking,
    /// Open under a lease.
    Watering,
    /// Being shut.
    Closing,
    /// Shut by command, but the controller or the valve does not follow.
    LockedOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Clearing {
        closed: bool,
        tries: u8,
        next_ms: u64,
    },
    Idle,
    Checking {
        wish: Wish,
        tries: u8,
        next_ms: u64,
    },
    Watering(Run),
    Closing {
        run: Run,
        reason: EndReason,
        closed_ms: Option<u64>,
        tries: u8,
        next_ms: u64,
    },
    LockedOut {
        next_ms: u64,
    },
}

/// One zone and what it must remember.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) plan: ZonePlan,
    pub(crate) state: ZoneState,
    lease_seconds: u16,
    boot: u64,
    /// Longest time that pump and master valve need to close before the valve.
    wind_down_ms: u64,
    stage: Stage,
    hurry: bool,
    effects: Vec<Effect>,
}

impl Zone {
    pub(crate) fn new(
        plan: ZonePlan,
        state: ZoneState,
        lease_seconds: u16,
        boot: u64,
        wind_down_ms: u64,
    ) -> Self {
        let stage = Stage::Clearing {
            closed: false,
            tries: 0,
            next_ms: 0,
        };
        Self {
            plan,
            state,
            lease_seconds,
            boot,
            wind_down_ms,
            stage,
            hurry: false,
            effects: Vec::new(),
        }
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.stage {
            Stage::Clearing { .. } => Phase::Clearing,
            Stage::Idle => Phase::Idle,
            Stage::Checking { .. } => Phase::Checking,
            Stage::Watering(_) => Phase::Watering,
            Stage::Closing { .. } => Phase::Closing,
            Stage::LockedOut { .. } => Phase::LockedOut,
        }
    }

    /// The run under way and when it is to end.
    pub(crate) fn running(&self) -> Option<(Wish, u64)> {
        match self.stage {
            Stage::Watering(run) | Stage::Closing { run, .. } => Some((run.wish, run.end_ms())),
            Stage::Clearing { .. }
            | Stage::Idle
            | Stage::Checking { .. }
            | Stage::LockedOut { .. } => None,
        }
    }

    /// What is charged for a run that is not yet settled.
    pub(crate) fn open_charge(&self) -> Use {
        self.state
            .open_run
            .as_ref()
            .map_or(Use::default(), |run| Use {
                ms: run.planned_ms,
                ml: run.planned_ml,
            })
    }

    /// Whether its valve is open and wants water, since when it may have it.
    pub(crate) fn wants_water_since(&self, step_ms: u64) -> Option<u64> {
        match self.stage {
            Stage::Watering(Run {
                granted_ms: Some(granted_ms),
                winding: None,
                ..
            }) => Some(granted_ms.saturating_add(step_ms)),
            Stage::Watering(_)
            | Stage::Clearing { .. }
            | Stage::Idle
            | Stage::Checking { .. }
            | Stage::Closing { .. }
            | Stage::LockedOut { .. } => None,
        }
    }

    /// How long it will still want water: until its time is over, or until its volume has flowed at
    /// `mlph`, or where that is not known at the flow so far.
    pub(crate) fn wants_water_for_ms(&self, mlph: Option<u64>, now_ms: u64) -> Option<u64> {
        self.wants_water_since(0)?;
        let Stage::Watering(run) = self.stage else {
            return None;
        };
        let end_ms = run.end_ms().saturating_sub(self.wind_down_ms);
        let flowed_ml = run.flowed_ml.unwrap_or(0);
        let open_ms = now_ms.saturating_sub(run.opened_ms).max(1);
        let mlph = mlph.unwrap_or(flowed_ml.saturating_mul(3_600_000) / open_ms);
        let target_ml = run.wish.target_ml.map(|ml| ml.saturating_sub(flowed_ml));
        let by_volume_ms = target_ml.and_then(|left_ml| time_for(left_ml, mlph));
        let by_time_ms = end_ms.saturating_sub(now_ms);
        Some(by_volume_ms.map_or(by_time_ms, |ms| ms.min(by_time_ms)))
    }

    /// Millilitres that have flowed beyond what was charged.
    pub(crate) fn beyond_charge_ml(&self) -> u64 {
        match self.stage {
            Stage::Watering(run) => run
                .flowed_ml
                .unwrap_or(0)
                .saturating_sub(run.wish.charge.ml),
            Stage::Clearing { .. }
            | Stage::Idle
            | Stage::Checking { .. }
            | Stage::Closing { .. }
            | Stage::LockedOut { .. } => 0,
        }
    }

    /// When [`Zone::timeout`] has something to do.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Idle => None,
            Stage::Clearing { next_ms, .. }
            | Stage::Checking { next_ms, .. }
            | Stage::Closing { next_ms, .. }
            | Stage::LockedOut { next_ms } => Some(next_ms),
            Stage::Watering(run) => Some(
                run.renew_at_ms
                    .min(run.status_at_ms)
                    .min(self.over_ms(&run))
                    .min(run.lease_until_ms),
            ),
        }
    }

    /// Whether a run could start now.
    pub(crate) fn ready(&self) -> Result<(), Refusal> {
        match self.stage {
            Stage::Idle => Ok(()),
            Stage::Clearing { .. } => Err(Refusal::NotReady),
            Stage::Checking { .. } | Stage::Watering(_) | Stage::Closing { .. } => {
                Err(Refusal::AlreadyRunning)
            }
            Stage::LockedOut { .. } => Err(Refusal::LockedOut),
        }
    }

    /// Asks the controller; the valve opens on its answer.
    pub(crate) fn begin(&mut self, wish: Wish, now_ms: u64) {
        self.stage = Stage::Checking {
            wish,
            tries: 1,
            next_ms: now_ms.saturating_add(ANSWER_MS),
        };
        self.effects.push(Effect::Status);
    }

    /// Ends what is under way. Answers whether there was anything.
    pub(crate) fn stop(&mut self, reason: EndReason, now_ms: u64) -> bool {
        match self.stage {
            Stage::Checking { wish, .. } => {
                self.stage = Stage::Idle;
                self.refuse(wish.cause, Refusal::Stopped);
                true
            }
            Stage::Watering(run) if reason == EndReason::Stopped => {
                self.wind_down(run, reason, now_ms);
                true
            }
            Stage::Watering(run) => {
                self.close(run, reason, now_ms);
                true
            }
            Stage::Clearing { .. }
            | Stage::Idle
            | Stage::Closing { .. }
            | Stage::LockedOut { .. } => false,
        }
    }

    /// Ends a run that a rule began and that has reached what it was for.
    pub(crate) fn satisfy(&mut self, rule: usize, now_ms: u64) {
        if let Stage::Watering(mut run) = self.stage
            && run.wish.rule == Some(rule)
        {
            run.wish.rest = None;
            self.wind_down(run, EndReason::Completed, now_ms);
        }
    }

    /// What it must remember has changed.
    pub(crate) fn persist(&mut self) {
        self.effects.push(Effect::Persist);
    }

    /// Pump and master valve are closed, or serve others: the valve may close.
    pub(crate) fn wound_down(&mut self, now_ms: u64) {
        if let Stage::Watering(run) = self.stage
            && let Some(reason) = run.winding
        {
            self.close(run, reason, now_ms);
        }
    }

    /// From now on a run ends without waiting for the valve's travel: the process is stopping.
    pub(crate) fn hurry(&mut self, now_ms: u64) {
        self.hurry = true;
        self.stop(EndReason::Interrupted, now_ms);
        if let Stage::Closing {
            closed_ms: Some(_),
            next_ms,
            ..
        } = &mut self.stage
        {
            *next_ms = now_ms;
        }
    }

    pub(crate) fn timeout(&mut self, now_ms: u64) {
        if self.next_ms().is_none_or(|due| now_ms < due) {
            return;
        }
        match self.stage {
            Stage::Idle => {}
            Stage::Clearing { closed, tries, .. } => {
                let next_ms = now_ms.saturating_add(ANSWER_MS);
                self.stage = Stage::Clearing {
                    closed,
                    tries,
                    next_ms,
                };
                self.effects.push(if closed {
                    Effect::Status
                } else {
                    Effect::Lease(0)
                });
            }
            Stage::Checking { wish, tries, .. } => self.check_again(wish, tries, now_ms),
            Stage::Watering(run) => self.watering_timeout(run, now_ms),
            Stage::Closing {
                run,
                reason,
                closed_ms,
                tries,
                ..
            } => {
                self.closing_timeout(run, reason, closed_ms, tries, now_ms);
            }
            Stage::LockedOut { .. } => {
                self.stage = Stage::LockedOut {
                    next_ms: now_ms.saturating_add(LOCKED_OUT_EVERY_MS),
                };
                self.effects.push(Effect::Lease(0));
                self.effects.push(Effect::Status);
            }
        }
    }

    /// The controller took, or did not take, a lease of `seconds`.
    pub(crate) fn lease(&mut self, seconds: u16, taken: bool, now_ms: u64) {
        match &mut self.stage {
            Stage::Clearing {
                closed,
                tries,
                next_ms,
            } if seconds == 0 => {
                *closed = taken;
                *tries = if taken { 0 } else { tries.saturating_add(1) };
                let wait_ms = if taken { 0 } else { clearing_pause_ms(*tries) };
                *next_ms = now_ms.saturating_add(wait_ms);
            }
            Stage::Watering(run) if seconds > 0 && taken => {
                run.granted_ms.get_or_insert(now_ms);
                let until = now_ms.saturating_add(u64::from(seconds) * 1_000);
                run.lease_until_ms = run.lease_until_ms.max(until);
            }
            Stage::Watering(run) if seconds > 0 => {
                run.renew_at_ms = run.renew_at_ms.min(now_ms.saturating_add(RETRY_MS));
            }
            Stage::Closing {
                closed_ms, next_ms, ..
            } if seconds == 0 && closed_ms.is_none() => {
                if taken {
                    *closed_ms = Some(now_ms);
                    let wait_ms = if self.hurry { 0 } else { TRAVEL_MS };
                    *next_ms = now_ms.saturating_add(wait_ms);
                } else {
                    *next_ms = now_ms.saturating_add(RETRY_MS);
                }
            }
            // A renewal that was under way when the run ended: the close behind it follows.
            Stage::Clearing { .. }
            | Stage::Watering(_)
            | Stage::Closing { .. }
            | Stage::Idle
            | Stage::Checking { .. }
            | Stage::LockedOut { .. } => {}
        }
        self.timeout(now_ms);
    }

    /// The controller's answer about this zone's output, if it gave one.
    pub(crate) fn status(&mut self, status: Option<OutputStatus>, now_ms: u64) {
        if let Some(status) = status
            && (status.was_reset || status.lease_ran_out)
        {
            self.effects.push(Effect::ClearFlags);
        }
        match self.stage {
            Stage::Idle => {}
            Stage::Clearing { closed, tries, .. } => {
                self.cleared(closed, tries, status, now_ms);
            }
            Stage::Checking { wish, tries, .. } => match status {
                Some(status) => self.checked(wish, status, now_ms),
                None => self.defer_check(wish, tries, now_ms),
            },
            Stage::Watering(run) => {
                if let Some(status) = status {
                    self.watched(run, status, now_ms);
                }
            }
            Stage::Closing {
                run,
                reason,
                closed_ms: Some(closed_ms),
                tries,
                ..
            } => {
                self.closed(run, reason, closed_ms, tries, status, now_ms);
            }
            // Asked before the close was taken: too early to judge.
            Stage::Closing {
                closed_ms: None, ..
            } => {}
            Stage::LockedOut { .. } => {
                if status.is_some_and(|s| !s.commanded && !s.confirmed && !s.fault) {
                    self.stage = Stage::Idle;
                    self.effects.push(Effect::Emit(EventKind::Recovered));
                }
            }
        }
    }

    pub(crate) fn refuse(&mut self, cause: Cause, refusal: Refusal) {
        self.effects
            .push(Effect::Emit(EventKind::NotStarted { cause, refusal }));
    }
}

/// A controller that is not there at start is asked less and less often.
fn clearing_pause_ms(tries: u8) -> u64 {
    if tries < CLEARING_QUICK_TRIES {
        RETRY_MS
    } else {
        LOCKED_OUT_EVERY_MS
    }
}

fn describe(status: OutputStatus) -> String {
    let OutputStatus {
        commanded,
        confirmed,
        fault,
        ..
    } = status;
    let text = match (commanded, confirmed, fault) {
        (true, _, _) => "the controller holds a lease that was not asked for",
        (false, true, _) => "the valve is open although its output is closed",
        (false, false, true) => "the controller reports that the output does not follow",
        (false, false, false) => "the controller reports a fault",
    };
    text.to_owned()
}
