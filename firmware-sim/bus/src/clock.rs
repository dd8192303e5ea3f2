//! The field clock of a simulated machine, for blocking and for asynchronous code.
//!
//! The shell around [`crate::coordinator`]: one connection, a thread that reads it, and a thread that
//! fires deadlines while time runs freely. It needs no async runtime.

use std::fmt;
use std::future::Future;
use std::io::BufReader;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::coordinator::{Coordinator, Effects, End, FieldTime, Poll as WaitPoll, WaitId};
use crate::error::BusError;
use crate::link;
use crate::protocol::{self, Response, Role};
use crate::socket::{Address, IO_TIMEOUT, Stream};

/// The field clock. Clones are the same clock; the connection closes with the last of them, their
/// tokens and their waits.
#[derive(Debug, Clone)]
pub struct RemoteClock {
    client: Arc<Client>,
}

/// While it exists, simulated time stands still in lock-step. In free-running mode it means nothing.
#[derive(Debug)]
#[must_use = "dropping the token lets simulated time run on"]
pub struct Busy {
    /// Empty once the token was traded for a wait.
    client: Option<Arc<Client>>,
}

/// Waits for a deadline; see [`RemoteClock::wait_until_async`].
#[derive(Debug)]
#[must_use = "dropping a wait withdraws its deadline"]
pub struct WaitUntil {
    state: WaitState,
}

/// Waits for the end of simulated time; see [`RemoteClock::when_ended`].
#[derive(Debug)]
pub struct WhenEnded {
    client: Arc<Client>,
    place: Option<WaitId>,
}

#[derive(Debug)]
enum WaitState {
    /// The deadline had passed already, or time has ended.
    Ready(Busy),
    Pending {
        client: Arc<Client>,
        deadline_ns: u64,
        id: WaitId,
    },
    Done,
}

/// Closes the connection when its last owner goes; the threads own only what is shared.
struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    core: Mutex<Core>,
    /// Signalled when a `Held` arrives, the flow changes, or time ends.
    held: Condvar,
    /// Signalled when the earliest deadline may have changed while time runs freely, or time ends.
    timer: Condvar,
}

struct Core {
    coordinator: Coordinator,
    /// For writing; under the lock so that messages keep their order.
    stream: Stream,
    out: Vec<u8>,
}

impl RemoteClock {
    pub(crate) fn connect(address: &Address, client: &str) -> Result<Self, BusError> {
        let (reader, state) = link::open(address, Role::Clock, client)?;
        let connect = |source| BusError::Connect {
            address: address.to_string(),
            source,
        };
        // The next message may be a simulated night away.
        reader.get_ref().set_read_timeout(None).map_err(connect)?;
        let stream = reader.get_ref().try_clone().map_err(connect)?;
        let shared = Arc::new(Shared {
            core: Mutex::new(Core {
                coordinator: Coordinator::new(state, Instant::now()),
                stream,
                out: Vec::new(),
            }),
            held: Condvar::new(),
            timer: Condvar::new(),
        });
        let client = Arc::new(Client {
            shared: Arc::clone(&shared),
        });
        let for_reader = Arc::clone(&shared);
        thread::Builder::new()
            .name("field-clock".to_owned())
            .spawn(move || read_messages(reader, &for_reader))
            .map_err(connect)?;
        thread::Builder::new()
            .name("field-timer".to_owned())
            .spawn(move || run_timer(&shared))
            .map_err(connect)?;
        Ok(Self { client })
    }

    /// The field clock now. In lock-step this is exact while this client holds a token, and otherwise the
    /// last time it was told.
    #[must_use]
    pub fn now(&self) -> FieldTime {
        self.client.shared.lock().coordinator.now(Instant::now())
    }

    /// Takes a token: from its return on, simulated time stands still in lock-step.
    ///
    /// The first token of a waiting client asks the simulator, which takes one round trip (tens of
    /// microseconds); with another token at hand it costs nothing.
    pub fn busy(&self) -> Busy {
        let shared = &self.client.shared;
        shared.apply(Coordinator::take_token);
        let core = shared.lock();
        let (core, waited) = shared
            .held
            .wait_timeout_while(core, IO_TIMEOUT, |core| !core.coordinator.is_held())
            .unwrap_or_else(PoisonError::into_inner);
        drop(core);
        if waited.timed_out() {
            shared.lose("the simulator does not answer");
        }
        Busy {
            client: Some(Arc::clone(&self.client)),
        }
    }

    /// Waits on this thread until the monotonic field clock reaches `mono_ns`, and gives a token back.
    /// Returns at once when that time has passed or simulated time has [ended](Self::ended).
    pub fn wait_until(&self, mono_ns: u64, busy: Busy) -> Busy {
        let mut wait = self.wait_until_async(mono_ns, busy);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(busy) = Pin::new(&mut wait).poll(&mut context) {
                return busy;
            }
            thread::park();
        }
    }

    /// Waits until the monotonic field clock reaches `mono_ns`, and gives a token back. Ready at once when
    /// that time has passed or simulated time has [ended](Self::ended): look at that after each wait.
    ///
    /// The token is given up and the deadline declared by this call, not by the first poll. Dropping the
    /// future withdraws the deadline; no token comes back. An event loop that is woken by something else
    /// should keep the future and take another token with [`busy`](Self::busy).
    pub fn wait_until_async(&self, mono_ns: u64, busy: Busy) -> WaitUntil {
        let shared = &self.client.shared;
        let mut core = shared.lock();
        let state = match core.coordinator.begin_wait(mono_ns, Instant::now()) {
            None => {
                drop(core);
                WaitState::Ready(busy)
            }
            Some((id, effects)) => {
                let wake = core.send(effects);
                shared.finish(core, wake);
                let mut busy = busy;
                // The coordinator has counted this token off.
                busy.client = None;
                WaitState::Pending {
                    client: Arc::clone(&self.client),
                    deadline_ns: mono_ns,
                    id,
                }
            }
        };
        WaitUntil { state }
    }

    /// Why simulated time does not advance any more, if so. From then on every wait returns at once.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        self.client.shared.lock().coordinator.end().cloned()
    }

    /// Waits for the end of simulated time.
    pub fn when_ended(&self) -> WhenEnded {
        WhenEnded {
            client: Arc::clone(&self.client),
            place: None,
        }
    }

    /// A delay for drivers, for one bus thread.
    #[must_use]
    pub fn delay(&self) -> crate::RemoteDelay {
        crate::RemoteDelay::new(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            client.shared.apply(Coordinator::drop_token);
        }
    }
}

impl Future for WaitUntil {
    type Output = Busy;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Busy> {
        match std::mem::replace(&mut self.state, WaitState::Done) {
            WaitState::Ready(busy) => Poll::Ready(busy),
            WaitState::Pending {
                client,
                deadline_ns,
                id,
            } => {
                let mut core = client.shared.lock();
                let poll = core.coordinator.poll_wait(deadline_ns, id, context.waker());
                drop(core);
                match poll {
                    WaitPoll::Fired => Poll::Ready(Busy {
                        client: Some(client),
                    }),
                    WaitPoll::Pending => {
                        self.state = WaitState::Pending {
                            client,
                            deadline_ns,
                            id,
                        };
                        Poll::Pending
                    }
                }
            }
            // Polled again after it was ready: the contract of `Future` leaves this open.
            WaitState::Done => Poll::Pending,
        }
    }
}

impl Drop for WaitUntil {
    fn drop(&mut self) {
        if let WaitState::Pending {
            client,
            deadline_ns,
            id,
        } = &self.state
        {
            client
                .shared
                .apply(|coordinator| coordinator.cancel_wait(*deadline_ns, *id));
        }
    }
}

impl Future for WhenEnded {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End> {
        let client = Arc::clone(&self.client);
        let mut core = client.shared.lock();
        if let Some(end) = core.coordinator.end() {
            return Poll::Ready(end.clone());
        }
        self.place = Some(core.coordinator.poll_end(self.place, context.waker()));
        Poll::Pending
    }
}

impl Drop for WhenEnded {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.client.shared.lock().coordinator.cancel_end(place);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.lose("the client closed the connection");
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Core> {
        // No code that holds this lock panics half-way through a change.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the coordinator an input and carries out what follows from it.
    fn apply(&self, input: impl FnOnce(&mut Coordinator) -> Effects) {
        let mut core = self.lock();
        let effects = input(&mut core.coordinator);
        let wake = core.send(effects);
        self.finish(core, wake);
    }

    /// Frees the lock, then wakes whoever is concerned. In lock-step the timer thread is left asleep.
    fn finish(&self, core: MutexGuard<'_, Core>, wake: Vec<Waker>) {
        let timer = core.coordinator.needs_timer();
        drop(core);
        for waker in wake {
            waker.wake();
        }
        if timer {
            self.timer.notify_one();
        }
    }

    fn lose(&self, reason: &str) {
        let mut core = self.lock();
        let effects = core
            .coordinator
            .handle_end(End::Lost(reason.to_owned()), None);
        core.stream.close();
        self.finish(core, effects.wake);
        self.held.notify_all();
    }
}

impl Core {
    /// Sends what there is to send, and returns whom to wake once the lock is free.
    fn send(&mut self, effects: Effects) -> Vec<Waker> {
        let Effects { send, mut wake } = effects;
        if let Some(request) = send {
            self.out.clear();
            request.encode(&mut self.out);
            if let Err(error) = self.stream.send(&self.out) {
                let lost = End::Lost(format!("write to the simulator: {error}"));
                wake.extend(self.coordinator.handle_end(lost, None).wake);
                self.stream.close();
            }
        }
        wake
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Takes messages off the connection until it ends.
fn read_messages(mut reader: BufReader<Stream>, shared: &Shared) {
    let mut frame = Vec::new();
    let reason = loop {
        match protocol::read_frame(&mut reader, &mut frame) {
            Ok(true) => {}
            Ok(false) => break "the simulator closed the connection".to_owned(),
            Err(error) => break format!("read from the simulator: {error}"),
        }
        let message = match Response::decode(&frame) {
            Ok(message) => message,
            Err(error) => break format!("message of the simulator: {error}"),
        };
        match message {
            Response::Woken { seq, mono_ns } => {
                shared.apply(|coordinator| coordinator.handle_woken(seq, mono_ns));
            }
            Response::Held { seq, mono_ns } => {
                shared.apply(|coordinator| coordinator.handle_held(seq, mono_ns));
                shared.held.notify_all();
            }
            Response::Time(state) => {
                shared.apply(|coordinator| coordinator.handle_time(state, Instant::now()));
                shared.held.notify_all();
            }
            Response::Ended { mono_ns, reason } => {
                let end = End::Finished(reason);
                shared.apply(|coordinator| coordinator.handle_end(end, Some(mono_ns)));
                shared.held.notify_all();
            }
            Response::Failed { text, .. } => break format!("the simulator refused: {text}"),
            Response::Welcome(_)
            | Response::I2cDone(_)
            | Response::Count(_)
            | Response::Level(_)
            | Response::Done => break "the simulator sent an answer to nothing".to_owned(),
        }
    };
    shared.lose(&reason);
}

/// Fires deadlines while time runs freely.
fn run_timer(shared: &Shared) {
    let mut core = shared.lock();
    while core.coordinator.end().is_none() {
        let real = Instant::now();
        match core.coordinator.poll_timeout(real) {
            Some(Duration::ZERO) => {
                let effects = core.coordinator.handle_timeout(real);
                drop(core);
                for waker in effects.wake {
                    waker.wake();
                }
                core = shared.lock();
            }
            Some(left) => {
                core = shared
                    .timer
                    .wait_timeout(core, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            None => {
                core = shared
                    .timer
                    .wait(core)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
