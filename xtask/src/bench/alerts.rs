//! From a sensor's change to the alert at its receiver, with a hundred gateways as they ship.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
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
/// Bytes of a request: an alert has some hundreds.
const MAX_BODY_BYTES: usize = 64 * 1024;
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
    let (address, heard) = receive().context("listen for alerts")?;
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
        let found = collect(&heard, changed.len());
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
fn collect(heard: &mpsc::Receiver<Heard>, wanted: usize) -> BTreeMap<Place, Heard> {
    let until = Instant::now() + PATIENCE;
    let mut found = BTreeMap::new();
    while found.len() < wanted {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(heard) = heard.recv_timeout(left) else {
            break;
        };
        found.entry(heard.place.clone()).or_insert(heard);
    }
    found
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

/// A receiver of alerts on a free port of its own thread, until the process ends.
fn receive() -> anyhow::Result<(SocketAddr, mpsc::Receiver<Heard>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                if let Err(error) = serve(stream, &sender) {
                    crate::say!("an alert could not be read: {error:#}");
                }
            });
        }
    });
    Ok((address, receiver))
}

/// One connection, kept alive by its sender: POST after POST.
fn serve(stream: TcpStream, sender: &mpsc::Sender<Heard>) -> anyhow::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        while line.trim_end() != "" {
            line.clear();
            requests.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        anyhow::ensure!(length <= MAX_BODY_BYTES, "{length} bytes");
        let mut body = vec![0; length];
        requests.read_exact(&mut body)?;
        let unix_ms = jiff::Timestamp::now().as_millisecond();
        answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        let alert: Value = serde_json::from_slice(&body)?;
        let text = |key: &str| alert.get(key).and_then(Value::as_str).map(str::to_owned);
        if text("state").as_deref() != Some("firing") {
            continue;
        }
        let heard = Heard {
            place: (
                text("cooperative").context("no cooperative")?,
                text("greenhouse").context("no greenhouse")?,
            ),
            unix_ms,
            reading_unix_ms: alert
                .get("at_ms")
                .and_then(Value::as_i64)
                .context("no at_ms")?,
        };
        // An error says that the measurement is over.
        if sender.send(heard).is_err() {
            return Ok(());
        }
    }
}
