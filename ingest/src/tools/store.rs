//! `furrow-ingest store`: the stores beside the archive.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use furrow_wire::{CooperativeId, SeriesId};
use serde::{Deserialize, Serialize};

use super::moment;
use crate::config::{ARCHIVE, Settings, StoreKind, StoreSettings};
use crate::deletion;
use crate::forward::copy::{self, Progress, Watch};
use crate::forward::{self, refused_of, status_of};
use crate::run::ARCHIVE_FOLDER;
use crate::store::archive::ArchiveStore;
use crate::store::influx::{Downsampling, SetUp, set_up};
use crate::store::{Refused, SeriesStore, StoreFault};

/// Tries of a store that is busy or away before a copy gives up; run it again, and it goes on there.
const TRIES: u32 = 8;
/// First wait before such a try; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Folder of the copies' progress within the data directory; one file a copy.
pub const PROGRESS_FOLDER: &str = "migrate";
/// Refused readings printed at most.
const REFUSED_MAX: u32 = 10_000;

/// What to do with stores.
#[derive(Debug, Clone, Subcommand)]
pub enum StoreCommand {
    /// Says of each store whether it answers, how far it is, and what it refused.
    List,
    /// Makes buckets and down-sampling tasks in an InfluxDB 2. What is there already stays.
    Setup(SetupArgs),
    /// Lists readings that a store refused for good, newest first.
    Refused {
        /// The store's name.
        name: String,
        /// How many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(REFUSED_MAX)))]
        limit: u32,
    },
    /// Copies all readings of one store into another. Interrupted, it goes on where it was.
    Migrate(MigrateArgs),
}

/// What to make.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  furrow-ingest store setup influx --retention 400 --minutes 800"
)]
pub struct SetupArgs {
    /// The store's name.
    pub name: String,
    /// Days that readings stay; for ever if left out.
    #[arg(long, value_name = "DAYS")]
    pub retention: Option<u32>,
    /// Days that minutes stay; for ever if left out.
    #[arg(long, value_name = "DAYS")]
    pub minutes: Option<u32>,
    /// Days that hours stay; for ever if left out.
    #[arg(long, value_name = "DAYS")]
    pub hours: Option<u32>,
    /// Keep readings only, no minutes and hours.
    #[arg(long, conflicts_with_all = ["minutes", "hours"])]
    pub no_downsampling: bool,
}

/// From where to where.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  furrow-ingest store migrate --from archive --to victoria\n  \
    furrow-ingest store migrate --from influx --to archive --cooperative hoa-binh\n\n\
    Into the archive it writes only while ingest is stopped."
)]
pub struct MigrateArgs {
    /// A store's name, or `archive`.
    #[arg(long)]
    pub from: String,
    /// A store's name, or `archive`.
    #[arg(long)]
    pub to: String,
    /// Only this cooperative; all that are configured if left out.
    #[arg(long)]
    pub cooperative: Option<CooperativeId>,
    /// Begin again, though an earlier copy was interrupted.
    #[arg(long)]
    pub again: bool,
}

/// Runs a command.
///
/// # Errors
/// When a store can't be used, or the output can't be written.
pub async fn run(
    settings: &Settings,
    command: &StoreCommand,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    match command {
        StoreCommand::List => list(settings, out).await,
        StoreCommand::Setup(arguments) => setup(settings, arguments, out).await,
        StoreCommand::Refused { name, limit } => refused(settings, name, *limit, out),
        StoreCommand::Migrate(arguments) => migrate(settings, arguments, out).await,
    }
}

async fn list(settings: &Settings, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
    if settings.stores.is_empty() {
        writeln!(
            out,
            "no store beside the archive: add [[store]] to the configuration"
        )?;
    }
    for store in &settings.stores {
        let health = match open(store)?.health().await {
            Ok(()) => "answers".to_owned(),
            Err(fault) => fault.to_string(),
        };
        writeln!(out, "{} at {}: {health}", store.name, store.address())?;
        let Some(status) = status_of(&state_folder(settings, &store.name))? else {
            writeln!(out, "  nothing was forwarded yet")?;
            continue;
        };
        for (cooperative, done) in &status.copying {
            let done = done.as_deref().unwrap_or("none yet");
            writeln!(
                out,
                "  {cooperative}: is copied from the archive, series done: {done}"
            )?;
        }
        for (cooperative, position, received_ms) in &status.cursors {
            let received = received_ms.map_or_else(|| "nothing yet".to_owned(), moment);
            let place = format!("segment {}, offset {}", position.segment, position.offset);
            writeln!(
                out,
                "  {cooperative}: has what came until {received} ({place})"
            )?;
        }
        if status.refused > 0 {
            writeln!(
                out,
                "  refused {} readings: furrow-ingest store refused {}",
                status.refused, store.name
            )?;
        }
    }
    Ok(())
}

async fn setup(
    settings: &Settings,
    arguments: &SetupArgs,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let store = named(settings, &arguments.name)?;
    let StoreKind::Influx(influx) = &store.kind else {
        bail!("{} needs no set-up: it takes what comes", store.name);
    };
    let days = |days: Option<u32>| days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
    let wanted = SetUp {
        retention: days(arguments.retention),
        cooperatives: settings.cooperatives.iter().map(|c| c.id.clone()).collect(),
        downsampling: if arguments.no_downsampling {
            Downsampling::Off
        } else {
            Downsampling::On {
                minutes: days(arguments.minutes),
                hours: days(arguments.hours),
            }
        },
    };
    let done = set_up(influx.clone(), &wanted)
        .await
        .context("can't set it up")?;
    for name in &done.created {
        writeln!(out, "made  {name}")?;
    }
    for name in &done.kept {
        writeln!(out, "there {name}")?;
    }
    Ok(())
}

fn refused(
    settings: &Settings,
    name: &str,
    limit: u32,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let store = named(settings, name)?;
    let folder = state_folder(settings, &store.name);
    if status_of(&folder)?.is_none() {
        return Ok(());
    }
    for one in refused_of(&folder, limit)? {
        let value = one.value.as_deref().unwrap_or("no value");
        let time = moment(one.time_ms);
        let (cooperative, series, quality, reason) =
            (&one.cooperative, &one.series, &one.quality, &one.reason);
        writeln!(
            out,
            "{time} {cooperative} {series} {value} {quality}: {reason}"
        )?;
    }
    Ok(())
}

/// How far a copy is: kept in a file, so that it can go on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    /// The last series done of each cooperative; of one that is complete, `null`.
    cooperatives: BTreeMap<CooperativeId, Option<String>>,
    /// The start of the target that all of it went into, where that can be seen.
    #[serde(default)]
    incarnation: Option<u64>,
}

async fn migrate(
    settings: &Settings,
    arguments: &MigrateArgs,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<()> {
    let MigrateArgs { from, to, .. } = arguments;
    anyhow::ensure!(from != to, "--from and --to are the same store");
    let source = endpoint(settings, from, false)?;
    let target = endpoint(settings, to, true)?;
    let path = settings
        .data_dir
        .join(PROGRESS_FOLDER)
        .join(format!("{from}-to-{to}.json"));
    let mut done = match std::fs::read(&path) {
        Ok(bytes) if !arguments.again => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged; begin --again", path.display()))?,
        Ok(_) | Err(_) => Done::default(),
    };
    let wanted: Vec<CooperativeId> = match &arguments.cooperative {
        Some(wanted) => vec![wanted.clone()],
        None => settings.cooperatives.iter().map(|c| c.id.clone()).collect(),
    };
    deletion::refuse(&settings.data_dir, &wanted)?;
    // What a target took last it may have forgotten if it was started anew since.
    let incarnation = target.incarnation().await.context("can't ask the target")?;
    if done.incarnation != incarnation {
        done.cooperatives.retain(|_, at| at.is_none());
        done.incarnation = incarnation;
    }
    let mut refused = 0;
    for cooperative in &wanted {
        if done.cooperatives.get(cooperative) == Some(&None) {
            writeln!(
                out,
                "{cooperative}: was copied before (--again copies it once more)"
            )?;
            continue;
        }
        let mut told = Told {
            cooperative,
            done: &mut done,
            path: &path,
            out: &mut *out,
            refused: 0,
        };
        copy_patiently(source.as_ref(), target.as_ref(), cooperative, &mut told).await?;
        refused += told.refused;
        tokio::time::sleep(target.abilities().durable_after).await;
        let now = target.incarnation().await.context("can't ask the target")?;
        anyhow::ensure!(
            now == incarnation,
            "{to} was started anew and may have forgotten what it took last; run it again"
        );
        done.cooperatives.insert(cooperative.clone(), None);
        keep(&path, &done)?;
        writeln!(out, "{cooperative}: complete")?;
    }
    anyhow::ensure!(
        refused == 0,
        "{refused} readings were refused by {to}; all others are there"
    );
    Ok(())
}

/// Copies one cooperative; a store that is busy or away is waited for a while.
async fn copy_patiently(
    source: &dyn SeriesStore,
    target: &dyn SeriesStore,
    cooperative: &CooperativeId,
    told: &mut Told<'_>,
) -> anyhow::Result<()> {
    let (mut tries, mut wait) = (0, FIRST_WAIT);
    loop {
        let at = told.done.cooperatives.get(cooperative).cloned().flatten();
        let copied = copy::cooperative(source, target, cooperative, at.as_deref(), told).await;
        let after = told.done.cooperatives.get(cooperative).cloned().flatten();
        if after != at {
            (tries, wait) = (0, FIRST_WAIT);
        }
        match copied {
            Ok(_) => return Ok(()),
            Err(fault @ StoreFault::Busy { .. }) if tries < TRIES => {
                tries += 1;
                writeln!(told.out, "{cooperative}: {fault}; tries again in {wait:?}")?;
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            Err(fault) => {
                return Err(fault).with_context(|| {
                    format!("can't copy {cooperative}; run it again to go on where it was")
                });
            }
        }
    }
}

struct Told<'a> {
    cooperative: &'a CooperativeId,
    done: &'a mut Done,
    path: &'a Path,
    out: &'a mut (dyn Write + Send),
    refused: u64,
}

impl Watch for Told<'_> {
    fn handle_series(&mut self, series: &SeriesId, at: Progress) -> Result<(), StoreFault> {
        let text = Some(series.to_string());
        self.done
            .cooperatives
            .insert(self.cooperative.clone(), text);
        let kept = keep(self.path, self.done);
        let Progress {
            done,
            series: all,
            readings,
        } = at;
        let line = format!(
            "{}: {done} of {all} series, {readings} readings",
            self.cooperative
        );
        let kept = kept.and_then(|()| Ok(writeln!(self.out, "{line}")?));
        kept.map_err(|error| StoreFault::Refused {
            reason: format!("progress can't be kept: {error:#}"),
        })
    }

    fn handle_written(&mut self, _stored: u64, refused: &[Refused]) -> Result<(), StoreFault> {
        self.refused += refused.len() as u64;
        for one in refused {
            let time = moment(one.reading.time_ms);
            tracing::warn!(series = %one.series, time, reason = %one.reason, "reading refused");
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        false
    }
}

fn keep(path: &Path, done: &Done) -> anyhow::Result<()> {
    let folder = path.parent().context("progress has no folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let new = path.with_extension("new");
    let bytes = serde_json::to_vec(done).context("can't write progress")?;
    std::fs::write(&new, bytes).with_context(|| format!("can't write {}", new.display()))?;
    std::fs::rename(&new, path).with_context(|| format!("can't replace {}", path.display()))
}

fn endpoint(settings: &Settings, name: &str, writes: bool) -> anyhow::Result<Arc<dyn SeriesStore>> {
    if name != ARCHIVE {
        return open(named(settings, name)?);
    }
    let dir = settings.data_dir.join(ARCHIVE_FOLDER);
    Ok(if writes {
        Arc::new(ArchiveStore::open(&dir).context("can't open the archive for writing")?)
    } else {
        Arc::new(ArchiveStore::reading(&dir))
    })
}

fn open(store: &StoreSettings) -> anyhow::Result<Arc<dyn SeriesStore>> {
    store
        .open()
        .with_context(|| format!("can't use store {}", store.name))
}

fn named<'a>(settings: &'a Settings, name: &str) -> anyhow::Result<&'a StoreSettings> {
    let found = settings.stores.iter().find(|store| store.name == name);
    found.with_context(|| {
        let names: Vec<&str> = settings
            .stores
            .iter()
            .map(|store| store.name.as_str())
            .collect();
        format!(
            "there is no store {name:?} in the configuration (there is: {})",
            names.join(", ")
        )
    })
}

fn state_folder(settings: &Settings, store: &str) -> PathBuf {
    settings.data_dir.join(forward::FOLDER).join(store)
}
