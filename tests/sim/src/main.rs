//! Runs seeds. `cargo xtask sim` calls it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use furrow_delivery_sim::{Broken, Reached, Run, World};

/// Seeds that failed are listed up to this many.
const FAILURES_MAX: usize = 200;

/// Simulates delivery under faults.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// One seed only, with everything that happens in it.
    #[arg(long)]
    seed: Option<u64>,
    /// Ends at the first failure.
    #[arg(long)]
    fail_fast: bool,
    /// Does not fail because a fault or a state was never reached.
    #[arg(long)]
    partial: bool,
}

#[derive(Default)]
struct Total {
    reached: Reached,
    steps: u64,
    failed: Vec<(u64, u32, Broken)>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.seed {
        Some(seed) => one(seed),
        None => many(&options),
    }
}

fn one(seed: u64) -> ExitCode {
    let run = World::new(seed, Some(say)).run();
    match run.broken {
        None => ExitCode::SUCCESS,
        Some((step, broken)) => {
            say(&format!(
                "seed {seed}, step {step}: {}: {}",
                broken.check, broken.text
            ));
            ExitCode::FAILURE
        }
    }
}

fn many(options: &Options) -> ExitCode {
    let begin = Instant::now();
    let next = AtomicU64::new(0);
    let total = Mutex::new(Total::default());
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(options, &next, &total, begin));
        }
    });
    let Ok(total) = total.into_inner() else {
        return ExitCode::FAILURE;
    };
    report(options, &total, begin)
}

fn work(options: &Options, next: &AtomicU64, total: &Mutex<Total>, begin: Instant) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= options.seeds {
            return;
        }
        let seed = options.first_seed + number;
        let run = run(seed);
        let Ok(mut total) = total.lock() else { return };
        total.reached.merge(&run.reached);
        total.steps += u64::from(run.steps);
        if let Some((step, broken)) = run.broken {
            total.failed.push((seed, step, broken));
            if options.fail_fast {
                next.store(options.seeds, Ordering::Relaxed);
            }
        }
        if (number + 1).is_multiple_of(1_000) {
            let seconds = begin.elapsed().as_secs();
            say(&format!(
                "{} seeds, {seconds} s, {} failed",
                number + 1,
                total.failed.len()
            ));
        }
    }
}

/// A panic of the real parts is a failure like others.
fn run(seed: u64) -> Run {
    let result = catch_unwind(AssertUnwindSafe(|| World::new(seed, None).run()));
    result.unwrap_or_else(|_| Run {
        broken: Some((
            0,
            Broken {
                check: "nothing panics",
                text: "a panic, see above".to_owned(),
            },
        )),
        reached: Reached::default(),
        steps: 0,
    })
}

fn report(options: &Options, total: &Total, begin: Instant) -> ExitCode {
    let mut never = 0;
    for (point, count) in total.reached.iter() {
        let mark = if count == 0 { "  NEVER" } else { "" };
        never += usize::from(count == 0);
        say(&format!("{count:>10}  {}{mark}", point.text()));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let steps = total.steps;
    say(&format!(
        "{} seeds, {steps} steps, {seconds:.1} s",
        options.seeds
    ));
    let mut failed = total.failed.clone();
    failed.sort_by_key(|(seed, _, _)| *seed);
    for (seed, step, broken) in failed.iter().take(FAILURES_MAX) {
        say(&format!(
            "seed {seed} failed in step {step}: {}: {}",
            broken.check, broken.text
        ));
        say(&format!("  again: cargo xtask sim --seed {seed}"));
    }
    if !failed.is_empty() {
        say(&format!("{} seeds failed", failed.len()));
        return ExitCode::FAILURE;
    }
    if never > 0 && !options.partial {
        say(&format!("{never} faults or states were never reached"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "a program that talks to a person")]
fn say(line: &str) {
    println!("{line}");
}
