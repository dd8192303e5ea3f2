//! Valves, pipes, meter and tank.
//!
//! Volumes are integers (nanolitres a second times nanoseconds), so that the sums don't depend on how
//! often somebody looks. Flow changes at events only; between them it is constant.

use super::climate::ZONES_MAX;

/// A volume: nanolitres a second times nanoseconds. 10^18 of them are a litre.
type Volume = u128;

const LITRE: Volume = 1_000_000_000_000_000_000;
/// What a zone's drippers give, nL/s: 8.0, 7.6, 8.4, 8.2 L/min and again.
const ZONE_FLOW: [u64; 4] = [133_333_333, 126_666_667, 140_000_000, 136_666_667];
/// The pump gives no more than 25 L/min, nL/s.
const PUMP_CAPACITY: u64 = 416_666_667;
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

/// A motor valve: it travels for a second or more, and its switch says open from fully open until
/// fully closed.
#[derive(Debug, Clone)]
pub(crate) struct Valve {
    travel_ns: u64,
    /// 0 is closed, `travel_ns` is open; as of `since_ns`.
    position_ns: u64,
    since_ns: u64,
    driven_open: bool,
    switch_open: bool,
    stuck: bool,
}

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
}

impl Valve {
    pub(crate) fn new(travel_ns: u64) -> Self {
        Self {
            travel_ns: travel_ns.max(1),
            position_ns: 0,
            since_ns: 0,
            driven_open: false,
            switch_open: false,
            stuck: false,
        }
    }

    /// When the valve arrives where it is driven to.
    fn next_event_ns(&self) -> Option<u64> {
        if self.stuck {
            return None;
        }
        let left = if self.driven_open {
            self.travel_ns - self.position_ns
        } else {
            self.position_ns
        };
        (left > 0).then_some(self.since_ns + left)
    }

    fn advance(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.since_ns);
        self.since_ns = now_ns;
        if !self.stuck {
            self.position_ns = if self.driven_open {
                self.position_ns.saturating_add(passed).min(self.travel_ns)
            } else {
                self.position_ns.saturating_sub(passed)
            };
        }
        if self.position_ns == self.travel_ns {
            self.switch_open = true;
        } else if self.position_ns == 0 {
            self.switch_open = false;
        }
    }
}

impl Hydraulics {
    pub(crate) fn new(now_ns: u64, mut valves: Vec<Valve>) -> Self {
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
        };
        water.set_tank_pct(80);
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
        let flows = self.flows();
        let mut taken = 0;
        for ((flow, pipe), given) in flows.iter().zip(&mut self.pipes).zip(&mut self.given) {
            let volume = Volume::from(*flow) * passed;
            *pipe += volume;
            let through = pipe.saturating_sub(PIPE_VOLUME);
            *pipe -= through;
            *given += through;
            taken += volume;
        }
        taken += Volume::from(self.leak()) * passed;
        self.drawn += taken;
        if !self.meter_jammed {
            self.metered += taken;
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
            valve.stuck = true;
            if let Some(open) = position {
                valve.position_ns = if open { valve.travel_ns } else { 0 };
            }
            valve.advance(self.now_ns);
        }
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

    /// The tank is empty and the well gives nothing, or it gives again.
    pub(crate) fn set_empty(&mut self, empty: bool) {
        self.well_off = empty;
        if empty {
            self.set_tank_pct(0);
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

    /// Number of zones.
    pub(crate) fn zones(&self) -> usize {
        self.valves.len()
    }

    /// Rising edges of the flow meter since the start.
    pub(crate) fn pulses(&self) -> u64 {
        u64::try_from(self.metered * PULSES_PER_LITRE / LITRE).unwrap_or(u64::MAX)
    }

    /// Level of the flow meter's output: half of each pulse is high.
    pub(crate) fn pulse_level(&self) -> bool {
        let halves = self.metered * PULSES_PER_LITRE * 2 / LITRE;
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

    fn flows(&self) -> [u64; ZONES_MAX] {
        let mut flows = [0; ZONES_MAX];
        if self.dry {
            return flows;
        }
        let nominal = ZONE_FLOW.iter().cycle();
        for ((flow, valve), nominal) in flows.iter_mut().zip(&self.valves).zip(nominal) {
            if valve.switch_open {
                *flow = *nominal;
            }
        }
        let sum: u64 = flows.iter().sum();
        if sum > PUMP_CAPACITY {
            for flow in &mut flows {
                *flow = *flow * (PUMP_CAPACITY / 1_000) / (sum / 1_000);
            }
        }
        flows
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

    fn set_tank_pct(&mut self, percent: u8) {
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
