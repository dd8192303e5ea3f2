//! While water flows, and while none should: pump and master valve, flow, tank, pressure, leaks.

use super::start::{DRY_LOCK_MS, DRY_RUNS_MAX};
use super::{Irrigation, RECHECK_MS, WATCH_MS};
use crate::flow::{self, FlowMode, WrongFlow};
use crate::interlock::{Interlock, Lock, Moment};
use crate::site::Dosing;
use crate::zone::Over;
use crate::{EndReason, EventKind, Now, Output, OutputStatus, Phase, Refusal, ZoneIndex};

impl Irrigation {
    /// Pump, master valve and fertiliser follow the zones; a zone's valve closes after them.
    pub(super) fn drive_supply(&mut self, now: Now) {
        let step_ms = self.config.site.step_ms;
        let wants = |zone: &crate::zone::Zone| {
            zone.wants_water_since(step_ms)
                .is_some_and(|since_ms| since_ms <= now.mono_ms)
        };
        let demand = !self.stopping && self.zones.iter().any(wants);
        let dose = self.may_dose(now) && demand;
        self.supply.drive(demand, dose, now.mono_ms);
        self.note_open(now.mono_ms);
        if demand || self.supply.is_down(now.mono_ms) {
            for zone in &mut self.zones {
                zone.wound_down(now.mono_ms);
            }
        }
    }

    /// Fertiliser only into water that flows, with EC and pH right, and not into the flush.
    /// Once EC or pH was wrong there is none for the rest of the run: a limit that lets go as soon as
    /// clear water has come would dose in bursts of what is too much.
    fn may_dose(&mut self, now: Now) -> bool {
        let Some(plan) = self.config.site.dosing else {
            return false;
        };
        let mut fed = None;
        let mut flows = false;
        for (index, zone) in self.zones.iter().enumerate() {
            let options = zone.plan.options();
            let mlph = self.expected_mlph(index);
            let left_ms = zone.wants_water_for_ms(mlph, now.mono_ms);
            let Some(left_ms) = left_ms.filter(|_| options.fertigate) else {
                continue;
            };
            fed.get_or_insert(ZoneIndex(index));
            let meter = options.meter.and_then(|meter| self.meters.get(meter));
            let is_flowing = meter.is_some_and(|meter| meter.is_flowing(now.mono_ms));
            flows |= left_ms > plan.flush_ms && is_flowing;
        }
        if self.dosing_barred != fed {
            self.dosing_barred = None;
        }
        if !flows || self.dosing_barred.is_some() {
            return false;
        }
        match plan.judge(&self.inputs, now.mono_ms) {
            Dosing::Right => true,
            Dosing::Unknown => false,
            Dosing::Wrong(text) => {
                self.dosing_barred = fed;
                self.emit(fed, EventKind::Alarm { text: text.into() }, now);
                false
            }
        }
    }

    /// Tells each meter whose water it counts.
    fn note_open(&mut self, now_ms: u64) {
        let is_up = self.supply.is_up(now_ms);
        for (index, meter) in self.meters.iter_mut().enumerate() {
            let mut open = Vec::new();
            let mut fill_up_ms = 0;
            for (place, zone) in self.zones.iter().enumerate() {
                let options = zone.plan.options();
                if options.meter == Some(index) && is_up && zone.wants_water_since(0).is_some() {
                    open.push(place);
                    fill_up_ms = fill_up_ms.max(options.flow.fill_up_ms);
                }
            }
            if let [alone] = *meter.open()
                && open != [alone]
                && let Some(zone) = self.zones.get(alone)
                && let Some(mlph) = meter.learnt_mlph(&zone.plan)
            {
                meter.candidate = Some((alone, mlph));
            }
            meter.handle_open(&open, fill_up_ms, now_ms);
        }
    }

    /// The first whole run teaches what flow is right.
    pub(super) fn learn(&mut self, index: usize, over: &Over, now: Now) {
        let Some(zone) = self.zones.get_mut(index) else {
            return;
        };
        let options = zone.plan.options();
        let Some(meter) = options.meter.and_then(|meter| self.meters.get_mut(meter)) else {
            return;
        };
        let candidate = meter.candidate.take_if(|(of, _)| *of == index);
        let is_wanted = zone.state.learnt_mlph.is_none()
            && options.flow.expected_mlph.is_none()
            && options.flow.mode != FlowMode::Off;
        let ended_well = matches!(over.reason, EndReason::Completed | EndReason::Stopped);
        if let Some((_, mlph)) = candidate.filter(|_| is_wanted && ended_well) {
            zone.state.learnt_mlph = Some(mlph);
            let kind = EventKind::FlowLearnt {
                millilitres_per_hour: mlph,
            };
            self.emit(Some(ZoneIndex(index)), kind, now);
        }
    }

    /// A zone's controller was asked: what its meter says.
    pub(super) fn measure(&mut self, index: usize, status: OutputStatus, now: Now) {
        let Some(zone) = self.zones.get(index) else {
            return;
        };
        let limit_ml = zone.plan.options().daily_limit_ml;
        let used_ml = zone
            .state
            .budget
            .used_ml
            .saturating_add(zone.beyond_charge_ml());
        let beyond_ml = self.zones.iter().map(|zone| zone.beyond_charge_ml()).sum();
        let site_ml = self.site.budget.used_ml.saturating_add(beyond_ml);
        let site_limit_ml = self.config.site.daily_limit_ml;
        let is_beyond = limit_ml.is_some_and(|limit| used_ml > limit)
            || site_limit_ml.is_some_and(|limit| site_ml > limit);
        if is_beyond {
            self.stop_zone(index, Interlock::Litres, now);
        }
        let Some(place) = self.meter_of(index) else {
            return;
        };
        let Some(meter) = self.meters.get_mut(place) else {
            return;
        };
        if status.was_reset {
            meter.handle_reset();
        }
        let Some(pulses) = status.pulses else { return };
        meter.handle_count(pulses, now.mono_ms);
        if meter.open().is_empty() {
            self.judge_leak(place, index, pulses, now);
        } else {
            self.judge_flow(place, now);
        }
    }

    fn meter_of(&self, zone: usize) -> Option<usize> {
        self.zones.get(zone)?.plan.options().meter
    }

    fn judge_flow(&mut self, place: usize, now: Now) {
        let Some(meter) = self.meters.get(place) else {
            return;
        };
        let open = meter.open().to_vec();
        let flows = open.iter().map(|zone| self.expected_mlph(*zone));
        let expected: Option<u64> = flows.sum();
        let strictest = open.iter().filter_map(|zone| self.zones.get(*zone));
        let Some(zone) = strictest.max_by_key(|zone| match zone.plan.options().flow.mode {
            FlowMode::Off => 0,
            FlowMode::Monitor => 1,
            FlowMode::Active => 2,
        }) else {
            return;
        };
        let mode = zone.plan.options().flow.mode;
        let Some(wrong) = meter.judge(&zone.plan, expected, now.mono_ms) else {
            return;
        };
        let interlock = interlock_of(wrong);
        match mode {
            FlowMode::Off => {}
            FlowMode::Monitor => self.tell_once(place, interlock, now),
            FlowMode::Active => {
                for zone in open {
                    self.lock(zone, interlock, now);
                    self.stop_zone(zone, interlock, now);
                }
            }
        }
    }

    /// A run may be over before its flow is judged: a dose by volume from a burst line, a short one by
    /// time. It is judged as a whole, with the filling of the line forgiven.
    pub(super) fn judge_run(&mut self, index: usize, over: &Over, now: Now) {
        let Some(zone) = self.zones.get(index) else {
            return;
        };
        let options = zone.plan.options();
        let Some(place) = options
            .meter
            .filter(|_| over.reason == EndReason::Completed)
        else {
            return;
        };
        let others = self.zones.iter().enumerate();
        let mut others =
            others.filter(|(at, other)| *at != index && other.plan.options().meter == Some(place));
        // Water that several zones share is nobody's proof.
        let is_alone = self.config.max_open_zones == 1 || others.next().is_none();
        let known = over.millilitres.zip(self.expected_mlph(index));
        let Some((given_ml, mlph)) = known.filter(|_| is_alone) else {
            return;
        };
        // Pump and master valve come after the valve, and go before it.
        let steps_ms = self.supply.wind_down_ms().saturating_mul(2);
        let water_ms = over.open_ms.saturating_sub(steps_ms);
        let Some(wrong) = flow::judge_whole(&zone.plan, (given_ml, water_ms), mlph) else {
            return;
        };
        let interlock = interlock_of(wrong);
        match options.flow.mode {
            FlowMode::Off => {}
            FlowMode::Monitor => {
                let is_told = self.meters.get(place).is_some_and(|meter| meter.was_told);
                if !is_told {
                    let text = format!("{} (only watched)", interlock.text());
                    self.emit(Some(ZoneIndex(index)), EventKind::Alarm { text }, now);
                }
            }
            FlowMode::Active => self.lock(index, interlock, now),
        }
    }

    fn tell_once(&mut self, place: usize, interlock: Interlock, now: Now) {
        let Some(meter) = self.meters.get_mut(place) else {
            return;
        };
        if !std::mem::replace(&mut meter.is_told, true) {
            let zone = meter.open().first().map(|zone| ZoneIndex(*zone));
            let text = format!("{} (only watched)", interlock.text());
            self.emit(zone, EventKind::Alarm { text }, now);
        }
    }

    fn judge_leak(&mut self, place: usize, index: usize, pulses: u32, now: Now) {
        let (Some(meter), Some(plan), Some(zone)) = (
            self.meters.get_mut(place),
            self.config.site.meters.get(place),
            self.zones.get(index),
        ) else {
            return;
        };
        let Some(ml) = meter.leak_ml(plan, &zone.plan, pulses, now.mono_ms) else {
            return;
        };
        let text = format!(
            "{}: {}.{} l",
            Interlock::Leak.text(),
            ml / 1_000,
            ml % 1_000 / 100
        );
        let is_told = std::mem::replace(&mut meter.is_told, true);
        match plan.mode {
            FlowMode::Off => {}
            FlowMode::Monitor if !is_told => self.emit(None, EventKind::Alarm { text }, now),
            FlowMode::Monitor => {}
            FlowMode::Active if self.site.lock.is_some() => {}
            FlowMode::Active => {
                self.site.lock = Some(Lock {
                    interlock: Interlock::Leak,
                    until: None,
                });
                self.supply.cut(now.mono_ms);
                self.persist();
                self.emit(None, EventKind::LockedOut { text }, now);
            }
        }
    }

    /// Keeps a zone shut beyond the run that found a fault.
    fn lock(&mut self, index: usize, interlock: Interlock, now: Now) {
        let boot = self.boot;
        let Some(zone) = self.zones.get_mut(index) else {
            return;
        };
        zone.state.dry_runs = match interlock {
            Interlock::NoFlow => zone.state.dry_runs.saturating_add(1),
            Interlock::TankLow
            | Interlock::TankEmpty
            | Interlock::TankUnknown
            | Interlock::PressureLow
            | Interlock::Burst
            | Interlock::Leak
            | Interlock::Supply
            | Interlock::Litres => zone.state.dry_runs,
        };
        let tries_again = interlock == Interlock::NoFlow && zone.state.dry_runs <= DRY_RUNS_MAX;
        let until = tries_again.then(|| Moment {
            boot,
            mono_ms: now.mono_ms.saturating_add(DRY_LOCK_MS),
        });
        zone.state.lock = Some(Lock { interlock, until });
        let text = interlock.text().to_owned();
        self.persist();
        self.emit(Some(ZoneIndex(index)), EventKind::LockedOut { text }, now);
    }

    /// Ends a run for an interlock: pump and master valve first, then the valve, at once.
    fn stop_zone(&mut self, index: usize, interlock: Interlock, now: Now) {
        let others = self.zones.iter().enumerate();
        let alone = others
            .filter(|(place, zone)| *place != index && zone.running().is_some())
            .count()
            == 0;
        if alone {
            self.supply.cut(now.mono_ms);
        }
        if let Some(zone) = self.zones.get_mut(index) {
            zone.stop(EndReason::Interlock(interlock), now.mono_ms);
        }
        if let Some(waiting) = self.queue.remove(index) {
            self.refuse(index, waiting.cause, Refusal::Interlock(interlock));
        }
    }

    /// Tank, pressure and the supply itself, while water flows.
    pub(super) fn watch_site(&mut self, now: Now) {
        if self.watch_due_ms().is_none_or(|due| now.mono_ms < due) {
            return;
        }
        self.watch_at_ms = now.mono_ms.saturating_add(WATCH_MS);
        let since = self
            .zones
            .iter()
            .filter_map(|zone| zone.wants_water_since(0));
        let since_ms = since.min().filter(|_| self.supply.is_up(now.mono_ms));
        let water_for_ms = since_ms.map(|since_ms| now.mono_ms.saturating_sub(since_ms));
        let found = self
            .watch
            .forbids_run(&self.inputs, water_for_ms, now.mono_ms);
        if let Some(interlock) = found {
            self.stop_all(interlock, now);
        }
    }

    fn stop_all(&mut self, interlock: Interlock, now: Now) {
        for index in 0..self.zones.len() {
            if self.zones.get(index).is_some_and(is_open) {
                self.stop_zone(index, interlock, now);
            }
        }
        self.supply.cut(now.mono_ms);
    }

    pub(super) fn watch_due_ms(&self) -> Option<u64> {
        let is_watched = self.config.site.tank.is_some() || self.config.site.pressure.is_some();
        let is_due = is_watched && self.zones.iter().any(is_open);
        is_due.then_some(self.watch_at_ms)
    }

    /// Asks each meter whose valves are all closed.
    pub(super) fn look_for_leaks(&mut self, now_ms: u64) {
        if self.leak_due_ms().is_none_or(|due| now_ms < due) {
            return;
        }
        self.leak_at_ms = now_ms.saturating_add(RECHECK_MS);
        for (place, plan) in self.config.site.meters.iter().enumerate() {
            let is_closed = self.meters.get(place).is_some_and(|m| m.open().is_empty());
            if plan.mode == FlowMode::Off || !is_closed {
                continue;
            }
            let zone = self.zones.iter().position(|zone| {
                zone.plan.options().meter == Some(place) && zone.phase() == Phase::Idle
            });
            if let Some(zone) = zone {
                let output = Output::Zone(ZoneIndex(zone));
                self.commands
                    .push_back(crate::Command::ReadStatus { output });
            }
        }
    }

    pub(super) fn leak_due_ms(&self) -> Option<u64> {
        self.config.site.watches_leaks().then_some(self.leak_at_ms)
    }

    /// Pump or master valve do not follow: no water until they do.
    pub(super) fn supply_faulty(&mut self, output: Output, text: &str, now: Now) {
        let text = format!("{}: {text}", output.text());
        match output {
            Output::Dosing => self.emit(None, EventKind::Alarm { text }, now),
            Output::Zone(_) | Output::MasterValve | Output::Pump => {
                self.stop_all(Interlock::Supply, now);
                self.emit(None, EventKind::LockedOut { text }, now);
            }
        }
    }
}

fn is_open(zone: &crate::zone::Zone) -> bool {
    match zone.phase() {
        Phase::Checking | Phase::Watering => true,
        Phase::Clearing | Phase::Idle | Phase::Closing | Phase::LockedOut => false,
    }
}

fn interlock_of(wrong: WrongFlow) -> Interlock {
    match wrong {
        WrongFlow::None => Interlock::NoFlow,
        WrongFlow::Burst => Interlock::Burst,
    }
}
