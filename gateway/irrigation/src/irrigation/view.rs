//! What people see of it.

use jiff::Timestamp;

use super::{Irrigation, left_of};
use crate::interlock::Interlock;
use crate::{Now, Phase, ZoneIndex};

/// A zone as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneView {
    /// Where it is in its life.
    pub phase: Phase,
    /// The run under way.
    pub run: Option<u64>,
    /// Milliseconds until the run ends.
    pub left_ms: Option<u64>,
    /// Milliseconds of today's watering time that are used or charged.
    pub used_today_ms: u64,
    /// Milliseconds of watering time a day.
    pub daily_limit_ms: u64,
    /// Millilitres of today's water that are used or charged.
    pub used_today_ml: u64,
    /// The next scheduled start, while the clock is known.
    pub next_start: Option<Timestamp>,
    /// A run waits for the pump or for its soak.
    pub is_waiting: bool,
    /// A fault that outlives its run.
    pub lock: Option<Interlock>,
    /// Milliseconds for which a person wants no water by rule or from afar.
    pub held_ms: Option<u64>,
}

/// What all zones share, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteView {
    /// Milliseconds for which a person wants no water.
    pub held_ms: Option<u64>,
    /// A leak that nobody has looked at.
    pub lock: Option<Interlock>,
    /// What forbids that a run begins now.
    pub forbids: Option<Interlock>,
    /// Whether fertiliser is being dosed.
    pub is_dosing: bool,
}

/// What is wrong now, for alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// An interlock has locked a zone or all of them, or forbids that a run begins.
    Interlock(Interlock),
    /// A zone's valve or its controller does not follow.
    Valve,
}

impl Irrigation {
    /// Everything that is wrong now, of one zone or of all.
    #[must_use]
    pub fn troubles(&self, now: Now) -> Vec<(Option<ZoneIndex>, Trouble)> {
        let mut troubles = Vec::new();
        for (place, zone) in self.zones.iter().enumerate() {
            let here = Some(ZoneIndex(place));
            if let Some(lock) = &zone.state.lock {
                troubles.push((here, Trouble::Interlock(lock.interlock)));
            }
            if zone.phase() == Phase::LockedOut {
                troubles.push((here, Trouble::Valve));
            }
        }
        let lock = self.site.lock.as_ref().map(|lock| lock.interlock);
        let forbids = self.watch.forbids_start(&self.inputs, now.mono_ms);
        let supply = self.supply.is_faulty().then_some(Interlock::Supply);
        let of_all = [lock, forbids, supply].into_iter().flatten();
        troubles.extend(of_all.map(|interlock| (None, Trouble::Interlock(interlock))));
        troubles
    }

    /// Whether no run is under way or about to be, and no pump works.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        let zones = self.zones.iter().all(|zone| match zone.phase() {
            Phase::Clearing | Phase::Idle | Phase::LockedOut => true,
            Phase::Checking | Phase::Watering | Phase::Closing => false,
        });
        zones && self.supply.is_shut()
    }

    /// A zone as people see it.
    #[must_use]
    pub fn view(&self, zone: ZoneIndex, now: Now) -> Option<ZoneView> {
        let z = self.zones.get(zone.0)?;
        let running = z.running();
        Some(ZoneView {
            phase: z.phase(),
            run: running.map(|(wish, _)| wish.run),
            left_ms: running.map(|(_, end_ms)| end_ms.saturating_sub(now.mono_ms)),
            used_today_ms: z.state.budget.used_ms,
            daily_limit_ms: z.plan.daily_limit_ms(),
            used_today_ml: z.state.budget.used_ml,
            next_start: self.next_start(zone.0),
            is_waiting: self.queue.has(zone.0),
            lock: z.state.lock.as_ref().map(|lock| lock.interlock),
            held_ms: left_of(z.state.hold, now.mono_ms),
        })
    }

    /// What all zones share, as people see it.
    #[must_use]
    pub fn site_view(&self, now: Now) -> SiteView {
        let forbids = self.watch.forbids_start(&self.inputs, now.mono_ms);
        SiteView {
            held_ms: self.held_ms(now.mono_ms),
            lock: self.site.lock.as_ref().map(|lock| lock.interlock),
            forbids: forbids.or(self.supply.is_faulty().then_some(Interlock::Supply)),
            is_dosing: self.supply.is_dosing(),
        }
    }
}
