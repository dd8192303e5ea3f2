//! The guard against a model of its hardware: whatever is asked for and whatever fails, water stops.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use furrow_irrigation::guard::{
    CEILING_MS, Command, Guard, LATE_MS, PAUSE_MS, REST_MS, RETRY_MS, Refusal, Seen, UNSAFE_MS,
};
use proptest::prelude::*;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60_000;
const OUTPUTS: [u8; 2] = [1, 7];

/// Two relays that can be made to fail.
#[derive(Debug, Default, Clone, Copy)]
struct Relay {
    on: bool,
    /// Writes are lost, and said to be.
    deaf: bool,
    /// It does not answer when it is read.
    mute: bool,
    /// Its contact sticks: it stays on once it is.
    welded: bool,
    /// Since when it is on.
    on_since: Option<u64>,
    /// Until when the last granted lease runs.
    leased_until: u64,
    /// Since when it works (again).
    healed_at: u64,
}

struct Bench {
    guard: Guard,
    relays: [Relay; 2],
    now: u64,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            guard: Guard::new(&OUTPUTS, 0),
            relays: Default::default(),
            now: 0,
        };
        // The board was left on.
        bench.relays[0].on = true;
        bench.relays[0].on_since = Some(0);
        bench.execute();
        bench
    }

    fn execute(&mut self) {
        while let Some(command) = self.guard.poll_command() {
            match command {
                Command::Write { output, on } => {
                    let relay = self.relay(output);
                    let done = !relay.deaf;
                    if done {
                        relay.on = on || relay.on && relay.welded;
                    }
                    let (is_on, now) = (relay.on, self.now);
                    let relay = self.relay(output);
                    relay.on_since = is_on.then(|| relay.on_since.unwrap_or(now));
                    self.guard.handle_written(output, on, done, now);
                }
                Command::ReadBack { output } => {
                    let relay = *self.relay(output);
                    let seen = Seen {
                        on: relay.on,
                        agrees: true,
                    };
                    let seen = (!relay.mute).then_some(seen);
                    self.guard.handle_read_back(output, seen, self.now);
                }
            }
        }
    }

    fn relay(&mut self, output: u8) -> &mut Relay {
        &mut self.relays[usize::from(output != OUTPUTS[0])]
    }

    fn lease(&mut self, output: u8, seconds: u16, late: u64) -> Result<(), Refusal> {
        let (asked, now) = (self.now.saturating_sub(late), self.now);
        let granted = self.guard.handle_lease(output, seconds, asked, now);
        if seconds == 0 {
            self.relay(output).leased_until = 0;
        } else if granted.is_ok() {
            self.relay(output).leased_until = asked + u64::from(seconds) * SECOND;
        }
        self.execute();
        granted?;
        match seconds {
            0 => Ok(()),
            _ => self.guard.check_granted(output),
        }
    }

    /// As a shell would: sleeps until the timeout, no longer.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let due = self.guard.poll_timeout();
            assert!(due > self.now, "a timeout that has passed: {due}");
            if due > end {
                break;
            }
            self.now = due;
            self.guard.handle_timeout(due);
            self.execute();
            self.check();
        }
        self.now = end;
        self.check();
    }

    /// Renews an output for as long as it is granted.
    fn hold(&mut self, output: u8, ms: u64) {
        let end = self.now + ms;
        while self.now < end && self.lease(output, 300, 0).is_ok() {
            self.pass((100 * SECOND).min(end - self.now));
        }
    }

    fn heal(&mut self, which: usize) {
        let relay = &mut self.relays[which];
        (relay.deaf, relay.mute, relay.welded) = (false, false, false);
        relay.healed_at = self.now.max(1);
    }

    #[track_caller]
    fn check(&self) {
        let due = self.guard.poll_timeout();
        for relay in self.relays {
            let fails = relay.deaf || relay.welded;
            let Some(since) = relay.on_since else {
                continue;
            };
            if fails {
                // Nothing can be done but to try again, soon.
                let overdue = self.now >= relay.leased_until;
                assert!(!overdue || due <= self.now + RETRY_MS, "given up");
                continue;
            }
            // After a failure the next try is at most RETRY_MS away.
            let retry = if relay.healed_at > 0 { RETRY_MS } else { 0 };
            let until = relay.leased_until.max(relay.healed_at) + retry;
            assert!(self.now < until, "on at {} past {until}", self.now);
            let until = (since + CEILING_MS).max(relay.healed_at) + retry;
            assert!(self.now <= until, "on since {since}");
        }
    }

    fn is_on(&self) -> [bool; 2] {
        self.relays.map(|relay| relay.on)
    }
}

#[test]
fn every_output_is_off_at_the_start() {
    let mut bench = Bench::new();
    assert_eq!(bench.is_on(), [false; 2]);
    assert!(bench.guard.is_shut() && bench.guard.may_supply(0));
    let status = bench.guard.status(1, 0).unwrap();
    assert!(status.was_reset && !status.commanded && !status.fault);
    bench.guard.handle_clear(1);
    assert!(!bench.guard.status(1, 0).unwrap().was_reset);
    assert!(bench.guard.status(7, 0).unwrap().was_reset);
    assert_eq!(bench.guard.status(2, 0), None);
}

#[test]
fn a_lease_counts_from_when_it_was_asked_for() {
    let mut bench = Bench::new();
    bench.pass(MINUTE);
    bench.lease(1, 6, 2 * SECOND).unwrap();
    let status = bench.guard.status(1, bench.now).unwrap();
    assert!(status.commanded && status.confirmed && !status.fault);
    assert_eq!(status.left_ms, 4 * SECOND);
    bench.pass(4 * SECOND - 1);
    assert_eq!(bench.is_on(), [true, false]);
    bench.pass(1);
    assert_eq!(bench.is_on(), [false, false]);
    assert!(bench.guard.status(1, bench.now).unwrap().lease_ran_out);
    assert!(!bench.guard.status(7, bench.now).unwrap().lease_ran_out);
}

#[test]
fn what_is_not_allowed_changes_nothing() {
    let mut bench = Bench::new();
    bench.pass(MINUTE);
    let late_ms = LATE_MS + 1;
    let table = [
        (2, 30, 0, Refusal::NoSuchOutput { output: 2 }),
        (1, 301, 0, Refusal::TooLong { seconds: 301 }),
        (1, 300, late_ms, Refusal::Late { late_ms }),
        (1, 1, 1_000, Refusal::Late { late_ms: 1_000 }),
    ];
    for (output, seconds, late, refusal) in table {
        assert_eq!(bench.lease(output, seconds, late), Err(refusal));
        assert_eq!(bench.is_on(), [false; 2]);
    }
    // A close is never too late.
    bench.lease(1, 30, 0).unwrap();
    bench.lease(1, 0, MINUTE).unwrap();
    assert_eq!(bench.is_on(), [false; 2]);
}

#[test]
fn the_ceiling_closes_and_short_pauses_do_not_get_round_it() {
    let mut bench = Bench::new();
    bench.hold(7, CEILING_MS + MINUTE);
    assert_eq!(bench.now / MINUTE, CEILING_MS / MINUTE);
    assert_eq!(bench.is_on(), [false; 2]);
    assert!(bench.guard.status(7, bench.now).unwrap().ceiling_reached);
    let left_ms = bench.guard.handle_lease(7, 30, bench.now, bench.now);
    assert!(matches!(left_ms, Err(Refusal::Resting { left_ms }) if left_ms <= REST_MS));
    bench.pass(REST_MS);
    let began = bench.now;
    // On for ten minutes, off for half of one: counted as one opening.
    for _ in 0..40 {
        bench.hold(7, 10 * MINUTE);
        bench.lease(7, 0, 0).unwrap();
        bench.pass(PAUSE_MS / 2);
    }
    assert!(bench.now - began > CEILING_MS);
    assert!(bench.guard.status(7, bench.now).unwrap().ceiling_reached);
}

#[test]
fn a_relay_that_does_not_close_is_told_again_and_takes_the_supply_away() {
    let mut bench = Bench::new();
    bench.lease(1, 6, 0).unwrap();
    bench.relays[0].welded = true;
    bench.pass(6 * SECOND + UNSAFE_MS - 1);
    assert!(bench.guard.may_supply(bench.now));
    assert!(bench.guard.status(1, bench.now).unwrap().fault);
    bench.pass(1);
    assert!(!bench.guard.may_supply(bench.now));
    assert_eq!(bench.lease(1, 6, 0), Err(Refusal::NotClosed));
    bench.relays[0].welded = false;
    bench.pass(RETRY_MS);
    assert_eq!(bench.is_on(), [false; 2]);
    assert!(bench.guard.may_supply(bench.now));
    assert!(!bench.guard.status(1, bench.now).unwrap().fault);
    bench.lease(1, 6, 0).unwrap();
}

#[test]
fn a_write_that_fails_is_no_lease_and_is_taken_back() {
    let mut bench = Bench::new();
    bench.relays[1].deaf = true;
    assert_eq!(bench.lease(7, 30, 0), Err(Refusal::Failed));
    let status = bench.guard.status(7, bench.now).unwrap();
    assert!(!status.commanded && status.fault);
    bench.relays[1].deaf = false;
    bench.pass(RETRY_MS);
    assert!(!bench.guard.status(7, bench.now).unwrap().fault);
}

#[test]
fn a_closed_output_that_can_not_be_read_does_not_stop_the_others() {
    let mut bench = Bench::new();
    bench.relays[1].mute = true;
    bench.pass(10 * SECOND);
    assert!(bench.guard.status(7, bench.now).unwrap().fault);
    assert!(bench.guard.may_supply(bench.now));
    bench.lease(1, 30, 0).unwrap();
    // But an open one that can't be read after it was closed does.
    bench.relays[0].mute = true;
    bench.pass(30 * SECOND + UNSAFE_MS);
    assert!(!bench.guard.may_supply(bench.now));
}

#[test]
fn an_output_that_comes_on_by_itself_is_switched_off() {
    let mut bench = Bench::new();
    bench.relays[0].on = true;
    let pass = bench.guard.poll_timeout() - bench.now;
    bench.pass(pass);
    assert_eq!(bench.is_on(), [false; 2]);
}

#[derive(Debug, Clone)]
enum Step {
    Lease {
        which: usize,
        seconds: u16,
        late: u64,
    },
    Close {
        which: usize,
    },
    Hold {
        which: usize,
        ms: u64,
    },
    Pass {
        ms: u64,
    },
    Fail {
        which: usize,
        how: u8,
    },
    Heal {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..2_usize;
    let late = prop_oneof![3 => Just(0), 1 => 0..2 * LATE_MS];
    let pass = prop_oneof![0..2 * SECOND, 0..10 * MINUTE];
    prop_oneof![
        4 => (which.clone(), 0..320_u16, late)
            .prop_map(|(which, seconds, late)| Step::Lease { which, seconds, late }),
        1 => which.clone().prop_map(|which| Step::Close { which }),
        1 => (which.clone(), 0..5 * 60 * MINUTE).prop_map(|(which, ms)| Step::Hold { which, ms }),
        4 => pass.prop_map(|ms| Step::Pass { ms }),
        1 => (which.clone(), 0..3_u8).prop_map(|(which, how)| Step::Fail { which, how }),
        2 => which.prop_map(|which| Step::Heal { which }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The bench asserts at every wake-up that no output is on past its lease or the ceiling.
    #[test]
    fn no_sequence_leaves_an_output_on(steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new();
        for step in steps {
            match step {
                Step::Lease { which, seconds, late } => {
                    bench.lease(OUTPUTS[which], seconds, late).ok();
                }
                Step::Close { which } => bench.lease(OUTPUTS[which], 0, 0).unwrap(),
                Step::Hold { which, ms } => bench.hold(OUTPUTS[which], ms),
                Step::Pass { ms } => bench.pass(ms),
                Step::Fail { which, how } => match how {
                    0 => bench.relays[which].deaf = true,
                    1 => bench.relays[which].mute = true,
                    _ => bench.relays[which].welded = true,
                },
                Step::Heal { which } => {
                    bench.heal(which);
                    // What was due while it failed comes at the next try.
                    bench.pass(RETRY_MS);
                }
            }
        }
        // In the end, with hardware that works, everything is off.
        for which in 0..2 {
            bench.heal(which);
        }
        bench.pass(RETRY_MS);
        bench.pass(301 * SECOND);
        prop_assert_eq!(bench.is_on(), [false; 2]);
        prop_assert!(bench.guard.is_shut());
    }
}
