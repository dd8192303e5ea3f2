//! `read`: the latest reading of every channel, or a fresh one of some devices.
//!
//! A running gateway has the buses, so it is asked; without one the command reads them itself.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use furrow_drivers::SensorError;
use furrow_wire::{Decimal, DeviceId, Quality};
use serde::Serialize;

use super::reader::{DeviceReadings, Reader, ReaderError};
use super::table::table;
use super::{EXIT_FAILURE, load, print};
use crate::bus::Busy;
use crate::config::{DeviceSettings, Settings};
use crate::control::client::{AskError, ask as ask_gateway};
use crate::control::{Answer, Ask, ChannelNow, RawReading};
use crate::devices::{Devices, Job, Outcome, Results};
use crate::run::measuring::can_be_hurried;

/// Show every channel's value, or why there is none
///
/// A running gateway tells its latest samples with their quality and age, and reads the devices that
/// are named afresh, between its own readings; a sensor that measures at its own pace, or counts, is
/// never hurried. Without a running gateway the command reads the buses itself, and a CO2 sensor is
/// restarted by that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway read\n  \
    furrow-gateway read sht-inside tank\n  \
    furrow-gateway --config /etc/furrow/gateway.toml read --json")]
pub struct Read {
    /// Devices to read now [default: all, as they are known]
    device: Vec<DeviceId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("there is no device {0}")]
    NoDevice(DeviceId),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the gateway refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Reader(#[from] ReaderError),
}

/// One channel's reading. `value` or `error` is there, or both for a value that is not good.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    device: String,
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What a sample of the running gateway is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Quality>,
    /// Milliseconds since that sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    #[serde(skip)]
    text: String,
}

impl Read {
    /// Runs the command. Channels without a value make the exit code 1.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => Arc::new(settings),
            Err(code) => return code,
        };
        let rows = match self.read(&settings) {
            Ok(rows) => rows,
            Err(error) => {
                print::error(&error);
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        if self.json {
            print::line(serde_json::to_string_pretty(&rows).expect("texts and finite numbers"));
        } else {
            print::line(text(&rows));
        }
        if rows.iter().all(|row| row.error.is_none()) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_FAILURE)
        }
    }

    fn read(&self, settings: &Arc<Settings>) -> Result<Vec<Row>, ReadError> {
        let known = |id: &DeviceId| settings.devices().iter().any(|device| device.id == *id);
        if let Some(id) = self.device.iter().find(|id| !known(id)) {
            return Err(ReadError::NoDevice(id.clone()));
        }
        match self.by_gateway(settings) {
            Err(ReadError::Ask(AskError::NotRunning { .. })) => {}
            other => return other,
        }
        let mut reader = Reader::open(settings, "furrow-gateway read", None)?;
        let done = reader.read(None);
        reader.stop();
        let mut rows = rows(settings, &done);
        rows.retain(|row| self.is_wanted(&row.device));
        Ok(rows)
    }

    fn is_wanted(&self, device: &str) -> bool {
        self.device.is_empty() || self.device.iter().any(|one| one.as_str() == device)
    }

    fn by_gateway(&self, settings: &Settings) -> Result<Vec<Row>, ReadError> {
        let mut rows = Vec::new();
        for sample in latest(settings)? {
            if self.is_wanted(sample.device.as_str()) {
                rows.push(row_of(sample));
            }
        }
        let named = |device: &&DeviceSettings| {
            self.device.contains(&device.id) && can_be_hurried(&device.kind)
        };
        for device in settings.devices().iter().filter(named) {
            for reading in fresh(settings, device)? {
                let mut rows = rows.iter_mut();
                let row = rows.find(|row| {
                    row.device == device.id.as_str() && row.channel == reading.channel.as_str()
                });
                if let Some(row) = row {
                    row.renew(&reading);
                }
            }
        }
        Ok(rows)
    }
}

impl Row {
    /// A reading that was made now: nobody judged it yet.
    fn renew(&mut self, reading: &RawReading) {
        let value: Option<Decimal> = reading.value.as_ref().and_then(|text| text.parse().ok());
        self.value = value.map(Decimal::to_f64);
        self.text = value.map_or_else(String::new, |value| value.to_string());
        self.error.clone_from(&reading.error);
        self.quality = None;
        self.age_ms = Some(0);
    }
}

/// The running gateway's latest samples, also of what it calculates.
fn latest(settings: &Settings) -> Result<Vec<ChannelNow>, ReadError> {
    let mut found = Vec::new();
    for answer in ask_gateway(&settings.gateway().control_socket(), &Ask::Watch)? {
        match answer? {
            Answer::Samples { samples } => found.extend(samples),
            Answer::Refused { reason } => return Err(ReadError::Refused(reason)),
            Answer::Report { .. }
            | Answer::Done { .. }
            | Answer::Recent { .. }
            | Answer::Accepted { .. }
            | Answer::Opened
            | Answer::Progress { .. }
            | Answer::Closed { .. }
            | Answer::Stopping { .. }
            | Answer::Readings { .. }
            | Answer::Survey { .. }
            | Answer::Calibrated { .. } => {}
        }
    }
    Ok(found)
}

/// One reading by the running gateway, beside its schedule.
fn fresh(settings: &Settings, device: &DeviceSettings) -> Result<Vec<RawReading>, ReadError> {
    let question = Ask::Read {
        device: device.id.clone(),
        readings: 1,
    };
    let mut found = Vec::new();
    for answer in ask_gateway(&settings.gateway().control_socket(), &question)? {
        match answer? {
            Answer::Readings { readings } => found.extend(readings),
            Answer::Refused { reason } => return Err(ReadError::Refused(reason)),
            Answer::Report { .. }
            | Answer::Done { .. }
            | Answer::Recent { .. }
            | Answer::Accepted { .. }
            | Answer::Opened
            | Answer::Progress { .. }
            | Answer::Closed { .. }
            | Answer::Stopping { .. }
            | Answer::Samples { .. }
            | Answer::Survey { .. }
            | Answer::Calibrated { .. } => {}
        }
    }
    Ok(found)
}

fn row_of(sample: ChannelNow) -> Row {
    let decimals = usize::from(sample.decimals);
    let error = match sample.quality {
        Some(Quality::Good) => None,
        Some(quality) => Some(sample.reason.unwrap_or_else(|| quality.to_string())),
        None => Some("not read yet".to_owned()),
    };
    Row {
        device: sample.device.to_string(),
        channel: sample.channel.to_string(),
        value: sample.value,
        unit: sample.unit,
        error,
        quality: sample.quality,
        age_ms: sample.age_ms,
        text: sample
            .value
            .map_or_else(String::new, |value| format!("{value:.decimals$}")),
    }
}

/// Submits jobs and waits for the answers to all of them. The caller's token is given up meanwhile,
/// and those of early answers too: a job's own delays would wait for them for ever.
pub(super) fn ask(
    devices: &Devices,
    results: &mut Results,
    jobs: impl Iterator<Item = Job>,
    busy: Busy,
) -> (Vec<(Job, Outcome)>, Busy) {
    let mut answers = Vec::new();
    let mut waiting = 0_usize;
    for job in jobs {
        match devices.submit(job, devices.clock().busy()) {
            Some(done) => answers.push((done.job, done.outcome)),
            None => waiting = waiting.saturating_add(1),
        }
    }
    let mut token = Some(busy);
    let mut later: Vec<(u64, Job)> = Vec::new();
    loop {
        while waiting > 0 {
            drop(token.take());
            let Some(done) = results.blocking_recv() else {
                waiting = 0;
                break;
            };
            waiting = waiting.saturating_sub(1);
            token = Some(done.busy);
            if let Outcome::Later { until_ms } = done.outcome {
                later.push((until_ms, done.job));
            } else {
                answers.push((done.job, done.outcome));
            }
        }
        // Conversions run side by side; the earliest is fetched first.
        let busy = token.take().unwrap_or_else(|| devices.clock().busy());
        let Some(place) = (0..later.len()).min_by_key(|place| later.get(*place).map(|l| l.0))
        else {
            return (answers, busy);
        };
        let (until_ms, job) = later.swap_remove(place);
        let busy = devices
            .clock()
            .wait_until(until_ms.saturating_mul(1_000_000), busy);
        token = Some(devices.clock().busy());
        match devices.submit(job, busy) {
            Some(done) => answers.push((done.job, done.outcome)),
            None => waiting = 1,
        }
    }
}

fn rows(settings: &Settings, done: &[DeviceReadings]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, device) in settings.devices().iter().enumerate() {
        let mut of_device = done.iter().filter(|read| read.device == index);
        let readings = of_device.next().map(|read| &read.values);
        for (place, channel) in device.channels.iter().enumerate() {
            let reading = readings.and_then(|readings| readings.get(place));
            let (value, error) = match reading {
                Some(Ok(value)) => (Some(*value), None),
                Some(Err(error)) => (None, Some(why(error))),
                None => (None, Some("the bus did not answer".to_owned())),
            };
            rows.push(Row {
                device: device.id.to_string(),
                channel: channel.name.to_string(),
                value: value.map(Decimal::to_f64),
                unit: channel.unit.clone(),
                text: value.map_or_else(String::new, |value| value.to_string()),
                error,
                quality: None,
                age_ms: None,
            });
        }
    }
    rows
}

fn why(error: &SensorError) -> String {
    print::chain(error)
}

fn text(rows: &[Row]) -> String {
    let has_age = rows.iter().any(|row| row.age_ms.is_some());
    let titles = ["device", "channel", "value", "unit", "age"];
    let shown = if has_age { 5 } else { 4 };
    let titles = titles.into_iter().take(shown);
    let mut lines: Vec<Vec<String>> = vec![titles.map(str::to_owned).collect()];
    for row in rows {
        let (value, unit) = match (&row.error, row.value) {
            (Some(error), Some(_)) => (format!("{} {error}", row.text), row.unit.clone()),
            (Some(error), None) => (format!("— {error}"), String::new()),
            (None, _) => (row.text.clone(), row.unit.clone()),
        };
        let mut line = vec![row.device.clone(), row.channel.clone(), value, unit];
        if has_age {
            line.push(row.age_ms.map_or_else(String::new, age));
        }
        lines.push(line);
    }
    table(&lines)
}

fn age(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use furrow_drivers::{BusFault, Cause};

    use super::*;

    #[test]
    fn a_failure_stands_where_the_value_would() {
        let deploy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/gateway-simulated.toml"
        );
        let settings = Settings::load(Path::new(deploy)).unwrap();
        let error = SensorError {
            chip: "sht4x",
            address: Some(0x44),
            register: "measurement",
            cause: Cause::Bus(BusFault::NoAddress),
        };
        let value = Decimal {
            mantissa: 6_000,
            exponent: -2,
        };
        let readings = vec![Err(error), Ok(value)];
        let answers = [DeviceReadings {
            device: 0,
            raw: readings.clone(),
            values: readings,
        }];
        let rows = rows(&settings, &answers);
        assert_eq!(rows.len(), 14);
        let lines: Vec<String> = text(&rows).lines().map(str::to_owned).collect();
        let tail = "no acknowledge of the address";
        let first = format!("— sht4x at 0x44: measurement: bus failure: {tail}");
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let cells = |line: &String| {
            let mut parts = line.split("  ").filter(|cell| !cell.is_empty());
            [(); 3].map(|()| parts.next().unwrap_or_default().trim().to_owned())
        };
        assert_eq!(
            cells(&lines[1]),
            row(["sht-inside", "air_temperature", &first])
        );
        assert_eq!(
            cells(&lines[2]),
            row(["sht-inside", "relative_humidity", "60.00"])
        );
        let silent = row(["drip", "zones_open", "— the bus did not answer"]);
        assert_eq!(cells(&lines[14]), silent);
        assert_eq!(
            serde_json::to_value(&rows[..2]).unwrap(),
            serde_json::json!([
                { "device": "sht-inside", "channel": "air_temperature", "unit": "Cel",
                  "error": format!("sht4x at 0x44: measurement: bus failure: {tail}") },
                { "device": "sht-inside", "channel": "relative_humidity", "unit": "%RH",
                  "value": 60.0 },
            ])
        );
    }
}
