//! A small file system of its own that can be filled to the last byte.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Bytes written at a time; the last ones byte by byte.
const CHUNK: usize = 64 * 1024;

/// A mounted file system in memory. Dropping it takes it away, with what is in it.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts `mib` MiB at `folder`.
    ///
    /// # Errors
    /// When this machine does not let us: it takes root.
    pub fn mount(folder: &Path, mib: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let size = format!("size={mib}m,mode=0700");
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &size, "furrow"])
            .arg(folder);
        let output = command.output().context("start mount")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mount: {}", error.trim());
        Ok(SmallDisk(folder.to_owned()))
    }

    /// Takes all space that is left.
    ///
    /// # Errors
    /// When the file for it can't be made.
    pub fn fill(&self) -> anyhow::Result<()> {
        let path = self.ballast();
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("create {}", path.display()))?;
        for size in [CHUNK, 1] {
            // The failure is the aim.
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    /// Gives it back.
    pub fn free(&self) {
        // It may not be there, when it could not be made.
        std::fs::remove_file(self.ballast()).ok();
    }

    /// Copies what is on it to a folder beside it, with `-kept` behind its name.
    ///
    /// # Errors
    /// When that fails.
    pub fn keep(&self) -> anyhow::Result<()> {
        self.free();
        let mut to = self.0.clone().into_os_string();
        to.push("-kept");
        let mut command = Command::new("cp");
        let output = command.arg("-a").arg(&self.0).arg(to).output();
        let output = output.context("start cp")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cp: {}", error.trim());
        Ok(())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a program may still have a file open. A failure leaves a mount in a folder of ours.
        Command::new("umount").arg("-l").arg(&self.0).output().ok();
    }
}
