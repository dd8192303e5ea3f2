//! `journal`: what is kept, what waits, and any record for people.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use furrow_gateway_core::outbox::{LIVE_PLACES, Options, Outbox, Place};
use furrow_gateway_core::record::{ENTRY_COPY, ENTRY_RECORD, Stored, parse_stored};
use furrow_gateway_core::recovery::{Recovered, Recovery};
use furrow_journal::{Entry, FileDisk, JournalError, JournalReader, Position};
use furrow_wire::json::record_to_json;
use furrow_wire::{Catalog, CatalogHash, RecordKind, RecordName, Seq, StreamId, decode_batch};
use serde_json::{Value, json};

use super::status::{at, report};
use super::{EXIT_FAILURE, load, print};
use crate::config::Settings;
use crate::control::Ask;
use crate::control::client::AskError;

/// Show what the journal holds and what waits for acknowledgement
///
/// Asks the running gateway; reads the files when it is not running. `--list` and `--decode` always
/// read the files.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway journal --json\n  \
    furrow-gateway journal --list\n  \
    furrow-gateway journal --decode 1f2e3d4c5b6a7988:12")]
pub struct JournalCommand {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// List all records
    #[arg(long, conflicts_with = "json")]
    list: bool,
    /// Print records as JSON, one a line: all, or the one named STREAM:SEQ
    #[arg(long, value_name = "STREAM:SEQ", num_args = 0..=1, conflicts_with_all = ["json", "list"])]
    decode: Option<Option<Name>>,
}

/// A record's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name(RecordName);

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (stream, seq) = text.split_once(':').ok_or("must be STREAM:SEQ")?;
        let stream: StreamId = stream.parse().map_err(|error| format!("{error}"))?;
        let seq: u64 = seq
            .parse()
            .map_err(|error| format!("seq {seq:?}: {error}"))?;
        Ok(Name(RecordName {
            stream,
            seq: Seq(seq),
        }))
    }
}

/// Why the journal is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("open {path}")]
    Open {
        path: String,
        source: std::io::Error,
    },
    #[error("read the journal")]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the journal holds no record {0}")]
    NoRecord(RecordName),
}

impl JournalCommand {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let done = match &self.decode {
            Some(name) => decode(&settings, name.map(|name| name.0)),
            None if self.list => list(&settings),
            None => self.summary(&settings),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print::error(&error);
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }

    fn summary(&self, settings: &Settings) -> Result<(), Error> {
        let socket = settings.gateway().control_socket();
        let summary = match report(&socket, &Ask::Journal) {
            Ok(summary) => summary,
            Err(AskError::NotRunning { .. }) => of_files(&reader(settings)?)?,
            Err(error) => return Err(error.into()),
        };
        if self.json {
            print::line(format!("{summary:#}"));
        } else {
            print::line(text(&summary));
        }
        Ok(())
    }
}

/// The summary of a journal that nobody has open.
fn of_files(reader: &JournalReader<FileDisk>) -> Result<Value, Error> {
    let options = Options {
        send_interval_ms: 0,
        live_places: LIVE_PLACES,
        seed: 0,
    };
    let mut recovery = Recovery::new(Outbox::new(options));
    // Holes are the gateway's to report, when it starts.
    for entry in reader.entries_from(Position::default())?.flatten() {
        let place = Place {
            segment: entry.position.segment,
            offset: entry.position.offset,
        };
        recovery.handle_entry(place, entry.kind, &entry.payload);
    }
    let Recovered { outbox, state, .. } = recovery.finish(&[]);
    let totals = outbox.totals();
    let streams = outbox
        .streams()
        .into_iter()
        .map(|held| json!({ "stream": held.stream, "first": held.first, "last": held.last }));
    Ok(json!({
        "journalled_readings": state.journalled_readings,
        "waiting_readings": totals.waiting_readings,
        "waiting_records": totals.waiting_records,
        "lost_readings": state.lost_readings,
        "streams": streams.collect::<Vec<_>>(),
    }))
}

fn list(settings: &Settings) -> Result<(), Error> {
    for entry in reader(settings)?.entries_from(Position::default())? {
        match entry {
            Ok(entry) => {
                if let Some(line) = list_line(&entry) {
                    print::line(line);
                }
            }
            Err(error) => print::line(format!("hole      {}", print::chain(&error))),
        }
    }
    Ok(())
}

fn list_line(entry: &Entry) -> Option<String> {
    let position = entry.position;
    if entry.kind != ENTRY_RECORD && entry.kind != ENTRY_COPY {
        return None;
    }
    match parse_stored(&entry.payload) {
        Ok(stored) => {
            let kind = RecordKind::from_code(stored.record.kind);
            let kind = kind.map_or_else(|| "unknown".to_owned(), |kind| format!("{kind:?}"));
            let (name, bytes) = (stored.record.name, stored.bytes.len());
            let again = if entry.kind == ENTRY_COPY {
                "  (written again)"
            } else {
                ""
            };
            let readings = stored.readings;
            Some(format!(
                "{position:<12} {name:<22} {kind:<12} {bytes:>6} bytes {readings:>6} readings{again}"
            ))
        }
        Err(error) => Some(format!("{position:<12} {error}")),
    }
}

fn decode(settings: &Settings, wanted: Option<RecordName>) -> Result<(), Error> {
    let lines = decoded(&reader(settings)?, wanted, print::line)?;
    match wanted {
        Some(name) if lines == 0 => Err(Error::NoRecord(name)),
        Some(_) | None => Ok(()),
    }
}

/// Says each record as JSON; gives how many. The catalog of a batch may stand behind it: the one
/// before it goes when everything in its segment is acknowledged, and is written again then.
fn decoded(
    reader: &JournalReader<FileDisk>,
    wanted: Option<RecordName>,
    mut say: impl FnMut(String),
) -> Result<usize, Error> {
    let mut catalogs: BTreeMap<CatalogHash, Catalog> = BTreeMap::new();
    each_record(reader, |stored| {
        let record = stored.record;
        if RecordKind::from_code(record.kind) == Some(RecordKind::Catalog)
            && let Ok(catalog) = Catalog::decode(record.body)
        {
            catalogs.insert(Catalog::hash(record.body), catalog);
        }
    })?;
    let mut lines = 0;
    each_record(reader, |stored| {
        let record = stored.record;
        if wanted.is_some_and(|wanted| wanted != record.name) {
            return;
        }
        let catalog = match RecordKind::from_code(record.kind) {
            Some(RecordKind::Batch) => decode_batch(record.body)
                .ok()
                .and_then(|batch| catalogs.get(&batch.catalog)),
            Some(
                RecordKind::Catalog
                | RecordKind::ClockMapping
                | RecordKind::Events
                | RecordKind::Loss,
            )
            | None => None,
        };
        lines += 1;
        say(record_to_json(&record, catalog).to_string());
    })?;
    Ok(lines)
}

/// Every record that can be read.
pub(super) fn each_record(
    reader: &JournalReader<FileDisk>,
    mut act: impl FnMut(Stored<'_>),
) -> Result<(), Error> {
    for entry in reader.entries_from(Position::default())?.flatten() {
        if entry.kind != ENTRY_RECORD && entry.kind != ENTRY_COPY {
            continue;
        }
        if let Ok(stored) = parse_stored(&entry.payload) {
            act(stored);
        }
    }
    Ok(())
}

pub(super) fn reader(settings: &Settings) -> Result<JournalReader<FileDisk>, Error> {
    let folder = settings.gateway().journal_dir();
    let open = |source| Error::Open {
        path: folder.display().to_string(),
        source,
    };
    Ok(JournalReader::new(FileDisk::open(&folder).map_err(open)?))
}

fn text(summary: &Value) -> String {
    let of = |key: &str| at(summary, key).to_string();
    let mut text = format!(
        "{} readings were ever journalled\n{} in {} records wait for acknowledgement\n{} are lost",
        of("journalled_readings"),
        of("waiting_readings"),
        of("waiting_records"),
        of("lost_readings"),
    );
    for stream in at(summary, "streams").as_array().into_iter().flatten() {
        let id = at(stream, "stream").as_str().unwrap_or_default();
        text.push_str(&format!(
            "\nstream {id}: {} to {}",
            stream["first"], stream["last"]
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_readable() {
        let summary = json!({
            "journalled_readings": 960, "waiting_readings": 48, "waiting_records": 1,
            "lost_readings": 0,
            "streams": [{ "stream": "000000000000001f", "first": 1, "last": 22 }],
        });
        assert_eq!(
            text(&summary),
            "960 readings were ever journalled\n48 in 1 records wait for acknowledgement\n\
             0 are lost\nstream 000000000000001f: 1 to 22"
        );
    }

    #[test]
    fn a_batch_whose_catalog_was_written_again_behind_it_has_names() {
        let device: furrow_wire::DeviceId = "sht-inside".parse().unwrap();
        let catalog = Catalog {
            greenhouse: "nha-luoi-1".parse().unwrap(),
            greenhouse_name: String::new(),
            software: String::new(),
            devices: vec![furrow_wire::CatalogDevice {
                id: device.clone(),
                kind: "sht4x".to_owned(),
                bus: "main".to_owned(),
                address: Some(0x44),
                name: String::new(),
                calibration_version: 0,
            }],
            channels: vec![furrow_wire::CatalogChannel {
                device,
                channel: "air_temperature".parse().unwrap(),
                unit: "Cel".to_owned(),
                exponent: -2,
                interval_ms: 10_000,
                name: String::new(),
            }],
            zones: Vec::new(),
        };
        let body = catalog.encode();
        let batch = furrow_wire::Batch {
            boot: furrow_wire::BootId(1),
            from_mono_ms: 0,
            to_mono_ms: 10_000,
            clock: furrow_wire::ClockState::Unknown,
            wall_offset_ms: None,
            catalog: Catalog::hash(&body),
            axes: vec![furrow_wire::Axis {
                step_ms: 10_000,
                times: vec![0],
                columns: vec![furrow_wire::Column {
                    channel: 0,
                    samples: vec![furrow_wire::Sample::good(2_512)],
                }],
            }],
        };
        let record = |seq, kind, body| {
            let name = RecordName {
                stream: StreamId(7),
                seq: Seq(seq),
            };
            furrow_wire::Record { name, kind, body }.encode().unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let options = furrow_journal::Options::with_cap(1 << 20);
        let (mut journal, _) = furrow_journal::Journal::open(disk, options).unwrap();
        let batch = furrow_wire::encode_batch(&batch).unwrap();
        for (seq, kind, body) in [
            (1, RecordKind::Batch, batch),
            (2, RecordKind::Catalog, body),
        ] {
            journal
                .append(ENTRY_RECORD, &record(seq, kind, body))
                .unwrap();
        }
        journal.commit().unwrap();
        let reader = JournalReader::new(FileDisk::existing(folder.path()));
        let mut lines = Vec::new();
        assert_eq!(decoded(&reader, None, |line| lines.push(line)).unwrap(), 2);
        let first: Value = serde_json::from_str(&lines[0]).unwrap();
        let column = &first["body"]["columns"][0];
        assert_eq!(column["device"], "sht-inside", "{first}");
        assert_eq!(column["name"], "air_temperature", "{first}");
    }

    #[test]
    fn a_name_is_a_stream_and_a_seq() {
        let name = Name(RecordName {
            stream: StreamId(31),
            seq: Seq(12),
        });
        assert_eq!("000000000000001f:12".parse(), Ok(name));
        for bad in ["12", "1f:12", "000000000000001f:x"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
