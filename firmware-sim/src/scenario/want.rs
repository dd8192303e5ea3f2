//! What a scenario expects.

use super::file::{Expect, Switch, Valve};
use super::site::Site;
use crate::layout::{BEACON_PIN, SIREN_PIN};

/// Something that is expected.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) from_ms: u64,
    pub(super) to_ms: u64,
    pub(super) of: Of,
}

/// What must be so.
#[derive(Debug)]
pub(super) enum Of {
    /// Litres of an output's zone.
    Given(usize, [f64; 2]),
    /// An output is so all the time, or once.
    Valve(usize, Valve, Holds),
    /// How often an output, or any zone, was opened.
    Runs(Option<usize>, [u64; 2]),
    /// How long an output was open, ms.
    OpenFor(usize, [u64; 2]),
    /// Most zones open at the same time.
    OpenAtOnce(u64),
    /// Longest time of the pump against closed valves, ms.
    PumpAgainstClosed(u64),
    /// Longest time of the pump without water, ms.
    PumpDry(u64),
    /// Entries of the journal.
    Journal(Entry, [u64; 2]),
    /// Good values of a channel, all of them or one.
    Channel(String, [f64; 2], Holds),
    /// Siren or beacon is so all the time, or once.
    Horn(Horn, Switch, Holds),
    /// What a command said.
    Says(String),
    /// Nothing: a command whose words nobody looks at.
    Nothing,
}

/// What can be on beside water.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Horn {
    Siren,
    Beacon,
}

impl Horn {
    pub(super) fn name(self) -> &'static str {
        match self {
            Horn::Siren => "the siren",
            Horn::Beacon => "the beacon",
        }
    }

    pub(super) fn pin(self) -> u8 {
        match self {
            Horn::Siren => SIREN_PIN,
            Horn::Beacon => BEACON_PIN,
        }
    }
}

/// Whether all or one is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Always,
    Once,
}

/// What an entry of the journal must be.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: String,
    pub(super) zone: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) verdict: Option<String>,
    pub(super) text: Option<String>,
}

impl Of {
    /// What a file expects of siren and beacon.
    pub(super) fn horns(expect: &Expect, holds: Holds) -> impl Iterator<Item = Of> {
        let horns = [(Horn::Siren, expect.siren), (Horn::Beacon, expect.beacon)];
        let wanted =
            move |(horn, switch): (Horn, Option<Switch>)| Some(Of::Horn(horn, switch?, holds));
        horns.into_iter().filter_map(wanted)
    }

    /// What is expected, for people who gave it no name.
    pub(super) fn describe(&self, site: &Site) -> String {
        match self {
            Of::Given(output, [a, b]) => format!("{} gets {a} to {b} L", site.name(*output)),
            Of::Valve(output, Valve::Open, _) => format!("{} is open", site.name(*output)),
            Of::Valve(output, Valve::Closed, _) => format!("{} is closed", site.name(*output)),
            Of::Runs(output, [a, b]) => {
                let whose = output.map_or("any zone", |output| site.name(output));
                format!("{whose} opens {a} to {b} times")
            }
            Of::OpenFor(output, _) => format!("{} is open as long as expected", site.name(*output)),
            Of::OpenAtOnce(most) => format!("at most {most} zones are open at once"),
            Of::PumpAgainstClosed(_) => "the pump does not work against closed valves".to_owned(),
            Of::PumpDry(_) => "the pump does not run dry".to_owned(),
            Of::Journal(entry, _) => {
                let text = entry
                    .text
                    .as_ref()
                    .map_or_else(String::new, |text| format!(" with {text:?}"));
                let rule = entry
                    .rule
                    .as_ref()
                    .map_or_else(String::new, |rule| format!(" of {rule}"));
                format!("journal: {}{rule}{text}", entry.kind)
            }
            Of::Channel(channel, [a, b], _) => format!("{channel} is {a} to {b}"),
            Of::Horn(horn, Switch::On, _) => format!("{} is on", horn.name()),
            Of::Horn(horn, Switch::Off, _) => format!("{} is off", horn.name()),
            Of::Says(text) => format!("says {text:?}"),
            Of::Nothing => String::new(),
        }
    }
}
