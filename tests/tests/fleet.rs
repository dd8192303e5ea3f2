//! The simulated fleet against a real ingest: what it counted as acknowledged is in the archive, once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::{Arrived, Extra, Fleet, number};
use furrow_tests::process::{pause, until};

const GATEWAYS: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the fleet; `during` happens to it meanwhile. Gives its totals.
#[track_caller]
fn check(options: &[&str], during: impl FnOnce(&mut Fleet)) -> serde_json::Value {
    check_with(Extra::default(), options, during)
}

#[track_caller]
fn check_with(
    extra: Extra<'_>,
    options: &[&str],
    during: impl FnOnce(&mut Fleet),
) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries::beside_test().unwrap();
    let mut fleet = Fleet::open_with(&binaries, folder.path(), GATEWAYS, extra).unwrap();
    let mut load = fleet.load(options).unwrap();
    during(&mut fleet);
    let totals = load.wait(PATIENCE).unwrap();
    let sent = number(&totals, "sent").unwrap();
    assert!(sent > 0, "{totals}");
    assert_eq!(number(&totals, "acknowledged").unwrap(), sent, "{totals}");
    assert_eq!(number(&totals, "waiting").unwrap(), 0, "{totals}");
    let expected = Arrived {
        stored: sent,
        journalled: sent,
        ..Arrived::default()
    };
    // Acknowledged is what ingest's log holds; the archive follows.
    let mut last = Arrived::default();
    let arrived = until(PATIENCE, || {
        last = fleet.arrived()?;
        Ok((last == expected).then_some(()))
    });
    assert!(arrived.is_ok(), "{last:?} instead of {expected:?}");
    fleet.ingest.stop().unwrap();
    totals
}

#[test]
fn what_a_fleet_sends_is_stored_once() {
    let totals = check(
        &["--rate", "20000", "--for", "3s", "--channels", "5"],
        |_| (),
    );
    let latency = &totals["latency_ms"];
    let ms = |key: &str| latency[key].as_f64().unwrap();
    assert!(
        ms("p50") > 0.0 && ms("p50") <= ms("p99") && ms("p99") <= ms("max"),
        "{totals}"
    );
    assert_eq!(number(&totals, "reconnects").unwrap(), 0);
}

#[test]
fn a_count_of_readings_is_sent_exactly() {
    let options = ["--rate", "max", "--readings", "96000", "--sweeps", "6"];
    let totals = check(&options, |_| ());
    assert_eq!(number(&totals, "sent").unwrap(), 96_000);
}

#[test]
fn a_fleet_whose_ingest_is_killed_loses_nothing() {
    let totals = check(&["--rate", "20000", "--for", "6s"], |fleet| {
        pause(Duration::from_secs(3));
        fleet.ingest.kill().unwrap();
        fleet.ingest.restart().unwrap();
    });
    assert_eq!(number(&totals, "reconnects").unwrap(), u64::from(GATEWAYS));
    assert!(
        number(&totals, "duplicates_offered").unwrap() > 0,
        "{totals}"
    );
}

#[test]
fn what_comes_late_over_tls_is_stored_once_too() {
    let extra = Extra {
        has_tls: true,
        ..Extra::default()
    };
    // A hundred records of each gateway: one of them is kept back.
    let options = ["--rate", "max", "--readings", "192000", "--late"];
    let late = "furrow_readings_late_total";
    let totals = check_with(extra, &options, |fleet| {
        let api = fleet.api();
        until(PATIENCE, || Ok((api.metric(late)? > 0.0).then_some(()))).unwrap();
    });
    assert_eq!(number(&totals, "reconnects").unwrap(), 0);
}
