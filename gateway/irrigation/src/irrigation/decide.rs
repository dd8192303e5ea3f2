//! What the rules want, and what of it is news.

use super::{Irrigation, RECHECK_MS};
use crate::queue::Waiting;
use crate::rules::{Rule, RuleKind, Seen, Verdict, evaluate};
use crate::schedule;
use crate::{Cause, Config, Decision, EventKind, InputIndex, Now, Refusal, ZoneIndex};

/// What rules have summed up is journalled this often, in milliseconds: what a power cut costs of it.
const SUMS_EVERY_MS: u64 = 3_600_000;

/// When the rules are due, and what they decided last.
#[derive(Debug)]
pub(super) struct Decider {
    next_ms: u64,
    sums_at_ms: u64,
    /// By zone and rule: verdict and refusal, by kind.
    last: Vec<Vec<Option<Kind>>>,
}

type Kind = (&'static str, Option<std::mem::Discriminant<Refusal>>);

impl Decider {
    pub(super) fn new(config: &Config) -> Self {
        let rules = |zone: &crate::ZonePlan| vec![None; zone.options().rules.len()];
        Self {
            next_ms: 0,
            sums_at_ms: SUMS_EVERY_MS,
            last: config.zones.iter().map(rules).collect(),
        }
    }

    pub(super) fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// Whether this is another kind of decision than the last one of the rule.
    fn is_news(&mut self, zone: usize, rule: usize, kind: Kind) -> bool {
        let place = self
            .last
            .get_mut(zone)
            .and_then(|rules| rules.get_mut(rule));
        place.is_some_and(|last| last.replace(kind) != Some(kind))
    }
}

impl Irrigation {
    /// Asks every rule that is due.
    pub(super) fn decide(&mut self, now: Now) {
        if now.mono_ms < self.decider.next_ms {
            return;
        }
        self.decider.next_ms = now.mono_ms.saturating_add(RECHECK_MS);
        for zone in 0..self.zones.len() {
            let rules = self
                .zones
                .get(zone)
                .map_or(0, |z| z.plan.options().rules.len());
            for rule in 0..rules {
                self.decide_one(zone, rule, now);
            }
        }
        if now.mono_ms >= self.decider.sums_at_ms {
            self.decider.sums_at_ms = now.mono_ms.saturating_add(SUMS_EVERY_MS);
            if self.zones.iter().any(|zone| !zone.state.rules.is_empty()) {
                self.persist();
            }
        }
    }

    fn decide_one(&mut self, zone: usize, place: usize, now: Now) {
        let Some(rule) = self.rule(zone, place).cloned() else {
            return;
        };
        let seen = self.seen(zone, &rule, now);
        let verdict = evaluate(&rule, &seen);
        self.remember_thirst(zone, &rule, verdict);
        let refusal = match verdict.amount() {
            Some(amount) => self.want(zone, place, amount, now),
            None => None,
        };
        let kind = (verdict.name(), refusal.as_ref().map(std::mem::discriminant));
        if self.decider.is_news(zone, place, kind) {
            let decision = Decision {
                rule: rule.name,
                input: self.inputs.name(rule.kind.input()).to_owned(),
                seen,
                verdict,
                refusal,
            };
            self.emit(Some(ZoneIndex(zone)), EventKind::Decided(decision), now);
        }
    }

    fn rule(&self, zone: usize, rule: usize) -> Option<&Rule> {
        self.zones.get(zone)?.plan.options().rules.get(rule)
    }

    fn seen(&self, zone: usize, rule: &Rule, now: Now) -> Seen {
        let state = self.zones.get(zone).map(|z| &z.state);
        let remembered = state.and_then(|state| state.rules.get(&rule.name));
        let minute = now.wall.map(|wall| {
            let local = self.config.time_zone.to_datetime(wall);
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs())
        });
        // Since the last run, or since this start: at least so long.
        let off_ms = state.and_then(|state| state.off_for_ms(self.boot, now.mono_ms));
        Seen {
            known: self.inputs.known(rule.kind.input(), now.mono_ms),
            sum: remembered.map_or(0.0, |remembered| remembered.sum),
            is_thirsty: remembered.is_some_and(|remembered| remembered.is_thirsty),
            minute,
            since_run_ms: Some(off_ms.unwrap_or(now.mono_ms)),
        }
    }

    fn remember_thirst(&mut self, zone: usize, rule: &Rule, verdict: Verdict) {
        let RuleKind::Moisture { .. } = rule.kind else {
            return;
        };
        let is_thirsty = match verdict {
            Verdict::Water(_) => true,
            Verdict::Enough => false,
            Verdict::SafeDose(_)
            | Verdict::OutsideWindow
            | Verdict::ClockUnknown
            | Verdict::InputUnknown => return,
        };
        if let Some(z) = self.zones.get_mut(zone) {
            let remembered = z.state.rules.entry(rule.name.clone()).or_default();
            remembered.is_thirsty = is_thirsty;
        }
    }

    /// Puts a rule's wish into the queue, or answers what forbids it.
    fn want(
        &mut self,
        zone: usize,
        rule: usize,
        amount: crate::Amount,
        now: Now,
    ) -> Option<Refusal> {
        if self.queue.has(zone) {
            return None;
        }
        match self.gate(zone, amount, Cause::Rule, now.mono_ms) {
            Ok(()) | Err(Refusal::OthersRunning { .. } | Refusal::PumpCapacity) => {}
            // Its own run, most likely.
            Err(Refusal::AlreadyRunning) => return None,
            Err(refusal) => return Some(refusal),
        }
        let priority = self.zones.get(zone)?.plan.options().priority;
        self.queue.push(Waiting {
            zone,
            cause: Cause::Rule,
            rule: Some(rule),
            amount,
            since_ms: now.mono_ms,
            not_before_ms: 0,
            priority,
        });
        None
    }

    /// What rules sum up grows by the time since the last reading, unless that is too long ago.
    pub(super) fn sum_up(&mut self, input: InputIndex, value: f64, at_ms: u64, now: Now) {
        let Some((before, ms)) = self.inputs.since_last(input, at_ms) else {
            return;
        };
        let day = now
            .wall
            .map(|wall| schedule::local_date(wall, &self.config.time_zone));
        for zone in &mut self.zones {
            for rule in &zone.plan.options().rules {
                if rule.kind.input() != input {
                    continue;
                }
                let gained = rule.gained(f64::midpoint(before, value), ms, day);
                if gained > 0.0 {
                    zone.state.rules.entry(rule.name.clone()).or_default().sum += gained;
                }
            }
        }
    }

    /// A run that a moisture rule began ends when the soil has what it needs.
    pub(super) fn satisfy(&mut self, input: InputIndex, value: f64, now_ms: u64) {
        for (place, zone) in self.zones.iter_mut().enumerate() {
            let rules = zone.plan.options().rules.iter();
            let reached = rules.enumerate().find_map(|(at, rule)| match rule.kind {
                RuleKind::Moisture {
                    input: of,
                    stop_above,
                    ..
                } if of == input && value >= stop_above => Some((at, rule.name.clone())),
                RuleKind::Moisture { .. }
                | RuleKind::RadiationSum { .. }
                | RuleKind::Vpd { .. }
                | RuleKind::WaterBalance { .. } => None,
            });
            let Some((rule, name)) = reached else {
                continue;
            };
            if let Some(remembered) = zone.state.rules.get_mut(&name) {
                remembered.is_thirsty = false;
            }
            zone.satisfy(rule, now_ms);
            self.queue.remove_of_rule(place, rule);
        }
    }
}
