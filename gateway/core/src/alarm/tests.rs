use std::collections::BTreeMap;

use furrow_alerts::{Condition, Rule, Severity};
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const SOUND: u64 = 15 * MINUTE;

fn rule(condition: Condition, for_ms: u64, severity: Severity) -> Watch {
    Watch {
        channel: 0,
        rule: Rule::new(condition, for_ms).unwrap(),
        severity,
    }
}

fn plan() -> Plan {
    let hot = Condition::Above {
        limit: 38.0,
        clear: 36.0,
    };
    let cold = Condition::Below {
        limit: 10.0,
        clear: 12.0,
    };
    Plan {
        rules: vec![
            rule(hot, MINUTE, Severity::Critical),
            rule(cold, 0, Severity::Warning),
            Watch {
                channel: 1,
                ..rule(Condition::Absent, 5 * MINUTE, Severity::Critical)
            },
        ],
        severities: BTreeMap::from([(Fault::TankLow, Severity::Info)]),
        sound_ms: SOUND,
        late_ms: 40 * SECOND,
    }
}

/// A timeline: each step is looked at with everything that came out since the one before.
struct Timeline {
    alarms: Alarms,
    at_s: u64,
}

impl Timeline {
    /// Without the rule about absence.
    fn new() -> Self {
        let mut plan = plan();
        plan.rules.truncate(2);
        Self::of(plan)
    }

    fn of(plan: Plan) -> Self {
        let mut alarms = Alarms::new(plan, FieldMs(0));
        let off = Effect::Output(Output::default());
        assert_eq!(alarms.poll_effect(), Some(off));
        Self { alarms, at_s: 0 }
    }

    fn now(&self) -> FieldMs {
        FieldMs(self.at_s * SECOND)
    }

    /// Time passes; every timeout is served at its time.
    fn to(&mut self, at_s: u64) {
        let end = FieldMs(at_s * SECOND);
        while let Some(due) = self.alarms.poll_timeout().filter(|due| *due <= end) {
            self.alarms.handle_timeout(due.max(self.now()));
        }
        self.at_s = at_s;
    }

    fn value(&mut self, at_s: u64, value: Option<f64>) {
        self.to(at_s);
        self.alarms.handle_sample(0, self.now(), value, self.now());
        // The other one is well.
        self.alarms
            .handle_sample(1, self.now(), Some(0.0), self.now());
    }

    #[track_caller]
    fn expect(&mut self, expected: &str) {
        let mut told = Vec::new();
        while let Some(effect) = self.alarms.poll_effect() {
            told.push(match effect {
                Effect::Output(Output { siren, beacon }) => {
                    let on = |is_on| if is_on { "on" } else { "off" };
                    format!("siren {} beacon {}", on(siren), on(beacon))
                }
                Effect::Event(Event { at, source, change }) => {
                    let source = match source {
                        Source::Rule(place) => format!("rule {place}"),
                        Source::Fault { fault, zone: None } => fault.name().to_owned(),
                        Source::Fault {
                            fault,
                            zone: Some(zone),
                        } => format!("{} {zone}", fault.name()),
                    };
                    let change = match change {
                        Change::Raised { value, .. } => format!("raised {value:?}"),
                        Change::Silenced { for_ms } => format!("silenced {}", for_ms / SECOND),
                        Change::Resolved => "resolved".to_owned(),
                    };
                    format!("{} {source} {change}", at.0 / SECOND)
                }
            });
        }
        assert_eq!(told.join("; "), expected);
    }
}

#[test]
fn heat_sounds_is_silenced_and_comes_back() {
    let mut line = Timeline::new();
    line.value(0, Some(39.0));
    line.value(50, Some(39.5));
    line.expect("");
    line.value(60, Some(40.0));
    line.expect("60 rule 0 raised Some(40.0); siren on beacon on");
    assert_eq!(line.alarms.handle_silence(10 * MINUTE, line.now()), 1);
    line.expect("60 rule 0 silenced 600; siren off beacon on");
    // Still hot after the silence: it sounds again.
    line.value(659, Some(40.0));
    line.expect("");
    line.value(661, Some(40.0));
    line.expect("siren on beacon on");
    // Below the limit is not over; at the clear threshold it is.
    line.value(670, Some(37.0));
    line.expect("");
    line.value(680, Some(36.0));
    line.expect("680 rule 0 resolved; siren off beacon off");
    // The silence went with it.
    line.value(690, Some(39.0));
    line.value(750, Some(39.0));
    line.expect("750 rule 0 raised Some(39.0); siren on beacon on");
}

#[test]
fn another_alarm_sounds_beside_a_silenced_one() {
    let mut line = Timeline::new();
    let (leak, burst) = ((Fault::Leak, None), (Fault::Burst, Some(2)));
    line.alarms.handle_faults(&[leak], line.now());
    line.expect("0 leak raised None; siren on beacon on");
    line.alarms.handle_silence(MINUTE, line.now());
    line.expect("0 leak silenced 60; siren off beacon on");
    line.to(10);
    line.alarms.handle_faults(&[leak, burst], line.now());
    line.expect("10 burst 2 raised None; siren on beacon on");
    line.to(20);
    line.alarms.handle_faults(&[], line.now());
    line.expect("20 burst 2 resolved; 20 leak resolved; siren off beacon off");
    assert_eq!(line.alarms.handle_silence(MINUTE, line.now()), 0);
    line.expect("");
}

#[test]
fn it_sounds_for_a_bounded_time_and_the_beacon_stays() {
    let mut line = Timeline::new();
    line.alarms
        .handle_faults(&[(Fault::Burst, Some(0))], line.now());
    line.expect("0 burst 0 raised None; siren on beacon on");
    line.to(SOUND / SECOND - 1);
    line.expect("");
    line.to(SOUND / SECOND);
    line.expect("siren off beacon on");
    line.to(86_400);
    line.expect("");
    assert_eq!(line.alarms.raised().count(), 1);
}

#[test]
fn severities_decide_what_is_driven() {
    let mut line = Timeline::new();
    line.value(0, Some(9.0));
    line.expect("0 rule 1 raised Some(9.0); siren off beacon on");
    line.value(10, Some(12.0));
    line.expect("10 rule 1 resolved; siren off beacon off");
    // The configuration says that this one is only for people who look.
    line.alarms
        .handle_faults(&[(Fault::TankLow, None)], line.now());
    line.to(69);
    line.expect("");
    line.to(70);
    line.expect("70 tank-low raised None");
    assert_eq!(line.alarms.handle_silence(MINUTE, line.now()), 0);
}

#[test]
fn a_fault_that_does_not_last_is_no_alarm() {
    let mut line = Timeline::new();
    line.alarms
        .handle_faults(&[(Fault::TankEmpty, None)], line.now());
    line.to(59);
    line.alarms.handle_faults(&[], line.now());
    line.to(600);
    line.expect("");
}

#[test]
fn what_has_no_end_ends_by_itself() {
    let mut line = Timeline::new();
    line.alarms.handle_told(Fault::Watched, Some(1), line.now());
    line.expect("0 watched 1 raised None; siren off beacon on");
    line.to(600);
    line.alarms.handle_told(Fault::Watched, Some(1), line.now());
    line.to(1_499);
    line.expect("");
    line.to(1_500);
    line.expect("1500 watched 1 resolved; siren off beacon off");
}

#[test]
fn only_good_values_count_and_their_absence_does() {
    let mut line = Timeline::of(plan());
    // Failed and suspect samples say nothing about heat.
    for second in (0..300).step_by(10) {
        line.value(second, None);
    }
    line.expect("");
    // No samples at all of channel 1 from 290 s on: 5 min of absence, seen 40 s later and a look behind.
    line.to(290 + 300 + 40);
    line.expect("");
    line.to(290 + 300 + 40 + 10);
    line.expect("590 rule 2 raised None; siren on beacon on");
    // A bad one does not end it.
    line.alarms.handle_sample(1, line.now(), None, line.now());
    line.expect("");
    line.to(650);
    line.alarms
        .handle_sample(1, line.now(), Some(1.0), line.now());
    line.expect("650 rule 2 resolved; siren off beacon off");
    // What comes behind is ignored.
    line.alarms
        .handle_sample(1, FieldMs(0), Some(1.0), line.now());
    assert_eq!(line.alarms.ignored_samples(), 1);
}

#[test]
fn failing_samples_are_covered_time() {
    let mut line = Timeline::of(plan());
    for second in (0..=310).step_by(10) {
        line.to(second);
        line.alarms.handle_sample(1, line.now(), None, line.now());
    }
    line.expect("300 rule 2 raised None; siren on beacon on");
}

#[derive(Debug, Clone)]
enum Step {
    Value(Option<f64>),
    Faults(Vec<bool>),
    Told,
    Silence(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        (0.0..50.0_f64).prop_map(Some)
    ];
    let step = prop_oneof![
        4 => value.prop_map(Step::Value),
        1 => prop::collection::vec(any::<bool>(), Fault::ALL.len()).prop_map(Step::Faults),
        1 => Just(Step::Told),
        1 => (0..2 * SILENCE_MAX_MS).prop_map(Step::Silence),
        4 => (1..30 * MINUTE).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn whatever_happens(steps in steps()) {
        let mut line = Timeline::of(plan());
        let mut now = FieldMs(0);
        let mut raised: BTreeMap<Source, Severity> = BTreeMap::new();
        let mut driven = Output::default();
        for step in steps {
            match &step {
                Step::Value(value) => line.alarms.handle_sample(0, now, *value, now),
                Step::Faults(there) => {
                    let there = Fault::ALL.iter().zip(there).filter(|(_, there)| **there);
                    let there: Vec<_> = there.map(|(fault, _)| (*fault, None)).collect();
                    line.alarms.handle_faults(&there, now);
                }
                Step::Told => line.alarms.handle_told(Fault::Watched, None, now),
                Step::Silence(for_ms) => {
                    line.alarms.handle_silence(*for_ms, now);
                    // Nothing sounds behind a silence that lasts.
                    prop_assert!(!line.alarms.output().siren);
                }
                Step::Wait(ms) => {
                    let end = now.plus(*ms);
                    let mut served = 0;
                    while let Some(due) = line.alarms.poll_timeout().filter(|due| *due <= end) {
                        now = due.max(now);
                        line.alarms.handle_timeout(now);
                        served += 1;
                        prop_assert!(served < 2_000, "it spins at {now:?}");
                    }
                    now = end;
                }
            }
            while let Some(effect) = line.alarms.poll_effect() {
                match effect {
                    Effect::Output(output) => {
                        prop_assert_ne!(output, driven, "nothing changed");
                        driven = output;
                    }
                    Effect::Event(Event { source, change, .. }) => match change {
                        Change::Raised { severity, value } => {
                            prop_assert!(value.is_none_or(|value| !value.is_nan()));
                            prop_assert_eq!(raised.insert(source, severity), None);
                        }
                        Change::Silenced { for_ms } => {
                            prop_assert!(for_ms <= SILENCE_MAX_MS);
                            prop_assert_eq!(raised.get(&source), Some(&Severity::Critical));
                        }
                        Change::Resolved => prop_assert!(raised.remove(&source).is_some()),
                    },
                }
            }
            // What was told is what is, and what is driven follows from it.
            prop_assert_eq!(driven, line.alarms.output());
            let views: BTreeMap<Source, Severity> =
                line.alarms.raised().map(|view| (view.source, view.severity)).collect();
            prop_assert_eq!(&views, &raised);
            let needs = raised.values().any(|severity| *severity >= Severity::Warning);
            prop_assert_eq!(driven.beacon, needs);
            let sounds = line.alarms.raised().any(|view| {
                let sounds = matches!(view.sound, Sound::Sounding { until } if until > now);
                sounds && view.severity == Severity::Critical
            });
            prop_assert_eq!(driven.siren, sounds);
            // Every sound and every silence has an end.
            for view in line.alarms.raised() {
                match view.sound {
                    Sound::Sounding { until } => prop_assert!(until <= now.plus(SOUND)),
                    Sound::Silenced { until } => prop_assert!(until <= now.plus(SILENCE_MAX_MS)),
                    Sound::Quiet => {}
                }
            }
            // When time has passed nothing is overdue.
            if matches!(step, Step::Wait(_)) {
                prop_assert!(line.alarms.poll_timeout().is_none_or(|due| due > now));
            }
        }
    }
}
