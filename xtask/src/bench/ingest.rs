//! Durable ingest end to end: a simulated fleet against an ingest with its embedded broker, all on
//! this machine.
//!
//! A reading counts when it is in the archive: the rate is taken over the time until the archive has
//! the last one, so that what is only in ingest's log does not flatter it. Every reading of the rules'
//! channels is judged by an alert rule.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::api::Api;
use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::{Extra, Fleet, Load as Running, number};
use furrow_tests::process::{pause, until};
use serde_json::Value;

use super::figure::Figure;
use super::stages::Stages;
use super::usage::{Usage, bytes_below, ended_children_cpu_s};

const GATEWAYS: u32 = 1_000;
/// Grace, goodbyes and reading the archive through, beyond the load itself.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is asked how far the archive is behind.
const LOOK: Duration = Duration::from_secs(1);
/// How far the archive may be behind, in seconds.
const BEHIND_MAX_S: f64 = 10.0;

/// How to load.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Readings are made for so long.
    pub(super) seconds: u32,
    /// Readings a second, or `max`.
    pub(super) rate: String,
    /// Alert rules, each for one channel of every gateway.
    pub(super) rules: u16,
}

/// What was seen until the archive had everything.
struct Seen {
    totals: Value,
    /// From the fleet's end on, in seconds.
    until_archived_s: f64,
    /// The furthest that the archive was behind, in seconds.
    behind_most_s: f64,
    generator_cpu_s: f64,
}

/// Loads ingest, then waits for its archive.
pub(super) fn measure(
    binaries: &Binaries,
    folder: &Path,
    load: &Load,
) -> anyhow::Result<Vec<Figure>> {
    let toml = rules_toml(load.rules);
    let extra = Extra {
        toml: &toml,
        has_tls: false,
    };
    let mut fleet = Fleet::open_with(binaries, folder, GATEWAYS, extra)?;
    let id = fleet.ingest.id().context("ingest is not running")?;
    let (before, stages_before) = (Usage::of(id)?, Stages::of(id)?);
    let seen = run(&fleet, load)?;
    let (after, stages_after) = (Usage::of(id)?, Stages::of(id)?);
    let transitions = fleet.api().metric("furrow_alert_transitions_total")?;
    let acknowledged = number(&seen.totals, "acknowledged")?;
    let arrived = fleet.arrived()?;
    anyhow::ensure!(
        arrived.stored == acknowledged && arrived.twice == 0,
        "acknowledged {acknowledged}, yet {arrived:?}"
    );
    fleet.ingest.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let readings = acknowledged as f64;
    let cpu_s = after.cpu_s - before.cpu_s;
    let mut figures = of_fleet(&seen, readings, load)?;
    let seconds = real(&seen.totals, "seconds")? + seen.until_archived_s;
    let archive = bytes_below(&folder.join("data/archive"));
    let plain =
        |name: &str, value: f64, unit: &str| Figure::plain(&format!("ingest: {name}"), value, unit);
    figures.extend([
        plain("RSS, highest", after.rss_most_mib, "MiB"),
        plain("CPU in all", cpu_s / readings * 1e6, "s/M readings"),
    ]);
    figures.extend(stages_after.figures_since(&stages_before, readings));
    figures.extend([
        plain("archive at rest", archive / readings, "B/reading"),
        plain("steps of alert rules", transitions, ""),
        plain(
            "CPU of the load generator",
            seen.generator_cpu_s / readings * 1e6,
            "s/M readings",
        ),
        plain(
            "cores busy, load generator included",
            (cpu_s + seen.generator_cpu_s) / seconds,
            "cores",
        ),
    ]);
    Ok(figures)
}

/// The fleet's values rise and fall between 15 and 35 in twelve hours of field time: each rule fires
/// and resolves once a day for each greenhouse.
fn rules_toml(rules: u16) -> String {
    let mut toml = String::new();
    for number in 0..rules {
        let above = 22.0 + f64::from(number) / 2.0;
        let clear = above - 1.0;
        // Writing to a string can't fail.
        write!(
            toml,
            "\n[[cooperative.alert]]\nid = \"rule-{number}\"\nchannel = \"quantity_{number}\"\n\
             above = {above:?}\nclear = {clear:?}\nfor = \"5min\"\nseverity = \"warning\"\n"
        )
        .ok();
    }
    toml
}

fn run(fleet: &Fleet, load: &Load) -> anyhow::Result<Seen> {
    let length = format!("{}s", load.seconds);
    let options = ["--rate", &load.rate, "--for", &length, "--grace", "120s"];
    let children_before = ended_children_cpu_s()?;
    let mut running = fleet.load(&options)?;
    let api = fleet.api();
    let is_over = AtomicBool::new(false);
    let (finished, behind_most_s) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| behind_most_s(&api, &is_over));
        let finished = finish(&mut running, &api, load);
        is_over.store(true, Ordering::Relaxed);
        (finished, watching.join())
    });
    let (totals, until_archived_s) = finished?;
    let Ok(behind_most_s) = behind_most_s else {
        anyhow::bail!("the watch over the archive panicked");
    };
    Ok(Seen {
        totals,
        until_archived_s,
        behind_most_s: behind_most_s?,
        generator_cpu_s: ended_children_cpu_s()? - children_before,
    })
}

/// The fleet's totals, and how long after its end the archive had everything.
fn finish(running: &mut Running, api: &Api, load: &Load) -> anyhow::Result<(Value, f64)> {
    let totals = running.wait(PATIENCE + Duration::from_secs(load.seconds.into()))?;
    let ended = Instant::now();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let acknowledged = number(&totals, "acknowledged")? as f64;
    until(PATIENCE, || {
        let stored = api.metric("furrow_readings_stored_total")?;
        Ok((stored >= acknowledged).then_some(()))
    })
    .context("wait for the archive")?;
    Ok((totals, ended.elapsed().as_secs_f64()))
}

/// By ingest's own figure, looked at again and again.
fn behind_most_s(api: &Api, is_over: &AtomicBool) -> anyhow::Result<f64> {
    let mut most: f64 = 0.0;
    while !is_over.load(Ordering::Relaxed) {
        most = most.max(api.metric("furrow_archive_lag_seconds")?);
        pause(LOOK);
    }
    Ok(most)
}

fn of_fleet(seen: &Seen, readings: f64, load: &Load) -> anyhow::Result<Vec<Figure>> {
    let name = |what: &str| {
        let Load {
            seconds,
            rate,
            rules,
        } = load;
        format!("ingest: {what}, {GATEWAYS} gateways, {rules} rules, rate {rate}, {seconds} s")
    };
    let seconds = real(&seen.totals, "seconds")?;
    let archived = readings / (seconds + seen.until_archived_s);
    let archived = if load.rate == "max" {
        Figure {
            at_least: true,
            ..Figure::at_most(&name("archived"), archived, "readings/s", 1e6)
        }
    } else {
        Figure::plain(&name("archived"), archived, "readings/s")
    };
    let mut figures = vec![
        archived,
        Figure::plain(&name("acknowledged"), readings / seconds, "readings/s"),
        Figure::at_most(
            "ingest: archive behind under load, most",
            seen.behind_most_s,
            "s",
            BEHIND_MAX_S,
        ),
        Figure::at_most(
            "ingest: archive behind at the end",
            seen.until_archived_s,
            "s",
            BEHIND_MAX_S,
        ),
    ];
    let latency = seen.totals.get("latency_ms").context("no latency")?;
    for key in ["p50", "p90", "p99", "max"] {
        let name = format!("ingest: batch due to acknowledged, {key}");
        figures.push(Figure::plain(&name, real(latency, key)?, "ms"));
    }
    Ok(figures)
}

fn real(value: &Value, key: &str) -> anyhow::Result<f64> {
    let field = value.get(key).and_then(Value::as_f64);
    field.with_context(|| format!("no number {key} in {value}"))
}
