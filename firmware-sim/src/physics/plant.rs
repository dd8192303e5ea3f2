//! What brings the water to the zones: which outputs drive pump, master valve and fertiliser pump, and
//! what flows at the pressure that the pump and all that is open agree on.
//!
//! Volumes a second are integers, rounded once from a solution in arithmetic that is exact to the bit
//! on every machine (sums, products and square roots), so that the same valves give the same flow.

use libm::{round, sqrt};

use super::climate::ZONES_MAX;

/// Outputs that are not valves of zones, by their number from 1. None is wired unless it is named:
/// then water comes by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plant {
    /// The contactor of the pump.
    pub pump: Option<u8>,
    /// The valve between pump and zones.
    pub master_valve: Option<u8>,
    /// The fertiliser pump.
    pub dosing: Option<u8>,
}

/// What drippers of a zone give, nL/s: 8.0, 7.6, 8.4, 8.2 L/min and again.
const ZONE_FLOW: [u64; 4] = [133_333_333, 126_666_667, 140_000_000, 136_666_667];
/// No more than 25 L/min come, nL/s.
const CAPACITY: u64 = 416_666_667;
/// Pressure of the pump against closed valves, bar.
const SHUT_OFF_BAR: f64 = 3.0;
/// Its curve: p = shut-off · (1 − (Q/Q0)²), with Q0 such that 25 L/min are left at 0.8 bar. nL/s.
const FREE_FLOW: f64 = 486_500_000.0;
/// Below this pressure a compensated dripper gives less, by the root of the pressure, bar.
const COMPENSATED_FROM_BAR: f64 = 0.8;
/// A hole gives what it was said to give at this pressure, bar.
const HOLE_AT_BAR: f64 = 2.0;
/// Halvings until the pressure is known better than any sensor senses it.
const HALVINGS: u32 = 40;

/// What is wrong with the line of a zone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LineFault {
    /// Drippers that are clogged, percent.
    pub(super) clogged_percent: u8,
    /// What a hole gives at 2 bar, nL/s.
    pub(super) hole_nl_s: u64,
}

/// What flows where.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Flows {
    /// Through the drippers and the hole of each output's zone, nL/s.
    pub(super) zones: [u64; ZONES_MAX],
    /// Of it through its hole, nL/s.
    pub(super) holes: [u64; ZONES_MAX],
    /// Behind the pump, bar; 0 where none is wired or it stands.
    pub(super) bar: f64,
}

impl Plant {
    /// Whether this output, from 0, is the valve of a zone.
    pub(crate) fn is_zone(self, output: usize) -> bool {
        let others = [self.pump, self.master_valve, self.dosing];
        !others
            .into_iter()
            .flatten()
            .any(|other| usize::from(other) == output + 1)
    }

    /// What an output drives, for people.
    pub(crate) fn name(self, output: usize) -> &'static str {
        let is = |other: Option<u8>| other.is_some_and(|other| usize::from(other) == output + 1);
        match () {
            () if is(self.pump) => "pump",
            () if is(self.master_valve) => "master-valve",
            () if is(self.dosing) => "dosing",
            () => "zone",
        }
    }

    /// What flows while the outputs of `open` are open and `turns` says whether the pump turns in
    /// water.
    pub(super) fn flows(self, open: u8, turns: bool, faults: &[LineFault; ZONES_MAX]) -> Flows {
        let is_open =
            |output: Option<u8>| output.is_none_or(|output| bit(open, usize::from(output) - 1));
        let mut demands = [(0, LineFault::default()); ZONES_MAX];
        if turns && is_open(self.master_valve) {
            let lines = faults.iter().zip(ZONE_FLOW.iter().cycle()).enumerate();
            for ((output, (fault, nominal)), demand) in lines.zip(&mut demands) {
                if bit(open, output) && self.is_zone(output) {
                    let share = u64::from(100_u8.saturating_sub(fault.clogged_percent));
                    *demand = (nominal * share / 100, *fault);
                }
            }
        }
        if self.pump.is_none() {
            return by_itself(&demands);
        }
        if turns {
            pumped(&demands)
        } else {
            Flows::default()
        }
    }
}

/// Water from elsewhere, at a pressure that is always right: more zones share what comes.
fn by_itself(demands: &[(u64, LineFault); ZONES_MAX]) -> Flows {
    let mut flows = Flows::default();
    for ((flow, hole), (nominal, fault)) in
        flows.zones.iter_mut().zip(&mut flows.holes).zip(demands)
    {
        *hole = fault.hole_nl_s;
        *flow = nominal + fault.hole_nl_s;
    }
    let sum: u64 = flows.zones.iter().sum();
    if sum > CAPACITY {
        for flow in flows.zones.iter_mut().chain(&mut flows.holes) {
            *flow = *flow * (CAPACITY / 1_000) / (sum / 1_000);
        }
    }
    flows
}

/// The pressure at which the pump gives what the zones take.
fn pumped(demands: &[(u64, LineFault); ZONES_MAX]) -> Flows {
    let (mut low, mut high) = (0.0, SHUT_OFF_BAR);
    for _ in 0..HALVINGS {
        let bar = 0.5 * (low + high);
        let given = FREE_FLOW * sqrt((1.0 - bar / SHUT_OFF_BAR).max(0.0));
        let taken: f64 = demands
            .iter()
            .map(|demand| drippers(demand, bar) + hole(demand, bar))
            .sum();
        if taken < given {
            low = bar;
        } else {
            high = bar;
        }
    }
    let mut flows = Flows {
        bar: low,
        ..Flows::default()
    };
    for ((flow, into), demand) in flows.zones.iter_mut().zip(&mut flows.holes).zip(demands) {
        *into = whole(hole(demand, low));
        *flow = whole(drippers(demand, low)) + *into;
    }
    flows
}

fn drippers((nominal, _): &(u64, LineFault), bar: f64) -> f64 {
    real(*nominal) * sqrt(bar / COMPENSATED_FROM_BAR).min(1.0)
}

fn hole((_, fault): &(u64, LineFault), bar: f64) -> f64 {
    real(fault.hole_nl_s) * sqrt(bar / HOLE_AT_BAR)
}

fn bit(mask: u8, place: usize) -> bool {
    mask.checked_shr(u32::try_from(place).unwrap_or(u32::MAX))
        .unwrap_or_default()
        & 1
        == 1
}

#[allow(clippy::cast_precision_loss, reason = "flows are far below 2^53 nL/s")]
fn real(flow: u64) -> f64 {
    flow as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a flow from 0"
)]
fn whole(flow: f64) -> u64 {
    round(flow).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRED: Plant = Plant {
        pump: Some(5),
        master_valve: Some(4),
        dosing: None,
    };

    /// What, open outputs, faults, flows, pressure.
    type Row<'a> = (&'a str, u8, &'a [(usize, LineFault)], [f64; 3], f64);

    fn flows(open: u8, faults: &[(usize, LineFault)]) -> ([f64; 3], f64) {
        let mut all = [LineFault::default(); ZONES_MAX];
        for (zone, fault) in faults {
            all[*zone] = *fault;
        }
        let flows = WIRED.flows(open, true, &all);
        let litres_min = |zone: usize| round(real(flows.zones[zone]) * 60.0 / 1e7) / 100.0;
        ([0, 1, 2].map(litres_min), round(flows.bar * 100.0) / 100.0)
    }

    #[test]
    fn drippers_are_compensated_until_the_pump_can_give_no_more() {
        let hole = LineFault {
            hole_nl_s: 200_000_000,
            ..LineFault::default()
        };
        let half = LineFault {
            clogged_percent: 50,
            ..LineFault::default()
        };
        let table: [Row<'_>; 6] = [
            ("all closed", 0b01_1000, &[], [0.0; 3], 3.0),
            ("one zone", 0b01_1001, &[], [8.0, 0.0, 0.0], 2.77),
            ("three zones", 0b01_1111, &[], [8.0, 7.6, 8.4], 0.97),
            ("the master valve is closed", 0b01_0001, &[], [0.0; 3], 3.0),
            ("a burst", 0b01_1001, &[(0, hole)], [19.11, 0.0, 0.0], 1.71),
            (
                "half of the drippers",
                0b01_1001,
                &[(0, half)],
                [4.0, 0.0, 0.0],
                2.94,
            ),
        ];
        for (what, open, faults, expected, bar) in table {
            assert_eq!(flows(open, faults), (expected, bar), "{what}");
        }
    }

    #[test]
    fn outputs_have_names() {
        let names = [0, 3, 4].map(|output| WIRED.name(output));
        assert_eq!(names, ["zone", "master-valve", "pump"]);
        assert_eq!(
            [0, 3, 4].map(|output| WIRED.is_zone(output)),
            [true, false, false]
        );
    }
}
