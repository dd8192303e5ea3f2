//! Whether what was expected happened. Pure: what was seen comes in, a verdict goes out.

use jiff::Timestamp;
use serde_json::Value;

use super::file::{Switch, Valve};
use super::plan::Plan;
use super::play::Played;
use super::site::Site;
use super::want::{Entry, Holds, Horn, Of, Want};

/// Most entries of the journal that a verdict shows.
const SHOWN_MAX: usize = 8;

/// One expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What was expected.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// What was seen instead and when, if it was not as expected.
    pub seen: Option<String>,
}

/// A stretch of time in which no switch moved, ms.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from_ms: u64,
    to_ms: u64,
    open: u8,
    turns: bool,
    dry: bool,
}

/// Everything, in the order of the file.
pub(super) fn judge(plan: &Plan, site: &Site, played: &Played) -> Vec<Verdict> {
    let judge = Judge { plan, site, played };
    let wants = plan.wants.iter().enumerate();
    let wants = wants.filter(|(_, want)| !matches!(want.of, Of::Nothing));
    let verdicts = wants.map(|(place, want)| Verdict {
        name: want.name.clone(),
        line: want.line,
        seen: judge.seen(place, want),
    });
    verdicts.collect()
}

struct Judge<'a> {
    plan: &'a Plan,
    site: &'a Site,
    played: &'a Played,
}

impl Judge<'_> {
    fn seen(&self, place: usize, want: &Want) -> Option<String> {
        let (from, to) = (self.clock(want.from_ms), self.clock(want.to_ms));
        let within = || format!("between {from} and {to}");
        match &want.of {
            Of::Given(output, [least, most]) => {
                let litres = self.given(*output, want.to_ms) - self.given(*output, want.from_ms);
                let is_right = (*least..=*most).contains(&litres);
                let name = self.site.name(*output);
                (!is_right).then(|| {
                    format!(
                        "{name} got {litres:.2} L {}, expected {least} to {most} L",
                        within()
                    )
                })
            }
            Of::Valve(output, valve, holds) => self.valve(want, *output, *valve, *holds),
            Of::Runs(output, range) => self.runs(want, *output, *range),
            Of::OpenFor(output, [least, most]) => {
                let open = |stretch: &Stretch| bit(stretch.open, *output);
                let ms: u64 = self.lasting(want, open).map(|(from, to)| to - from).sum();
                let is_right = (*least..=*most).contains(&ms);
                let name = self.site.name(*output);
                let [ms, least, most] = [ms, *least, *most].map(seconds);
                (!is_right).then(|| {
                    format!(
                        "{name} was open for {ms} s {}, expected {least} to {most} s",
                        within()
                    )
                })
            }
            Of::OpenAtOnce(most) => {
                let count = |stretch: &Stretch| u64::from(self.zones_open(stretch).count_ones());
                let worst = self.stretches(want).max_by_key(count)?;
                let seen = count(&worst);
                (seen > *most).then(|| {
                    let at = self.clock(worst.from_ms);
                    format!("{seen} zones were open at {at}, expected at most {most}")
                })
            }
            Of::PumpAgainstClosed(most) => self.longest(
                want,
                *most,
                "the pump worked against closed valves",
                |stretch| {
                    let master = self.site.plant.master_valve;
                    let is_open =
                        master.is_none_or(|master| bit(stretch.open, usize::from(master) - 1));
                    stretch.turns && (!is_open || self.zones_open(stretch) == 0)
                },
            ),
            Of::PumpDry(most) => self.longest(want, *most, "the pump ran dry", |stretch| {
                stretch.turns && stretch.dry
            }),
            Of::Journal(entry, range) => self.journal(want, entry, *range),
            Of::Channel(name, range, holds) => self.channel(want, name, *range, *holds),
            Of::Horn(horn, switch, holds) => self.horn(want, *horn, *switch, *holds),
            Of::Says(text) => {
                let said = self
                    .played
                    .said
                    .get(&place)
                    .map_or("", String::as_str)
                    .trim_end();
                (!said.contains(text)).then(|| format!("it said {said:?}, expected {text:?} in it"))
            }
            Of::Nothing => None,
        }
    }

    fn valve(&self, want: &Want, output: usize, valve: Valve, holds: Holds) -> Option<String> {
        let is_right = |stretch: &Stretch| bit(stretch.open, output) == (valve == Valve::Open);
        let (name, state) = (self.site.name(output), state(valve));
        match holds {
            Holds::Always => {
                let wrong = self.stretches(want).find(|stretch| !is_right(stretch))?;
                let (from, to) = (self.clock(wrong.from_ms), self.clock(wrong.to_ms));
                Some(format!("{name} was not {state} from {from} to {to}"))
            }
            Holds::Once => {
                let is_seen = self.stretches(want).any(|stretch| is_right(&stretch));
                let (from, to) = (self.clock(want.from_ms), self.clock(want.to_ms));
                (!is_seen).then(|| format!("{name} was never {state} from {from} to {to}"))
            }
        }
    }

    fn runs(&self, want: &Want, output: Option<usize>, [least, most]: [u64; 2]) -> Option<String> {
        let zones = (0..8).filter(|zone| self.site.plant.is_zone(*zone));
        let zones = zones.filter(|zone| output.is_none_or(|output| output == *zone));
        let mut openings: Vec<u64> = Vec::new();
        for zone in zones {
            let mut was_open = true;
            for stretch in self.stretches(want) {
                let is_open = bit(stretch.open, zone);
                if is_open && !was_open {
                    openings.push(stretch.from_ms);
                }
                was_open = is_open;
            }
        }
        openings.sort_unstable();
        let count = u64::try_from(openings.len()).unwrap_or(u64::MAX);
        let at: Vec<String> = openings
            .iter()
            .take(SHOWN_MAX)
            .map(|at| self.clock(*at))
            .collect();
        (!(least..=most).contains(&count)).then(|| {
            format!(
                "{count} openings (at {}), expected {least} to {most}",
                at.join(", ")
            )
        })
    }

    fn journal(&self, want: &Want, entry: &Entry, [least, most]: [u64; 2]) -> Option<String> {
        let within = |at_ms: u64| (want.from_ms..=want.to_ms).contains(&at_ms);
        let events = self
            .played
            .records
            .events
            .iter()
            .filter(|(at_ms, _)| within(*at_ms));
        let found = events
            .clone()
            .filter(|(_, event)| is_match(event, entry))
            .count();
        let found = u64::try_from(found).unwrap_or(u64::MAX);
        if (least..=most).contains(&found) {
            return None;
        }
        let alike = events.filter(|(_, event)| text(event, "kind") == Some(&entry.kind));
        let shown: Vec<String> = alike
            .take(SHOWN_MAX)
            .map(|(at_ms, event)| format!("\n    {} {event}", self.clock(*at_ms)))
            .collect();
        let most = if most == u64::MAX {
            String::new()
        } else {
            format!(" to {most}")
        };
        let (from, to) = (self.clock(want.from_ms), self.clock(want.to_ms));
        Some(format!(
            "{found} such entries between {from} and {to}, expected {least}{most}; {} entries there:{}",
            entry.kind,
            if shown.is_empty() {
                " none".to_owned()
            } else {
                shown.concat()
            },
        ))
    }

    fn channel(
        &self,
        want: &Want,
        name: &str,
        [least, most]: [f64; 2],
        holds: Holds,
    ) -> Option<String> {
        let Some(samples) = self.played.records.samples.get(name) else {
            let known: Vec<&str> = self
                .played
                .records
                .channels
                .iter()
                .map(String::as_str)
                .collect();
            return Some(format!(
                "the journal has no {name}; it has {}",
                known.join(", ")
            ));
        };
        let before = samples
            .iter()
            .take_while(|(at_ms, _)| *at_ms <= want.from_ms)
            .last();
        let within = samples
            .iter()
            .filter(|(at_ms, _)| (want.from_ms + 1..=want.to_ms).contains(at_ms));
        let looked_at: Vec<&(u64, f64)> = if want.from_ms == want.to_ms {
            before.into_iter().collect()
        } else {
            within.collect()
        };
        let is_right = |value: f64| (least..=most).contains(&value);
        let wrong = match holds {
            _ if looked_at.is_empty() => return Some(format!("{name} had no good value then")),
            Holds::Always => looked_at.iter().find(|(_, value)| !is_right(*value)),
            Holds::Once if looked_at.iter().any(|(_, value)| is_right(*value)) => None,
            Holds::Once => looked_at.last(),
        };
        wrong.map(|(at_ms, value)| {
            format!(
                "{name} was {value} at {}, expected {least} to {most}",
                self.clock(*at_ms)
            )
        })
    }

    fn horn(&self, want: &Want, horn: Horn, switch: Switch, holds: Holds) -> Option<String> {
        let changes = self.played.horns.iter();
        let changes = changes.filter(|change| change.pin == horn.pin());
        let at_first = changes.clone().rfind(|change| change.at_ms <= want.from_ms);
        let at_first = at_first.is_some_and(|change| change.on);
        let within =
            changes.filter(|change| (want.from_ms + 1..=want.to_ms).contains(&change.at_ms));
        let within = within.map(|change| (change.at_ms, change.on));
        let mut states = [(want.from_ms, at_first)].into_iter().chain(within);
        let is_right = |on: bool| on == (switch == Switch::On);
        let (name, not) = match switch {
            Switch::On => (horn.name(), "off"),
            Switch::Off => (horn.name(), "on"),
        };
        match holds {
            Holds::Always => {
                let (at_ms, _) = states.find(|(_, on)| !is_right(*on))?;
                Some(format!("{name} was {not} at {}", self.clock(at_ms)))
            }
            Holds::Once => {
                let is_seen = states.any(|(_, on)| is_right(on));
                let (from, to) = (self.clock(want.from_ms), self.clock(want.to_ms));
                (!is_seen).then(|| format!("{name} was {not} from {from} to {to}"))
            }
        }
    }

    fn longest(
        &self,
        want: &Want,
        most_ms: u64,
        what: &str,
        is_so: impl Fn(&Stretch) -> bool,
    ) -> Option<String> {
        let (from_ms, to_ms) = self
            .lasting(want, is_so)
            .max_by_key(|(from, to)| to - from)?;
        let ms = to_ms - from_ms;
        (ms > most_ms).then(|| {
            let [ms, most] = [ms, most_ms].map(seconds);
            format!(
                "{what} for {ms} s from {}, expected at most {most} s",
                self.clock(from_ms)
            )
        })
    }

    /// Times in which something was so without a break.
    fn lasting(
        &self,
        want: &Want,
        is_so: impl Fn(&Stretch) -> bool,
    ) -> std::vec::IntoIter<(u64, u64)> {
        let mut times: Vec<(u64, u64)> = Vec::new();
        for stretch in self.stretches(want).filter(is_so) {
            match times.last_mut() {
                Some((_, to_ms)) if *to_ms == stretch.from_ms => *to_ms = stretch.to_ms,
                Some(_) | None => times.push((stretch.from_ms, stretch.to_ms)),
            }
        }
        times.into_iter()
    }

    /// What the switches said within the time of a want.
    fn stretches(&self, want: &Want) -> impl Iterator<Item = Stretch> {
        let (from_ms, to_ms) = (want.from_ms, want.to_ms);
        let changes = &self.played.changes;
        let ends = changes.iter().skip(1).map(|next| next.at_ns / 1_000_000);
        let ends = ends.chain([self.plan.length_ms]);
        changes
            .iter()
            .zip(ends)
            .filter_map(move |(change, end_ms)| {
                let begin_ms = change.at_ns / 1_000_000;
                let overlaps =
                    begin_ms <= to_ms && (end_ms > from_ms || end_ms == self.plan.length_ms);
                overlaps.then(|| Stretch {
                    from_ms: begin_ms.max(from_ms),
                    to_ms: end_ms.clamp(from_ms, to_ms),
                    open: change.open,
                    turns: change.turns && self.site.plant.pump.is_some(),
                    dry: change.dry,
                })
            })
    }

    fn zones_open(&self, stretch: &Stretch) -> u8 {
        let zones = (0..8).filter(|zone| self.site.plant.is_zone(*zone));
        stretch.open & zones.fold(0, |mask, zone| mask | 1 << zone)
    }

    fn given(&self, output: usize, at_ms: u64) -> f64 {
        let litres = self
            .played
            .given
            .get(&at_ms)
            .and_then(|given| given.get(output));
        litres.copied().unwrap_or_default()
    }

    /// A moment as people at the site read it.
    fn clock(&self, at_ms: u64) -> String {
        let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
        let at = Timestamp::from_millisecond(self.plan.start_unix_ms.saturating_add(at_ms));
        let Ok(at) = at else {
            return format!("{at_ms} ms");
        };
        at.to_zoned(self.site.time_zone.clone())
            .strftime("%d %b %H:%M:%S")
            .to_string()
    }
}

fn is_match(event: &Value, entry: &Entry) -> bool {
    let is = |key: &str, wanted: &Option<String>| {
        wanted
            .as_ref()
            .is_none_or(|wanted| text(event, key) == Some(wanted))
    };
    let has_text = entry
        .text
        .as_ref()
        .is_none_or(|wanted| event.to_string().contains(wanted));
    text(event, "kind") == Some(&entry.kind)
        && is("zone", &entry.zone)
        && is("rule", &entry.rule)
        && is("verdict", &entry.verdict)
        && has_text
}

fn text<'a>(event: &'a Value, key: &str) -> Option<&'a str> {
    event.get(key)?.as_str()
}

fn state(valve: Valve) -> &'static str {
    match valve {
        Valve::Open => "open",
        Valve::Closed => "closed",
    }
}

fn bit(mask: u8, place: usize) -> bool {
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    mask.checked_shr(place).unwrap_or_default() & 1 == 1
}

/// Milliseconds as seconds with one decimal.
fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}
