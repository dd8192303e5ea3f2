//! `furrow-ingest dead` and `furrow-ingest parked`: records that came and are not in the archive.
//!
//! Reads the archive beside a running ingest or without one. Running a dead letter again is asked for
//! and done by ingest; see [`crate::rerun`].

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand};
use furrow_wire::json::record_to_json;
use furrow_wire::{Catalog, CooperativeId, GatewayId, decode_batch, parse_record};
use serde_json::{Value, json};

use super::{archive_of, moment};
use crate::archive::{ArchiveReader, DeadLetter, ParkReason, ParkedRecord};
use crate::config::Settings;
use crate::rerun::{Request, obstacle};

/// Dead letters read from the archive at once.
const PAGE: u32 = 256;
/// How long `dead retry` waits for ingest before it leaves it to it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
#[command(
    after_help = "A dead letter is a record that was refused: undecodable, of another greenhouse, \
    from the future.\nIt is kept with its bytes and acknowledged, so it blocks nothing.\n\n\
    Examples:\n  furrow-ingest dead list\n  furrow-ingest dead show --cooperative hoa-binh 17\n  \
    furrow-ingest dead retry --cooperative hoa-binh 17\n  \
    furrow-ingest dead retry --cooperative hoa-binh --gateway gw-01 --all"
)]
pub enum DeadCommand {
    /// Lists them: number, gateway, time, size, reason.
    List(ListArgs),
    /// Shows one, decoded as JSON as far as it can be, and its bytes in hexadecimal digits.
    Show {
        /// Whose.
        #[arg(long)]
        cooperative: CooperativeId,
        /// Its number.
        id: i64,
    },
    /// Has them run again: after an update, or when the configuration has been put right.
    ///
    /// The running ingest does it, or the next one. Each is stored once, however often it is asked for.
    Retry(RetryArgs),
}

/// Whose records to list.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Of this cooperative only.
    #[arg(long)]
    pub cooperative: Option<CooperativeId>,
    /// Of this gateway only.
    #[arg(long)]
    pub gateway: Option<GatewayId>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Which dead letters to run again.
#[derive(Debug, Clone, Args)]
pub struct RetryArgs {
    /// Whose.
    #[arg(long)]
    pub cooperative: CooperativeId,
    /// Their numbers.
    #[arg(required_unless_present = "all")]
    pub ids: Vec<i64>,
    /// All that can be run again.
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// With `--all`: of this gateway only.
    #[arg(long, requires = "all")]
    pub gateway: Option<GatewayId>,
}

/// Runs `dead`.
///
/// # Errors
/// When an archive can't be read, a number is unknown, or nobody reads what is printed.
pub fn dead(settings: &Settings, command: &DeadCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        DeadCommand::List(arguments) => list_dead(settings, arguments, out),
        DeadCommand::Show { cooperative, id } => show(settings, cooperative, *id, out),
        DeadCommand::Retry(arguments) => retry(settings, arguments, out),
    }
}

/// Runs `parked`.
///
/// # Errors
/// When an archive can't be read or nobody reads what is printed.
pub fn parked(
    settings: &Settings,
    arguments: &ListArgs,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for (cooperative, reader) in archive_of(settings, arguments.cooperative.as_ref())? {
        for parked in reader.parked(&cooperative)? {
            if arguments
                .gateway
                .as_ref()
                .is_some_and(|id| *id != parked.gateway)
            {
                continue;
            }
            let line = match arguments.json {
                true => parked_json(&cooperative, &parked).to_string(),
                false => parked_line(&cooperative, &parked),
            };
            print(out, &line)?;
        }
    }
    Ok(())
}

fn list_dead(settings: &Settings, arguments: &ListArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    for (cooperative, reader) in archive_of(settings, arguments.cooperative.as_ref())? {
        each_dead(
            &reader,
            &cooperative,
            arguments.gateway.as_ref(),
            |letter| {
                let line = match arguments.json {
                    true => dead_json(&cooperative, letter).to_string(),
                    false => dead_line(&cooperative, letter),
                };
                print(out, &line)
            },
        )?;
    }
    Ok(())
}

fn show(
    settings: &Settings,
    cooperative: &CooperativeId,
    id: i64,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let reader = one_archive(settings, cooperative)?;
    let letter = reader.dead_letter(cooperative, id)?;
    let letter = letter.with_context(|| format!("{cooperative} has no dead letter {id}"))?;
    let mut value = dead_json(cooperative, &letter);
    let bytes = letter.bytes.as_deref().unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("record".to_owned(), decoded(&reader, cooperative, &letter));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        object.insert("bytes".to_owned(), Value::from(hex));
    }
    print(out, &format!("{value:#}"))
}

/// As far as it can be decoded; a batch with its catalog, where that is known.
fn decoded(reader: &ArchiveReader, cooperative: &CooperativeId, letter: &DeadLetter) -> Value {
    let bytes = letter.bytes.as_deref().unwrap_or_default();
    match parse_record(bytes) {
        Err(error) => json!({ "error": error.to_string() }),
        Ok((raw, _)) => {
            let hash = decode_batch(raw.body).ok().map(|batch| batch.catalog);
            let body = hash.and_then(|hash| {
                let found = reader.catalog(cooperative, &letter.gateway, hash);
                found.ok().flatten()
            });
            let catalog = body.and_then(|body| Catalog::decode(&body).ok());
            record_to_json(&raw, catalog.as_ref())
        }
    }
}

fn retry(settings: &Settings, arguments: &RetryArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let cooperative = &arguments.cooperative;
    let reader = one_archive(settings, cooperative)?;
    let mut requests = Vec::new();
    let mut take = |letter: &DeadLetter, out: &mut dyn Write| match obstacle(letter) {
        Some(obstacle) => print(out, &format!("{}: {obstacle}", letter.id)),
        None => {
            requests.push(Request {
                cooperative: cooperative.clone(),
                id: letter.id,
            });
            Ok(())
        }
    };
    if arguments.all {
        let gateway = arguments.gateway.as_ref();
        each_dead(&reader, cooperative, gateway, |letter| take(letter, out))?;
    }
    for id in &arguments.ids {
        let letter = reader.dead_letter(cooperative, *id)?;
        let letter = letter.with_context(|| format!("{cooperative} has no dead letter {id}"))?;
        take(&letter, out)?;
    }
    for request in &requests {
        let asked = request.file(&settings.data_dir);
        asked.with_context(|| format!("can't write below {}", settings.data_dir.display()))?;
    }
    let done = wait(&requests, &reader, &settings.data_dir);
    print(
        out,
        &format!("{} to be run again, {done} done", requests.len()),
    )?;
    if done < requests.len() {
        print(
            out,
            "ingest does the rest when it runs; `dead list` shows what was refused again",
        )?;
    }
    Ok(())
}

/// Waits a while for ingest; how many dead letters have gone. One that is refused again has gone too,
/// and is a new one.
fn wait(requests: &[Request], reader: &ArchiveReader, data_dir: &Path) -> usize {
    let until = Instant::now() + PATIENCE;
    loop {
        let is_gone = |request: &&Request| {
            let letter = reader.dead_letter(&request.cooperative, request.id);
            !request.is_waiting(data_dir) && letter.is_ok_and(|letter| letter.is_none())
        };
        let done = requests.iter().filter(is_gone).count();
        if done == requests.len() || Instant::now() >= until {
            return done;
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

fn each_dead(
    reader: &ArchiveReader,
    cooperative: &CooperativeId,
    gateway: Option<&GatewayId>,
    mut each: impl FnMut(&DeadLetter) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut first_id = i64::MIN;
    loop {
        let page = reader.dead_letters(cooperative, gateway, first_id, PAGE)?;
        for letter in &page {
            each(letter)?;
            first_id = letter.id.saturating_add(1);
        }
        if page.len() < PAGE as usize {
            return Ok(());
        }
    }
}

fn one_archive(settings: &Settings, cooperative: &CooperativeId) -> anyhow::Result<ArchiveReader> {
    let found = archive_of(settings, Some(cooperative))?.into_iter().next();
    let (_, reader) = found.with_context(|| format!("{cooperative} is not configured"))?;
    Ok(reader)
}

fn dead_line(cooperative: &CooperativeId, letter: &DeadLetter) -> String {
    format!(
        "{:16} {:6}  {:16} {} {:>6} B  {}",
        cooperative.as_str(),
        letter.id,
        letter.gateway.as_str(),
        moment(letter.received_unix_ms),
        letter.bytes.as_ref().map_or(0, bytes::Bytes::len),
        letter.reason
    )
}

fn dead_json(cooperative: &CooperativeId, letter: &DeadLetter) -> Value {
    json!({
        "cooperative": cooperative,
        "id": letter.id,
        "gateway": letter.gateway,
        "stream": letter.record.map(|record| record.stream),
        "seq": letter.record.map(|record| record.seq),
        "received_ms": letter.received_unix_ms,
        "size": letter.bytes.as_ref().map(bytes::Bytes::len),
        "reason": letter.reason,
        "can_be_run_again": obstacle(letter).is_none(),
    })
}

fn waits_for(reason: ParkReason) -> String {
    match reason {
        ParkReason::Catalog(hash) => format!("catalog {hash}"),
        ParkReason::Mapping(boot) => format!("the time of boot {boot}"),
        ParkReason::Version => "a newer program".to_owned(),
    }
}

fn parked_line(cooperative: &CooperativeId, parked: &ParkedRecord) -> String {
    format!(
        "{:16} {:16} {} {:>6} B  {} waits for {}",
        cooperative.as_str(),
        parked.gateway.as_str(),
        moment(parked.received_unix_ms),
        parked.bytes.len(),
        parked.record,
        waits_for(parked.reason)
    )
}

fn parked_json(cooperative: &CooperativeId, parked: &ParkedRecord) -> Value {
    json!({
        "cooperative": cooperative,
        "gateway": parked.gateway,
        "stream": parked.record.stream,
        "seq": parked.record.seq,
        "received_ms": parked.received_unix_ms,
        "size": parked.bytes.len(),
        "waits_for": waits_for(parked.reason),
    })
}

fn print(out: &mut dyn Write, line: &str) -> anyhow::Result<()> {
    writeln!(out, "{line}").context("can't write to stdout")
}
