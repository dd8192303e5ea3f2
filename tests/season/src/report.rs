//! The figures of a season, as a table and as JSON, and whether it may pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use furrow_wire::Event;
use serde::Serialize;

use crate::Season;
use crate::faults::Kind;
use crate::play::{Fate, Played};
use crate::site::Way;

/// A season, both ways.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Seed of weather and faults.
    pub seed: u64,
    /// Days.
    pub days: u32,
    /// By rules.
    pub rules: Side,
    /// By a timer.
    pub schedule: Side,
    /// Faults under rules, by kind.
    pub faults: Vec<Kinds>,
    /// What must not be: empty when the season passed.
    pub failures: Vec<String>,
}

/// One way of watering.
#[derive(Debug, Default, Serialize)]
pub struct Side {
    /// Each greenhouse.
    pub greenhouses: Vec<Greenhouse>,
    /// Water drawn from the tanks, litres.
    pub litres: f64,
    /// Days of a zone on which its plants had less than they take up easily, for an hour or more.
    pub stress_days: u32,
    /// Looks of the checker at the plumbing, and interlocks that it found broken.
    pub looks: u64,
    /// Interlocks that were broken.
    pub broken: u64,
}

/// A greenhouse.
#[derive(Debug, Serialize)]
pub struct Greenhouse {
    /// Crop and soil.
    pub name: &'static str,
    /// Water drawn from the tank, litres: leaks and holes too.
    pub litres: f64,
    /// Of it into the beds, by zone, litres.
    pub given_litres: Vec<f64>,
    /// The most that the crop transpired on a day, mm.
    pub sunniest_mm: f64,
    /// What the crop transpired, mm.
    pub transpired_mm: f64,
    /// See [`Side::stress_days`].
    pub stress_days: u32,
    /// Runs.
    pub runs: usize,
    /// Everything that its gateway told, in order; not a part of the report.
    #[serde(skip)]
    pub events: Vec<Event>,
}

/// All faults of a kind.
#[derive(Debug, Serialize)]
pub struct Kinds {
    /// What.
    pub name: &'static str,
    /// How many were sown.
    pub sown: usize,
    /// How many could be seen: a run touched them.
    pub shown: usize,
    /// How many were told within the bound.
    pub told: usize,
    /// The longest time from showing to being told, s.
    pub slowest_s: Option<u64>,
    /// The bound, s.
    pub bound_s: u64,
}

impl Report {
    pub(crate) fn of(season: Season, played: Vec<(Way, Played)>) -> Self {
        let mut failures = Vec::new();
        let mut fates: Vec<Fate> = Vec::new();
        let (mut rules, mut schedule) = (Side::default(), Side::default());
        for (way, one) in played {
            let (name, side) = match way {
                Way::Rules => ("by rules", &mut rules),
                Way::Schedule => ("by schedule", &mut schedule),
            };
            for broken in &one.kept {
                failures.push(format!("{}, {name}: {broken}", one.name));
            }
            if way == Way::Rules {
                failures.extend(untold(&one));
                fates.extend(&one.fates);
            }
            side.add(one);
        }
        if rules.litres > schedule.litres {
            failures.push("the rules used more water than the schedule".into());
        }
        if rules.stress_days > schedule.stress_days {
            failures
                .push("under the rules the plants had more stress than under the schedule".into());
        }
        Self {
            seed: season.seed,
            days: season.days,
            rules,
            schedule,
            faults: kinds(&fates),
            failures,
        }
    }

    /// Whether nothing failed.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        self.write(&mut out)
            .expect("writing into a text does not fail");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "season of {} days, seed {}\n", self.days, self.seed)?;
        writeln!(
            out,
            "{:<24} {:>21} {:>21} {:>13}",
            "", "water, L", "zone-days in stress", "runs"
        )?;
        writeln!(
            out,
            "{:<24} {:>10} {:>10} {:>10} {:>10} {:>6} {:>6}",
            "greenhouse", "rules", "schedule", "rules", "schedule", "rules", "sched."
        )?;
        for (rules, schedule) in self
            .rules
            .greenhouses
            .iter()
            .zip(&self.schedule.greenhouses)
        {
            writeln!(
                out,
                "{:<24} {:>10.0} {:>10.0} {:>10} {:>10} {:>6} {:>6}",
                rules.name,
                rules.litres,
                schedule.litres,
                rules.stress_days,
                schedule.stress_days,
                rules.runs,
                schedule.runs
            )?;
        }
        let (rules, schedule) = (&self.rules, &self.schedule);
        writeln!(
            out,
            "{:<24} {:>10.0} {:>10.0} {:>10} {:>10}",
            "all", rules.litres, schedule.litres, rules.stress_days, schedule.stress_days
        )?;
        let saved = 100.0 * (1.0 - rules.litres / schedule.litres);
        let avoided = i64::from(schedule.stress_days) - i64::from(rules.stress_days);
        writeln!(
            out,
            "water saved {saved:.1} %, zone-days of stress avoided {avoided}\n"
        )?;
        writeln!(
            out,
            "{:<20} {:>5} {:>6} {:>5} {:>12} {:>12}",
            "fault", "sown", "shown", "told", "slowest", "bound"
        )?;
        for kind in &self.faults {
            let slowest = kind.slowest_s.map_or_else(|| "-".to_owned(), time);
            writeln!(
                out,
                "{:<20} {:>5} {:>6} {:>5} {:>12} {:>12}",
                kind.name,
                kind.sown,
                kind.shown,
                kind.told,
                slowest,
                time(kind.bound_s)
            )?;
        }
        writeln!(
            out,
            "\ninterlocks broken: {} in {} looks at the plumbing (schedule: {} in {})",
            rules.broken, rules.looks, schedule.broken, schedule.looks
        )?;
        for failure in &self.failures {
            writeln!(out, "FAILED: {failure}")?;
        }
        Ok(())
    }
}

impl Side {
    fn add(&mut self, one: Played) {
        self.litres += one.litres;
        self.stress_days += one.stress_days;
        self.looks += one.looks;
        self.broken += one.broken;
        self.greenhouses.push(Greenhouse {
            name: one.name,
            litres: one.litres,
            given_litres: one.given_litres,
            sunniest_mm: one.sunniest_mm,
            transpired_mm: one.transpired_mm,
            stress_days: one.stress_days,
            runs: one.runs,
            events: one.events,
        });
    }
}

/// How long it took from showing to being told; `None` when it was not told.
fn delay_ms(fate: &Fate) -> Option<u64> {
    let (shown, told) = (fate.shown_ms?, fate.told_ms?);
    Some(told.saturating_sub(shown))
}

fn in_time(fate: &Fate) -> bool {
    delay_ms(fate).is_some_and(|ms| ms <= fate.kind.traits().bound_ms)
}

fn untold(one: &Played) -> impl Iterator<Item = String> {
    let late = one.fates.iter();
    let late = late.filter(|fate| fate.shown_ms.is_some() && !in_time(fate));
    late.map(|fate| {
        let (day, hour) = (fate.at_ms / 86_400_000, fate.at_ms / 3_600_000 % 24);
        let after = delay_ms(fate).map_or("never".to_owned(), |ms| {
            format!("after {}", time(ms / 1_000))
        });
        let name = fate.kind.traits().name;
        format!("{}: day {day} {hour} h: {name} was told {after}", one.name)
    })
}

fn kinds(fates: &[Fate]) -> Vec<Kinds> {
    let mut by_kind: BTreeMap<Kind, Vec<&Fate>> = BTreeMap::new();
    for fate in fates {
        by_kind.entry(fate.kind).or_default().push(fate);
    }
    let figures = by_kind.into_iter().map(|(kind, fates)| Kinds {
        name: kind.traits().name,
        sown: fates.len(),
        shown: fates.iter().filter(|fate| fate.shown_ms.is_some()).count(),
        told: fates.iter().filter(|fate| in_time(fate)).count(),
        slowest_s: fates
            .iter()
            .filter_map(|fate| delay_ms(fate))
            .max()
            .map(|ms| ms / 1_000),
        bound_s: kind.traits().bound_ms / 1_000,
    });
    figures.collect()
}

fn time(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}
