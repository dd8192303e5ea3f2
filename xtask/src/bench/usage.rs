//! What the kernel says of a process and of a disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Kernel clock ticks a second, fixed on Linux for what `/proc` shows.
const TICKS: f64 = 100.0;
/// Sector of `/sys/block/*/stat`, whatever the disk's own is.
const SECTOR_BYTES: f64 = 512.0;

/// What `/proc` says of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Time on the processor, in seconds.
    pub(crate) cpu_s: f64,
    /// Memory, in MiB.
    pub(crate) rss_mib: f64,
    /// The most memory it ever had, in MiB.
    pub(crate) rss_most_mib: f64,
}

impl Usage {
    pub(crate) fn of(id: u32) -> anyhow::Result<Self> {
        let process = PathBuf::from(format!("/proc/{id}"));
        let (_, cpu_s) = name_and_cpu(&process)?;
        let status = read(&process.join("status"))?;
        let mib = |key: &str| -> anyhow::Result<f64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(key));
            let word = rest.and_then(|rest| rest.split_whitespace().next());
            let kib: f64 = word.with_context(|| format!("no {key}"))?.parse()?;
            Ok(kib / 1024.0)
        };
        Ok(Usage {
            cpu_s,
            rss_mib: mib("VmRSS:")?,
            rss_most_mib: mib("VmHWM:")?,
        })
    }
}

/// What a thread or a process is called, and its time on the processor in seconds; `at` is its folder
/// below `/proc`.
pub(super) fn name_and_cpu(at: &Path) -> anyhow::Result<(String, f64)> {
    let stat = read(&at.join("stat"))?;
    // The name in parentheses may hold spaces and parentheses: fields count from behind the last one.
    // utime and stime are fields 14 and 15 of proc(5).
    let (before, behind) = stat.rsplit_once(')').context("short stat")?;
    let name = before.split_once('(').context("short stat")?.1;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> {
        let field = fields.get(at).context("short stat")?;
        field.parse().context("read stat")
    };
    Ok((name.to_owned(), (ticks(11)? + ticks(12)?) / TICKS))
}

/// Time on the processor, in seconds, of all children that have ended and were waited for.
pub(super) fn ended_children_cpu_s() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("ask for the children's usage")?;
    let us = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(u64::try_from(us).unwrap_or(0)).as_secs_f64())
}

/// Bytes of all files in a folder and below, as long as they are said to be.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(crate) fn bytes_below(folder: &Path) -> f64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // A file that goes meanwhile is none.
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(file) if file.is_dir() => bytes_below(&entry.path()),
        Ok(file) => file.len() as f64,
        Err(_) => 0.0,
    });
    bytes.sum()
}

pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
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
