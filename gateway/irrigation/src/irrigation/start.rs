//! From the wish to water to the zone that is told to: what forbids it, what it is charged, who waits.

use jiff::Timestamp;

use super::{Irrigation, WATCH_MS, left_of};
use crate::budget::Use;
use crate::flow::{time_for, volume};
use crate::interlock::Interlock;
use crate::plan::RUN_MIN_MS;
use crate::queue::Waiting;
use crate::schedule::{self, SCHEDULE_GRACE_MS};
use crate::zone::{Over, Wish};
use crate::{
    Amount, Cause, CyclePlan, EndReason, MANUAL_RUN_DEFAULT_MS, Now, Origin, Refusal, RuleKind,
    ZoneIndex,
};

/// A run that has waited this long for other zones is given up, in milliseconds.
const WAIT_LIMIT_MS: u64 = 4 * 3_600_000;
/// A run is shortened to what the budget has left, but not below this, in milliseconds.
const SHORTENED_MIN_MS: u64 = 60_000;
/// A zone without flow is tried again after this, in milliseconds.
pub(super) const DRY_LOCK_MS: u64 = 60 * 60_000;
/// So often; then a person has to look.
pub(super) const DRY_RUNS_MAX: u8 = 3;

impl Irrigation {
    pub(super) fn manual(
        &mut self,
        zone: ZoneIndex,
        run_ms: Option<u64>,
        origin: Origin,
        now: Now,
    ) -> Result<u64, Refusal> {
        let z = self.zones.get(zone.0).ok_or(Refusal::NoSuchZone)?;
        let max_run_ms = z.plan.max_run_ms();
        let run_ms = run_ms.unwrap_or_else(|| MANUAL_RUN_DEFAULT_MS.min(max_run_ms));
        if run_ms < self.least_run_ms() {
            return Err(Refusal::TooShort);
        }
        if run_ms > max_run_ms {
            return Err(Refusal::TooLong { max_run_ms });
        }
        let cause = match origin {
            Origin::Button | Origin::Page | Origin::Tool => Cause::Manual,
            Origin::Cloud => Cause::Command,
        };
        let amount = Amount::time(run_ms);
        self.gate(zone.0, amount, cause, now.mono_ms)?;
        let charge = self.charge(zone.0, amount);
        self.afford(zone.0, charge)?;
        Ok(self.begin(zone.0, cause, None, amount, None, now.mono_ms))
    }

    /// Shortest run that brings water: pump and master valve take their time on both ends.
    fn least_run_ms(&self) -> u64 {
        RUN_MIN_MS.saturating_add(self.supply.wind_down_ms().saturating_mul(2))
    }

    /// What forbids that a run begins now, budgets aside.
    pub(super) fn gate(
        &self,
        zone: usize,
        amount: Amount,
        cause: Cause,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::Stopped);
        }
        let z = self.zones.get(zone).ok_or(Refusal::NoSuchZone)?;
        z.ready()?;
        if let Some(left_ms) = self.held_ms(now_ms) {
            return Err(Refusal::Held { left_ms });
        }
        if let (Cause::Schedule | Cause::Rule | Cause::Command, Some(left_ms)) =
            (cause, left_of(z.state.hold, now_ms))
        {
            return Err(Refusal::Held { left_ms });
        }
        let locks = [&self.site.lock, &z.state.lock];
        if let Some(lock) = locks.into_iter().flatten().next() {
            return Err(Refusal::Interlock(lock.interlock));
        }
        if self.supply.is_faulty() {
            return Err(Refusal::Interlock(Interlock::Supply));
        }
        if !self.supply.is_ready() {
            return Err(Refusal::NotReady);
        }
        if let Some(interlock) = self.watch.forbids_start(&self.inputs, now_ms) {
            return Err(Refusal::Interlock(interlock));
        }
        let options = z.plan.options();
        let off_ms = z.state.off_for_ms(self.boot, now_ms);
        if let Some(off_ms) = off_ms.filter(|off_ms| *off_ms < options.min_off_ms) {
            let left_ms = options.min_off_ms - off_ms;
            return Err(Refusal::MinOff { left_ms });
        }
        let starts = z.state.starts_within_hour(self.boot, now_ms);
        if starts >= usize::from(options.starts_per_hour) {
            return Err(Refusal::TooManyStarts { starts });
        }
        let open = self.open_zones();
        if open >= self.config.max_open_zones {
            return Err(Refusal::OthersRunning { open });
        }
        self.pump_feeds(zone, open)?;
        if amount.run_ms < self.least_run_ms() {
            return Err(Refusal::TooShort);
        }
        Ok(())
    }

    /// One zone alone is always fed: its flow is what the pump gives.
    fn pump_feeds(&self, zone: usize, open: usize) -> Result<(), Refusal> {
        let Some(capacity) = self.config.site.capacity_mlph.filter(|_| open > 0) else {
            return Ok(());
        };
        let others = (0..self.zones.len()).filter(|other| {
            let zone = self.zones.get(*other);
            zone.is_some_and(|zone| zone.running().is_some())
        });
        let flows = others.chain([zone]).map(|zone| self.expected_mlph(zone));
        // A flow that is not known may be all that the pump has.
        let sum: Option<u64> = flows.sum();
        if sum.is_some_and(|sum| sum <= capacity) {
            Ok(())
        } else {
            Err(Refusal::PumpCapacity)
        }
    }

    fn charge(&self, zone: usize, amount: Amount) -> Use {
        let expected = self.expected_mlph(zone);
        let by_time = || expected.map_or(0, |mlph| volume(mlph, amount.run_ms));
        Use {
            ms: amount.run_ms,
            ml: amount.millilitres.unwrap_or_else(by_time),
        }
    }

    fn afford(&self, zone: usize, charge: Use) -> Result<(), Refusal> {
        let z = self.zones.get(zone).ok_or(Refusal::NoSuchZone)?;
        let budget = &z.state.budget;
        let left_ms = budget.left_ms(z.plan.daily_limit_ms());
        if left_ms < charge.ms {
            return Err(Refusal::BudgetSpent { left_ms });
        }
        if let Some(limit_ml) = z.plan.options().daily_limit_ml {
            let left_ml = budget.left_ml(limit_ml);
            if left_ml < charge.ml || left_ml == 0 {
                return Err(Refusal::LitresSpent { left_ml });
            }
        }
        let (site, plan) = (&self.site.budget, &self.config.site);
        let ms_spent = plan
            .daily_limit_ms
            .is_some_and(|limit| site.left_ms(limit) < charge.ms);
        let ml_spent = plan
            .daily_limit_ml
            .is_some_and(|limit| site.left_ml(limit) < charge.ml || site.left_ml(limit) == 0);
        if ms_spent || ml_spent {
            return Err(Refusal::SiteBudgetSpent);
        }
        Ok(())
    }

    /// What of an amount the day's budgets still allow.
    fn shorten(&self, zone: usize, amount: Amount) -> Result<Amount, Refusal> {
        let z = self.zones.get(zone).ok_or(Refusal::NoSuchZone)?;
        let (budget, site) = (&z.state.budget, &self.site.budget);
        let plan = &self.config.site;
        let left_ms = budget.left_ms(z.plan.daily_limit_ms());
        let site_ms = plan.daily_limit_ms.map(|limit| site.left_ms(limit));
        let mut run_ms = amount.run_ms.min(left_ms).min(site_ms.unwrap_or(u64::MAX));
        let limit_ml = z.plan.options().daily_limit_ml;
        let left_ml = limit_ml.map(|limit| budget.left_ml(limit));
        let site_ml = plan.daily_limit_ml.map(|limit| site.left_ml(limit));
        let most_ml = left_ml.into_iter().chain(site_ml).min();
        let mut millilitres = amount.millilitres;
        if let Some(most_ml) = most_ml {
            let by_time_ms = self
                .expected_mlph(zone)
                .and_then(|mlph| time_for(most_ml, mlph));
            match millilitres {
                Some(ml) => millilitres = Some(ml.min(most_ml)),
                None => run_ms = run_ms.min(by_time_ms.unwrap_or(u64::MAX)),
            }
            if most_ml == 0 {
                return Err(Refusal::LitresSpent { left_ml: 0 });
            }
        }
        if run_ms < amount.run_ms.min(SHORTENED_MIN_MS) {
            return Err(Refusal::BudgetSpent { left_ms });
        }
        Ok(Amount {
            run_ms,
            millilitres,
        })
    }

    /// Tells the zone to begin. Answers the run's number.
    fn begin(
        &mut self,
        zone: usize,
        cause: Cause,
        rule: Option<usize>,
        amount: Amount,
        rest: Option<Amount>,
        now_ms: u64,
    ) -> u64 {
        self.last_run = self.last_run.saturating_add(1);
        let wish = Wish {
            run: self.last_run,
            cause,
            rule,
            charge: self.charge(zone, amount),
            target_ml: amount.millilitres,
            silent_ms: amount
                .millilitres
                .zip(self.expected_mlph(zone))
                .and_then(|(ml, mlph)| time_for(ml, mlph)),
            rest,
        };
        // Tank and pressure were looked at just now.
        if self.watch_at_ms <= now_ms {
            self.watch_at_ms = now_ms.saturating_add(WATCH_MS);
        }
        if let Some(z) = self.zones.get_mut(zone) {
            // Whoever begins it on site wants it to be watered again.
            if cause == Cause::Manual {
                z.state.hold = None;
            }
            z.begin(wish, now_ms);
        }
        self.last_run
    }

    /// Puts scheduled starts that have come into the queue. Answers whether state changed.
    pub(super) fn take_due(&mut self, index: usize, wall: Timestamp, now_ms: u64) -> bool {
        let Some(zone) = self.zones.get_mut(index) else {
            return false;
        };
        let unix_ms = wall.as_millisecond();
        let Some(until_ms) = zone.state.scheduled_until_unix_ms else {
            // The clock was never known before: what lies in the past was not for us.
            zone.state.scheduled_until_unix_ms = Some(unix_ms);
            return true;
        };
        let Ok(after) = Timestamp::from_millisecond(until_ms) else {
            return false;
        };
        let mut starts: Vec<(Timestamp, Amount)> = Vec::new();
        for entry in zone.plan.schedule() {
            let time_zone = &self.config.time_zone;
            let due = schedule::due(entry.at, entry.days, time_zone, after, wall);
            starts.extend(due.into_iter().map(|when| (when, entry.amount)));
        }
        starts.sort_unstable_by_key(|(when, _)| *when);
        let priority = zone.plan.options().priority;
        let max_run_ms = zone.plan.max_run_ms();
        for &(when, amount) in &starts {
            let late = unix_ms.saturating_sub(when.as_millisecond());
            let late_ms = late.max(0).unsigned_abs();
            let mut amount = self.in_season(amount, when);
            amount.run_ms = amount.run_ms.min(max_run_ms);
            if let Some(zone) = self.zones.get_mut(index) {
                zone.state.scheduled_until_unix_ms = Some(when.as_millisecond());
            }
            if late_ms > SCHEDULE_GRACE_MS {
                self.refuse(index, Cause::Schedule, Refusal::Missed { late_ms });
            } else if amount.run_ms == 0 || amount.millilitres == Some(0) {
                self.refuse(index, Cause::Schedule, Refusal::OutOfSeason);
            } else {
                let waiting = Waiting {
                    zone: index,
                    cause: Cause::Schedule,
                    rule: None,
                    amount,
                    since_ms: now_ms,
                    not_before_ms: 0,
                    priority,
                };
                if !self.queue.push(waiting) {
                    self.refuse(index, Cause::Schedule, Refusal::AlreadyRunning);
                }
            }
        }
        !starts.is_empty()
    }

    /// Starts what may start now. Who waits for the pump is not overtaken; who soaks is.
    pub(super) fn start_waiting(&mut self, now: Now) {
        let mut pump_is_wanted = false;
        for mut waiting in self.queue.take() {
            let waited_ms = now.mono_ms.saturating_sub(waiting.since_ms);
            if waiting.not_before_ms > now.mono_ms {
                self.queue.push(waiting);
                continue;
            }
            match self.gate(waiting.zone, waiting.amount, waiting.cause, now.mono_ms) {
                Ok(()) if !pump_is_wanted => self.start(waiting, now.mono_ms),
                Ok(()) | Err(Refusal::OthersRunning { .. } | Refusal::PumpCapacity)
                    if waited_ms < WAIT_LIMIT_MS =>
                {
                    pump_is_wanted = true;
                    self.queue.push(waiting);
                }
                Ok(()) => {
                    let open = self.open_zones();
                    self.refuse(waiting.zone, waiting.cause, Refusal::OthersRunning { open });
                }
                Err(Refusal::MinOff { left_ms }) if waited_ms < WAIT_LIMIT_MS => {
                    waiting.not_before_ms = now.mono_ms.saturating_add(left_ms);
                    self.queue.push(waiting);
                }
                // The output may be known to be closed in a moment.
                Err(Refusal::NotReady) if waited_ms < SCHEDULE_GRACE_MS => {
                    self.queue.push(waiting);
                }
                Err(refusal) => self.refuse(waiting.zone, waiting.cause, refusal),
            }
        }
    }

    fn start(&mut self, waiting: Waiting, now_ms: u64) {
        let Waiting {
            zone, cause, rule, ..
        } = waiting;
        let (amount, rest) = self.first_cycle(zone, waiting.amount);
        let affordable = self.shorten(zone, amount).and_then(|amount| {
            self.afford(zone, self.charge(zone, amount))
                .map(|()| amount)
        });
        match affordable {
            Ok(amount) => {
                self.begin(zone, cause, rule, amount, rest, now_ms);
            }
            Err(refusal) => self.refuse(zone, cause, refusal),
        }
    }

    /// Splits an amount into its first cycle and the rest.
    fn first_cycle(&self, zone: usize, amount: Amount) -> (Amount, Option<Amount>) {
        let plan = self.zones.get(zone).and_then(|z| z.plan.options().cycle);
        // A rest too short to open the valve for again is given with the last cycle.
        let is_split =
            |cycle: &CyclePlan| cycle.on_ms.saturating_add(SHORTENED_MIN_MS) <= amount.run_ms;
        let Some(cycle) = plan.filter(is_split) else {
            return (amount, None);
        };
        let part = |ml: u64| {
            let part = u128::from(ml) * u128::from(cycle.on_ms) / u128::from(amount.run_ms.max(1));
            u64::try_from(part).unwrap_or(ml).max(1)
        };
        let first = Amount {
            run_ms: cycle.on_ms,
            millilitres: amount.millilitres.map(part),
        };
        let rest = Amount {
            run_ms: amount.run_ms.saturating_sub(first.run_ms),
            millilitres: amount
                .millilitres
                .map(|ml| ml.saturating_sub(part(ml)).max(1)),
        };
        (first, Some(rest))
    }

    /// A run is over: what was learnt, what its rule now knows, what follows after the soak.
    pub(super) fn run_over(&mut self, index: usize, over: &Over, now: Now) {
        self.learn(index, over, now);
        self.judge_run(index, over, now);
        let expected = self.expected_mlph(index);
        let Some(zone) = self.zones.get_mut(index) else {
            return;
        };
        if over.millilitres.is_some_and(|ml| ml > 0) {
            zone.state.dry_runs = 0;
        }
        let is_dry = over.reason == EndReason::Interlock(Interlock::NoFlow);
        let flowed = over
            .millilitres
            // A meter that counted nothing at all is jammed, unless that is what ended the run.
            .filter(|ml| *ml > 0 || is_dry)
            .or_else(|| expected.map(|mlph| volume(mlph, over.open_ms)));
        let part = part_given(over);
        for (place, rule) in zone.plan.options().rules.iter().enumerate() {
            let is_its_own = over.wish.rule == Some(place);
            let counts = match rule.kind {
                RuleKind::RadiationSum { .. } => is_its_own,
                // Whoever gave it: the water is in the ground.
                RuleKind::WaterBalance { .. } => is_its_own || flowed.is_some(),
                RuleKind::Moisture { .. } | RuleKind::Vpd { .. } => false,
            };
            if counts {
                let state = zone.state.rules.entry(rule.name.clone()).or_default();
                state.sum = rule.left_after(state.sum, flowed, part);
            }
        }
        if let (Some(amount), EndReason::Completed) = (over.wish.rest, over.reason) {
            let options = zone.plan.options();
            let soak_ms = options.cycle.map_or(0, |cycle| cycle.soak_ms);
            let waiting = Waiting {
                zone: index,
                cause: over.wish.cause,
                rule: over.wish.rule,
                amount,
                since_ms: now.mono_ms,
                not_before_ms: now.mono_ms.saturating_add(soak_ms),
                priority: options.priority,
            };
            if !self.queue.push(waiting) {
                self.refuse(index, over.wish.cause, Refusal::AlreadyRunning);
            }
        }
    }
}

/// The part of a dose that a run gave. A person who stops one has seen enough.
fn part_given(over: &Over) -> f64 {
    match over.reason {
        EndReason::Completed | EndReason::Stopped => 1.0,
        EndReason::Interlock(Interlock::NoFlow) => 0.0,
        EndReason::Fault
        | EndReason::Interrupted
        | EndReason::LeaseLost
        | EndReason::Interlock(_) => {
            let part = over.open_ms as f64 / over.wish.charge.ms.max(1) as f64;
            part.min(1.0)
        }
    }
}
