//! What a scenario file means: times, zones, faults and expectations, checked against the
//! configuration before anything runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use toml::Spanned;

use super::file::{Event, Expect, Process, Written};
use super::site::Site;
use super::want::{Entry, Holds, Of, Want};
use super::{BadInput, Shared};
use crate::cli::{duration, speed_permille};
use crate::faults::{Fault, FaultOrder};
use crate::greenhouse::Beginning;
use crate::pace::Mode;
use crate::world::Setup;

/// Longest scenario, ms: a season.
const LENGTH_MAX_MS: u64 = 120 * 86_400_000;
/// Longest real time of a scenario, ms.
const LIMIT_MAX_MS: u64 = 24 * 3_600_000;
/// Most events and most expectations of a file.
const ENTRIES_MAX: usize = 1_000;
/// A program that was ended stays away for so long unless told, ms.
const AWAY_MS: u64 = 10_000;
/// What people can ask of a gateway here.
const COMMANDS: [&str; 5] = ["water", "hold", "release", "reset", "silence"];

/// A scenario that can be played.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) setup: Setup,
    pub(super) mode: Mode,
    pub(super) start_unix_ms: i64,
    pub(super) length_ms: u64,
    pub(super) limit: Duration,
    pub(super) actions: Vec<Action>,
    pub(super) wants: Vec<Want>,
}

/// Something that is done.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) at_ms: u64,
    pub(super) line: usize,
    pub(super) what: What,
}

/// What is done.
#[derive(Debug)]
pub(super) enum What {
    /// At the simulator.
    Fault(FaultOrder),
    /// The words behind `furrow-gateway --config …`, and the number of the want that looks at its words.
    Command(Vec<String>, usize),
    /// To the programs.
    Process(Process),
    /// Programs that were away come back.
    Start,
}

/// What all entries of a file are checked with.
struct Reader<'a> {
    path: &'a Path,
    site: &'a Site,
    written: &'a Written,
    start: Timestamp,
    length_ms: u64,
}

impl Plan {
    /// Checks everything.
    pub(super) fn of(
        path: &Path,
        written: &Written,
        site: &Site,
        shared: &Shared,
    ) -> Result<Self, BadInput> {
        let file = &written.file;
        let bad = |place: usize, problem: String| BadInput {
            path: path.to_owned(),
            line: Some(written.line(place)),
            problem,
        };
        let spanned = |text: &Spanned<String>, most: u64| {
            let ms = duration(text.get_ref())
                .ok()
                .filter(|ms| (1_000..=most).contains(ms));
            let problem = format!(
                "{:?} is not a duration from 1s on such as 40min",
                text.get_ref()
            );
            ms.ok_or_else(|| bad(text.span().start, problem))
        };
        let start: Timestamp = file.start.get_ref().parse().map_err(|_| {
            let text = file.start.get_ref();
            let problem =
                format!("start: {text:?} is no time; write it as in 2026-04-18T06:00:00+07:00");
            bad(file.start.span().start, problem)
        })?;
        let length_ms = spanned(&file.length, LENGTH_MAX_MS)?;
        let limit = match &file.limit {
            None => shared.limit,
            Some(limit) => Duration::from_millis(spanned(limit, LIMIT_MAX_MS)?),
        };
        let speed = file.speed.as_ref().map(|speed| {
            speed_permille(*speed.get_ref()).map_err(|problem| bad(speed.span().start, problem))
        });
        let (start_unix_ms, ceiling_permille) = (start.as_millisecond(), speed.transpose()?);
        let reader = Reader {
            path,
            site,
            written,
            start,
            length_ms,
        };
        let beginning = reader.beginning()?;
        let mut plan = Self {
            path: path.to_owned(),
            name: file.name.clone().unwrap_or_else(|| stem(path)),
            setup: Setup {
                seed: file.seed.unwrap_or(shared.seed),
                start_unix_ms,
                start_mono_ns: 0,
                zones: site.outputs,
                boards: site.boards,
                wall_known: file.clock_known,
                boot: None,
                beginning,
                places: site.places.clone(),
            },
            mode: Mode::LockStep { ceiling_permille },
            start_unix_ms,
            length_ms,
            limit,
            actions: Vec::new(),
            wants: Vec::new(),
        };
        reader.entries(&mut plan)?;
        Ok(plan)
    }
}

impl Reader<'_> {
    fn bad(&self, place: usize, problem: impl Into<String>) -> BadInput {
        BadInput {
            path: self.path.to_owned(),
            line: Some(self.written.line(place)),
            problem: problem.into(),
        }
    }

    fn beginning(&self) -> Result<Beginning, BadInput> {
        let file = &self.written.file;
        let soil = file.soil_moisture.as_ref();
        if let Some(wrong) = soil.filter(|soil| !(15.0..=46.0).contains(soil.get_ref())) {
            let problem = "soil-moisture: write percent by volume, 15 (wilting) to 46 (saturated)";
            return Err(self.bad(wrong.span().start, problem));
        }
        if let Some(wrong) = file.tank.as_ref().filter(|tank| *tank.get_ref() > 100) {
            return Err(self.bad(wrong.span().start, "tank: write percent, 0 to 100"));
        }
        Ok(Beginning {
            plant: self.site.plant,
            sky: file.weather,
            soil_water: soil.map(|soil| soil.get_ref() / 100.0),
            tank_percent: file.tank.as_ref().map(|tank| *tank.get_ref()),
            ..Beginning::default()
        })
    }

    fn entries(&self, plan: &mut Plan) -> Result<(), BadInput> {
        let file = &self.written.file;
        if file.event.len().max(file.expect.len()) > ENTRIES_MAX {
            let problem =
                format!("keep at most {ENTRIES_MAX} events and {ENTRIES_MAX} expectations");
            return Err(self.bad(0, problem));
        }
        if file.expect.is_empty() {
            return Err(self.bad(0, "nothing is expected: add [[expect]]"));
        }
        for expect in &file.expect {
            let want = self.want(expect.get_ref(), expect.span().start)?;
            plan.wants.push(want);
        }
        for event in &file.event {
            self.action(event.get_ref(), event.span().start, plan)?;
        }
        plan.actions.sort_by_key(|action| action.at_ms);
        Ok(())
    }

    fn action(&self, event: &Event, place: usize, plan: &mut Plan) -> Result<(), BadInput> {
        let bad = |problem: &str| self.bad(place, problem);
        let at_ms = self.moment("at", &event.at, place)?;
        let lasting = match &event.lasting {
            None => None,
            Some(text) => Some(duration(text).map_err(|problem| bad(&format!("for: {problem}")))?),
        };
        if event.says.is_some() && event.command.is_none() {
            return Err(bad(
                "says belongs to a command: add command, or leave it out",
            ));
        }
        let what = match (&event.fault, &event.command, event.process) {
            (Some(fault), None, None) => {
                let fault = self.fault(fault, place)?;
                if lasting.is_some() && fault.end().is_none() {
                    return Err(bad("this fault has no end: leave out for"));
                }
                What::Fault(FaultOrder {
                    fault,
                    after_ms: 0,
                    for_ms: lasting,
                })
            }
            (None, Some(command), None) => {
                if lasting.is_some() {
                    return Err(bad(
                        "for: write how long into the command itself, as in --for 5min",
                    ));
                }
                let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
                let first = words.first().map_or("", String::as_str);
                if !COMMANDS.contains(&first) {
                    let known = COMMANDS.join(", ");
                    return Err(bad(&format!(
                        "command: begin with one of {known}, not {first:?}"
                    )));
                }
                let of = event.says.clone().map_or(Of::Nothing, Of::Says);
                plan.wants.push(Want {
                    name: format!("{command} at {}", event.at),
                    line: self.written.line(place),
                    from_ms: at_ms,
                    to_ms: self.length_ms,
                    of,
                });
                What::Command(words, plan.wants.len() - 1)
            }
            (None, None, Some(process)) => {
                let back = self.back(process, (at_ms, lasting), place)?;
                plan.actions.push(back);
                What::Process(process)
            }
            (_, _, _) => return Err(bad("write exactly one of fault, command and process")),
        };
        // What begins comes before what comes back at the same time.
        let line = self.written.line(place);
        let back = usize::from(matches!(what, What::Process(..)));
        let index = plan.actions.len().saturating_sub(back);
        plan.actions.insert(index, Action { at_ms, line, what });
        Ok(())
    }

    /// When what was ended comes back.
    fn back(
        &self,
        process: Process,
        (at_ms, lasting): (u64, Option<u64>),
        place: usize,
    ) -> Result<Action, BadInput> {
        if process == Process::KillGuard && !self.site.has_guard {
            let problem = "process: the configuration has no guarded outputs";
            return Err(self.bad(place, problem));
        }
        let away_ms = match process {
            Process::Restart if lasting.is_some() => {
                let problem = "for: a gateway that is restarted comes back at once: leave it out";
                return Err(self.bad(place, problem));
            }
            Process::Restart => 0,
            Process::Kill | Process::PowerCut | Process::KillGuard => lasting.unwrap_or(AWAY_MS),
        };
        Ok(Action {
            at_ms: at_ms.saturating_add(away_ms),
            line: self.written.line(place),
            what: What::Start,
        })
    }

    fn fault(&self, written: &toml::Table, place: usize) -> Result<Fault, BadInput> {
        let mut table = written.clone();
        if let Some(zone) = table.get_mut("zone")
            && let Some(name) = zone.as_str()
        {
            let output = self.output(name, place)?;
            *zone = toml::Value::Integer(i64::try_from(output + 1).unwrap_or(i64::MAX));
        }
        let fault: Fault = table.try_into().map_err(|error: toml::de::Error| {
            let known = "; docs/simulator.md lists all faults";
            self.bad(place, format!("fault: {}{known}", error.message()))
        })?;
        Ok(fault)
    }

    fn want(&self, expect: &Expect, place: usize) -> Result<Want, BadInput> {
        let bad = |problem: &str| self.bad(place, problem);
        let of = self.of(expect, place)?;
        let is_state = matches!(of, Of::Valve(..) | Of::Channel(..) | Of::Horn(..));
        let (from_ms, to_ms) = match (&expect.at, &expect.from, &expect.to) {
            (Some(at), None, None) => {
                if !is_state {
                    return Err(bad(
                        "at is for valve, channel, siren and beacon: write from and to",
                    ));
                }
                let at_ms = self.moment("at", at, place)?;
                (at_ms, at_ms)
            }
            (None, from, to) => {
                let moment = |key, text: &Option<String>, other| match text {
                    None => Ok(other),
                    Some(text) => self.moment(key, text, place),
                };
                (moment("from", from, 0)?, moment("to", to, self.length_ms)?)
            }
            (Some(_), _, _) => return Err(bad("write either at, or from and to")),
        };
        if from_ms > to_ms {
            return Err(bad("from lies behind to"));
        }
        let name = expect
            .name
            .clone()
            .unwrap_or_else(|| of.describe(self.site));
        Ok(Want {
            name,
            line: self.written.line(place),
            from_ms,
            to_ms,
            of,
        })
    }

    fn of(&self, expect: &Expect, place: usize) -> Result<Of, BadInput> {
        let bad = |problem: &str| self.bad(place, problem);
        let Expect { zone, once, .. } = expect;
        let one = || match zone {
            None => Err(bad(
                "zone is missing: name a zone, \"pump\" or \"master-valve\"",
            )),
            Some(name) => self.output(name, place),
        };
        let any = || {
            zone.as_ref()
                .map(|name| self.output(name, place))
                .transpose()
        };
        let most = |text: &str| duration(text).map_err(|problem| bad(&problem));
        let holds = if *once { Holds::Once } else { Holds::Always };
        let mut found = Vec::new();
        if let Some(litres) = expect.given {
            found.push(Of::Given(one()?, litres));
        }
        if let Some(valve) = expect.valve {
            found.push(Of::Valve(one()?, valve, holds));
        }
        if let Some(runs) = expect.runs {
            found.push(Of::Runs(any()?, runs));
        }
        if let Some([least, longest]) = &expect.open_for {
            found.push(Of::OpenFor(one()?, [most(least)?, most(longest)?]));
        }
        found.extend(expect.open_at_once.map(Of::OpenAtOnce));
        if let Some(text) = &expect.pump_against_closed {
            found.push(Of::PumpAgainstClosed(most(text)?));
        }
        if let Some(text) = &expect.pump_dry {
            found.push(Of::PumpDry(most(text)?));
        }
        if expect.event.is_some() || expect.decision.is_some() {
            let kind = expect
                .event
                .clone()
                .unwrap_or_else(|| "decision".to_owned());
            if expect.event.is_some() && expect.decision.is_some() {
                return Err(bad("write either event or decision"));
            }
            if any()?.is_some_and(|output| !self.site.plant.is_zone(output)) {
                return Err(bad("zone: the journal names zones only"));
            }
            let entry = Entry {
                kind,
                zone: zone.clone(),
                rule: expect.decision.clone(),
                verdict: expect.verdict.clone(),
                text: expect.text.clone(),
            };
            found.push(Of::Journal(entry, expect.count.unwrap_or([1, u64::MAX])));
        }
        if let Some(channel) = &expect.channel {
            let between = expect
                .between
                .ok_or_else(|| bad("between = [least, most] is missing"))?;
            found.push(Of::Channel(channel.clone(), between, holds));
        }
        found.extend(Of::horns(expect, holds));
        match (found.pop(), found.is_empty()) {
            (Some(of), true) => Ok(of),
            (_, _) => Err(bad(
                "expect exactly one of given, valve, runs, open-for, open-at-once, \
                 pump-against-closed, pump-dry, event, decision, channel, siren and beacon",
            )),
        }
    }

    fn output(&self, name: &str, place: usize) -> Result<usize, BadInput> {
        self.site.output(name).ok_or_else(|| {
            let known = self.site.names().join(", ");
            self.bad(
                place,
                format!("there is no zone {name:?}; write one of {known}"),
            )
        })
    }

    /// A time after the start, a local time of day, or a full time; ms after the start.
    fn moment(&self, key: &str, text: &str, place: usize) -> Result<u64, BadInput> {
        let wrong = || {
            let how =
                "write a time after the start as in 5min, a local time as in 06:30, or a full time";
            self.bad(place, format!("{key}: {text:?} is no time; {how}"))
        };
        let ms = if let Ok(ms) = duration(text) {
            Some(ms)
        } else if let Ok(time) = text.parse::<Time>() {
            let start = self.start.to_zoned(self.site.time_zone.clone());
            let at = start.with().time(time).build().map_err(|_| wrong())?;
            let next = at.tomorrow().map_err(|_| wrong())?;
            let at = if at < start { next } else { at };
            since(self.start, at.timestamp())
        } else {
            let at: Timestamp = text.parse().map_err(|_| wrong())?;
            since(self.start, at)
        };
        let ms =
            ms.ok_or_else(|| self.bad(place, format!("{key}: {text} lies before the start")))?;
        if ms > self.length_ms {
            return Err(self.bad(
                place,
                format!("{key}: {text} lies behind the end: raise length"),
            ));
        }
        Ok(ms)
    }
}

fn since(start: Timestamp, at: Timestamp) -> Option<u64> {
    u64::try_from(at.as_millisecond().saturating_sub(start.as_millisecond())).ok()
}

fn stem(path: &Path) -> String {
    let stem: Option<PathBuf> = path.file_stem().map(PathBuf::from);
    stem.map_or_else(String::new, |stem| stem.display().to_string())
}
