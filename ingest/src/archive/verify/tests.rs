use std::path::Path;

use furrow_wire::SeriesId;

use super::*;
use crate::archive::file_of;
use crate::archive::{Archive, LiveHub};
use crate::metrics::Metrics;
use crate::store::{Reading, Run};

const DAY_MS: i64 = 86_400_000;

fn coop() -> CooperativeId {
    "hoa-binh".parse().unwrap()
}

/// Three days and an hour of one series at 10 s: two chunks with roll-ups, and parts.
fn filled(dir: &Path) -> u64 {
    let live = LiveHub::default();
    let mut archive = Archive::open(dir, &[], live, &Metrics::default()).unwrap();
    let series: SeriesId = SeriesId {
        greenhouse: "nha-1".parse().unwrap(),
        device: "sht".parse().unwrap(),
        channel: "t".parse().unwrap(),
    };
    let end_ms = 3 * DAY_MS + 3_600_000;
    let reading = |time_ms: i64| Reading {
        time_ms,
        value: Some(
            format!("2{}.{}", time_ms / 60_000 % 9, time_ms / 10_000 % 7)
                .parse()
                .unwrap(),
        ),
        quality: Quality::Good,
    };
    let mut stored = 0;
    for day in 0..4 {
        let span = day * DAY_MS..end_ms.min((day + 1) * DAY_MS);
        let run = Run {
            series: series.clone(),
            unit: "Cel".to_owned(),
            readings: span.step_by(10_000).map(reading).collect(),
        };
        stored += archive.import(dir, &coop(), &[run]).unwrap().stored;
    }
    stored
}

fn verify(dir: &Path) -> Result<Verified, ArchiveError> {
    let reader = ArchiveReader::open_dir(dir, &[coop()]);
    reader.verify(&coop(), |_, _| ControlFlow::Continue(()))
}

#[test]
fn what_is_as_it_was_written_has_no_findings() {
    let dir = tempfile::tempdir().unwrap();
    let readings = filled(dir.path());
    let verified = verify(dir.path()).unwrap();
    assert_eq!(verified.findings, []);
    // Three chunks, of which each has three roll-ups, and a part.
    let counts = (verified.series, verified.readings, verified.blobs);
    assert_eq!(counts, (1, readings, 13));
}

#[track_caller]
fn check(tamper: &str, expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let db = Connection::open(file_of(dir.path(), &coop())).unwrap();
    db.execute_batch(tamper).unwrap();
    drop(db);
    let findings = verify(dir.path()).unwrap().findings;
    let lines: Vec<_> = findings
        .iter()
        .map(|f| format!("{}: {}", f.place, f.text))
        .collect();
    assert_eq!(lines, expected, "{tamper}");
}

#[test]
fn whatever_was_changed_is_found() {
    let first = "nha-1/sht/t 1970-01-01T00:00:00Z";
    check(
        "UPDATE chunk SET count = 1 WHERE window = 0",
        &[&format!(
            "chunk {first}: 8640 readings where its row says 1"
        )],
    );
    check(
        "UPDATE chunk SET body = CAST(X'01' || substr(body, 1, 40) AS BLOB) WHERE window = 0",
        &[
            &format!("chunk {first}: stored block does not match its checksum"),
            &format!("roll-up 1 min {first}: has no readings, and they were not given up"),
            &format!("roll-up 15 min {first}: has no readings, and they were not given up"),
            &format!("roll-up 60 min {first}: has no readings, and they were not given up"),
        ],
    );
    check(
        "UPDATE rollup SET body = (SELECT body FROM rollup WHERE window = 1 AND level_ms = 900000)
         WHERE window = 0 AND level_ms = 900000",
        &[&format!(
            "roll-up 15 min {first}: is not what its readings add up to"
        )],
    );
    check(
        "DELETE FROM minutes WHERE window = 0",
        &[&format!("roll-up 1 min {first}: is missing")],
    );
    check(
        "UPDATE series SET newest_ms = 0, good_ms = good_ms - 10000",
        &[
            "series nha-1/sht/t: its row's newest reading is not its newest",
            "series nha-1/sht/t: its row's newest good reading is not its newest",
        ],
    );
    check(
        "UPDATE series SET newest = newest + 1",
        &["series nha-1/sht/t: its row's newest reading is not its newest"],
    );
    check(
        "INSERT INTO part SELECT series, window, 7, count, body FROM chunk WHERE window = 0",
        &[&format!("window {first}: 8640 readings are stored twice")],
    );
    check(
        "UPDATE part SET window = 9; INSERT INTO damaged VALUES (1, 'block', 'x', X'00')",
        &[
            "damaged: 1 blobs were set aside",
            "part nha-1/sht/t 1970-01-10T00:00:00Z: 360 readings of another window",
        ],
    );
    check(
        "UPDATE part SET series = 99; INSERT INTO pending VALUES (1, 4, X'0102')",
        &[
            "part: 1 rows of no series",
            "pending 1/4: stored batch is cut short",
        ],
    );
}

#[test]
fn a_damaged_page_is_found_by_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let path = file_of(dir.path(), &coop());
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 16_384;
    let mut found = 0;
    for page in 1..pages {
        let good = bytes.clone();
        bytes[page * 16_384..page * 16_384 + 64].fill(0xA5);
        std::fs::write(&path, &bytes).unwrap();
        found += match verify(dir.path()) {
            Ok(verified) => usize::from(!verified.findings.is_empty()),
            Err(error) => usize::from(error.is_damage()),
        };
        bytes = good;
    }
    std::fs::write(&path, &bytes).unwrap();
    // What lies in a page that is free means nothing.
    let db = Connection::open(&path).unwrap();
    let free: u32 = db
        .pragma_query_value(None, "freelist_count", |row| row.get(0))
        .unwrap();
    let free = usize::try_from(free).unwrap();
    assert!(found >= pages - 1 - free, "{found} of {pages}, {free} free");
    assert!(free < pages / 4, "{free}");
}
