//! From afar: commands that are done or refused, and orders that have to stand their trial.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use furrow_tests::api::Api;
use furrow_tests::binaries::Binaries;
use furrow_tests::process::until;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};
use serde_json::{Value, json};

/// Simulated seconds a real second: a trial of ten minutes takes half a minute.
const SPEED: &str = "20";
const PATIENCE: Duration = Duration::from_secs(90);
const GATEWAY: &str = "/api/v1/cooperatives/hoa-binh/gateways/gw-01";

fn open(folder: &Path) -> (Ingest, Site) {
    let binaries = Binaries::beside_test().unwrap();
    let cooperative = Cooperative::usual("token");
    let cooperatives = [cooperative];
    let ingest = Ingest::start(&binaries, &folder.join("ingest"), &cooperatives, "", None).unwrap();
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
    let config = SiteConfig::usual("10s", "30s", "2s");
    let mut site = Site::open(&binaries, &site_folder, config, &arguments, ingest.mqtt()).unwrap();
    site.start_gateway().unwrap();
    (ingest, site)
}

fn is_open(site: &Site) -> bool {
    let truth = site.truth().unwrap();
    !truth["valves_open"].as_array().unwrap().is_empty()
}

fn command(api: &Api, wanted: &Value) -> (u16, Value) {
    api.post(&format!("{GATEWAY}/commands"), wanted).unwrap()
}

fn is_online(api: &Api) -> anyhow::Result<bool> {
    let houses = api.get("/api/v1/cooperatives/hoa-binh/greenhouses")?;
    houses[0]["gateway"]["online"]
        .as_bool()
        .with_context(|| format!("no gateway in {houses}"))
}

/// Ingest may not have heard of the gateway yet.
fn command_when_known(api: &Api, wanted: &Value) -> (u16, Value) {
    let heard = || Ok(Some(command(api, wanted)).filter(|(code, _)| *code != 503));
    until(PATIENCE, heard).unwrap()
}

fn water(api: &Api, seconds: u32) -> (u16, Value) {
    let wanted = json!({ "kind": "open_zone", "zone": "zone-1", "seconds": seconds });
    command_when_known(api, &wanted)
}

fn put(api: &Api, text: &str) -> u64 {
    let (status, answer) = api.put(&format!("{GATEWAY}/orders"), text).unwrap();
    assert_eq!(status, 200, "{answer}");
    answer["version"].as_u64().unwrap()
}

/// Waits until the newest orders have come to something; why.
fn outcome(api: &Api, expected: &str) -> String {
    let path = format!("{GATEWAY}/orders");
    let found = until(PATIENCE, || {
        let orders = api.get(&path)?;
        Ok((orders["outcome"] == expected).then(|| orders["why"].clone()))
    });
    let why = found.unwrap_or_else(|error| panic!("{error}: {}", api.get(&path).unwrap()));
    why.as_str().unwrap_or_default().to_owned()
}

fn events(site: &Site) -> Vec<Value> {
    let told = site
        .ask_gateway(&["explain", "--since", "2000-01-01", "--json"])
        .unwrap();
    told.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn status(site: &Site) -> Value {
    let text = site.ask_gateway(&["status", "--json"]).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Right after its start a gateway looks at its valves first, and says hello.
fn ready(site: &Site) {
    let is_ready = || {
        let Ok(text) = site.ask_gateway(&["status", "--json"]) else {
            return Ok(None);
        };
        let status: Value = serde_json::from_str(&text)?;
        let zones = status["zones"].as_array().into_iter().flatten();
        let idle = zones.into_iter().all(|zone| zone["phase"] == "idle");
        Ok((idle && status["link"] == "up").then_some(()))
    };
    until(PATIENCE, is_ready).unwrap();
}

#[test]
fn a_zone_is_watered_from_afar_unless_somebody_on_site_does_not_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, mut site) = open(folder.path());
    let api = ingest.api("token");
    ready(&site);
    let (code, accepted) = water(&api, 600);
    assert_eq!(
        (code, &accepted["outcome"]),
        (200, &"accepted".into()),
        "{accepted}"
    );
    until(PATIENCE, || Ok(is_open(&site).then_some(()))).unwrap();
    let stop = json!({ "kind": "stop_zone", "zone": "zone-1" });
    assert_eq!(command(&api, &stop).0, 200);
    until(PATIENCE, || Ok((!is_open(&site)).then_some(()))).unwrap();
    let runs = events(&site);
    let started = runs.iter().find(|event| event["kind"] == "run_started");
    let started = started.unwrap();
    assert_eq!(
        (&started["cause"], &started["run"]),
        (&"command".into(), &accepted["run"])
    );

    // Longer than the local limits allow, and a zone that is not there.
    let (refused, why) = water(&api, 4 * 3_600);
    assert_eq!(refused, 409, "{why}");
    assert!(why.to_string().contains("longest run"), "{why}");
    let nowhere = json!({ "kind": "open_zone", "zone": "zone-9", "seconds": 60 });
    let (refused, why) = command(&api, &nowhere);
    assert_eq!(refused, 409, "{why}");
    assert!(why.to_string().contains("no zone zone-9"), "{why}");

    site.ask_gateway(&["hold", "--for", "4h"]).unwrap();
    let (refused, why) = water(&api, 60);
    assert_eq!(refused, 409, "{why}");
    let (refused, why) = command(&api, &json!({ "kind": "release" }));
    assert_eq!(refused, 409, "what was wanted on site stays: {why}");
    assert!(!is_open(&site));

    // Nobody there, as soon as the broker said so: told at once.
    site.stop_gateway().unwrap();
    until(PATIENCE, || Ok((!is_online(&api)?).then_some(()))).unwrap();
    let stopped = json!({ "kind": "open_zone", "zone": "zone-1", "seconds": 60 });
    let (refused, why) = command(&api, &stopped);
    assert_eq!(refused, 503, "{why}");
    let commands = api.get(&format!("{GATEWAY}/commands")).unwrap();
    assert!(commands.to_string().contains("open_zone"), "{commands}");
}

const GOOD: &str = r#"
[[planting]]
id = "dua-luoi-2026-11"
zones = ["zone-1"]
crop = "sweet-melon"
planted = "2020-01-01"

[[zone]]
id = "zone-1"
rule = [{ name = "kho", kind = "moisture", channel = "analog/soil_moisture_index",
          start_below = 1, stop_above = 2, for = "2min" }]
"#;

#[test]
fn orders_stay_when_their_trial_went_well_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let (ingest, mut site) = open(folder.path());
    let api = ingest.api("token");
    let none = site.ask_gateway(&["config", "diff"]).unwrap();
    assert!(none.contains("no orders from ingest"), "{none}");

    put(&api, "[[zone]]\nid = \"zone-1\"\noutput = 3\n");
    let why = outcome(&api, "refused");
    assert!(why.contains("local file's alone"), "{why}");
    let good = put(&api, GOOD);
    assert_eq!(put(&api, GOOD), good, "the same text is the same version");
    outcome(&api, "on_trial");
    let diff = site.ask_gateway(&["config", "diff"]).unwrap();
    for line in [
        "on trial",
        "+ planting dua-luoi-2026-11: sweet-melon in zone-1",
        "+ kho of zone-1",
    ] {
        assert!(diff.contains(line), "no {line:?} in\n{diff}");
    }
    // Watering bears its planting from now on, and rules decide.
    ready(&site);
    let (code, answer) = water(&api, 120);
    assert_eq!(code, 200, "{answer}");
    until(PATIENCE, || {
        let is_its = |event: &Value| {
            event["kind"] == "run_started" && event["planting"] == "dua-luoi-2026-11"
        };
        Ok(events(&site).iter().any(is_its).then_some(()))
    })
    .unwrap();
    outcome(&api, "confirmed");
    until(PATIENCE, || {
        let decided = |event: &Value| event["kind"] == "decision" && event["rule"] == "kho";
        Ok(events(&site).iter().any(decided).then_some(()))
    })
    .unwrap();
    let replayed = site.ask_gateway(&["replay"]).unwrap();
    assert!(replayed.contains("0 otherwise; of 0"), "{replayed}");

    // What stays survives a kill.
    site.kill_gateway().unwrap();
    site.start_gateway().unwrap();
    until(PATIENCE, || Ok(site.ask_gateway(&["status"]).ok())).unwrap();
    assert_eq!(status(&site)["orders"]["version"], good);

    // A fault in the trial, and what was before holds again.
    put(&api, &GOOD.replace("dua-luoi-2026-11", "ca-chua-2026-11"));
    outcome(&api, "on_trial");
    site.fault(&["stick-valve", "1", "--position", "open"])
        .unwrap();
    ready(&site);
    water(&api, 30);
    outcome(&api, "rolled_back");
    assert_eq!(status(&site)["orders"]["version"], good);
    let diff = site.ask_gateway(&["config", "diff"]).unwrap();
    assert!(diff.contains("dua-luoi-2026-11"), "{diff}");
    assert!(diff.contains("confirmed"), "{diff}");
}
