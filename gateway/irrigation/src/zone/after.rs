//! From the close to the proof that the water stopped.

use super::{
    ANSWER_MS, Effect, FINAL_TRIES, LOCKED_OUT_EVERY_MS, OutputStatus, Over, RETRY_MS, Run, Stage,
    TRAVEL_MS, Zone, describe,
};
use crate::budget::Use;
use crate::interlock::Moment;
use crate::{EndReason, EventKind};

impl Zone {
    pub(super) fn close(&mut self, run: Run, reason: EndReason, now_ms: u64) {
        let next_ms = now_ms.saturating_add(ANSWER_MS);
        self.stage = Stage::Closing {
            run,
            reason,
            closed_ms: None,
            tries: 0,
            next_ms,
        };
        self.effects.push(Effect::Lease(0));
    }

    pub(super) fn closing_timeout(
        &mut self,
        run: Run,
        reason: EndReason,
        closed_ms: Option<u64>,
        tries: u8,
        now_ms: u64,
    ) {
        let next_ms = now_ms.saturating_add(ANSWER_MS);
        if closed_ms.is_some() {
            self.stage = Stage::Closing {
                run,
                reason,
                closed_ms,
                tries,
                next_ms,
            };
            self.effects.push(Effect::Status);
        } else if now_ms > run.lease_until_ms {
            // No close was taken, but no lease is left either: the controller has shut it.
            let closed_ms = Some(run.lease_until_ms);
            let next_ms = now_ms.saturating_add(if self.hurry { 0 } else { TRAVEL_MS });
            self.stage = Stage::Closing {
                run,
                reason,
                closed_ms,
                tries,
                next_ms,
            };
        } else {
            self.stage = Stage::Closing {
                run,
                reason,
                closed_ms,
                tries,
                next_ms,
            };
            self.effects.push(Effect::Lease(0));
        }
    }

    pub(super) fn closed(
        &mut self,
        run: Run,
        reason: EndReason,
        closed_ms: u64,
        tries: u8,
        status: Option<OutputStatus>,
        now_ms: u64,
    ) {
        let tries = tries.saturating_add(1);
        if status.is_none() && tries < FINAL_TRIES && !self.hurry {
            let next_ms = now_ms.saturating_add(RETRY_MS);
            self.stage = Stage::Closing {
                run,
                reason,
                closed_ms: Some(closed_ms),
                tries,
                next_ms,
            };
            return;
        }
        let open_ms = closed_ms.saturating_sub(run.opened_ms);
        let pulses = status
            .filter(|s| !s.was_reset && !run.reset)
            .and_then(|s| s.pulses);
        let millilitres = self.plan.litres_between(run.baseline_pulses, pulses);
        self.settle(run.wish.charge, open_ms, millilitres);
        self.state.open_run = None;
        self.state.last_end = Some(Moment {
            boot: self.boot,
            mono_ms: closed_ms,
        });
        self.effects.push(Effect::Emit(EventKind::RunEnded {
            run: run.wish.run,
            cause: run.wish.cause,
            started_mono_ms: run.opened_ms,
            of_this_boot: true,
            open_ms,
            litres_milli: millilitres,
            reason,
        }));
        self.effects.push(Effect::Over(Over {
            wish: run.wish,
            reason,
            millilitres,
            open_ms,
        }));
        // Behind the event: a crash in between tells the end twice, by one number, never not at all.
        self.effects.push(Effect::Persist);
        let travelling = self.hurry && status.is_some_and(|s| s.confirmed && !s.fault);
        match status {
            Some(status) if status.commanded || status.fault || status.confirmed && !travelling => {
                self.lock_out(describe(status), now_ms);
            }
            Some(_) => self.stage = Stage::Idle,
            None if self.hurry => self.stage = Stage::Idle,
            None => self.lock_out(
                "the controller does not answer after the run".into(),
                now_ms,
            ),
        }
    }

    /// Where the meter counted nothing that can be trusted, water flowed as expected for as long as
    /// the valve was open.
    pub(super) fn settle(&mut self, charge: Use, open_ms: u64, millilitres: Option<u64>) {
        let expected_ml = || {
            let part = u128::from(charge.ml) * u128::from(open_ms) / u128::from(charge.ms.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let really = Use {
            ms: open_ms,
            // A meter that counted nothing at all is more likely jammed than the line dry.
            ml: millilitres.filter(|ml| *ml > 0).unwrap_or_else(expected_ml),
        };
        self.state.budget.settle(charge, really);
        self.effects.push(Effect::Settle {
            planned: charge,
            really,
        });
    }

    pub(super) fn lock_out(&mut self, text: String, now_ms: u64) {
        self.stage = Stage::LockedOut {
            next_ms: now_ms.saturating_add(LOCKED_OUT_EVERY_MS),
        };
        self.effects.push(Effect::Lease(0));
        self.effects
            .push(Effect::Emit(EventKind::LockedOut { text }));
    }
}
