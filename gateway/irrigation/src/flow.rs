//! What a flow meter says against what flow is right: no flow, a burst line, a leak.
//!
//! A judgement looks at a whole window behind the time that the line needs to fill, never at one
//! reading: a meter of one pulse a litre is silent for a minute and still right.

use std::collections::VecDeque;

use crate::ZonePlan;

/// Judged at most over this long, in milliseconds: what a coarse meter needs for a few pulses.
pub(crate) const WINDOW_MAX_MS: u64 = 10 * 60_000;
/// A window must expect this many pulses before silence means anything.
const PULSES_MIN: u32 = 3;
/// Counts of a meter that are kept; older ones are thinned out.
const COUNTS_MAX: usize = 160;
/// Counts closer together than this say nothing new, in milliseconds.
const COUNT_EVERY_MS: u64 = WINDOW_MAX_MS / 150;
/// A flow is learnt over at least this long, in milliseconds.
const LEARN_MIN_MS: u64 = 60_000;
/// Two counts that differ show a flow for so long, in milliseconds.
const FLOWING_MS: u64 = 30_000;
/// After the last valve closed a line still drains, in milliseconds; then any pulse is a leak's.
const DRAIN_MS: u64 = 60_000;

/// What a wrong flow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowMode {
    /// Nothing is judged.
    Off,
    /// It is told and nothing else: for the days of commissioning.
    Monitor,
    /// It stops the run and locks the zone.
    Active,
}

/// What flow of a zone is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowPlan {
    /// What a wrong one does.
    pub mode: FlowMode,
    /// The right one, in millilitres an hour; without it, it is learnt in the first whole run.
    pub expected_mlph: Option<u64>,
    /// Until the line is full the flow is not judged, in milliseconds.
    pub fill_up_ms: u64,
    /// Less than so many percent is no flow.
    pub low_percent: u64,
    /// For so long, in milliseconds.
    pub low_for_ms: u64,
    /// More than so many percent is a burst.
    pub high_percent: u64,
    /// For so long, in milliseconds.
    pub high_for_ms: u64,
}

impl Default for FlowPlan {
    fn default() -> Self {
        Self {
            mode: FlowMode::Off,
            expected_mlph: None,
            fill_up_ms: 150_000,
            low_percent: 20,
            low_for_ms: 60_000,
            high_percent: 130,
            high_for_ms: 45_000,
        }
    }
}

impl FlowPlan {
    pub(crate) fn check(&self) -> Result<(), String> {
        let windows = [self.low_for_ms, self.high_for_ms];
        if windows.iter().any(|ms| !(10_000..=120_000).contains(ms)) {
            return Err("a wrong flow must last 10 s to 120 s to count".into());
        }
        if self.fill_up_ms > WINDOW_MAX_MS {
            return Err("the line must be full within 10 min".into());
        }
        if self.low_percent >= 100 || self.high_percent <= 100 {
            return Err("no flow lies below 100 %, a burst above".into());
        }
        if self.expected_mlph == Some(0) {
            return Err("the expected flow must be above 0".into());
        }
        Ok(())
    }
}

/// A flow meter that one or more zones are watched by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterPlan {
    /// For people.
    pub name: String,
    /// More than this within 10 minutes with all its valves closed is a leak, in millilitres.
    pub leak_ml: u64,
    /// What a leak does.
    pub mode: FlowMode,
}

/// A wrong flow during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrongFlow {
    None,
    Burst,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    at_ms: u64,
    pulses: u32,
}

/// One meter over time.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    counts: VecDeque<Count>,
    /// Since when the same valves are open and their line is full.
    trusted_from_ms: Option<u64>,
    open: Vec<usize>,
    closed_since_ms: u64,
    leak_from: Option<Count>,
    /// What a run has taught, until it is known how that run ended: zone, millilitres an hour.
    pub(crate) candidate: Option<(usize, u64)>,
    /// A wrong flow of these valves was told.
    pub(crate) is_told: bool,
    /// A wrong flow was told in the run that ended last.
    pub(crate) was_told: bool,
}

impl Meter {
    /// Which of its zones water flows to, and since when at the latest a change began. `fill_up_ms`
    /// is the longest of theirs.
    pub(crate) fn handle_open(&mut self, open: &[usize], fill_up_ms: u64, now_ms: u64) {
        if self.open == open {
            return;
        }
        self.open = open.to_vec();
        self.was_told = open.is_empty() && self.is_told;
        self.is_told = false;
        self.counts.clear();
        self.leak_from = None;
        self.closed_since_ms = now_ms;
        self.trusted_from_ms = (!open.is_empty()).then(|| now_ms.saturating_add(fill_up_ms));
    }

    /// The zones that its water flows to.
    pub(crate) fn open(&self) -> &[usize] {
        &self.open
    }

    /// Whether it has counted within the last half minute.
    pub(crate) fn is_flowing(&self, now_ms: u64) -> bool {
        let mut latest = self.counts.iter().rev();
        let (Some(last), Some(before)) = (latest.next(), latest.next()) else {
            return false;
        };
        last.pulses != before.pulses && now_ms.saturating_sub(before.at_ms) <= FLOWING_MS
    }

    /// The meter's counter began again.
    pub(crate) fn handle_reset(&mut self) {
        self.counts.clear();
        self.leak_from = None;
    }

    /// Its count now.
    pub(crate) fn handle_count(&mut self, pulses: u32, now_ms: u64) {
        let latest = self.counts.back().or(self.leak_from.as_ref());
        if latest.is_some_and(|latest| pulses_between(latest.pulses, pulses).is_none()) {
            self.handle_reset();
        }
        let count = Count {
            at_ms: now_ms,
            pulses,
        };
        match self.trusted_from_ms {
            Some(from_ms) if now_ms >= from_ms => {
                let recent = |last: &Count| now_ms.saturating_sub(last.at_ms) < COUNT_EVERY_MS;
                if self.counts.len() > 1 && self.counts.back().is_some_and(recent) {
                    return;
                }
                if self.counts.len() >= COUNTS_MAX {
                    self.counts.pop_front();
                }
                self.counts.push_back(count);
            }
            Some(_) => {}
            None if now_ms.saturating_sub(self.closed_since_ms) >= DRAIN_MS => {
                self.leak_from.get_or_insert(count);
            }
            None => {}
        }
    }

    /// Whether the flow of a run is wrong now. `expected_mlph` is that of all open zones together,
    /// where it is known of each.
    pub(crate) fn judge(
        &self,
        zone: &ZonePlan,
        expected_mlph: Option<u64>,
        now_ms: u64,
    ) -> Option<WrongFlow> {
        let plan = &zone.options().flow;
        let low_for_ms = self.window_ms(zone, plan.low_for_ms, expected_mlph)?;
        if let Some((pulses, ms)) = self.over(low_for_ms, now_ms) {
            let too_little = match expected_mlph {
                Some(expected) => {
                    let most = volume(expected, ms).saturating_mul(plan.low_percent) / 100;
                    pulses == 0 || zone.litres_milli(pulses) < most
                }
                None => pulses == 0,
            };
            if too_little {
                return Some(WrongFlow::None);
            }
        }
        let expected = expected_mlph?;
        let (pulses, ms) = self.over(plan.high_for_ms, now_ms)?;
        // One pulse may belong to water before the window.
        let sure = zone.litres_milli(pulses.saturating_sub(1));
        let most = volume(expected, ms).saturating_mul(plan.high_percent) / 100;
        (sure > most).then_some(WrongFlow::Burst)
    }

    /// The flow since the line was full, in millilitres an hour; for a zone that was alone.
    pub(crate) fn learnt_mlph(&self, zone: &ZonePlan) -> Option<u64> {
        let (first, last) = (self.counts.front()?, self.counts.back()?);
        let ms = last.at_ms.saturating_sub(first.at_ms);
        let pulses = last.pulses.wrapping_sub(first.pulses);
        if ms < LEARN_MIN_MS || pulses < PULSES_MIN || self.open.len() != 1 {
            return None;
        }
        Some(zone.litres_milli(pulses).saturating_mul(3_600_000) / ms)
    }

    /// Millilitres that ran within 10 minutes though everything is closed, if that is a leak.
    pub(crate) fn leak_ml(
        &mut self,
        plan: &MeterPlan,
        zone: &ZonePlan,
        pulses: u32,
        now_ms: u64,
    ) -> Option<u64> {
        let from = self.leak_from?;
        let ml = zone.litres_milli(pulses.wrapping_sub(from.pulses));
        if ml > plan.leak_ml {
            self.leak_from = None;
            return Some(ml);
        }
        if now_ms.saturating_sub(from.at_ms) >= WINDOW_MAX_MS {
            self.leak_from = Some(Count {
                at_ms: now_ms,
                pulses,
            });
        }
        None
    }

    /// How long to look for silence, so that a right flow would have given some pulses.
    fn window_ms(&self, zone: &ZonePlan, least_ms: u64, expected_mlph: Option<u64>) -> Option<u64> {
        let Some(expected) = expected_mlph else {
            return Some(least_ms);
        };
        let pulse_ml = zone.litres_milli(PULSES_MIN);
        let needed_ms = pulse_ml.saturating_mul(3_600_000) / expected.max(1);
        (needed_ms <= WINDOW_MAX_MS).then_some(needed_ms.max(least_ms))
    }

    /// Pulses over the last `window_ms` or a little more, and the exact time.
    fn over(&self, window_ms: u64, now_ms: u64) -> Option<(u32, u64)> {
        let last = self.counts.back()?;
        let from_ms = now_ms.checked_sub(window_ms)?;
        let first = self
            .counts
            .iter()
            .rev()
            .find(|count| count.at_ms <= from_ms)?;
        let ms = last.at_ms.saturating_sub(first.at_ms);
        // Counts that stopped coming are no silence of the meter.
        let covered = ms.saturating_mul(10) >= window_ms.saturating_mul(8);
        covered.then(|| (last.pulses.wrapping_sub(first.pulses), ms))
    }
}

/// What is wrong with the water of a whole run: so many millilitres in so many milliseconds, where
/// `mlph` would be right. A line takes up at least as much while it fills as when it is full.
pub(crate) fn judge_whole(
    zone: &ZonePlan,
    (given_ml, water_ms): (u64, u64),
    mlph: u64,
) -> Option<WrongFlow> {
    let plan = &zone.options().flow;
    let right_ml = volume(mlph, water_ms);
    let forgiven_ml = volume(mlph, plan.fill_up_ms);
    if given_ml > (right_ml.saturating_mul(plan.high_percent) / 100).saturating_add(forgiven_ml) {
        return Some(WrongFlow::Burst);
    }
    let says_something = water_ms >= plan.low_for_ms && right_ml >= zone.litres_milli(PULSES_MIN);
    let is_little = given_ml < right_ml.saturating_mul(plan.low_percent) / 100;
    (says_something && is_little).then_some(WrongFlow::None)
}

/// Pulses between two counts. A counter wraps after years; one that went back began anew.
pub(crate) fn pulses_between(before: u32, after: u32) -> Option<u32> {
    let pulses = after.wrapping_sub(before);
    (pulses <= u32::MAX / 2).then_some(pulses)
}

/// Millilitres at a rate over a time.
pub(crate) fn volume(mlph: u64, ms: u64) -> u64 {
    let product = u128::from(mlph) * u128::from(ms) / 3_600_000;
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// The time that a volume takes at a rate, in milliseconds; `None` without a rate.
pub(crate) fn time_for(millilitres: u64, mlph: u64) -> Option<u64> {
    let product = (u128::from(millilitres) * 3_600_000).checked_div(u128::from(mlph))?;
    u64::try_from(product).ok()
}
