//! `cargo xtask model`: the delivery protocol, searched through within bounds.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use furrow_delivery_model::{Bounds, Delivery, Flaw, check};

use crate::say;

/// Options of `model`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cargo xtask model\n  \
    cargo xtask model --records 3 --crashes 1\n  \
    cargo xtask model --records 1 --crashes 2 --faults 1 --images 1 --minutes 60\n  \
    cargo xtask model --backups 1 --flaw take-nothing-back\n\n\
    Each step up in a bound multiplies the states by three to ten; a million states take about half\n\
    a minute on two cores and 1 GB of memory.")]
pub(crate) struct Options {
    /// Readings that the gateway journals.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=8))]
    records: u8,
    /// Crashes of gateway and ingest together, each before or after the sync.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=8))]
    crashes: u8,
    /// Messages lost or repeated, connections lost, sessions forgotten by the broker.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=8))]
    faults: u8,
    /// Times that the gateway's card is replaced by an older image of it.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=4))]
    images: u8,
    /// Times that ingest is restored from a backup.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=4))]
    backups: u8,
    /// Messages on their way to ingest at once.
    #[arg(long, default_value_t = 2)]
    window: usize,
    /// Acknowledgements on their way to the gateway at once.
    #[arg(long, default_value_t = 1)]
    acks: usize,
    /// Records that the journal can hold; without it the journal has no cap.
    #[arg(long)]
    cap: Option<usize>,
    /// A deliberate mistake, to see it found.
    #[arg(long)]
    flaw: Option<Mistake>,
    /// Give up after so many minutes.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mistake {
    AckBeforeStore,
    ForgetOnPuback,
    AckOnlyFirstRange,
    ReuseSeq,
    ForgetMarks,
    DropBeforeLoss,
    TakeNothingBack,
}

/// Searches, prints what was found; fails on a counterexample and on a search that was cut short.
pub(crate) fn run(options: &Options) -> ExitCode {
    let bounds = Bounds {
        records: options.records,
        crashes: options.crashes,
        faults: options.faults,
        images: options.images,
        backups: options.backups,
        window: options.window,
        acks: options.acks,
        cap: options.cap,
    };
    let model = Delivery {
        flaw: options.flaw.map(Flaw::from),
        ..Delivery::new(bounds)
    };
    let patience = Duration::from_secs(options.minutes.saturating_mul(60));
    let verdict = check(model, options.threads.max(1), patience);
    say!("{verdict}");
    if verdict.broken.is_empty() && verdict.is_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl From<Mistake> for Flaw {
    fn from(mistake: Mistake) -> Self {
        match mistake {
            Mistake::AckBeforeStore => Flaw::AckBeforeStore,
            Mistake::ForgetOnPuback => Flaw::ForgetOnPuback,
            Mistake::AckOnlyFirstRange => Flaw::AckOnlyFirstRange,
            Mistake::ReuseSeq => Flaw::ReuseSeq,
            Mistake::ForgetMarks => Flaw::ForgetMarks,
            Mistake::DropBeforeLoss => Flaw::DropBeforeLoss,
            Mistake::TakeNothingBack => Flaw::TakeNothingBack,
        }
    }
}
