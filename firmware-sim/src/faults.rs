//! What can be made to go wrong while the simulator runs. Names and parameters only; [`crate::world`]
//! carries them out.

use serde::{Deserialize, Serialize};

/// A fault, or its end. On the control port it is an object with `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Subcommand)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Pull a device's plug: nothing answers at its address
    Unplug {
        /// Device, for example sht-inside
        device: String,
    },
    /// Put the plug back: the device starts anew
    Plug {
        /// Device
        device: String,
    },
    /// Hold what a sensor feels at its present value
    Freeze {
        /// Device
        device: String,
    },
    /// Let a frozen sensor feel again
    Thaw {
        /// Device
        device: String,
    },
    /// The analog inputs of a converter are off: a probe that lies
    Lie {
        /// Device, for example ads1115-2
        device: String,
        /// By so many mV, for example -400; 0 ends it
        #[arg(allow_hyphen_values = true)]
        millivolts: i32,
    },
    /// The next transactions with a device are not acknowledged
    Nack {
        /// Device
        device: String,
        /// How many transactions
        #[arg(long, default_value_t = 10)]
        count: u32,
    },
    /// Flip a bit in a share of a device's answers
    Crc {
        /// Device
        device: String,
        /// Share of answers, 0 to 1
        #[arg(long, default_value_t = 0.1)]
        rate: f64,
    },
    /// The supply of a device fails for a moment: it loses its settings
    BrownOut {
        /// Device
        device: String,
    },
    /// A whole I2C bus hangs
    BusStuck {
        /// Number of the bus
        bus: u8,
    },
    /// A stuck bus is free again
    BusFree {
        /// Number of the bus
        bus: u8,
    },
    /// The house gets warmer, or colder, than it would be
    Heat {
        /// By so many K, for example +8; 0 ends it
        #[arg(allow_hyphen_values = true)]
        kelvin: f64,
    },
    /// A valve does not move any more
    StickValve {
        /// Zone, from 1
        zone: usize,
        /// Where it sticks; without this, where it is
        #[arg(long)]
        position: Option<Position>,
    },
    /// A stuck valve moves again
    FreeValve {
        /// Zone, from 1
        zone: usize,
    },
    /// The contact of a zone's relays does not open any more once it is closed
    WeldRelay {
        /// Zone, from 1
        zone: usize,
    },
    /// A welded contact opens again
    FreeRelay {
        /// Zone, from 1
        zone: usize,
    },
    /// The gateway's machine loses its power for a moment: its pins float, and every chip but the
    /// drip controller, which has a supply of its own, starts anew
    PowerCut,
    /// The line of a zone has a hole
    BurstLine {
        /// Zone, from 1
        zone: usize,
        /// What it gives at 2 bar, L/min; 0 mends it
        #[arg(long, default_value_t = 12)]
        #[serde(default = "burst")]
        litres_min: u32,
    },
    /// Drippers of a zone are clogged
    ClogLine {
        /// Zone, from 1
        zone: usize,
        /// How many of them; 0 ends it
        #[arg(long, default_value_t = 100)]
        #[serde(default = "all")]
        percent: u8,
    },
    /// The pump does not turn although its contactor closes
    FailPump,
    /// The pump turns again
    RepairPump,
    /// The contactor of the pump does not open any more once it is closed
    WeldPump,
    /// The contactor of the pump opens again
    FreePump,
    /// The fertiliser is stronger or weaker than it should be
    Overdose {
        /// Percent of what is right; 100 ends it
        percent: u32,
    },
    /// The flow meter bounces: it gives more pulses than the water makes, or fewer
    BounceMeter {
        /// Percent of the right ones; 100 ends it
        #[arg(long, default_value_t = 200)]
        #[serde(default = "twice")]
        percent: u32,
    },
    /// The tank is empty and is not refilled
    TankEmpty,
    /// The tank is refilled again
    TankRefill,
    /// Water runs with all valves closed
    Leak {
        /// L/min; 0 ends it
        litres_min: u32,
    },
    /// The flow meter stops counting
    JamMeter,
    /// The flow meter counts again
    FreeMeter,
    /// The drip controller resets: every output closes
    ResetDrip,
    /// A chip on I2C 1 holds its data line low until it is given clocks
    HoldBus {
        /// How many clocks it takes, 1 to 9
        #[arg(long, default_value_t = 5)]
        clocks: u8,
    },
    /// A probe on the RS-485 line answers late
    Slow {
        /// Device, for example soil-npk
        device: String,
        /// Real milliseconds, at most 5000; 0 ends it
        #[arg(long, default_value_t = 1_000)]
        ms: u64,
    },
    /// The RS-485 line loses bytes and makes up others
    LineNoise {
        /// Share of answers, 0 to 1; 0 ends it
        #[arg(long, default_value_t = 0.1)]
        rate: f64,
    },
    /// The mains fail
    MainsOff,
    /// The mains are back
    MainsOn,
    /// The button is pressed
    PressButton,
    /// The button is let go
    ReleaseButton,
    /// A contact at a pin where nothing else is wired closes to ground: a button of somebody's own
    CloseContact {
        /// BCM number
        pin: u8,
    },
    /// That contact opens
    OpenContact {
        /// BCM number
        pin: u8,
    },
    /// The machine forgets the time of day
    WallUnknown,
    /// The machine knows the time of day again
    WallKnown,
    /// The wall clock jumps
    WallStep {
        /// By so many seconds, for example -3600
        #[arg(allow_hyphen_values = true)]
        seconds: i64,
    },
}

/// Usual values, where an order does not say.
fn burst() -> u32 {
    12
}

fn all() -> u8 {
    100
}

fn twice() -> u32 {
    200
}

/// Where a valve sticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// Open.
    Open,
    /// Closed.
    Closed,
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// What happens.
    pub fault: Fault,
    /// Simulated ms from now until it happens.
    #[serde(default)]
    pub after_ms: u64,
    /// Simulated ms until it ends by itself, if it does.
    #[serde(default)]
    pub for_ms: Option<u64>,
}

/// Why an order is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultError {
    /// No such device.
    #[error("there is no device {name:?}; there are {known}")]
    Device {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// The device does not do that.
    #[error("{device} can't {what}")]
    NotPossible {
        /// Its name.
        device: String,
        /// What it can't.
        what: &'static str,
    },
    /// No such zone.
    #[error("there is no zone {zone}; there are {zones}")]
    Zone {
        /// What was asked for.
        zone: usize,
        /// How many there are.
        zones: usize,
    },
    /// A number out of its range.
    #[error("{name} must be {range}")]
    Range {
        /// Name of the parameter.
        name: &'static str,
        /// What it must be.
        range: &'static str,
    },
    /// It can't end by itself.
    #[error("this has no end: leave out --for")]
    NoEnd,
    /// Too many are waiting for their time.
    #[error("too many faults are waiting for their time")]
    TooMany,
}

impl Fault {
    /// What ends it, if something does.
    #[must_use]
    pub fn end(&self) -> Option<Self> {
        match self {
            Self::Unplug { device } => Some(Self::Plug {
                device: device.clone(),
            }),
            Self::Freeze { device } => Some(Self::Thaw {
                device: device.clone(),
            }),
            Self::Lie { device, .. } => Some(Self::Lie {
                device: device.clone(),
                millivolts: 0,
            }),
            Self::Nack { device, .. } => Some(Self::Nack {
                device: device.clone(),
                count: 0,
            }),
            Self::Crc { device, .. } => Some(Self::Crc {
                device: device.clone(),
                rate: 0.0,
            }),
            Self::BusStuck { bus } => Some(Self::BusFree { bus: *bus }),
            Self::Heat { .. } => Some(Self::Heat { kelvin: 0.0 }),
            Self::StickValve { zone, .. } => Some(Self::FreeValve { zone: *zone }),
            Self::WeldRelay { zone } => Some(Self::FreeRelay { zone: *zone }),
            Self::BurstLine { zone, .. } => Some(Self::BurstLine {
                zone: *zone,
                litres_min: 0,
            }),
            Self::ClogLine { zone, .. } => Some(Self::ClogLine {
                zone: *zone,
                percent: 0,
            }),
            Self::FailPump => Some(Self::RepairPump),
            Self::WeldPump => Some(Self::FreePump),
            Self::Overdose { .. } => Some(Self::Overdose { percent: 100 }),
            Self::BounceMeter { .. } => Some(Self::BounceMeter { percent: 100 }),
            Self::TankEmpty => Some(Self::TankRefill),
            Self::Leak { .. } => Some(Self::Leak { litres_min: 0 }),
            Self::JamMeter => Some(Self::FreeMeter),
            Self::Slow { device, .. } => Some(Self::Slow {
                device: device.clone(),
                ms: 0,
            }),
            Self::LineNoise { .. } => Some(Self::LineNoise { rate: 0.0 }),
            Self::MainsOff => Some(Self::MainsOn),
            Self::PressButton => Some(Self::ReleaseButton),
            Self::CloseContact { pin } => Some(Self::OpenContact { pin: *pin }),
            Self::WallUnknown => Some(Self::WallKnown),
            Self::WallStep { seconds } => Some(Self::WallStep {
                seconds: seconds.saturating_neg(),
            }),
            Self::Plug { .. }
            | Self::Thaw { .. }
            | Self::BrownOut { .. }
            | Self::BusFree { .. }
            | Self::FreeValve { .. }
            | Self::FreeRelay { .. }
            | Self::PowerCut
            | Self::RepairPump
            | Self::FreePump
            | Self::TankRefill
            | Self::FreeMeter
            | Self::ResetDrip
            | Self::HoldBus { .. }
            | Self::MainsOn
            | Self::ReleaseButton
            | Self::OpenContact { .. }
            | Self::WallKnown => None,
        }
    }
}
