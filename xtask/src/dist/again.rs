//! A day of decisions, recorded on this machine's processor and decided again on the Pi's.
//!
//! The native programs play a simulated day with a moisture rule, a water balance and a radiation sum; then
//! both gateways read that journal. Decisions, their inputs and sums must be the same bit for bit.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use furrow_tests::binaries::Binaries;
use furrow_tests::process::Process;

use crate::build::root;
use crate::say;

/// A simulated day takes some twenty seconds; a busy machine much longer.
const PATIENCE: Duration = Duration::from_secs(300);
/// A day of three rules makes several times as many.
const DECISIONS_MIN: usize = 20;
/// Everything that was recorded.
const SINCE: &str = "2026-01-01";

/// Records a day with `native` programs, and decides again with `arm` under emulation.
pub(super) fn run(native: &Binaries, arm: &Path, folder: &Path) -> anyhow::Result<()> {
    say!("==> under emulation: a recorded day, decided again");
    let config = record(native, folder)?;
    let replay = ["replay", "--since", SINCE];
    let on_x86 = ask(&native.gateway, &config, &replay)?;
    let on_arm = ask(arm, &config, &replay)?;
    ensure!(on_x86 == on_arm, "x86: {on_x86}\narm64: {on_arm}");
    let words = on_arm.split_whitespace().next();
    let count: usize = words.unwrap_or_default().parse().context("a count")?;
    ensure!(count >= DECISIONS_MIN, "only {count} decisions: {on_arm}");
    let explain = ["explain", "--since", SINCE, "--json"];
    let on_x86 = ask(&native.gateway, &config, &explain)?;
    let on_arm = ask(arm, &config, &explain)?;
    ensure!(on_x86 == on_arm, "what was recorded reads differently");
    say!("    {}", ask(arm, &config, &replay)?.trim());
    say!(
        "    {} events, {} bytes: read the same on both",
        on_arm.lines().count(),
        on_arm.len()
    );
    Ok(())
}

/// Plays the day; the configuration whose journal it is.
fn record(native: &Binaries, folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    let mut sim = Command::new(&native.sim);
    sim.args(["greenhouse", "--seed", "1", "--lock-step", "--for", "24h"])
        .args(["--start", "2026-04-20T00:00:00+07:00", "--boards", "1"])
        .args(["--zones", "5", "--master-valve", "4", "--pump", "5"])
        .args(["--listen", "tcp:127.0.0.1:0"]);
    let mut sim = Process::start("furrow-sim", &mut sim, &folder.join("day-sim.log"))?;
    let line = sim.wait_for_line("listening bus=", Duration::from_secs(30))?;
    let bus = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("bus="))
        .context("where the simulator listens")?;
    let sites = root()?.join("tests/season/sites");
    let read = |name: &str| {
        let path = sites.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let text = format!("{}\n{}", read("common.toml")?, read("tomato.toml")?)
        .replace(
            "\"tcp:127.0.0.1:7000\"",
            &format!("{bus:?}\nwaits_for_delivery = false"),
        )
        .replace("./furrow-state", &folder.join("day").display().to_string())
        // Nobody listens there: the link is down for the whole day.
        .replace("host = \"127.0.0.1\"", "host = \"127.0.0.1\"\nport = 1");
    let config = folder.join("day.toml");
    std::fs::write(&config, text).context("write the day's configuration")?;
    let mut gateway = Command::new(&native.gateway);
    gateway.arg("--config").arg(&config).arg("run");
    let log = folder.join("day-gateway.log");
    let mut gateway = Process::start("furrow-gateway", &mut gateway, &log)?;
    let status = gateway.wait(PATIENCE)?;
    ensure!(
        status.success(),
        "the day ended with {status}: {}",
        gateway.log_tail()
    );
    sim.wait(PATIENCE)?;
    Ok(config)
}

fn ask(gateway: &Path, config: &Path, words: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(gateway);
    command.arg("--config").arg(config).args(words);
    let output = command.output().context("start a gateway")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let told = String::from_utf8_lossy(&output.stdout);
        bail!("{words:?} ended with {}: {told}{error}", output.status);
    }
    String::from_utf8(output.stdout).context("read a gateway's answer")
}
