//! Memory, CPU and bytes written of a gateway with 64 channels, and how fast a backlog goes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::api::Api;
use furrow_tests::binaries::Binaries;
use furrow_tests::process::{free_port, pause};
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::Ingest;
use serde::Deserialize;
use serde_json::Value;

use super::figure::Figure;
use super::usage::{Card, Usage};
use super::wire::{cooperative, site_config};
use crate::build::root;

/// With 11 of the usual devices these make 64 channels; the three of the SCD4x are slower than 1 Hz and
/// come on top.
const MORE_CHANNELS: u8 = 53;
/// The reference greenhouse's 16 channels.
const REFERENCE_CHANNELS: u8 = 2;
const WARM_UP: Duration = Duration::from_secs(15);
/// As long as the card's file system keeps time stamps back.
const MEASURE: Duration = Duration::from_secs(300);
/// How long the drain of a month may take before it is called stuck.
const DRAIN_PATIENCE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(500);
const SEND_INTERVAL_S: f64 = 10.0;

/// What `gateway/benches/backlog.rs` prints.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Backlog {
    readings: f64,
    bytes: f64,
}

/// A measurement that takes minutes, and what it is.
type Part = (
    &'static str,
    fn(&Binaries, &Path) -> anyhow::Result<Vec<Figure>>,
);

const PARTS: [Part; 3] = [
    ("five minutes with a link", live),
    ("a week of backlog in memory", memory),
    ("a month of backlog drained", drain),
];

/// Tells the figures of each part as soon as there are any.
pub(super) fn measure(
    binaries: &Binaries,
    folder: &Path,
    mut tell: impl FnMut(&Figure) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for (number, (what, part)) in PARTS.into_iter().enumerate() {
        crate::note!("gateway, part {} of {}: {what}", number + 1, PARTS.len());
        for figure in part(binaries, &folder.join(number.to_string()))? {
            tell(&figure)?;
        }
    }
    Ok(())
}

/// Connected: 64 channels at 1 Hz, committed every 10 s, and beside it the reference greenhouse, 16
/// channels at 10 s, committed every 30 s.
fn live(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut busy = Live::start(binaries, &folder.join("busy"), MORE_CHANNELS, ("1s", "10s"))?;
    let reference = folder.join("reference");
    let mut reference = Live::start(binaries, &reference, REFERENCE_CHANNELS, ("10s", "30s"))?;
    pause(WARM_UP);
    let before = (busy.look()?, reference.look()?);
    pause(MEASURE);
    let after = (busy.look()?, reference.look()?);
    let in_a_day = 86_400.0 / MEASURE.as_secs_f64();
    let cpu = (after.0.usage.cpu_s - before.0.usage.cpu_s) / MEASURE.as_secs_f64() * 100.0;
    let commits = (after.1.commits - before.1.commits) * in_a_day;
    let mut figures = vec![
        Figure::at_most(
            "gateway: CPU, 64 channels at 1 Hz, simulated bus",
            cpu,
            "% of a core",
            1.0,
        ),
        Figure::plain(
            "gateway: RSS, 64 channels at 1 Hz, no backlog",
            after.0.usage.rss_mib,
            "MiB",
        ),
    ];
    let late = "gateway: readings begun after their tick, 64 channels at 1 Hz";
    let [p50, p99, most] = after.0.late_ms;
    figures.push(Figure::plain(&format!("{late}, p50"), p50, "ms"));
    figures.push(Figure::plain(&format!("{late}, p99"), p99, "ms"));
    figures.push(Figure::plain(
        &format!("{late}, most since the start"),
        most,
        "ms",
    ));
    let journalled = before.0.journalled;
    if let Some((before, bytes)) = before.0.bytes.zip(after.0.bytes) {
        let readings = after.0.journalled - journalled;
        let name = "gateway: bytes at the block device, 64 channels at 1 Hz";
        let bytes = (bytes - before) / readings;
        figures.push(Figure::at_most(name, bytes, "B/reading", 10.0));
    }
    if let Some((before, bytes)) = before.1.bytes.zip(after.1.bytes) {
        let name = "gateway: bytes at the block device, reference greenhouse";
        let mib = (bytes - before) * in_a_day / 1_048_576.0;
        figures.push(Figure::plain(name, mib, "MiB a day"));
    }
    let name = "gateway: commits, an fsync each, reference greenhouse";
    figures.push(Figure::plain(name, commits, "a day"));
    busy.stop()?;
    reference.stop()?;
    Ok(figures)
}

/// A connected gateway on a card of its own.
struct Live {
    ingest: Ingest,
    site: Site,
    card: Option<Card>,
}

/// What is known of it at one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    usage: Usage,
    /// How late readings began, since the start: the median, the 99th percentile and the most.
    late_ms: [f64; 3],
    /// Readings journalled so far.
    journalled: f64,
    /// Commits of its journal so far.
    commits: f64,
    /// Bytes written to its card so far, everything flushed.
    bytes: Option<f64>,
}

impl Live {
    fn start(
        binaries: &Binaries,
        folder: &Path,
        more_channels: u8,
        (every, commit): (&str, &str),
    ) -> anyhow::Result<Self> {
        let ingest = Ingest::start(binaries, &folder.join("ingest"), &[cooperative()], "", None)?;
        let card = Card::mount(folder).inspect_err(|error| {
            crate::say!(
                "bytes at the block device: NOT MEASURED, no file system of its own: {error:#}"
            );
        });
        let card = card.ok();
        let place = card.as_ref().map_or(folder, Card::folder).join("site");
        let mut site = open(
            binaries,
            &place,
            more_channels,
            (every, commit),
            ingest.mqtt(),
        )?;
        site.start_gateway()?;
        Ok(Live { ingest, site, card })
    }

    fn stop(mut self) -> anyhow::Result<()> {
        self.site.stop()?;
        self.ingest.stop()
    }

    fn look(&mut self) -> anyhow::Result<Moment> {
        let answer = self.site.ask_gateway(&["status", "--json"])?;
        let report: Value = serde_json::from_str(&answer).context("read the gateway's status")?;
        let number = |key: &str| {
            let number = report.pointer(key).and_then(Value::as_f64);
            number.with_context(|| format!("no number {key} in the gateway's status"))
        };
        Ok(Moment {
            usage: Usage::of(self.site.gateway()?.id())?,
            late_ms: [
                number("/lateness/p50_ms")?,
                number("/lateness/p99_ms")?,
                number("/lateness/max_ms")?,
            ],
            journalled: number("/journal/journalled_readings")?,
            commits: number("/journal/commits")?,
            bytes: self.card.as_ref().map(Card::written).transpose()?,
        })
    }
}

/// No link, and a week behind.
fn memory(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut site = open(
        binaries,
        &folder.join("site"),
        MORE_CHANNELS,
        ("1s", "10s"),
        nobody,
    )?;
    let backlog = make_backlog(site.folder(), 7, 10)?;
    site.start_gateway()?;
    pause(WARM_UP);
    let rss = Usage::of(site.gateway()?.id())?.rss_mib;
    site.stop()?;
    let name = "gateway: RSS, 64 channels at 1 Hz, 7 days of backlog";
    let journal = "gateway: journal, 64 channels at 1 Hz";
    Ok(vec![
        Figure::at_most(name, rss, "MiB", 15.0),
        Figure::plain(journal, backlog.bytes / backlog.readings, "B/reading"),
    ])
}

/// A month behind, and then the link is back.
fn drain(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let ingest = Ingest::start(binaries, &folder.join("ingest"), &[cooperative()], "", None)?;
    let mut site = open(
        binaries,
        &folder.join("site"),
        MORE_CHANNELS,
        ("10s", "10s"),
        ingest.mqtt(),
    )?;
    let backlog = make_backlog(site.folder(), 30, 30)?;
    site.start_gateway()?;
    let begun = Instant::now();
    let api = ingest.api("token");
    // A drain that is over before the first live packet is due says nothing of live data.
    let mut late_s: Option<f64> = None;
    // What is sampled meanwhile waits for its own send interval: a minute's worth at most.
    let enough = 64.0 * 6.0;
    loop {
        pause(LOOK);
        let answer = site.ask_gateway(&["journal", "--json"])?;
        let journal: Value = serde_json::from_str(&answer).context("read the journal's summary")?;
        let waiting = journal.get("waiting_readings").and_then(Value::as_f64);
        let waiting = waiting.context("no number waiting_readings")?;
        if begun.elapsed() > WARM_UP {
            let late = newest_age_s(&api)? - SEND_INTERVAL_S - 10.0;
            late_s = Some(late_s.map_or(late, |most| most.max(late)));
        }
        if waiting <= enough {
            break;
        }
        let stuck = begun.elapsed() > DRAIN_PATIENCE;
        anyhow::ensure!(
            !stuck,
            "{waiting} readings still wait after {DRAIN_PATIENCE:?}"
        );
    }
    let seconds = begun.elapsed().as_secs_f64();
    site.stop()?;
    let name = "gateway: backlog of 30 days, 64 channels at 10 s, drained";
    let live = "gateway: live data behind its send interval meanwhile";
    let mut figures = vec![
        Figure::at_most(name, seconds, "s", 60.0),
        Figure::plain(
            "gateway: backlog drained",
            backlog.readings / seconds,
            "readings/s",
        ),
    ];
    figures.extend(late_s.map(|late_s| Figure::at_most(live, late_s, "s", 5.0)));
    Ok(figures)
}

/// Age of the newest reading that the API shows.
fn newest_age_s(api: &Api) -> anyhow::Result<f64> {
    let latest = api.get("/api/v1/cooperatives/hoa-binh/greenhouses/nha-luoi-1/latest")?;
    let times = latest.as_array().context("latest is not a list")?.iter();
    let newest = times.filter_map(|one| one.get("time_ms")?.as_i64()).max();
    let age_ms = jiff::Timestamp::now().as_millisecond() - newest.unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds")]
    Ok(age_ms as f64 / 1_000.0)
}

fn open(
    binaries: &Binaries,
    folder: &Path,
    more_channels: u8,
    (every, commit): (&str, &str),
    broker: SocketAddr,
) -> anyhow::Result<Site> {
    let config = SiteConfig {
        more_channels,
        ..site_config(every, commit, "10s")
    };
    let boards = config.boards().to_string();
    let arguments = [
        "greenhouse",
        "--seed",
        "1",
        "--boards",
        &boards,
        "--speed",
        "1",
    ];
    Site::open(binaries, folder, config, &arguments, broker)
}

fn make_backlog(site: &Path, days: u32, commit_s: u32) -> anyhow::Result<Backlog> {
    // Up to just before now: what the gateway samples follows.
    let end_unix_ms = jiff::Timestamp::now().as_millisecond() - 60_000;
    let output = Command::new("cargo")
        .args([
            "bench",
            "--quiet",
            "--locked",
            "-p",
            "furrow-gateway",
            "--bench",
            "backlog",
            "--",
        ])
        .arg(site.join("gateway.toml"))
        .args([
            days.to_string(),
            commit_s.to_string(),
            end_unix_ms.to_string(),
        ])
        .current_dir(root()?)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start cargo bench")?;
    anyhow::ensure!(
        output.status.success(),
        "the backlog's maker ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.context("the backlog's maker printed nothing")?)
        .context("read what the backlog's maker printed")
}
