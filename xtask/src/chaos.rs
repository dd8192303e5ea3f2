//! `cargo xtask chaos`: real processes, killed, paused, cut off and starved at random, for a bounded
//! time; then faults end, everything drains, and every journalled reading must be in the archive once.
//!
//! The seed decides what is done and when; what the machine makes of it differs from run to run. What
//! runs lies in [`world`], what is done to it in [`deeds`], the end in [`verdict`].

mod deeds;
mod verdict;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use furrow_tests::binaries::Binaries;
use furrow_tests::process::pause;

use crate::build::{Profile, Programs};
use crate::demo::stop_signal;
use crate::{needs, say};
use deeds::{Counts, Timeline};
use verdict::Verdict;
use world::World;

/// How precisely deeds are done in time.
const TICK: Duration = Duration::from_millis(20);
/// Everything runs undisturbed before the first deed.
const LEAD_IN: Duration = Duration::from_secs(3);

/// Options of `chaos`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask chaos\n  \
    cargo xtask chaos --minutes 60 --broker mosquitto --seed 7\n  \
    cargo xtask chaos --minutes 1 --profile dev --folder /tmp/chaos")]
pub(crate) struct Options {
    /// Minutes of faults; draining comes on top.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// What is done, and when [default: drawn, and said].
    #[arg(long)]
    seed: Option<u64>,
    /// The broker between gateways and ingest.
    #[arg(long, value_enum, default_value = "embedded")]
    broker: Broker,
    /// Where data and logs are kept, whatever comes out; it must be empty or absent.
    #[arg(long)]
    folder: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
}

/// The broker between gateways and ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Broker {
    /// Ingest's own.
    Embedded,
    /// Mosquitto with its defaults, from Debian's packages.
    Mosquitto,
}

impl Options {
    /// A short run for the test suite.
    pub(crate) fn for_test(broker: Broker) -> Self {
        Options {
            minutes: 1.0,
            seed: None,
            broker,
            folder: None,
            programs: Programs {
                profile: Profile::Dev,
                programs: None,
            },
        }
    }
}

/// Runs it; exits 0 only when every journalled reading is in the archive, once.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let mosquitto = match options.broker {
        Broker::Embedded => None,
        Broker::Mosquitto => Some(needs::mosquitto()?),
    };
    let binaries = options.programs.get()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let temporary = tempfile::Builder::new().prefix("furrow-chaos-").tempdir();
    let temporary = temporary.context("make a temporary folder")?;
    let folder = match &options.folder {
        None => temporary.path(),
        Some(folder) => {
            let is_new = std::fs::read_dir(folder).map_or(true, |mut list| list.next().is_none());
            ensure!(is_new, "{} is not empty", folder.display());
            folder
        }
    };
    let broker = options.broker;
    say!(
        "chaos: seed {seed}, {broker:?} broker, {:.0} s",
        length.as_secs_f64()
    );
    let ended = torment(&binaries, folder, mosquitto.as_deref(), seed, length);
    if matches!(&ended, Ok((_, verdict)) if verdict.holds()) {
        let (counts, verdict) = ended?;
        say!("{verdict}");
        say!("{counts}, {}", verdict.books);
        return Ok(ExitCode::SUCCESS);
    }
    let kept = match &options.folder {
        Some(folder) => folder.clone(),
        None => temporary.keep(),
    };
    say!(
        "failed with seed {seed}; data and logs are in {}",
        kept.display()
    );
    let (counts, verdict) = ended?;
    say!("{verdict}");
    say!("{counts}, {}", verdict.books);
    Ok(ExitCode::FAILURE)
}

fn torment(
    binaries: &Binaries,
    folder: &Path,
    mosquitto: Option<&Path>,
    seed: u64,
    length: Duration,
) -> anyhow::Result<(Counts, Verdict)> {
    let mut world = World::open(binaries, folder, mosquitto, seed, length)?;
    let begin = Instant::now();
    let ended = disturb(&mut world, seed, length, begin)
        .and_then(|()| verdict::judge(&mut world, folder, begin));
    if !ended.as_ref().is_ok_and(Verdict::holds) {
        world.keep_disks()?;
    }
    Ok((world.counts, ended?))
}

fn disturb(world: &mut World, seed: u64, length: Duration, begin: Instant) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let mut timeline = Timeline::new(seed, &world.targets());
    let (mut wait, mut deed) = timeline.next();
    let mut at = begin + LEAD_IN + wait;
    while begin.elapsed() < LEAD_IN + length {
        ensure!(!stop.load(Ordering::SeqCst), "stopped");
        world.supervise(begin)?;
        if Instant::now() >= at {
            world.carry_out(deed, begin)?;
            (wait, deed) = timeline.next();
            at += wait;
        }
        pause(TICK);
    }
    say!("faults end, draining");
    world.undo_all(begin)
}

fn minutes(text: &str) -> anyhow::Result<f64> {
    let minutes: f64 = text
        .parse()
        .with_context(|| format!("{text:?} is no number"))?;
    ensure!((0.1..=1440.0).contains(&minutes), "0.1 minutes to a day");
    Ok(minutes)
}
