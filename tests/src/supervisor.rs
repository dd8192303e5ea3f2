//! What systemd does for one unit, as far as valves hang on it: signs of life (`Type=notify`,
//! `WatchdogSec`, `WatchdogSignal=SIGKILL`), `ExecStopPost`, `Restart=always`.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use crate::process::{Process, until};

/// How often the process is looked at; systemd learns of its end at once.
const LOOK: Duration = Duration::from_millis(10);
/// How long a start, or a command behind the end, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A unit file.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name, for logs.
    pub name: String,
    /// `ExecStart`: program and arguments.
    pub start: Vec<String>,
    /// `ExecStopPost`.
    pub stop_post: Vec<String>,
    /// `WatchdogSec`.
    pub watchdog: Duration,
    /// `RestartSec`.
    pub restart_after: Duration,
    /// `RuntimeDirectory`, also for sockets and logs.
    pub folder: PathBuf,
}

/// A unit that is kept running. Dropping it kills the process.
#[derive(Debug)]
pub struct Supervisor {
    orders: SyncSender<Order>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Debug)]
enum Order {
    Signal(Signal),
    /// The whole machine hangs, or has no power: nothing is restarted or closed any more.
    Freeze,
    End,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Starts that got ready.
    pub ready: u32,
    /// Times that the watchdog killed it.
    pub watchdog_kills: u32,
    /// Times that `ExecStopPost` succeeded.
    pub stop_posts: u32,
    /// Times that it failed.
    pub stop_posts_failed: u32,
}

impl Supervisor {
    /// Starts the unit and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(unit: Unit) -> anyhow::Result<Self> {
        // A handful of orders in a test.
        let (orders, taken) = sync_channel(8);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let thread = std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || Keeper::new(unit, seen)?.run(&taken)
        });
        let supervisor = Supervisor {
            orders,
            seen,
            thread: Some(thread),
        };
        until(PATIENCE, || Ok((supervisor.seen().ready > 0).then_some(())))
            .context("the unit does not get ready")?;
        Ok(supervisor)
    }

    /// What happened so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.orders
            .send(Order::Signal(signal))
            .context("the supervisor is gone")
    }

    /// From now on nothing is killed, closed or started.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.orders
            .send(Order::Freeze)
            .context("the supervisor is gone")
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // A supervisor that has failed is gone already.
        self.orders.send(Order::End).ok();
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            tell(&format!("supervisor: {error:#}"));
        }
    }
}

struct Keeper {
    unit: Unit,
    seen: Arc<Mutex<Seen>>,
    notices: UnixDatagram,
    process: Option<Process>,
    /// `None` until it is ready.
    alive: Option<Instant>,
    restart_at: Instant,
    frozen: bool,
}

impl Keeper {
    fn new(unit: Unit, seen: Arc<Mutex<Seen>>) -> anyhow::Result<Self> {
        let notices =
            UnixDatagram::bind(notify_socket(&unit.folder)).context("bind the notices")?;
        notices.set_read_timeout(Some(LOOK))?;
        Ok(Keeper {
            unit,
            seen,
            notices,
            process: None,
            alive: None,
            restart_at: Instant::now(),
            frozen: false,
        })
    }

    fn run(mut self, orders: &Receiver<Order>) -> anyhow::Result<()> {
        loop {
            match orders.try_recv() {
                Ok(Order::Signal(signal)) => {
                    let process = self.process.as_ref().context("no process")?;
                    process.signal(signal)?;
                }
                Ok(Order::Freeze) => self.frozen = true,
                Ok(Order::End) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            self.listen()?;
            if !self.frozen {
                self.keep()?;
            }
        }
    }

    /// Waits for a notice, not for long.
    fn listen(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 256];
        let text = match self.notices.recv(&mut buffer) {
            Ok(length) => String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                return Ok(());
            }
            Err(error) => bail!("notices: {error}"),
        };
        for notice in text.lines() {
            match notice {
                "READY=1" => {
                    self.alive = Some(Instant::now());
                    self.note(|seen| seen.ready += 1);
                }
                "WATCHDOG=1" => self.alive = self.alive.map(|_| Instant::now()),
                _ => {}
            }
        }
        Ok(())
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else {
            if Instant::now() >= self.restart_at {
                self.process = Some(self.spawn()?);
            }
            return Ok(());
        };
        let is_silent = self
            .alive
            .is_some_and(|alive| alive.elapsed() > self.unit.watchdog);
        if is_silent {
            process.kill()?;
            self.note(|seen| seen.watchdog_kills += 1);
            return self.ended();
        }
        if process.ended()?.is_some() {
            return self.ended();
        }
        Ok(())
    }

    fn ended(&mut self) -> anyhow::Result<()> {
        self.process = None;
        self.alive = None;
        let mut command = self.command(&self.unit.stop_post)?;
        let log = self
            .unit
            .folder
            .join(format!("{}-post.log", self.unit.name));
        let closed = Process::start("ExecStopPost", &mut command, &log)?.wait(PATIENCE)?;
        self.note(|seen| {
            if closed.success() {
                seen.stop_posts += 1;
            } else {
                seen.stop_posts_failed += 1;
            }
        });
        self.restart_at = Instant::now() + self.unit.restart_after;
        Ok(())
    }

    fn spawn(&self) -> anyhow::Result<Process> {
        let mut command = self.command(&self.unit.start)?;
        let watchdog_us = self.unit.watchdog.as_micros().to_string();
        command
            .env("NOTIFY_SOCKET", notify_socket(&self.unit.folder))
            .env("WATCHDOG_USEC", watchdog_us);
        let log = self.unit.folder.join(format!("{}.log", self.unit.name));
        Process::start(&self.unit.name, &mut command, &log)
    }

    fn command(&self, words: &[String]) -> anyhow::Result<Command> {
        let (program, arguments) = words.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("RUNTIME_DIRECTORY", &self.unit.folder);
        Ok(command)
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn notify_socket(folder: &Path) -> PathBuf {
    folder.join("notify.sock")
}

#[expect(clippy::print_stderr, reason = "for who reads a failed test")]
fn tell(text: &str) {
    eprintln!("{text}");
}
