//! The open valve: leases, the proof that it follows, and the end of the run.

use super::{
    CONFIRM_LIMIT_MS, Effect, FLOW_EVERY_MS, FLOW_LEAST_MS, FlowMode, OutputStatus, RETRY_MS, Run,
    Stage, TRAVEL_MS, Zone,
};
use crate::EndReason;
use crate::flow::time_for;

impl Zone {
    pub(super) fn renew(&mut self, mut run: Run, now_ms: u64) {
        let left_s = run.end_ms().saturating_sub(now_ms).div_ceil(1_000);
        let seconds = u16::try_from(left_s)
            .unwrap_or(u16::MAX)
            .clamp(1, self.lease_seconds);
        run.renew_at_ms = now_ms.saturating_add(u64::from(self.lease_seconds) * 1_000 / 3);
        self.stage = Stage::Watering(run);
        self.effects.push(Effect::Lease(seconds));
    }

    /// When the run has to end, or at the latest its valve has to close.
    pub(super) fn over_ms(&self, run: &Run) -> u64 {
        let end_ms = run.end_ms();
        if run.winding.is_some() {
            return end_ms;
        }
        let silent_ms = run
            .wish
            .silent_ms
            .filter(|_| run.flowed_ml.unwrap_or(0) == 0)
            .zip(run.granted_ms)
            .map(|(silent_ms, granted_ms)| granted_ms.saturating_add(silent_ms));
        let end_ms = end_ms.saturating_sub(self.wind_down_ms);
        silent_ms.map_or(end_ms, |silent_ms| silent_ms.min(end_ms))
    }

    /// The run is over. Its valve closes when pump and master valve have, at its end at the latest.
    pub(super) fn wind_down(&mut self, mut run: Run, reason: EndReason, now_ms: u64) {
        if self.wind_down_ms == 0 {
            return self.close(run, reason, now_ms);
        }
        run.winding.get_or_insert(reason);
        self.stage = Stage::Watering(run);
    }

    pub(super) fn watering_timeout(&mut self, mut run: Run, now_ms: u64) {
        if now_ms >= run.end_ms() {
            let reason = run.winding.unwrap_or(EndReason::Completed);
            return self.close(run, reason, now_ms);
        }
        if now_ms >= run.lease_until_ms {
            return self.close(run, EndReason::LeaseLost, now_ms);
        }
        if now_ms >= self.over_ms(&run) {
            self.wind_down(run, EndReason::Completed, now_ms);
            match self.stage {
                Stage::Watering(winding) => run = winding,
                Stage::Clearing { .. }
                | Stage::Idle
                | Stage::Checking { .. }
                | Stage::Closing { .. }
                | Stage::LockedOut { .. } => return,
            }
        }
        if now_ms >= run.status_at_ms {
            if !run.confirmed && now_ms.saturating_sub(run.opened_ms) >= CONFIRM_LIMIT_MS {
                return self.close(run, EndReason::Fault, now_ms);
            }
            run.status_at_ms = now_ms.saturating_add(self.status_every_ms(&run, now_ms));
            self.stage = Stage::Watering(run);
            self.effects.push(Effect::Status);
        }
        if now_ms >= run.renew_at_ms {
            self.renew(run, now_ms);
        }
    }

    /// How long until the controller is asked again.
    fn status_every_ms(&self, run: &Run, now_ms: u64) -> u64 {
        if !run.confirmed {
            return RETRY_MS;
        }
        let lease_ms = u64::from(self.lease_seconds) * 1_000 / 3;
        let is_watched = self.plan.options().flow.mode != FlowMode::Off;
        let Some(target_ml) = run.wish.target_ml else {
            return if is_watched {
                lease_ms.min(FLOW_EVERY_MS)
            } else {
                lease_ms
            };
        };
        // The volume so far over the time so far says when the rest will have flowed.
        let flowed_ml = run.flowed_ml.unwrap_or(0);
        let open_ms = now_ms.saturating_sub(run.opened_ms).max(1);
        let mlph = flowed_ml.saturating_mul(3_600_000) / open_ms;
        let left_ms = time_for(target_ml.saturating_sub(flowed_ml), mlph).unwrap_or(FLOW_EVERY_MS);
        left_ms
            .clamp(FLOW_LEAST_MS, FLOW_EVERY_MS.max(FLOW_LEAST_MS))
            .min(lease_ms.max(FLOW_LEAST_MS))
    }

    pub(super) fn watched(&mut self, mut run: Run, status: OutputStatus, now_ms: u64) {
        run.reset |= status.was_reset;
        let Some(granted_ms) = run.granted_ms else {
            self.stage = Stage::Watering(run);
            return;
        };
        if status.fault {
            return self.close(run, EndReason::Fault, now_ms);
        }
        if !status.commanded {
            return self.close(run, EndReason::LeaseLost, now_ms);
        }
        let travelled = now_ms.saturating_sub(granted_ms) >= TRAVEL_MS;
        if travelled && !status.confirmed {
            return self.close(run, EndReason::Fault, now_ms);
        }
        run.confirmed |= status.confirmed;
        if !run.reset {
            let flowed_ml = self.plan.litres_between(run.baseline_pulses, status.pulses);
            if status.pulses.is_some() && flowed_ml < run.flowed_ml {
                // The controller began anew, and another output's flags were cleared with ours: the
                // lease was lost at that moment, whatever was renewed since.
                run.reset = true;
                return self.close(run, EndReason::LeaseLost, now_ms);
            }
            run.flowed_ml = flowed_ml.or(run.flowed_ml);
        }
        self.stage = Stage::Watering(run);
        let target_ml = run.wish.target_ml.unwrap_or(u64::MAX);
        if run.flowed_ml.is_some_and(|flowed| flowed >= target_ml) {
            self.wind_down(run, EndReason::Completed, now_ms);
        }
    }
}
