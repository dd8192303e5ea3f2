//! The marks of all gateways at one position of the log, in a file that is replaced as a whole.
//!
//! With it, and the log behind its position, the marks can be rebuilt; so the log before it may go.
//! Catalogs, mappings and parked records are in the archive, written before the snapshot is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use furrow_ingest_core::{GatewayKey, Remembered, Tracker};
use furrow_journal::Position;
use furrow_wire::{CooperativeId, StreamId};
use serde::{Deserialize, Serialize};

use crate::archive::LogPosition;

const FILE: &str = "marks.json";
const VERSION: u32 = 1;

/// Marks and the position they are of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Everything before it is in the marks.
    pub position: Position,
    /// What ingest holds.
    pub tracker: Tracker,
    /// How often the log was found to be another one than before; see [`super::Eras`].
    pub eras: Vec<Era>,
    /// How far each cooperative's archive was, durably. One that is found behind it was replaced by an
    /// older copy, or its disk lied.
    pub archives: BTreeMap<CooperativeId, LogPosition>,
    /// Checksum over the log's entries up to the position, from where an earlier one began to count.
    pub chain: u32,
}

/// From `from` on, archive positions count as of this era.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Era {
    /// Segment number where it began.
    pub segment: u64,
    /// Offset in that segment.
    pub offset: u32,
    /// Grows by one.
    pub number: u32,
}

/// Why a snapshot can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file can't be read or written.
    #[error("can't {action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    segment: u64,
    offset: u32,
    eras: Vec<Era>,
    streams: Vec<(GatewayKey, StreamId, Remembered)>,
    /// Segment and offset. Absent in files of an older program.
    #[serde(default)]
    archives: BTreeMap<CooperativeId, (u64, u32)>,
    /// The same.
    #[serde(default)]
    chain: u32,
}

/// Reads the snapshot of a directory; `None` if there never was one.
///
/// # Errors
/// [`SnapshotError`]: without it the marks before its position are unknown, and records that are
/// stored already would be stored again (the archive then tells them by series and time).
pub fn load(dir: &Path) -> Result<Option<Snapshot>, SnapshotError> {
    let path = dir.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(SnapshotError::Io {
                action: "read",
                path,
                source,
            });
        }
    };
    decode(&bytes)
        .map(Some)
        .map_err(|reason| SnapshotError::Damaged { path, reason })
}

/// Reads a snapshot's bytes.
///
/// # Errors
/// In words: what is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, String> {
    let Some((crc, body)) = bytes.split_first_chunk::<4>() else {
        return Err("it is cut short".to_owned());
    };
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("its checksum does not match".to_owned());
    }
    let stored: Stored = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if stored.version != VERSION {
        return Err(format!(
            "it is of version {} (this is {VERSION})",
            stored.version
        ));
    }
    Ok(Snapshot {
        position: Position {
            segment: stored.segment,
            offset: stored.offset,
        },
        tracker: stored.streams.into_iter().collect(),
        eras: stored.eras,
        archives: stored
            .archives
            .into_iter()
            .map(|(id, (segment, offset))| (id, LogPosition { segment, offset }))
            .collect(),
        chain: stored.chain,
    })
}

/// Replaces the snapshot of a directory. When this returns it is durable.
///
/// # Errors
/// [`SnapshotError::Io`]; the old one is still there then.
pub fn store(dir: &Path, snapshot: &Snapshot) -> Result<(), SnapshotError> {
    let bytes = encode(snapshot);
    let path = dir.join(FILE);
    let new = dir.join(format!("{FILE}.new"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        sync_names(dir)
    };
    write().map_err(|source| SnapshotError::Io {
        action: "replace",
        path: path.clone(),
        source,
    })
}

/// Makes the snapshot that a directory shows durable.
///
/// # Errors
/// [`SnapshotError::Io`].
pub fn sync(dir: &Path) -> Result<(), SnapshotError> {
    sync_names(dir).map_err(|source| SnapshotError::Io {
        action: "sync",
        path: dir.to_owned(),
        source,
    })
}

/// A snapshot's bytes.
#[must_use]
pub fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let streams = snapshot
        .tracker
        .iter()
        .map(|(key, stream, known)| (key.clone(), stream, known.clone()))
        .collect();
    let stored = Stored {
        version: VERSION,
        segment: snapshot.position.segment,
        offset: snapshot.position.offset,
        eras: snapshot.eras.clone(),
        streams,
        archives: snapshot
            .archives
            .iter()
            .map(|(id, at)| (id.clone(), (at.segment, at.offset)))
            .collect(),
        chain: snapshot.chain,
    };
    let body = serde_json::to_vec(&stored).expect("numbers and ids always serialise");
    [&crc32c::crc32c(&body).to_le_bytes(), body.as_slice()].concat()
}

/// The file's content is durable before its name is.
fn sync_names(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use furrow_ingest_core::Offer;
    use furrow_wire::{RecordName, Seq};

    use super::*;

    fn snapshot() -> Snapshot {
        let key = GatewayKey {
            cooperative: "a".parse().unwrap(),
            gateway: "g".parse().unwrap(),
        };
        let mut tracker = Tracker::default();
        for seq in [1, 2, 5, u64::MAX] {
            let name = RecordName {
                stream: StreamId(u64::MAX),
                seq: Seq(seq),
            };
            tracker.apply(&key, &Offer { name, lost: None });
        }
        let position = Position {
            segment: u64::MAX,
            offset: u32::MAX,
        };
        let eras = vec![Era {
            segment: 3,
            offset: 4,
            number: 1,
        }];
        Snapshot {
            position,
            tracker,
            eras,
            archives: [("a".parse().unwrap(), LogPosition::default())].into(),
            chain: u32::MAX,
        }
    }

    #[test]
    fn round_trip_and_replacement() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        store(dir.path(), &Snapshot::default()).unwrap();
        store(dir.path(), &snapshot()).unwrap();
        assert_eq!(load(dir.path()).unwrap(), Some(snapshot()));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), &snapshot()).unwrap();
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(load(dir.path()).is_err(), "byte {at}");
        }
        for cut in 0..good.len() {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(load(dir.path()).is_err(), "cut at {cut}");
        }
    }
}
