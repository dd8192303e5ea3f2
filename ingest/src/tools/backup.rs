//! `furrow-ingest backup`: copies of the cooperatives' archives, beside a running ingest or without one.
//!
//! Each backup is a folder of its own that appears when it is complete: a file a cooperative, and a manifest that says
//! what they are. `docs/archive.md` says how to restore one.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use furrow_wire::CooperativeId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{archive_of, verify};
use crate::archive::{ArchiveReader, LogPosition, file_of};
use crate::config::Settings;

/// Name of the manifest in a backup's folder.
pub const MANIFEST: &str = "manifest.json";
/// How often long work is told of.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What to back up, and where.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// The folder in which the backup's folder is made; made itself if it is not there.
    #[arg(long)]
    pub to: PathBuf,
    /// Only this cooperative's archive.
    #[arg(long)]
    pub cooperative: Option<CooperativeId>,
    /// Does not read the copies back.
    #[arg(long)]
    pub no_verify: bool,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the program that made it.
    pub version: String,
    /// When, RFC 3339.
    pub time: String,
    /// Whether the copies were read back and nothing was found.
    pub verified: bool,
    /// The copies.
    pub files: Vec<Copied>,
}

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Whose.
    pub cooperative: CooperativeId,
    /// Its name in the folder.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
    /// Up to which log entry it is complete: segment and offset; absent if nothing has been applied.
    pub complete_up_to: Option<(u64, u32)>,
}

/// Makes a backup and prints where it is.
///
/// # Errors
/// When an archive can't be copied, or a copy is not what it should be: no folder appears then.
pub fn run(
    settings: &Settings,
    arguments: &BackupArgs,
    out: &mut dyn std::io::Write,
) -> anyhow::Result<()> {
    let time = Timestamp::now();
    let name = time.strftime("furrow-%Y%m%dT%H%M%SZ").to_string();
    let done = arguments.to.join(&name);
    anyhow::ensure!(!done.exists(), "{} is there already", done.display());
    let part = arguments.to.join(format!("{name}.part"));
    fs::create_dir_all(&part).with_context(|| format!("can't create {}", part.display()))?;
    let made = make(settings, arguments, time, &part);
    let made = made.and_then(|()| {
        fs::rename(&part, &done)
            .and_then(|()| File::open(&arguments.to)?.sync_all())
            .with_context(|| format!("can't rename {} to {}", part.display(), done.display()))
    });
    if let Err(error) = made {
        // What is left says by its name that it is not complete.
        fs::remove_dir_all(&part).ok();
        return Err(error);
    }
    writeln!(out, "{}", done.display()).context("can't say where the backup is")
}

fn make(
    settings: &Settings,
    arguments: &BackupArgs,
    time: Timestamp,
    part: &Path,
) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for (cooperative, reader) in archive_of(settings, arguments.cooperative.as_ref())? {
        files.push(copy(&cooperative, &reader, part, !arguments.no_verify)?);
    }
    let manifest = Manifest {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: format!("{time:.0}"),
        verified: !arguments.no_verify,
        files,
    };
    let path = part.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest).context("can't write the manifest")?;
    fs::write(&path, text)
        .and_then(|()| File::open(&path)?.sync_all())
        .and_then(|()| File::open(part)?.sync_all())
        .with_context(|| format!("can't write {}", path.display()))
}

fn copy(
    cooperative: &CooperativeId,
    reader: &ArchiveReader,
    part: &Path,
    wants_verified: bool,
) -> anyhow::Result<Copied> {
    let path = file_of(part, cooperative);
    let total = reader.bytes(cooperative)?;
    let position = with_progress(cooperative, &path, total, || {
        reader.copy_to(cooperative, &path)
    })?;
    if wants_verified {
        let copy = ArchiveReader::open_dir(part, std::slice::from_ref(cooperative));
        let verified = verify::verify(&copy, cooperative);
        if let Some(finding) = verified.findings.first() {
            let (place, text) = (&finding.place, &finding.text);
            anyhow::bail!(
                "archive of {cooperative} has {} findings, the first in {place}: {text}. \
                 `verify` tells them all, `--no-verify` copies it as it is",
                verified.findings.len()
            );
        }
    }
    let file = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let (bytes, sha256) =
        digest(&path).with_context(|| format!("can't read {}", path.display()))?;
    tracing::info!(%cooperative, bytes, "backed up");
    Ok(Copied {
        cooperative: cooperative.clone(),
        file,
        bytes,
        sha256,
        complete_up_to: position.map(|LogPosition { segment, offset }| (segment, offset)),
    })
}

/// Tells how far a copy is while `work` makes it.
fn with_progress<T: Send>(
    cooperative: &CooperativeId,
    path: &Path,
    total: u64,
    work: impl FnOnce() -> T + Send,
) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                std::thread::park_timeout(PROGRESS_EVERY);
                let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
                if !is_done.load(Ordering::Acquire) {
                    tracing::info!(%cooperative, bytes, total, "copying");
                }
            }
        });
        let result = work();
        is_done.store(true, Ordering::Release);
        watcher.thread().unpark();
        result
    })
}

/// Length and SHA-256; the file is durable then.
fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
    file.sync_all()?;
    let digest = hash.finalize();
    let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, hex))
}
