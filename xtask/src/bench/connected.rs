//! Memory of an ingest to which ten thousand gateways are connected that have little to say.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::{Extra, Fleet};
use furrow_tests::process::{pause, until};

use super::figure::Figure;
use super::usage::Usage;

const GATEWAYS: u32 = 10_000;
/// Each connects, subscribes, says its birth and its catalog.
const PATIENCE: Duration = Duration::from_secs(300);
/// What connecting left behind is gone by then.
const SETTLE: Duration = Duration::from_secs(10);

/// One sample an hour a gateway, without TLS and with it.
pub(super) fn measure(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut figures = connected(binaries, &folder.join("plain"), false)?;
    figures.extend(connected(binaries, &folder.join("tls"), true)?);
    Ok(figures)
}

fn connected(binaries: &Binaries, folder: &Path, has_tls: bool) -> anyhow::Result<Vec<Figure>> {
    let how = if has_tls { "with TLS" } else { "without TLS" };
    crate::note!("connected: ten thousand gateways {how}");
    let extra = Extra { toml: "", has_tls };
    let mut fleet = Fleet::open_with(binaries, folder, GATEWAYS, extra)?;
    let id = fleet.ingest.id().context("ingest is not running")?;
    let before = Usage::of(id)?;
    let began = Instant::now();
    let mut load = fleet.load(&["--interval", "1h", "--for", "1h"])?;
    let api = fleet.api();
    until(PATIENCE, || {
        let has_ended = load.has_ended()?;
        anyhow::ensure!(!has_ended, "the fleet ended before all were connected");
        let online = api.metric("furrow_gateways_online")?;
        Ok((online >= f64::from(GATEWAYS)).then_some(()))
    })
    .context("wait for the gateways")?;
    let took = began.elapsed();
    pause(SETTLE);
    let after = Usage::of(id)?;
    drop(load);
    fleet.ingest.stop()?;
    let rss = format!("ingest: RSS, 10,000 gateways connected, {how}");
    let rss = if has_tls {
        Figure::plain(&rss, after.rss_mib, "MiB")
    } else {
        Figure::at_most(&rss, after.rss_mib, "MiB", 400.0)
    };
    let plain = |what: &str, value, unit| {
        let name = format!("ingest: {what}, 10,000 gateways, {how}");
        Figure::plain(&name, value, unit)
    };
    let cpu_ms = (after.cpu_s - before.cpu_s) * 1e3 / f64::from(GATEWAYS);
    Ok(vec![
        rss,
        plain("RSS before", before.rss_mib, "MiB"),
        plain("highest RSS", after.rss_most_mib, "MiB"),
        plain("from none to all", took.as_secs_f64(), "s"),
        plain("CPU of a connect", cpu_ms, "ms/gateway"),
    ])
}
