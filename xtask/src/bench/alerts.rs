//! From a sensor's change to the alert at its receiver, with a hundred gateways as they ship.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::binaries::Binaries;
use furrow_tests::process::pause;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::figure::Figure;
use super::wire::site_config;
use crate::receiver::{self, Posted};

const COOPERATIVES: u32 = 10;
const GATEWAYS_EACH: u32 = 10;
/// Changes to each greenhouse.
const ROUNDS: usize = 3;
const SEND: Duration = Duration::from_secs(10);
/// A change comes at any moment of the send interval.
const SEED: u64 = 1;
/// Everybody is connected and has sent once.
const WARM_UP: Duration = Duration::from_secs(40);
/// A pipe leaks that long, in seconds; then the alert resolves before the next round.
const LEAK_S: u32 = 20;
const BETWEEN_ROUNDS: Duration = Duration::from_secs(50);
/// The longest that an alert may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(60);
const ALERT: &str = r#"
[[cooperative.alert]]
id = "leak"
device = "meter"
channel = "water_flow"
above = 1.0
for = "0s"
severity = "critical"
"#;

/// Greenhouse by cooperative and own id.
type Place = (String, String);

/// An alert that was received.
struct Heard {
    place: Place,
    /// When the receiver had it.
    unix_ms: i64,
    /// Time of the reading that made it fire.
    reading_unix_ms: i64,
}

/// A leak with all valves closed makes the flow meter count at once; sampled every 5 s, sent every
/// 10 s. Latency counts from the reading that shows it; from the leak itself is a line of its own.
pub(super) fn measure(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let (address, heard) = receiver::start().context("listen for alerts")?;
    let extra = format!("\n[webhook]\nurl = \"http://{address}/\"\n");
    let cooperatives: Vec<Cooperative> = (0..COOPERATIVES).map(cooperative).collect();
    let mut ingest = Ingest::start(
        binaries,
        &folder.join("ingest"),
        &cooperatives,
        &extra,
        None,
    )?;
    let mut sites = open_sites(binaries, folder, &cooperatives, ingest.mqtt())?;
    pause(WARM_UP);
    let mut from_reading = Vec::new();
    let mut from_change = Vec::new();
    let mut missing = 0_u32;
    let mut chance = StdRng::seed_from_u64(SEED);
    for _ in 0..ROUNDS {
        let changed = leak_everywhere(&sites, &mut chance)?;
        let found = collect(&heard, changed.len())?;
        for (place, at_ms) in changed {
            match found.get(&place) {
                Some(heard) => {
                    from_reading.push(heard.unix_ms - heard.reading_unix_ms);
                    from_change.push(heard.unix_ms - at_ms);
                }
                None => missing += 1,
            }
        }
        pause(BETWEEN_ROUNDS);
    }
    for site in sites.values_mut() {
        site.stop()?;
    }
    ingest.stop()?;
    let beyond = percentile_s(&mut from_reading, 99)? - SEND.as_secs_f64();
    Ok(vec![
        Figure::at_most(
            "alert: reading to notified, p99, 100 gateways, beyond the send interval",
            beyond,
            "s",
            1.0,
        ),
        Figure::plain(
            "alert: reading to notified, p50",
            percentile_s(&mut from_reading, 50)?,
            "s, sent every 10 s",
        ),
        Figure::plain(
            "alert: sensor's change to notified, p99",
            percentile_s(&mut from_change, 99)?,
            "s, sampled every 5 s, sent every 10 s",
        ),
        Figure::at_most(
            "alert: changes without an alert",
            f64::from(missing),
            "of 300",
            0.0,
        ),
    ])
}

/// Simulator and gateway of each greenhouse, running.
fn open_sites(
    binaries: &Binaries,
    folder: &Path,
    cooperatives: &[Cooperative],
    broker: SocketAddr,
) -> anyhow::Result<BTreeMap<Place, Site>> {
    let mut sites = BTreeMap::new();
    for cooperative in cooperatives {
        for (gateway, greenhouse, _) in &cooperative.gateways {
            let at = folder.join(format!("{}-{gateway}", cooperative.id));
            let config = SiteConfig {
                cooperative: cooperative.id.clone(),
                gateway: gateway.clone(),
                greenhouse: greenhouse.clone(),
                ..site_config("5s", "5s", "10s")
            };
            let arguments = ["greenhouse", "--seed", "1", "--speed", "1"];
            let mut site = Site::open(binaries, &at, config, &arguments, broker)?;
            site.start_gateway()?;
            sites.insert((cooperative.id.clone(), greenhouse.clone()), site);
        }
    }
    Ok(sites)
}

fn cooperative(number: u32) -> Cooperative {
    let gateway = |at| {
        (
            format!("gw-{at:02}"),
            format!("nha-luoi-{at}"),
            "secret".to_owned(),
        )
    };
    Cooperative {
        id: format!("htx-{number:02}"),
        name: format!("HTX {number}"),
        token: format!("token-{number}"),
        gateways: (1..=GATEWAYS_EACH).map(gateway).collect(),
        alerts: ALERT.to_owned(),
    }
}

/// Each greenhouse leaks at its own moment of a send interval; gives when.
fn leak_everywhere(
    sites: &BTreeMap<Place, Site>,
    chance: &mut StdRng,
) -> anyhow::Result<Vec<(Place, i64)>> {
    let mut order: Vec<(Duration, &Place, &Site)> = sites
        .iter()
        .map(|(place, site)| (SEND.mul_f64(chance.random_range(0.0..1.0)), place, site))
        .collect();
    order.sort_by_key(|(after, _, _)| *after);
    let begun = Instant::now();
    let lasts = format!("{LEAK_S}s");
    let mut changed = Vec::new();
    for (after, place, site) in order {
        pause(after.saturating_sub(begun.elapsed()));
        let at_ms = jiff::Timestamp::now().as_millisecond();
        site.fault(&["leak", "60", "--for", &lasts])?;
        changed.push((place.clone(), at_ms));
    }
    Ok(changed)
}

/// The first alert of each greenhouse, until all are there or patience ends.
fn collect(
    posted: &mpsc::Receiver<Posted>,
    wanted: usize,
) -> anyhow::Result<BTreeMap<Place, Heard>> {
    let until = Instant::now() + PATIENCE;
    let mut found = BTreeMap::new();
    while found.len() < wanted {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(posted) = posted.recv_timeout(left) else {
            break;
        };
        if let Some(heard) = firing(&posted)? {
            found.entry(heard.place.clone()).or_insert(heard);
        }
    }
    Ok(found)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a minute")]
fn percentile_s(latencies_ms: &mut [i64], percent: usize) -> anyhow::Result<f64> {
    latencies_ms.sort_unstable();
    let at = (latencies_ms.len() * percent)
        .div_ceil(100)
        .saturating_sub(1);
    let found = latencies_ms.get(at).context("no alert arrived")?;
    Ok(*found as f64 / 1_000.0)
}

/// An alert that fires, of what was posted.
fn firing(posted: &Posted) -> anyhow::Result<Option<Heard>> {
    let text = |key: &str| {
        posted
            .body
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    if text("state").as_deref() != Some("firing") {
        return Ok(None);
    }
    let at_ms = posted.body.get("at_ms").and_then(Value::as_i64);
    Ok(Some(Heard {
        place: (
            text("cooperative").context("no cooperative")?,
            text("greenhouse").context("no greenhouse")?,
        ),
        unix_ms: posted.unix_ms,
        reading_unix_ms: at_ms.context("no at_ms")?,
    }))
}
