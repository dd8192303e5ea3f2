//! `read`: one reading of every channel, now.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use furrow_drivers::SensorError;
use furrow_wire::Decimal;
use serde::Serialize;

use super::reader::{DeviceReadings, Reader, ReaderError};
use super::table::table;
use super::{EXIT_FAILURE, load, print};
use crate::bus::Busy;
use crate::config::Settings;
use crate::devices::{Devices, Job, Outcome, Results};

/// Read every channel once and show the values, or why there is none
///
/// Run it while the gateway is stopped: a CO2 sensor is restarted by it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway read\n  \
    furrow-gateway --config /etc/furrow/gateway.toml read --json")]
pub struct Read {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One channel's reading. Exactly one of `value` and `error` is there.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    device: String,
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
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
        let rows = match read_all(&settings) {
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
}

fn read_all(settings: &Arc<Settings>) -> Result<Vec<Row>, ReaderError> {
    let mut reader = Reader::open(settings, "furrow-gateway read", None)?;
    let done = reader.read(None);
    reader.stop();
    Ok(rows(settings, &done))
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
            });
        }
    }
    rows
}

fn why(error: &SensorError) -> String {
    print::chain(error)
}

fn text(rows: &[Row]) -> String {
    let mut lines = vec![
        ["device", "channel", "value", "unit"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in rows {
        let (value, unit) = match &row.error {
            Some(error) => (format!("— {error}"), String::new()),
            None => (row.text.clone(), row.unit.clone()),
        };
        lines.push(vec![row.device.clone(), row.channel.clone(), value, unit]);
    }
    table(&lines)
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
