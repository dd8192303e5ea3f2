//! Size of the page's first load.

use std::process::Command;

use anyhow::Context;

use super::figure::Figure;
use crate::build::root;

/// Asks the page's own check, which counts gzipped bytes.
pub(super) fn measure() -> anyhow::Result<Vec<Figure>> {
    let output = Command::new("npm")
        .args(["run", "--silent", "size"])
        .current_dir(root()?.join("ingest/web"))
        .output()
        .context("start npm")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("gzipped in all"));
    let bytes = line.and_then(|line| line.split_whitespace().next());
    let bytes: f64 = bytes
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no size in {text:?}"))?;
    Ok(vec![Figure::at_most(
        "page: first load, gzipped",
        bytes / 1024.0,
        "KiB",
        120.0,
    )])
}
