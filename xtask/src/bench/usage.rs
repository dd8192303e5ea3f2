//! What the kernel says of a process and of a disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// Kernel clock ticks a second, fixed on Linux for what `/proc` shows.
const TICKS: f64 = 100.0;
/// Sector of `/sys/block/*/stat`, whatever the disk's own is.
const SECTOR_BYTES: f64 = 512.0;

/// What `/proc` says of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Time on the processor, in seconds.
    pub(super) cpu_s: f64,
    /// Memory, in MiB.
    pub(super) rss_mib: f64,
    /// The most memory it ever had, in MiB.
    pub(super) rss_most_mib: f64,
}

impl Usage {
    pub(super) fn of(id: u32) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{id}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let stat = read("stat")?;
        // The name in parentheses may hold spaces: count from behind it. utime and stime are fields
        // 14 and 15 of proc(5).
        let behind = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let ticks = |at: usize| -> anyhow::Result<f64> {
            let field = fields.get(at).context("short stat")?;
            field.parse().context("read stat")
        };
        let status = read("status")?;
        let mib = |key: &str| -> anyhow::Result<f64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(key));
            let word = rest.and_then(|rest| rest.split_whitespace().next());
            let kib: f64 = word.with_context(|| format!("no {key}"))?.parse()?;
            Ok(kib / 1024.0)
        };
        Ok(Usage {
            cpu_s: (ticks(11)? + ticks(12)?) / TICKS,
            rss_mib: mib("VmRSS:")?,
            rss_most_mib: mib("VmHWM:")?,
        })
    }
}

/// As `deploy/README.md` asks for: what must be durable is synced by name, so the time stamps of the
/// journal's files need not be written every five seconds.
const CARD_OPTIONS: &str = "noatime,lazytime,commit=300";

/// A small ext4 file system in a file, as an SD card has: what reaches its block device is counted.
#[derive(Debug)]
pub(super) struct Card {
    folder: PathBuf,
    stat: PathBuf,
}

impl Card {
    /// Makes and mounts one; needs root and a loop device.
    pub(super) fn mount(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).context("make a folder")?;
        let (image, at) = (folder.join("card.img"), folder.join("card"));
        std::fs::create_dir_all(&at).context("make a folder")?;
        let file = std::fs::File::create(&image).context("make an image")?;
        file.set_len(1 << 30).context("make an image")?;
        command("mkfs.ext4", &["-q", "-F", path(&image)?])?;
        let device = command("losetup", &["--find", "--show", path(&image)?])?;
        let device = device.trim().to_owned();
        let name = device.rsplit('/').next().unwrap_or_default();
        let card = Card {
            folder: at,
            stat: Path::new("/sys/class/block").join(name).join("stat"),
        };
        let mounted = command("mount", &["-o", CARD_OPTIONS, &device, path(&card.folder)?]);
        // The device goes with the last mount, or at once.
        command("losetup", &["--detach", &device])?;
        mounted?;
        Ok(card)
    }

    /// Where it is mounted.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes that were written to it so far, with everything flushed.
    pub(super) fn written(&self) -> anyhow::Result<f64> {
        command("sync", &["--file-system", path(&self.folder)?])?;
        let stat = std::fs::read_to_string(&self.stat).context("read the device's statistics")?;
        let sectors = stat.split_whitespace().nth(6).context("short statistics")?;
        let sectors: f64 = sectors.parse().context("read the device's statistics")?;
        Ok(sectors * SECTOR_BYTES)
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if let Ok(at) = path(&self.folder) {
            command("umount", &["--lazy", at]).ok();
        }
    }
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path is not UTF-8")
}

pub(super) fn command(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("start {program}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program}: {}", error.trim());
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {program}"))
}
