//! The archive's own benchmarks, which print figures as JSON.

use std::process::Command;

use anyhow::Context;

use super::figure::Figure;
use crate::build::root;

/// Runs `ingest/benches/NAME.rs`.
pub(super) fn measure(name: &str) -> anyhow::Result<Vec<Figure>> {
    let output = Command::new("cargo")
        .args([
            "bench",
            "--quiet",
            "--locked",
            "-p",
            "furrow-ingest",
            "--bench",
            name,
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
    let figures: Vec<Figure> = lines
        .map(|line| serde_json::from_str(line).context("read a figure"))
        .collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(!figures.is_empty(), "the benchmark printed no figure");
    Ok(figures)
}
