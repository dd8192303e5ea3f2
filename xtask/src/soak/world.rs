//! The cooperative, its broken link, and what is seen of ingest meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use furrow_tests::api::Api;
use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::{Extra, Fleet, Load, number};
use furrow_tests::link::Link;
use furrow_tests::process::{pause, until};

use super::charts;
use super::trend::Sample;
use crate::bench::{Usage, bytes_below};
use crate::{note, receiver};

/// As many as a cooperative has.
const GATEWAYS: u32 = 10;
/// Of the fleet's gateways, every 10 s of field time.
const CHANNELS: u32 = 16;
/// Field time to real time: a day a minute.
const SPEED: f64 = 1_440.0;
/// Between two samples.
const SAMPLE: Duration = Duration::from_secs(10);
/// Between two ends of all connections: once in a simulated day.
const CUT_EVERY: Duration = Duration::from_secs(60);
/// For so long. Gateways journal what two minutes bring.
const CUT: Duration = Duration::from_secs(3);
/// Loop of the above.
const TICK: Duration = Duration::from_millis(200);
/// Beyond the load: what is under way, goodbyes, reading the archive through.
const PATIENCE: Duration = Duration::from_secs(300);
const MIB: f64 = 1_048_576.0;
/// The fleet's values rise and fall once a day: each greenhouse has two alerts a day that fire and resolve.
const ALERTS: &str = r#"
[[cooperative.alert]]
id = "warm"
channel = "quantity_0"
above = 22.0
clear = 20.0
for = "10min"
severity = "warning"

[[cooperative.alert]]
id = "cold"
channel = "quantity_1"
below = 17.0
clear = 19.0
severity = "critical"
"#;

/// What came of a soak.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) samples: Vec<Sample>,
    /// Archived, each once.
    pub(super) readings: f64,
    pub(super) late: f64,
    pub(super) reconnects: f64,
    pub(super) alerts: f64,
    pub(super) charts: f64,
    pub(super) chart_most_ms: f64,
    pub(super) segments: f64,
}

/// Plays so many days, a minute each.
pub(super) fn play(binaries: &Binaries, folder: &Path, minutes: u32) -> anyhow::Result<Played> {
    let (webhook, posted) = receiver::start().context("listen for alerts")?;
    let toml = format!("{ALERTS}\n[webhook]\nurl = \"http://{webhook}/\"\n");
    let extra = Extra {
        toml: &toml,
        has_tls: false,
    };
    let mut fleet = Fleet::open_with(binaries, folder, GATEWAYS, extra)?;
    let link = Link::open(fleet.ingest.mqtt())?;
    let rate = f64::from(GATEWAYS * CHANNELS) / 10.0 * SPEED;
    let (rate, length) = (rate.to_string(), format!("{minutes}min"));
    let options = [
        "--rate", &rate, "--for", &length, "--late", "--grace", "120s",
    ];
    let mut load = fleet.load_through(link.address(), &options)?;
    let watch = Watch {
        id: fleet.ingest.id().context("ingest is not running")?,
        data: folder.join("data"),
        began: Instant::now(),
        length: Duration::from_secs(u64::from(minutes) * 60),
    };
    let api = fleet.api();
    let is_over = AtomicBool::new(false);
    let (samples, seen) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| charts::look(&api, &is_over));
        let samples = watch.run(&api, &link, &mut load);
        is_over.store(true, Ordering::Relaxed);
        (samples, looking.join())
    });
    let samples = samples?;
    let Ok(seen) = seen else {
        anyhow::bail!("the person at the charts panicked");
    };
    let seen = seen.context("look at charts")?;
    let totals = load.wait(PATIENCE)?;
    let acknowledged = number(&totals, "acknowledged")?;
    settle(&fleet, acknowledged)?;
    let segments = segments_begun(&folder.join("data/log"))?;
    let late = api.metric("furrow_readings_late_total")?;
    fleet.ingest.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let real = |count: u64| count as f64;
    Ok(Played {
        samples,
        readings: real(acknowledged),
        late,
        reconnects: real(number(&totals, "reconnects")?),
        alerts: posted.try_iter().map(|_| 1.0).sum(),
        charts: seen.charts,
        chart_most_ms: seen.most_ms,
        segments,
    })
}

struct Watch {
    id: u32,
    data: std::path::PathBuf,
    began: Instant,
    length: Duration,
}

impl Watch {
    /// Looks and breaks the link until the load's time is over.
    fn run(&self, api: &Api, link: &Link, load: &mut Load) -> anyhow::Result<Vec<Sample>> {
        let mut samples: Vec<Sample> = Vec::new();
        let (mut next_sample, mut next_cut) = (Duration::ZERO, CUT_EVERY / 2);
        while self.began.elapsed() < self.length {
            ensure!(!load.has_ended()?, "the fleet ended before its time");
            let now = self.began.elapsed();
            if now >= next_sample {
                next_sample += SAMPLE;
                let sample = self.sample()?;
                self.tell(&sample, api)?;
                samples.push(sample);
            }
            if now >= next_cut {
                next_cut += CUT_EVERY;
                link.cut();
                pause(CUT);
                link.mend();
            }
            pause(TICK);
        }
        Ok(samples)
    }

    fn sample(&self) -> anyhow::Result<Sample> {
        let usage = Usage::of(self.id)?;
        let count = |what: &str| -> anyhow::Result<f64> {
            let folder = format!("/proc/{}/{what}", self.id);
            let entries = std::fs::read_dir(&folder).with_context(|| format!("list {folder}"))?;
            Ok(entries.map(|_| 1.0).sum())
        };
        Ok(Sample {
            at_s: self.began.elapsed().as_secs_f64(),
            rss_mib: usage.rss_mib,
            files: count("fd")?,
            threads: count("task")?,
            log_mib: bytes_below(&self.data.join("log")) / MIB,
            archive_mib: bytes_below(&self.data.join("archive")) / MIB,
        })
    }

    fn tell(&self, sample: &Sample, api: &Api) -> anyhow::Result<()> {
        let stored = api.metric("furrow_readings_stored_total")?;
        let Sample {
            at_s,
            rss_mib,
            files,
            threads,
            log_mib,
            archive_mib,
        } = sample;
        note!(
            "{at_s:>6.0} of {:.0} s: {stored} readings archived, RSS {rss_mib:.1} MiB, {files} files, {threads} threads, \
             log {log_mib:.1} MiB, archive {archive_mib:.1} MiB",
            self.length.as_secs_f64()
        );
        Ok(())
    }
}

/// Everything that was acknowledged is in the archive, once.
fn settle(fleet: &Fleet, acknowledged: u64) -> anyhow::Result<()> {
    let mut last = None;
    let settled = until(PATIENCE, || {
        let arrived = fleet.arrived()?;
        last = Some(arrived);
        let is_there = arrived.stored == acknowledged;
        Ok((is_there && arrived.missing == 0 && arrived.aside == 0).then_some(()))
    });
    settled.with_context(|| format!("acknowledged {acknowledged}, yet {last:?}"))?;
    let twice = last.map_or(0, |arrived| arrived.twice);
    ensure!(twice == 0, "{twice} readings are in the archive twice");
    Ok(())
}

/// Segments have numbers from 1 on as the first part of their names, in hexadecimal.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn segments_begun(log: &Path) -> anyhow::Result<f64> {
    let entries = std::fs::read_dir(log).context("list the log")?;
    let numbers = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let (number, _) = name.to_str()?.split_once('-')?;
        u64::from_str_radix(number, 16).ok()
    });
    Ok(numbers.max().context("the log has no segments")? as f64)
}
