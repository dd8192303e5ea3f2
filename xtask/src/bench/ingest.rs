//! Durable ingest end to end: a simulated fleet against an ingest with its embedded broker, all on
//! this machine.
//!
//! A reading counts when it is in the archive: the rate is taken over the time until the archive has
//! the last one, so that what is only in ingest's log does not flatter it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::{Fleet, number};
use furrow_tests::process::until;
use serde_json::Value;

use super::figure::Figure;
use super::usage::Usage;

const GATEWAYS: u32 = 1_000;
/// Grace, goodbyes and reading the archive through, beyond the load itself.
const PATIENCE: Duration = Duration::from_secs(600);

/// How to load.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Readings are made for so long.
    pub(super) seconds: u32,
    /// Readings a second, or `max`.
    pub(super) rate: String,
}

/// Loads ingest, then waits for its archive.
pub(super) fn measure(
    binaries: &Binaries,
    folder: &Path,
    load: &Load,
) -> anyhow::Result<Vec<Figure>> {
    let mut fleet = Fleet::open(binaries, folder, GATEWAYS)?;
    let id = fleet.ingest.id().context("ingest is not running")?;
    let before = Usage::of(id)?;
    let length = format!("{}s", load.seconds);
    let options = ["--rate", &load.rate, "--for", &length, "--grace", "120s"];
    let mut running = fleet.load(&options)?;
    let totals = running.wait(PATIENCE + Duration::from_secs(load.seconds.into()))?;
    let ended = Instant::now();
    let acknowledged = number(&totals, "acknowledged")?;
    until(PATIENCE, || {
        Ok((stored(&fleet)? >= acknowledged).then_some(()))
    })
    .context("wait for the archive")?;
    let behind = ended.elapsed().as_secs_f64();
    let after = Usage::of(id)?;
    let arrived = fleet.arrived()?;
    anyhow::ensure!(
        arrived.stored == acknowledged && arrived.twice == 0,
        "acknowledged {acknowledged}, yet {arrived:?}"
    );
    fleet.ingest.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let readings = acknowledged as f64;
    let seconds = real(&totals, "seconds")?;
    Ok(figures(&totals, readings, seconds, behind, load)?
        .into_iter()
        .chain([
            Figure::plain("ingest: RSS, highest", after.rss_most_mib, "MiB"),
            Figure::plain(
                "ingest: CPU, broker and archive included",
                (after.cpu_s - before.cpu_s) / readings * 1e6,
                "us/reading",
            ),
        ])
        .collect())
}

fn figures(
    totals: &Value,
    readings: f64,
    seconds: f64,
    behind: f64,
    load: &Load,
) -> anyhow::Result<Vec<Figure>> {
    let name = |what: &str| {
        let Load { seconds, rate } = load;
        format!("ingest: {what}, {GATEWAYS} gateways, rate {rate}, {seconds} s")
    };
    let latency = totals.get("latency_ms").context("no latency")?;
    let mut out = vec![
        Figure {
            at_least: true,
            ..Figure::at_most(
                &name("archived"),
                readings / (seconds + behind),
                "readings/s",
                1e6,
            )
        },
        Figure::plain(&name("acknowledged"), readings / seconds, "readings/s"),
        Figure::at_most("ingest: archive behind at the end", behind, "s", 10.0),
    ];
    for key in ["p50", "p90", "p99", "max"] {
        let name = format!("ingest: batch due to acknowledged, {key}");
        out.push(Figure::plain(&name, real(latency, key)?, "ms"));
    }
    Ok(out)
}

/// Readings in the archive, by ingest's own count.
fn stored(fleet: &Fleet) -> anyhow::Result<u64> {
    let (_, text) = fleet.api().get_raw("/metrics")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("furrow_readings_stored_total "));
    let count = line.context("no count of stored readings")?;
    count.trim().parse().context("read the count")
}

fn real(value: &Value, key: &str) -> anyhow::Result<f64> {
    let field = value.get(key).and_then(Value::as_f64);
    field.with_context(|| format!("no number {key} in {value}"))
}
