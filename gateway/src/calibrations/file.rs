//! The history's file in the state folder: JSON that a person can read, replaced as a whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Calibrations, Entry, EntryError};
use crate::files::replace;

/// Largest file: [`super::ENTRIES_MAX`] entries are smaller.
const BYTES_MAX: u64 = 2 * 1024 * 1024;
/// What this program writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// Why the history can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not what this program writes.
    #[error("read {}: restore it from a backup, or move it away and calibrate again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// A later version wrote it.
    #[error("{} has the format {found} (this program reads {FORMAT}): update the program", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// Its entries do not follow each other.
    #[error("read {}: restore it from a backup, or move it away and calibrate again", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which.
        source: EntryError,
    },
    /// Another command holds it.
    #[error("another calibration is under way: try again when it has ended")]
    Busy,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: u32,
    entries: Vec<Entry>,
}

/// Where the history lies.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("calibrations.json")
}

/// Reads the history; no file is an empty one.
///
/// # Errors
/// [`FileError`].
pub fn load(state_dir: &Path) -> Result<Calibrations, FileError> {
    let path = path(state_dir);
    let failed = |source| FileError::Io {
        what: "read",
        path: path.clone(),
        source,
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Calibrations::default());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let contents: Contents =
        serde_json::from_str(&text).map_err(|source| FileError::Malformed {
            path: path.clone(),
            source,
        })?;
    if contents.format != FORMAT {
        let found = contents.format;
        return Err(FileError::Format { path, found });
    }
    let mut calibrations = Calibrations::default();
    for entry in contents.entries {
        calibrations.add(entry).map_err(|source| FileError::Entry {
            path: path.clone(),
            source,
        })?;
    }
    Ok(calibrations)
}

/// The history while nobody else may change it.
#[derive(Debug)]
pub struct Locked {
    state_dir: PathBuf,
    /// What it holds.
    pub calibrations: Calibrations,
    _lock: Flock<File>,
}

impl Locked {
    /// Takes the lock and reads.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(state_dir: &Path) -> Result<Self, FileError> {
        let path = state_dir.join("calibrations.lock");
        let failed = |source| FileError::Io {
            what: "open",
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Err(FileError::Busy),
            Err((_, error)) => return Err(failed(error.into())),
        };
        Ok(Locked {
            state_dir: state_dir.to_owned(),
            calibrations: load(state_dir)?,
            _lock: lock,
        })
    }

    /// Writes the history. What was there before stays until the new one is durable.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn save(&self) -> Result<(), FileError> {
        let path = path(&self.state_dir);
        let failed = |source| FileError::Io {
            what: "write",
            path: path.clone(),
            source,
        };
        let contents = Contents {
            format: FORMAT,
            entries: self.calibrations.entries().to_vec(),
        };
        let mut text = serde_json::to_string_pretty(&contents).map_err(|e| failed(e.into()))?;
        text.push('\n');
        replace(&path, text.as_bytes()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::What;
    use super::super::tests::{entry, offset};
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_only_one_may_change_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap(), Calibrations::default());
        let mut locked = Locked::open(folder.path()).unwrap();
        assert!(matches!(Locked::open(folder.path()), Err(FileError::Busy)));
        locked
            .calibrations
            .add(entry("sht", "air_temperature", 1, offset("0.5")))
            .unwrap();
        let undone = entry("sht", "air_temperature", 2, What::Undone { version: 1 });
        locked.calibrations.add(undone).unwrap();
        locked.save().unwrap();
        assert_eq!(load(folder.path()).unwrap(), locked.calibrations);
        drop(locked);
        assert_eq!(
            Locked::open(folder.path())
                .unwrap()
                .calibrations
                .entries()
                .len(),
            2
        );
        let text = fs::read_to_string(path(folder.path())).unwrap();
        assert!(text.contains(r#""value": "0.5""#), "{text}");
    }

    #[test]
    fn a_damaged_file_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let check = |text: &str, expected: &str| {
            fs::write(path(folder.path()), text).unwrap();
            let error = load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "restore it from a backup");
        check(r#"{"format":1,"entries":[{}]}"#, "restore it from a backup");
        check(
            r#"{"format":9,"entries":[]}"#,
            "has the format 9 (this program reads 1)",
        );
        let skipped =
            serde_json::to_string(&entry("sht", "air_temperature", 7, offset("1"))).unwrap();
        check(
            &format!(r#"{{"format":1,"entries":[{skipped}]}}"#),
            "restore it from a backup",
        );
    }
}
