//! Bytes a reading between a gateway and the broker, counted by a relay between them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::delivery::{read_books, settled_books};
use furrow_tests::link::Link;
use furrow_tests::process::pause;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};

use super::figure::Figure;
use super::packets;

/// Simulated seconds a real second: a packet a second, each of one simulated minute.
const SPEED: &str = "60";
/// Connecting, catalog and birth are over by then.
const WARM_UP: Duration = Duration::from_secs(8);
const MEASURE: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(10);

/// Runs the demo's greenhouse for half an hour of simulated time.
pub(super) fn measure(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let cooperatives = [cooperative()];
    let ingest = Ingest::start(binaries, &folder.join("ingest"), &cooperatives, "", None)?;
    let link = Link::open(ingest.mqtt())?;
    link.record();
    let arguments = [
        "greenhouse",
        "--seed",
        "1",
        "--start",
        "-1d",
        "--speed",
        SPEED,
    ];
    let config = site_config("10s", "60s", "1s");
    let mut site = Site::open(
        binaries,
        &folder.join("site"),
        config,
        &arguments,
        link.address(),
    )?;
    site.start_gateway()?;
    let apis = [("hoa-binh".to_owned(), ingest.api("token"))];
    let sites = [site];
    pause(WARM_UP);
    let (before, bytes_before) = (read_books(&sites, &apis)?, link.carried());
    let from: Vec<usize> = link.recorded().iter().map(Vec::len).collect();
    pause(MEASURE);
    let (after, bytes_after) = (read_books(&sites, &apis)?, link.carried());
    let recorded = link.recorded();
    let settled = settled_books(&sites, &apis, SETTLE)?;
    anyhow::ensure!(settled.balance(), "the books do not balance: {settled}");
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let per_reading = |bytes: u64| bytes as f64 / (after.stored - before.stored) as f64;
    let [mut site] = sites;
    site.stop()?;
    let name = "wire: bytes a reading, both ways, 14 channels x 6 sweeps a packet";
    let whole = per_reading(bytes_after - bytes_before);
    let mut figures = vec![Figure::at_most(name, whole, "B/reading", 3.0)];
    let mut parts = BTreeMap::new();
    for (bytes, from) in recorded.iter().zip(from) {
        for (part, count) in packets::parts(bytes, from) {
            *parts.entry(part).or_insert(0) += count;
        }
    }
    let of_it = |(part, bytes): (packets::Part, u64)| {
        let name = format!("wire: of it, {}", part.text());
        Figure::plain(&name, per_reading(bytes), "B/reading")
    };
    figures.extend(parts.into_iter().map(of_it));
    Ok(figures)
}

/// One cooperative with one gateway.
pub(crate) fn cooperative() -> Cooperative {
    Cooperative::usual("token")
}

/// The simulated greenhouse with all of its devices.
pub(crate) fn site_config(every: &str, commit: &str, send: &str) -> SiteConfig {
    SiteConfig::usual(every, commit, send)
}
