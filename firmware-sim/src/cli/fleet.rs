//! `furrow-sim fleet`: options, the configuration for ingest, and the totals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::units::{self, Moment};
use crate::fleet::{self, Broker, Names, Options};

/// Files of the process beside its connections.
const OTHER_FILES: u64 = 64;

/// Options of `furrow-sim fleet`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Fleet {
    /// How many gateways
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    gateways: u32,
    /// Channels of each gateway
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    channels: u16,
    /// Sampling interval, in field time
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration)]
    interval: u64,
    /// Sweeps over all channels in one batch
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    sweeps: u16,
    /// Readings a second over the whole fleet, or max: as fast as ingest acknowledges [default: real
    /// time]
    #[arg(long, value_name = "READINGS", value_parser = rate)]
    rate: Option<Pace>,
    /// Makes readings for so long [default: 60s, or as long as --readings takes]
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration)]
    length_ms: Option<u64>,
    /// Makes so many readings over the whole fleet, rounded up to whole batches
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    readings: Option<u64>,
    /// Field time of the first sample: a time as in 2026-04-18T00:00:00+07:00, or an age as in -7d
    /// [default: such that it ends at the present; -30d with --rate max]
    #[arg(long, allow_hyphen_values = true, value_parser = units::start)]
    start: Option<Moment>,
    /// What may pass after the last batch until everything is acknowledged
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = units::duration)]
    grace: u64,
    /// Decides values [default: drawn, and logged]
    #[arg(long)]
    seed: Option<u64>,
    /// The broker
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883", value_parser = broker)]
    broker: Broker,
    /// Speaks TLS with the broker, whose certificate this file (PEM) holds or has signed
    #[arg(long, value_name = "FILE", conflicts_with = "write_ingest_config")]
    ca: Option<PathBuf>,
    /// Each gateway keeps every 64th record back until 16 more have gone: late data
    #[arg(long)]
    late: bool,
    /// Cooperatives that the gateways are dealt to
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    cooperatives: u32,
    /// Id of the cooperative, or what their ids begin with
    #[arg(long, value_name = "ID", default_value = "fleet")]
    cooperative: String,
    /// Password of every gateway
    #[arg(long, default_value = "simulated-fleet")]
    password: String,
    /// The totals as one JSON object
    #[arg(long)]
    json: bool,
    /// Only write FOLDER/ingest.toml, for an ingest that admits this fleet and keeps its data there
    #[arg(long, value_name = "FOLDER")]
    write_ingest_config: Option<PathBuf>,
    /// Where that ingest's API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Access token to that API
    #[arg(long, default_value = "fleet")]
    token: String,
}

const EXAMPLES: &str = "\
Examples:
  Write the configuration of an ingest that admits a thousand gateways, start it, load it with
  100,000 readings a second for a minute:
    furrow-sim fleet --gateways 1000 --write-ingest-config /tmp/fleet
    furrow-ingest --config /tmp/fleet/ingest.toml run &
    furrow-sim fleet --gateways 1000 --rate 100000 --for 60s
  What ingest can take, as JSON:
    furrow-sim fleet --gateways 1000 --rate max --for 5m --json
  A hundred gateways in real time:
    furrow-sim fleet --for 10m
  What arrived, each reading counted in the archive:
    curl -H 'authorization: Bearer fleet' http://127.0.0.1:8080/api/v1/cooperatives/fleet/delivery";

/// As written on the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    PerSecond(f64),
    Max,
}

/// Does what the options say; exit code 1 when readings were not acknowledged.
pub(super) fn run(args: Fleet) -> anyhow::Result<ExitCode> {
    if let Some(folder) = &args.write_ingest_config {
        write_config(&args, folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    raise_open_files(args.gateways);
    let is_json = args.json;
    let report = fleet::run(&options(args)?, interrupted())?;
    super::print(&if is_json {
        serde_json::to_string(&report).context("write the totals")?
    } else {
        report.to_string()
    });
    Ok(if report.waiting == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn options(args: Fleet) -> anyhow::Result<Options> {
    const A_MINUTE_MS: u64 = 60_000;
    const A_DAY_MS: u64 = 86_400_000;
    let seed = args.seed.unwrap_or_else(rand::random);
    tracing::info!(seed, gateways = args.gateways, "fleet");
    let names = names(&args);
    let interval_ms = u32::try_from(args.interval.max(1)).unwrap_or(u32::MAX);
    let real_time = f64::from(args.gateways) * f64::from(args.channels) * 1e3;
    let default_ms = args.readings.map_or(A_MINUTE_MS, |_| A_DAY_MS);
    let tls = args.ca.as_deref().map(trusting).transpose()?;
    Ok(Options {
        names,
        broker: args.broker,
        tls,
        is_late: args.late,
        channels: args.channels,
        interval_ms,
        sweeps: args.sweeps,
        rate: match args.rate {
            None => Some(real_time / f64::from(interval_ms)),
            Some(Pace::PerSecond(rate)) => Some(rate),
            Some(Pace::Max) => None,
        },
        length: Duration::from_millis(args.length_ms.unwrap_or(default_ms)),
        readings: args.readings,
        start_unix_ms: args.start.map(|start| match start {
            Moment::At(unix_ms) => unix_ms,
            Moment::Ago(age_ms) => {
                let now_ms = Timestamp::now().as_millisecond();
                now_ms.saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX))
            }
        }),
        grace: Duration::from_millis(args.grace),
        seed,
    })
}

/// TLS that trusts the certificates of a file.
fn trusting(path: &Path) -> anyhow::Result<fleet::Tls> {
    let shown = path.display();
    let pem = std::fs::read(path).with_context(|| format!("read {shown}"))?;
    fleet::Tls::trusting(&pem).with_context(|| format!("use {shown}"))
}

fn names(args: &Fleet) -> Names {
    Names {
        prefix: args.cooperative.clone(),
        gateways: args.gateways,
        cooperatives: args.cooperatives,
        password: args.password.clone(),
    }
}

fn write_config(args: &Fleet, folder: &Path) -> anyhow::Result<()> {
    let Broker { host, port } = &args.broker;
    let broker = format!("{host}:{port}").parse::<SocketAddr>().ok();
    let broker = broker
        .filter(|broker| broker.ip().is_loopback())
        .context("--broker must be a loopback address and port: passwords go in the clear")?;
    ensure!(*port != 0, "--broker needs a port that the fleet can name");
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let folder = std::path::absolute(folder).context("name the folder")?;
    let text = names(args).ingest_toml(broker, args.http, &folder.join("data"), &args.token)?;
    let path = folder.join("ingest.toml");
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    super::print(&format!("furrow-ingest --config {} run", path.display()));
    Ok(())
}

/// Each gateway is a connection, and many systems allow 1,024 files unless asked.
fn raise_open_files(gateways: u32) {
    let wanted = u64::from(gateways) + OTHER_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_err() {
        tracing::warn!(soft, wanted, "the limit of open files could not be raised");
    }
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Nobody can interrupt then; the run is bounded anyway.
        std::future::pending::<()>().await;
    }
    tracing::info!("no more readings are made, the rest is drained");
}

fn rate(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| (1e-3..=1e9).contains(number));
    number
        .map(Pace::PerSecond)
        .ok_or_else(|| format!("{text:?} is neither readings a second nor max"))
}

pub(super) fn broker(text: &str) -> Result<Broker, String> {
    let wrong = || format!("{text:?} is not the address of a broker as in mqtt://127.0.0.1:1883");
    let rest = text.strip_prefix("mqtt://").ok_or_else(wrong)?;
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "1883"));
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(wrong());
    }
    Ok(Broker {
        host: host.to_owned(),
        port: port.parse().map_err(|_| wrong())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers() {
        let check = |text, expected: Option<(&str, u16)>| {
            let found = broker(text).ok();
            let found = found.as_ref().map(|b| (b.host.as_str(), b.port));
            assert_eq!(found, expected, "{text}");
        };
        check("mqtt://127.0.0.1:1884", Some(("127.0.0.1", 1884)));
        check("mqtt://localhost", Some(("localhost", 1883)));
        for wrong in [
            "127.0.0.1:1883",
            "mqtts://a:1",
            "mqtt://",
            "mqtt://a:x",
            "mqtt://u@a:1",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("max"), Ok(Pace::Max));
        assert_eq!(rate("1.5"), Ok(Pace::PerSecond(1.5)));
        for wrong in ["", "0", "-1", "NaN", "inf", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
