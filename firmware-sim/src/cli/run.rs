//! Starts simulations and watches them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use furrow_sim_bus::socket::Address;
use jiff::Timestamp;
use serde_json::Value;

use super::units::Moment;
use super::{Common, Greenhouse, Replay};
use crate::control::Command;
use crate::faults::FaultOrder;
use crate::trace::Trace;
use crate::{Beginning, Mode, Options, Plant, Setup, Simulator};

/// Real time that programs have after the end, to send what they have and go.
const GRACE: Duration = Duration::from_secs(60);
/// How often progress is logged, real time.
const PROGRESS: Duration = Duration::from_secs(5);
/// A replay begins this long before its first row, so that programs are ready for it.
const LEAD_IN_MS: i64 = 30_000;
/// Longest line of a file of faults, bytes.
const LINE_MAX: usize = 4_096;

pub(super) fn greenhouse(args: Greenhouse) -> anyhow::Result<ExitCode> {
    let now_ms = Timestamp::now().as_millisecond();
    let start_unix_ms = match args.start {
        None => now_ms,
        Some(Moment::At(unix_ms)) => unix_ms,
        // Whole minutes make round times of the samples.
        Some(Moment::Ago(age_ms)) => {
            let start = now_ms.saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX));
            start - start.rem_euclid(60_000)
        }
    };
    let mode = if args.catch_up {
        Mode::CatchUp
    } else if args.lock_step {
        Mode::LockStep {
            ceiling_permille: args.common.speed,
        }
    } else {
        Mode::Free {
            speed_permille: args.common.speed.unwrap_or(1_000),
        }
    };
    let seed = args.seed.unwrap_or_else(rand::random);
    tracing::info!(seed, start = %at(start_unix_ms), "greenhouse");
    let setup = setup(&args.common, seed, start_unix_ms, 0);
    let end = args
        .length_ms
        .map(|ms| (ms.saturating_mul(1_000_000), "the time is up".to_owned()));
    watch(&start(args.common, setup, mode, None, end)?, None)
}

pub(super) fn replay(args: Replay) -> anyhow::Result<ExitCode> {
    let path = &args.file;
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let trace =
        Trace::read(BufReader::new(file)).with_context(|| format!("trace {}", path.display()))?;
    let (first_ms, step_ms) = trace.first();
    let (last_ms, last_step_ms) = trace.last();
    tracing::info!(
        rows = trace.len(), first = %at(first_ms), last = %at(last_ms), "replay"
    );
    // The monotonic clock is a multiple of the step at every row, so that a program that samples at
    // multiples of its interval samples at the rows.
    let lead_in_ms = LEAD_IN_MS.min(step_ms / 2);
    let mono_ms = step_ms - lead_in_ms;
    let start_unix_ms = first_ms - lead_in_ms;
    let setup = setup(
        &args.common,
        args.seed,
        start_unix_ms,
        mono_ms.unsigned_abs(),
    );
    let mode = Mode::LockStep {
        ceiling_permille: args.common.speed,
    };
    let end_ms = mono_ms + (last_ms - start_unix_ms) + last_step_ms / 2;
    let end = (
        end_ms.unsigned_abs().saturating_mul(1_000_000),
        "the last row has been sampled".to_owned(),
    );
    let span = (start_unix_ms, last_ms);
    watch(
        &start(args.common, setup, mode, Some(trace), Some(end))?,
        Some(span),
    )
}

/// The status in a few lines.
pub(super) fn for_people(status: &Value) -> String {
    let text = |name: &str| match status.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let mut lines = vec![
        format!("time      {} ({})", text("time"), text("mode")),
        format!("programs  {}", text("clients")),
        format!(
            "valves    open {}, leased {}; {} pulses, {} L",
            text("valves_open"),
            text("valves_commanded"),
            text("pulses"),
            text("litres"),
        ),
    ];
    if let Some(Value::Object(chips)) = status.get("chips") {
        for (name, chip) in chips {
            lines.push(format!("{name:<9} {chip}"));
        }
    }
    if let Some(Value::Object(truth)) = status.get("truth") {
        for (name, value) in truth {
            lines.push(format!("{name} = {value}"));
        }
    }
    lines.join("\n")
}

fn setup(common: &Common, seed: u64, start_unix_ms: i64, start_mono_ms: u64) -> Setup {
    let plant = Plant {
        pump: common.pump,
        master_valve: common.master_valve,
        dosing: common.dosing,
    };
    let wired = [plant.pump, plant.master_valve, plant.dosing];
    let outputs = wired.into_iter().flatten().fold(common.zones, u8::max);
    Setup {
        seed,
        start_unix_ms,
        start_mono_ns: start_mono_ms.saturating_mul(1_000_000),
        zones: usize::from(outputs),
        boards: usize::from(common.boards),
        wall_known: !common.no_wall_clock,
        boot: common.boot,
        beginning: Beginning {
            plant,
            ..Beginning::default()
        },
        places: Vec::new(),
    }
}

fn start(
    common: Common,
    setup: Setup,
    mode: Mode,
    trace: Option<Trace>,
    end: Option<(u64, String)>,
) -> anyhow::Result<Simulator> {
    let faults = match &common.faults {
        Some(path) => read_faults(path).with_context(|| format!("faults {}", path.display()))?,
        None => Vec::new(),
    };
    let control = common.control.unwrap_or_else(|| beside(&common.listen));
    let simulator = Simulator::start(Options {
        listen: common.listen,
        control,
        setup,
        mode,
        clients_min: usize::from(common.clients),
        trace,
        end,
        faults,
    })?;
    if let Some(root) = &common.one_wire {
        simulator
            .serve_one_wire(root)
            .with_context(|| format!("1-Wire files below {}", root.display()))?;
    }
    if let Some(path) = &common.serial {
        simulator
            .serve_serial(path)
            .with_context(|| format!("serial port at {}", path.display()))?;
    }
    super::print(&format!(
        "listening bus={} control={}",
        simulator.bus, simulator.control
    ));
    Ok(simulator)
}

/// Waits for the end, and says how far it is.
fn watch(simulator: &Simulator, span: Option<(i64, i64)>) -> anyhow::Result<ExitCode> {
    let mut shown = None;
    loop {
        let progress = simulator.wait(PROGRESS);
        if progress.ended {
            let progress = simulator.wait(GRACE);
            if progress.clients > 0 {
                bail!(
                    "{} programs are still here {GRACE:?} after the end",
                    progress.clients
                );
            }
            tracing::info!(time = %at(progress.unix_ms), "done");
            return Ok(ExitCode::SUCCESS);
        }
        let Some((first_ms, last_ms)) = span else {
            continue;
        };
        if shown.replace(progress) != Some(progress) {
            let percent = (progress.unix_ms - first_ms) * 100 / (last_ms - first_ms).max(1);
            tracing::info!(percent, time = %at(progress.unix_ms), "replay");
        }
    }
}

/// The control address where none is given.
fn beside(listen: &Address) -> Address {
    match listen {
        Address::Tcp(address) => {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
            let port = match port.parse::<u16>() {
                Ok(port @ 1..) => port.saturating_add(1),
                Ok(0) | Err(_) => 0,
            };
            Address::Tcp(format!("{host}:{port}"))
        }
        Address::Unix(path) => {
            let mut path = path.clone().into_os_string();
            path.push(".control");
            Address::Unix(path.into())
        }
    }
}

fn read_faults(path: &Path) -> anyhow::Result<Vec<FaultOrder>> {
    let mut orders = Vec::new();
    for (at, line) in BufReader::new(File::open(path)?).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        if line.len() > LINE_MAX {
            bail!("line {}: longer than {LINE_MAX} bytes", at + 1);
        }
        match serde_json::from_str(&line).with_context(|| format!("line {}", at + 1))? {
            Command::Fault { order } => orders.push(order),
            Command::Status => bail!("line {}: a question is not a fault", at + 1),
        }
    }
    Ok(orders)
}

fn at(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms)
        .map_or_else(|_| unix_ms.to_string(), |time| time.to_string())
}
