//! The sign that a cooperative was deleted: a small file that stays for ever, named by its id.
//!
//! It is durable before anything is removed, so that whoever finds a part of the data gone finds out why, and so that
//! the id does not come back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use furrow_wire::CooperativeId;
use serde::{Deserialize, Serialize};

use super::Deletion;

/// Folder of the tombstones within the data directory.
const FOLDER: &str = "deleted";

/// The archive's reader and the eraser both change it.
static CHANGES: Mutex<()> = Mutex::new(());

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// When the deletion was asked for, Unix milliseconds.
    pub deleted_unix_ms: i64,
    /// Segment of the log's entry.
    pub segment: u64,
    /// Offset of the log's entry in its segment, in bytes.
    pub offset: u32,
    /// Segments of the log below this one may have its bytes; `None`: the log has not gone on in a new one yet.
    #[serde(default)]
    pub erase_below: Option<u64>,
    /// When its bytes had left the log, Unix milliseconds.
    #[serde(default)]
    pub erased_unix_ms: Option<i64>,
    /// Readers of the log that still need segments which have its bytes.
    #[serde(default)]
    pub waits_for: Vec<String>,
}

/// Where they are.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

/// All of them. One that is damaged counts as of long ago: who was deleted stays deleted.
///
/// # Errors
/// When the folder can't be read.
pub fn load(data_dir: &Path) -> io::Result<BTreeMap<CooperativeId, Tombstone>> {
    let files = match fs::read_dir(folder(data_dir)) {
        // Nobody was ever deleted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        files => files?,
    };
    let mut all = BTreeMap::new();
    for file in files {
        let file = file?;
        let name = file.file_name();
        // An id has no dot: a file that is being written is none.
        if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
            all.insert(id, read(&file.path())?);
        }
    }
    Ok(all)
}

/// A cooperative is deleted from here on. Durable when this returns; what is there already stays, unless its bytes
/// stand further on in the log than that knows.
///
/// # Errors
/// When it can't be written.
pub fn bury(data_dir: &Path, deletion: &Deletion) -> io::Result<()> {
    change(data_dir, &deletion.cooperative, |known| {
        let at = deletion.position;
        let new = Tombstone {
            deleted_unix_ms: deletion.deleted_unix_ms,
            segment: at.segment,
            offset: at.offset,
            ..Tombstone::default()
        };
        match known {
            None => new,
            Some(known) if known.erase_below.is_none_or(|below| at.segment < below) => known,
            // Asked for once more, with its name in a segment that nobody erases.
            Some(known) => Tombstone {
                deleted_unix_ms: known.deleted_unix_ms,
                ..new
            },
        }
    })
}

/// Changes one that is there.
///
/// # Errors
/// When it can't be written.
pub(super) fn update(
    data_dir: &Path,
    cooperative: &CooperativeId,
    work: impl FnOnce(&mut Tombstone),
) -> io::Result<()> {
    change(data_dir, cooperative, |known| {
        let mut known = known.unwrap_or_default();
        work(&mut known);
        known
    })
}

/// The first segment of the log that has no bytes of anybody who was deleted and is not erased; `None`: nobody is
/// outstanding.
///
/// # Errors
/// When the folder can't be read.
pub fn erase_below(data_dir: &Path) -> io::Result<Option<u64>> {
    let all = load(data_dir)?;
    let outstanding = all.values().filter(|one| one.erased_unix_ms.is_none());
    Ok(outstanding.filter_map(|one| one.erase_below).max())
}

fn change(
    data_dir: &Path,
    cooperative: &CooperativeId,
    work: impl FnOnce(Option<Tombstone>) -> Tombstone,
) -> io::Result<()> {
    let _lock = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = folder(data_dir);
    let path = folder.join(cooperative.as_str());
    let known = path.exists().then(|| read(&path)).transpose()?;
    let new = work(known.clone());
    if known.as_ref() != Some(&new) {
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            File::open(data_dir)?.sync_all()?;
        }
        let bytes = serde_json::to_vec(&new)?;
        let temporary = folder.join(format!("{cooperative}.new"));
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
    }
    // Also one that a process renamed and did not live to sync.
    File::open(&folder)?.sync_all()
}

fn read(path: &Path) -> io::Result<Tombstone> {
    let bytes = fs::read(path)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        let path = path.display();
        tracing::error!(%path, %error, "tombstone is damaged; the cooperative stays deleted");
        Tombstone::default()
    }))
}

#[cfg(test)]
mod tests {
    use furrow_journal::Position;

    use super::*;

    fn deletion(segment: u64, deleted_unix_ms: i64) -> Deletion {
        Deletion {
            cooperative: "gone".parse().unwrap(),
            position: Position { segment, offset: 9 },
            deleted_unix_ms,
        }
    }

    #[test]
    fn it_stays_as_it_was_first_and_follows_bytes_that_stand_further_on() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), BTreeMap::new());
        bury(dir.path(), &deletion(3, 70)).unwrap();
        let id = &deletion(3, 70).cooperative;
        let first = Tombstone {
            deleted_unix_ms: 70,
            segment: 3,
            offset: 9,
            ..Tombstone::default()
        };
        let now = || load(dir.path()).unwrap()[id].clone();
        assert_eq!(now(), first);
        bury(dir.path(), &deletion(5, 90)).unwrap();
        assert_eq!(now(), first);
        assert_eq!(erase_below(dir.path()).unwrap(), None);
        update(dir.path(), id, |one| one.erase_below = Some(6)).unwrap();
        bury(dir.path(), &deletion(5, 90)).unwrap();
        assert_eq!(erase_below(dir.path()).unwrap(), Some(6));
        update(dir.path(), id, |one| one.erased_unix_ms = Some(99)).unwrap();
        assert_eq!(erase_below(dir.path()).unwrap(), None);
        bury(dir.path(), &deletion(6, 100)).unwrap();
        assert_eq!((now().erase_below, now().erased_unix_ms), (None, None));
        assert_eq!((now().deleted_unix_ms, now().segment), (70, 6));
    }

    #[test]
    fn a_damaged_one_still_refuses_its_id_and_a_half_written_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(folder(dir.path())).unwrap();
        fs::write(folder(dir.path()).join("half.new"), b"{").unwrap();
        fs::write(folder(dir.path()).join("gone"), b"{").unwrap();
        assert_eq!(load(dir.path()).unwrap().len(), 1);
        let [gone, half] = ["gone", "half"].map(|id| id.parse().unwrap());
        super::super::refuse(dir.path(), [&half]).unwrap();
        let refused = super::super::refuse(dir.path(), [&half, &gone]).unwrap_err();
        assert!(
            refused.to_string().contains("gone was deleted"),
            "{refused}"
        );
    }

    #[test]
    fn the_sign_of_an_id_is_the_one_that_is_in_files_out_there() {
        let sign = super::super::sign_of(&"hoa-binh".parse().unwrap());
        assert_eq!(sign.cast_unsigned(), 0x571f_4df7_0ed8_4585);
    }
}
