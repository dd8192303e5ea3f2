//! The gateway's end of the guard's socket; blocking, for the thread of its bus.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use furrow_drivers::{BusFault, Cause, SensorError};
use furrow_irrigation::OutputStatus;

use super::protocol::{Answer, Ask, MAX_ANSWER_BYTES, OutputReport, Report};
use crate::bus::FieldClock;

/// An answer has to come within this time: a relay is written and read back in some milliseconds,
/// and a guard that hangs must not hold up its bus's other jobs for long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the guard could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Nobody listens at the socket.
    #[error("the guard is not running: connect to {path}")]
    NotRunning {
        /// The socket.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke, or the guard hangs.
    #[error("talk to the guard")]
    Io(#[from] io::Error),
    /// The answer is not one of ours.
    #[error("read the guard's answer")]
    Answer(#[from] serde_json::Error),
    /// The guard refused.
    #[error("the guard refused: {0}")]
    Refused(String),
}

/// A connection to the guard, made when it is needed and again after a failure.
#[derive(Debug)]
pub struct GuardClient {
    path: PathBuf,
    clock: FieldClock,
    stream: Option<BufReader<UnixStream>>,
}

impl GuardClient {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(path: &Path, clock: FieldClock) -> Self {
        Self {
            path: path.to_owned(),
            clock,
            stream: None,
        }
    }

    /// Opens an output for so many seconds from now, or closes it with 0.
    ///
    /// # Errors
    /// The guard, or its refusal.
    pub fn set_lease(&mut self, output: u8, seconds: u16) -> Result<(), SensorError> {
        let at_ms = self.clock.now().mono_ms();
        let ask = Ask::Lease {
            output,
            seconds,
            at_ms,
        };
        self.asked("lease", &ask).map(drop)
    }

    /// How an output is. The guard counts no pulses.
    ///
    /// # Errors
    /// The guard, or its refusal.
    pub fn output(&mut self, output: u8) -> Result<OutputStatus, SensorError> {
        match self.asked("output", &Ask::Output { output })? {
            Answer::Output(report) => Ok(status(&report)),
            Answer::Done | Answer::Report(_) | Answer::Refused { .. } => Err(not_an_answer()),
        }
    }

    /// Which outputs are on: output n in bit n - 1.
    ///
    /// # Errors
    /// The guard.
    pub fn open_outputs(&mut self) -> Result<u32, SensorError> {
        match self.asked("outputs", &Ask::Report)? {
            Answer::Report(report) => Ok(open_of(&report)),
            Answer::Done | Answer::Output(_) | Answer::Refused { .. } => Err(not_an_answer()),
        }
    }

    /// The flags of an output were seen.
    ///
    /// # Errors
    /// The guard.
    pub fn clear(&mut self, output: u8) -> Result<(), SensorError> {
        self.asked("flags", &Ask::Clear { output }).map(drop)
    }

    fn asked(&mut self, register: &'static str, ask: &Ask) -> Result<Answer, SensorError> {
        self.ask(ask).map_err(|error| {
            let cause = match &error {
                GuardError::NotRunning { .. } => Cause::Bus(BusFault::NoAddress),
                GuardError::Io(error) if is_late(error) => Cause::Bus(BusFault::Stuck),
                GuardError::Io(_) | GuardError::Answer(_) => Cause::Bus(BusFault::Other),
                GuardError::Refused(reason) => {
                    tracing::warn!(?ask, reason, "the guard refused");
                    Cause::Refused("the guard refused")
                }
            };
            failed(register, cause)
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`GuardError`], also when the guard refuses.
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer, GuardError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        stream.get_mut().write_all(&line)?;
        let limit = u64::try_from(MAX_ANSWER_BYTES).unwrap_or(u64::MAX);
        let mut text = String::new();
        stream.by_ref().take(limit).read_line(&mut text)?;
        if text.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let answer = serde_json::from_str(&text)?;
        // A late answer must not be taken for the next one: only a connection that answered is kept.
        self.stream = Some(stream);
        match answer {
            Answer::Refused { reason } => Err(GuardError::Refused(reason)),
            Answer::Done | Answer::Output(_) | Answer::Report(_) => Ok(answer),
        }
    }

    fn connect(&self) -> Result<BufReader<UnixStream>, GuardError> {
        let connected = UnixStream::connect(&self.path);
        let stream = connected.map_err(|source| GuardError::NotRunning {
            path: self.path.display().to_string(),
            source,
        })?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(BufReader::new(stream))
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn status(report: &OutputReport) -> OutputStatus {
    OutputStatus {
        commanded: report.commanded,
        confirmed: report.confirmed,
        fault: report.fault,
        was_reset: report.was_reset,
        lease_ran_out: report.lease_ran_out,
        pulses: None,
    }
}

fn open_of(report: &Report) -> u32 {
    let on = report.outputs.iter().filter(|output| output.confirmed);
    on.fold(0, |mask, output| {
        let bit = 1_u32.checked_shl(u32::from(output.output.saturating_sub(1)));
        mask | bit.unwrap_or_default()
    })
}

fn failed(register: &'static str, cause: Cause) -> SensorError {
    SensorError {
        chip: "guard",
        address: None,
        register,
        cause,
    }
}

fn not_an_answer() -> SensorError {
    failed("answer", Cause::Bus(BusFault::Other))
}
