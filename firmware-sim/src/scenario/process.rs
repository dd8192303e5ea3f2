//! A child process with bounded output, that never outlives its owner.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Output that is kept of a child, bytes: the last of it, enough for a few hundred lines.
const OUTPUT_MAX: usize = 64 * 1024;
/// Streams of a child.
const STREAMS: usize = 2;

/// One program.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    heard: Arc<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    output: Vec<u8>,
    closed: usize,
}

impl Process {
    /// Starts it without input, away from the terminal's signals, and without variables that change a
    /// configuration.
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FURROW_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let heard = Arc::new(Heard::default());
        if let Some(stream) = child.stdout.take() {
            listen(stream, Arc::clone(&heard));
        }
        if let Some(stream) = child.stderr.take() {
            listen(stream, Arc::clone(&heard));
        }
        Ok(Self { child, heard })
    }

    /// Its exit status, if it has ended.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to stop.
    pub(super) fn ask_to_stop(&self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            // One that has gone already is what was wanted.
            kill(Pid::from_raw(id), Signal::SIGTERM).ok();
        }
    }

    /// Waits until it has said something or has closed its output, at most for `patience`.
    pub(super) fn wait_for_words(&self, patience: Duration) {
        self.wait(patience, |state| {
            !state.output.is_empty() || state.closed == STREAMS
        });
    }

    /// Waits until it has closed its output, at most for `patience`. Answers whether it has.
    pub(super) fn wait_for_end(&self, patience: Duration) -> bool {
        self.wait(patience, |state| state.closed == STREAMS)
    }

    /// The last of what it said.
    pub(super) fn output(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().output).into_owned()
    }

    fn wait(&self, patience: Duration, is_enough: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.heard.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if is_enough(&state) || left.is_zero() {
                return is_enough(&state);
            }
            let waited = self.heard.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.kill());
        }
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(mut stream: impl Read + Send + 'static, heard: Arc<Heard>) {
    thread::spawn(move || {
        let mut piece = [0; 4_096];
        while let Ok(read @ 1..) = stream.read(&mut piece) {
            let mut state = heard.lock();
            state.output.extend(piece.iter().take(read));
            let excess = state.output.len().saturating_sub(OUTPUT_MAX);
            state.output.drain(..excess);
            drop(state);
            heard.changed.notify_all();
        }
        heard.lock().closed += 1;
        heard.changed.notify_all();
    });
}
