//! The bench: an [`Irrigation`], a clock, and a model of the drip controller's promises.

use furrow_irrigation::{
    Amount, Command, Config, Days, Event, EventKind, Irrigation, Now, Origin, Output as Place,
    OutputStatus, Refusal, ScheduleEntry, SitePlan, State, ZoneIndex, ZonePlan,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 3_600_000;
/// A valve's travel.
const TRAVEL: u64 = 3 * SECOND;

/// A zone with limits in minutes and a schedule of (time, minutes). 60 pulses a litre.
pub(crate) fn zone(key: &str, max_run: u64, daily: u64, schedule: &[(&str, u64)]) -> ZonePlan {
    let schedule = schedule
        .iter()
        .map(|(at, minutes)| ScheduleEntry {
            at: at.parse().unwrap(),
            days: Days::ALL,
            amount: Amount::time(minutes * MINUTE),
        })
        .collect();
    ZonePlan::new(key, max_run * MINUTE, daily * MINUTE, 60_000_000, schedule).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Does not answer; its leases run on.
    Unplugged,
    /// The valve stays shut.
    StuckShut,
    /// The valve stays open once it is.
    StuckOpen,
}

/// One pulse a second flows while a valve's output is on (or its valve is stuck open).
#[derive(Debug, Default)]
struct Output {
    on_since: Option<u64>,
    lease_until: u64,
    changed_at: u64,
    open_ms: u64,
    stuck_since: Option<u64>,
    /// How long water ran although the output was off.
    leaked_ms: u64,
}

impl Output {
    fn unstick(&mut self, now: u64) {
        self.leaked_ms += self.stuck_since.take().map_or(0, |since| now - since);
    }
}

pub(crate) struct Controller {
    outputs: [Output; 4],
    pub(crate) fault: Fault,
    was_reset: bool,
    lease_ran_out: bool,
    pulses_base: u64,
}

impl Controller {
    fn new() -> Self {
        Self {
            outputs: Default::default(),
            fault: Fault::None,
            was_reset: false,
            lease_ran_out: false,
            pulses_base: 0,
        }
    }

    pub(crate) fn open_by_someone(&mut self, output: usize, lease_ms: u64) {
        let output = &mut self.outputs[output];
        output.on_since = Some(0);
        output.lease_until = lease_ms;
    }

    /// Enforces the leases up to now.
    fn advance(&mut self, now: u64) {
        let stuck_open = self.fault == Fault::StuckOpen;
        for output in &mut self.outputs {
            if let Some(since) = output.on_since
                && output.lease_until <= now
            {
                output.open_ms += output.lease_until - since;
                output.on_since = None;
                output.changed_at = output.lease_until;
                output.unstick(output.lease_until);
                output.stuck_since = stuck_open.then_some(output.lease_until);
                self.lease_ran_out = true;
            }
        }
    }

    fn set_lease(&mut self, output: usize, seconds: u16, now: u64) -> bool {
        self.advance(now);
        if self.fault == Fault::Unplugged {
            return false;
        }
        let stuck_open = self.fault == Fault::StuckOpen;
        let output = &mut self.outputs[output];
        match (seconds, output.on_since) {
            (0, Some(since)) => {
                output.open_ms += now - since;
                output.on_since = None;
                output.changed_at = now;
                output.unstick(now);
                output.stuck_since = stuck_open.then_some(now);
            }
            (0, None) => {}
            (seconds, since) => {
                if since.is_none() {
                    output.on_since = Some(now);
                    output.changed_at = now;
                    output.unstick(now);
                }
                output.lease_until = now + u64::from(seconds) * SECOND;
            }
        }
        true
    }

    fn status(&mut self, output: usize, now: u64) -> Option<OutputStatus> {
        self.advance(now);
        if self.fault == Fault::Unplugged {
            return None;
        }
        if self.fault != Fault::StuckOpen {
            self.outputs
                .iter_mut()
                .for_each(|output| output.unstick(now));
        }
        let pulses = self.pulses(now);
        let output = &self.outputs[output];
        let commanded = output.on_since.is_some();
        let travelling = now < output.changed_at + TRAVEL && output.changed_at > 0;
        let confirmed = match self.fault {
            Fault::StuckShut => false,
            Fault::StuckOpen => commanded || output.stuck_since.is_some(),
            Fault::None | Fault::Unplugged => commanded != travelling,
        };
        Some(OutputStatus {
            commanded,
            confirmed,
            fault: false,
            was_reset: self.was_reset,
            lease_ran_out: self.lease_ran_out,
            pulses: Some(u32::try_from(pulses).unwrap()),
        })
    }

    fn pulses(&self, now: u64) -> u64 {
        let flowed: u64 = self
            .outputs
            .iter()
            .map(|output| {
                let on = output.on_since.map_or(0, |since| now - since);
                output.open_ms
                    + output.leaked_ms
                    + on
                    + output.stuck_since.map_or(0, |since| now - since)
            })
            .sum();
        flowed / SECOND - self.pulses_base
    }

    pub(crate) fn reset(&mut self, now: u64) {
        self.advance(now);
        self.pulses_base += self.pulses(now);
        for output in &mut self.outputs {
            if let Some(since) = output.on_since.take() {
                output.open_ms += now - since;
                output.changed_at = now;
            }
        }
        self.was_reset = true;
    }

    pub(crate) fn is_shut(&mut self, now: u64) -> bool {
        self.advance(now);
        self.outputs.iter().all(|output| output.on_since.is_none())
    }

    /// How many outputs hold a lease.
    pub(crate) fn open(&mut self, now: u64) -> usize {
        self.advance(now);
        self.outputs
            .iter()
            .filter(|output| output.on_since.is_some())
            .count()
    }

    pub(crate) fn open_ms(&self, output: usize) -> u64 {
        self.outputs[output].open_ms
    }
}

fn zone_of(output: Place) -> ZoneIndex {
    match output {
        Place::Zone(zone) => zone,
        Place::MasterValve | Place::Pump | Place::Dosing => panic!("there is none"),
    }
}

pub(crate) struct Bench {
    pub(crate) irrigation: Irrigation,
    pub(crate) controller: Controller,
    pub(crate) clock_known: bool,
    /// Added to the wall clock: a clock that was set wrong.
    pub(crate) wall_step_ms: i64,
    config: Config,
    state: State,
    boot: u64,
    start: Timestamp,
    now: u64,
    log: Vec<String>,
}

impl Bench {
    /// At noon, nothing handled yet.
    pub(crate) fn new(zones: Vec<ZonePlan>) -> Self {
        Self::build("Asia/Ho_Chi_Minh", "2026-11-22T12:00:00+07:00", zones)
    }

    /// Ten seconds after a quiet start.
    pub(crate) fn started(zones: Vec<ZonePlan>) -> Self {
        let mut bench = Self::new(zones);
        bench.until(10 * SECOND);
        bench.log.clear();
        bench
    }

    pub(crate) fn at(start: &str, zones: Vec<ZonePlan>) -> Self {
        Self::at_zone("Asia/Ho_Chi_Minh", start, zones)
    }

    pub(crate) fn at_zone(time_zone: &str, start: &str, zones: Vec<ZonePlan>) -> Self {
        Self::build(time_zone, start, zones)
    }

    fn build(time_zone: &str, start: &str, zones: Vec<ZonePlan>) -> Self {
        let time_zone = TimeZone::get(time_zone).unwrap();
        let config = Config {
            zones,
            inputs: Vec::new(),
            site: SitePlan::default(),
            time_zone,
            lease_seconds: 30,
            max_open_zones: 1,
        };
        Self {
            irrigation: Irrigation::new(config.clone(), State::default(), 7),
            controller: Controller::new(),
            clock_known: true,
            wall_step_ms: 0,
            config,
            state: State::default(),
            boot: 7,
            start: start.parse().unwrap(),
            now: 0,
            log: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        let wall =
            self.start.as_millisecond() + i64::try_from(self.now).unwrap() + self.wall_step_ms;
        let wall = Timestamp::from_millisecond(wall).unwrap();
        Now {
            mono_ms: self.now,
            wall: self.clock_known.then_some(wall),
        }
    }

    /// Lets time pass, always to the next moment that the irrigation asks for.
    pub(crate) fn until(&mut self, end: u64) {
        loop {
            self.irrigation.handle_timeout(self.now());
            self.execute();
            let next = self.irrigation.poll_timeout();
            assert!(next > self.now, "time stands still at {} ms", self.now);
            assert!(
                self.controller.open(self.now) <= 1,
                "more open than the pump can feed"
            );
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
        }
    }

    fn execute(&mut self) {
        while let Some(command) = self.irrigation.poll_command() {
            let now = self.now();
            match command {
                Command::Persist(state) => self.persist(state),
                Command::WriteLease { output, seconds } => {
                    let zone = zone_of(output);
                    self.log(Some(zone), &format!("lease {seconds}"));
                    let taken = self.controller.set_lease(zone.0, seconds, self.now);
                    self.irrigation.handle_lease(output, seconds, taken, now);
                }
                Command::ReadStatus { output } => {
                    let status = self.controller.status(zone_of(output).0, self.now);
                    self.irrigation.handle_status(output, status, now);
                }
                Command::ClearFlags { .. } => {
                    self.controller.lease_ran_out = false;
                    self.controller.was_reset = false;
                }
                Command::Emit(event) => self.event(&event),
            }
            assert!(self.log.len() < 100_000, "too much happens");
        }
    }

    fn persist(&mut self, state: State) {
        for (key, zone) in &state.zones {
            let before = self
                .state
                .zones
                .get(key)
                .map_or(0, |zone| zone.budget.used_ms);
            if zone.budget.used_ms != before || zone.open_run != self.open_run(key) {
                let used = zone.budget.used_ms / SECOND;
                self.log
                    .push(format!("{} {key} used {used}", self.now / SECOND));
            }
        }
        // What is journalled must come back as it was.
        let bytes = serde_json::to_vec(&state).unwrap();
        assert_eq!(serde_json::from_slice::<State>(&bytes).unwrap(), state);
        self.state = state;
    }

    fn open_run(&self, key: &str) -> Option<furrow_irrigation::OpenRun> {
        self.state
            .zones
            .get(key)
            .and_then(|zone| zone.open_run.clone())
    }

    fn log(&mut self, zone: Option<ZoneIndex>, what: &str) {
        let key = zone.map_or("site", |zone| self.config.zones[zone.0].key());
        self.log.push(format!("{} {key} {what}", self.now / SECOND));
    }

    fn event(&mut self, event: &Event) {
        assert_eq!(event.at_mono_ms, self.now);
        let text = match &event.kind {
            EventKind::RunStarted {
                run,
                cause,
                planned_ms,
                ..
            } => {
                format!("started run {run} {cause:?} for {}", planned_ms / SECOND)
            }
            EventKind::RunEnded {
                run,
                cause,
                of_this_boot,
                open_ms,
                litres_milli,
                reason,
                ..
            } => {
                let boot = if *of_this_boot { "" } else { "other boot, " };
                let litres = litres_milli.map_or("unknown".to_owned(), |milli| milli.to_string());
                let open = open_ms / SECOND;
                format!("ended run {run} {cause:?}, {boot}open {open}, litres {litres}, {reason:?}")
            }
            EventKind::NotStarted { cause, refusal } => format!("not started {cause:?}: {refusal}"),
            EventKind::LockedOut { text } => format!("locked out: {text}"),
            EventKind::Recovered => "recovered".to_owned(),
            kind @ (EventKind::Reset { .. }
            | EventKind::Held { .. }
            | EventKind::Alarm { .. }
            | EventKind::FlowLearnt { .. }
            | EventKind::Decided(_)) => format!("{kind:?}"),
        };
        self.log(event.zone, &text);
    }

    /// Lets this much time pass.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.until(self.now + ms);
    }

    pub(crate) fn manual(&mut self, zone: ZoneIndex, run_ms: u64) -> Result<u64, Refusal> {
        let answer = self
            .irrigation
            .handle_manual(zone, Some(run_ms), Origin::Tool, self.now());
        self.execute();
        answer
    }

    pub(crate) fn stop(&mut self, zone: ZoneIndex) -> bool {
        let answer = self.irrigation.handle_stop(zone, Origin::Tool, self.now());
        self.execute();
        answer
    }

    pub(crate) fn shutdown(&mut self) {
        self.irrigation.handle_shutdown(self.now());
        self.execute();
        self.irrigation.handle_timeout(self.now());
        self.execute();
    }

    /// The process dies with what was persisted, and comes back after a while.
    pub(crate) fn crash_and_restart(&mut self, after_ms: u64, boot: u64) {
        self.now += after_ms;
        self.boot = boot;
        self.irrigation = Irrigation::new(self.config.clone(), self.state.clone(), boot);
        self.irrigation.handle_start(self.now());
        self.execute();
    }

    pub(crate) fn reset_controller(&mut self) {
        self.controller.reset(self.now);
    }

    pub(crate) fn open_outputs(&mut self) -> usize {
        self.controller.open(self.now)
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.now
    }

    pub(crate) fn used_s(&self, key: &str) -> u64 {
        self.irrigation.state().zones[key].budget.used_ms / SECOND
    }

    /// Everything that happened since the last look.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.log), expected);
    }

    /// The events since the last look, without leases and budgets.
    #[track_caller]
    pub(crate) fn expect_events(&mut self, expected: &[&str]) {
        assert_eq!(self.events(), expected);
    }

    pub(crate) fn events(&mut self) -> Vec<String> {
        let log = std::mem::take(&mut self.log);
        let plain = |line: &String| !line.contains(" lease ") && !line.contains(" used ");
        log.into_iter().filter(plain).collect()
    }
}
