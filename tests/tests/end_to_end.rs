//! Whole-system tests: real processes on loopback, killed and asked.
//!
//! Each needs the programs of this profile: `cargo xtask test` builds them first.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::csv_trace::{COLUMNS, Trace, Verdict};
use furrow_tests::replay::{Kills, Replay};

const PATIENCE: Duration = Duration::from_secs(240);

#[track_caller]
fn check_replay(rows: u32, kills: Kills, tls: bool) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.csv");
    let trace = Trace::synthetic("2026-03-01T00:00:00Z".parse().unwrap(), rows, 300);
    trace.write(&file).unwrap();
    let binaries = Binaries::beside_test().unwrap();
    let replay = Replay {
        binaries: &binaries,
        file: &file,
        speed: None,
        kills,
        tls,
        patience: PATIENCE,
    };
    let verdict = replay.run(folder.path(), |_, _| {}).unwrap();
    let values = trace.rows.len() * COLUMNS.len();
    let expected = Verdict {
        values,
        equal: values,
        different: 0,
        missing: 0,
        twice: 0,
    };
    assert_eq!(verdict, expected);
}

#[test]
fn a_trace_arrives_whole() {
    check_replay(300, Kills::default(), false);
}

#[test]
fn a_trace_arrives_whole_over_tls() {
    check_replay(100, Kills::default(), true);
}

#[test]
fn a_trace_arrives_whole_though_ingest_and_gateway_are_killed() {
    check_replay(
        600,
        Kills {
            ingest: true,
            gateway: true,
        },
        false,
    );
}
