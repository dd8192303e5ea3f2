//! Water stops: whatever happens to the gateway, the valve closes when its lease ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::path::Path;
use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::process::until;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};
use serde_json::Value;

/// Simulated seconds a real second.
const SPEED: &str = "20";
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest lease that the drip controller grants, in simulated seconds.
const LONGEST_LEASE_S: f64 = 300.0;

fn config() -> SiteConfig {
    SiteConfig::usual("10s", "30s", "2s")
}

fn cooperative() -> Cooperative {
    Cooperative::usual("token")
}

fn open(folder: &Path) -> (Ingest, Site) {
    let binaries = Binaries::beside_test().unwrap();
    let ingest = Ingest::start(
        &binaries,
        &folder.join("ingest"),
        &[cooperative()],
        "",
        None,
    )
    .unwrap();
    let arguments = [
        "greenhouse",
        "--seed",
        "7",
        "--start",
        "-1d",
        "--speed",
        SPEED,
    ];
    let site_folder = folder.join("site");
    let mut site =
        Site::open(&binaries, &site_folder, config(), &arguments, ingest.mqtt()).unwrap();
    site.start_gateway().unwrap();
    until(PATIENCE, || Ok(site.ask_gateway(&["status"]).ok())).unwrap();
    (ingest, site)
}

fn is_open(site: &Site) -> bool {
    let truth = site.truth().unwrap();
    !truth["valves_open"].as_array().unwrap().is_empty()
}

fn simulated_s(site: &Site) -> f64 {
    site.truth().unwrap()["mono_ms"].as_f64().unwrap() / 1000.0
}

#[test]
fn a_valve_closes_when_the_gateway_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (_ingest, mut site) = open(folder.path());
    let water = site
        .start_command(&["water", "--zone", "zone-1", "--for", "20min"])
        .unwrap();
    until(PATIENCE, || Ok(is_open(&site).then_some(()))).unwrap();
    site.kill_gateway().unwrap();
    drop(water);
    let killed_at = simulated_s(&site);
    assert!(
        is_open(&site),
        "the valve must still be open right after the kill"
    );
    until(PATIENCE, || Ok((!is_open(&site)).then_some(()))).unwrap();
    let open_for = simulated_s(&site) - killed_at;
    // The look itself takes a moment, in which simulated time goes on.
    assert!(
        open_for < LONGEST_LEASE_S + 30.0,
        "open for {open_for} s after the kill"
    );

    // What was running is closed, told as interrupted, and not resumed.
    site.start_gateway().unwrap();
    let ended = until(PATIENCE, || {
        let events = events(&_ingest);
        Ok(events
            .into_iter()
            .find(|event| event["kind"] == "run_ended"))
    })
    .unwrap();
    assert_eq!(ended["reason"], "interrupted");
    assert!(!is_open(&site));
}

#[test]
fn a_run_ends_in_the_archive_with_its_litres() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, site) = open(folder.path());
    let mut water = site
        .start_command(&["water", "--zone", "zone-1", "--for", "10min"])
        .unwrap();
    assert!(
        water.wait(PATIENCE).unwrap().success(),
        "{}",
        water.log_tail()
    );
    assert!(!is_open(&site));
    let ended = until(PATIENCE, || {
        Ok(events(&ingest)
            .into_iter()
            .find(|event| event["kind"] == "run_ended"))
    })
    .unwrap();
    assert_eq!(ended["reason"], "completed");
    assert_eq!(ended["cause"], "manual");
    assert_eq!(ended["zone"], "zone-1");
    let open_ms = ended["open_ms"].as_f64().unwrap();
    assert!((570_000.0..=630_000.0).contains(&open_ms), "{ended}");
    let litres = ended["litres"].as_f64().unwrap();
    let truth = site.truth().unwrap()["litres"].as_f64().unwrap();
    assert!(
        litres > 0.0 && (litres - truth).abs() <= truth * 0.05,
        "{litres} L, truth {truth} L"
    );
}

fn events(ingest: &Ingest) -> Vec<Value> {
    // Simulated time is not the server's, from which the usual range of a day is reckoned.
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let from_ms = now_ms - 3 * 86_400_000;
    let path = format!(
        "/api/v1/cooperatives/hoa-binh/greenhouses/nha-luoi-1/events?from={from_ms}&to={now_ms}"
    );
    ingest
        .api("token")
        .get(&path)
        .unwrap()
        .as_array()
        .unwrap()
        .clone()
}
