//! A Python with the readers of Parquet that people use: for the test that they read what `export` writes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::build::{root, step};
use crate::needs;

/// Tells the test which interpreter to use.
pub(crate) const VARIABLE: &str = "FURROW_PYTHON";
/// What the test imports.
const PACKAGES: [&str; 2] = ["pyarrow==26.0.1", "duckdb==2.0.0"];

/// Finds or makes the interpreter: a virtual environment below `target`, so that nothing of the machine changes.
pub(crate) fn ensure() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Ok(path.into());
    }
    let folder = root()?.join("target/python");
    let python = folder.join("bin/python");
    if python.is_file() && can_import(&python) {
        return Ok(python);
    }
    if !needs::has("python3") {
        bail!("python3 is missing: install it, or set {VARIABLE} to one with pyarrow and duckdb");
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder);
    step("python: environment", &mut venv).context("on Debian: apt-get install python3-venv")?;
    let mut install = Command::new(&python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PACKAGES);
    step("python: pyarrow and duckdb", &mut install)?;
    Ok(python)
}

fn can_import(python: &PathBuf) -> bool {
    let mut import = Command::new(python);
    import
        .args(["-c", "import pyarrow, duckdb"])
        .stderr(Stdio::null());
    import.status().is_ok_and(|status| status.success())
}
