//! Bytes at rest and the chart's query: the archive's own benchmark, which prints figures as JSON.

use std::process::Command;

use anyhow::Context;

use super::figure::Figure;
use crate::build::root;

/// Runs `ingest/benches/archive.rs`.
pub(super) fn measure() -> anyhow::Result<Vec<Figure>> {
    let output = Command::new("cargo")
        .args([
            "bench",
            "--quiet",
            "--locked",
            "-p",
            "furrow-ingest",
            "--bench",
            "archive",
        ])
        .current_dir(root()?)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start cargo bench")?;
    anyhow::ensure!(
        output.status.success(),
        "the benchmark ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).context("read a figure"))
        .collect()
}
