//! Faults of the watering, as alarms.

use furrow_alerts::Severity;

/// A level or a pressure has to be wrong for this long before it is an alarm, in milliseconds:
/// after a start nothing is known for some seconds.
const LASTING_MS: u64 = 60_000;

/// What can be wrong with the watering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// More flows than the emitters can take.
    Burst,
    /// Water flows although every valve is closed.
    Leak,
    /// A valve is open and nothing flows.
    NoFlow,
    /// A valve or its controller does not follow.
    Valve,
    /// Pump or master valve do not follow.
    Supply,
    /// The tank is empty.
    TankEmpty,
    /// The tank is too low to begin.
    TankLow,
    /// The tank's level can't be trusted.
    TankUnknown,
    /// The pressure is too low.
    PressureLow,
    /// Something is wrong that stops nothing: a flow that is only watched, fertiliser that is stopped.
    Watched,
}

impl Fault {
    /// All, the worst first.
    pub const ALL: [Fault; 10] = [
        Fault::Burst,
        Fault::Leak,
        Fault::NoFlow,
        Fault::Valve,
        Fault::Supply,
        Fault::TankEmpty,
        Fault::TankLow,
        Fault::TankUnknown,
        Fault::PressureLow,
        Fault::Watched,
    ];

    /// As in the configuration and in events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Burst => "burst",
            Fault::Leak => "leak",
            Fault::NoFlow => "no-flow",
            Fault::Valve => "valve",
            Fault::Supply => "supply",
            Fault::TankEmpty => "tank-empty",
            Fault::TankLow => "tank-low",
            Fault::TankUnknown => "tank-unknown",
            Fault::PressureLow => "pressure-low",
            Fault::Watched => "watched",
        }
    }

    /// For people, in Vietnamese and in English.
    #[must_use]
    pub fn texts(self) -> (&'static str, &'static str) {
        match self {
            Fault::Burst => ("Nước chảy quá nhiều: vỡ ống", "Too much water flows: burst"),
            Fault::Leak => (
                "Van đóng mà nước vẫn chảy: rò rỉ",
                "Water flows with all valves closed: leak",
            ),
            Fault::NoFlow => (
                "Van mở mà không có nước",
                "A valve is open and no water flows",
            ),
            Fault::Valve => (
                "Van hoặc bộ điều khiển không làm theo",
                "A valve or its controller does not follow",
            ),
            Fault::Supply => (
                "Bơm hoặc van tổng không làm theo",
                "The pump or the master valve does not follow",
            ),
            Fault::TankEmpty => ("Bồn cạn", "The tank is empty"),
            Fault::TankLow => ("Bồn gần cạn", "The tank is low"),
            Fault::TankUnknown => ("Không biết mực nước bồn", "The tank's level is not known"),
            Fault::PressureLow => ("Áp suất nước thấp", "The water pressure is too low"),
            Fault::Watched => ("Hệ thống tưới cảnh báo", "The watering tells of a fault"),
        }
    }

    /// What it is worth unless the configuration says otherwise: who must go there now, and what can
    /// wait until somebody looks.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Fault::Burst
            | Fault::Leak
            | Fault::NoFlow
            | Fault::Valve
            | Fault::Supply
            | Fault::TankEmpty => Severity::Critical,
            Fault::TankLow | Fault::TankUnknown | Fault::PressureLow | Fault::Watched => {
                Severity::Warning
            }
        }
    }

    /// How long it has to be there before it is an alarm, in milliseconds. What locks water has been
    /// judged over a time already.
    #[must_use]
    pub fn for_ms(self) -> u64 {
        match self {
            Fault::Burst
            | Fault::Leak
            | Fault::NoFlow
            | Fault::Valve
            | Fault::Supply
            | Fault::Watched => 0,
            Fault::TankEmpty | Fault::TankLow | Fault::TankUnknown | Fault::PressureLow => {
                LASTING_MS
            }
        }
    }
}
