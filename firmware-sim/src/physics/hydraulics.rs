//! Valves, pump, pipes, meter and tank.
//!
//! Volumes are integers (nanolitres a second times nanoseconds), so that the sums don't depend on how
//! often somebody looks. Flow changes at events only; between them it is constant.

use std::collections::VecDeque;

use super::climate::ZONES_MAX;
use super::plant::{Flows, LineFault, Plant};
pub(crate) use super::valve::Valve;

/// A volume: nanolitres a second times nanoseconds. 10^18 of them are a litre.
type Volume = u128;

const LITRE: Volume = 1_000_000_000_000_000_000;
/// Water that a zone's pipes take up before the drippers run: some 40 s of flow.
const PIPE_VOLUME: Volume = 5_300_000_000 * 1_000_000_000;
/// The flow meter's pulses per litre.
const PULSES_PER_LITRE: Volume = 450;
/// The tank: 2.5 m high, 2,000 litres.
const TANK_LITRES: u32 = 2_000;
const TANK_HEIGHT_M: f64 = 2.5;
/// The well refills it with 15 L/min below 40 % until 95 %.
const REFILL_FLOW: u64 = 250_000_000;
const REFILL_BELOW_PCT: Volume = 40;
const REFILL_UNTIL_PCT: Volume = 95;
/// Changes of switches that are kept: a zone that opens each minute for three weeks. The oldest go first.
const CHANGES_MAX: usize = 65_536;

/// All the water of one greenhouse.
#[derive(Debug, Clone)]
pub(crate) struct Hydraulics {
    now_ns: u64,
    valves: Vec<Valve>,
    /// Water that the soil of each zone got.
    given: Vec<Volume>,
    /// Water in the pipes of each zone.
    pipes: Vec<Volume>,
    drawn: Volume,
    metered: Volume,
    /// Can be a little below zero within a step: the pump runs dry at the next one.
    tank: i128,
    refilling: bool,
    dry: bool,
    well_off: bool,
    leak_nl_s: u64,
    meter_jammed: bool,
    /// Pulses for each that the water makes, percent.
    meter_percent: u32,
    plant: Plant,
    faults: [LineFault; ZONES_MAX],
    pump_fails: bool,
    flows: Flows,
    /// What `flows` follow from; `None` after a change of faults.
    solved: Option<(u8, bool)>,
    times: Times,
    changes: VecDeque<Change>,
}

/// How long what was so, ns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    /// Each output's switch said open.
    pub(crate) open: [u64; ZONES_MAX],
    /// The pump turned.
    pub(crate) pump: u64,
    /// It turned, and every way for its water was shut.
    pub(crate) shut: u64,
    /// The longest such time, and the present one.
    pub(crate) shut_longest: u64,
    shut_now: u64,
    /// It turned without water.
    pub(crate) dry: u64,
}

/// What the switches said from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at_ns: u64,
    /// Bit n is output n + 1.
    pub(crate) open: u8,
    /// Whether the pump turned.
    pub(crate) turns: bool,
    /// Whether the tank was dry.
    pub(crate) dry: bool,
}

impl Hydraulics {
    /// `valves` are what the outputs move, in their order.
    pub(crate) fn new(now_ns: u64, mut valves: Vec<Valve>, plant: Plant) -> Self {
        valves.truncate(ZONES_MAX);
        for valve in &mut valves {
            valve.since_ns = now_ns;
        }
        let zones = valves.len();
        let mut water = Self {
            now_ns,
            valves,
            given: vec![0; zones],
            pipes: vec![0; zones],
            drawn: 0,
            metered: 0,
            tank: 0,
            refilling: false,
            dry: false,
            well_off: false,
            leak_nl_s: 0,
            meter_jammed: false,
            meter_percent: 100,
            plant,
            faults: [LineFault::default(); ZONES_MAX],
            pump_fails: false,
            flows: Flows::default(),
            solved: None,
            times: Times::default(),
            changes: VecDeque::new(),
        };
        water.set_tank_percent(80);
        water.refresh();
        water
    }

    /// When the flow changes by itself.
    pub(crate) fn next_event_ns(&self) -> Option<u64> {
        self.valves.iter().filter_map(Valve::next_event_ns).min()
    }

    /// Runs the water until `now_ns`, which must not lie beyond the next event.
    pub(crate) fn advance(&mut self, now_ns: u64) {
        let passed = Volume::from(now_ns.saturating_sub(self.now_ns));
        self.now_ns = now_ns;
        self.count_times(passed);
        let mut taken = 0;
        let lines = self.flows.zones.iter().zip(&self.flows.holes);
        for ((flow, hole), (pipe, given)) in lines.zip(self.pipes.iter_mut().zip(&mut self.given)) {
            // What leaves by a hole never reaches the soil of the bed.
            *pipe += Volume::from(flow.saturating_sub(*hole)) * passed;
            let through = pipe.saturating_sub(PIPE_VOLUME);
            *pipe -= through;
            *given += through;
            taken += Volume::from(*flow) * passed;
        }
        taken += Volume::from(self.leak()) * passed;
        self.drawn += taken;
        if !self.meter_jammed {
            self.metered += taken * Volume::from(self.meter_percent);
        }
        let refill = if self.refilling {
            Volume::from(REFILL_FLOW) * passed
        } else {
            0
        };
        self.tank += signed(refill) - signed(taken);
        for valve in &mut self.valves {
            valve.advance(now_ns);
        }
        self.refresh();
        self.empty_closed_pipes();
    }

    /// At the end of a physics step: the well and the pump look at the tank.
    pub(crate) fn settle(&mut self) {
        let full = LITRE * Volume::from(TANK_LITRES);
        let level = unsigned(self.tank);
        if level < full / 100 * REFILL_BELOW_PCT {
            self.refilling = true;
        } else if level >= full / 100 * REFILL_UNTIL_PCT {
            self.refilling = false;
        }
        self.refilling &= !self.well_off;
        // Ten litres must be in the tank before the pump draws again.
        self.dry = level < if self.dry { 10 * LITRE } else { LITRE };
        self.refresh();
    }

    /// Drives the valve of zone `zone` (from 0).
    pub(crate) fn drive(&mut self, zone: usize, open: bool) {
        if let Some(valve) = self.valves.get_mut(zone) {
            valve.driven_open = open;
        }
    }

    /// A valve stays where it is, or where `position` says, until it is freed.
    pub(crate) fn stick(&mut self, zone: usize, position: Option<bool>) {
        if let Some(valve) = self.valves.get_mut(zone) {
            valve.stick(position, self.now_ns);
        }
        self.refresh();
        self.empty_closed_pipes();
    }

    /// Frees a stuck valve.
    pub(crate) fn free(&mut self, zone: usize) {
        if let Some(valve) = self.valves.get_mut(zone) {
            valve.stuck = false;
        }
    }

    /// Water that flows with all valves closed, L/min.
    pub(crate) fn set_leak(&mut self, litres_min: u32) {
        self.leak_nl_s = u64::from(litres_min) * 1_000_000_000 / 60;
    }

    /// The meter stops counting, or counts again.
    pub(crate) fn set_meter_jammed(&mut self, jammed: bool) {
        self.meter_jammed = jammed;
    }

    /// The meter gives so many percent of the pulses that it should.
    pub(crate) fn set_meter_percent(&mut self, percent: u32) {
        self.meter_percent = percent;
    }

    /// A hole in the line of a zone that gives so much at 2 bar, L/min; 0 mends it.
    pub(crate) fn set_hole(&mut self, zone: usize, litres_min: u32) {
        if let Some(fault) = self.faults.get_mut(zone) {
            fault.hole_nl_s = u64::from(litres_min) * 1_000_000_000 / 60;
        }
        self.solved = None;
        self.refresh();
    }

    /// So many percent of a zone's drippers are clogged.
    pub(crate) fn set_clogged(&mut self, zone: usize, percent: u8) {
        if let Some(fault) = self.faults.get_mut(zone) {
            fault.clogged_percent = percent;
        }
        self.solved = None;
        self.refresh();
    }

    /// The pump does not turn although its contactor closes, or turns again.
    pub(crate) fn set_pump_fails(&mut self, fails: bool) {
        self.pump_fails = fails;
        self.refresh();
    }

    /// The contactor of the pump does not open any more once it is closed, or opens again.
    pub(crate) fn set_pump_welded(&mut self, welded: bool) {
        let pump = self.plant.pump.map(|pump| usize::from(pump) - 1);
        if let Some(valve) = pump.and_then(|pump| self.valves.get_mut(pump)) {
            valve.set_welded(welded);
        }
    }

    /// The tank is empty and the well gives nothing, or it gives again.
    pub(crate) fn set_empty(&mut self, empty: bool) {
        self.well_off = empty;
        if empty {
            self.set_tank_percent(0);
        }
        self.settle();
    }

    /// Bit z is set while the switch of zone z says open.
    pub(crate) fn switches(&self) -> u8 {
        self.valves
            .iter()
            .rev()
            .fold(0, |mask, valve| mask << 1 | u8::from(valve.switch_open))
    }

    /// Whether the pump turns, with water or without; true where none is wired.
    pub(crate) fn turns(&self) -> bool {
        let pump = self.plant.pump.map(|pump| usize::from(pump) - 1);
        let closed = |pump| {
            self.valves
                .get(pump)
                .is_some_and(|valve: &Valve| valve.switch_open)
        };
        pump.is_none_or(|pump| closed(pump) && !self.pump_fails)
    }

    /// Whether fertiliser comes into water that flows.
    pub(crate) fn is_dosing(&self) -> bool {
        let dosing = self.plant.dosing.map(|dosing| usize::from(dosing) - 1);
        let runs = dosing.and_then(|dosing| self.valves.get(dosing));
        runs.is_some_and(|valve| valve.switch_open) && self.is_flowing()
    }

    /// Whether any zone gets water.
    pub(crate) fn is_flowing(&self) -> bool {
        self.flows.zones.iter().any(|flow| *flow > 0)
    }

    /// Pressure behind the pump, bar; 0 without one.
    pub(crate) fn bar(&self) -> f64 {
        self.flows.bar
    }

    /// How the outputs are wired.
    pub(crate) fn plant(&self) -> Plant {
        self.plant
    }

    /// How long what was so.
    pub(crate) fn times(&self) -> &Times {
        &self.times
    }

    /// What the switches said, oldest first.
    pub(crate) fn changes(&self) -> impl DoubleEndedIterator<Item = Change> {
        self.changes.iter().copied()
    }

    /// Number of outputs.
    pub(crate) fn zones(&self) -> usize {
        self.valves.len()
    }

    /// Rising edges of the flow meter since the start.
    pub(crate) fn pulses(&self) -> u64 {
        u64::try_from(self.metered * PULSES_PER_LITRE / (100 * LITRE)).unwrap_or(u64::MAX)
    }

    /// Level of the flow meter's output: half of each pulse is high.
    pub(crate) fn pulse_level(&self) -> bool {
        let halves = self.metered * PULSES_PER_LITRE * 2 / (100 * LITRE);
        self.metered > 0 && halves.is_multiple_of(2)
    }

    /// Water drawn from the tank since the start, L.
    pub(crate) fn litres(&self) -> f64 {
        litres(self.drawn)
    }

    /// Water that the soil of each zone got since the start, L.
    pub(crate) fn given_litres(&self) -> Vec<f64> {
        self.given.iter().map(|volume| litres(*volume)).collect()
    }

    /// Height of water in the tank, m.
    pub(crate) fn tank_m(&self) -> f64 {
        litres(unsigned(self.tank)) / f64::from(TANK_LITRES) * TANK_HEIGHT_M
    }

    /// Looks at valves, pump and tank again; notes what changed.
    fn refresh(&mut self) {
        let (open, turns) = (self.switches(), self.turns());
        let from = Some((open, turns && !self.dry));
        if self.solved != from {
            self.flows = self.plant.flows(open, turns && !self.dry, &self.faults);
            self.solved = from;
        }
        let dry = self.dry;
        let is_new = |last: &Change| (last.open, last.turns, last.dry) != (open, turns, dry);
        if self.changes.back().is_none_or(is_new) {
            if self.changes.len() == CHANGES_MAX {
                self.changes.pop_front();
            }
            let at_ns = self.now_ns;
            self.changes.push_back(Change {
                at_ns,
                open,
                turns,
                dry,
            });
        }
    }

    fn count_times(&mut self, passed: Volume) {
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let times = &mut self.times;
        for (time, valve) in times.open.iter_mut().zip(&self.valves) {
            if valve.switch_open {
                *time += passed;
            }
        }
        let pump = self.plant.pump.map(|pump| usize::from(pump) - 1);
        let turns = pump.and_then(|pump| self.valves.get(pump));
        if !turns.is_some_and(|valve| valve.switch_open) || self.pump_fails {
            times.shut_now = 0;
            return;
        }
        times.pump += passed;
        if self.dry {
            times.dry += passed;
        }
        let is_open = |output: usize| {
            self.valves
                .get(output)
                .is_some_and(|valve| valve.switch_open)
        };
        let master = self
            .plant
            .master_valve
            .is_none_or(|master| is_open(usize::from(master) - 1));
        let zones = 0..self.valves.len();
        let zone = zones
            .into_iter()
            .any(|output| self.plant.is_zone(output) && is_open(output));
        if master && zone {
            times.shut_now = 0;
        } else {
            times.shut += passed;
            times.shut_now += passed;
            times.shut_longest = times.shut_longest.max(times.shut_now);
        }
    }

    fn leak(&self) -> u64 {
        if self.dry { 0 } else { self.leak_nl_s }
    }

    /// What is left in the pipes of a closed zone runs out of its drippers.
    fn empty_closed_pipes(&mut self) {
        for ((valve, pipe), given) in self.valves.iter().zip(&mut self.pipes).zip(&mut self.given) {
            if !valve.switch_open {
                *given += std::mem::take(pipe);
            }
        }
    }

    /// The tank is so full.
    pub(crate) fn set_tank_percent(&mut self, percent: u8) {
        self.tank = signed(LITRE * Volume::from(TANK_LITRES) / 100 * Volume::from(percent));
    }
}

fn litres(volume: Volume) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "a figure for people and for a sensor of twelve bits"
    )]
    let microlitres = (volume / (LITRE / 1_000_000)) as f64;
    microlitres / 1e6
}

fn signed(volume: Volume) -> i128 {
    i128::try_from(volume).unwrap_or(i128::MAX)
}

fn unsigned(volume: i128) -> Volume {
    Volume::try_from(volume).unwrap_or(0)
}

#[cfg(test)]
mod tests;
