//! All zones together: schedules, the queue for the pump, budgets of the day, persisted state.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::RUN_MIN_MS;
use crate::schedule::{self, SCHEDULE_GRACE_MS};
use crate::zone::{Effect, Wish, Zone};
use crate::{
    Budget, Cause, Command, Config, EndReason, Event, MANUAL_RUN_DEFAULT_MS, Now, OutputStatus,
    Phase, Refusal, ZoneIndex,
};

/// Schedules and budgets are looked at this often even when nothing is due, in milliseconds:
/// the wall clock may have been set.
const RECHECK_MS: u64 = 60_000;
/// A scheduled run that has waited this long for other zones is given up, in milliseconds.
const WAIT_LIMIT_MS: u64 = 4 * 3_600_000;
/// A scheduled run is shortened to what the budget has left, but not below this, in milliseconds.
const SHORTENED_MIN_MS: u64 = 60_000;

/// What must survive a power cut. The caller journals it for each [`Command::Persist`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Number of the last run handed out.
    pub last_run: u64,
    /// By [`crate::ZonePlan::key`]. Zones that are no longer configured are kept.
    pub zones: BTreeMap<String, ZoneState>,
}

/// What must survive for one zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneState {
    /// Watering time used today.
    pub budget: Budget,
    /// The newest scheduled start that was dealt with, milliseconds since 1970.
    pub scheduled_until_unix_ms: Option<i64>,
    /// A run whose end is not yet recorded.
    pub open_run: Option<OpenRun>,
}

/// A run that was charged and opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// Its number.
    pub run: u64,
    /// Who wanted it.
    pub cause: Cause,
    /// The boot that `opened_mono_ms` belongs to.
    pub boot: u64,
    /// When it was opened, monotonic, in milliseconds.
    pub opened_mono_ms: u64,
    /// For how long, and charged, in milliseconds.
    pub planned_ms: u64,
    /// The flow meter's count before the valve opened, where there is one.
    pub baseline_pulses: Option<u32>,
}

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
    /// The next scheduled start, while the clock is known.
    pub next_start: Option<Timestamp>,
}

/// A scheduled run that waits for the pump.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    zone: usize,
    run_ms: u64,
    since_ms: u64,
}

/// The irrigation of one greenhouse.
#[derive(Debug)]
pub struct Irrigation {
    config: Config,
    boot: u64,
    zones: Vec<Zone>,
    /// At most one entry a zone.
    waiting: VecDeque<Waiting>,
    commands: VecDeque<Command>,
    last_run: u64,
    /// Zones of earlier configurations: their budgets come back with them.
    retired: BTreeMap<String, ZoneState>,
    last: Now,
    stopping: bool,
}

impl Irrigation {
    /// `state` is the last one persisted; `boot` names this boot of the machine.
    #[must_use]
    pub fn new(config: Config, state: State, boot: u64) -> Self {
        let State {
            last_run,
            zones: mut retired,
        } = state;
        let zones = config
            .zones
            .iter()
            .map(|plan| {
                let state = retired.remove(plan.key()).unwrap_or_default();
                Zone::new(plan.clone(), state, config.lease_seconds, boot)
            })
            .collect();
        Self {
            config,
            boot,
            zones,
            waiting: VecDeque::new(),
            commands: VecDeque::new(),
            last_run,
            retired,
            last: Now {
                mono_ms: 0,
                wall: None,
            },
            stopping: false,
        }
    }

    /// Closes every output; runs that the last process left open are reported as interrupted.
    pub fn handle_start(&mut self, now: Now) {
        self.handle_timeout(now);
    }

    /// A person wants water. Answers the run's number, or why not.
    ///
    /// `run_ms` defaults to half an hour or the zone's longest run. The run still has to find its
    /// controller: if that fails, [`crate::EventKind::NotStarted`] follows.
    ///
    /// # Errors
    /// The interlock that forbids it.
    pub fn handle_manual(
        &mut self,
        zone: ZoneIndex,
        run_ms: Option<u64>,
        now: Now,
    ) -> Result<u64, Refusal> {
        self.observe(now);
        let answer = self.manual(zone, run_ms, now);
        self.flush(now);
        answer
    }

    /// Ends a zone's run and forgets a scheduled one that waits. Answers whether there was any.
    pub fn handle_stop(&mut self, zone: ZoneIndex, now: Now) -> bool {
        self.observe(now);
        let waited = self.waiting.len();
        self.waiting.retain(|w| w.zone != zone.0);
        let dropped = self.waiting.len() < waited;
        let stopped = self
            .zones
            .get_mut(zone.0)
            .is_some_and(|z| z.stop(EndReason::Stopped, now.mono_ms));
        if let (true, Some(z)) = (dropped, self.zones.get_mut(zone.0)) {
            z.refuse(Cause::Schedule, Refusal::Stopped);
        }
        self.flush(now);
        stopped || dropped
    }

    /// The process is about to stop: every run ends, none starts. Go on executing commands until
    /// [`Irrigation::is_shut`]; the leases end by themselves should there be no time for it.
    pub fn handle_shutdown(&mut self, now: Now) {
        self.stopping = true;
        self.waiting.clear();
        for zone in &mut self.zones {
            zone.hurry(now.mono_ms);
        }
        self.flush(now);
    }

    /// The outcome of a [`Command::WriteLease`]: whether the controller took it.
    pub fn handle_lease(&mut self, zone: ZoneIndex, seconds: u16, taken: bool, now: Now) {
        self.observe(now);
        if let Some(z) = self.zones.get_mut(zone.0) {
            z.lease(seconds, taken, now.mono_ms);
        }
        self.flush(now);
    }

    /// The outcome of a [`Command::ReadStatus`]; `None` when the controller could not be read.
    pub fn handle_status(&mut self, zone: ZoneIndex, status: Option<OutputStatus>, now: Now) {
        self.observe(now);
        if let Some(z) = self.zones.get_mut(zone.0) {
            z.status(status, now.mono_ms);
        }
        self.flush(now);
    }

    /// Does what is due: renewals, ends of runs, schedules, new days.
    pub fn handle_timeout(&mut self, now: Now) {
        self.observe(now);
        for zone in &mut self.zones {
            zone.timeout(now.mono_ms);
        }
        self.flush(now);
    }

    /// When [`Irrigation::handle_timeout`] should be called next, monotonic milliseconds.
    /// Calling it earlier does no harm; call it at once when the wall clock becomes known.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        let recheck = self.last.mono_ms.saturating_add(RECHECK_MS);
        let zones = self.zones.iter().filter_map(Zone::next_ms);
        let starts = (0..self.zones.len()).filter_map(|zone| {
            let wall = self.last.wall?;
            let wait_ms = self.next_start(zone)?.as_millisecond() - wall.as_millisecond();
            Some(
                self.last
                    .mono_ms
                    .saturating_add(wait_ms.max(0).unsigned_abs()),
            )
        });
        zones
            .chain(starts)
            .min()
            .map_or(recheck, |due| due.min(recheck))
    }

    /// The next effect, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether no run is under way or about to be.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.zones.iter().all(|zone| match zone.phase() {
            Phase::Clearing | Phase::Idle | Phase::LockedOut => true,
            Phase::Checking | Phase::Watering | Phase::Closing => false,
        })
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
            next_start: self.next_start(zone.0),
        })
    }

    /// The state as it would be persisted now.
    #[must_use]
    pub fn state(&self) -> State {
        let mut zones = self.retired.clone();
        for zone in &self.zones {
            zones.insert(zone.plan.key().to_owned(), zone.state.clone());
        }
        State {
            last_run: self.last_run,
            zones,
        }
    }
}

impl Irrigation {
    fn manual(&mut self, zone: ZoneIndex, run_ms: Option<u64>, now: Now) -> Result<u64, Refusal> {
        let open = self.open_zones();
        let most = self.config.max_open_zones;
        let z = self.zones.get_mut(zone.0).ok_or(Refusal::NoSuchZone)?;
        let max_run_ms = z.plan.max_run_ms();
        let planned_ms = run_ms.unwrap_or_else(|| MANUAL_RUN_DEFAULT_MS.min(max_run_ms));
        if planned_ms < RUN_MIN_MS {
            return Err(Refusal::TooShort);
        }
        if planned_ms > max_run_ms {
            return Err(Refusal::TooLong { max_run_ms });
        }
        if self.stopping {
            return Err(Refusal::Stopped);
        }
        z.ready()?;
        if open >= most {
            return Err(Refusal::OthersRunning { open });
        }
        let left_ms = z.state.budget.left_ms(z.plan.daily_limit_ms());
        if left_ms < planned_ms {
            return Err(Refusal::BudgetSpent { left_ms });
        }
        self.last_run = self.last_run.saturating_add(1);
        let run = self.last_run;
        z.begin(
            Wish {
                run,
                cause: Cause::Manual,
                planned_ms,
            },
            now.mono_ms,
        );
        Ok(run)
    }

    fn open_zones(&self) -> usize {
        let open = |zone: &&Zone| match zone.phase() {
            Phase::Checking | Phase::Watering | Phase::Closing => true,
            Phase::Clearing | Phase::Idle | Phase::LockedOut => false,
        };
        self.zones.iter().filter(open).count()
    }

    fn next_start(&self, zone: usize) -> Option<Timestamp> {
        let wall = self.last.wall?;
        let z = self.zones.get(zone)?;
        let entries = z.plan.schedule().iter();
        entries
            .filter_map(|e| schedule::next(e.at, &self.config.time_zone, wall))
            .min()
    }

    /// Takes note of the time: new days and scheduled starts.
    fn observe(&mut self, now: Now) {
        self.last = now;
        let Some(wall) = now.wall else { return };
        let mut changed = false;
        for index in 0..self.zones.len() {
            let Some(zone) = self.zones.get_mut(index) else {
                continue;
            };
            let open_ms = zone.open_charge_ms();
            changed |= zone
                .state
                .budget
                .roll(now, self.boot, &self.config.time_zone, open_ms);
            changed |= self.take_due(index, wall, now.mono_ms);
        }
        if changed {
            self.commands.push_back(Command::Persist(self.state()));
        }
    }

    /// Puts scheduled starts that have come into the queue. Answers whether state changed.
    fn take_due(&mut self, index: usize, wall: Timestamp, now_ms: u64) -> bool {
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
        let mut starts: Vec<(Timestamp, u64)> = Vec::new();
        for entry in zone.plan.schedule() {
            let due = schedule::due(entry.at, &self.config.time_zone, after, wall);
            starts.extend(due.into_iter().map(|when| (when, entry.run_ms)));
        }
        starts.sort_unstable();
        for &(when, run_ms) in &starts {
            let late = unix_ms.saturating_sub(when.as_millisecond());
            let late_ms = late.max(0).unsigned_abs();
            zone.state.scheduled_until_unix_ms = Some(when.as_millisecond());
            if late_ms > SCHEDULE_GRACE_MS {
                zone.refuse(Cause::Schedule, Refusal::Missed { late_ms });
            } else if self.waiting.iter().any(|w| w.zone == index) {
                zone.refuse(Cause::Schedule, Refusal::AlreadyRunning);
            } else {
                self.waiting.push_back(Waiting {
                    zone: index,
                    run_ms,
                    since_ms: now_ms,
                });
            }
        }
        !starts.is_empty()
    }

    /// Starts what may start, then turns the zones' wishes into commands.
    fn flush(&mut self, now: Now) {
        self.start_waiting(now.mono_ms);
        for index in 0..self.zones.len() {
            let Some(zone) = self.zones.get_mut(index) else {
                continue;
            };
            for effect in zone.take_effects() {
                let zone = ZoneIndex(index);
                let command = match effect {
                    Effect::Persist => Command::Persist(self.state()),
                    Effect::Lease(seconds) => Command::WriteLease { zone, seconds },
                    Effect::Status => Command::ReadStatus { zone },
                    Effect::ClearFlags => Command::ClearFlags { zone },
                    Effect::Emit(kind) => Command::Emit(Event {
                        at_mono_ms: now.mono_ms,
                        zone,
                        kind,
                    }),
                };
                self.commands.push_back(command);
            }
        }
    }

    fn start_waiting(&mut self, now_ms: u64) {
        let mut still = VecDeque::new();
        while let Some(next) = self.waiting.pop_front() {
            let open = self.open_zones();
            let Some(zone) = self.zones.get_mut(next.zone) else {
                continue;
            };
            let patient = now_ms.saturating_sub(next.since_ms) < WAIT_LIMIT_MS;
            match zone.ready() {
                Ok(()) if open < self.config.max_open_zones && still.is_empty() => {
                    let left_ms = zone.state.budget.left_ms(zone.plan.daily_limit_ms());
                    let planned_ms = next.run_ms.min(left_ms);
                    if planned_ms < next.run_ms.min(SHORTENED_MIN_MS) {
                        zone.refuse(Cause::Schedule, Refusal::BudgetSpent { left_ms });
                        continue;
                    }
                    self.last_run = self.last_run.saturating_add(1);
                    let run = self.last_run;
                    zone.begin(
                        Wish {
                            run,
                            cause: Cause::Schedule,
                            planned_ms,
                        },
                        now_ms,
                    );
                }
                Ok(()) if patient => still.push_back(next),
                Ok(()) => zone.refuse(Cause::Schedule, Refusal::OthersRunning { open }),
                // The output may be known to be closed in a moment.
                Err(Refusal::NotReady)
                    if now_ms.saturating_sub(next.since_ms) < SCHEDULE_GRACE_MS =>
                {
                    still.push_back(next);
                }
                Err(refusal) => zone.refuse(Cause::Schedule, refusal),
            }
        }
        self.waiting = still;
    }
}
