//! A small plant: tank, pump, master valve, zones with their lines, a meter, soil. Half a second a step.

use std::collections::BTreeMap;

use furrow_irrigation::{
    Amount, Command, Config, CyclePlan, Event, EventKind, FlowMode, FlowPlan, InputIndex,
    InputPlan, Irrigation, MeterPlan, Now, Origin, Output, OutputStatus, Refusal, SitePlan, State,
    ZoneIndex, ZoneOptions, ZonePlan,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 3_600_000;
const STEP: u64 = 500;
/// A line of this plant takes 600 l/h.
pub(crate) const FLOW_MLPH: u64 = 600_000;
/// The meter: 450 pulses a litre.
const PULSES_PER_LITRE: u64 = 450;

/// What can be wrong with the plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The line of a zone has burst: three times the flow.
    Burst(usize),
    /// The valve of a zone does not open.
    Stuck(usize),
    /// The line of a zone is clogged.
    Clogged(usize),
    /// Water runs before the valves, 60 l/h.
    Leak,
    /// The pump's contactor does not close.
    PumpDead,
    /// The pump's contactor does not open.
    PumpWelded,
    /// The meter gives no pulses.
    MeterJammed,
    /// The controller does not answer.
    Silent,
}

#[derive(Debug, Default, Clone, Copy)]
struct Lease {
    until: Option<u64>,
}

/// The plant as it is, not as the program believes it to be.
#[derive(Debug, Default)]
pub(crate) struct Plant {
    leases: BTreeMap<Output, Lease>,
    pub(crate) faults: Vec<Fault>,
    meter_ml: u64,
    meter_rest: u64,
    pub(crate) zone_ml: [u64; 3],
    rest: [u64; 3],
    pub(crate) open_ms: [u64; 3],
    /// How long the pump has worked against closed valves.
    pub(crate) deadhead_ms: u64,
    pub(crate) dosed_ms: u64,
}

impl Plant {
    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn is_on(&self, output: Output) -> bool {
        let leased = self.leases.get(&output).is_some_and(|l| l.until.is_some());
        match output {
            Output::Pump if self.has(Fault::PumpDead) => false,
            Output::Pump if self.has(Fault::PumpWelded) => true,
            Output::Zone(zone) if self.has(Fault::Stuck(zone.0)) => false,
            Output::Zone(_) | Output::MasterValve | Output::Pump | Output::Dosing => leased,
        }
    }

    /// Answers what has lost its lease.
    fn advance(&mut self, config: &Config, now: u64) -> Vec<Output> {
        let mut over = Vec::new();
        for (output, lease) in &mut self.leases {
            if lease.until.is_some_and(|until| until <= now) {
                lease.until = None;
                over.push(*output);
            }
        }
        let pump = !config.site.has_pump || self.is_on(Output::Pump);
        let pressure = pump && (!config.site.has_master_valve || self.is_on(Output::MasterValve));
        let mut flow = 0;
        for zone in 0..config.zones.len() {
            if !self.is_on(Output::Zone(ZoneIndex(zone))) {
                continue;
            }
            self.open_ms[zone] += STEP;
            let factor = match () {
                () if self.has(Fault::Burst(zone)) => 30,
                () if self.has(Fault::Clogged(zone)) => 0,
                () => 10,
            };
            if pressure {
                let rate = FLOW_MLPH * factor / 10;
                flow += rate;
                self.rest[zone] += rate * STEP;
                self.zone_ml[zone] += self.rest[zone] / HOUR;
                self.rest[zone] %= HOUR;
            }
        }
        if self.has(Fault::Leak) {
            flow += 60_000;
        }
        let is_open = (0..config.zones.len()).any(|zone| self.is_on(Output::Zone(ZoneIndex(zone))));
        if config.site.has_pump && self.is_on(Output::Pump) && !is_open {
            self.deadhead_ms += STEP;
        }
        if self.is_on(Output::Dosing) {
            self.dosed_ms += STEP;
        }
        if !self.has(Fault::MeterJammed) {
            self.meter_rest += flow * STEP;
            self.meter_ml += self.meter_rest / HOUR;
            self.meter_rest %= HOUR;
        }
        over
    }

    /// The controller begins anew, and another master has cleared its flags: all is off, the meter's
    /// count begins at 0.
    pub(crate) fn reset(&mut self) {
        self.leases.clear();
        (self.meter_ml, self.meter_rest) = (0, 0);
    }

    fn status(&self, output: Output) -> OutputStatus {
        let commanded = self.leases.get(&output).is_some_and(|l| l.until.is_some());
        OutputStatus {
            commanded,
            confirmed: self.is_on(output),
            fault: false,
            was_reset: false,
            lease_ran_out: false,
            pulses: Some((self.meter_ml * PULSES_PER_LITRE / 1_000) as u32),
        }
    }
}

pub(crate) struct Bench {
    pub(crate) irrigation: Irrigation,
    pub(crate) plant: Plant,
    pub(crate) config: Config,
    /// Given to the program every ten seconds.
    pub(crate) readings: Vec<Option<f64>>,
    pub(crate) clock_known: bool,
    state: State,
    boot: u64,
    start: Timestamp,
    pub(crate) now: u64,
    booted: u64,
    log: Vec<String>,
}

/// A zone of the plant, without limits that matter.
pub(crate) fn zone(key: &str, options: ZoneOptions) -> ZonePlan {
    let factor = PULSES_PER_LITRE * 1_000_000;
    ZonePlan::new(key, 4 * HOUR, 12 * HOUR, factor, Vec::new())
        .unwrap()
        .with(options)
        .unwrap()
}

/// Watched by the one meter.
pub(crate) fn watched(mode: FlowMode) -> ZoneOptions {
    ZoneOptions {
        meter: Some(0),
        flow: FlowPlan {
            mode,
            expected_mlph: Some(FLOW_MLPH),
            ..FlowPlan::default()
        },
        ..ZoneOptions::default()
    }
}

/// With one meter, a pump and a master valve.
pub(crate) fn pumped() -> SitePlan {
    SitePlan {
        has_master_valve: true,
        has_pump: true,
        step_ms: 2 * SECOND,
        meters: vec![MeterPlan {
            name: "main".into(),
            leak_ml: 2_000,
            mode: FlowMode::Active,
        }],
        ..SitePlan::default()
    }
}

pub(crate) fn cycle(on_ms: u64, soak_ms: u64) -> CyclePlan {
    CyclePlan { on_ms, soak_ms }
}

impl Bench {
    /// At six in the morning, a minute after the start.
    pub(crate) fn new(zones: Vec<ZonePlan>, inputs: usize, site: SitePlan) -> Self {
        let input = |n| InputPlan {
            name: format!("input-{n}"),
            max_age_ms: 30_000,
        };
        let config = Config {
            zones,
            inputs: (0..inputs).map(input).collect(),
            site,
            time_zone: TimeZone::get("Asia/Ho_Chi_Minh").unwrap(),
            lease_seconds: 30,
            max_open_zones: 2,
        };
        let mut bench = Self {
            irrigation: Irrigation::new(config.clone(), State::default(), 7),
            plant: Plant::default(),
            readings: vec![None; inputs],
            clock_known: true,
            state: State::default(),
            boot: 7,
            start: "2026-11-22T06:00:00+07:00".parse().unwrap(),
            now: 0,
            booted: 0,
            log: Vec::new(),
            config,
        };
        bench.wait(MINUTE);
        bench.log.clear();
        bench
    }

    pub(crate) fn moment(&self) -> Now {
        let wall = self.start.as_millisecond() + i64::try_from(self.now).unwrap();
        let wall = Timestamp::from_millisecond(wall).unwrap();
        Now {
            mono_ms: self.now - self.booted,
            wall: self.clock_known.then_some(wall),
        }
    }

    /// Whether another configuration was taken.
    pub(crate) fn replan(&mut self, config: &Config) -> bool {
        let now = self.moment();
        let taken = self.irrigation.handle_plan(config.clone(), now);
        if taken {
            self.config = config.clone();
        }
        self.execute();
        taken
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        if self.now.is_multiple_of(10 * SECOND) {
            for (index, value) in self.readings.clone().into_iter().enumerate() {
                if let Some(value) = value {
                    let now = self.moment();
                    self.irrigation
                        .handle_reading(InputIndex(index), value, now.mono_ms, now);
                    self.execute();
                }
            }
        }
        if self.irrigation.poll_timeout() <= self.moment().mono_ms {
            let now = self.moment();
            self.irrigation.handle_timeout(now);
            self.execute();
            assert!(
                self.irrigation.poll_timeout() > now.mono_ms,
                "time stands still at {now:?}"
            );
        }
        self.now += STEP;
        for output in self.plant.advance(&self.config, self.now) {
            self.note(&format!("off {}", name(output)));
        }
    }

    pub(crate) fn execute(&mut self) {
        let silent = self.plant.has(Fault::Silent);
        while let Some(command) = self.irrigation.poll_command() {
            let now = self.moment();
            match command {
                Command::Persist(state) => {
                    let bytes = serde_json::to_vec(&state).unwrap();
                    assert_eq!(serde_json::from_slice::<State>(&bytes).unwrap(), state);
                    self.state = state;
                }
                Command::WriteLease { output, seconds } => {
                    if !silent {
                        let lease = self.plant.leases.entry(output).or_default();
                        let was_on = lease.until.is_some();
                        lease.until = (seconds > 0).then(|| self.now + u64::from(seconds) * SECOND);
                        if was_on != lease.until.is_some() {
                            let what = if was_on { "off" } else { "on" };
                            self.note(&format!("{what} {}", name(output)));
                        }
                    }
                    self.irrigation.handle_lease(output, seconds, !silent, now);
                }
                Command::ReadStatus { output } => {
                    let status = (!silent).then(|| self.plant.status(output));
                    self.irrigation.handle_status(output, status, now);
                }
                Command::ClearFlags { .. } => {}
                Command::Emit(event) => self.event(&event),
            }
            assert!(self.log.len() < 100_000, "too much happens");
        }
    }

    fn note(&mut self, what: &str) {
        let at = (self.now - MINUTE.min(self.now)) / SECOND;
        self.log.push(format!("{at} {what}"));
    }

    fn event(&mut self, event: &Event) {
        let zone = event
            .zone
            .map_or("site".to_owned(), |z| format!("zone {}", z.0));
        let text = match &event.kind {
            EventKind::RunStarted {
                cause,
                planned_ms,
                planned_ml,
                rule,
                ..
            } => {
                let rule = rule
                    .as_deref()
                    .map_or(String::new(), |rule| format!(" {rule}"));
                let ml = planned_ml.map_or(String::new(), |ml| format!(", {ml} ml"));
                format!("started {cause:?}{rule} for {}{ml}", planned_ms / SECOND)
            }
            EventKind::RunEnded {
                open_ms,
                litres_milli,
                reason,
                ..
            } => {
                let ml = litres_milli.map_or("?".to_owned(), |ml| ml.to_string());
                format!("ended after {}, {ml} ml, {reason:?}", open_ms / SECOND)
            }
            EventKind::NotStarted { cause, refusal } => format!("not started {cause:?}: {refusal}"),
            EventKind::LockedOut { text } => format!("locked: {text}"),
            EventKind::Recovered => "recovered".to_owned(),
            EventKind::Reset { .. } => "reset".to_owned(),
            EventKind::Held { hold_ms, .. } => format!("held {hold_ms:?}"),
            EventKind::Alarm { text } => format!("alarm: {text}"),
            EventKind::FlowLearnt {
                millilitres_per_hour,
            } => format!("learnt {millilitres_per_hour}"),
            EventKind::Decided(decision) => {
                let why = decision
                    .refusal
                    .as_ref()
                    .map_or(String::new(), |why| format!(" ({why})"));
                format!("{} decides {}{why}", decision.rule, decision.verdict.name())
            }
        };
        self.note(&format!("{zone} {text}"));
    }

    pub(crate) fn manual(&mut self, zone: usize, run_ms: u64) -> Result<u64, Refusal> {
        self.manual_from(zone, run_ms, Origin::Tool)
    }

    pub(crate) fn manual_from(
        &mut self,
        zone: usize,
        run_ms: u64,
        origin: Origin,
    ) -> Result<u64, Refusal> {
        let now = self.moment();
        let answer = self
            .irrigation
            .handle_manual(ZoneIndex(zone), Some(run_ms), origin, now);
        self.execute();
        answer
    }

    pub(crate) fn stop(&mut self, zone: usize, origin: Origin) -> bool {
        let now = self.moment();
        let answer = self.irrigation.handle_stop(ZoneIndex(zone), origin, now);
        self.execute();
        answer
    }

    /// The process dies and comes back after a while, in the same boot or after one more.
    pub(crate) fn crash(&mut self, off_ms: u64, reboots: bool) {
        let end = self.now + off_ms;
        while self.now < end {
            self.now += STEP;
            self.plant.advance(&self.config, self.now);
        }
        if reboots {
            self.boot += 1;
            self.booted = self.now;
        }
        self.irrigation = Irrigation::new(self.config.clone(), self.state.clone(), self.boot);
        let now = self.moment();
        self.irrigation.handle_start(now);
        self.execute();
    }

    pub(crate) fn pump_is_on(&self) -> bool {
        self.plant.is_on(Output::Pump)
    }

    pub(crate) fn valve_is_open(&self, zone: usize) -> bool {
        self.plant.is_on(Output::Zone(ZoneIndex(zone)))
    }

    pub(crate) fn all_off(&self) -> bool {
        self.plant
            .leases
            .values()
            .all(|lease| lease.until.is_none())
    }

    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Everything that happened since the last look, to the second.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[&str]) {
        assert_eq!(self.take_log(), expected);
    }
}

fn name(output: Output) -> String {
    match output {
        Output::Zone(zone) => format!("valve {}", zone.0),
        Output::MasterValve => "master".into(),
        Output::Pump => "pump".into(),
        Output::Dosing => "dosing".into(),
    }
}

pub(crate) fn minutes(minutes: u64) -> Amount {
    Amount::time(minutes * MINUTE)
}
