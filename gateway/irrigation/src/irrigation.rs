//! All zones together: who is watered, by what rule, and what forbids it.

mod decide;
mod people;
mod replan;
mod start;
mod view;
mod water;

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use crate::flow::Meter;
use crate::input::Inputs;
use crate::interlock::Lock;
use crate::queue::Queue;
use crate::schedule;
use crate::site::{Hold, SiteState, Watch};
use crate::supply::{self, Supply};
use crate::zone::{Effect, Zone};
use crate::{
    Amount, Cause, Command, Config, Event, EventKind, FOLLOWS_AGAIN, InputIndex, Now, Output,
    OutputStatus, Phase, Refusal, State, ZoneIndex, ZoneState,
};

use decide::Decider;
pub use view::{SiteView, Trouble, ZoneView};

/// Rules, schedules and budgets are looked at this often even when nothing is due, in milliseconds:
/// the wall clock may have been set.
const RECHECK_MS: u64 = 60_000;
/// While water flows, tank and pressure are looked at this often, in milliseconds.
const WATCH_MS: u64 = 2_000;

/// The irrigation of one greenhouse.
#[derive(Debug)]
pub struct Irrigation {
    config: Config,
    boot: u64,
    zones: Vec<Zone>,
    supply: Supply,
    watch: Watch,
    inputs: Inputs,
    meters: Vec<Meter>,
    site: SiteState,
    queue: Queue,
    decider: Decider,
    commands: VecDeque<Command>,
    last_run: u64,
    /// Zones of earlier configurations: their budgets come back with them.
    retired: BTreeMap<String, ZoneState>,
    last: Now,
    watch_at_ms: u64,
    leak_at_ms: u64,
    stopping: bool,
    /// EC or pH was wrong in this zone's run: no more fertiliser in it.
    dosing_barred: Option<ZoneIndex>,
}

impl Irrigation {
    /// `state` is the last one persisted; `boot` names this boot of the machine.
    #[must_use]
    pub fn new(config: Config, state: State, boot: u64) -> Self {
        let State {
            last_run,
            zones: mut retired,
            mut site,
        } = state;
        site.hold = site.hold.map(|hold| hold.after_reboot(boot));
        let plan = &config.site;
        let supply = Supply::new(
            plan.has_master_valve,
            plan.has_pump,
            plan.dosing.is_some(),
            plan.step_ms,
            config.lease_seconds,
        );
        let zones: Vec<Zone> = config
            .zones
            .iter()
            .map(|plan| {
                let mut state = retired.remove(plan.key()).unwrap_or_default();
                state.hold = state.hold.map(|hold| hold.after_reboot(boot));
                let wind_down_ms = supply.wind_down_ms();
                let lease_seconds = config.lease_seconds;
                Zone::new(plan.clone(), state, lease_seconds, boot, wind_down_ms)
            })
            .collect();
        Self {
            boot,
            decider: Decider::new(&config),
            zones,
            watch: Watch::new(plan),
            inputs: Inputs::new(config.inputs.clone()),
            meters: plan.meters.iter().map(|_| Meter::default()).collect(),
            supply,
            site,
            queue: Queue::default(),
            commands: VecDeque::new(),
            last_run,
            retired,
            last: Now {
                mono_ms: 0,
                wall: None,
            },
            watch_at_ms: 0,
            leak_at_ms: 0,
            stopping: false,
            dosing_barred: None,
            config,
        }
    }

    /// Closes every output; runs that the last process left open are reported as interrupted.
    pub fn handle_start(&mut self, now: Now) {
        // Nothing was read yet: rules are asked when sensors have answered.
        self.decider.wait(now.mono_ms);
        self.handle_timeout(now);
    }

    /// A reading of good quality, measured at `at_ms`; others are not told.
    pub fn handle_reading(&mut self, input: InputIndex, value: f64, at_ms: u64, now: Now) {
        self.observe(now);
        self.sum_up(input, value, at_ms, now);
        self.inputs.take(input, value, at_ms);
        self.satisfy(input, value, now.mono_ms);
        self.flush(now);
    }

    /// The process is about to stop: every run ends, none starts. Go on executing commands until
    /// [`Irrigation::is_shut`]; the leases end by themselves should there be no time for it.
    pub fn handle_shutdown(&mut self, now: Now) {
        self.stopping = true;
        for waiting in self.queue.take() {
            self.refuse(waiting.zone, waiting.cause, Refusal::Stopped);
        }
        self.supply.cut(now.mono_ms);
        for zone in &mut self.zones {
            zone.hurry(now.mono_ms);
        }
        self.flush(now);
    }

    /// The outcome of a [`Command::WriteLease`]: whether the controller took it.
    pub fn handle_lease(&mut self, output: Output, seconds: u16, taken: bool, now: Now) {
        self.observe(now);
        match output {
            Output::Zone(zone) => {
                if let Some(z) = self.zones.get_mut(zone.0) {
                    z.lease(seconds, taken, now.mono_ms);
                }
            }
            Output::MasterValve | Output::Pump | Output::Dosing => {
                self.supply.lease(output, seconds, taken, now.mono_ms);
            }
        }
        self.flush(now);
    }

    /// The outcome of a [`Command::ReadStatus`]; `None` when the controller could not be read.
    pub fn handle_status(&mut self, output: Output, status: Option<OutputStatus>, now: Now) {
        self.observe(now);
        match output {
            Output::Zone(zone) => {
                if let Some(z) = self.zones.get_mut(zone.0) {
                    z.status(status, now.mono_ms);
                }
                if let Some(status) = status {
                    self.measure(zone.0, status, now);
                }
            }
            Output::MasterValve | Output::Pump | Output::Dosing => {
                let news = self.supply.status(output, status, now.mono_ms);
                self.take_supply(news.into_iter().collect(), now);
            }
        }
        self.flush(now);
    }

    /// Does what is due: renewals, ends of runs, schedules, rules, new days.
    pub fn handle_timeout(&mut self, now: Now) {
        self.observe(now);
        for zone in &mut self.zones {
            zone.timeout(now.mono_ms);
        }
        self.supply.timeout(now.mono_ms);
        self.watch_site(now);
        self.look_for_leaks(now.mono_ms);
        self.decide(now);
        self.flush(now);
    }

    /// When [`Irrigation::handle_timeout`] should be called next, monotonic milliseconds.
    /// Calling it earlier does no harm; call it at once when the wall clock becomes known.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        let now_ms = self.last.mono_ms;
        let recheck = now_ms.saturating_add(RECHECK_MS);
        let zones = self.zones.iter().filter_map(Zone::next_ms);
        let step_ms = self.config.site.step_ms;
        let wishes = self
            .zones
            .iter()
            .filter_map(|zone| zone.wants_water_since(step_ms))
            .filter(|since_ms| *since_ms > now_ms);
        let starts = (0..self.zones.len()).filter_map(|zone| {
            let wall = self.last.wall?;
            let wait_ms = self.next_start(zone)?.as_millisecond() - wall.as_millisecond();
            Some(now_ms.saturating_add(wait_ms.max(0).unsigned_abs()))
        });
        let others = [
            self.supply.next_ms(now_ms),
            self.queue.next_ms(now_ms),
            self.watch_due_ms(),
            self.leak_due_ms(),
            Some(self.decider.next_ms()),
        ];
        zones
            .chain(wishes)
            .chain(starts)
            .chain(others.into_iter().flatten())
            .min()
            .map_or(recheck, |due| due.min(recheck))
    }

    /// The next effect, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
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
            site: self.site.clone(),
        }
    }
}

impl Irrigation {
    fn open_zones(&self) -> usize {
        let open = |zone: &&Zone| match zone.phase() {
            Phase::Checking | Phase::Watering | Phase::Closing => true,
            Phase::Clearing | Phase::Idle | Phase::LockedOut => false,
        };
        self.zones.iter().filter(open).count()
    }

    fn held_ms(&self, now_ms: u64) -> Option<u64> {
        left_of(self.site.hold, now_ms)
    }

    fn next_start(&self, zone: usize) -> Option<Timestamp> {
        let wall = self.last.wall?;
        let z = self.zones.get(zone)?;
        let entries = z.plan.schedule().iter();
        entries
            .filter_map(|e| schedule::next(e.at, e.days, &self.config.time_zone, wall))
            .min()
    }

    /// Takes note of the time: new days, scheduled starts, locks and holds that end.
    fn observe(&mut self, now: Now) {
        self.last = now;
        let mut changed = self.expire(now.mono_ms);
        if let Some(wall) = now.wall {
            let mut open = crate::budget::Use::default();
            for index in 0..self.zones.len() {
                let Some(zone) = self.zones.get_mut(index) else {
                    continue;
                };
                let charge = zone.open_charge();
                open.ms = open.ms.saturating_add(charge.ms);
                open.ml = open.ml.saturating_add(charge.ml);
                let budget = &mut zone.state.budget;
                changed |= budget.roll(now, self.boot, &self.config.time_zone, charge);
                changed |= self.take_due(index, wall, now.mono_ms);
            }
            let time_zone = &self.config.time_zone;
            changed |= self.site.budget.roll(now, self.boot, time_zone, open);
        }
        if changed {
            self.persist();
        }
    }

    /// Forgets holds and locks whose time has come. Answers whether state changed.
    fn expire(&mut self, now_ms: u64) -> bool {
        let boot = self.boot;
        let over = |hold: &mut Option<Hold>| {
            let ended = hold.is_some_and(|hold| hold.until.mono_ms <= now_ms);
            if ended {
                *hold = None;
            }
            ended
        };
        let mut changed = over(&mut self.site.hold);
        for zone in &mut self.zones {
            changed |= over(&mut zone.state.hold);
            let ended = |lock: &Lock| {
                lock.until.is_some_and(|until| {
                    let wait_ms = start::DRY_LOCK_MS;
                    until.of_this_boot(boot, wait_ms).mono_ms <= now_ms
                })
            };
            if zone.state.lock.as_ref().is_some_and(ended) {
                zone.state.lock = None;
                changed = true;
            }
        }
        changed
    }

    /// Starts what may start, drives pump and master valve, then turns wishes into commands.
    fn flush(&mut self, now: Now) {
        self.start_waiting(now);
        // What a zone does may call for the pump, and what the pump does may let a zone close.
        for _ in 0..2 {
            self.drive_supply(now);
            // Pump and master valve are told first: at a fault all close at once, in this order.
            let effects = self.supply.take_effects();
            self.take_supply(effects, now);
            for index in 0..self.zones.len() {
                let Some(zone) = self.zones.get_mut(index) else {
                    continue;
                };
                for effect in zone.take_effects() {
                    self.take_effect(index, effect, now);
                }
            }
        }
    }

    fn take_effect(&mut self, index: usize, effect: Effect, now: Now) {
        let zone = ZoneIndex(index);
        let output = Output::Zone(zone);
        match effect {
            Effect::Persist => self.persist(),
            Effect::Lease(seconds) => {
                self.commands
                    .push_back(Command::WriteLease { output, seconds });
            }
            Effect::Status => self.commands.push_back(Command::ReadStatus { output }),
            Effect::ClearFlags => self.commands.push_back(Command::ClearFlags { output }),
            Effect::Emit(kind) => self.emit(Some(zone), kind, now),
            Effect::Charge(planned) => self.site.budget.charge(planned),
            Effect::Settle { planned, really } => self.site.budget.settle(planned, really),
            Effect::Over(over) => self.run_over(index, &over, now),
        }
    }

    fn take_supply(&mut self, effects: Vec<supply::Effect>, now: Now) {
        for effect in effects {
            match effect {
                supply::Effect::Lease(output, seconds) => {
                    self.commands
                        .push_back(Command::WriteLease { output, seconds });
                }
                supply::Effect::Status(output) => {
                    self.commands.push_back(Command::ReadStatus { output });
                }
                supply::Effect::ClearFlags(output) => {
                    self.commands.push_back(Command::ClearFlags { output });
                }
                supply::Effect::Faulty(output, text) => self.supply_faulty(output, text, now),
                supply::Effect::Recovered(output) => {
                    let text = format!("{}{FOLLOWS_AGAIN}", output.text());
                    self.emit(None, EventKind::Alarm { text }, now);
                }
            }
        }
    }

    fn persist(&mut self) {
        // Only the last of several in a row counts.
        if let Some(Command::Persist(_)) = self.commands.back() {
            self.commands.pop_back();
        }
        self.commands.push_back(Command::Persist(self.state()));
    }

    fn emit(&mut self, zone: Option<ZoneIndex>, kind: EventKind, now: Now) {
        self.commands.push_back(Command::Emit(Event {
            at_mono_ms: now.mono_ms,
            zone,
            kind,
        }));
    }

    fn refuse(&mut self, zone: usize, cause: Cause, refusal: Refusal) {
        if let Some(z) = self.zones.get_mut(zone) {
            z.refuse(cause, refusal);
        }
    }

    /// What flows in a time in a zone, as far as that is known.
    fn expected_mlph(&self, zone: usize) -> Option<u64> {
        let z = self.zones.get(zone)?;
        let configured = z.plan.options().flow.expected_mlph;
        configured.or(z.state.learnt_mlph)
    }

    /// The season's part of a scheduled amount.
    fn in_season(&self, amount: Amount, wall: Timestamp) -> Amount {
        let month = schedule::local_date(wall, &self.config.time_zone).month();
        let place = usize::from(month.unsigned_abs()).saturating_sub(1);
        let percent = self.config.site.season_percent.get(place);
        amount.percent(percent.copied().unwrap_or(100))
    }
}

/// What is left of a hold.
fn left_of(hold: Option<Hold>, now_ms: u64) -> Option<u64> {
    let until_ms = hold?.until.mono_ms;
    (until_ms > now_ms).then(|| until_ms - now_ms)
}
