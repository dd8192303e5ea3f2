//! `valve-test`: does each valve open, let water through, close, and stop the water?
//!
//! The run itself is an ordinary one, by the running gateway with its interlocks, lease and budgets.
//! Beside it the controller is read again and again; what it showed is judged afterwards. A relay of
//! the guard has no position switch, and its water is counted by the run, where a meter does.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use furrow_wire::{Decimal, EndReason, ZoneId};

use super::status::{at, report};
use super::{EXIT_FAILURE, load, print};
use crate::config::{DeviceKind, Settings, ZoneSettings, parse_duration};
use crate::control::client::{AskError, ask};
use crate::control::{Answer, Ask, READINGS_MAX, RawReading};

/// Looks before the run: two seconds, in which a leak of half a litre a minute shows.
const LOOKS_BEFORE: u32 = 5;
/// Looks after the run: ten seconds, more than any valve travels.
const LOOKS_AFTER: u32 = 20;
/// Of these the last ones must show no water any more.
const LOOKS_STILL: usize = 5;
/// Looks a second, as the gateway paces them.
const LOOKS_A_SECOND: u32 = 2;

/// Open each valve for a few seconds and see whether water flows and stops
///
/// Needs the running gateway: its lease closes the valve whatever happens to this command, and its
/// limits and budgets hold. Nothing else may be watered meanwhile, since a main meter counts for all.
/// Exit code 1 when something is not as it should be.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway valve-test --zone zone-1\n  \
    furrow-gateway valve-test --all --for 20s")]
pub struct ValveTest {
    /// Which zone; may be given several times
    #[arg(long, required_unless_present = "all")]
    zone: Vec<ZoneId>,
    /// All zones, one after the other
    #[arg(long, conflicts_with = "zone")]
    all: bool,
    /// How long each valve is open, 5s to 45s
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = duration)]
    length: Duration,
}

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("there is no zone {0}: `furrow-gateway status` lists them")]
    NoZone(ZoneId),
    #[error(
        "zone {0} is being watered: try again when it has ended, or stop it with `water --stop`"
    )]
    Watered(String),
    #[error("the gateway refused: {0}")]
    Refused(String),
}

/// One look at the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// Whether the output is confirmed open.
    open: bool,
    /// Whether any other output is.
    other_open: bool,
    /// The controller's meter, in hundredths of a litre; the guard has none.
    centilitres: Option<i64>,
}

/// All that was seen of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    before: Vec<Look>,
    during: Vec<Look>,
    after: Vec<Look>,
    end: End,
    /// Of the whole run, in thousandths of a litre.
    millilitres: Option<u64>,
    by: By,
}

/// What opens the valve, and how it is known to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    DripController,
    Guard,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            By::DripController => "the drip controller",
            By::Guard => "the guard",
        }
    }

    fn proof(self) -> &'static str {
        match self {
            By::DripController => "its position switch says so",
            By::Guard => "its relay was read back",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Refused(String),
    Ended(EndReason),
    /// The gateway said nothing more.
    Unknown,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    is_good: bool,
    text: String,
}

impl ValveTest {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        match self.test(&settings) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(EXIT_FAILURE),
            Err(error) => {
                print::error(&error);
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }

    fn test(&self, settings: &Settings) -> Result<bool, TestError> {
        let mut zones = Vec::new();
        for id in &self.zone {
            let zone = settings.zones().iter().find(|zone| zone.id == *id);
            zones.push(zone.ok_or_else(|| TestError::NoZone(id.clone()))?);
        }
        if self.all {
            zones.extend(settings.zones());
        }
        let mut all_good = !zones.is_empty();
        for zone in zones {
            refuse_watered(settings)?;
            print::line(format!("{} ({}):", zone.id, zone.name));
            let seen = self.look_at(settings, zone)?;
            for finding in judge(&seen) {
                all_good &= finding.is_good;
                let mark = if finding.is_good { "ok   " } else { "FAULT" };
                print::line(format!("  {mark}  {}", finding.text));
            }
        }
        Ok(all_good)
    }

    fn look_at(&self, settings: &Settings, zone: &ZoneSettings) -> Result<Seen, TestError> {
        let before = looks(settings, zone, LOOKS_BEFORE)?;
        let for_ms = u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX);
        let question = Ask::Water {
            zone: zone.id.clone(),
            for_ms,
        };
        let mut seen = Seen {
            before,
            during: Vec::new(),
            after: Vec::new(),
            end: End::Unknown,
            millilitres: None,
            by: by(settings, zone),
        };
        for answer in ask(&settings.gateway().control_socket(), &question)? {
            match answer? {
                Answer::Opened => {
                    let seconds = u32::try_from(self.length.as_secs()).unwrap_or(u32::MAX);
                    let count = seconds.saturating_mul(LOOKS_A_SECOND);
                    seen.during = looks(settings, zone, count)?;
                }
                Answer::Closed {
                    end, millilitres, ..
                } => {
                    seen.end = End::Ended(end);
                    seen.millilitres = millilitres;
                }
                Answer::Refused { reason } => {
                    seen.end = End::Refused(reason);
                    return Ok(seen);
                }
                Answer::Report { .. }
                | Answer::Done { .. }
                | Answer::Recent { .. }
                | Answer::Accepted { .. }
                | Answer::Progress { .. }
                | Answer::Stopping { .. }
                | Answer::Samples { .. }
                | Answer::Readings { .. }
                | Answer::Survey { .. }
                | Answer::Calibrated { .. } => {}
            }
        }
        seen.after = looks(settings, zone, LOOKS_AFTER)?;
        Ok(seen)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if (Duration::from_secs(5)..=Duration::from_secs(45)).contains(&duration) {
        Ok(duration)
    } else {
        Err(
            "must be 5s to 45s: a valve travels for some seconds, and this is no watering"
                .to_owned(),
        )
    }
}

fn refuse_watered(settings: &Settings) -> Result<(), TestError> {
    let status = report(&settings.gateway().control_socket(), &Ask::Status)?;
    let zones = at(&status, "zones").as_array().into_iter().flatten();
    for zone in zones {
        let phase = at(zone, "phase").as_str().unwrap_or_default();
        if matches!(phase, "checking" | "watering" | "closing") {
            let id = at(zone, "id").as_str().unwrap_or_default();
            return Err(TestError::Watered(id.to_owned()));
        }
    }
    Ok(())
}

/// Looks at a zone's controller through the gateway. A look that fails shows nothing.
fn looks(settings: &Settings, zone: &ZoneSettings, count: u32) -> Result<Vec<Look>, TestError> {
    let Some(controller) = settings.devices().get(zone.controller) else {
        return Ok(Vec::new());
    };
    let question = Ask::Read {
        device: controller.id.clone(),
        readings: count.clamp(1, READINGS_MAX),
    };
    let mut looks = Vec::new();
    for answer in ask(&settings.gateway().control_socket(), &question)? {
        match answer? {
            Answer::Readings { readings } => looks.extend(look(&readings, zone.output)),
            Answer::Refused { reason } => return Err(TestError::Refused(reason)),
            Answer::Report { .. }
            | Answer::Accepted { .. }
            | Answer::Opened
            | Answer::Done { .. }
            | Answer::Recent { .. }
            | Answer::Progress { .. }
            | Answer::Closed { .. }
            | Answer::Stopping { .. }
            | Answer::Samples { .. }
            | Answer::Survey { .. }
            | Answer::Calibrated { .. } => {}
        }
    }
    Ok(looks)
}

fn by(settings: &Settings, zone: &ZoneSettings) -> By {
    let controller = settings.devices().get(zone.controller);
    match controller.map(|device| &device.kind) {
        Some(DeviceKind::GuardedOutputs) => By::Guard,
        Some(_) | None => By::DripController,
    }
}

fn look(readings: &[RawReading], output: u8) -> Option<Look> {
    let raw = |name: &str| {
        let reading = readings.iter().find(|one| one.channel.as_str() == name)?;
        reading.raw.as_ref()?.parse::<Decimal>().ok()
    };
    let open = raw("zones_open")?.mantissa;
    let own = 1_i64.checked_shl(u32::from(output.saturating_sub(1)))?;
    Some(Look {
        open: open & own != 0,
        other_open: open & !own != 0,
        centilitres: raw("water_volume").map(|volume| volume.mantissa),
    })
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |is_good: bool, text: String| findings.push(Finding { is_good, text });
    if seen.before.is_empty() {
        say(false, format!("{} does not answer", seen.by.name()));
    }
    if seen.before.iter().any(|look| look.other_open) {
        say(false, "another valve is open: close it first".to_owned());
    }
    match seen.before.iter().any(|look| look.open) {
        true => say(false, "is open already, before the test".to_owned()),
        false => say(true, "is closed before the test".to_owned()),
    }
    match flowed(&seen.before) {
        None => {}
        Some(0) => say(true, "no water flows before the test".to_owned()),
        Some(water) => say(
            false,
            format!(
                "{} flow with all valves closed: look for a leak",
                litres(water)
            ),
        ),
    }
    match &seen.end {
        End::Refused(reason) => {
            say(false, format!("was not opened: {reason}"));
            return findings;
        }
        End::Ended(EndReason::Completed) => {}
        End::Ended(reason) => say(false, format!("the run ended early: {}", words(*reason))),
        End::Unknown => say(
            false,
            "the gateway did not tell how the run ended".to_owned(),
        ),
    }
    judge_open(seen, &mut say);
    match seen.after.last() {
        None => say(
            false,
            format!("{} does not answer after the test", seen.by.name()),
        ),
        Some(look) if look.open => say(false, "DID NOT CLOSE: close the hand valve".to_owned()),
        Some(_) => say(true, format!("closed: {}", seen.by.proof())),
    }
    let still = seen.after.len().saturating_sub(LOOKS_STILL);
    match flowed(seen.after.get(still..).unwrap_or_default()) {
        None => {}
        Some(0) if seen.after.len() < LOOKS_STILL => {}
        Some(0) => say(true, "the water stopped".to_owned()),
        Some(water) => say(
            false,
            format!(
                "WATER STILL FLOWS ({} in 2 s): close the hand valve",
                litres(water)
            ),
        ),
    }
    findings
}

/// What was seen while it should have been open.
fn judge_open(seen: &Seen, say: &mut impl FnMut(bool, String)) {
    match seen.during.iter().any(|look| look.open) {
        true => say(true, format!("opened: {}", seen.by.proof())),
        false => say(
            false,
            match seen.by {
                By::DripController => "did not open: look at its coil, its supply and its switch",
                By::Guard => "did not open: ask `furrow-guard status`",
            }
            .to_owned(),
        ),
    }
    let in_run = || i64::try_from(seen.millilitres? / 10).ok();
    match flowed(&seen.during).or_else(in_run) {
        None => say(true, "no flow meter counts its water".to_owned()),
        Some(0) => say(
            false,
            "no water flowed: look at tank, pump, filter and meter".to_owned(),
        ),
        Some(water) => say(true, format!("{} flowed while it was open", litres(water))),
    }
}

/// Hundredths of a litre from the first look to the last; absent where nothing counts. A meter that
/// started anew shows no less.
fn flowed(looks: &[Look]) -> Option<i64> {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
        return Some(0);
    };
    let (first, last) = first.centilitres.zip(last.centilitres)?;
    Some(last.saturating_sub(first).max(0))
}

fn litres(centilitres: i64) -> String {
    let mantissa = centilitres;
    format!(
        "{} L",
        Decimal {
            mantissa,
            exponent: -2
        }
    )
}

fn words(end: EndReason) -> &'static str {
    match end {
        EndReason::Completed => "as planned",
        EndReason::Stopped => "somebody stopped it",
        EndReason::Fault => "the valve or its controller did not do as told",
        EndReason::Interrupted => "the gateway was restarted",
        EndReason::LeaseLost => "its lease could not be renewed",
        EndReason::Budget => "today's budget is spent",
        EndReason::Interlock => "an interlock",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks_of(open: &[bool], centilitres: &[i64]) -> Vec<Look> {
        let pairs = open.iter().zip(centilitres);
        pairs
            .map(|(&open, &centilitres)| Look {
                open,
                other_open: false,
                centilitres: Some(centilitres),
            })
            .collect()
    }

    fn good() -> Seen {
        Seen {
            before: looks_of(&[false; 3], &[500, 500, 500]),
            during: looks_of(&[false, true, true], &[500, 510, 640]),
            after: looks_of(
                &[true, false, false, false, false, false],
                &[650, 660, 660, 660, 660, 660],
            ),
            end: End::Ended(EndReason::Completed),
            millilitres: Some(1_800),
            by: By::DripController,
        }
    }

    #[track_caller]
    fn check(seen: &Seen, faults: &[&str]) {
        let findings = judge(seen);
        let found: Vec<&str> = findings
            .iter()
            .filter(|finding| !finding.is_good)
            .map(|finding| finding.text.as_str())
            .collect();
        assert_eq!(found, faults);
    }

    #[test]
    fn a_good_valve_is_told_step_by_step() {
        let texts: Vec<String> = judge(&good())
            .into_iter()
            .map(|finding| finding.text)
            .collect();
        let expected = [
            "is closed before the test",
            "no water flows before the test",
            "opened: its position switch says so",
            "1.40 L flowed while it was open",
            "closed: its position switch says so",
            "the water stopped",
        ];
        assert_eq!(texts, expected);
        check(&good(), &[]);
    }

    #[test]
    fn a_relay_is_judged_by_what_was_read_back() {
        let unmetered = |open: &[bool]| {
            let mut looks = looks_of(open, &vec![0; open.len()]);
            for look in &mut looks {
                look.centilitres = None;
            }
            looks
        };
        let seen = Seen {
            before: unmetered(&[false; 3]),
            during: unmetered(&[true; 3]),
            after: unmetered(&[false; 6]),
            by: By::Guard,
            ..good()
        };
        let texts: Vec<String> = judge(&seen).into_iter().map(|one| one.text).collect();
        let expected = [
            "is closed before the test",
            "opened: its relay was read back",
            "1.80 L flowed while it was open",
            "closed: its relay was read back",
        ];
        assert_eq!(texts, expected);
        check(&seen, &[]);
        let dry = Seen {
            millilitres: Some(0),
            ..seen.clone()
        };
        check(
            &dry,
            &["no water flowed: look at tank, pump, filter and meter"],
        );
        let uncounted = Seen {
            millilitres: None,
            during: unmetered(&[false; 3]),
            ..seen
        };
        check(&uncounted, &["did not open: ask `furrow-guard status`"]);
    }

    #[test]
    fn every_fault_is_named() {
        let stuck_closed = Seen {
            during: looks_of(&[false; 3], &[500, 500, 500]),
            end: End::Ended(EndReason::Fault),
            ..good()
        };
        check(
            &stuck_closed,
            &[
                "the run ended early: the valve or its controller did not do as told",
                "did not open: look at its coil, its supply and its switch",
                "no water flowed: look at tank, pump, filter and meter",
            ],
        );
        let stuck_open = Seen {
            after: looks_of(&[true; 6], &[650, 660, 670, 680, 690, 700]),
            ..good()
        };
        check(
            &stuck_open,
            &[
                "DID NOT CLOSE: close the hand valve",
                "WATER STILL FLOWS (0.40 L in 2 s): close the hand valve",
            ],
        );
        let leak = Seen {
            before: looks_of(&[false; 3], &[500, 505, 510]),
            ..good()
        };
        check(
            &leak,
            &["0.10 L flow with all valves closed: look for a leak"],
        );
        let refused = Seen {
            end: End::Refused("today's budget is spent".into()),
            ..good()
        };
        check(&refused, &["was not opened: today's budget is spent"]);
        let silent = Seen {
            before: Vec::new(),
            after: Vec::new(),
            ..good()
        };
        check(
            &silent,
            &[
                "the drip controller does not answer",
                "the drip controller does not answer after the test",
            ],
        );
    }

    #[test]
    fn a_look_knows_its_own_output() {
        let reading = |channel: &str, raw: &str| RawReading {
            channel: channel.parse().unwrap(),
            raw: Some(raw.into()),
            value: None,
            error: None,
        };
        let readings = [reading("water_volume", "12.34"), reading("zones_open", "5")];
        let look = |output| look(&readings, output).map(|look| (look.open, look.other_open));
        assert_eq!(look(1), Some((true, true)));
        assert_eq!(look(2), Some((false, true)));
        assert_eq!(super::look(&readings[..1], 1), None);
        // The guard counts no water.
        let guarded = super::look(&readings[1..], 1).unwrap();
        assert_eq!(guarded.centilitres, None);
    }
}
