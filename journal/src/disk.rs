//! The few operations a journal needs of a disk.
//!
//! A trait, so that a test can cut the power at any byte. It knows names in one flat directory
//! and nothing of what is in the files.

use std::io;

/// One directory of files, used by one journal from one thread.
pub trait Disk {
    /// Takes the directory for writing, until this value is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another writer has it.
    fn lock(&mut self) -> io::Result<()>;

    /// Names of all files.
    ///
    /// # Errors
    /// If the directory can't be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// If there is no such file.
    fn len(&self, name: &str) -> io::Result<u64>;

    /// Makes a new file of `len` zero bytes whose blocks are allocated and durable; its name is
    /// durable after [`Disk::sync_dir`]. A file of that name is replaced.
    ///
    /// # Errors
    /// If there is no space ([`io::ErrorKind::StorageFull`]) or the disk fails; no file is left.
    fn create(&mut self, name: &str, len: u64) -> io::Result<()>;

    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// If there is no such file or the medium can't be read.
    fn read_at(&self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data` inside the file's length. Not durable before [`Disk::sync`].
    ///
    /// # Errors
    /// If the write fails; any part of it may have happened.
    fn write_at(&mut self, name: &str, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes the file's data durable (`fdatasync`).
    ///
    /// # Errors
    /// If the disk fails. What was written since the last good call may then be lost even if a
    /// later call succeeds.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Makes the file's data durable and forgets what is cached of it, so that the next read
    /// comes from the medium: after a failed sync the cache shows bytes that are not there.
    ///
    /// # Errors
    /// If the disk fails; the cache is forgotten all the same.
    fn sync_and_forget(&mut self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync_dir(&mut self) -> io::Result<()>;

    /// Renames a file, replacing one of the new name.
    ///
    /// # Errors
    /// If there is no such file or the disk fails.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// If there is no such file or the disk fails.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Bytes that can still be allocated.
    ///
    /// # Errors
    /// If the disk can't tell.
    fn free_bytes(&self) -> io::Result<u64>;
}
