//! A deleted cooperative's bytes leave the log, and what small files say of it goes.
//!
//! The log goes on in a file that nothing of the cooperative was ever in; everything before that is removed as soon as
//! no reader needs it. A store that is too far behind loses its place in time: it gets the rest from the archive. What
//! the log keeps for an archive that is damaged is another cooperative's only copy: that is waited for, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use furrow_journal::{Disk, JournalError};
use furrow_wire::CooperativeId;
use serde_json::Value;

use super::{ERASE_WITHIN_MS, PROMISED_MS, Tombstone, tombstone};
use crate::forward;
use crate::log::Log;
use crate::metrics::{Gauge, Metrics};
use crate::rerun;
use crate::tools::store::PROGRESS_FOLDER;

/// See the module.
#[derive(Debug)]
pub struct Eraser<D: Disk> {
    data_dir: PathBuf,
    log: Arc<Log<D>>,
    stores: BTreeSet<String>,
    outstanding: Gauge,
    overdue: Gauge,
    /// What is wrong was told, and not seen to be right since.
    is_told: bool,
    /// Whose bytes stay longer than they should: told as well.
    late: BTreeSet<CooperativeId>,
}

/// Why a turn was not done.
#[derive(Debug, thiserror::Error)]
enum EraseError {
    #[error("log can't be erased")]
    Log(#[from] JournalError),
    #[error("data directory can't be used")]
    Io(#[from] io::Error),
}

impl<D: Disk> Eraser<D> {
    /// For a data directory, its log, and the stores that are configured.
    #[must_use]
    pub fn new(
        data_dir: PathBuf,
        log: Arc<Log<D>>,
        stores: BTreeSet<String>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            data_dir,
            log,
            stores,
            outstanding: metrics.gauge(
                "furrow_deletions_outstanding",
                "Deleted cooperatives whose bytes have not left the log yet.",
                &[],
            ),
            overdue: metrics.gauge(
                "furrow_deletions_overdue",
                "Deleted cooperatives whose bytes should have left the log.",
                &[],
            ),
            is_told: false,
            late: BTreeSet::new(),
        }
    }

    /// Does what can be done now. What fails is tried at the next turn. `now_ms`: Unix milliseconds.
    pub fn turn(&mut self, now_ms: i64) {
        match self.try_turn(now_ms) {
            Ok(()) => self.is_told = false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(error, "deleted data is not erased; it is tried again");
                }
            }
        }
    }

    fn try_turn(&mut self, now_ms: i64) -> Result<(), EraseError> {
        let mut left = tombstone::load(&self.data_dir)?;
        left.retain(|_, one| one.erased_unix_ms.is_none());
        let late = |one: &&Tombstone| now_ms.saturating_sub(one.deleted_unix_ms) >= PROMISED_MS;
        self.outstanding.set(left.len() as u64);
        self.overdue.set(left.values().filter(late).count() as u64);
        self.roll(&mut left)?;
        for (cooperative, known) in left {
            self.clear(&cooperative)?;
            let below = known.erase_below.unwrap_or_default();
            let is_pressing = now_ms.saturating_sub(known.deleted_unix_ms) >= ERASE_WITHIN_MS;
            let (segments, readers) = self.log.erase(below, is_pressing)?;
            if segments == 0 {
                tombstone::update(&self.data_dir, &cooperative, |one| {
                    one.erased_unix_ms = Some(now_ms);
                    one.waits_for.clear();
                })?;
                tracing::info!(%cooperative, "deleted cooperative's bytes have left the log");
                continue;
            }
            if is_pressing && self.late.insert(cooperative.clone()) {
                tracing::error!(
                    %cooperative, segments, ?readers,
                    "deleted cooperative's bytes are still in the log: an archive that is out of service needs them, or a file of another version is there"
                );
            }
            if known.waits_for != readers {
                let waits_for = |one: &mut Tombstone| one.waits_for = readers;
                tombstone::update(&self.data_dir, &cooperative, waits_for)?;
            }
        }
        Ok(())
    }

    /// Has the log go on in a new file, for those that have not seen it do so.
    fn roll(&self, left: &mut BTreeMap<CooperativeId, Tombstone>) -> Result<(), EraseError> {
        if left.values().all(|one| one.erase_below.is_some()) {
            return Ok(());
        }
        let below = self.log.roll()?;
        for (cooperative, known) in left.iter_mut().filter(|(_, one)| one.erase_below.is_none()) {
            known.erase_below = Some(below);
            tombstone::update(&self.data_dir, cooperative, |one| {
                one.erase_below = Some(below);
            })?;
        }
        Ok(())
    }

    /// Takes away what small files say of a cooperative, beside the log, the archive and the stores' own state.
    fn clear(&self, cooperative: &CooperativeId) -> io::Result<()> {
        rerun::forget(&self.data_dir, cooperative)?;
        for path in files(&self.data_dir.join(PROGRESS_FOLDER))? {
            forget_progress(&path, cooperative)?;
        }
        // A store that is not configured any more: who follows for it begins anew when it comes back.
        for path in files(&self.data_dir.join(forward::FOLDER))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !self.stores.contains(name.as_ref()) {
                tracing::warn!(store = %name, "state of a store that is not configured is removed: it may name who was deleted");
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        files => files?.map(|file| Ok(file?.path())).collect(),
    }
}

/// How far copies from store to store are.
fn forget_progress(path: &Path, cooperative: &CooperativeId) -> io::Result<()> {
    let text = fs::read(path)?;
    let mut progress: Value = serde_json::from_slice(&text).unwrap_or_default();
    let done = progress
        .get_mut("cooperatives")
        .and_then(Value::as_object_mut);
    if done.is_some_and(|done| done.remove(cooperative.as_str()).is_some()) {
        fs::write(path, progress.to_string())?;
        fs::File::open(path)?.sync_all()?;
    }
    Ok(())
}
