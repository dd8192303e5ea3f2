//! `furrow-ingest tail`: prints the log's entries as JSON, one line a record.
//!
//! It reads the segments beside a running ingest and changes nothing. Catalogs are followed, so that
//! values appear in their units as soon as a catalog has been seen.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use furrow_ingest_core::GatewayKey;
use furrow_journal::{Entry, FileDisk, JournalReader, Position};
use furrow_wire::json::record_to_json;
use furrow_wire::{
    Catalog, CatalogHash, CommandResult, HEADER_LEN, Orders, RecordKind, decode_batch,
    decode_packet, parse_record,
};
use serde_json::{Value, json};

use crate::config::Settings;
use crate::decode::split;
use crate::log::entry::{EntryError, EntryKind, Issued, LogRecord, Rerun};
use crate::log::folder;

/// How often it looks for more.
const POLL: Duration = Duration::from_millis(500);

/// Prints what is in the log, and with `follow` what comes.
///
/// # Errors
/// When the log can't be read or nobody reads what is printed.
pub async fn run(settings: &Settings, follow: bool) -> anyhow::Result<()> {
    let folder = folder(&settings.data_dir);
    let reader = JournalReader::new(FileDisk::existing(&folder));
    let mut printer = Printer::default();
    let mut position = Position::default();
    loop {
        let entries = reader
            .entries_from(position)
            .with_context(|| format!("can't read the log in {}", folder.display()))?;
        for entry in entries {
            match entry {
                Ok(entry) => {
                    position = entry.next;
                    printer.print(entry, &mut std::io::stdout().lock())?;
                }
                Err(error) => tracing::warn!(%error, "log entry can't be read"),
            }
        }
        if !follow {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

#[derive(Default)]
struct Printer {
    catalogs: BTreeMap<(GatewayKey, CatalogHash), Catalog>,
}

/// What somebody far away asked, or what was answered.
fn remote_content(record: &LogRecord) -> Result<Value, EntryError> {
    Ok(match record.kind {
        EntryKind::Command => {
            let issued = Issued::decode(&record.bytes)?;
            json!({ "command": {
                "id": issued.command.id.to_string(),
                "boot": issued.command.boot.to_string(),
                "mono_ms": issued.command.mono_ms,
                "issued_by": issued.command.issued_by,
                "wanted": issued.command.wanted,
                "repeats": issued.instead_of.map(|id| id.to_string()),
            } })
        }
        EntryKind::Result => {
            let result = CommandResult::decode(&record.bytes)?;
            json!({ "result": {
                "id": result.id.to_string(),
                "outcome": result.outcome,
                "text": result.text,
                "boot": result.boot.to_string(),
                "mono_ms": result.at_mono_ms,
                "run": result.run,
            } })
        }
        EntryKind::Orders => json!({ "orders": Orders::decode(&record.bytes)? }),
        EntryKind::Packet
        | EntryKind::State
        | EntryKind::Rerun
        | EntryKind::Wake
        | EntryKind::Delete => Value::Null,
    })
}

impl Printer {
    fn print(&mut self, entry: Entry, out: &mut dyn Write) -> anyhow::Result<()> {
        let position = entry.position;
        if entry.preamble {
            return Ok(());
        }
        let record = match LogRecord::decode(entry.kind, entry.payload) {
            Ok(record) => record,
            Err(error) => {
                let line = json!({ "position": position.to_string(), "error": error.to_string() });
                writeln!(out, "{line}").context("can't write to stdout")?;
                return Ok(());
            }
        };
        for content in self.contents(&record) {
            let line = json!({
                "position": position.to_string(),
                "received_ms": record.received_unix_ms,
                "cooperative": record.gateway.cooperative,
                "gateway": record.gateway.gateway,
                "content": content,
            });
            writeln!(out, "{line}").context("can't write to stdout")?;
        }
        Ok(())
    }

    fn contents(&mut self, record: &LogRecord) -> Vec<Value> {
        match record.kind {
            EntryKind::State => {
                let state = serde_json::from_slice(&record.bytes);
                vec![json!({ "state": state.unwrap_or(Value::Null) })]
            }
            EntryKind::Rerun => {
                let rerun = Rerun::decode(&record.bytes);
                let content = rerun.map_or(Value::Null, |rerun| {
                    let record = self.content(&record.gateway, &rerun.bytes);
                    json!({ "run_again": rerun.id, "record": record })
                });
                vec![content]
            }
            EntryKind::Delete => vec![json!({ "deleted": record.gateway.cooperative })],
            EntryKind::Wake => vec![json!({ "parked": "looked at again" })],
            EntryKind::Command | EntryKind::Result | EntryKind::Orders => {
                let content = remote_content(record);
                vec![content.unwrap_or_else(|error| json!({ "error": error.to_string() }))]
            }
            EntryKind::Packet => {
                let content = match decode_packet(&record.bytes) {
                    Ok(content) => content,
                    Err(error) => return vec![json!({ "error": error.to_string() })],
                };
                let split = split(&content);
                let mut contents: Vec<Value> = split
                    .records
                    .iter()
                    .map(|offered| self.content(&record.gateway, &offered.bytes))
                    .collect();
                contents.extend(
                    split
                        .rest
                        .map(|(error, _)| json!({ "error": error.to_string() })),
                );
                contents
            }
        }
    }

    fn content(&mut self, key: &GatewayKey, bytes: &[u8]) -> Value {
        let Ok((raw, _)) = parse_record(bytes) else {
            return Value::Null;
        };
        let body = bytes.get(HEADER_LEN..).unwrap_or_default();
        let mut catalog = None;
        match RecordKind::from_code(raw.kind) {
            Some(RecordKind::Catalog) => {
                if let Ok(decoded) = Catalog::decode(body) {
                    self.catalogs
                        .insert((key.clone(), Catalog::hash(body)), decoded);
                }
            }
            Some(RecordKind::Batch) => {
                let hash = decode_batch(body).ok().map(|batch| batch.catalog);
                catalog = hash.and_then(|hash| self.catalogs.get(&(key.clone(), hash)));
            }
            Some(RecordKind::ClockMapping | RecordKind::Events | RecordKind::Loss) | None => {}
        }
        record_to_json(&raw, catalog)
    }
}
