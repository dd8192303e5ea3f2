//! From the archive: what the log does not have any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use furrow_wire::{CooperativeId, SeriesId};

use super::{Work, wait};
use crate::archive::{ArchiveError, ArchiveReader, Known};
use crate::deletion::{sign_of, tombstone};
use crate::forward::StateError;
use crate::forward::copy::{self, Progress, Watch};
use crate::forward::figures::{Condition, Figures};
use crate::forward::state::State;
use crate::log::snapshot::{self, Snapshot};
use crate::store::archive::ArchiveStore;
use crate::store::{Refused, StoreFault};

/// Tries to find a place in the log while its segments go.
const PLACE_TRIES: u32 = 10;

impl Work {
    /// Copies from the archive what the log does not have any more.
    pub(super) fn fill(&mut self) -> Result<(), ArchiveError> {
        self.delete_buried()?;
        if !self.log.is_held(&self.hold.name) {
            self.begin_at_archive()?;
        }
        self.adopt()?;
        let Some(filled) = &mut self.filled else {
            return Ok(());
        };
        for (cooperative, _) in filled.state.copying()? {
            if !self.setup.cooperatives.contains(&cooperative) {
                // Taken out of the configuration while it was copied: its archive is not open.
                continue;
            }
            if known(&self.setup.reader, &cooperative)?.is_none() {
                // It is copied when its archive is back and this is started again.
                continue;
            }
            self.figures.show(Condition::Copying);
            let store = Arc::clone(&filled.store);
            let asked = self.runtime.block_on(store.incarnation());
            let incarnation = asked.map_err(ArchiveError::Forward)?;
            filled.state.copy_into(&cooperative, incarnation)?;
            let done = filled.state.copied(&cooperative)?;
            let archive = ArchiveStore::reading(&self.setup.archive_dir);
            let mut told = Told {
                cooperative: &cooperative,
                store: &self.setup.name,
                state: &mut filled.state,
                figures: &self.figures,
                stop: &self.stop,
            };
            let copied = copy::cooperative(
                &archive,
                store.as_ref(),
                &cooperative,
                done.as_deref(),
                &mut told,
            );
            let is_done = self.runtime.block_on(copied);
            if !is_done.map_err(ArchiveError::Forward)? {
                return Ok(());
            }
            wait(store.abilities().durable_after, &self.stop, || ());
            let asked = self.runtime.block_on(store.incarnation());
            if self.stop.load(Ordering::Acquire) || asked != Ok(incarnation) {
                // It is begun again, or gone on with after a restart.
                return Ok(());
            }
            filled.state.end_copy(&cooperative)?;
            self.backoff.handle_success();
            tracing::info!(store = %self.setup.name, %cooperative, "store has what the archive has");
        }
        Ok(())
    }

    /// Who was deleted, and is not known to be gone from the store: the entry that says so may be behind, or erased.
    fn delete_buried(&mut self) -> Result<(), ArchiveError> {
        let data_dir = &self.setup.data_dir;
        let buried = tombstone::load(data_dir).map_err(|source| ArchiveError::Tombstone {
            path: tombstone::folder(data_dir),
            source,
        })?;
        let Some(filled) = &mut self.filled else {
            return Ok(());
        };
        for cooperative in buried.keys() {
            if filled.state.has_deleted(cooperative)? {
                continue;
            }
            filled.forget(cooperative)?;
            let store = Arc::clone(&filled.store);
            let (deleted, before) = self.runtime.block_on(async {
                let incarnation = store.incarnation().await;
                (store.delete(cooperative).await, incarnation)
            });
            deleted.map_err(ArchiveError::Forward)?;
            wait(store.abilities().durable_after, &self.stop, || ());
            let after = self.runtime.block_on(store.incarnation());
            if self.stop.load(Ordering::Acquire) {
                return Ok(());
            }
            if before.is_err() || before != after {
                let reason = "it was started anew while a cooperative was deleted".to_owned();
                return Err(ArchiveError::Forward(StoreFault::Busy {
                    reason,
                    retry_after: None,
                }));
            }
            filled.state.keep_deleted(sign_of(cooperative))?;
            self.backoff.handle_success();
            tracing::warn!(store = %self.setup.name, %cooperative, "store has deleted a cooperative");
        }
        Ok(())
    }

    /// Cooperatives that came back into the configuration: what the archive has of them came before this place.
    fn adopt(&mut self) -> Result<(), ArchiveError> {
        let Some(filled) = &mut self.filled else {
            return Ok(());
        };
        for cooperative in &self.setup.cooperatives {
            let is_new = filled.state.position(cooperative).is_none();
            let known = known(&self.setup.reader, cooperative)?.unwrap_or_default();
            if is_new && known.position.is_some() {
                filled.state.begin_copy(cooperative)?;
            }
        }
        Ok(())
    }

    /// New, or its place in the log is gone: all is to be copied, and the log followed from where the archive is.
    fn begin_at_archive(&mut self) -> Result<(), ArchiveError> {
        // As long as the store is away a place would only be lost again.
        let health = self.runtime.block_on(self.setup.store.health());
        health.map_err(ArchiveError::Forward)?;
        let marks = self.take_place()?;
        let mut all = BTreeMap::new();
        for cooperative in &self.setup.cooperatives {
            let known = known(&self.setup.reader, cooperative)?.unwrap_or_default();
            all.insert(cooperative.clone(), known);
        }
        let has_readings = all.values().any(|known| known.position.is_some());
        let Some(filled) = &mut self.filled else {
            return Ok(());
        };
        filled.state.seed(&all)?;
        snapshot::store(&self.folder, &marks).map_err(ArchiveError::Marks)?;
        if has_readings {
            self.figures.restarts.increment();
            tracing::warn!(store = %self.setup.name, "store is new or lost its place in the log: it gets everything from the archive");
        }
        Ok(())
    }

    /// Holds the log from the archive's last checkpoint on, and gives the marks that are of there.
    fn take_place(&self) -> Result<Snapshot, ArchiveError> {
        for _ in 0..PLACE_TRIES {
            let marks = snapshot::load(&self.setup.data_dir).map_err(ArchiveError::Marks)?;
            let mut marks = marks.unwrap_or_default();
            self.log.hold(&self.hold, marks.position);
            // It may have gone between the two.
            if self.log.has(marks.position) {
                // How far the archives were then is nothing to a store.
                marks.archives.clear();
                return Ok(marks);
            }
        }
        self.log.let_go(&self.hold.name);
        let reason = "the log lets go faster than a place can be taken".to_owned();
        Err(ArchiveError::Forward(StoreFault::Busy {
            reason,
            retry_after: None,
        }))
    }
}

/// What a cooperative's archive knows; `None`: it is damaged, which the others must not wait for.
fn known(
    reader: &ArchiveReader,
    cooperative: &CooperativeId,
) -> Result<Option<Known>, ArchiveError> {
    match reader.known(cooperative) {
        Ok(known) => Ok(Some(known)),
        Err(error) if error.is_damage() => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(%cooperative, error, "archive is damaged: a store can't be filled from it");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What the copy from the archive tells.
struct Told<'a> {
    cooperative: &'a CooperativeId,
    store: &'a str,
    state: &'a mut State,
    figures: &'a Figures,
    stop: &'a AtomicBool,
}

impl Watch for Told<'_> {
    fn handle_series(&mut self, series: &SeriesId, at: Progress) -> Result<(), StoreFault> {
        let Progress {
            done,
            series: all,
            readings,
        } = at;
        tracing::info!(
            store = %self.store, cooperative = %self.cooperative, done, all, readings,
            "copying from the archive"
        );
        self.state
            .set_copied(self.cooperative, series)
            .map_err(|error| busy(&error))
    }

    fn handle_written(&mut self, stored: u64, refused: &[Refused]) -> Result<(), StoreFault> {
        self.figures.readings.add(stored);
        self.figures.refused.add(refused.len() as u64);
        self.state
            .keep_refused(self.cooperative, refused)
            .map_err(|error| busy(&error))
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

fn busy(error: &StateError) -> StoreFault {
    StoreFault::Busy {
        reason: error.to_string(),
        retry_after: None,
    }
}
