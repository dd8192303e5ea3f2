//! The command line of `furrow-sim`.

mod fleet;
mod mqtt;
mod run;
mod scenario;
mod units;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use furrow_sim_bus::socket::Address;

use crate::control::{self, Command};
use crate::faults::{Fault, FaultOrder};
use crate::layout::BOARDS_MAX;

/// Simulated chips, a drip controller and a greenhouse, behind a socket.
#[derive(Debug, Parser)]
#[command(name = "furrow-sim", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  A greenhouse in real time, on a port that the system chooses:
    furrow-sim greenhouse --listen tcp:127.0.0.1:0
  Seven days of a known sky, as fast as its one client can follow:
    furrow-sim greenhouse --seed 1 --start 2026-04-18T00:00:00+07:00 --lock-step --for 7d
  The last week, then the present:
    furrow-sim greenhouse --start -7d --catch-up
  A recorded greenhouse:
    furrow-sim replay trace.csv
  Pull a sensor's plug for a minute; heat the house in an hour; what is going on:
    furrow-sim fault --control tcp:127.0.0.1:7001 unplug sht-inside --for 60s
    furrow-sim fault --control tcp:127.0.0.1:7001 heat +8 --after 1h --for 10m
    furrow-sim status --control tcp:127.0.0.1:7001 --json
  Readings for a dashboard of your own, as JSON to a broker:
    furrow-sim mqtt --json --broker mqtt://127.0.0.1:1883
  What your configuration does when a line bursts, as a report that CI reads:
    furrow-sim scenario burst.toml --gateway target/debug/furrow-gateway --config . --junit out.xml
  A thousand gateways against an ingest on this machine:
    furrow-sim fleet --gateways 1000 --write-ingest-config /tmp/fleet
    furrow-ingest --config /tmp/fleet/ingest.toml run &
    furrow-sim fleet --gateways 1000 --rate 100000 --for 60s";

pub(crate) use units::{duration, permille as speed_permille};

#[derive(Debug, Subcommand)]
enum Action {
    /// Simulate a greenhouse by its physics
    Greenhouse(Greenhouse),
    /// Simulate the sensors of a recorded greenhouse, in lock-step
    Replay(Replay),
    /// Load ingest with many gateways at once, which have neither buses nor physics
    ///
    /// Ends when everything is acknowledged, with 1 if that does not come to be within the grace.
    Fleet(fleet::Fleet),
    /// Feed any MQTT broker with readings of simulated greenhouses
    ///
    /// For programs that know nothing of Furrow. Ends with totals; 1 when the broker did not take all.
    Mqtt(mqtt::Mqtt),
    /// Try a gateway and its configuration against timelines of weather, faults and people
    ///
    /// Needs no network, no root and no hardware. Exit code 0: everything came as expected; 1: something
    /// did not, and what was seen instead is said; 2: a file can't be used, with the line and the remedy.
    Scenario(scenario::Scenario),
    /// Make something go wrong in a running simulator
    Fault(FaultArgs),
    /// Say what is going on in a running simulator
    Status(StatusArgs),
    Completions(furrow_cli::Completions),
    Man(furrow_cli::Man),
}

/// What every simulation needs.
#[derive(Debug, Args)]
struct Common {
    /// Where programs connect: tcp:HOST:PORT (port 0 is chosen by the system) or unix:PATH
    #[arg(long, default_value = "tcp:127.0.0.1:7000")]
    listen: Address,
    /// Where faults and questions come in [default: the next port, or PATH.control]
    #[arg(long)]
    control: Option<Address>,
    /// Simulated seconds a real second; in lock-step a ceiling
    #[arg(long, value_name = "FACTOR", value_parser = units::speed)]
    speed: Option<u32>,
    /// In lock-step, time stands still while fewer programs are connected
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    clients: u8,
    /// The machine does not know the time of day
    #[arg(long)]
    no_wall_clock: bool,
    /// Boot id in hexadecimal; the same seed and start give the same one by themselves
    #[arg(long, value_parser = units::hexadecimal)]
    boot: Option<u64>,
    /// Zones of the drip controller
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=8))]
    zones: u8,
    /// The output that drives the pump, from 1; without it water comes by itself
    #[arg(long, value_name = "OUTPUT", value_parser = clap::value_parser!(u8).range(1..=8))]
    pump: Option<u8>,
    /// The output that drives the valve between pump and zones
    #[arg(long, value_name = "OUTPUT", value_parser = clap::value_parser!(u8).range(1..=8))]
    master_valve: Option<u8>,
    /// The output that drives the fertiliser pump
    #[arg(long, value_name = "OUTPUT", value_parser = clap::value_parser!(u8).range(1..=8))]
    dosing: Option<u8>,
    /// ADS1115 boards beyond the first, at the same terminals: four each on buses 4 to 8
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=i64::from(BOARDS_MAX)))]
    boards: u8,
    /// Shows the 1-Wire sensors as files below this folder, as the kernel does
    #[arg(long, value_name = "FOLDER")]
    one_wire: Option<PathBuf>,
    /// Serves the RS-485 line with its soil probes as a serial port, linked at this path
    #[arg(long, value_name = "PATH")]
    serial: Option<PathBuf>,
    /// Faults from the beginning: a JSON object a line, as on the control port
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Greenhouse {
    #[command(flatten)]
    common: Common,
    /// Decides weather, noise and valve travel [default: drawn, and logged]
    #[arg(long)]
    seed: Option<u64>,
    /// First moment: a time as in 2026-04-18T00:00:00+07:00, or an age as in -7d [default: now]
    #[arg(long, allow_hyphen_values = true, value_parser = units::start)]
    start: Option<units::Moment>,
    /// Time jumps to the next deadline as soon as every program waits
    #[arg(long, conflicts_with = "catch_up")]
    lock_step: bool,
    /// Lock-step until the present, then real time
    #[arg(long, conflicts_with = "speed")]
    catch_up: bool,
    /// Ends after this much simulated time, for example 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration)]
    length_ms: Option<u64>,
}

#[derive(Debug, Args)]
struct Replay {
    /// The recording, CSV with a header
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Decides valve travel; the recording decides the rest
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Args)]
struct FaultArgs {
    /// Control address of the simulator
    #[arg(long, global = true, default_value = "tcp:127.0.0.1:7001")]
    control: String,
    /// Simulated time until it happens
    #[arg(long, global = true, value_name = "DURATION", value_parser = units::duration)]
    after: Option<u64>,
    /// Simulated time until it ends by itself
    #[arg(long = "for", global = true, value_name = "DURATION", value_parser = units::duration)]
    length_ms: Option<u64>,
    #[command(subcommand)]
    fault: Fault,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// Control address of the simulator
    #[arg(long, default_value = "tcp:127.0.0.1:7001")]
    control: String,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Does what the command line says. Errors are for people: printed once, by `main`.
    ///
    /// # Errors
    /// What went wrong, with its causes.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Greenhouse(args) => run::greenhouse(args),
            Action::Replay(args) => run::replay(args),
            Action::Fleet(args) => fleet::run(args),
            Action::Mqtt(args) => mqtt::run(args),
            Action::Scenario(args) => Ok(scenario::run(&args)),
            Action::Fault(args) => {
                let order = FaultOrder {
                    fault: args.fault,
                    after_ms: args.after.unwrap_or_default(),
                    for_ms: args.length_ms,
                };
                control::ask(&args.control, &Command::Fault { order })?;
                Ok(ExitCode::SUCCESS)
            }
            Action::Completions(completions) => Ok(completions.run(Cli::command())),
            Action::Man(man) => Ok(man.run(Cli::command())),
            Action::Status(args) => {
                let status = control::ask(&args.control, &Command::Status)?
                    .context("the simulator sent no status")?;
                print(&if args.json {
                    status.to_string()
                } else {
                    run::for_people(&status)
                });
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

#[allow(clippy::print_stdout, reason = "this is the program's answer")]
fn print(text: &str) {
    println!("{text}");
}
