//! Simulated time over real sockets: lock-step with several clients, killed clients, catching up, the end.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use furrow_sim::Mode;
use furrow_sim::faults::Fault;
use furrow_sim_bus::{End, RemoteBus};
use support::{
    LOCK_STEP, NOON_MS, OPEN_FOR_30_S, SECOND, connect, fault, options, start, status, within,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Samples a chip in a simulated half hour; every answer with its time.
fn sample(bus: &RemoteBus, address: u8, every_s: u64) -> Vec<(u64, Vec<u8>)> {
    let clock = bus.clock();
    let mut i2c = bus.i2c(1);
    let mut delay = clock.delay();
    let mut answers = Vec::new();
    let mut busy = clock.busy();
    for tick in 1..=1_800 / every_s {
        busy = clock.wait_until(tick * every_s * SECOND, busy);
        delay.carry(busy);
        i2c.write(address, &[0xFD]).unwrap();
        delay.delay_us(8_300);
        let mut bytes = vec![0; 6];
        i2c.read(address, &mut bytes).unwrap();
        answers.push((clock.now().mono_ns, bytes));
        busy = delay.release().unwrap();
    }
    // Both stay until the other is done: a client that is connected and idle holds time.
    drop(clock.wait_until(2_000 * SECOND, busy));
    answers
}

#[test]
fn lock_step_with_two_clients_repeats_bit_for_bit() {
    let run = |seed| {
        within(LIMIT, move || {
            let mut options = options(LOCK_STEP);
            options.clients_min = 2;
            options.setup.seed = seed;
            let simulator = start(options);
            let inside = connect(&simulator, "inside");
            let outside = connect(&simulator, "outside");
            let other = thread::spawn(move || sample(&outside, 0x45, 7));
            let inside = sample(&inside, 0x44, 10);
            (inside, other.join().unwrap())
        })
    };
    let (inside, outside) = run(1);
    assert_eq!((inside.len(), outside.len()), (180, 257));
    assert_eq!(inside[0].0, 10 * SECOND + 8_300_000);
    assert_eq!((inside.clone(), outside), run(1));
    assert_ne!(inside, run(2).0);
}

#[test]
fn time_stands_while_a_client_is_busy_and_runs_when_it_is_killed() {
    within(LIMIT, || {
        let simulator = start(options(LOCK_STEP));
        let (works, waits) = (connect(&simulator, "works"), connect(&simulator, "waits"));
        let clock = waits.clock();
        let thread = thread::spawn(move || {
            let busy = clock.wait_until(100 * SECOND, clock.busy());
            let now = clock.now();
            // The token must live until the time is read.
            drop(busy);
            now.mono_ns
        });
        // The other client has its token, then waits for 10 s, then has it again.
        let clock = works.clock();
        let busy = clock.wait_until(10 * SECOND, clock.busy());
        assert_eq!(clock.now().mono_ns, 10 * SECOND);
        assert_eq!(clock.now().wall_unix_ms, Some(NOON_MS + 10_000));
        assert!(!thread.is_finished());
        assert_eq!(status(&simulator)["mono_ms"], 10_000);
        drop(works);
        // A token keeps its connection alive; a killed process has none.
        drop(clock);
        drop(busy);
        assert_eq!(thread.join().unwrap(), 100 * SECOND);
    });
}

#[test]
fn time_stands_while_clients_are_missing() {
    within(LIMIT, || {
        let mut options = options(LOCK_STEP);
        options.clients_min = 2;
        let simulator = start(options);
        let first = connect(&simulator, "first");
        let clock = first.clock();
        let thread = thread::spawn(move || {
            let busy = clock.wait_until(5 * SECOND, clock.busy());
            let busy = clock.wait_until(9 * SECOND, busy);
            drop(clock.wait_until(20 * SECOND, busy));
        });
        let second = connect(&simulator, "second");
        let busy = second.clock().wait_until(7 * SECOND, second.clock().busy());
        assert_eq!(status(&simulator)["mono_ms"], 7_000);
        drop((busy, second));
        while status(&simulator)["clients"].as_array().unwrap().len() > 1 {
            thread::yield_now();
        }
        assert_eq!(status(&simulator)["mono_ms"], 7_000);
        let third = connect(&simulator, "third");
        drop(third.clock().wait_until(20 * SECOND, third.clock().busy()));
        thread.join().unwrap();
    });
}

#[test]
fn an_event_loop_may_drop_its_wait() {
    within(LIMIT, || {
        let simulator = start(options(LOCK_STEP));
        let bus = connect(&simulator, "loop");
        let clock = bus.clock();
        let far = clock.wait_until_async(3_600 * SECOND, clock.busy());
        // A second task's token stops time before the deadline, wherever it was.
        let busy = clock.busy();
        drop(far);
        let now = clock.now().mono_ns;
        let busy = block_on(clock.wait_until_async(now + SECOND, busy));
        assert_eq!(clock.now().mono_ns, now + SECOND);
        // Two waits of one client: each ends at its own time.
        let late = clock.wait_until_async(now + 5 * SECOND, clock.busy());
        let busy = block_on(clock.wait_until_async(now + 3 * SECOND, busy));
        assert_eq!(clock.now().mono_ns, now + 3 * SECOND);
        drop(busy);
        let busy = block_on(late);
        assert_eq!(clock.now().mono_ns, now + 5 * SECOND);
        drop(busy);
    });
}

#[test]
fn free_running_time_follows_the_real_clock() {
    within(LIMIT, || {
        let simulator = start(options(Mode::Free {
            speed_permille: 100_000,
        }));
        let bus = connect(&simulator, "free");
        let clock = bus.clock();
        let (real, before) = (Instant::now(), clock.now().mono_ns);
        // Time does not wait for this token.
        let idle = clock.busy();
        let busy = clock.wait_until(before + 20 * SECOND, clock.busy());
        let (passed, now) = (real.elapsed(), clock.now().mono_ns);
        assert!(now >= before + 20 * SECOND, "{now}");
        assert!(passed >= Duration::from_millis(199), "{passed:?}");
        // The server agrees within what a message takes, and is never behind a client that waited.
        let server_ms = status(&simulator)["mono_ms"].as_u64().unwrap();
        assert!(server_ms * 1_000_000 >= before + 20 * SECOND, "{server_ms}");
        drop((idle, busy));
    });
}

#[test]
fn catching_up_ends_in_real_time() {
    within(LIMIT, || {
        let unix_ms = || {
            let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            i64::try_from(unix.unwrap().as_millis()).unwrap()
        };
        let mut options = options(Mode::CatchUp);
        options.setup.start_unix_ms = unix_ms() - 3_600_000;
        let simulator = start(options);
        let bus = connect(&simulator, "late");
        let clock = bus.clock();
        // Nearly all of the hour in one jump, then seconds until the present is reached.
        let real = Instant::now();
        let mut busy = clock.wait_until(3_590 * SECOND, clock.busy());
        assert!(real.elapsed() < Duration::from_secs(30));
        assert_eq!(status(&simulator)["mode"], "catch-up");
        while status(&simulator)["mode"] == "catch-up" {
            busy = clock.wait_until(clock.now().mono_ns + SECOND, busy);
        }
        // From there on a second takes a second.
        let real = Instant::now();
        busy = clock.wait_until(clock.now().mono_ns + SECOND / 5, busy);
        assert!(real.elapsed() >= Duration::from_millis(199));
        assert_eq!(status(&simulator)["mode"], "free-running");
        let wall_ms = clock.now().wall_unix_ms.unwrap();
        assert!((wall_ms - unix_ms()).abs() < 500, "{wall_ms} {}", unix_ms());
        drop(busy);
    });
}

#[test]
fn the_end_is_told_and_waits_return() {
    within(LIMIT, || {
        let mut options = options(LOCK_STEP);
        options.end = Some((60 * SECOND, "time is up".to_owned()));
        let simulator = start(options);
        let bus = connect(&simulator, "to the end");
        let clock = bus.clock();
        let busy = clock.wait_until(60 * SECOND - 1, clock.busy());
        assert_eq!(clock.ended(), None);
        let busy = clock.wait_until(60 * SECOND, busy);
        let end = End::Finished("time is up".to_owned());
        assert_eq!(clock.ended(), Some(end.clone()));
        assert_eq!(block_on(clock.when_ended()), end);
        assert_eq!(clock.now().mono_ns, 60 * SECOND);
        // Waits return at once, and the busses still answer: valves can be closed.
        let busy = clock.wait_until(1_000 * SECOND, busy);
        bus.i2c(3).write(0x2C, &OPEN_FOR_30_S).unwrap();
        // One that comes late is told as well.
        let late = connect(&simulator, "late");
        assert_eq!(block_on(late.clock().when_ended()), end);
        drop((busy, bus, clock, late));
        let progress = simulator.wait(LIMIT);
        assert_eq!((progress.ended, progress.clients), (true, 0));
    });
}

#[test]
fn a_simulator_that_goes_is_noticed() {
    within(LIMIT, || {
        let simulator = start(options(LOCK_STEP));
        let bus = connect(&simulator, "left alone");
        let clock = bus.clock();
        let busy = clock.busy();
        drop(simulator);
        let busy = clock.wait_until(SECOND, busy);
        assert!(matches!(clock.ended(), Some(End::Lost(_))));
        assert!(bus.i2c(1).write(0x44, &[0xFD]).is_err());
        drop((busy, clock.busy()));
    });
}

#[test]
fn a_changed_wall_clock_is_told() {
    within(LIMIT, || {
        let mut options = options(LOCK_STEP);
        options.setup.wall_known = false;
        let simulator = start(options);
        let bus = connect(&simulator, "no RTC");
        let clock = bus.clock();
        assert_eq!(clock.now().wall_unix_ms, None);
        fault(&simulator, Fault::WallKnown);
        // The message overtakes no wait that is declared after it.
        let busy = clock.wait_until(SECOND, clock.busy());
        assert_eq!(clock.now().wall_unix_ms, Some(NOON_MS + 1_000));
        fault(&simulator, Fault::WallStep { seconds: -3_600 });
        let busy = clock.wait_until(2 * SECOND, busy);
        assert_eq!(clock.now().wall_unix_ms, Some(NOON_MS + 2_000 - 3_600_000));
        drop(busy);
    });
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        thread::park();
    }
}
