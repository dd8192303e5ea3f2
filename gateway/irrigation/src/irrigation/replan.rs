//! Other schedules and rules for the same zones, while the process runs.

use super::Irrigation;
use super::decide::Decider;
use crate::site::Watch;
use crate::{Config, Now, Phase};

impl Irrigation {
    /// Whether no water flows, is wanted, or waits, and every effect was taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_settled = |zone: &crate::zone::Zone| match zone.phase() {
            Phase::Idle | Phase::LockedOut => true,
            Phase::Clearing | Phase::Checking | Phase::Watering | Phase::Closing => false,
        };
        self.zones.iter().all(is_settled)
            && self.supply.is_shut()
            && self.queue.is_empty()
            && self.commands.is_empty()
    }

    /// From now on schedules, rules, season and inputs of another configuration hold. Zones, outputs,
    /// meters and limits must be the same. Budgets, locks, holds and what was read go on; what rules
    /// decide is told anew. Answers whether it was done: only while [`Irrigation::is_idle`], and for
    /// the same zones.
    pub fn handle_plan(&mut self, config: Config, now: Now) -> bool {
        let same = self.zones.len() == config.zones.len()
            && self
                .zones
                .iter()
                .zip(&config.zones)
                .all(|(zone, plan)| zone.plan.key() == plan.key());
        if !same || !self.is_idle() {
            return false;
        }
        for (zone, plan) in self.zones.iter_mut().zip(&config.zones) {
            zone.plan = plan.clone();
        }
        self.watch = Watch::new(&config.site);
        self.inputs.replan(config.inputs.clone());
        self.decider = Decider::new(&config);
        self.config = config;
        self.handle_timeout(now);
        true
    }
}
