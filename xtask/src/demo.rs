//! `cargo xtask demo`: the main job on simulated greenhouses, in one command.
//!
//! Owns the order of things: build, start, catch up seven days, go on live, take commands, stop.
//! What is started lies in [`farm`]; what can be done to it in [`deeds`].

mod deeds;
mod farm;
mod prompt;
mod verdict;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use furrow_tests::process::free_port;

use crate::build::{Profile, Programs, root};
use crate::say;
use farm::{Farm, Plan};
pub(crate) use prompt::stop_signal;

/// Options of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --fresh --days 2\n  \
    cargo xtask demo --headless --for 60s"
)]
pub(crate) struct Options {
    /// Forget what earlier demos stored.
    #[arg(long)]
    fresh: bool,
    /// Without a prompt: one cut link and one killed ingest, then a verdict. Uses a folder of its own.
    #[arg(long)]
    headless: bool,
    /// How long to run live without a prompt, e.g. `60s` or `5min`.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = duration)]
    live_for: Duration,
    /// Days of weather that are played before it goes on live.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=60))]
    days: u32,
    /// Port of the page; another one is taken, and said, when it is busy.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Seed of the weather and of the sensors' noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    programs: Programs,
    /// Where data, configurations and logs are kept.
    #[arg(long)]
    folder: Option<PathBuf>,
}

impl Options {
    /// A short run for the test suite.
    pub(crate) fn for_test(port: u16) -> Self {
        Options {
            fresh: true,
            headless: true,
            live_for: Duration::from_secs(45),
            days: 2,
            port,
            seed: 1,
            programs: Programs {
                profile: Profile::Dev,
                programs: None,
            },
            folder: None,
        }
    }
}

/// Runs the demo until the person, the clock or an error ends it.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let stop = stop_signal()?;
    let binaries = options.programs.get()?;
    let temporary = tempfile::tempdir().context("make a temporary folder")?;
    let folder = match (&options.folder, options.headless) {
        (Some(folder), _) => folder.clone(),
        (None, true) => temporary.path().to_owned(),
        (None, false) => root()?.join(".demo"),
    };
    if options.fresh && folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    let plan = Plan {
        folder,
        days: options.days,
        seed: options.seed,
        port: port(options.port)?,
    };
    let mut farm = Farm::open(&binaries, &plan)?;
    farm.catch_up(&stop)?;
    farm.say_where(start.elapsed());
    let code = if options.headless {
        headless(&mut farm, options.live_for)
    } else {
        prompt::run(&mut farm, &stop).map(|()| ExitCode::SUCCESS)
    };
    say!("stopping");
    farm.close()?;
    code
}

fn headless(farm: &mut Farm, live_for: Duration) -> anyhow::Result<ExitCode> {
    let end = Instant::now() + live_for;
    deeds::water(farm, "20s")?;
    deeds::heat(farm)?;
    deeds::cut_link(farm, Duration::from_secs(8))?;
    deeds::kill_ingest(farm)?;
    prompt::pause_until(end);
    let verdict = verdict::judge(farm)?;
    say!("{verdict}");
    Ok(if verdict.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The wanted port, or a free one, said aloud.
fn port(wanted: u16) -> anyhow::Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).is_ok() {
        return Ok(wanted);
    }
    let port = free_port()?;
    say!("port {wanted} is busy: the page is on {port}");
    Ok(port)
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let parsed: jiff::SignedDuration = text
        .parse()
        .with_context(|| format!("{text:?} is not a duration (write e.g. 60s or 5min)"))?;
    let duration = Duration::try_from(parsed).context("a duration is not negative")?;
    ensure!(duration <= Duration::from_secs(86_400), "a day at most");
    Ok(duration)
}
