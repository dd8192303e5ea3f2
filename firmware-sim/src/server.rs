//! Sockets and threads around the [`Machine`]: one thread a connection, and one that keeps the time
//! where that depends on the real clock.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use furrow_sim_bus::BusError;
use furrow_sim_bus::protocol::{self, Failure, Request, Response, Role};
use furrow_sim_bus::socket::{Address, IO_TIMEOUT, Listener, Stream};

use crate::control::{self, Answer, Command};
use crate::faults::FaultOrder;
use crate::machine::{End, Machine, Outbox, Real};
use crate::one_wire::OneWire;
use crate::pace::{Mode, Pace};
use crate::serial::Serial;
use crate::trace::Trace;
use crate::world::{Setup, World};

/// Most connections at one time, of all kinds: each is a thread.
const CONNECTIONS_MAX: usize = 256;

/// How a simulator is started.
#[derive(Debug)]
pub struct Options {
    /// Where clients connect.
    pub listen: Address,
    /// Where faults and questions come in.
    pub control: Address,
    /// The world's beginning.
    pub setup: Setup,
    /// How time passes.
    pub mode: Mode,
    /// In lock-step time stands still while fewer clients are connected; at least 1.
    pub clients_min: usize,
    /// A recorded greenhouse instead of the model.
    pub trace: Option<Trace>,
    /// The simulated time after which it ends, and why.
    pub end: Option<(u64, String)>,
    /// Faults from the beginning.
    pub faults: Vec<FaultOrder>,
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A socket could not be opened.
    #[error("listen at {address}")]
    Listen {
        /// The address that was asked for.
        address: Address,
        /// What the operating system said.
        source: io::Error,
    },
    /// A fault of the options is not possible.
    #[error("fault {fault:?}")]
    Fault {
        /// Which.
        fault: FaultOrder,
        /// Why.
        source: crate::faults::FaultError,
    },
    /// An address is wrong.
    #[error(transparent)]
    Address(#[from] BusError),
}

/// A running simulator. Its threads live as long as the process: dropping this closes every connection.
pub struct Simulator {
    shared: Arc<Shared>,
    /// Where clients connect, with the port that the system chose.
    pub bus: Address,
    /// Where faults and questions come in.
    pub control: Address,
}

/// How far a simulation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Time of the simulated world, Unix ms.
    pub unix_ms: i64,
    /// The monotonic clock, ns.
    pub mono_ns: u64,
    /// Connected clocks.
    pub clients: usize,
    /// Whether simulated time has ended.
    pub ended: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when the keeper should look again, and when a client leaves.
    changed: Condvar,
}

struct State {
    machine: Machine,
    /// When the keeper should look again.
    again: Option<Instant>,
    /// Open connections, by number, so that they can be closed from here.
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    stopped: bool,
}

/// Writes to a clock connection.
struct Writer {
    stream: Stream,
    out: Vec<u8>,
}

impl Simulator {
    /// Opens the sockets and starts.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(options: Options) -> Result<Self, StartError> {
        let listen = |address: &Address| {
            let failed = |source| StartError::Listen {
                address: address.clone(),
                source,
            };
            let listener = address.listen().map_err(failed)?;
            let bound = listener.address().map_err(failed)?;
            Ok::<_, StartError>((listener, bound))
        };
        let (bus_listener, bus) = listen(&options.listen)?;
        let (control_listener, control) = listen(&options.control)?;
        let mut world = World::new(&options.setup, options.trace);
        for fault in options.faults {
            world
                .order(fault.clone())
                .map_err(|source| StartError::Fault { fault, source })?;
        }
        let start_ns = options.setup.start_mono_ns;
        let pace = Pace::new(options.mode, options.clients_min, Instant::now(), start_ns);
        let end = options.end.map(|(mono_ns, reason)| End { mono_ns, reason });
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                machine: Machine::new(world, pace, end),
                again: Some(Instant::now()),
                streams: BTreeMap::new(),
                next_stream: 0,
                stopped: false,
            }),
            changed: Condvar::new(),
        });
        let for_bus = Arc::clone(&shared);
        let for_control = Arc::clone(&shared);
        let for_keeper = Arc::clone(&shared);
        thread::spawn(move || accept(&bus_listener, &for_bus, serve_bus));
        thread::spawn(move || accept(&control_listener, &for_control, serve_control));
        thread::spawn(move || keep_time(&for_keeper));
        Ok(Self {
            shared,
            bus,
            control,
        })
    }

    /// Shows the 1-Wire sensors below a folder, as the kernel does below `/sys/bus/w1/devices`.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn serve_one_wire(&self, root: &std::path::Path) -> io::Result<()> {
        let files = OneWire::new(root.to_owned())?;
        self.shared.lock().machine.serve_one_wire(files);
        Ok(())
    }

    /// Serves the RS-485 line as a serial port, linked at a path.
    ///
    /// # Errors
    /// The system gives no terminal or no thread, or the link can't be made.
    pub fn serve_serial(&self, path: &std::path::Path) -> io::Result<()> {
        let mut serial = Serial::open(path)?;
        let shared = Arc::clone(&self.shared);
        let serve = move || {
            while !shared.lock().stopped {
                serial.turn(|request| shared.lock().machine.handle_serial(request, real()));
            }
        };
        thread::Builder::new()
            .name("serial".to_owned())
            .spawn(serve)?;
        Ok(())
    }

    /// Changes or looks at the world between two events.
    pub(crate) fn with_world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.shared.lock().machine.with_world(real(), change)
    }

    /// Names of the programs whose clocks are connected.
    pub(crate) fn client_names(&self) -> Vec<String> {
        self.shared.lock().machine.client_names()
    }

    /// Waits at most `limit` for the end of simulated time with all clients gone; how far it is then.
    pub fn wait(&self, limit: Duration) -> Progress {
        let until = Instant::now() + limit;
        let mut state = self.shared.lock();
        loop {
            let progress = state.progress();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || (progress.ended && progress.clients == 0) {
                return progress;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        for stream in state.streams.values() {
            stream.close();
        }
        drop(state);
        self.shared.changed.notify_all();
        // The accepting threads see that it is over when somebody knocks.
        for address in [&self.bus, &self.control] {
            drop(address.connect());
        }
    }
}

impl Outbox for Writer {
    fn send(&mut self, message: &Response) {
        self.out.clear();
        message.encode(&mut self.out);
        if self.stream.send(&self.out).is_err() {
            // Its reader sees the end and takes the client off the list.
            self.stream.close();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection, unless there are too many.
    fn enter(&self, stream: &Stream) -> Option<u64> {
        let mut state = self.lock();
        if state.streams.len() >= CONNECTIONS_MAX {
            tracing::warn!(limit = CONNECTIONS_MAX, "too many connections");
            return None;
        }
        let number = state.next_stream;
        state.next_stream += 1;
        match stream.try_clone() {
            Ok(copy) => {
                state.streams.insert(number, copy);
                Some(number)
            }
            Err(error) => {
                tracing::warn!(%error, "accept");
                None
            }
        }
    }

    /// Closes a connection for both ends: the noted handle would keep it open.
    fn leave(&self, number: u64) {
        if let Some(stream) = self.lock().streams.remove(&number) {
            stream.close();
        }
    }

    /// Gives the machine an input, and the keeper its next time.
    fn apply(&self, input: impl FnOnce(&mut Machine, Real) -> Option<Duration>) {
        let real = real();
        let mut state = self.lock();
        let ended = state.machine.has_ended();
        let again = input(&mut state.machine, real).map(|wait| real.instant + wait);
        let earlier = match (again, state.again) {
            (Some(again), Some(before)) => again < before,
            (Some(_), None) => true,
            (None, _) => false,
        };
        state.again = again.or(state.again);
        let ended = ended != state.machine.has_ended();
        drop(state);
        if earlier || ended {
            self.changed.notify_all();
        }
    }
}

impl State {
    fn progress(&self) -> Progress {
        let (unix_ms, mono_ns) = self.machine.progress();
        Progress {
            unix_ms,
            mono_ns,
            clients: self.machine.clients(),
            ended: self.machine.has_ended(),
        }
    }
}

/// Runs the machine when the real clock says so.
fn keep_time(shared: &Shared) {
    let mut state = shared.lock();
    while !state.stopped {
        let real = real();
        match state.again {
            Some(again) if again <= real.instant => {
                let ended = state.machine.has_ended();
                state.again = state.machine.run(real).map(|wait| real.instant + wait);
                if state.machine.has_ended() != ended {
                    shared.changed.notify_all();
                }
            }
            Some(again) => {
                let left = again.saturating_duration_since(real.instant);
                state = shared
                    .changed
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            None => {
                state = shared
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

fn accept(listener: &Listener, shared: &Arc<Shared>, serve: fn(Stream, &Shared) -> io::Result<()>) {
    loop {
        let accepted = listener.accept();
        if shared.lock().stopped {
            return;
        }
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept");
                continue;
            }
        };
        let Some(number) = shared.enter(&stream) else {
            continue;
        };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            if let Err(error) = serve(stream, &shared) {
                tracing::debug!(%error, "connection ended");
            }
            shared.leave(number);
        });
    }
}

fn serve_bus(stream: Stream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    let mut reader = BufReader::new(stream);
    let mut frame = Vec::new();
    if !protocol::read_frame(&mut reader, &mut frame)? {
        return Ok(());
    }
    let refuse = |reader: &mut BufReader<Stream>, text: String| {
        let mut out = Vec::new();
        let failure = Failure::Refused;
        Response::Failed { failure, text }.encode(&mut out);
        reader.get_mut().send(&out)
    };
    match Request::decode(&frame) {
        Ok(Request::Hello { role, client }) => {
            reader.get_ref().set_read_timeout(None)?;
            match role {
                Role::Clock => serve_clock_client(reader, &client, shared),
                Role::Bus => serve_bus_client(reader, shared),
            }
        }
        Ok(_) => refuse(&mut reader, "the first message must be hello".to_owned()),
        Err(error) => refuse(&mut reader, error.to_string()),
    }
}

fn serve_clock_client(
    mut reader: BufReader<Stream>,
    name: &str,
    shared: &Shared,
) -> io::Result<()> {
    let writer = Writer {
        stream: reader.get_ref().try_clone()?,
        out: Vec::new(),
    };
    let mut client = None;
    shared.apply(|machine, real| {
        client = machine.join(name, Box::new(writer), real);
        machine.run(real)
    });
    let Some(client) = client else {
        return Err(io::Error::other("too many clients"));
    };
    tracing::info!(client = name, "clock connected");
    let result = read_clock(&mut reader, client, shared);
    shared.apply(|machine, real| machine.leave(client, real));
    shared.changed.notify_all();
    tracing::info!(client = name, "clock disconnected");
    result
}

fn read_clock(reader: &mut BufReader<Stream>, client: u64, shared: &Shared) -> io::Result<()> {
    let mut frame = Vec::new();
    while protocol::read_frame(reader, &mut frame)? {
        let request = Request::decode(&frame).map_err(io::Error::other)?;
        shared.apply(|machine, real| machine.handle_clock(client, &request, real));
    }
    Ok(())
}

fn serve_bus_client(mut reader: BufReader<Stream>, shared: &Shared) -> io::Result<()> {
    let mut frame = Vec::new();
    let mut out = Vec::new();
    Response::Welcome(shared.lock().machine.time_state()).encode(&mut out);
    reader.get_mut().send(&out)?;
    while protocol::read_frame(&mut reader, &mut frame)? {
        let response = match Request::decode(&frame) {
            Ok(request) => {
                let real = real();
                shared.lock().machine.handle_bus(&request, real)
            }
            Err(error) => Response::Failed {
                failure: Failure::Refused,
                text: error.to_string(),
            },
        };
        out.clear();
        response.encode(&mut out);
        reader.get_mut().send(&out)?;
    }
    Ok(())
}

fn serve_control(stream: Stream, shared: &Shared) -> io::Result<()> {
    control::serve(stream, |command| {
        let real = real();
        match command {
            Command::Status => {
                let status = shared.lock().machine.status(real);
                match serde_json::to_value(status) {
                    Ok(status) => Answer::Done {
                        ok: true,
                        status: Some(status),
                    },
                    Err(error) => Answer::Refused {
                        error: error.to_string(),
                    },
                }
            }
            Command::Fault { order } => {
                let result = shared
                    .lock()
                    .machine
                    .with_world(real, |world| world.order(order));
                match result {
                    Ok(()) => Answer::Done {
                        ok: true,
                        status: None,
                    },
                    Err(error) => Answer::Refused {
                        error: error.to_string(),
                    },
                }
            }
        }
    })
}

fn real() -> Real {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Real {
        instant: Instant::now(),
        unix_ms: i64::try_from(unix.as_millis()).unwrap_or(i64::MAX),
    }
}
