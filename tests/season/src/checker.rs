//! Whether an interlock was broken: a reference of its own, which sees the plumbing, the tank and the
//! calendar, and nothing of what the gateway believes.

use furrow_sim::{InProcess, Switched};

use crate::site::{Limits, ZONES};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: i64 = 24 * 3_600_000;
/// Local time is ahead of UTC by this, ms.
const AHEAD: i64 = 7 * 3_600_000;
/// Violations that are kept; all are counted.
const KEPT_MAX: usize = 50;

/// A valve travels for up to 3 s, so one may still close when the next one opens.
const TRAVEL: u64 = 4 * SECOND;
/// A bus may be asked again before a valve closes.
const LATE: u64 = 10 * SECOND;
/// The lease that ends by itself, with travel.
const LEASE: u64 = 30 * SECOND + TRAVEL;
/// What the pump may give against closed ways at once: one step of the sequence and a valve's travel.
const SHUT: u64 = 8 * SECOND;
/// Until an empty tank has stopped the pump: three readings and one look.
const DRY: u64 = 100 * SECOND;
/// Water beyond a day's litres that one look at the meter may miss, L.
const BEYOND_LITRES: f64 = 10.0;
/// A tank below this begins no run, m; known with a reading's delay.
const TANK_LOW_M: f64 = 0.29;
const OUTPUT_PUMP: usize = 4;
const OUTPUT_MASTER: usize = 3;
/// Rules begin from 5 to 18 o'clock, and what waits for others some time later.
const FIRST_MINUTE: i64 = 5 * 60;
const LAST_MINUTE: i64 = 18 * 60 + 60;

/// What no program can help.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Excused {
    /// This zone's valve, from 0, is stuck.
    pub(crate) zone: Option<usize>,
    /// The pump's contactor is welded.
    pub(crate) pump: bool,
    /// The machine has no power since, ms.
    pub(crate) powerless_since: Option<u64>,
    /// This zone (from 0), or all, must stay shut: a fault was told that locks them.
    pub(crate) locked: Option<Locked>,
}

/// What a fault must keep shut until a person came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locked {
    /// A zone, from 0.
    Zone(usize),
    /// All.
    All,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Checker {
    limits: Vec<Limits>,
    zones: [Zone; ZONES],
    seen_ms: u64,
    last: Switched,
    /// Since when the pump has worked against closed ways, and without water.
    shut_since: Option<u64>,
    dry_since: Option<u64>,
    /// Since when the tank is too low to begin.
    low_since: Option<u64>,
    day: i64,
    pub(crate) looks: u64,
    pub(crate) broken: u64,
    pub(crate) kept: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Zone {
    open_since: Option<u64>,
    closed_ms: Option<u64>,
    opened: Vec<u64>,
    today_ms: u64,
    litres_at_midnight: f64,
    too_long: bool,
    too_much: bool,
}

impl Checker {
    pub(crate) fn new(limits: Vec<Limits>) -> Self {
        Self {
            limits,
            zones: Default::default(),
            seen_ms: 0,
            last: Switched {
                at_ms: 0,
                open: 0,
                turns: false,
                dry: false,
            },
            shut_since: None,
            dry_since: None,
            low_since: None,
            day: 0,
            looks: 0,
            broken: 0,
            kept: Vec::new(),
        }
    }

    /// Looks at everything since the last look.
    pub(crate) fn look(&mut self, machine: &InProcess, excused: Excused) {
        self.looks += 1;
        let now_ms = machine.now_ns() / 1_000_000;
        let unix_ms = machine.unix_ms();
        for change in machine.switched(self.seen_ms) {
            self.take(change, unix_ms, now_ms, excused);
        }
        self.seen_ms = now_ms;
        self.tank(machine.tank_m(), now_ms);
        self.pump(now_ms, excused);
        let given = machine.given_litres();
        self.new_day(unix_ms, now_ms, &given);
        for zone in 0..ZONES {
            self.zone_now(zone, now_ms, given.get(zone).copied(), excused);
        }
        if let Some(since) = excused.powerless_since
            && self.last.open != 0
            && now_ms > since + LEASE
            && excused.zone.is_none()
        {
            self.note(now_ms, "an output is open beyond its lease, without power");
        }
    }

    fn take(&mut self, change: Switched, unix_ms: i64, now_ms: u64, excused: Excused) {
        // Time until this change was as the last one says.
        self.pump(change.at_ms, excused);
        let ago = i64::try_from(now_ms.saturating_sub(change.at_ms)).unwrap_or_default();
        for zone in 0..ZONES {
            let is_open = change.open >> zone & 1 == 1;
            let was_open = self.last.open >> zone & 1 == 1;
            if is_open == was_open || excused.zone == Some(zone) {
                continue;
            }
            if is_open {
                self.opens(zone, change, unix_ms - ago, excused);
            } else {
                self.closes(zone, change.at_ms);
            }
        }
        self.last = change;
    }

    fn opens(&mut self, zone: usize, change: Switched, unix_ms: i64, excused: Excused) {
        let at_ms = change.at_ms;
        let others = (0..ZONES).filter(|other| {
            *other != zone && excused.zone != Some(*other) && change.open >> other & 1 == 1
        });
        let long = |other: usize| {
            let since = self.zones.get(other).and_then(|other| other.open_since);
            since.is_some_and(|since| at_ms.saturating_sub(since) > TRAVEL)
        };
        if others.into_iter().any(long) {
            self.note(at_ms, "two zones are open");
        }
        match excused.locked {
            Some(Locked::All) => self.note(at_ms, "a zone opened while all are locked"),
            Some(Locked::Zone(locked)) if locked == zone => {
                self.note(at_ms, "a zone opened while it is locked");
            }
            Some(Locked::Zone(_)) | None => {}
        }
        let low = |since: u64| at_ms.saturating_sub(since) > DRY;
        if self.low_since.is_some_and(low) {
            self.note(at_ms, "a zone opened with too low a tank");
        }
        let minute = (unix_ms + AHEAD).rem_euclid(DAY) / 60_000;
        if !(FIRST_MINUTE..=LAST_MINUTE).contains(&minute) {
            self.note(at_ms, "a zone opened at night");
        }
        let Some((own, limits)) = self.zones.get_mut(zone).zip(self.limits.get(zone)) else {
            return;
        };
        own.open_since = Some(at_ms);
        own.too_long = false;
        own.opened
            .retain(|at| at_ms.saturating_sub(*at) < HOUR - MINUTE);
        own.opened.push(at_ms);
        let off = own.closed_ms.map(|closed| at_ms.saturating_sub(closed));
        let is_soon = off.is_some_and(|off| off + LATE < limits.min_off_ms);
        let is_often = own.opened.len() > limits.starts_per_hour;
        if is_soon {
            self.note(at_ms, "a zone opened again too soon");
        }
        if is_often {
            self.note(at_ms, "a zone opened too often within the hour");
        }
    }

    fn closes(&mut self, zone: usize, at_ms: u64) {
        if let Some(own) = self.zones.get_mut(zone) {
            let since = own.open_since.take();
            own.today_ms += since.map_or(0, |since| at_ms.saturating_sub(since));
            own.closed_ms = Some(at_ms);
        }
    }

    fn zone_now(&mut self, zone: usize, now_ms: u64, given: Option<f64>, excused: Excused) {
        let Some((own, limits)) = self.zones.get_mut(zone).zip(self.limits.get(zone)) else {
            return;
        };
        if excused.zone == Some(zone) {
            // Nobody can close it, and what it got meanwhile is nobody's run.
            own.open_since = None;
            own.litres_at_midnight = f64::INFINITY;
            return;
        }
        let open_ms = own
            .open_since
            .map_or(0, |since| now_ms.saturating_sub(since));
        let too_long = open_ms > limits.max_run_ms + LATE + TRAVEL && !own.too_long;
        own.too_long |= too_long;
        let litres = given.unwrap_or_default() - own.litres_at_midnight;
        let over_time = own.today_ms + open_ms > limits.daily_ms + MINUTE;
        let over_litres = litres > limits.daily_litres + BEYOND_LITRES;
        let too_much = (over_time || over_litres) && !own.too_much;
        own.too_much |= too_much;
        if too_long {
            self.note(now_ms, "a zone is open beyond its longest run");
        }
        if too_much {
            let text = format!(
                "zone {} got {litres:.0} L today, beyond its budget",
                zone + 1
            );
            self.note(now_ms, &text);
        }
    }

    fn new_day(&mut self, unix_ms: i64, now_ms: u64, given: &[f64]) {
        let day = (unix_ms + AHEAD).div_euclid(DAY);
        if self.day == day {
            return;
        }
        self.day = day;
        for (own, given) in self.zones.iter_mut().zip(given) {
            own.today_ms = 0;
            own.too_much = false;
            own.litres_at_midnight = *given;
            own.open_since = own.open_since.map(|_| now_ms);
        }
    }

    fn tank(&mut self, tank_m: f64, now_ms: u64) {
        if tank_m >= TANK_LOW_M {
            self.low_since = None;
        } else {
            self.low_since.get_or_insert(now_ms);
        }
    }

    /// How long the pump has worked against closed ways or without water, until `to_ms`.
    fn pump(&mut self, to_ms: u64, excused: Excused) {
        let bit = |output: usize| self.last.open >> output & 1 == 1;
        let is_on = bit(OUTPUT_PUMP) && self.last.turns && !excused.pump;
        let way = bit(OUTPUT_MASTER) && (0..ZONES).any(bit);
        let from = self.last.at_ms;
        let spell = |since: &mut Option<u64>, is_so: bool, most: u64| {
            if !is_so {
                *since = None;
                return false;
            }
            let before = *since.get_or_insert(from);
            // Once per spell.
            let is_over = to_ms.saturating_sub(before) > most && before != u64::MAX;
            if is_over {
                *since = Some(u64::MAX);
            }
            is_over
        };
        let shut = spell(&mut self.shut_since, is_on && !way, SHUT);
        let dry = spell(&mut self.dry_since, is_on && self.last.dry, DRY);
        if shut {
            self.note(to_ms, "the pump worked against closed valves");
        }
        if dry {
            self.note(to_ms, "the pump ran dry");
        }
    }

    fn note(&mut self, at_ms: u64, what: &str) {
        self.broken += 1;
        if self.kept.len() < KEPT_MAX {
            let (day, ms) = (at_ms / (24 * HOUR), at_ms % (24 * HOUR));
            let (hour, minute, second) = (ms / HOUR, ms / MINUTE % 60, ms / SECOND % 60);
            self.kept.push(format!(
                "day {day} {hour:02}:{minute:02}:{second:02}: {what}"
            ));
        }
    }
}
