//! `furrow-sim mqtt`: options and totals.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::fleet::broker;
use super::units::{self, Moment};
use crate::feed::{self, GREENHOUSES_MAX, Options, TopicTemplate};
use crate::fleet::Broker;

/// Most messages a real second, so that a slip in `--speed` does not flood somebody's broker.
const MESSAGES_PER_S_MAX: u64 = 20_000;
/// Messages of a greenhouse at a tick, rounded up.
const MESSAGES_A_TICK: u64 = 25;

/// Options of `furrow-sim mqtt`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Mqtt {
    /// Readings as plain JSON: the default, and the only form so far
    #[arg(long)]
    json: bool,
    /// The broker, without TLS
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883", value_parser = broker)]
    broker: Broker,
    /// User name at the broker
    #[arg(long, value_name = "NAME", requires = "password")]
    username: Option<String>,
    /// Password at the broker
    #[arg(long, env = "FURROW_SIM_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Where each reading goes
    #[arg(
        long,
        value_name = "TEMPLATE",
        default_value = "sim/{greenhouse}/{device}/{channel}"
    )]
    topic: TopicTemplate,
    /// The broker keeps the last reading of each topic
    #[arg(long)]
    retain: bool,
    /// Simulated time between two readings of a sensor
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = every)]
    every: u64,
    /// Simulated seconds a real second
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = units::speed)]
    speed: u32,
    /// Ends after this much simulated time, for example 7d [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration)]
    length_ms: Option<u64>,
    /// How many greenhouses, each with its own weather
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(GREENHOUSES_MAX)))]
    greenhouses: u16,
    /// Decides weather and noise [default: drawn, and logged]
    #[arg(long)]
    seed: Option<u64>,
    /// First moment: a time as in 2026-04-18T00:00:00+07:00, or an age as in -7d [default: now]
    #[arg(long, allow_hyphen_values = true, value_parser = units::start)]
    start: Option<Moment>,
}

const EXAMPLES: &str = "\
Examples:
  A greenhouse for a dashboard, ten seconds between readings:
    furrow-sim mqtt --json
  A week of three greenhouses in ten minutes, a reading every five minutes:
    furrow-sim mqtt --json --greenhouses 3 --every 5m --speed 1008 --for 7d
  Other topics, at a broker that wants a password:
    FURROW_SIM_PASSWORD=secret furrow-sim mqtt --json --broker mqtt://192.168.1.5:1883 \\
        --username me --topic 'farm/{greenhouse}/{channel}'";

/// Does what the options say.
pub(super) fn run(args: Mqtt) -> anyhow::Result<ExitCode> {
    let Mqtt {
        json: _,
        broker,
        username,
        password,
        topic,
        retain,
        every,
        speed,
        length_ms,
        greenhouses,
        seed,
        start,
    } = args;
    let messages = u64::from(greenhouses) * MESSAGES_A_TICK;
    let per_s = messages.saturating_mul(u64::from(speed)) / every;
    anyhow::ensure!(
        per_s <= MESSAGES_PER_S_MAX,
        "that would be about {per_s} messages a second, {MESSAGES_PER_S_MAX} are the most: \
         make --speed or --greenhouses less, or --every more"
    );
    let seed = seed.unwrap_or_else(rand::random);
    tracing::info!(seed, greenhouses, "feed");
    let now_ms = Timestamp::now().as_millisecond();
    let options = Options {
        broker,
        login: username.zip(password),
        topic,
        retain,
        every_ms: every,
        speed_permille: speed,
        length_ms,
        greenhouses,
        seed,
        start_unix_ms: match start {
            None => now_ms,
            Some(Moment::At(unix_ms)) => unix_ms,
            Some(Moment::Ago(age_ms)) => {
                now_ms.saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX))
            }
        },
    };
    let totals = feed::run(&options, stopped())?;
    super::print(&serde_json::to_string(&totals)?);
    Ok(if totals.acknowledged == totals.made {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Ctrl-C, or what a service manager sends.
async fn stopped() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return drop(tokio::signal::ctrl_c().await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    tracing::info!("stopping");
}

/// From a tenth of a second to a day.
fn every(text: &str) -> Result<u64, String> {
    let ms = units::duration(text)?;
    if (100..=86_400_000).contains(&ms) {
        return Ok(ms);
    }
    Err(format!("{text:?} is not between 100ms and 1d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(every("100ms"), Ok(100));
        assert_eq!(every("1d"), Ok(86_400_000));
        for wrong in ["99ms", "25h", "0s", "", "5"] {
            assert!(every(wrong).is_err(), "{wrong}");
        }
    }
}
