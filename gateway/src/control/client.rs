//! The commands' end of the control socket; blocking, since a command does one thing.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Answer, Ask, MAX_LINE_BYTES};

/// A line has to come within this time: the gateway tells of a run's progress more often.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a question could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens at the socket.
    #[error("the gateway is not running: connect to {path}")]
    NotRunning {
        /// The socket.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// Somebody listens, but not to this user.
    #[error("the gateway at {path} does not listen to this user: run this as root or as its user")]
    NotAllowed {
        /// The socket.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    #[error("talk to the gateway")]
    Io(#[from] io::Error),
    /// The answer is not one of ours.
    #[error("read the gateway's answer")]
    Answer(#[from] serde_json::Error),
}

/// Asks; gives the lines of the answer as they come.
///
/// # Errors
/// When the gateway is not running or the question can't be sent.
pub fn ask(
    path: &Path,
    question: &Ask,
) -> Result<impl Iterator<Item = Result<Answer, AskError>> + use<>, AskError> {
    let connected = UnixStream::connect(path);
    let mut stream = connected.map_err(|source| {
        let path = path.display().to_string();
        // A command that takes it for stopped would go to the buses beside it.
        if source.kind() == io::ErrorKind::PermissionDenied {
            AskError::NotAllowed { path, source }
        } else {
            AskError::NotRunning { path, source }
        }
    })?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(stream);
    Ok(std::iter::from_fn(move || {
        let mut line = String::new();
        match reader.by_ref().take(limit).read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).map_err(AskError::from)),
            Err(error) => Some(Err(error.into())),
        }
    }))
}
