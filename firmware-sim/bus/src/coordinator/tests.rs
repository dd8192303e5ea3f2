use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// A coordinator with a real clock that is moved by hand.
struct Timeline {
    coordinator: Coordinator,
    start: Instant,
    real_ms: u64,
    woken: Arc<Count>,
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

const LOCK_STEP: TimeState = TimeState {
    boot: 1,
    mono_ns: 0,
    wall_offset_ms: Some(1_000),
    flow: Flow::LockStep,
};

impl Timeline {
    fn new(state: TimeState) -> Self {
        let start = Instant::now();
        Self {
            coordinator: Coordinator::new(state, start),
            start,
            real_ms: 0,
            woken: Arc::default(),
        }
    }

    fn real(&self) -> Instant {
        self.start + Duration::from_millis(self.real_ms)
    }

    /// Asserts what is sent and how many tasks are woken.
    fn check(&mut self, effects: Effects, send: Option<Request>, woken: usize) {
        assert_eq!(effects.send, send);
        assert_eq!(effects.wake.len(), woken);
        for waker in effects.wake {
            waker.wake();
        }
    }

    fn take(&mut self, send: Option<Request>, held: bool) {
        let effects = self.coordinator.take_token();
        self.check(effects, send, 0);
        assert_eq!(self.coordinator.is_held(), held);
    }

    /// Starts a wait with a token that is at hand, and polls it once.
    fn wait(&mut self, deadline_ns: u64, send: Option<Request>) -> WaitId {
        let real = self.real();
        let (id, effects) = self.coordinator.begin_wait(deadline_ns, real).unwrap();
        self.check(effects, send, 0);
        self.poll(deadline_ns, id, Poll::Pending);
        id
    }

    fn poll(&mut self, deadline_ns: u64, id: WaitId, expected: Poll) {
        let waker = Waker::from(Arc::clone(&self.woken));
        assert_eq!(
            self.coordinator.poll_wait(deadline_ns, id, &waker),
            expected
        );
    }

    fn woken(&mut self, seq: u32, mono_ns: u64, send: Option<Request>, woken: usize) {
        let effects = self.coordinator.handle_woken(seq, mono_ns);
        self.check(effects, send, woken);
    }

    fn now_ns(&mut self) -> u64 {
        let real = self.real();
        self.coordinator.now(real).mono_ns
    }
}

#[allow(clippy::unnecessary_wraps, reason = "written where None may stand too")]
fn wait(seq: u32, deadline_ns: u64) -> Option<Request> {
    Some(Request::Wait { seq, deadline_ns })
}

#[allow(clippy::unnecessary_wraps, reason = "written where None may stand too")]
fn hold(seq: u32) -> Option<Request> {
    Some(Request::Hold { seq })
}

#[test]
fn only_the_last_token_declares_the_earliest_deadline() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    t.take(None, true);
    let late = t.wait(20, None);
    let early = t.wait(10, wait(1, 10));
    assert!(!t.coordinator.is_held());
    t.woken(1, 10, None, 1);
    assert!(t.coordinator.is_held());
    assert_eq!(t.now_ns(), 10);
    t.poll(20, late, Poll::Pending);
    // The token of the wait that fired holds time; giving it back lets it pass.
    t.poll(10, early, Poll::Fired);
    let effects = t.coordinator.drop_token();
    t.check(effects, wait(2, 20), 0);
    t.woken(2, 20, None, 1);
    t.poll(20, late, Poll::Fired);
    // Nothing to wait for: time stands still.
    let effects = t.coordinator.drop_token();
    t.check(effects, None, 0);
    assert!(t.coordinator.is_held());
}

#[test]
fn deadlines_at_one_time_fire_together() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    t.take(None, true);
    let a = t.wait(10, None);
    let b = t.wait(10, wait(1, 10));
    t.woken(1, 10, None, 2);
    t.poll(10, b, Poll::Fired);
    t.poll(10, a, Poll::Fired);
    let effects = t.coordinator.drop_token();
    t.check(effects, None, 0);
}

#[test]
fn a_token_during_a_wait_is_in_force_when_the_simulator_says_so() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    let id = t.wait(100, wait(1, 100));
    t.take(hold(2), false);
    // The token came back before the answer: nothing is said until that arrives.
    let effects = t.coordinator.drop_token();
    t.check(effects, None, 0);
    t.take(None, false);
    let effects = t.coordinator.handle_held(2, 40);
    t.check(effects, None, 0);
    assert!(t.coordinator.is_held());
    assert_eq!(t.now_ns(), 40);
    let effects = t.coordinator.drop_token();
    t.check(effects, wait(3, 100), 0);
    t.woken(3, 100, None, 1);
    t.poll(100, id, Poll::Fired);
}

#[test]
fn a_wake_that_crosses_a_hold_fires_with_the_answer_to_the_hold() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    let id = t.wait(100, wait(1, 100));
    t.take(hold(2), false);
    t.woken(1, 100, None, 0);
    assert!(!t.coordinator.is_held());
    assert_eq!(t.now_ns(), 100);
    let effects = t.coordinator.handle_held(2, 100);
    t.check(effects, None, 1);
    t.poll(100, id, Poll::Fired);
}

#[test]
fn withdrawing_moves_or_takes_back_the_deadline() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    t.take(None, true);
    let late = t.wait(20, None);
    let early = t.wait(10, wait(1, 10));
    let effects = t.coordinator.cancel_wait(10, early);
    t.check(effects, wait(2, 20), 0);
    // The simulator had woken us for the old deadline before it heard of the new one.
    t.woken(1, 10, None, 0);
    assert_eq!(t.now_ns(), 10);
    let effects = t.coordinator.cancel_wait(20, late);
    t.check(effects, hold(3), 0);
    let effects = t.coordinator.handle_held(3, 15);
    t.check(effects, None, 0);
    assert!(t.coordinator.is_held());
}

#[test]
fn withdrawing_a_wait_that_fired_gives_its_token_back() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    t.take(None, true);
    let a = t.wait(10, None);
    t.wait(20, wait(1, 10));
    t.woken(1, 10, None, 1);
    let effects = t.coordinator.cancel_wait(10, a);
    t.check(effects, wait(2, 20), 0);
}

#[test]
fn a_deadline_that_has_passed_keeps_the_token() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    let real = t.real();
    assert!(t.coordinator.begin_wait(0, real).is_none());
}

#[test]
fn free_running_time_follows_the_real_clock_and_says_nothing() {
    let mut t = Timeline::new(TimeState {
        flow: Flow::Free {
            speed_permille: 60_000,
        },
        ..LOCK_STEP
    });
    t.take(None, true);
    t.take(None, true);
    let id = t.wait(60_000_000_000, None);
    let real = t.real();
    assert_eq!(
        t.coordinator.poll_timeout(real),
        Some(Duration::from_secs(1))
    );
    t.real_ms = 999;
    let real = t.real();
    let effects = t.coordinator.handle_timeout(real);
    t.check(effects, None, 0);
    assert_eq!(t.now_ns(), 59_940_000_000);
    t.real_ms = 1_000;
    let real = t.real();
    let effects = t.coordinator.handle_timeout(real);
    t.check(effects, None, 1);
    t.poll(60_000_000_000, id, Poll::Fired);
    assert_eq!(
        t.coordinator.now(real),
        FieldTime {
            boot: 1,
            mono_ns: 60_000_000_000,
            wall_unix_ms: Some(61_000),
        }
    );
    assert_eq!(t.coordinator.poll_timeout(real), None);
}

#[test]
fn catching_up_turns_waits_into_timers() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    let id = t.wait(5_000_000_000, wait(1, 5_000_000_000));
    let state = TimeState {
        mono_ns: 3_000_000_000,
        wall_offset_ms: None,
        flow: Flow::Free {
            speed_permille: 1_000,
        },
        ..LOCK_STEP
    };
    let real = t.real();
    let effects = t.coordinator.handle_time(state, real);
    t.check(effects, None, 0);
    assert!(t.coordinator.is_held());
    assert_eq!(t.coordinator.now(real).wall_unix_ms, None);
    assert_eq!(
        t.coordinator.poll_timeout(real),
        Some(Duration::from_secs(2))
    );
    t.real_ms = 2_000;
    let real = t.real();
    let effects = t.coordinator.handle_timeout(real);
    t.check(effects, None, 1);
    t.poll(5_000_000_000, id, Poll::Fired);
}

#[test]
fn time_never_goes_back() {
    let mut t = Timeline::new(TimeState {
        flow: Flow::Free {
            speed_permille: 1_000,
        },
        ..LOCK_STEP
    });
    t.real_ms = 500;
    assert_eq!(t.now_ns(), 500_000_000);
    let real = t.real();
    // Sent at 499 ms, underway for 1 ms.
    let state = TimeState {
        mono_ns: 499_000_000,
        ..t.coordinator.state
    };
    let effects = t.coordinator.handle_time(state, real);
    t.check(effects, None, 0);
    assert_eq!(t.now_ns(), 500_000_000);
}

#[test]
fn at_the_end_every_wait_returns() {
    let mut t = Timeline::new(LOCK_STEP);
    t.take(None, true);
    let id = t.wait(100, wait(1, 100));
    let waker = Waker::from(Arc::clone(&t.woken));
    t.coordinator.poll_end(None, &waker);
    let end = End::Finished("last row".into());
    let effects = t.coordinator.handle_end(end.clone(), Some(50));
    t.check(effects, None, 2);
    t.poll(100, id, Poll::Fired);
    assert_eq!(t.coordinator.end(), Some(&end));
    assert_eq!(t.now_ns(), 50);
    let real = t.real();
    assert!(t.coordinator.begin_wait(200, real).is_none());
    // A later loss of the connection does not change why it ended.
    let effects = t.coordinator.handle_end(End::Lost("gone".into()), None);
    t.check(effects, None, 0);
    assert_eq!(t.coordinator.end(), Some(&end));
}
