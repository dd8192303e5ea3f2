//! A disk that fails on demand: power cuts, torn sectors, flipped bits, no space, bad syncs.
//!
//! It keeps what is durable apart from what is merely written, for contents and for names, as a
//! file system on a real disk does. It knows nothing of journals.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Disk;
use crate::frame::SECTOR_BYTES;

const SECTOR: usize = SECTOR_BYTES as usize;

/// What is left of unsynced writes after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// All of it, up to the byte at which the power went.
    Everything,
    /// None of it.
    Nothing,
    /// Of each sector the old bytes, the new bytes or rubbish; of the renames the first few.
    Torn {
        /// Decides which.
        seed: u64,
    },
}

/// A simulated disk. Clones are the same disk, so a test keeps one while a journal owns another;
/// [`SimDisk::image`] gives one of its own.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

impl SimDisk {
    /// An empty disk of unlimited size that never fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power after `steps` more steps; a step is a written byte or a call that changes
    /// something. From then on everything fails until [`SimDisk::restart`].
    pub fn cut_power_in(&self, steps: u64) {
        let mut inner = self.inner();
        inner.power_until = Some(inner.steps + steps);
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.inner().steps
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.inner().off
    }

    /// Cuts the power if it is on, and turns it on again with what survived. Pending faults are
    /// forgotten.
    pub fn restart(&self, survival: Survival) {
        self.inner().restart(survival);
    }

    /// The next `count` syncs of files fail, and what they should have made durable never will be,
    /// though it can be read until the power goes.
    pub fn fail_syncs(&self, count: u32) {
        self.inner().failing_syncs = count;
    }

    /// The next `count` syncs of names fail.
    pub fn fail_name_syncs(&self, count: u32) {
        self.inner().failing_name_syncs = count;
    }

    /// From now on syncs succeed and make nothing durable, or are honest again: the next honest one
    /// makes durable what the lies left.
    pub fn lie_about_syncs(&self, lying: bool) {
        self.inner().lying = lying;
    }

    /// A disk of its own with what is on this one now, as it would be after a copy. Written and not
    /// synced is so on both.
    #[must_use]
    pub fn image(&self) -> Self {
        let inner = self.inner().clone();
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// The next `count` writes fail half-way.
    pub fn fail_writes(&self, count: u32) {
        self.inner().failing_writes = count;
    }

    /// Sets how many bytes files may take; `None` is unlimited.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity = bytes;
    }

    /// Flips a bit on the medium. Does nothing beyond the file's end.
    pub fn flip_bit(&self, name: &str, byte: u64, bit: u8) {
        let mut inner = self.inner();
        let Ok(file) = inner.file_mut(name) else {
            return;
        };
        let at = usize::try_from(byte).unwrap_or(usize::MAX);
        for bytes in [&mut file.cache, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1_u8.rotate_left(u32::from(bit));
            }
        }
    }

    /// Makes reads that touch `start..end` of a file fail.
    pub fn make_unreadable(&self, name: &str, start: u64, end: u64) {
        if let Ok(file) = self.inner().file_mut(name) {
            file.unreadable.push((start, end));
        }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.inner().used_bytes()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panicking test must not hide its reason behind a poisoned lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    fn lock(&mut self) -> io::Result<()> {
        self.inner().alive()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let inner = self.inner();
        inner.alive()?;
        Ok(inner.names.keys().cloned().collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.inner().file(name).map(|file| file.cache.len() as u64)
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step()?;
        let replaced = inner.file(name).map_or(0, |file| file.cache.len() as u64);
        let used = inner.used_bytes() - replaced;
        if inner.capacity.is_some_and(|capacity| used + len > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let id = inner.files.len();
        inner.files.push(SimFile {
            cache: zeros.clone(),
            durable: zeros,
            unreadable: Vec::new(),
        });
        inner.change_names(NameChange::Add(name.to_owned(), id));
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let inner = self.inner();
        let file = inner.file(name)?;
        let end = offset + buf.len() as u64;
        if file
            .unreadable
            .iter()
            .any(|(from, to)| offset < *to && *from < end)
        {
            return Err(io::Error::other("simulated read error"));
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = file.cache.get(start..).unwrap_or_default();
        let count = bytes.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(count)
    }

    fn write_at(&mut self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step()?;
        let id = inner.id(name)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let mut written = data.len() as u64;
        if let Some(until) = inner.power_until {
            written = written.min(until - inner.steps);
        }
        let failing = inner.failing_writes > 0;
        if failing {
            inner.failing_writes -= 1;
            written = written.min(data.len() as u64 / 2);
        }
        let done = usize::try_from(written)
            .ok()
            .and_then(|written| data.get(..written));
        let done = done.unwrap_or_default().to_vec();
        inner.steps += written;
        let file = inner.file_mut(name)?;
        let target = file.cache.get_mut(start..start + data.len());
        let target = target.ok_or_else(|| io::Error::other("write past the file's end"))?;
        for (to, from) in target.iter_mut().zip(&done) {
            *to = *from;
        }
        inner.unsynced.push(Unsynced {
            id,
            start,
            bytes: done,
        });
        if failing {
            return Err(io::Error::other("simulated write error"));
        }
        if written < data.len() as u64 {
            inner.off = true;
        }
        inner.alive()
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step()?;
        let id = inner.id(name)?;
        if inner.lying {
            return Ok(());
        }
        let failing = inner.failing_syncs > 0;
        inner.failing_syncs = inner.failing_syncs.saturating_sub(1);
        let unsynced = std::mem::take(&mut inner.unsynced);
        let (mine, others) = unsynced.into_iter().partition(|write| write.id == id);
        inner.unsynced = others;
        if failing {
            return Err(io::Error::other("simulated sync error"));
        }
        inner.persist(mine);
        Ok(())
    }

    fn sync_and_forget(&mut self, name: &str) -> io::Result<()> {
        let synced = self.sync(name);
        let mut inner = self.inner();
        if inner.lying {
            // The liar's own cache is all that can be read.
            return synced;
        }
        let file = inner.file_mut(name)?;
        file.cache.clone_from(&file.durable);
        synced
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step()?;
        if inner.failing_name_syncs > 0 {
            inner.failing_name_syncs -= 1;
            return Err(io::Error::other("simulated sync error"));
        }
        if inner.lying {
            return Ok(());
        }
        inner.durable_names = inner.names.clone();
        inner.unsynced_names.clear();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step()?;
        inner.id(from)?;
        inner.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step()?;
        inner.id(name)?;
        inner.change_names(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let inner = self.inner();
        inner.alive()?;
        let capacity = inner.capacity.unwrap_or(u64::MAX);
        Ok(capacity.saturating_sub(inner.used_bytes()))
    }
}

#[derive(Debug, Clone, Default)]
struct Inner {
    files: Vec<SimFile>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    unsynced: Vec<Unsynced>,
    steps: u64,
    power_until: Option<u64>,
    off: bool,
    failing_syncs: u32,
    failing_name_syncs: u32,
    failing_writes: u32,
    lying: bool,
    capacity: Option<u64>,
}

/// A file's contents; which name it has is the directory's affair.
#[derive(Debug, Clone)]
struct SimFile {
    cache: Vec<u8>,
    durable: Vec<u8>,
    unreadable: Vec<(u64, u64)>,
}

#[derive(Debug, Clone)]
struct Unsynced {
    id: usize,
    start: usize,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Inner {
    fn alive(&self) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("simulated power is off"));
        }
        Ok(())
    }

    fn step(&mut self) -> io::Result<()> {
        if self.power_until.is_some_and(|until| self.steps >= until) {
            self.off = true;
        }
        self.alive()?;
        self.steps += 1;
        Ok(())
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        self.alive()?;
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, name: &str) -> io::Result<&SimFile> {
        let id = self.id(name)?;
        self.files
            .get(id)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file_mut(&mut self, name: &str) -> io::Result<&mut SimFile> {
        let id = self.id(name)?;
        self.files
            .get_mut(id)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used_bytes(&self) -> u64 {
        let files = self.names.values().filter_map(|id| self.files.get(*id));
        files.map(|file| file.cache.len() as u64).sum()
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn persist(&mut self, writes: Vec<Unsynced>) {
        for write in writes {
            let file = self.files.get_mut(write.id);
            let target = file.and_then(|file| {
                file.durable
                    .get_mut(write.start..write.start + write.bytes.len())
            });
            for (to, from) in target.into_iter().flatten().zip(write.bytes) {
                *to = from;
            }
        }
    }

    fn restart(&mut self, survival: Survival) {
        let writes = std::mem::take(&mut self.unsynced);
        let names = std::mem::take(&mut self.unsynced_names);
        let kept_names = match survival {
            Survival::Everything => {
                self.persist(writes);
                names.len()
            }
            Survival::Nothing => 0,
            Survival::Torn { seed } => {
                let mut chance = Chance(seed);
                self.persist(
                    writes
                        .into_iter()
                        .flat_map(|w| w.torn(&mut chance))
                        .collect(),
                );
                chance.below(names.len() + 1)
            }
        };
        for change in names.iter().take(kept_names) {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        for file in &mut self.files {
            file.cache.clone_from(&file.durable);
        }
        self.off = false;
        self.power_until = None;
        self.failing_syncs = 0;
        self.failing_name_syncs = 0;
        self.failing_writes = 0;
    }
}

impl Unsynced {
    /// The sectors of this write that reached the medium, some as rubbish.
    fn torn(self, chance: &mut Chance) -> Vec<Self> {
        let mut kept = Vec::new();
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let start = self.start + at;
            let take = rest.len().min(SECTOR - start % SECTOR);
            let mut bytes = rest.get(..take).unwrap_or_default().to_vec();
            at += take;
            match chance.below(8) {
                0..3 => continue,
                3 => bytes.fill_with(|| chance.byte()),
                _ => {}
            }
            kept.push(Self {
                id: self.id,
                start,
                bytes,
            });
        }
        kept
    }
}

/// `SplitMix64`: enough to choose sectors, and the same on every machine.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
