//! Plays a season and prints its report. `cargo xtask season` calls it.

use std::process::ExitCode;

use clap::Parser;
use furrow_season::{Season, play};

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// Plays a season of weather and faults on three greenhouses.
#[derive(Debug, Parser)]
struct Options {
    /// Decides weather and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many days.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=120))]
    days: u32,
    /// Something breaks in each greenhouse every so many days.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=30))]
    fault_every: u32,
    /// Before the report everything that the gateways under rules told, one JSON object a line.
    #[arg(long)]
    events: bool,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let report = play(Season {
        seed: options.seed,
        days: options.days,
        fault_every_days: options.fault_every,
    })?;
    if options.events {
        for greenhouse in &report.rules.greenhouses {
            for event in &greenhouse.events {
                let (day, time) = (event.at_mono_ms / DAY_MS, event.at_mono_ms % DAY_MS / 1_000);
                let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
                let told = serde_json::to_string(event)?;
                let name = greenhouse.name;
                say(&format!(
                    "{name}: day {day} {hour:02}:{minute:02}:{second:02} {told}"
                ));
            }
        }
    }
    if options.json {
        say(&serde_json::to_string_pretty(&report)?);
    } else {
        say(&report.table());
    }
    Ok(if report.is_passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stdout, reason = "the report is for who runs it")]
fn say(text: &str) {
    println!("{text}");
}
