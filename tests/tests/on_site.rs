//! On site with no internet: the gateway's own page in Chromium, and what it did in the archive later.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::process::until;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const PIN: &str = "482913";

#[test]
fn a_zone_is_run_and_stopped_at_the_page_and_told_when_the_link_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries::beside_test().unwrap();
    let mut ingest = ingest(&binaries, folder.path());
    let arguments = ["greenhouse", "--seed", "3", "--speed", "10"];
    let site_folder = folder.path().join("site");
    let mut site =
        Site::open(&binaries, &site_folder, config(), &arguments, ingest.mqtt()).unwrap();
    // From here on nobody is there to tell.
    ingest.stop().unwrap();
    let file = site_folder.join("gateway.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    write!(text, "\n[[zone.rule]]\nname = \"kho\"\nkind = \"moisture\"\nchannel = \"analog/soil_moisture_index\"\nstart_below = 10\nstop_above = 20\nfor = \"2min\"\n\n[page]\nlisten = \"127.0.0.1:0\"\npin = \"{PIN}\"\n").unwrap();
    std::fs::write(&file, text).unwrap();
    site.start_gateway().unwrap();
    let line = site
        .gateway()
        .unwrap()
        .wait_for_line("the page on the gateway is open", PATIENCE)
        .unwrap();
    let address = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("address="));
    let web = concat!(env!("CARGO_MANIFEST_DIR"), "/../ingest/web");
    let output = Command::new("npm")
        .args(["run", "--silent", "test:on-site"])
        .current_dir(web)
        .env("BASE_URL", format!("http://{}", address.unwrap()))
        .env("PIN", PIN)
        .envs(std::env::var("SHOTS").map(|shots| ("SHOTS", shots)))
        .output()
        .unwrap();
    let (out, error) = (&output.stdout, &output.stderr);
    let (out, error) = (String::from_utf8_lossy(out), String::from_utf8_lossy(error));
    assert!(output.status.success(), "{out}\n{error}");

    let told = site
        .ask_gateway(&["explain", "--since", "2000-01-01"])
        .unwrap();
    for what in [
        "by manual, for 120 s",
        "stopped",
        "no water for 30 min, by page",
        "rule kho has enough",
    ] {
        assert!(told.contains(what), "no {what:?} in\n{told}");
    }
    let replayed = site.ask_gateway(&["replay"]).unwrap();
    assert!(
        replayed.contains("1 decisions come out the same, 0 otherwise"),
        "{replayed}"
    );

    ingest.restart().unwrap();
    for kind in ["run_started", "run_ended", "held", "decision"] {
        until(PATIENCE, || Ok(event(&ingest, kind)?.map(drop))).unwrap();
    }
    let decision = event(&ingest, "decision").unwrap().unwrap();
    assert_eq!(
        (&decision["cause"], &decision["reason"]),
        (&"kho".into(), &"enough".into())
    );
    let ended = event(&ingest, "run_ended").unwrap().unwrap();
    assert_eq!(ended["reason"], "stopped", "{ended}");
    site.stop().unwrap();
}

fn event(ingest: &Ingest, kind: &str) -> anyhow::Result<Option<Value>> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let (from, to) = (now_ms - 86_400_000, now_ms + 86_400_000);
    let path =
        format!("/api/v1/cooperatives/hoa-binh/greenhouses/nha-luoi-1/events?from={from}&to={to}");
    let events = ingest.api("token-on-site").get(&path)?;
    let mut events = events.as_array().into_iter().flatten();
    Ok(events.find(|event| event["kind"] == kind).cloned())
}

fn ingest(binaries: &Binaries, folder: &std::path::Path) -> Ingest {
    let cooperative = Cooperative::usual("token-on-site");
    Ingest::start(binaries, &folder.join("ingest"), &[cooperative], "", None).unwrap()
}

fn config() -> SiteConfig {
    SiteConfig {
        watering: vec!["06:00".into()],
        watering_for: "10min".into(),
        ..SiteConfig::usual("5s", "5s", "1s")
    }
}
