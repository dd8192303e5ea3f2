//! The guard: leases for outputs that have none of their own (relay boards, GPIO relays).
//!
//! Owns: which output may be on, until when, and that it goes off. The caller executes the
//! [`Command`]s at the hardware, in order, and answers each; it does nothing with an output by itself.
//! It knows no schedule, budget or flow: those are the gateway's, which renews the leases.
//!
//! ```text
//!            lease                     lease ended, closed, ceiling, write failed
//!  shut ───────────────► open ──────────────────────────────────────────────────► closing
//!   ▲                                                                              │  writes "off"
//!   └──────────────────────────── read back as off ◄───────────────────────────────┘  until then
//! ```
//!
//! **Invariant:** at [`Guard::poll_timeout`] at the latest an output without a lease is told to be
//! off, and again every [`RETRY_MS`] until it was read back as off.
//! **Invariant:** no sequence of leases keeps an output on for more than [`CEILING_MS`] without a
//! pause of [`PAUSE_MS`].

use std::collections::VecDeque;

use crate::plan::{LEASE_SECONDS_MAX, MAX_RUN_CEILING_MS};

/// An output is closed after this, whatever the gateway asks for: the gateway's own ceiling for a run
/// and five minutes, so that a run that is allowed is never cut. In milliseconds.
pub const CEILING_MS: u64 = MAX_RUN_CEILING_MS + 5 * 60_000;
/// After [`CEILING_MS`] an output stays closed for at least this long, in milliseconds.
pub const REST_MS: u64 = 10 * 60_000;
/// Openings with a shorter pause between them are one for [`CEILING_MS`], in milliseconds.
pub const PAUSE_MS: u64 = 60_000;
/// A lease that was asked for longer ago is refused, in milliseconds: late water can hurt.
pub const LATE_MS: u64 = 5_000;
/// What must be off and is not is told so again after this, in milliseconds, for ever.
pub const RETRY_MS: u64 = 500;
/// An open output is read back this often, in milliseconds.
pub const VERIFY_OPEN_MS: u64 = 1_000;
/// A closed output is read back this often, in milliseconds.
pub const VERIFY_SHUT_MS: u64 = 5_000;
/// An output that must be off and is not known to be for this long stops the relay-supply watchdog,
/// in milliseconds.
pub const UNSAFE_MS: u64 = 2_000;

/// What the caller does at the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Switch an output. Answer with [`Guard::handle_written`].
    Write {
        /// Its number.
        output: u8,
        /// On or off.
        on: bool,
    },
    /// Read an output back. Answer with [`Guard::handle_read_back`].
    ReadBack {
        /// Its number.
        output: u8,
    },
}

/// What was read back of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The level switches the relay on.
    pub on: bool,
    /// Everything that can be read of the output says the same.
    pub agrees: bool,
}

/// Why a lease was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such output.
    #[error("there is no output {output}")]
    NoSuchOutput {
        /// What was asked for.
        output: u8,
    },
    /// Longer than a lease may be.
    #[error("a lease is at most {LEASE_SECONDS_MAX} s, not {seconds} s")]
    TooLong {
        /// What was asked for.
        seconds: u16,
    },
    /// It waited too long on its way.
    #[error("the lease was asked for {late_ms} ms ago")]
    Late {
        /// How long ago.
        late_ms: u64,
    },
    /// It was open for as long as the ceiling allows.
    #[error("it was open for {} h, and stays closed for another {left_ms} ms", CEILING_MS / 3_600_000)]
    Resting {
        /// For how long still.
        left_ms: u64,
    },
    /// What must be closed first is not known to be closed.
    #[error("it is not known to be closed")]
    NotClosed,
    /// The hardware did not take it.
    #[error("its hardware did not take it")]
    Failed,
}

/// What the guard says about one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// It holds a lease.
    pub commanded: bool,
    /// It was read back as on.
    pub confirmed: bool,
    /// It does not follow, or could not be written or read back.
    pub fault: bool,
    /// The guard started since the flags were cleared.
    pub was_reset: bool,
    /// A lease ran out since the flags were cleared.
    pub lease_ran_out: bool,
    /// The ceiling closed it since the flags were cleared.
    pub ceiling_reached: bool,
    /// Milliseconds until its lease ends, 0 without one.
    pub left_ms: u64,
    /// Writes and readings that failed since the start.
    pub failures: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Guard {
    outputs: Vec<Output>,
    commands: VecDeque<Command>,
    /// Every output has been read back as off once.
    cleared: bool,
}

#[derive(Debug)]
struct Output {
    number: u8,
    lease_until_ms: Option<u64>,
    /// Since when it is open, short pauses included.
    open_since_ms: Option<u64>,
    closed_at_ms: u64,
    rest_until_ms: u64,
    /// It was read back as off since it was last switched on.
    is_off: bool,
    /// Since when it must be off and is not known to be.
    unknown_since_ms: Option<u64>,
    seen: Option<Seen>,
    trouble: bool,
    /// When it is written or read again.
    next_ms: u64,
    was_reset: bool,
    lease_ran_out: bool,
    ceiling_reached: bool,
    failures: u32,
}

impl Guard {
    /// Outputs by their numbers. All are told to be off at once.
    #[must_use]
    pub fn new(numbers: &[u8], now_ms: u64) -> Self {
        let output = |number: &u8| Output {
            number: *number,
            lease_until_ms: None,
            open_since_ms: None,
            closed_at_ms: now_ms,
            rest_until_ms: 0,
            is_off: false,
            unknown_since_ms: Some(now_ms),
            seen: None,
            trouble: false,
            next_ms: now_ms,
            was_reset: true,
            lease_ran_out: false,
            ceiling_reached: false,
            failures: 0,
        };
        let mut guard = Self {
            outputs: numbers.iter().map(output).collect(),
            commands: VecDeque::new(),
            cleared: false,
        };
        guard.handle_close_all(now_ms);
        guard
    }

    /// The gateway wants an output open for `seconds` from when it asked, `asked_ms`; 0 closes it,
    /// however late.
    ///
    /// # Errors
    /// Why not. Whether the hardware took it is told by [`Guard::check_granted`] once all commands
    /// have been executed.
    pub fn handle_lease(
        &mut self,
        number: u8,
        seconds: u16,
        asked_ms: u64,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let commands = &mut self.commands;
        let output = self.outputs.iter_mut().find(|o| o.number == number);
        let output = output.ok_or(Refusal::NoSuchOutput { output: number })?;
        if seconds == 0 {
            output.close(now_ms, commands);
            return Ok(());
        }
        if seconds > LEASE_SECONDS_MAX {
            return Err(Refusal::TooLong { seconds });
        }
        let late_ms = now_ms.saturating_sub(asked_ms);
        let until_ms = asked_ms
            .min(now_ms)
            .saturating_add(u64::from(seconds) * 1_000);
        if late_ms > LATE_MS || until_ms <= now_ms {
            return Err(Refusal::Late { late_ms });
        }
        output.open(until_ms, now_ms, commands)
    }

    /// Whether an output holds the lease that it was just given.
    ///
    /// # Errors
    /// [`Refusal::Failed`] where it does not.
    pub fn check_granted(&self, number: u8) -> Result<(), Refusal> {
        let holds = |output: &&Output| output.number == number && output.lease_until_ms.is_some();
        self.outputs
            .iter()
            .find(holds)
            .map(drop)
            .ok_or(Refusal::Failed)
    }

    /// Everything is to be closed: the guard starts or ends.
    pub fn handle_close_all(&mut self, now_ms: u64) {
        for output in &mut self.outputs {
            output.close(now_ms, &mut self.commands);
        }
    }

    /// The flags of an output were seen.
    pub fn handle_clear(&mut self, number: u8) {
        if let Some(output) = self.outputs.iter_mut().find(|o| o.number == number) {
            output.was_reset = false;
            output.lease_ran_out = false;
            output.ceiling_reached = false;
        }
    }

    /// An output was switched, or could not be.
    pub fn handle_written(&mut self, number: u8, on: bool, done: bool, now_ms: u64) {
        let Some(output) = self.outputs.iter_mut().find(|o| o.number == number) else {
            return;
        };
        if done {
            self.commands
                .push_back(Command::ReadBack { output: number });
            return;
        }
        output.failed();
        output.next_ms = now_ms.saturating_add(RETRY_MS);
        if on {
            // Perhaps it was switched all the same.
            output.close(now_ms, &mut self.commands);
            output.trouble = true;
        }
    }

    /// An output was read back; `None` where that failed.
    pub fn handle_read_back(&mut self, number: u8, seen: Option<Seen>, now_ms: u64) {
        let Some(output) = self.outputs.iter_mut().find(|o| o.number == number) else {
            return;
        };
        output.read_back(seen, now_ms, &mut self.commands);
        self.cleared |= self.outputs.iter().all(|output| output.is_off);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        for output in &mut self.outputs {
            output.timeout(now_ms, &mut self.commands);
        }
    }

    /// When [`Guard::handle_timeout`] is due, monotonic milliseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        let due = self.outputs.iter().map(Output::due_ms);
        due.min().unwrap_or(u64::MAX)
    }

    /// The next thing to do at the hardware.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Whether the relays may have their supply: every output has been off once since the start, and
    /// none that must be off is in doubt for longer than [`UNSAFE_MS`].
    #[must_use]
    pub fn may_supply(&self, now_ms: u64) -> bool {
        let in_doubt = |output: &Output| {
            let since_ms = output.unknown_since_ms;
            since_ms.is_some_and(|since| now_ms.saturating_sub(since) >= UNSAFE_MS)
        };
        self.cleared && !self.outputs.iter().any(in_doubt)
    }

    /// Whether every output is known to be off.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.outputs.iter().all(|output| output.is_off)
    }

    /// The numbers of all outputs.
    pub fn numbers(&self) -> impl Iterator<Item = u8> + '_ {
        self.outputs.iter().map(|output| output.number)
    }

    /// An output as the gateway and people see it; `None` for one that does not exist.
    #[must_use]
    pub fn status(&self, number: u8, now_ms: u64) -> Option<Status> {
        let output = self.outputs.iter().find(|o| o.number == number)?;
        let until_ms = output.lease_until_ms;
        Some(Status {
            commanded: until_ms.is_some(),
            confirmed: output.seen.is_some_and(|seen| seen.on),
            fault: output.trouble || output.differs(),
            was_reset: output.was_reset,
            lease_ran_out: output.lease_ran_out,
            ceiling_reached: output.ceiling_reached,
            left_ms: until_ms.map_or(0, |until| until.saturating_sub(now_ms)),
            failures: output.failures,
        })
    }
}

impl Output {
    fn open(
        &mut self,
        until_ms: u64,
        now_ms: u64,
        commands: &mut VecDeque<Command>,
    ) -> Result<(), Refusal> {
        if now_ms < self.rest_until_ms {
            let left_ms = self.rest_until_ms.saturating_sub(now_ms);
            return Err(Refusal::Resting { left_ms });
        }
        if self.lease_until_ms.is_some() {
            self.lease_until_ms = Some(until_ms);
            return Ok(());
        }
        if !self.is_off {
            return Err(Refusal::NotClosed);
        }
        let paused_ms = now_ms.saturating_sub(self.closed_at_ms);
        let since_ms = self.open_since_ms.filter(|_| paused_ms < PAUSE_MS);
        let since_ms = since_ms.unwrap_or(now_ms);
        if now_ms.saturating_sub(since_ms) >= CEILING_MS {
            self.rest_until_ms = now_ms.saturating_add(REST_MS);
            return Err(Refusal::Resting { left_ms: REST_MS });
        }
        self.open_since_ms = Some(since_ms);
        self.lease_until_ms = Some(until_ms);
        self.is_off = false;
        self.trouble = false;
        self.next_ms = now_ms.saturating_add(VERIFY_OPEN_MS);
        commands.push_back(Command::Write {
            output: self.number,
            on: true,
        });
        Ok(())
    }

    /// Told to be off whether or not it is known to be.
    fn close(&mut self, now_ms: u64, commands: &mut VecDeque<Command>) {
        if self.lease_until_ms.take().is_some() {
            self.closed_at_ms = now_ms;
            self.unknown_since_ms = Some(now_ms);
        }
        self.off(now_ms, commands);
    }

    fn off(&mut self, now_ms: u64, commands: &mut VecDeque<Command>) {
        self.next_ms = now_ms.saturating_add(RETRY_MS);
        commands.push_back(Command::Write {
            output: self.number,
            on: false,
        });
    }

    fn timeout(&mut self, now_ms: u64, commands: &mut VecDeque<Command>) {
        if self.lease_until_ms.is_some_and(|until| now_ms >= until) {
            self.lease_ran_out = true;
            return self.close(now_ms, commands);
        }
        if self.ceiling_ms().is_some_and(|at| now_ms >= at) {
            self.ceiling_reached = true;
            self.rest_until_ms = now_ms.saturating_add(REST_MS);
            return self.close(now_ms, commands);
        }
        if now_ms < self.next_ms {
            return;
        }
        if self.lease_until_ms.is_some() || self.is_off {
            self.next_ms = now_ms.saturating_add(RETRY_MS);
            let output = self.number;
            commands.push_back(Command::ReadBack { output });
        } else {
            self.off(now_ms, commands);
        }
    }

    fn read_back(&mut self, seen: Option<Seen>, now_ms: u64, commands: &mut VecDeque<Command>) {
        let was_off = self.is_off;
        self.seen = seen.or(self.seen);
        if seen.is_none() {
            self.failed();
        }
        if self.lease_until_ms.is_some() {
            self.trouble = seen.is_none();
            self.next_ms = now_ms.saturating_add(VERIFY_OPEN_MS);
            return;
        }
        match seen {
            Some(Seen {
                on: false,
                agrees: true,
            }) => {
                self.is_off = true;
                self.unknown_since_ms = None;
                self.trouble = false;
                self.next_ms = now_ms.saturating_add(VERIFY_SHUT_MS);
            }
            Some(_) => {
                self.is_off = false;
                self.unknown_since_ms.get_or_insert(now_ms);
                self.trouble = true;
                self.next_ms = now_ms.saturating_add(RETRY_MS);
                if was_off {
                    self.off(now_ms, commands);
                }
            }
            // What was off and was not switched since is off still.
            None => self.next_ms = now_ms.saturating_add(RETRY_MS),
        }
    }

    fn failed(&mut self) {
        self.trouble = true;
        self.failures = self.failures.saturating_add(1);
    }

    fn differs(&self) -> bool {
        let wanted = self.lease_until_ms.is_some();
        self.seen
            .is_some_and(|seen| seen.on != wanted || !seen.agrees)
    }

    fn ceiling_ms(&self) -> Option<u64> {
        self.lease_until_ms?;
        Some(self.open_since_ms?.saturating_add(CEILING_MS))
    }

    fn due_ms(&self) -> u64 {
        let lease_ms = self.lease_until_ms.unwrap_or(u64::MAX);
        let ceiling_ms = self.ceiling_ms().unwrap_or(u64::MAX);
        self.next_ms.min(lease_ms).min(ceiling_ms)
    }
}
