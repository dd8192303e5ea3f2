//! `furrow-ingest delete`: a cooperative and everything of it.
//!
//! It asks and watches; the running ingest deletes ([`crate::deletion`]).

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use furrow_wire::CooperativeId;

use super::moment;
use crate::config::Settings;
use crate::deletion::request::Answer;
use crate::deletion::{PROMISED_MS, Request, Tombstone, tombstone};
use crate::forward::{self, has_deleted};
use crate::run::ARCHIVE_FOLDER;

/// How often it looks how far ingest is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After this time somebody is told that nobody takes the request.
const SOON: Duration = Duration::from_secs(5);

/// Which, or a list of those that were.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  furrow-ingest delete --cooperative hoa-binh\n  furrow-ingest delete --list\n\n\
    First take the cooperative out of the configuration and restart ingest. Its id is never used again.\n\
    Backups, exports and copies elsewhere are not touched."
)]
pub struct DeleteArgs {
    /// The cooperative's id.
    #[arg(long, required_unless_present = "list")]
    pub cooperative: Option<CooperativeId>,
    /// Lists who was deleted, and what is still outstanding.
    #[arg(long, conflicts_with_all = ["cooperative", "confirm"])]
    pub list: bool,
    /// The id once more, instead of being asked for it.
    #[arg(long, value_name = "ID")]
    pub confirm: Option<CooperativeId>,
    /// How long to wait for the running ingest; it goes on by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub wait: u64,
}

/// Runs the command; `answers` are the person's.
///
/// # Errors
/// When it is not wanted or not possible, or when the data directory can't be used.
pub fn run(
    settings: &Settings,
    arguments: &DeleteArgs,
    answers: &mut dyn BufRead,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Some(cooperative) = arguments.cooperative.as_ref().filter(|_| !arguments.list) else {
        return list(settings, out);
    };
    let is_configured = settings
        .cooperatives
        .iter()
        .any(|one| one.id == *cooperative);
    ensure!(
        !is_configured,
        "the configuration names {cooperative}: take it out and restart ingest first, so that its gateways can't log in"
    );
    let data_dir = &settings.data_dir;
    let request = Request {
        cooperative: cooperative.clone(),
    };
    if !load(data_dir)?.contains_key(cooperative) {
        describe(settings, cooperative, out)?;
        confirm(cooperative, arguments.confirm.as_ref(), answers, out)?;
        let filed = request.file(data_dir);
        filed.with_context(|| format!("can't ask for it in {}", data_dir.display()))?;
    }
    watch(settings, &request, Duration::from_secs(arguments.wait), out)
}

fn list(settings: &Settings, out: &mut dyn Write) -> anyhow::Result<()> {
    let all = load(&settings.data_dir)?;
    if all.is_empty() {
        writeln!(out, "no cooperative was deleted")?;
    }
    for (cooperative, known) in &all {
        tell(settings, cooperative, known, out)?;
    }
    Ok(())
}

fn load(data_dir: &Path) -> anyhow::Result<std::collections::BTreeMap<CooperativeId, Tombstone>> {
    let folder = tombstone::folder(data_dir);
    tombstone::load(data_dir).with_context(|| format!("can't read {}", folder.display()))
}

/// What was done of one, and what was not.
fn tell(
    settings: &Settings,
    cooperative: &CooperativeId,
    known: &Tombstone,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "{cooperative}: deleted {}",
        moment(known.deleted_unix_ms)
    )?;
    let archive = if archives(settings, cooperative)?.is_empty() {
        "gone"
    } else {
        "still there"
    };
    writeln!(out, "  archive: {archive}")?;
    for store in &settings.stores {
        let folder = settings.data_dir.join(forward::FOLDER).join(&store.name);
        let state = match has_deleted(&folder, cooperative)? {
            true => "gone",
            false => "outstanding: the running ingest asks it until it is done",
        };
        writeln!(out, "  store {}: {state}", store.name)?;
    }
    let log = match known.erased_unix_ms {
        Some(at) => format!("erased {}", moment(at)),
        None => {
            let latest = moment(known.deleted_unix_ms.saturating_add(PROMISED_MS));
            let waits = match known.waits_for.as_slice() {
                [] => String::new(),
                readers => format!("; it waits for: {}", readers.join(", ")),
            };
            format!("outstanding, to be erased until {latest}{waits}")
        }
    };
    writeln!(out, "  log: {log}")?;
    Ok(())
}

fn describe(
    settings: &Settings,
    cooperative: &CooperativeId,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let files = archives(settings, cooperative)?;
    let mut bytes = 0;
    for file in &files {
        bytes += std::fs::metadata(file).map_or(0, |about| about.len());
    }
    match files.is_empty() {
        true => writeln!(out, "{cooperative} has no archive here: is the id right?")?,
        false => writeln!(
            out,
            "{cooperative} goes, for ever: its archive ({bytes} bytes)"
        )?,
    }
    for store in &settings.stores {
        writeln!(
            out,
            "  its series in store {} at {}",
            store.name,
            store.address()
        )?;
    }
    writeln!(out, "  what the log has of it, within 7 days")?;
    writeln!(
        out,
        "Not touched: backups, exports, stores that are not configured, copies elsewhere. Its id is never used again."
    )?;
    Ok(())
}

fn confirm(
    cooperative: &CooperativeId,
    given: Option<&CooperativeId>,
    answers: &mut dyn BufRead,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let typed = match given {
        Some(given) => given.as_str().to_owned(),
        None => {
            write!(out, "Type its id to delete it: ")?;
            out.flush()?;
            let mut line = String::new();
            answers
                .read_line(&mut line)
                .context("can't read an answer")?;
            line.trim().to_owned()
        }
    };
    ensure!(
        typed == cooperative.as_str(),
        "not confirmed: nothing is deleted"
    );
    Ok(())
}

/// Tells what is done as it is done.
fn watch(
    settings: &Settings,
    request: &Request,
    patience: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (data_dir, cooperative) = (&settings.data_dir, &request.cooperative);
    let began = Instant::now();
    let mut told = String::new();
    loop {
        match request.answer(data_dir) {
            Answer::Configured => bail!(
                "the running ingest was started with {cooperative} in its configuration: restart it, and it deletes"
            ),
            Answer::Waiting if began.elapsed() >= SOON.min(patience) => {
                writeln!(
                    out,
                    "no running ingest takes it: the next `run` does, with this configuration"
                )?;
                return Ok(());
            }
            Answer::Waiting | Answer::Taken => {}
        }
        let known = load(data_dir)?.remove(cooperative);
        if let Some(known) = &known {
            let mut text = Vec::new();
            tell(settings, cooperative, known, &mut text)?;
            let text = String::from_utf8_lossy(&text).into_owned();
            for line in text
                .lines()
                .filter(|line| !told.lines().any(|old| old == *line))
            {
                writeln!(out, "{line}")?;
            }
            out.flush()?;
            if known.erased_unix_ms.is_some() && !text.contains("outstanding") {
                return Ok(());
            }
            told = text;
        }
        if began.elapsed() >= patience {
            writeln!(
                out,
                "The rest takes longer; ingest goes on with it. See: furrow-ingest delete --list"
            )?;
            return Ok(());
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// The files of its archive.
fn archives(settings: &Settings, cooperative: &CooperativeId) -> anyhow::Result<Vec<PathBuf>> {
    let dir = settings.data_dir.join(ARCHIVE_FOLDER);
    let prefix = format!("{cooperative}.sqlite");
    let files = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.with_context(|| format!("can't read {}", dir.display()))?,
    };
    let paths = files.map(|file| Ok(file?.path()));
    let paths: Vec<PathBuf> = paths
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("can't read {}", dir.display()))?;
    let is_its = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&prefix))
    };
    Ok(paths.into_iter().filter(is_its).collect())
}
