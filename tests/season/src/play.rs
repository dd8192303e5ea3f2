//! One greenhouse through a season: time, faults, the person who repairs, the gateway, the checker.

use std::path::PathBuf;

use anyhow::Context;
use furrow_sim::faults::{Fault, FaultOrder};
use furrow_sim::{Bed, InProcess};
use furrow_wire::Event;

use crate::Season;
use crate::checker::{Checker, Excused, Locked};
use crate::faults::{Kind, Shows, Sown, since};
use crate::gateway::{Gateway, Told};
use crate::site::{Site, Way, ZONES};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// A person comes so long after a fault was told.
const REPAIR_AFTER: u64 = 2 * HOUR;
/// And looks again so long after the repair, when everything is at rest.
const LOOKED_AFTER: u64 = 10 * MINUTE;
/// The power is away for so long, and the time of day for so long after.
const POWER_AWAY: u64 = 10 * MINUTE;
const CLOCK_AWAY: u64 = 5 * MINUTE;
/// A fault that waits for a run strikes when water has flowed for so long.
const INTO_A_RUN: u64 = MINUTE;
/// The plants are asked so often, by day.
const PLANTS_EVERY: u64 = 10 * MINUTE;
/// So many of those below what they take up easily make a day of stress: an hour.
const STRESSED: u32 = 6;
const DAYLIGHT: core::ops::Range<u64> = 6..18;

/// What became of a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    pub(crate) kind: Kind,
    pub(crate) at_ms: u64,
    /// When it could be seen; never, if no run touched it.
    pub(crate) shown_ms: Option<u64>,
    pub(crate) told_ms: Option<u64>,
}

/// A season of one greenhouse.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) name: &'static str,
    pub(crate) litres: f64,
    /// By zone.
    pub(crate) given_litres: Vec<f64>,
    /// The most that the crop transpired on a day, mm.
    pub(crate) sunniest_mm: f64,
    pub(crate) transpired_mm: f64,
    pub(crate) stress_days: u32,
    pub(crate) runs: usize,
    pub(crate) fates: Vec<Fate>,
    pub(crate) looks: u64,
    pub(crate) broken: u64,
    pub(crate) kept: Vec<String>,
    pub(crate) events: Vec<Event>,
}

/// A fault that is there.
struct Present {
    sown: Sown,
    fate: Fate,
    /// When it was repaired.
    repaired_ms: Option<u64>,
}

struct Player<'a> {
    machine: InProcess,
    config: PathBuf,
    gateway: Option<Gateway>,
    back_ms: u64,
    told: Told,
    checker: Checker,
    waiting: std::iter::Peekable<std::slice::Iter<'a, Sown>>,
    present: Option<Present>,
    water_since: Option<u64>,
    fates: Vec<Fate>,
}

/// Plays it.
///
/// # Errors
/// Its configuration can't be used.
pub(crate) fn play(
    site: &Site,
    way: Way,
    season: Season,
    number: u64,
    sown: &[Sown],
) -> anyhow::Result<Played> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, site.config(way)?).context("write a configuration")?;
    let seed = season.seed.wrapping_mul(10).wrapping_add(number);
    let machine = InProcess::new(&site.setup(seed));
    let mut told = Told::default();
    let gateway = Gateway::start(&config, &machine, &mut told)?;
    let mut player = Player {
        machine,
        config,
        gateway: Some(gateway),
        back_ms: u64::MAX,
        told,
        checker: Checker::new(site.limits()?),
        waiting: sown.iter().peekable(),
        present: None,
        water_since: None,
        fates: Vec::new(),
    };
    let mut plants = Plants::new((site.bed)());
    let end_ms = u64::from(season.days) * DAY;
    while player.now() < end_ms {
        plants.look(&player.machine);
        player.turn()?;
        let next_ms = player.next_ms().min(plants.next_ms).min(end_ms);
        player.machine.advance(next_ms.saturating_mul(1_000_000));
    }
    player
        .fates
        .extend(player.present.map(|present| present.fate));
    let given = player.machine.given_litres();
    Ok(Played {
        name: site.name,
        litres: player.machine.litres(),
        given_litres: given.into_iter().take(ZONES).collect(),
        sunniest_mm: plants.sunniest_mm,
        transpired_mm: player.machine.transpired_mm(),
        stress_days: plants.stress_days,
        runs: player.told.runs(),
        fates: player.fates,
        looks: player.checker.looks,
        broken: player.checker.broken,
        kept: player.checker.kept,
        events: player.told.events,
    })
}

impl Player<'_> {
    fn now(&self) -> u64 {
        self.machine.now_ns() / 1_000_000
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        if self.gateway.is_none() && self.now() >= self.back_ms {
            self.machine.reboot();
            let gateway = Gateway::start(&self.config, &self.machine, &mut self.told)?;
            self.gateway = Some(gateway);
        }
        self.strike()?;
        if let Some(gateway) = &mut self.gateway {
            gateway.turn(&mut self.told);
        }
        self.follow()?;
        let excused = self.excused();
        self.checker.look(&self.machine, excused);
        Ok(())
    }

    fn next_ms(&mut self) -> u64 {
        let now = self.now();
        let gateway = match &self.gateway {
            Some(gateway) => gateway.next_ms(),
            None => self.back_ms,
        };
        let fault = self.waiting.peek().map_or(u64::MAX, |sown| sown.at_ms);
        let fault = if fault > now { fault } else { u64::MAX };
        // A gateway that has nothing to do is looked at each second, that no change goes unseen.
        gateway.max(now + 1).min(fault).min(now + MINUTE)
    }

    /// Faults whose time has come, one at a time.
    fn strike(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        let is_flowing = self
            .machine
            .switches()
            .is_some_and(|last| last.turns && last.open >> 4 & 1 == 1 && last.open & 0b111 != 0);
        if !is_flowing {
            self.water_since = None;
        } else {
            self.water_since.get_or_insert(now);
        }
        let Some(sown) = self.waiting.peek().copied().copied() else {
            return Ok(());
        };
        let traits = sown.kind.traits();
        let in_run = self
            .water_since
            .is_some_and(|since| now >= since + INTO_A_RUN);
        if sown.at_ms > now || self.present.is_some() || traits.in_a_run && !in_run {
            return Ok(());
        }
        self.waiting.next();
        self.order(sown.kind.fault(sown.zone), None)?;
        if sown.kind == Kind::PowerCut {
            self.gateway = None;
            self.back_ms = now + POWER_AWAY;
            self.order(Fault::WallUnknown, Some(POWER_AWAY + CLOCK_AWAY))?;
        }
        let at_once = traits.shows == Shows::AtOnce;
        self.present = Some(Present {
            sown,
            fate: Fate {
                kind: sown.kind,
                at_ms: now,
                shown_ms: at_once.then_some(now),
                told_ms: None,
            },
            repaired_ms: None,
        });
        Ok(())
    }

    /// What became of the fault that is there: shown, told, repaired, looked at.
    fn follow(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        let Some(mut present) = self.present.take() else {
            return Ok(());
        };
        let (sown, fate) = (present.sown, &mut present.fate);
        let traits = sown.kind.traits();
        if fate.shown_ms.is_none() {
            let its = |output: usize| match traits.shows {
                Shows::InItsZone => output + 1 == sown.zone,
                Shows::AtOnce | Shows::InAnyRun => output < ZONES,
            };
            let mut opened = since(&self.told.opened, fate.at_ms, |(at, _)| *at).iter();
            let first = opened.find(|(_, output)| its(*output));
            fate.shown_ms = first.map(|(at, _)| *at);
        }
        if fate.told_ms.is_none() {
            fate.told_ms = sown.kind.told(&self.told, fate.at_ms);
        }
        let over_ms = match fate.told_ms {
            Some(told) => (told + REPAIR_AFTER).min(fate.at_ms + traits.lasts_ms),
            None => fate.at_ms + traits.lasts_ms,
        };
        if present.repaired_ms.is_none() && now >= over_ms {
            present.repaired_ms = Some(now);
            if let Some(end) = sown.kind.end(sown.zone) {
                self.order(end, None)?;
            }
        }
        let looked = |repaired: u64| now >= repaired + LOOKED_AFTER;
        if present.repaired_ms.is_some_and(looked) {
            if let Some(gateway) = &mut self.gateway {
                gateway.reset(&mut self.told);
            }
            self.fates.push(present.fate);
        } else {
            self.present = Some(present);
        }
        Ok(())
    }

    fn excused(&self) -> Excused {
        let mut excused = Excused::default();
        let Some(present) = &self.present else {
            return excused;
        };
        let (zone, fate) = (present.sown.zone - 1, present.fate);
        let told = fate.told_ms.is_some() && present.repaired_ms.is_none();
        match present.sown.kind {
            Kind::ValveStuckOpen | Kind::ValveStuckShut => excused.zone = Some(zone),
            Kind::PumpWelds => excused.pump = true,
            Kind::PowerCut if self.gateway.is_none() => {
                excused.powerless_since = Some(fate.at_ms);
            }
            Kind::Burst if told => excused.locked = Some(Locked::Zone(zone)),
            Kind::Leak if told => excused.locked = Some(Locked::All),
            Kind::ProbeFails
            | Kind::ProbeSticks
            | Kind::ProbeLiesWet
            | Kind::ProbeLiesDry
            | Kind::Clog
            | Kind::Burst
            | Kind::Leak
            | Kind::DryTank
            | Kind::PumpFails
            | Kind::MeterJams
            | Kind::MeterBounces
            | Kind::ControllerResets
            | Kind::ControllerGone
            | Kind::PowerCut
            | Kind::NoClock => {}
        }
        excused
    }

    fn order(&self, fault: Fault, for_ms: Option<u64>) -> anyhow::Result<()> {
        let order = FaultOrder {
            fault,
            after_ms: 0,
            for_ms,
        };
        self.machine.order(order).context("order a fault")
    }
}

/// What the plants have.
struct Plants {
    bed: Bed,
    next_ms: u64,
    below: [u32; ZONES],
    stress_days: u32,
    /// Transpired until the last midnight, and the most of a day, mm.
    until_midnight_mm: f64,
    sunniest_mm: f64,
}

impl Plants {
    fn new(bed: Bed) -> Self {
        Self {
            bed,
            next_ms: 0,
            below: [0; ZONES],
            stress_days: 0,
            until_midnight_mm: 0.0,
            sunniest_mm: 0.0,
        }
    }

    fn look(&mut self, machine: &InProcess) {
        let now_ms = machine.now_ns() / 1_000_000;
        if now_ms < self.next_ms {
            return;
        }
        self.next_ms = now_ms - now_ms % PLANTS_EVERY + PLANTS_EVERY;
        let hour = now_ms % DAY / HOUR;
        if hour == 0 {
            self.below = [0; ZONES];
            if now_ms % HOUR < PLANTS_EVERY {
                let so_far_mm = machine.transpired_mm();
                self.sunniest_mm = self.sunniest_mm.max(so_far_mm - self.until_midnight_mm);
                self.until_midnight_mm = so_far_mm;
            }
        }
        if !DAYLIGHT.contains(&hour) {
            return;
        }
        for (below, water) in self.below.iter_mut().zip(machine.soil_water()) {
            if self.bed.available(water) < 1.0 - self.bed.easy_share {
                *below += 1;
                self.stress_days += u32::from(*below == STRESSED);
            }
        }
    }
}
