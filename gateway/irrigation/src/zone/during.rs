//! The open valve: leases, and the proof that it follows.

use super::{CONFIRM_LIMIT_MS, Effect, OutputStatus, RETRY_MS, Run, Stage, TRAVEL_MS, Zone};
use crate::EndReason;

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

    pub(super) fn watering_timeout(&mut self, mut run: Run, now_ms: u64) {
        if now_ms >= run.end_ms() {
            return self.close(run, EndReason::Completed, now_ms);
        }
        if now_ms >= run.lease_until_ms {
            return self.close(run, EndReason::LeaseLost, now_ms);
        }
        if now_ms >= run.status_at_ms {
            if !run.confirmed && now_ms.saturating_sub(run.opened_ms) >= CONFIRM_LIMIT_MS {
                return self.close(run, EndReason::Fault, now_ms);
            }
            let lease_ms = u64::from(self.lease_seconds) * 1_000;
            let wait_ms = if run.confirmed {
                lease_ms / 3
            } else {
                RETRY_MS
            };
            run.status_at_ms = now_ms.saturating_add(wait_ms);
            self.stage = Stage::Watering(run);
            self.effects.push(Effect::Status);
        }
        if now_ms >= run.renew_at_ms {
            self.renew(run, now_ms);
        }
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
        self.stage = Stage::Watering(run);
    }
}
