//! Memory of an ingest to which ten thousand gateways are connected that have little to say.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::Fleet;
use furrow_tests::process::{pause, until};

use super::figure::Figure;
use super::usage::Usage;

const GATEWAYS: u32 = 10_000;
/// Each connects, subscribes, says its birth and its catalog.
const PATIENCE: Duration = Duration::from_secs(300);
/// What connecting left behind is gone by then.
const SETTLE: Duration = Duration::from_secs(10);

/// One sample an hour a gateway, without TLS.
pub(super) fn measure(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut fleet = Fleet::open(binaries, folder, GATEWAYS)?;
    let id = fleet.ingest.id().context("ingest is not running")?;
    let load = fleet.load(&["--interval", "1h", "--for", "1h"])?;
    until(PATIENCE, || Ok((online(&fleet)? >= GATEWAYS).then_some(())))
        .context("wait for the gateways")?;
    pause(SETTLE);
    let rss = Usage::of(id)?.rss_mib;
    drop(load);
    fleet.ingest.stop()?;
    let name = "ingest: RSS, 10,000 gateways connected, without TLS";
    Ok(vec![Figure::at_most(name, rss, "MiB", 400.0)])
}

/// By ingest's own count.
fn online(fleet: &Fleet) -> anyhow::Result<u32> {
    let (_, text) = fleet.api().get_raw("/metrics")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("furrow_gateways_online "));
    let count = line.context("no count of gateways online")?;
    count.trim().parse().context("read the count")
}
