//! The run: a simulator in this process, the gateway beside it, and a clock client that stops time
//! wherever something is to be done or looked at.
//!
//! Time stands while this client is busy, so a fault, a command or a look falls on its moment exactly,
//! however slow the machine is. What is due at a moment has been done before it is looked at: this
//! client waits half a millisecond longer.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use furrow_sim_bus::{Busy, RemoteBus, RemoteClock};

use super::file;
use super::plan::{Action, Plan, What};
use super::process::Process;
use super::record::Records;
use super::site::{SERIAL, Site};
use super::want::Of;
use super::{BadInput, Shared};
use crate::physics::hydraulics::Change;
use crate::server::{Options, Simulator};
use crate::world::HornChange;

/// A look comes so much behind its moment, ns.
const BEHIND_NS: u64 = 500_000;
/// Simulated time between two looks at the programs and two steps of the progress, ms.
const STEP_MS: u64 = 5 * 60_000;
/// Real time in which a program has to connect.
const CONNECT: Duration = Duration::from_secs(30);
/// Real time in which a program that was asked to stop has to end.
const STOP: Duration = Duration::from_secs(30);
/// Real time that a command has for its first word while simulated time stands.
const FIRST_WORD: Duration = Duration::from_secs(5);
/// Simulated time that passes at once while a program stops, ns.
const STOP_STEP_NS: u64 = 250_000_000;
/// What a program cannot use: its configuration (`EX_USAGE`).
const EXIT_CONFIG: i32 = 64;
/// Characters of the gateway's log in a report.
const LOG_MAX: usize = 4_000;

/// How far a scenario is.
#[derive(Debug, Clone)]
pub struct Step {
    /// What the file calls itself.
    pub name: String,
    /// Simulated time since its start, ms.
    pub at_ms: u64,
    /// Its length, ms.
    pub length_ms: u64,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) end_ms: u64,
    pub(super) broken: Option<String>,
    pub(super) log: String,
    /// Litres of each output's zone, at the moments that expectations name.
    pub(super) given: BTreeMap<u64, Vec<f64>>,
    pub(super) changes: Vec<Change>,
    pub(super) horns: Vec<HornChange>,
    pub(super) records: Records,
    /// What commands said, by their want.
    pub(super) said: BTreeMap<usize, String>,
}

/// Why it goes no further.
enum Stopped {
    /// It can't be played with this input.
    Bad(BadInput),
    /// Something failed on the way.
    Broken(String),
}

struct Stage<'a> {
    plan: &'a Plan,
    site: &'a Site,
    shared: &'a Shared,
    simulator: Simulator,
    clock: RemoteClock,
    busy: Option<Busy>,
    until: Instant,
    config: PathBuf,
    gateway: Option<Process>,
    guard: Option<Process>,
    commands: Vec<(usize, Process)>,
    played: Played,
}

/// Plays it to the end.
pub(super) fn play(
    plan: &Plan,
    site: &Site,
    shared: &Shared,
    progress: &mut dyn FnMut(&Step),
) -> Result<Played, BadInput> {
    let mut stage = match Stage::open(plan, site, shared) {
        Ok(opened) => opened,
        Err(problem) => {
            let broken = Some(problem);
            return Ok(Played {
                broken,
                ..Played::default()
            });
        }
    };
    let (folder, stage) = (&stage.0, &mut stage.1);
    let result = stage.run(progress);
    stage.played.log = stage
        .gateway
        .as_ref()
        .map_or_else(String::new, |gateway| last(&gateway.output()));
    match result {
        Ok(()) => {}
        Err(Stopped::Bad(bad)) => return Err(bad),
        Err(Stopped::Broken(broken)) => stage.played.broken = Some(broken),
    }
    drop(stage.gateway.take());
    drop(stage.guard.take());
    let played = std::mem::take(&mut stage.played);
    tracing::debug!(folder = %folder.path().display(), "scenario was played");
    Ok(played)
}

impl<'a> Stage<'a> {
    fn open(
        plan: &'a Plan,
        site: &'a Site,
        shared: &'a Shared,
    ) -> Result<(tempfile::TempDir, Self), String> {
        let until = Instant::now() + plan.limit;
        let told = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let folder = tempfile::Builder::new()
            .prefix("furrow-scenario-")
            .tempdir();
        let folder = folder.map_err(|error| told("make a folder", &error))?;
        let any = || "tcp:127.0.0.1:0".parse().expect("an address of ours");
        let simulator = Simulator::start(Options {
            listen: any(),
            control: any(),
            setup: plan.setup.clone(),
            mode: plan.mode,
            clients_min: 1,
            trace: None,
            end: None,
            faults: Vec::new(),
        });
        let simulator = simulator.map_err(|error| told("start the simulator", &error))?;
        simulator
            .serve_one_wire(&folder.path().join("one-wire"))
            .map_err(|error| told("make 1-Wire files", &error))?;
        simulator
            .serve_serial(&folder.path().join(SERIAL))
            .map_err(|error| told("make a serial line", &error))?;
        let bus = RemoteBus::connect(&simulator.bus.to_string(), "scenario");
        let clock = bus
            .map_err(|error| told("connect to the simulator", &error))?
            .clock();
        let busy = Some(clock.busy());
        let config = folder.path().join("gateway.toml");
        std::fs::write(
            &config,
            site.copy(&simulator.bus.to_string(), folder.path()),
        )
        .map_err(|error| told("write the configuration", &error))?;
        let stage = Self {
            plan,
            site,
            shared,
            simulator,
            clock,
            busy,
            until,
            config,
            gateway: None,
            guard: None,
            commands: Vec::new(),
            played: Played::default(),
        };
        Ok((folder, stage))
    }

    fn run(&mut self, progress: &mut dyn FnMut(&Step)) -> Result<(), Stopped> {
        self.check_faults()?;
        self.start()?;
        let mut looks: BTreeSet<u64> = BTreeSet::from([0, self.plan.length_ms]);
        looks.extend(
            self.plan
                .wants
                .iter()
                .flat_map(|want| [want.from_ms, want.to_ms]),
        );
        let mut actions = self.plan.actions.iter().peekable();
        let mut at_ms = 0;
        loop {
            let next = looks.first().copied().into_iter();
            let next = next.chain(actions.peek().map(|action| action.at_ms)).min();
            let Some(next) = next else { break };
            while at_ms < next {
                at_ms = next.min(at_ms + STEP_MS);
                self.advance(at_ms * 1_000_000 + BEHIND_NS)?;
                self.played.end_ms = at_ms;
                let name = self.plan.name.clone();
                let length_ms = self.plan.length_ms;
                progress(&Step {
                    name,
                    at_ms,
                    length_ms,
                });
            }
            if looks.remove(&next) {
                let given = self
                    .simulator
                    .with_world(|world| world.water().given_litres());
                self.played.given.insert(next, given);
            }
            while let Some(action) = actions.next_if(|action| action.at_ms == next) {
                self.act(action)?;
            }
        }
        self.end()
    }

    /// What is not possible here is a mistake of the file.
    fn check_faults(&self) -> Result<(), Stopped> {
        for action in &self.plan.actions {
            let What::Fault(order) = &action.what else {
                continue;
            };
            let checked = self.simulator.with_world(|world| world.check(&order.fault));
            checked.map_err(|error| {
                Stopped::Bad(BadInput {
                    path: self.plan.path.clone(),
                    line: Some(action.line),
                    problem: format!("fault: {error}"),
                })
            })?;
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), Stopped> {
        match &action.what {
            What::Fault(order) => {
                let done = self
                    .simulator
                    .with_world(|world| world.order(order.clone()));
                done.map_err(|error| Stopped::Broken(error.to_string()))
            }
            What::Command(words, want) => {
                let command = self.gateway_command().args(words).spawned();
                let command =
                    command.map_err(|error| broken("start the gateway's command", error))?;
                command.wait_for_words(FIRST_WORD);
                self.commands.push((*want, command));
                Ok(())
            }
            What::Process(process) => self.disturb(*process),
            What::Start => self.start(),
        }
    }

    fn disturb(&mut self, process: file::Process) -> Result<(), Stopped> {
        let kill = |program: &mut Option<Process>| match program.take() {
            Some(mut program) => program
                .kill()
                .map_err(|error| broken("end a program", error)),
            None => Ok(()),
        };
        match process {
            file::Process::Kill => kill(&mut self.gateway)?,
            file::Process::KillGuard => kill(&mut self.guard)?,
            file::Process::PowerCut => {
                kill(&mut self.gateway)?;
                kill(&mut self.guard)?;
            }
            file::Process::Restart => return self.stop_gateway(),
        }
        // Its connections close at the simulator in their own time: nothing may begin before.
        let name = if process == file::Process::KillGuard {
            GUARD
        } else {
            GATEWAY
        };
        let until = Instant::now() + CONNECT;
        while self.is_connected(name) && Instant::now() < until {
            thread::yield_now();
        }
        if process == file::Process::PowerCut {
            let cut = crate::faults::FaultOrder {
                fault: crate::faults::Fault::PowerCut,
                after_ms: 0,
                for_ms: None,
            };
            let done = self.simulator.with_world(|world| {
                world.reboot();
                world.order(cut)
            });
            done.map_err(|error| Stopped::Broken(error.to_string()))?;
        }
        Ok(())
    }

    /// Starts what is not there.
    fn start(&mut self) -> Result<(), Stopped> {
        if self.site.has_guard && self.guard.is_none() {
            let program = self.shared.guard.clone().unwrap_or_default();
            self.guard = Some(self.begin(&program, GUARD)?);
        }
        if self.gateway.is_none() {
            self.gateway = Some(self.begin(&self.shared.gateway.clone(), GATEWAY)?);
        }
        Ok(())
    }

    /// Simulated time stands until the program holds it itself.
    fn begin(&self, program: &Path, name: &str) -> Result<Process, Stopped> {
        let mut command = Command::new(program);
        command.arg("--config").arg(&self.config).arg("run");
        let bad = |problem: String| {
            Stopped::Bad(BadInput {
                path: program.to_owned(),
                line: None,
                problem,
            })
        };
        let started = Process::start(&mut command);
        let mut started = started.map_err(|error| bad(format!("can't be started: {error}")))?;
        let until = Instant::now() + CONNECT;
        while !self.is_connected(name) {
            let ended = started
                .ended()
                .map_err(|error| broken("look at a program", error))?;
            if let Some(status) = ended {
                started.wait_for_end(STOP);
                let said = last(&started.output());
                let problem = format!("{name} ended with {status} at its start:\n{said}");
                return Err(if status.code() == Some(EXIT_CONFIG) {
                    Stopped::Bad(self.site.bad(&said))
                } else {
                    Stopped::Broken(problem)
                });
            }
            if Instant::now() > until {
                let problem = format!("{name} did not connect to the simulator within {CONNECT:?}");
                return Err(Stopped::Broken(problem));
            }
            started.wait_for_end(Duration::from_millis(2));
        }
        Ok(started)
    }

    fn is_connected(&self, name: &str) -> bool {
        self.simulator
            .client_names()
            .iter()
            .any(|client| client == name)
    }

    /// Asks it to stop; simulated time passes meanwhile, as valves take theirs to close.
    fn stop_gateway(&mut self) -> Result<(), Stopped> {
        let Some(mut gateway) = self.gateway.take() else {
            return Ok(());
        };
        gateway.ask_to_stop();
        let until = Instant::now() + STOP;
        loop {
            let ended = gateway
                .ended()
                .map_err(|error| broken("look at the gateway", error))?;
            if ended.is_some() {
                gateway.wait_for_end(STOP);
                self.played.log = last(&gateway.output());
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Stopped::Broken(format!(
                    "the gateway did not stop within {STOP:?}"
                )));
            }
            self.advance(self.clock.now().mono_ns + STOP_STEP_NS)?;
            gateway.wait_for_end(Duration::from_millis(1));
        }
    }

    /// Lets time pass until `to_ns`, and looks whether the programs are still there.
    fn advance(&mut self, to_ns: u64) -> Result<(), Stopped> {
        let busy = self.busy.take().unwrap_or_else(|| self.clock.busy());
        let mut wait = pin!(self.clock.wait_until_async(to_ns, busy));
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(busy) = wait.as_mut().poll(&mut context) {
                self.busy = Some(busy);
                break;
            }
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let (limit, at_ms) = (self.plan.limit, self.clock.now().mono_ns / 1_000_000);
                return Err(Stopped::Broken(format!(
                    "its real time of {limit:?} was over {} s of simulated time after the start: \
                     raise limit, shorten it, or see what the gateway waits for",
                    at_ms / 1_000
                )));
            }
            thread::park_timeout(left);
        }
        for (program, name) in [(&mut self.gateway, GATEWAY), (&mut self.guard, GUARD)] {
            let Some(running) = program else { continue };
            if let Ok(Some(status)) = running.ended() {
                running.wait_for_end(STOP);
                let said = last(&running.output());
                return Err(Stopped::Broken(format!(
                    "{name} ended by itself with {status}:\n{said}"
                )));
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stopped> {
        self.played.changes = self
            .simulator
            .with_world(|world| world.water().changes().collect());
        self.played.horns = self.simulator.with_world(|world| world.horn_log());
        self.stop_gateway()?;
        let log = std::mem::take(&mut self.played.log);
        for (want, command) in &self.commands {
            // Its gateway is gone, so it ends.
            command.wait_for_end(STOP);
            self.played.said.insert(*want, command.output());
        }
        self.played.log = log;
        let wanted = self.plan.wants.iter().filter_map(|want| match &want.of {
            Of::Channel(name, _, _) => Some(name.as_str()),
            Of::Given(..)
            | Of::Valve(..)
            | Of::Runs(..)
            | Of::OpenFor(..)
            | Of::OpenAtOnce(_)
            | Of::PumpAgainstClosed(_)
            | Of::PumpDry(_)
            | Of::Journal(..)
            | Of::Horn(..)
            | Of::Says(_)
            | Of::Nothing => None,
        });
        let records = Records::read(&self.shared.gateway, &self.config, &wanted.collect());
        self.played.records = records.map_err(Stopped::Broken)?;
        Ok(())
    }

    fn gateway_command(&self) -> Command {
        let mut command = Command::new(&self.shared.gateway);
        command.arg("--config").arg(&self.config);
        command
    }
}

/// Names of the programs' clocks at the simulator.
const GATEWAY: &str = "furrow-gateway";
const GUARD: &str = "furrow-guard";

trait Spawned {
    fn spawned(&mut self) -> std::io::Result<Process>;
}

impl Spawned for Command {
    fn spawned(&mut self) -> std::io::Result<Process> {
        Process::start(self)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn broken(what: &str, error: std::io::Error) -> Stopped {
    Stopped::Broken(format!("{what}: {error}"))
}

/// The end of a text.
fn last(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(LOG_MAX);
    text.trim_end().chars().skip(skipped).collect()
}
