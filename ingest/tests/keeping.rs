//! The commands that look after the archive: `verify`, `backup`, and `export` as Parquet.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use furrow_ingest::archive::{Archive, LiveHub};
use furrow_ingest::metrics::Metrics;
use furrow_ingest::store::{Reading, Run};
use furrow_ingest::tools::backup::{MANIFEST, Manifest};
use furrow_wire::{Quality, SeriesId};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use sha2::{Digest, Sha256};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_780_000_000_000;
/// Set by `cargo xtask test`.
const PYTHON: &str = "FURROW_PYTHON";

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    /// Two cooperatives; the first has two days of two channels, among them bad readings, and a late one.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut text = format!(
            "data_dir = {:?}\n[broker]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
            dir.path().join("data")
        );
        for cooperative in ["hoa-binh", "dong-tam"] {
            text += &format!("[[cooperative]]\nid = \"{cooperative}\"\nname = \"HTX\"\n");
        }
        std::fs::write(dir.path().join("ingest.toml"), text).unwrap();
        let site = Self { dir };
        let mut archive = site.archive();
        for (channel, unit) in [("air_temperature", "Cel"), ("relative_humidity", "%")] {
            let times = (START_MS..START_MS + 2 * DAY_MS).step_by(10_000);
            let rows: Vec<_> = times
                .filter(|time| *time != START_MS + 20_000)
                .map(reading)
                .collect();
            let late = vec![reading(START_MS + 20_000)];
            for readings in [rows, late] {
                site.import(&mut archive, "hoa-binh", channel, unit, readings);
            }
        }
        let few = vec![reading(START_MS)];
        site.import(&mut archive, "dong-tam", "t", "", few);
        site
    }

    fn archives(&self) -> PathBuf {
        self.dir.path().join("data/archive")
    }

    fn file(&self, cooperative: &str) -> PathBuf {
        self.archives().join(format!("{cooperative}.sqlite"))
    }

    fn archive(&self) -> Archive {
        let live = LiveHub::default();
        std::fs::create_dir_all(self.archives()).unwrap();
        Archive::open(&self.archives(), &[], live, &Metrics::default()).unwrap()
    }

    fn import(
        &self,
        archive: &mut Archive,
        cooperative: &str,
        channel: &str,
        unit: &str,
        readings: Vec<Reading>,
    ) {
        let series = SeriesId {
            greenhouse: "nha-1".parse().unwrap(),
            device: "sht".parse().unwrap(),
            channel: channel.parse().unwrap(),
        };
        let unit = unit.to_owned();
        let run = Run {
            series,
            unit,
            readings,
        };
        let (dir, id) = (self.archives(), cooperative.parse().unwrap());
        let written = archive.import(&dir, &id, &[run]).unwrap();
        assert_eq!(written.refused, []);
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(env!("CARGO_BIN_EXE_furrow-ingest"))
            .arg("--config")
            .arg(self.dir.path().join("ingest.toml"))
            .args(arguments)
            .env("RUST_LOG", "warn")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    /// Exports the first cooperative; gives the file.
    fn export(&self, format: &str) -> PathBuf {
        let path = self.dir.path().join(format!("export.{format}"));
        let to = path.to_str().unwrap();
        let options = [
            "export",
            "--cooperative",
            "hoa-binh",
            "--format",
            format,
            "--output",
            to,
        ];
        let (code, _, stderr) = self.run(&options);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        path
    }
}

fn reading(time_ms: i64) -> Reading {
    let step = time_ms / 10_000;
    let quality = match step % 1_000 {
        3 => Quality::Failed,
        5 => Quality::Spike,
        _ => Quality::Good,
    };
    let value = format!("{}.{:02}", step % 40 - 10, step % 97);
    Reading {
        time_ms,
        value: quality
            .has_value()
            .then(|| value.replace("0-", "-").parse().unwrap()),
        quality,
    }
}

fn overwrite(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let from = bytes.len() / 2;
    bytes[from..from + 40_000].fill(0xA5);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn verify_says_what_is_wrong_and_whose() {
    let site = Site::new();
    let (code, stdout, stderr) = site.run(&["verify"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let lines: Vec<_> = stdout.lines().collect();
    assert!(
        lines[0].starts_with("ok    hoa-binh: 2 series, 34560 readings, "),
        "{stdout}"
    );
    assert!(
        lines[1].starts_with("ok    dong-tam: 1 series, 1 readings, 1 blobs of "),
        "{stdout}"
    );
    overwrite(&site.file("hoa-binh"));
    let (code, stdout, stderr) = site.run(&["verify"]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.starts_with("wrong hoa-binh: "), "{stdout}");
    assert!(stdout.contains("\nok    dong-tam: "), "{stdout}");
    assert!(stderr.ends_with(" findings\n"), "{stderr}");
    assert_eq!(
        site.run(&["verify", "--cooperative", "dong-tam"]).0,
        Some(0)
    );
    std::fs::copy(site.file("dong-tam"), site.file("hoa-binh")).unwrap();
    let (code, stdout, _) = site.run(&["verify", "--cooperative", "hoa-binh"]);
    assert_eq!(code, Some(1));
    assert!(
        stdout.contains("file belongs to cooperative \"dong-tam\""),
        "{stdout}"
    );
    std::fs::write(site.dir.path().join("ingest.toml"), "").unwrap();
    assert_eq!(site.run(&["verify"]).0, Some(64));
}

#[test]
fn a_backup_is_complete_and_what_its_manifest_says_while_somebody_writes() {
    let site = Site::new();
    let to = site.dir.path().join("backups");
    let stop = AtomicBool::new(false);
    let folder = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut archive = site.archive();
            let mut time = START_MS + 2 * DAY_MS;
            while !stop.load(Ordering::Acquire) {
                let rows = (0..100).map(|n| reading(time + n * 10_000)).collect();
                site.import(&mut archive, "hoa-binh", "air_temperature", "Cel", rows);
                archive.make_durable().unwrap();
                time += 1_000_000;
            }
        });
        let done = site.run(&["backup", "--to", to.to_str().unwrap()]);
        stop.store(true, Ordering::Release);
        let (code, stdout, stderr) = done;
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        PathBuf::from(stdout.trim())
    });
    let names: Vec<_> = std::fs::read_dir(&to).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let text = std::fs::read(folder.join(MANIFEST)).unwrap();
    let manifest: Manifest = serde_json::from_slice(&text).unwrap();
    assert!(manifest.verified);
    let files: Vec<_> = manifest
        .files
        .iter()
        .map(|file| file.file.as_str())
        .collect();
    assert_eq!(files, ["hoa-binh.sqlite", "dong-tam.sqlite"]);
    for file in &manifest.files {
        let bytes = std::fs::read(folder.join(&file.file)).unwrap();
        assert_eq!(bytes.len() as u64, file.bytes);
        let digest = Sha256::digest(&bytes);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, file.sha256);
    }
    // As an archive of its own it verifies.
    for file in &manifest.files {
        std::fs::copy(folder.join(&file.file), site.archives().join(&file.file)).unwrap();
    }
    for cooperative in ["hoa-binh", "dong-tam"] {
        for companion in ["-wal", "-shm"] {
            std::fs::remove_file(format!("{}{companion}", site.file(cooperative).display())).ok();
        }
    }
    assert_eq!(site.run(&["verify"]).0, Some(0));
}

#[test]
fn a_damaged_archive_makes_no_backup_unless_told_to() {
    let site = Site::new();
    let db = rusqlite::Connection::open(site.file("hoa-binh")).unwrap();
    db.execute("UPDATE chunk SET count = 1", []).unwrap();
    let to = site.dir.path().join("backups");
    let to = to.to_str().unwrap();
    let (code, stdout, stderr) = site.run(&["backup", "--to", to]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("archive of hoa-binh has "), "{stderr}");
    assert_eq!(std::fs::read_dir(to).unwrap().count(), 0, "nothing is left");
    assert_eq!(site.run(&["backup", "--to", to, "--no-verify"]).0, Some(0));
}

#[test]
fn parquet_has_the_rows_of_the_csv() {
    let site = Site::new();
    let mut csv = csv::Reader::from_path(site.export("csv")).unwrap();
    let expected = csv.records().map(|row| {
        let row = row.unwrap();
        let time: jiff::Timestamp = row[0].parse().unwrap();
        let value = (!row[4].is_empty()).then(|| row[4].parse::<f64>().unwrap());
        let text = |n: usize| row[n].to_owned();
        let names = [text(1), text(2), text(3), text(5), text(6)];
        (time.as_millisecond(), value, names)
    });
    let file = std::fs::File::open(site.export("parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 34_560);
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let text = |n| row.get_string(n).unwrap().clone();
        let names = [text(1), text(2), text(3), text(5), text(6)];
        (
            row.get_timestamp_millis(0).unwrap(),
            row.get_double(4).ok(),
            names,
        )
    });
    assert!(rows.eq(expected));
}

/// As people will read it: pyarrow, pandas' engine, and DuckDB.
#[test]
fn parquet_is_read_by_pyarrow_and_duckdb() {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| {
        unreachable!(
            "set {PYTHON} to a Python with pyarrow and duckdb; `cargo xtask test` makes one"
        )
    });
    let site = Site::new();
    let output = Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/python/read_parquet.py"
        ))
        .args([site.export("parquet"), site.export("csv")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(text.trim(), "34560 rows agree");
}
