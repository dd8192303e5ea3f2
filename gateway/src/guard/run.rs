//! The lease loop: questions in, outputs switched, signs of life out.
//!
//! One thread does it all, hardware included: a hardware call that hangs keeps the signs of life from
//! systemd and from the relay supply's watchdog, and both close every valve. **Invariant:** both signs
//! are given behind the end of leases, in the same turn of the loop and nowhere else.

use std::time::Duration;

use anyhow::{Context as _, bail};
use furrow_irrigation::guard::{Command, Guard, Status};
use tokio::signal::unix::{SignalKind, signal};

use super::hardware::Hardware;
use super::protocol::{Answer, Ask, OutputReport, Report};
use super::server::{Question, Server};
use crate::bus::{Field, FieldClock, FieldEnd};
use crate::config::{GuardPart, GuardSettings};
use crate::run::notify::Notify;
use crate::run::time::FieldWait;

/// Rounds in which everything is closed at the end; systemd closes once more behind them.
const END_ROUNDS: u32 = 20;
/// Between two of them.
const END_PAUSE: Duration = Duration::from_millis(100);

/// Runs the guard until it is asked to stop, or simulated time ends. Every output is told to be off
/// first and last.
///
/// # Errors
/// What can't be opened, that another guard runs, or that the simulator went away.
pub async fn run(part: GuardPart) -> anyhow::Result<()> {
    let settings = part.guard.clone();
    let mut kinds = part.buses.iter().map(|bus| &bus.kind);
    let simulated = kinds.find(|kind| matches!(kind, crate::config::BusKind::Simulated { .. }));
    let field = Field::connect(simulated, "furrow-guard")?;
    let clock = field.clock().clone();
    let wait = FieldWait::new(&clock);
    let numbers: Vec<u8> = settings.outputs.iter().map(|o| o.number).collect();
    let mut lease_loop = LeaseLoop {
        hardware: Hardware::new(&part, &field)?,
        guard: Guard::new(&numbers, clock.now().mono_ms()),
        feed_at_ms: 0,
        settings,
        clock,
    };
    lease_loop.execute();
    let socket = &lease_loop.settings.socket;
    let server = Server::listen(socket);
    let server = server.with_context(|| format!("listen at {}", socket.display()))?;
    lease_loop.run(server, wait).await
}

struct LeaseLoop {
    hardware: Hardware,
    guard: Guard,
    settings: GuardSettings,
    clock: FieldClock,
    /// When the line of the supply's watchdog gets its next edge.
    feed_at_ms: u64,
}

impl LeaseLoop {
    async fn run(mut self, mut server: Server, mut wait: FieldWait) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("take over the signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("take over the signals")?;
        let mut ended = std::pin::pin!(self.clock.when_ended());
        let mut notify = Notify::new();
        notify.ready();
        let memory_kib = memory_kib();
        tracing::info!(
            outputs = self.settings.outputs.len(),
            memory_kib,
            "guard is running"
        );
        let lost = loop {
            self.turn();
            notify.alive();
            wait.declare(self.deadline_ms());
            let alive = notify.next_alive();
            tokio::select! {
                biased;
                _ = terminate.recv() => break None,
                _ = interrupt.recv() => break None,
                end = &mut ended => break match end {
                    FieldEnd::Finished(_) => None,
                    FieldEnd::Lost(why) => Some(why),
                },
                Some(question) = server.questions.recv() => {
                    // With a token simulated time is exact, and stands until the answer is out.
                    let busy = self.clock.busy();
                    self.answer(question);
                    wait.declare(self.deadline_ms());
                    drop(busy);
                }
                () = wait.reached() => {}
                () = at(alive) => {}
            }
        };
        notify.stopping();
        wait.resign();
        drop(server);
        if let Some(why) = lost {
            bail!("the field is lost: {why}");
        }
        self.finish().await
    }

    /// Ends leases, writes and reads what is due, and feeds the supply's watchdog.
    fn turn(&mut self) {
        let now_ms = self.clock.now().mono_ms();
        self.guard.handle_timeout(now_ms);
        self.execute();
        let now_ms = self.clock.now().mono_ms();
        if let Some(watchdog) = &self.settings.watchdog
            && now_ms >= self.feed_at_ms
        {
            let period_ms = u64::try_from(watchdog.period.as_millis()).unwrap_or(u64::MAX);
            self.feed_at_ms = now_ms.saturating_add(period_ms);
            if self.guard.may_supply(now_ms) {
                self.hardware.feed();
            }
        }
    }

    fn deadline_ms(&self) -> u64 {
        let feed_ms = self.settings.watchdog.as_ref().map(|_| self.feed_at_ms);
        self.guard.poll_timeout().min(feed_ms.unwrap_or(u64::MAX))
    }

    fn execute(&mut self) {
        while let Some(command) = self.guard.poll_command() {
            match command {
                Command::Write { output, on } => {
                    let written = self.hardware.switch(output, on);
                    let now_ms = self.clock.now().mono_ms();
                    self.guard
                        .handle_written(output, on, written.is_ok(), now_ms);
                    self.note(output, now_ms, written.err());
                }
                Command::ReadBack { output } => {
                    let seen = self.hardware.read_back(output);
                    let now_ms = self.clock.now().mono_ms();
                    let answer = seen.as_ref().ok().copied();
                    self.guard.handle_read_back(output, answer, now_ms);
                    self.note(output, now_ms, seen.err());
                }
            }
        }
    }

    /// Failures that repeat are told ever more rarely.
    fn note(&self, output: u8, now_ms: u64, error: Option<furrow_drivers::SensorError>) {
        let Some(error) = error else { return };
        let failures = self.guard.status(output, now_ms).map_or(0, |s| s.failures);
        if failures.is_power_of_two() {
            tracing::warn!(output, failures, %error, cause = %error.cause, "an output does not follow");
        }
    }

    fn answer(&mut self, question: Question) {
        let now_ms = self.clock.now().mono_ms();
        let refused = |reason: String| Answer::Refused { reason };
        let answer = match question.ask {
            Ask::Lease {
                output,
                seconds,
                at_ms,
            } => {
                let granted = self.guard.handle_lease(output, seconds, at_ms, now_ms);
                self.execute();
                let granted = match seconds {
                    0 => granted,
                    _ => granted.and_then(|()| self.guard.check_granted(output)),
                };
                tracing::debug!(output, seconds, ?granted, "lease");
                granted.map_or_else(|error| refused(error.to_string()), |()| Answer::Done)
            }
            Ask::Output { output } => match self.report(output, now_ms) {
                Some(report) => Answer::Output(report),
                None => refused(format!("there is no output {output}")),
            },
            Ask::Clear { output } => {
                self.guard.handle_clear(output);
                Answer::Done
            }
            Ask::Report => Answer::Report(self.whole_report(now_ms)),
        };
        // Who asked may have gone away meanwhile.
        drop(question.reply.send(answer));
    }

    fn whole_report(&self, now_ms: u64) -> Report {
        let outputs = self.settings.outputs.iter();
        let watchdog = self.settings.watchdog.as_ref();
        Report {
            outputs: outputs
                .filter_map(|output| self.report(output.number, now_ms))
                .collect(),
            supply: watchdog.map(|_| self.guard.may_supply(now_ms)),
            memory_kib: memory_kib(),
        }
    }

    fn report(&self, number: u8, now_ms: u64) -> Option<OutputReport> {
        let mut outputs = self.settings.outputs.iter();
        let output = outputs.find(|output| output.number == number)?;
        let Status {
            commanded,
            confirmed,
            fault,
            was_reset,
            lease_ran_out,
            ceiling_reached,
            left_ms,
            failures,
        } = self.guard.status(number, now_ms)?;
        Some(OutputReport {
            output: number,
            name: output.name.clone(),
            place: output.at.place(),
            commanded,
            confirmed,
            fault,
            was_reset,
            lease_ran_out,
            ceiling_reached,
            left_ms,
            failures,
        })
    }

    /// Closes everything. Field time may have ended, so real time passes here.
    async fn finish(&mut self) -> anyhow::Result<()> {
        for _ in 0..END_ROUNDS {
            self.guard.handle_close_all(self.clock.now().mono_ms());
            self.execute();
            if self.guard.is_shut() {
                tracing::info!("every output is off");
                return Ok(());
            }
            tokio::time::sleep(END_PAUSE).await;
        }
        bail!("not every output could be switched off")
    }
}

async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Memory of this process that is resident, where the system tells it.
fn memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
