//! The control port: one JSON object a line in, one a line out.

use std::io::{self, BufRead, BufReader, Read};

use furrow_sim_bus::socket::{Address, IO_TIMEOUT, Stream};
use serde::{Deserialize, Serialize};

use crate::faults::FaultOrder;

/// Longest line in either direction, bytes: a status with a full valve log takes some 400 KiB.
const LINE_MAX: u64 = 4 * 1024 * 1024;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// The state of everything.
    Status,
    /// A fault, now or later.
    Fault {
        /// Which, and when.
        order: FaultOrder,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// It was done; with the status if that was asked for.
    Done {
        /// Always true.
        ok: bool,
        /// The status, as an object.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<serde_json::Value>,
    },
    /// It was refused.
    Refused {
        /// Why.
        error: String,
    },
}

/// Why the simulator could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The address is wrong.
    #[error(transparent)]
    Address(#[from] furrow_sim_bus::BusError),
    /// The connection failed.
    #[error("ask the simulator at {address}")]
    Io {
        /// Its control address.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The line is not of this protocol.
    #[error("answer of the simulator")]
    Json(#[from] serde_json::Error),
    /// The simulator refused.
    #[error("the simulator refused: {0}")]
    Refused(String),
}

/// Asks a running simulator at `address` (`tcp:HOST:PORT` or `unix:PATH`). Returns the status if that
/// was asked for.
///
/// # Errors
/// [`ControlError`], also when the simulator refuses.
pub fn ask(address: &str, command: &Command) -> Result<Option<serde_json::Value>, ControlError> {
    let parsed: Address = address.parse()?;
    let failed = |source| ControlError::Io {
        address: address.to_owned(),
        source,
    };
    let mut stream = parsed.connect().map_err(failed)?;
    stream.set_read_timeout(Some(IO_TIMEOUT)).map_err(failed)?;
    stream.send(&line(command)?).map_err(failed)?;
    let text = read_line(&mut BufReader::new(stream)).map_err(failed)?;
    match serde_json::from_str(text.as_deref().unwrap_or_default())? {
        Answer::Done { status, .. } => Ok(status),
        Answer::Refused { error } => Err(ControlError::Refused(error)),
    }
}

/// Serves one connection until it ends.
pub(crate) fn serve(stream: Stream, mut handle: impl FnMut(Command) -> Answer) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(text) = read_line(&mut reader)? {
        let answer = match serde_json::from_str(&text) {
            Ok(command) => handle(command),
            Err(error) => Answer::Refused {
                error: error.to_string(),
            },
        };
        let bytes = line(&answer).map_err(io::Error::from)?;
        reader.get_mut().send(&bytes)?;
    }
    Ok(())
}

fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn read_line(reader: &mut BufReader<Stream>) -> io::Result<Option<String>> {
    let mut text = String::new();
    let read = reader.by_ref().take(LINE_MAX).read_line(&mut text)?;
    Ok((read > 0).then_some(text))
}
