//! Alarms on site: which are raised, and whether siren and beacon are on.
//!
//! An alarm comes from a rule over a channel, by the state machine of [`furrow_alerts`] on the field
//! clock, or from a fault of the watering. The siren sounds while a critical alarm is raised that nobody has
//! silenced, each for a bounded time; the beacon is on while anything is raised that needs a person.
//!
//! This module drives no pin, writes no journal and does not know what a button is. Its state is not kept
//! through a restart: what is still wrong then is raised again, and sounds again.

mod fault;

use std::collections::{BTreeMap, VecDeque};

use furrow_alerts::{Condition, Interval, Machine, Rule, Sample, Severity, TransitionKind};

pub use self::fault::Fault;
use crate::FieldMs;

/// A silence lasts no longer than this, in milliseconds: half a day, the longest hold.
pub const SILENCE_MAX_MS: u64 = 12 * 3_600_000;
/// What the watering tells once and never takes back is raised for this long, in milliseconds: long
/// enough for somebody who comes by.
pub const TOLD_MS: u64 = 15 * 60_000;
/// Where no samples come at all, absence is looked at this often, in milliseconds.
const COVER_EVERY_MS: u64 = 10_000;

/// What is watched, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Rules over channels, in the order of the configuration.
    pub rules: Vec<Watch>,
    /// What a fault of the watering is worth, where that differs from [`Fault::severity`].
    pub severities: BTreeMap<Fault, Severity>,
    /// An alarm sounds no longer than this unless somebody silences it and it sounds again, in
    /// milliseconds.
    pub sound_ms: u64,
    /// How long a sample may be under way, in milliseconds: what is not there by then was not measured.
    pub late_ms: u64,
}

/// A rule over one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The channel's place in the catalog.
    pub channel: usize,
    /// What is wrong with its values, and for how long.
    pub rule: Rule,
    /// How much a person is disturbed.
    pub severity: Severity,
}

/// Where an alarm comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A rule, by its place in the plan.
    Rule(usize),
    /// A fault of the watering.
    Fault {
        /// Which.
        fault: Fault,
        /// The zone's place, if it is one zone's.
        zone: Option<usize>,
    },
}

/// An effect that the caller executes, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Drive siren and beacon so.
    Output(Output),
    /// Record what happened.
    Event(Event),
}

/// What is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Output {
    /// The siren.
    pub siren: bool,
    /// The beacon.
    pub beacon: bool,
}

/// An alarm changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// When.
    pub at: FieldMs,
    /// Which.
    pub source: Source,
    /// How.
    pub change: Change,
}

/// What happened to an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It is raised.
    Raised {
        /// How much a person is disturbed.
        severity: Severity,
        /// The value that decided, in the channel's unit; `None` for absence and faults.
        value: Option<f64>,
    },
    /// A person has silenced it.
    Silenced {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// It is over.
    Resolved,
}

/// A raised alarm, for people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Where it comes from.
    pub source: Source,
    /// How much a person is disturbed.
    pub severity: Severity,
    /// When it was raised.
    pub since: FieldMs,
    /// The value that raised it.
    pub value: Option<f64>,
    /// Whether it sounds.
    pub sound: Sound,
}

/// Whether a raised alarm sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// It does.
    Sounding {
        /// Until then at most.
        until: FieldMs,
    },
    /// A person has silenced it.
    Silenced {
        /// It sounds again then, if it is still raised.
        until: FieldMs,
    },
    /// It is not critical, or has sounded for long enough.
    Quiet,
}

/// See the module.
#[derive(Debug)]
pub struct Alarms {
    plan: Plan,
    from: FieldMs,
    machines: Vec<Machine>,
    raised: BTreeMap<Source, Raised>,
    /// Faults that are there, and since when; raised when they have lasted.
    faults: BTreeMap<Source, FieldMs>,
    output: Output,
    effects: VecDeque<Effect>,
    ignored_samples: u64,
}

#[derive(Debug, Clone, Copy)]
struct Raised {
    severity: Severity,
    since: FieldMs,
    value: Option<f64>,
    sound: Sound,
    /// It ends by itself then: nobody will say that it is over.
    until: Option<FieldMs>,
}

impl Alarms {
    /// Watches from `from` on, with nothing raised. The first effect switches everything off.
    #[must_use]
    pub fn new(plan: Plan, from: FieldMs) -> Self {
        Self {
            machines: vec![Machine::default(); plan.rules.len()],
            plan,
            from,
            raised: BTreeMap::new(),
            faults: BTreeMap::new(),
            output: Output::default(),
            effects: VecDeque::from([Effect::Output(Output::default())]),
            ignored_samples: 0,
        }
    }

    /// A channel has a sample of tick `at`; `good` is its value if its quality is good, `None` for every
    /// other quality. Samples that come behind a later one are ignored and counted.
    pub fn handle_sample(&mut self, channel: usize, at: FieldMs, good: Option<f64>, now: FieldMs) {
        let sample = Sample {
            at_ms: signed(at),
            good,
        };
        for place in 0..self.plan.rules.len() {
            let watch = self.plan.rules.get(place);
            if watch.is_some_and(|watch| watch.channel == channel) {
                self.cover(place, at.plus(1), &[sample], now);
            }
        }
        self.settle();
    }

    /// All faults of the watering that there are now.
    pub fn handle_faults(&mut self, there: &[(Fault, Option<usize>)], now: FieldMs) {
        let source = |(fault, zone): &(Fault, Option<usize>)| Source::Fault {
            fault: *fault,
            zone: *zone,
        };
        let gone: Vec<Source> = self
            .faults
            .keys()
            .filter(|known| !there.iter().any(|one| source(one) == **known))
            .copied()
            .collect();
        for source in gone {
            self.faults.remove(&source);
            self.resolve(source, now);
        }
        for one in there {
            self.faults.entry(source(one)).or_insert(now);
        }
        self.raise_faults(now);
        self.settle();
    }

    /// The watering tells of something whose end it never tells.
    pub fn handle_told(&mut self, fault: Fault, zone: Option<usize>, now: FieldMs) {
        let source = Source::Fault { fault, zone };
        self.raise(source, self.severity_of(fault), None, now, now);
        if let Some(raised) = self.raised.get_mut(&source) {
            raised.until = Some(now.plus(TOLD_MS));
        }
        self.settle();
    }

    /// A person silences what sounds, and what is silenced already: for `for_ms`, at most
    /// [`SILENCE_MAX_MS`]. Answers how many alarms that were.
    pub fn handle_silence(&mut self, for_ms: u64, now: FieldMs) -> usize {
        let for_ms = for_ms.min(SILENCE_MAX_MS);
        let mut silenced = Vec::new();
        for (source, raised) in &mut self.raised {
            match raised.sound {
                Sound::Sounding { .. } | Sound::Silenced { .. } => {
                    let until = now.plus(for_ms);
                    raised.sound = Sound::Silenced { until };
                    silenced.push(*source);
                }
                Sound::Quiet => {}
            }
        }
        for source in &silenced {
            self.tell(now, *source, Change::Silenced { for_ms });
        }
        self.settle();
        silenced.len()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: FieldMs) {
        for place in 0..self.plan.rules.len() {
            if self.cover_due(place).is_some_and(|due| due <= now) {
                let to = FieldMs(now.0.saturating_sub(self.plan.late_ms));
                self.cover(place, to, &[], now);
            }
        }
        self.raise_faults(now);
        let over = self.raised.iter();
        let over = over.filter(|(_, raised)| raised.until.is_some_and(|until| until <= now));
        let over: Vec<Source> = over.map(|(source, _)| *source).collect();
        for source in over {
            self.resolve(source, now);
        }
        let sound_ms = self.plan.sound_ms;
        for raised in self.raised.values_mut() {
            match raised.sound {
                Sound::Sounding { until } if until <= now => raised.sound = Sound::Quiet,
                Sound::Silenced { until } if until <= now => {
                    let until = now.plus(sound_ms);
                    raised.sound = Sound::Sounding { until };
                }
                Sound::Sounding { .. } | Sound::Silenced { .. } | Sound::Quiet => {}
            }
        }
        self.settle();
    }

    /// When [`Alarms::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<FieldMs> {
        let covers = (0..self.plan.rules.len()).filter_map(|place| self.cover_due(place));
        let faults = self.faults.iter().filter_map(|(source, since)| {
            let is_raised = self.raised.contains_key(source);
            (!is_raised).then(|| since.plus(for_ms_of(*source)))
        });
        let sounds = self.raised.values().filter_map(|raised| {
            let sound = match raised.sound {
                Sound::Sounding { until } | Sound::Silenced { until } => Some(until),
                Sound::Quiet => None,
            };
            sound.into_iter().chain(raised.until).min()
        });
        covers.chain(faults).chain(sounds).min()
    }

    /// The next effect.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What is on.
    #[must_use]
    pub fn output(&self) -> Output {
        self.output
    }

    /// What is raised, for people.
    pub fn raised(&self) -> impl Iterator<Item = View> {
        self.raised.iter().map(|(source, raised)| View {
            source: *source,
            severity: raised.severity,
            since: raised.since,
            value: raised.value,
            sound: raised.sound,
        })
    }

    /// Samples that came behind a later one, since the start.
    #[must_use]
    pub fn ignored_samples(&self) -> u64 {
        self.ignored_samples
    }

    /// A rule sees time up to `to`.
    fn cover(&mut self, place: usize, to: FieldMs, samples: &[Sample], now: FieldMs) {
        let from_ms = signed(self.from);
        let (Some(watch), Some(machine)) =
            (self.plan.rules.get(place), self.machines.get_mut(place))
        else {
            return;
        };
        let severity = watch.severity;
        let to_ms = signed(to);
        let interval = Interval { from_ms, to_ms };
        let outcome = machine.handle_interval(&watch.rule, interval, samples);
        self.ignored_samples += outcome.ignored_samples;
        let source = Source::Rule(place);
        for step in outcome.transitions {
            let at = FieldMs(u64::try_from(step.at_ms).unwrap_or_default());
            match step.kind {
                TransitionKind::Firing => self.raise(source, severity, step.value, at, now),
                TransitionKind::Resolved => self.resolve(source, at),
                TransitionKind::Pending | TransitionKind::Dropped => {}
            }
        }
    }

    /// When a rule about absence has to be told that nothing came.
    fn cover_due(&self, place: usize) -> Option<FieldMs> {
        let watch = self.plan.rules.get(place)?;
        let is_absence = watch.rule.condition() == Condition::Absent;
        let seen = self.machines.get(place)?.frontier_ms();
        // A frontier is never before what was seen first.
        let seen = seen.and_then(|ms| u64::try_from(ms).ok());
        let seen = seen.map_or(self.from, FieldMs);
        let is_raised = self.raised.contains_key(&Source::Rule(place));
        let due = seen.plus(self.plan.late_ms).plus(COVER_EVERY_MS);
        (is_absence && !is_raised).then_some(due)
    }

    fn raise_faults(&mut self, now: FieldMs) {
        let lasting = self.faults.iter();
        let lasting = lasting.filter(|(source, since)| now.since(**since) >= for_ms_of(**source));
        let lasting: Vec<Source> = lasting.map(|(source, _)| *source).collect();
        for source in lasting {
            if let Source::Fault { fault, .. } = source {
                self.raise(source, self.severity_of(fault), None, now, now);
            }
        }
    }

    /// Does nothing where it is raised already.
    fn raise(
        &mut self,
        source: Source,
        severity: Severity,
        value: Option<f64>,
        at: FieldMs,
        now: FieldMs,
    ) {
        if self.raised.contains_key(&source) {
            return;
        }
        let sound = match severity {
            Severity::Critical => Sound::Sounding {
                until: now.plus(self.plan.sound_ms),
            },
            Severity::Warning | Severity::Info => Sound::Quiet,
        };
        let raised = Raised {
            severity,
            since: at,
            value,
            sound,
            until: None,
        };
        self.raised.insert(source, raised);
        self.tell(at, source, Change::Raised { severity, value });
    }

    fn resolve(&mut self, source: Source, at: FieldMs) {
        if self.raised.remove(&source).is_some() {
            self.tell(at, source, Change::Resolved);
        }
    }

    fn severity_of(&self, fault: Fault) -> Severity {
        let written = self.plan.severities.get(&fault);
        written.copied().unwrap_or(fault.severity())
    }

    fn tell(&mut self, at: FieldMs, source: Source, change: Change) {
        self.effects
            .push_back(Effect::Event(Event { at, source, change }));
    }

    /// Siren and beacon follow from what is raised.
    fn settle(&mut self) {
        let mut output = Output::default();
        for raised in self.raised.values() {
            output.siren |= matches!(raised.sound, Sound::Sounding { .. });
            output.beacon |= raised.severity >= Severity::Warning;
        }
        if output != self.output {
            self.output = output;
            self.effects.push_back(Effect::Output(output));
        }
    }
}

fn for_ms_of(source: Source) -> u64 {
    match source {
        Source::Fault { fault, .. } => fault.for_ms(),
        Source::Rule(_) => 0,
    }
}

fn signed(at: FieldMs) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
