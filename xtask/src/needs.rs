//! What the machine must have, and how to get it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use furrow_tests::{mosquitto, prometheus};

use crate::build::step;

/// Oldest Node.js that the page's tools run on.
const NODE_MAJOR: u32 = 20;

/// Checks for Node.js and npm.
pub(crate) fn node() -> anyhow::Result<()> {
    let remedy = "install Node.js 20 or newer, with npm";
    let output = Command::new("node").arg("--version").output();
    let output = output.with_context(|| format!("node is missing: {remedy}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let major = text.trim().trim_start_matches('v').split('.').next();
    let major: u32 = major
        .and_then(|text| text.parse().ok())
        .context("read node's version")?;
    ensure!(major >= NODE_MAJOR, "node is {}: {remedy}", text.trim());
    ensure!(has("npm"), "npm is missing: {remedy}");
    Ok(())
}

/// Finds Chromium, or installs it from Debian's packages where that is allowed.
pub(crate) fn chromium() -> anyhow::Result<PathBuf> {
    let found = || ["/usr/bin/chromium", "/usr/bin/chromium-browser"].map(PathBuf::from);
    let look = || found().into_iter().find(|path| path.is_file());
    if let Some(path) = look() {
        return Ok(path);
    }
    apt_install(&["chromium"])?;
    look().context("chromium was installed, yet /usr/bin/chromium is missing")
}

/// Finds Mosquitto, or installs it from Debian's packages where that is allowed.
pub(crate) fn mosquitto() -> anyhow::Result<PathBuf> {
    if let Ok(path) = mosquitto::find() {
        return Ok(path);
    }
    apt_install(&["mosquitto"])?;
    mosquitto::find()
}

/// Finds Prometheus, or installs it from Debian's packages where that is allowed.
pub(crate) fn prometheus() -> anyhow::Result<prometheus::Programs> {
    if let Ok(programs) = prometheus::find() {
        return Ok(programs);
    }
    apt_install(&["prometheus"])?;
    prometheus::find()
}

/// Has programs, given each with the package that holds it.
pub(crate) fn packages(wanted: &[(&str, &'static str)]) -> anyhow::Result<()> {
    let missing = wanted.iter().filter(|(program, _)| !has(program));
    let missing: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt_install(&missing)
}

/// Installs Debian packages where that is allowed; else says what to do.
pub(crate) fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    if !has("apt-get") || !nix::unistd::geteuid().is_root() {
        bail!("missing: {list}. Install it, on Debian: sudo apt-get install {list}");
    }
    let mut update = Command::new("apt-get");
    step(
        "apt: package lists",
        update.args(["update", "-q"]).stdout(Stdio::null()),
    )?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(packages);
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null());
    step(&format!("apt: {list}"), &mut install)
}

/// Whether a program is on the path.
pub(crate) fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| Path::new(&folder).join(program).is_file())
}
