//! `status`: the running gateway at a glance.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::table::table;
use super::{EXIT_FAILURE, load, print};
use crate::control::client::{AskError, ask};
use crate::control::{Answer, Ask};

/// Show what the running gateway does: link, clock, journal, devices that fail, zones
///
/// Exit code 1 when the gateway is not running.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  furrow-gateway status\n  furrow-gateway status --json")]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        match report(&settings.gateway().control_socket(), &Ask::Status) {
            Ok(report) if self.json => print::line(format!("{report:#}")),
            Ok(report) => print::line(text(&report)),
            Err(error) => {
                print::error(&error);
                return ExitCode::from(EXIT_FAILURE);
            }
        }
        ExitCode::SUCCESS
    }
}

/// Asks for a report.
pub(super) fn report(socket: &Path, question: &Ask) -> Result<Value, AskError> {
    for answer in ask(socket, question)? {
        match answer? {
            Answer::Report { report } => return Ok(report),
            Answer::Refused { reason } => return Err(std::io::Error::other(reason).into()),
            Answer::Accepted { .. }
            | Answer::Opened
            | Answer::Done { .. }
            | Answer::Recent { .. }
            | Answer::Progress { .. }
            | Answer::Closed { .. }
            | Answer::Stopping { .. }
            | Answer::Samples { .. }
            | Answer::Readings { .. }
            | Answer::Survey { .. }
            | Answer::Calibrated { .. } => {}
        }
    }
    Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
}

fn text(report: &Value) -> String {
    let of = |key: &str| plain(at(report, key));
    let journal = |key: &str| plain(at(at(report, "journal"), key));
    let mut text = format!(
        "gateway   {}/{} in {}, version {}\n\
         link      {}\n\
         clock     {}\n\
         journal   {} readings ever, {} in {} records wait, {} lost\n",
        of("cooperative"),
        of("gateway"),
        of("greenhouse"),
        of("software"),
        of("link"),
        of("clock"),
        journal("journalled_readings"),
        journal("waiting_readings"),
        journal("waiting_records"),
        journal("lost_readings"),
    );
    if let Some(trouble) = at(at(report, "journal"), "trouble").as_str() {
        writeln!(text, "trouble   {trouble}: nothing can be journalled")
            .expect("writing to a string never fails");
    }
    let faulty = at(report, "faulty_devices")
        .as_array()
        .into_iter()
        .flatten();
    for device in faulty {
        let pausing = at(report, "pausing_devices").as_array();
        let pausing = pausing.into_iter().flatten();
        let again = pausing
            .filter(|one| at(one, "id") == device)
            .filter_map(|one| at(one, "left_ms").as_u64())
            .next()
            .map_or_else(String::new, |left_ms| {
                format!(", asked again in {} s", left_ms.div_ceil(1_000))
            });
        writeln!(text, "faulty    {}{again}", plain(device))
            .expect("writing to a string never fails");
    }
    text.push_str(&super::alarms::lines(report));
    let zones = at(report, "zones")
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !zones.is_empty() {
        text.push('\n');
        text.push_str(&zone_table(zones));
    }
    text.truncate(text.trim_end().len());
    text
}

/// The zones with their state and budgets.
pub(super) fn zone_table(zones: &[Value]) -> String {
    let heading = [
        "zone",
        "name",
        "state",
        "left",
        "used today",
        "limit",
        "next",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for zone in zones {
        rows.push(vec![
            plain(at(zone, "id")),
            plain(at(zone, "name")),
            plain(at(zone, "phase")),
            seconds(at(zone, "left_ms")),
            seconds(at(zone, "used_today_ms")),
            seconds(at(zone, "daily_limit_ms")),
            plain(at(zone, "next_start")),
        ]);
    }
    table(&rows)
}

/// A field, or null.
pub(super) fn at<'v>(value: &'v Value, key: &str) -> &'v Value {
    value.get(key).unwrap_or(&Value::Null)
}

/// A text without its quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn seconds(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "-".to_owned(), |ms| format!("{} s", ms / 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_readable() {
        let report = serde_json::json!({
            "cooperative": "hoa-binh", "gateway": "gw-01", "greenhouse": "nha-luoi-1",
            "software": "0.1.0", "link": "down", "clock": "synchronised",
            "faulty_devices": ["sht-inside", "co2"],
            "pausing_devices": [{ "id": "sht-inside", "left_ms": 30_500 }],
            "zones": [{
                "id": "zone-1", "name": "Luống 1", "phase": "watering", "left_ms": 61_500,
                "used_today_ms": 120_000, "daily_limit_ms": 7_200_000, "next_start": null,
            }],
            "journal": {
                "journalled_readings": 960, "waiting_readings": 48, "waiting_records": 1,
                "lost_readings": 0, "trouble": "DiskFull",
            },
        });
        assert_eq!(
            text(&report),
            "gateway   hoa-binh/gw-01 in nha-luoi-1, version 0.1.0\n\
             link      down\n\
             clock     synchronised\n\
             journal   960 readings ever, 48 in 1 records wait, 0 lost\n\
             trouble   DiskFull: nothing can be journalled\n\
             faulty    sht-inside, asked again in 31 s\n\
             faulty    co2\n\
             \n\
             zone    name     state     left  used today  limit   next\n\
             zone-1  Luống 1  watering  61 s  120 s       7200 s  -"
        );
    }
}
