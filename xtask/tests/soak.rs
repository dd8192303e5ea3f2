//! A soak of two simulated days: it plays and looks. What it makes of a longer one is tested beside its trend.
#![allow(clippy::unwrap_used, reason = "test helpers")]

use std::process::Command;

use furrow_tests::binaries::Binaries;

#[test]
fn two_days_are_played_and_looked_at() {
    let binaries = Binaries::beside_test().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples.csv");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["soak", "--minutes", "2", "--json", "--programs"])
        .arg(binaries.ingest.parent().unwrap())
        .arg("--samples")
        .arg(&samples)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    assert!(error.contains("growth is not judged"), "{error}");
    let value = |name: &str| {
        let mut figures = text.lines().map(|line| {
            let figure: serde_json::Value = serde_json::from_str(line).unwrap();
            (figure["name"].as_str().unwrap().to_owned(), figure)
        });
        let found = figures.find(|(found, _)| found == &format!("soak: {name}"));
        let (_, figure) = found.unwrap_or_else(|| panic!("no {name} in {text}"));
        figure["value"].as_f64().unwrap()
    };
    // 160 channels, 8,640 samples a day; the last minutes may be under way when the time is over.
    let readings = value("readings archived, each once");
    assert!((2.7e6..=2.8e6).contains(&readings), "{readings}");
    assert!(value("of them late") > 0.0);
    assert!(value("connections beyond the first") >= 10.0);
    assert!(value("alerts posted") > 0.0);
    assert!(value("charts answered") > 50.0);
    for what in ["RSS", "open files", "threads"] {
        value(&format!("growth of {what} over the run"));
    }
    let samples = std::fs::read_to_string(samples).unwrap();
    assert_eq!(samples.lines().count(), 1 + 12, "{samples}");
}
