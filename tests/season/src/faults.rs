//! What breaks: when, when it shows, and within what time it has to be told.
//!
//! A fault shows at once where something is measured all the time, and with the first run that it touches
//! where it can't be seen before. The bound counts from then. A person comes two hours after it was told.

use furrow_sim::faults::{Fault, Position};
use furrow_wire::{EndReason, Event, EventKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::Season;
use crate::gateway::Told;
use crate::site::{SOIL_CHIP, ZONES};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Faults begin within these hours of their day, so that a day's runs follow.
const FIRST_HOUR: u64 = 4;
const HOURS: u64 = 6;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The soil probe's converter does not answer.
    ProbeFails,
    /// It gives the same value for ever.
    ProbeSticks,
    /// It says what no soil can hold.
    ProbeLiesWet,
    /// It says that the soil is dry: plausible, and wrong.
    ProbeLiesDry,
    /// A zone's valve does not open.
    ValveStuckShut,
    /// A zone's valve does not close.
    ValveStuckOpen,
    /// Nothing comes through a zone's drippers.
    Clog,
    /// A hole in a zone's line.
    Burst,
    /// Water runs with all valves closed.
    Leak,
    /// The tank is empty.
    DryTank,
    /// The pump's contactor closes and nothing turns.
    PumpFails,
    /// The pump's contactor does not open.
    PumpWelds,
    /// The meter counts nothing.
    MeterJams,
    /// The meter counts twice what flows.
    MeterBounces,
    /// The drip controller starts anew in the middle of a run.
    ControllerResets,
    /// The drip controller is gone.
    ControllerGone,
    /// The machine loses its power in the middle of a run.
    PowerCut,
    /// The time of day is not known.
    NoClock,
}

/// From when a fault can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// At once.
    AtOnce,
    /// With the next run of its zone.
    InItsZone,
    /// With the next run.
    InAnyRun,
}

/// A fault with its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sown {
    pub(crate) kind: Kind,
    /// From 1, where it has one.
    pub(crate) zone: usize,
    pub(crate) at_ms: u64,
}

/// What a fault is known by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    pub(crate) name: &'static str,
    pub(crate) shows: Shows,
    /// Told within so long of showing, ms.
    pub(crate) bound_ms: u64,
    /// It ends after so long where nobody was told, ms.
    pub(crate) lasts_ms: u64,
    /// It waits until water has flowed for a minute.
    pub(crate) in_a_run: bool,
}

impl Kind {
    pub(crate) const ALL: [Self; 18] = [
        Self::ProbeFails,
        Self::ProbeSticks,
        Self::ProbeLiesWet,
        Self::ProbeLiesDry,
        Self::ValveStuckShut,
        Self::ValveStuckOpen,
        Self::Clog,
        Self::Burst,
        Self::Leak,
        Self::DryTank,
        Self::PumpFails,
        Self::PumpWelds,
        Self::MeterJams,
        Self::MeterBounces,
        Self::ControllerResets,
        Self::ControllerGone,
        Self::PowerCut,
        Self::NoClock,
    ];

    /// Bounds: a reading is taken each minute, and three that fail are a fault; the line fills for
    /// 150 s before its flow is judged; a stuck probe is one that stood still for a day.
    pub(crate) fn traits(self) -> Traits {
        let usual = |name, shows, bound_ms| Traits {
            name,
            shows,
            bound_ms,
            lasts_ms: 14 * HOUR,
            in_a_run: false,
        };
        let in_run = |name, bound_ms| Traits {
            in_a_run: true,
            ..usual(name, Shows::AtOnce, bound_ms)
        };
        match self {
            Self::ProbeFails => usual("probe fails", Shows::AtOnce, 4 * MINUTE),
            Self::ProbeSticks => Traits {
                lasts_ms: 26 * HOUR,
                ..usual("probe sticks", Shows::AtOnce, 24 * HOUR + 5 * MINUTE)
            },
            Self::ProbeLiesWet => usual("probe lies, wet", Shows::AtOnce, 2 * MINUTE),
            Self::ProbeLiesDry => usual("probe lies, dry", Shows::AtOnce, 14 * HOUR),
            Self::ValveStuckShut => usual("valve stuck shut", Shows::InItsZone, MINUTE),
            Self::ValveStuckOpen => usual("valve stuck open", Shows::InAnyRun, 5 * MINUTE),
            Self::Clog => usual("line clogged", Shows::InItsZone, 5 * MINUTE),
            Self::Burst => usual("line burst", Shows::InItsZone, 5 * MINUTE),
            Self::Leak => usual("leak", Shows::AtOnce, 40 * MINUTE),
            Self::DryTank => usual("tank dry", Shows::AtOnce, 2 * MINUTE),
            Self::PumpFails => usual("pump fails", Shows::InAnyRun, 3 * MINUTE),
            Self::PumpWelds => usual("pump welds", Shows::InAnyRun, 22 * MINUTE),
            Self::MeterJams => usual("meter jams", Shows::InAnyRun, 5 * MINUTE),
            Self::MeterBounces => usual("meter bounces", Shows::InAnyRun, 5 * MINUTE),
            Self::ControllerResets => in_run("controller resets", MINUTE),
            Self::ControllerGone => usual("controller gone", Shows::AtOnce, 4 * MINUTE),
            Self::PowerCut => in_run("power cut", 12 * MINUTE),
            Self::NoClock => usual("no clock", Shows::AtOnce, 2 * MINUTE),
        }
    }

    /// What is done at the simulator.
    pub(crate) fn fault(self, zone: usize) -> Fault {
        let device = SOIL_CHIP.to_owned();
        match self {
            Self::ProbeFails => Fault::Unplug { device },
            Self::ProbeSticks => Fault::Freeze { device },
            // More voltage is drier: 1.6 V from water to air.
            Self::ProbeLiesWet => Fault::Lie {
                device,
                millivolts: -1_500,
            },
            Self::ProbeLiesDry => Fault::Lie {
                device,
                millivolts: 480,
            },
            Self::ValveStuckShut => Fault::StickValve {
                zone,
                position: Some(Position::Closed),
            },
            Self::ValveStuckOpen => Fault::StickValve {
                zone,
                position: Some(Position::Open),
            },
            Self::Clog => Fault::ClogLine { zone, percent: 95 },
            Self::Burst => Fault::BurstLine {
                zone,
                litres_min: 12,
            },
            Self::Leak => Fault::Leak { litres_min: 1 },
            Self::DryTank => Fault::TankEmpty,
            Self::PumpFails => Fault::FailPump,
            Self::PumpWelds => Fault::WeldPump,
            Self::MeterJams => Fault::JamMeter,
            Self::MeterBounces => Fault::BounceMeter { percent: 200 },
            Self::ControllerResets => Fault::ResetDrip,
            Self::ControllerGone => Fault::Unplug {
                device: "drip".to_owned(),
            },
            Self::PowerCut => Fault::PowerCut,
            Self::NoClock => Fault::WallUnknown,
        }
    }

    /// What ends it; nothing where it is a moment.
    pub(crate) fn end(self, zone: usize) -> Option<Fault> {
        match self {
            Self::MeterJams => Some(Fault::FreeMeter),
            Self::ProbeFails
            | Self::ProbeSticks
            | Self::ProbeLiesWet
            | Self::ProbeLiesDry
            | Self::ValveStuckShut
            | Self::ValveStuckOpen
            | Self::Clog
            | Self::Burst
            | Self::Leak
            | Self::DryTank
            | Self::PumpFails
            | Self::PumpWelds
            | Self::MeterBounces
            | Self::ControllerResets
            | Self::ControllerGone
            | Self::PowerCut
            | Self::NoClock => self.fault(zone).end(),
        }
    }

    /// When it was told, at or after `from_ms`.
    pub(crate) fn told(self, told: &Told, from_ms: u64) -> Option<u64> {
        let first = |all: &[u64]| all.iter().copied().find(|at| *at >= from_ms);
        match self {
            Self::ProbeSticks | Self::ProbeLiesWet => first(&told.soil_bad),
            Self::DryTank => first(&told.forbidden),
            Self::ProbeFails
            | Self::ProbeLiesDry
            | Self::ValveStuckShut
            | Self::ValveStuckOpen
            | Self::Clog
            | Self::Burst
            | Self::Leak
            | Self::PumpFails
            | Self::PumpWelds
            | Self::MeterJams
            | Self::MeterBounces
            | Self::ControllerResets
            | Self::ControllerGone
            | Self::PowerCut
            | Self::NoClock => {
                let events = since(&told.events, from_ms, |event| event.at_mono_ms);
                let mut its = events.iter().filter(|event| self.is_told_by(event));
                its.next().map(|event| event.at_mono_ms)
            }
        }
    }

    fn is_told_by(self, event: &Event) -> bool {
        let text = text_of(&event.what);
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        match self {
            Self::ProbeFails => is_fault_of(event, "soil"),
            Self::ControllerGone => is_fault_of(event, "drip"),
            Self::ProbeLiesDry => is_of(event, "zone-1") && says(&["today", "litres are used up"]),
            Self::ValveStuckShut => ended(event, EndReason::Fault),
            Self::ValveStuckOpen => says(&["valve", "burst"]),
            Self::Clog | Self::MeterJams => says(&["no water flows"]),
            Self::Burst | Self::MeterBounces => says(&["burst"]),
            Self::Leak => says(&["leak"]),
            Self::PumpFails => says(&["pressure", "no water flows", "pump"]),
            Self::PumpWelds => says(&["pump"]),
            Self::ControllerResets => ended(event, EndReason::LeaseLost),
            Self::PowerCut => ended(event, EndReason::Interrupted),
            Self::NoClock => {
                matches!(&event.what, EventKind::Decision(one) if one.verdict == "clock-unknown")
            }
            Self::ProbeSticks | Self::ProbeLiesWet | Self::DryTank => false,
        }
    }
}

/// What there is from a moment on; entries are in the order of their times.
pub(crate) fn since<T>(all: &[T], from_ms: u64, at: impl Fn(&T) -> u64) -> &[T] {
    let first = all.partition_point(|one| at(one) < from_ms);
    all.get(first..).unwrap_or_default()
}

fn is_fault_of(event: &Event, of: &str) -> bool {
    matches!(&event.what, EventKind::DeviceFault { device, .. } if device.as_str() == of)
}

fn is_of(event: &Event, id: &str) -> bool {
    event.zone.as_ref().is_some_and(|zone| zone.as_str() == id)
}

fn ended(event: &Event, why: EndReason) -> bool {
    matches!(&event.what, EventKind::RunEnded { end, .. } if *end == why)
}

fn text_of(what: &EventKind) -> String {
    match what {
        EventKind::RunEnded { text, .. }
        | EventKind::Lockout { text }
        | EventKind::Alarm { text } => text.clone(),
        EventKind::Decision(decision) => decision.refusal.clone(),
        EventKind::RunStarted { .. }
        | EventKind::GatewayStarted { .. }
        | EventKind::DeviceFault { .. }
        | EventKind::DeviceRecovered { .. }
        | EventKind::Calibrated { .. }
        | EventKind::FlowLearnt { .. }
        | EventKind::Held { .. }
        | EventKind::Reset { .. }
        | EventKind::Ordered { .. }
        | EventKind::AlarmRaised(_)
        | EventKind::AlarmSilenced(_)
        | EventKind::AlarmResolved(_) => String::new(),
    }
}

/// Faults for each greenhouse, in the order of their time. All kinds come round before one comes again.
pub(crate) fn sow(season: Season, sites: usize) -> Vec<Vec<Sown>> {
    let mut rng = StdRng::seed_from_u64(season.seed);
    let mut deck = Vec::new();
    let mut all = vec![Vec::new(); sites];
    let every = u64::from(season.fault_every_days.max(1));
    // The first day teaches what a day is; the last one shows what follows from a fault.
    let mut day = 1;
    while day + 1 < u64::from(season.days) {
        for site in &mut all {
            if deck.is_empty() {
                deck = Kind::ALL.to_vec();
                for place in (1..deck.len()).rev() {
                    deck.swap(place, rng.random_range(0..=place));
                }
            }
            let Some(kind) = deck.pop() else { continue };
            site.push(Sown {
                kind,
                zone: rng.random_range(1..=ZONES),
                at_ms: day * DAY + FIRST_HOUR * HOUR + rng.random_range(0..HOURS * HOUR),
            });
        }
        day += every;
    }
    all
}
