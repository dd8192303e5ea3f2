//! A child process that never outlives its owner.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// One program under the harness. Its output goes to a log file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; output is appended to `log`.
    ///
    /// # Errors
    /// When the log can't be opened or the program can't be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open the log {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share the log")?)
            .stderr(file)
            // Ctrl-C in the terminal is for the owner, who stops its children in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name} ({:?})", command.get_program()))?;
        Ok(Process {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("look at {}", self.name))
    }

    /// Ends it at once, as a power cut would.
    ///
    /// # Errors
    /// When the signal can't be sent.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .with_context(|| format!("kill {}", self.name))?;
        self.child
            .wait()
            .with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// Asks it to stop (SIGTERM) and waits; one that has ended already gives its status.
    ///
    /// # Errors
    /// When it does not stop in time; it is killed then.
    pub fn stop(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        match self.wait(patience) {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill()?;
                Err(error)
            }
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).context("process id")?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended in time.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let name = self.name.clone();
        let log = self.log.clone();
        until(patience, || self.ended()).with_context(|| {
            format!(
                "{name} did not end within {patience:?}, see {}",
                log.display()
            )
        })
    }

    /// Waits for the first line of its log that holds `text`, and gives it.
    ///
    /// # Errors
    /// When the program ends before, or the line does not come in time.
    pub fn wait_for_line(&mut self, text: &str, patience: Duration) -> anyhow::Result<String> {
        let log = self.log.clone();
        let name = self.name.clone();
        let found = until(patience, || {
            let written = std::fs::read(&log).context("read the log")?;
            let written = String::from_utf8_lossy(&written);
            if let Some(line) = written.lines().find(|line| line.contains(text)) {
                return Ok(Some(line.to_owned()));
            }
            if let Some(status) = self.ended()? {
                bail!(
                    "{name} ended with {status} before it said {text:?}:\n{}",
                    tail(&written)
                );
            }
            Ok(None)
        });
        found.with_context(|| format!("wait for {text:?} in {}", log.display()))
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| tail(&String::from_utf8_lossy(&bytes)))
            .unwrap_or_else(|error| format!("(log unreadable: {error})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing to do about a failure: the process is gone then.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Asks `look` again and again until it gives something.
///
/// # Errors
/// What `look` gives, or that the time is up.
pub fn until<T>(
    patience: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("nothing within {patience:?}");
        }
        pause(POLL);
    }
}

/// Real time passes. The harness is end to end, where nothing else can be waited for.
#[expect(clippy::disallowed_methods, reason = "the one sleep of the harness")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A port of the loopback interface that was free a moment ago. Programs that are killed and started
/// again must come back under the same address, so they can't choose one for themselves.
///
/// # Errors
/// When the machine has none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr().context("find a free port")?.port())
}

fn tail(text: &str) -> String {
    const LINES: usize = 15;
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(LINES)..)
        .unwrap_or_default()
        .join("\n")
}
