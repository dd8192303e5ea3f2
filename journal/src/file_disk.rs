//! A directory of the real file system.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::disk::Disk;
use crate::names::LOCK;

/// Files kept open between calls: the one written to, and a few that are read.
const MAX_OPEN_FILES: usize = 8;
/// Zeros written at once when a file is preallocated, in bytes.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A directory of files, locked for one writer by `flock` on the file `lock` in it.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    lock: Option<File>,
    open: RefCell<Vec<(String, File)>>,
}

impl FileDisk {
    /// The directory, made if it does not exist.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        if !directory.is_dir() {
            fs::create_dir_all(&directory)?;
            if let Some(parent) = directory.parent().filter(|path| path.is_dir()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self::existing(directory))
    }

    /// The directory as it is, for a [`crate::JournalReader`].
    #[must_use]
    pub fn existing(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            lock: None,
            open: RefCell::new(Vec::new()),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let mut open = self.open.borrow_mut();
        if let Some((_, file)) = open.iter().find(|(known, _)| known == name) {
            return act(file);
        }
        // A reader of another process's directory may lack the right to write.
        let file = OpenOptions::new()
            .read(true)
            .write(self.lock.is_some())
            .open(self.path(name))?;
        let result = act(&file);
        if open.len() >= MAX_OPEN_FILES {
            open.remove(0);
        }
        open.push((name.to_owned(), file));
        result
    }

    fn forget(&self, name: &str) {
        self.open.borrow_mut().retain(|(known, _)| known != name);
    }

    fn fill(path: &Path, len: u64) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let mut left = len;
        while left > 0 {
            let take = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            file.write_all(ZEROS.get(..take).unwrap_or_default())?;
            left -= take as u64;
        }
        // Written zeros rather than reserved blocks: those become metadata changes later.
        file.sync_all()
    }
}

impl Disk for FileDisk {
    fn lock(&mut self) -> io::Result<()> {
        let path = self.path(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        self.lock = Some(file);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            // Our names are ASCII: another is not ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        fs::metadata(self.path(name)).map(|metadata| metadata.len())
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.forget(name);
        let path = self.path(name);
        Self::fill(&path, len).inspect_err(|_| {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, file = name, "could not remove a file");
            }
        })
    }

    fn read_at(&self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with(name, |file| {
            let mut done = 0;
            while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, offset + done as u64) {
                    Ok(0) => break,
                    Ok(read) => done += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(done)
        })
    }

    fn write_at(&mut self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(name, |file| file.write_all_at(data, offset))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.with(name, File::sync_data)
    }

    fn sync_and_forget(&mut self, name: &str) -> io::Result<()> {
        self.with(name, |file| {
            let synced = file.sync_data();
            let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            posix_fadvise(file, 0, 0, advice)?;
            synced
        })
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.forget(from);
        self.forget(to);
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.forget(name);
        fs::remove_file(self.path(name))
    }

    #[allow(
        clippy::useless_conversion,
        reason = "the counts are narrower on 32-bit targets"
    )]
    fn free_bytes(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.directory)?;
        Ok(u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size())))
    }
}
