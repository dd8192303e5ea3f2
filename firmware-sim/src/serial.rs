//! A serial port for programs, at a pseudo-terminal: the RS-485 line of the world.
//!
//! Owns the terminal and a link to it at a path of the caller's. Its times are real ones: a late answer
//! comes late by the real clock.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;

use crate::chips::soil_probe::crc16;
use crate::world::{Answer, REQUEST_BYTES};

/// Looks this often whether it is over, and whether a program has opened the port.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a request that come later than this after the others are the next one's.
const GAP: Duration = Duration::from_millis(50);
/// Answers that wait for their time; a line with more drops the oldest.
const LATE_MAX: usize = 16;

/// The line's end that is not the program's.
#[derive(Debug)]
pub(crate) struct Serial {
    master: File,
    /// Of a request that is not complete.
    heard: Vec<u8>,
    heard_at: Instant,
    late: Vec<(Instant, Vec<u8>)>,
}

impl Serial {
    /// Opens a terminal, and links it at `path`; what is a link there already is replaced.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let pair = openpty(None, None)?;
        // Before a program opens it: no echo of what the probes say.
        let mut raw = tcgetattr(&pair.slave)?;
        cfmakeraw(&mut raw);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &raw)?;
        let name = ttyname(&pair.slave)?;
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
            std::fs::remove_file(path)?;
        }
        std::os::unix::fs::symlink(name, path)?;
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // The program's end is closed here: else its lock on the port would outlive the program.
        Ok(Self {
            master: File::from(pair.master),
            heard: Vec::new(),
            heard_at: Instant::now(),
            late: Vec::new(),
        })
    }

    /// Waits a moment for a request, and for the time of answers.
    pub(crate) fn turn(&mut self, mut answer: impl FnMut(&[u8; REQUEST_BYTES]) -> Option<Answer>) {
        let now = Instant::now();
        let next = self
            .late
            .iter()
            .map(|(at, _)| at.saturating_duration_since(now));
        let wait = next.min().unwrap_or(LOOK).min(LOOK);
        let wait = PollTimeout::try_from(wait.as_millis()).unwrap_or(PollTimeout::ZERO);
        let mut ends = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let polled = poll(&mut ends, wait);
        let [end] = &ends;
        let events = end.revents().unwrap_or(PollFlags::empty());
        if polled.is_ok() && events.contains(PollFlags::POLLIN) {
            self.hear();
        } else if events.contains(PollFlags::POLLHUP) {
            // No program has it open, which each poll says at once.
            self.heard.clear();
            let look = PollTimeout::try_from(LOOK.as_millis()).unwrap_or(PollTimeout::ZERO);
            poll(&mut [], look).ok();
        }
        while let Some(request) = self.request() {
            if let Some(Answer { bytes, after_ms }) = answer(&request) {
                if self.late.len() == LATE_MAX {
                    self.late.remove(0);
                    tracing::warn!(limit = LATE_MAX, "serial answer dropped");
                }
                let at = Instant::now() + Duration::from_millis(after_ms);
                self.late.push((at, bytes));
            }
        }
        self.say();
    }

    fn hear(&mut self) {
        if self.heard_at.elapsed() > GAP {
            self.heard.clear();
        }
        self.heard_at = Instant::now();
        let mut bytes = [0; 256];
        match self.master.read(&mut bytes) {
            Ok(count) => self.heard.extend(bytes.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => tracing::debug!(%error, "serial port not read"),
        }
    }

    /// The next request; bytes before it are nobody's.
    fn request(&mut self) -> Option<[u8; REQUEST_BYTES]> {
        loop {
            let request: [u8; REQUEST_BYTES] = *self.heard.first_chunk()?;
            let [frame @ .., low, high] = request;
            if crc16(&frame) == u16::from_le_bytes([low, high]) {
                self.heard.drain(..REQUEST_BYTES);
                return Some(request);
            }
            self.heard.remove(0);
        }
    }

    fn say(&mut self) {
        let now = Instant::now();
        let (due, late) = self.late.drain(..).partition(|(at, _)| *at <= now);
        self.late = late;
        let due: Vec<(Instant, Vec<u8>)> = due;
        for (_, bytes) in due {
            if let Err(error) = self.master.write_all(&bytes) {
                tracing::debug!(%error, "serial answer heard by nobody");
            }
        }
    }
}
