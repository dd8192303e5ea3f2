//! The page in Chromium, against the real system.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

use std::process::Command;
use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::process::until;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_technician_sees_live_values_and_a_chart() {
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries::beside_test().unwrap();
    let cooperative = Cooperative::usual("token-of-the-browser-test");
    let ingest_folder = folder.path().join("ingest");
    let ingest = Ingest::start(&binaries, &ingest_folder, &[cooperative], "", None).unwrap();
    let config = SiteConfig {
        watering: vec!["06:00".into()],
        watering_for: "10min".into(),
        ..SiteConfig::usual("5s", "5s", "1s")
    };
    let start = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(3);
    let start = start.to_string();
    let arguments = ["greenhouse", "--seed", "3", "--start", &start, "--catch-up"];
    let site_folder = folder.path().join("site");
    let mut site = Site::open(&binaries, &site_folder, config, &arguments, ingest.mqtt()).unwrap();
    site.start_gateway().unwrap();
    until(PATIENCE, || {
        let wall_ms = site.truth()?["wall_unix_ms"].as_i64().unwrap();
        let behind = jiff::Timestamp::now().as_millisecond() - wall_ms;
        Ok((behind < 5000).then_some(()))
    })
    .unwrap();

    let web = concat!(env!("CARGO_MANIFEST_DIR"), "/../ingest/web");
    let output = Command::new("npm")
        .args(["run", "--silent", "test:browser"])
        .current_dir(web)
        .env("BASE_URL", format!("http://{}", ingest.http()))
        .env("TOKEN", "token-of-the-browser-test")
        .output()
        .unwrap();
    let (out, error) = (&output.stdout, &output.stderr);
    let (out, error) = (String::from_utf8_lossy(out), String::from_utf8_lossy(error));
    assert!(output.status.success(), "{out}\n{error}");
    site.stop().unwrap();
}
