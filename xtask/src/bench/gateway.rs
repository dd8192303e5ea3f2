//! Memory, CPU and bytes written of a gateway that samples everything every second.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use furrow_tests::binaries::Binaries;
use furrow_tests::delivery::read_books;
use furrow_tests::process::pause;
use furrow_tests::site::Site;
use furrow_tests::stack::Ingest;

use super::figure::Figure;
use super::wire::{cooperative, site_config};

const WARM_UP: Duration = Duration::from_secs(10);
const MEASURE: Duration = Duration::from_secs(40);
/// Kernel clock ticks a second, fixed on Linux for what `/proc` shows.
const TICKS: f64 = 100.0;

/// What `/proc` says of a process.
struct Usage {
    cpu_s: f64,
    rss_mib: f64,
    written: f64,
}

/// Real time, 1 Hz.
pub(super) fn measure(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let ingest = Ingest::start(binaries, &folder.join("ingest"), &[cooperative()], "", None)?;
    let arguments = [
        "greenhouse",
        "--seed",
        "1",
        "--start",
        "-1d",
        "--speed",
        "1",
    ];
    let config = site_config("1s", "10s", "10s");
    let mut site = Site::open(
        binaries,
        &folder.join("site"),
        config,
        &arguments,
        ingest.mqtt(),
    )?;
    site.start_gateway()?;
    pause(WARM_UP);
    let id = site.gateway()?.id();
    let apis = [("hoa-binh".to_owned(), ingest.api("token"))];
    let sites = [site];
    let (books_before, before) = (read_books(&sites, &apis)?, usage(id)?);
    pause(MEASURE);
    let (books_after, after) = (read_books(&sites, &apis)?, usage(id)?);
    let [mut site] = sites;
    site.stop()?;
    let cpu = (after.cpu_s - before.cpu_s) / MEASURE.as_secs_f64() * 100.0;
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let readings = (books_after.journalled - books_before.journalled) as f64;
    let written = (after.written - before.written) / readings;
    Ok(vec![
        Figure::plain(
            "gateway: CPU, 14 channels at 1 Hz, simulated bus",
            cpu,
            "% of a core",
        ),
        Figure::plain(
            "gateway: RSS, 14 channels at 1 Hz, no backlog",
            after.rss_mib,
            "MiB",
        ),
        Figure::plain(
            "gateway: bytes written, 14 channels at 1 Hz, 10 s commits",
            written,
            "B/reading",
        ),
    ])
}

fn usage(id: u32) -> anyhow::Result<Usage> {
    let read = |name: &str| {
        let path = format!("/proc/{id}/{name}");
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    };
    let stat = read("stat")?;
    // The name in parentheses may hold spaces: count from behind it. utime and stime are fields 14
    // and 15 of proc(5).
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks = |at: usize| -> anyhow::Result<f64> {
        fields
            .get(at)
            .context("short stat")?
            .parse()
            .context("read stat")
    };
    let number = |text: String, key: &str| -> anyhow::Result<f64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .context("missing key")?;
        let word = line.split_whitespace().next().context("missing value")?;
        word.parse().context("read value")
    };
    Ok(Usage {
        cpu_s: (ticks(11)? + ticks(12)?) / TICKS,
        rss_mib: number(read("status")?, "VmRSS:")? / 1024.0,
        written: number(read("io")?, "write_bytes:")?,
    })
}
