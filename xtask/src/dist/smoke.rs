//! The program for the Pi, on this machine's processor under emulation, against simulated chips.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use furrow_tests::binaries::Binaries;
use furrow_tests::process::until;
use furrow_tests::site::Site;
use furrow_tests::stack::Ingest;
use serde_json::Value;

use super::again;
use crate::bench::{cooperative, site_config};
use crate::build::{Profile, build_all, step};
use crate::say;

/// Emulation is ten times slower, and the first packet waits for its commit.
const PATIENCE: Duration = Duration::from_secs(90);
/// Where Debian's cross libraries stand.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Version, a recorded day decided again, check, scan, read, a minute of `run` with water, to an ingest.
pub(super) fn run(gateway: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let script = folder.path().join("furrow-gateway");
    let gateway = gateway.canonicalize().context("find the gateway")?;
    let text = format!(
        "#!/bin/sh\nexec qemu-aarch64 -L {LIBRARIES} {:?} \"$@\"\n",
        gateway.display().to_string()
    );
    std::fs::write(&script, text).context("write the emulator's script")?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .context("make the emulator's script runnable")?;
    step(
        "under emulation: --version",
        Command::new(&script).arg("--version"),
    )?;
    let native = build_all(Profile::Dev)?;
    again::run(&native, &script, folder.path())?;
    let binaries = Binaries {
        gateway: script,
        ..native
    };
    say!("==> under emulation: check, scan, read, run, water");
    let extra = "";
    let at = folder.path().join("ingest");
    let mut ingest = Ingest::start(&binaries, &at, &[cooperative()], extra, None)?;
    let arguments = ["greenhouse", "--seed", "1", "--speed", "1"];
    let at = folder.path().join("site");
    let config = site_config("1s", "2s", "2s");
    let mut site = Site::open(&binaries, &at, config, &arguments, ingest.mqtt())?;
    site.ask_gateway(&["check"])?;
    let found = site.ask_gateway(&["scan", "--json"])?;
    ensure!(found.contains("sht4x"), "scan found no SHT4x:\n{found}");
    let read = site.ask_gateway(&["read", "--json"])?;
    let readings: Value = serde_json::from_str(&read).context("read the readings")?;
    let count = readings.as_array().map_or(0, Vec::len);
    ensure!(
        count == 14,
        "{count} channels were read instead of 14:\n{read}"
    );
    site.start_gateway()?;
    let api = ingest.api("token");
    let path = "/api/v1/cooperatives/hoa-binh/greenhouses/nha-luoi-1/latest";
    until(PATIENCE, || {
        let (status, text) = api.get_raw(path)?;
        let latest: Value = serde_json::from_str(&text).unwrap_or_default();
        let count = latest.as_array().map_or(0, Vec::len);
        Ok((status == 200 && count == 14).then_some(()))
    })
    .context("wait for readings of all channels at ingest")?;
    let said = site.ask_gateway(&["water", "--zone", "zone-1", "--for", "3s"])?;
    ensure!(said.contains("as planned"), "watering went wrong:\n{said}");
    site.stop()?;
    ingest.stop()?;
    say!("    14 channels read and stored, a zone watered");
    Ok(())
}
