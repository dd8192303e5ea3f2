//! From the start of the process, or the wish to water, to the open valve.

use super::{
    ANSWER_MS, CHECK_TRIES, Effect, FINAL_TRIES, OutputStatus, RETRY_MS, Run, Stage, TRAVEL_MS,
    Wish, Zone, clearing_pause_ms, describe,
};
use crate::budget::Use;
use crate::interlock::Moment;
use crate::{EndReason, EventKind, OpenRun, Refusal};

impl Zone {
    pub(super) fn check_again(&mut self, wish: Wish, tries: u8, now_ms: u64) {
        if tries >= CHECK_TRIES {
            self.stage = Stage::Idle;
            self.refuse(wish.cause, Refusal::NoAnswer);
            return;
        }
        let next_ms = now_ms.saturating_add(ANSWER_MS);
        self.stage = Stage::Checking {
            wish,
            tries: tries.saturating_add(1),
            next_ms,
        };
        self.effects.push(Effect::Status);
    }

    pub(super) fn defer_check(&mut self, wish: Wish, tries: u8, now_ms: u64) {
        if tries >= CHECK_TRIES {
            return self.check_again(wish, tries, now_ms);
        }
        self.stage = Stage::Checking {
            wish,
            tries,
            next_ms: now_ms.saturating_add(RETRY_MS),
        };
    }

    pub(super) fn checked(&mut self, wish: Wish, status: OutputStatus, now_ms: u64) {
        if status.commanded || status.confirmed || status.fault {
            self.refuse(wish.cause, Refusal::LockedOut);
            self.lock_out(describe(status), now_ms);
            return;
        }
        let left_ms = self.state.budget.left_ms(self.plan.daily_limit_ms());
        if left_ms < wish.charge.ms {
            self.stage = Stage::Idle;
            self.refuse(wish.cause, Refusal::BudgetSpent { left_ms });
            return;
        }
        self.state.budget.charge(wish.charge);
        self.effects.push(Effect::Charge(wish.charge));
        let moment = Moment {
            boot: self.boot,
            mono_ms: now_ms,
        };
        self.state.note_start(moment);
        self.state.open_run = Some(OpenRun {
            run: wish.run,
            cause: wish.cause,
            boot: self.boot,
            opened_mono_ms: now_ms,
            planned_ms: wish.charge.ms,
            planned_ml: wish.charge.ml,
            baseline_pulses: status.pulses,
        });
        self.effects.push(Effect::Persist);
        let rules = &self.plan.options().rules;
        let rule = wish.rule.and_then(|rule| rules.get(rule));
        self.effects.push(Effect::Emit(EventKind::RunStarted {
            run: wish.run,
            cause: wish.cause,
            rule: rule.map(|rule| rule.name.clone()),
            planned_ms: wish.charge.ms,
            planned_ml: wish.target_ml,
        }));
        let run = Run {
            wish,
            opened_ms: now_ms,
            granted_ms: None,
            lease_until_ms: now_ms.saturating_add(u64::from(self.lease_seconds) * 1_000),
            renew_at_ms: now_ms,
            status_at_ms: now_ms.saturating_add(TRAVEL_MS),
            confirmed: false,
            reset: false,
            baseline_pulses: status.pulses,
            flowed_ml: None,
            winding: None,
        };
        self.renew(run, now_ms);
    }

    pub(super) fn cleared(
        &mut self,
        closed: bool,
        tries: u8,
        status: Option<OutputStatus>,
        now_ms: u64,
    ) {
        if !closed {
            return;
        }
        let Some(status) = status else {
            let tries = tries.saturating_add(1);
            let next_ms = now_ms.saturating_add(clearing_pause_ms(tries));
            self.stage = Stage::Clearing {
                closed,
                tries,
                next_ms,
            };
            if tries >= FINAL_TRIES {
                self.report_interrupted(None, now_ms);
            }
            return;
        };
        self.report_interrupted(Some(status), now_ms);
        if status.commanded || status.fault {
            self.lock_out(describe(status), now_ms);
        } else if status.confirmed {
            // It may still be travelling: ask again before judging.
            let next_ms = now_ms.saturating_add(TRAVEL_MS);
            if tries >= FINAL_TRIES {
                self.lock_out(describe(status), now_ms);
            } else {
                let tries = tries.saturating_add(1);
                self.stage = Stage::Clearing {
                    closed,
                    tries,
                    next_ms,
                };
            }
        } else {
            self.stage = Stage::Idle;
        }
    }

    /// The run that the last process left open: it is over now, and it is said so.
    pub(super) fn report_interrupted(&mut self, status: Option<OutputStatus>, now_ms: u64) {
        let Some(open) = self.state.open_run.take() else {
            return;
        };
        let of_this_boot = open.boot == self.boot;
        let lease_ms = u64::from(self.lease_seconds) * 1_000;
        let longest_ms = open.planned_ms.saturating_add(lease_ms);
        let open_ms = if of_this_boot {
            now_ms.saturating_sub(open.opened_mono_ms).min(longest_ms)
        } else {
            open.planned_ms
        };
        let pulses = status.filter(|s| !s.was_reset).and_then(|s| s.pulses);
        let millilitres = self.plan.litres_between(open.baseline_pulses, pulses);
        let charge = Use {
            ms: open.planned_ms,
            ml: open.planned_ml,
        };
        self.settle(charge, open_ms, millilitres);
        self.state.last_end = Some(Moment {
            boot: self.boot,
            mono_ms: now_ms,
        });
        self.effects.push(Effect::Emit(EventKind::RunEnded {
            run: open.run,
            cause: open.cause,
            started_mono_ms: open.opened_mono_ms,
            of_this_boot,
            open_ms,
            litres_milli: millilitres,
            reason: EndReason::Interrupted,
        }));
        // Behind the event: a crash in between tells the end twice, by one number, never not at all.
        self.effects.push(Effect::Persist);
    }
}
