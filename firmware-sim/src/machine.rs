//! The simulated world, its pace and its clients: everything behind one lock.
//!
//! Knows messages and clients, but no socket: what must be sent to a clock connection is handed to its
//! [`Outbox`]. Real time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use furrow_sim_bus::protocol::{Failure, Request, Response, TimeState};

use crate::one_wire::OneWire;
use crate::pace::{ClientId, Mode, Next, Pace};
use crate::world::{Answer, REQUEST_BYTES, Refused, World, WorldStatus};

/// Most programs that keep their time here: a greenhouse has a handful.
const CLIENTS_MAX: usize = 64;

/// Where messages to one clock connection go. Sending must not wait for long: the lock is held.
pub(crate) trait Outbox: Send {
    /// Sends a message; a connection that fails is found out by its reader.
    fn send(&mut self, message: &Response);
}

/// Real time, twice: for passing time and for the time of day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Real {
    pub(crate) instant: Instant,
    pub(crate) unix_ms: i64,
}

/// The machine.
pub(crate) struct Machine {
    world: World,
    pace: Pace,
    outboxes: BTreeMap<ClientId, Client>,
    next_client: ClientId,
    /// Simulated time at which all is over.
    end: Option<End>,
    ended: bool,
    requests: u64,
    one_wire: Option<OneWire>,
}

/// When and why it ends.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) mono_ns: u64,
    pub(crate) reason: String,
}

struct Client {
    name: String,
    outbox: Box<dyn Outbox>,
}

/// Everything for people.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Status {
    mode: &'static str,
    #[serde(flatten)]
    world: WorldStatus,
    clients: Vec<String>,
    requests: u64,
    ended: bool,
}

impl Machine {
    pub(crate) fn new(world: World, pace: Pace, end: Option<End>) -> Self {
        Self {
            world,
            pace,
            outboxes: BTreeMap::new(),
            next_client: 1,
            end,
            ended: false,
            requests: 0,
            one_wire: None,
        }
    }

    /// What a new connection is told.
    pub(crate) fn time_state(&self) -> TimeState {
        TimeState {
            boot: self.world.boot(),
            mono_ns: self.world.now_ns(),
            wall_offset_ms: self.world.wall_offset_ms(),
            flow: self.pace.flow(),
        }
    }

    /// A clock connection begins. `None` when there are too many.
    pub(crate) fn join(
        &mut self,
        name: &str,
        mut outbox: Box<dyn Outbox>,
        real: Real,
    ) -> Option<ClientId> {
        if self.outboxes.len() >= CLIENTS_MAX {
            return None;
        }
        self.run(real);
        outbox.send(&Response::Welcome(self.time_state()));
        if let Some(end) = self.end.as_ref().filter(|_| self.ended) {
            outbox.send(&self.ended_message(end));
        }
        let client = self.next_client;
        self.next_client += 1;
        self.outboxes.insert(
            client,
            Client {
                name: name.to_owned(),
                outbox,
            },
        );
        self.pace.handle_hello(client);
        Some(client)
    }

    /// A clock connection is gone, for whatever reason.
    pub(crate) fn leave(&mut self, client: ClientId, real: Real) -> Option<Duration> {
        self.outboxes.remove(&client);
        self.pace.handle_gone(client);
        self.run(real)
    }

    /// A message of a clock connection. Returns when [`run`](Self::run) should be called again.
    pub(crate) fn handle_clock(
        &mut self,
        client: ClientId,
        request: &Request,
        real: Real,
    ) -> Option<Duration> {
        match request {
            Request::Wait { seq, deadline_ns } => {
                self.pace.handle_wait(client, *seq, *deadline_ns);
            }
            Request::Hold { seq } => {
                self.pace.handle_hold(client);
                let mono_ns = self.world.now_ns();
                self.send(client, &Response::Held { seq: *seq, mono_ns });
            }
            Request::Hello { .. }
            | Request::I2c(_)
            | Request::Pulses { .. }
            | Request::Input { .. }
            | Request::Output { .. } => {
                let refused = refused("this connection is a clock");
                self.send(client, &refused);
            }
        }
        self.run(real)
    }

    /// A message of a bus connection, answered.
    pub(crate) fn handle_bus(&mut self, request: &Request, real: Real) -> Response {
        self.requests += 1;
        self.follow_real_clock(real);
        let result = match request {
            Request::I2c(transaction) => self.world.transact(transaction).map(Response::I2cDone),
            Request::Pulses { pin } => self.world.pulses(*pin).map(Response::Count),
            Request::Input { pin } => self.world.input(*pin).map(Response::Level),
            Request::Output { pin, high } => {
                self.world.output(*pin, *high).map(|()| Response::Done)
            }
            Request::Hello { .. } | Request::Wait { .. } | Request::Hold { .. } => {
                return refused("this connection is a bus");
            }
        };
        result.unwrap_or_else(|Refused { failure, text }| Response::Failed { failure, text })
    }

    /// Lets simulated time pass as far as it may. Returns when it should be called again, if it must be
    /// without an input.
    pub(crate) fn run(&mut self, real: Real) -> Option<Duration> {
        self.follow_real_clock(real);
        while !self.ended {
            let now_ns = self.world.now_ns();
            match self.pace.poll_next(real.instant, now_ns) {
                Next::Stands => break,
                Next::Later(wait) => return Some(wait),
                Next::Jump(to_ns) => self.jump(to_ns, real),
            }
        }
        match self.pace.mode() {
            Mode::Free { .. } if !self.ended => Some(FREE_INTERVAL),
            Mode::Free { .. } | Mode::LockStep { .. } | Mode::CatchUp => None,
        }
    }

    /// Changes the world from outside, for example by a fault, and tells clients if their clock did.
    pub(crate) fn with_world<T>(&mut self, real: Real, change: impl FnOnce(&mut World) -> T) -> T {
        self.follow_real_clock(real);
        let before = self.world.wall_offset_ms();
        let result = change(&mut self.world);
        self.tell_wall_clock(before);
        result
    }

    pub(crate) fn status(&mut self, real: Real) -> Status {
        self.follow_real_clock(real);
        let mode = match self.pace.mode() {
            _ if self.ended => "ended",
            Mode::LockStep { .. } => "lock-step",
            Mode::CatchUp => "catch-up",
            Mode::Free { .. } => "free-running",
        };
        let names = self.outboxes.values().map(|client| client.name.clone());
        Status {
            mode,
            world: self.world.status(),
            clients: names.collect(),
            requests: self.requests,
            ended: self.ended,
        }
    }

    /// Shows the 1-Wire sensors as files from now on.
    pub(crate) fn serve_one_wire(&mut self, files: OneWire) {
        self.one_wire = Some(files);
        // What they hold after power-on was read by nobody.
        drop(self.world.one_wire());
        self.show_one_wire();
    }

    /// A request on the serial line.
    pub(crate) fn handle_serial(
        &mut self,
        request: &[u8; REQUEST_BYTES],
        real: Real,
    ) -> Option<Answer> {
        self.requests += 1;
        self.follow_real_clock(real);
        self.world.serial(request)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn client_names(&self) -> Vec<String> {
        let names = self.outboxes.values().map(|client| client.name.clone());
        names.collect()
    }

    pub(crate) fn clients(&self) -> usize {
        self.pace.clients()
    }

    /// Simulated time, and the share that is done where there is an end.
    pub(crate) fn progress(&self) -> (i64, u64) {
        (self.world.unix_ms(), self.world.now_ns())
    }

    /// Free-running: the world catches up with the real clock.
    fn follow_real_clock(&mut self, real: Real) {
        if self.ended {
            return;
        }
        if let Some(now_ns) = self.pace.free_now(real.instant) {
            self.advance(now_ns);
        }
    }

    /// Lock-step: time jumps, and those whose deadline has come are woken.
    fn jump(&mut self, to_ns: u64, real: Real) {
        if matches!(self.pace.mode(), Mode::CatchUp) {
            let ahead_ms = real.unix_ms.saturating_sub(self.world.unix_ms());
            let ahead_ns = u64::try_from(ahead_ms)
                .unwrap_or(0)
                .saturating_mul(1_000_000);
            let meet_ns = self.world.now_ns().saturating_add(ahead_ns);
            if to_ns >= meet_ns {
                self.advance(meet_ns);
                self.pace.run_free(1_000, real.instant, meet_ns);
                tracing::info!(
                    mono_ms = meet_ns / 1_000_000,
                    "caught up with the real clock"
                );
                self.broadcast(&Response::Time(self.time_state()));
                return;
            }
        }
        self.advance(to_ns);
        let mono_ns = self.world.now_ns();
        for (client, seq) in self.pace.wake(mono_ns) {
            self.send(client, &Response::Woken { seq, mono_ns });
        }
    }

    fn advance(&mut self, to_ns: u64) {
        let before = self.world.wall_offset_ms();
        let end_ns = self.end.as_ref().map_or(u64::MAX, |end| end.mono_ns);
        self.world.advance(to_ns.min(end_ns));
        self.show_one_wire();
        self.tell_wall_clock(before);
        // A deadline at the very end is not reached: what begins there could not finish.
        if to_ns >= end_ns
            && let Some(end) = self.end.clone()
        {
            self.ended = true;
            tracing::info!(reason = end.reason, "simulated time has ended");
            self.broadcast(&self.ended_message(&end));
        }
    }

    fn show_one_wire(&mut self) {
        let now_ns = self.world.now_ns();
        if let Some(shown) = self.one_wire.as_mut().filter(|shown| shown.is_due(now_ns)) {
            shown.show(now_ns, self.world.one_wire());
        }
    }

    fn tell_wall_clock(&mut self, before: Option<i64>) {
        if self.world.wall_offset_ms() != before {
            self.broadcast(&Response::Time(self.time_state()));
        }
    }

    fn ended_message(&self, end: &End) -> Response {
        Response::Ended {
            mono_ns: self.world.now_ns(),
            reason: end.reason.clone(),
        }
    }

    fn send(&mut self, client: ClientId, message: &Response) {
        if let Some(client) = self.outboxes.get_mut(&client) {
            client.outbox.send(message);
        }
    }

    fn broadcast(&mut self, message: &Response) {
        for client in self.outboxes.values_mut() {
            client.outbox.send(message);
        }
    }
}

/// Free-running: the world is brought up to date this often even if nobody asks, so that leases end in
/// the log when they end, and a question after a quiet night is answered at once.
const FREE_INTERVAL: Duration = Duration::from_secs(1);

fn refused(text: &str) -> Response {
    Response::Failed {
        failure: Failure::Refused,
        text: text.to_owned(),
    }
}
