//! `watch`: all channels and zones in the terminal, as they change.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use furrow_gateway_core::FieldMs;
use furrow_gateway_core::quality::{Checks, Reading, limits_of};
use furrow_wire::{Decimal, Quality};
use serde_json::{Value, json};

use super::reader::{Reader, ReaderError};
use super::status::{at, plain, zone_table};
use super::table::table;
use super::{EXIT_FAILURE, load, print};
use crate::config::{Settings, parse_duration};
use crate::control::client::{AskError, ask};
use crate::control::{Answer, Ask, ChannelNow};
use crate::run::answer::reading_of;
use crate::run::latest;

/// How often a running gateway is asked.
const EVERY_GATEWAY: Duration = Duration::from_secs(1);
/// How often the buses are read without one: an SCD4x has nothing new sooner.
const EVERY_BUS: Duration = Duration::from_secs(5);
/// Home, and clear what is below: less flicker than clearing first.
const REDRAW: &str = "\x1b[H\x1b[J";

/// Show every channel's value, quality and age, the zones and the link, as they change
///
/// Asks the running gateway and disturbs nothing. When none is running it reads the buses itself,
/// and a CO2 sensor is restarted by that. In a terminal the table is drawn anew; otherwise each new
/// sample is a line. Ends with Ctrl-C, or after `--for`. Exit code 1 when there is nothing to watch.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway watch\n  \
    furrow-gateway watch --for 1min | grep -v good\n  \
    furrow-gateway watch --json --for 10s")]
pub struct Watch {
    /// End after this time, e.g. 30s
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    length: Option<Duration>,
    /// How often to look [default: 1s with a running gateway, 5s without]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    every: Option<Duration>,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the gateway refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Reader(#[from] ReaderError),
}

/// One look.
#[derive(Debug, Clone, PartialEq)]
struct View {
    /// When, in milliseconds of the field.
    mono_ms: u64,
    samples: Vec<ChannelNow>,
    /// The running gateway's status.
    status: Option<Value>,
}

/// Where looks come from.
enum Source {
    Gateway(Arc<Settings>),
    Bus(Box<Bench>),
}

/// The buses, without a gateway.
struct Bench {
    settings: Arc<Settings>,
    reader: Reader,
    checks: Vec<Checks>,
}

impl Watch {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => Arc::new(settings),
            Err(code) => return code,
        };
        match self.watch(&settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print::error(&error);
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }

    fn watch(&self, settings: &Arc<Settings>) -> Result<(), WatchError> {
        let started = Instant::now();
        let (mut source, mut view) = Source::open(settings)?;
        let usual = match &source {
            Source::Gateway(_) => EVERY_GATEWAY,
            Source::Bus(_) => EVERY_BUS,
        };
        let every = self.every.unwrap_or(usual);
        let is_terminal = std::io::stdout().is_terminal();
        let mut shown = BTreeMap::new();
        loop {
            if self.json {
                print::line(json_line(&view));
            } else if is_terminal {
                print::line(format!("{REDRAW}{}", text(&view)));
            } else {
                for line in new_lines(&view, &mut shown) {
                    print::line(line);
                }
            }
            let passed = started.elapsed();
            if self
                .length
                .is_some_and(|length| passed.saturating_add(every) > length)
            {
                return Ok(());
            }
            source.wait(every);
            view = source.look()?;
        }
    }
}

impl Source {
    fn open(settings: &Arc<Settings>) -> Result<(Self, View), WatchError> {
        match look_at_gateway(settings) {
            Ok(view) => Ok((Source::Gateway(Arc::clone(settings)), view)),
            Err(WatchError::Ask(AskError::NotRunning { .. })) => {
                let mut bench = Bench {
                    settings: Arc::clone(settings),
                    reader: Reader::open(settings, "furrow-gateway watch", None)?,
                    checks: settings
                        .channels()
                        .map(|(_, _, channel)| {
                            Checks::new(limits_of(channel.name.as_str()), channel.exponent)
                        })
                        .collect(),
                };
                let view = bench.look();
                Ok((Source::Bus(Box::new(bench)), view))
            }
            Err(error) => Err(error),
        }
    }

    fn look(&mut self) -> Result<View, WatchError> {
        match self {
            Source::Gateway(settings) => look_at_gateway(settings),
            Source::Bus(bench) => Ok(bench.look()),
        }
    }

    fn wait(&mut self, time: Duration) {
        match self {
            Source::Gateway(_) => sleep(time),
            Source::Bus(bench) => {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                bench.reader.wait(ms);
            }
        }
    }
}

/// A running gateway's field goes on by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "a command for people waits in real time"
)]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

fn look_at_gateway(settings: &Settings) -> Result<View, WatchError> {
    let mut view = View {
        mono_ms: 0,
        samples: Vec::new(),
        status: None,
    };
    for answer in ask(&settings.gateway().control_socket(), &Ask::Watch)? {
        match answer? {
            Answer::Samples { samples } => view.samples.extend(samples),
            Answer::Report { report } => {
                view.mono_ms = at(&report, "mono_ms").as_u64().unwrap_or_default();
                view.status = Some(report);
                return Ok(view);
            }
            Answer::Refused { reason } => return Err(WatchError::Refused(reason)),
            Answer::Accepted { .. }
            | Answer::Opened
            | Answer::Done { .. }
            | Answer::Recent { .. }
            | Answer::Progress { .. }
            | Answer::Closed { .. }
            | Answer::Stopping { .. }
            | Answer::Readings { .. }
            | Answer::Survey { .. }
            | Answer::Calibrated { .. } => {}
        }
    }
    Err(AskError::from(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)).into())
}

impl Bench {
    fn look(&mut self) -> View {
        let now = FieldMs(self.reader.now_ms());
        let done = self.reader.read(None);
        let mut samples = Vec::new();
        let settings = Arc::clone(&self.settings);
        let mut checks = self.checks.iter_mut();
        for (index, device) in settings.devices().iter().enumerate() {
            let mut of_device = done.iter().filter(|read| read.device == index);
            let values = of_device.next().map(|read| read.values.as_slice());
            for (place, channel) in device.channels.iter().enumerate() {
                let value = values.and_then(|values| values.get(place));
                let reading = value.map_or(Reading::Failed, |value| reading_of(value, channel));
                let Some(checks) = checks.next() else { break };
                let sample = checks.handle_reading(reading, now);
                let error = value.and_then(|value| value.as_ref().err());
                let exponent = channel.exponent;
                let value = sample
                    .mantissa
                    .map(|mantissa| Decimal { mantissa, exponent }.to_f64());
                samples.push(ChannelNow {
                    device: device.id.clone(),
                    channel: channel.name.clone(),
                    unit: channel.unit.clone(),
                    value,
                    decimals: exponent.min(0).unsigned_abs(),
                    quality: Some(sample.quality),
                    reason: latest::reason(sample.quality, error),
                    age_ms: Some(0),
                    calibration: 0,
                });
            }
        }
        View {
            mono_ms: now.0,
            samples,
            status: None,
        }
    }
}

fn json_line(view: &View) -> Value {
    json!({
        "source": if view.status.is_some() { "gateway" } else { "bus" },
        "mono_ms": view.mono_ms,
        "samples": view.samples,
        "status": view.status,
    })
}

fn text(view: &View) -> String {
    let mut text = match &view.status {
        Some(status) => heading(status),
        None => "no gateway is running: read from the buses".to_owned(),
    };
    let columns = ["device", "channel", "value", "unit", "quality", "age", ""];
    let mut rows = vec![columns.map(str::to_owned).to_vec()];
    for sample in &view.samples {
        rows.push(vec![
            sample.device.to_string(),
            sample.channel.to_string(),
            value(sample),
            sample.unit.clone(),
            quality(sample).to_owned(),
            sample.age_ms.map_or_else(|| "-".to_owned(), age),
            sample.reason.clone().unwrap_or_default(),
        ]);
    }
    text.push_str("\n\n");
    text.push_str(&table(&rows));
    let zones = view.status.as_ref().map(|status| at(status, "zones"));
    if let Some(zones) = zones
        .and_then(Value::as_array)
        .filter(|all| !all.is_empty())
    {
        text.push_str("\n\n");
        text.push_str(&zone_table(zones));
    }
    text
}

fn heading(status: &Value) -> String {
    let of = |key: &str| plain(at(status, key));
    let journal = at(status, "journal");
    format!(
        "{}/{} in {}   link {}   clock {}   {} readings wait, {} lost",
        of("cooperative"),
        of("gateway"),
        of("greenhouse"),
        of("link"),
        of("clock"),
        plain(at(journal, "waiting_readings")),
        plain(at(journal, "lost_readings")),
    )
}

/// A line for each sample that was not shown before.
fn new_lines(view: &View, shown: &mut BTreeMap<String, u64>) -> Vec<String> {
    let mut lines = Vec::new();
    for sample in &view.samples {
        let Some(age_ms) = sample.age_ms else {
            continue;
        };
        let series = format!("{}/{}", sample.device, sample.channel);
        let sampled_ms = view.mono_ms.saturating_sub(age_ms);
        if shown.insert(series.clone(), sampled_ms) == Some(sampled_ms) {
            continue;
        }
        let mut line = format!(
            "{series} {} {} {}",
            value(sample),
            sample.unit,
            quality(sample)
        );
        if let Some(reason) = &sample.reason {
            line.push_str(&format!(" ({reason})"));
        }
        lines.push(line);
    }
    lines
}

fn value(sample: &ChannelNow) -> String {
    let decimals = usize::from(sample.decimals);
    sample
        .value
        .map_or_else(|| "—".to_owned(), |value| format!("{value:.decimals$}"))
}

fn quality(sample: &ChannelNow) -> &'static str {
    sample.quality.map_or("-", Quality::as_str)
}

fn age(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let sample = |channel: &str, value: Option<f64>, quality, age_ms| ChannelNow {
            device: "sht-inside".parse().unwrap(),
            channel: channel.parse().unwrap(),
            unit: "Cel".into(),
            value,
            decimals: 2,
            quality: Some(quality),
            reason: latest::reason(quality, None),
            age_ms: Some(age_ms),
            calibration: 0,
        };
        View {
            mono_ms: 100_000,
            samples: vec![
                sample("air_temperature", Some(24.9), Quality::Good, 3_400),
                sample("relative_humidity", None, Quality::Failed, 130_000),
            ],
            status: Some(json!({
                "cooperative": "hoa-binh", "gateway": "gw-01", "greenhouse": "nha-luoi-1",
                "link": "up", "clock": "synchronised",
                "journal": { "waiting_readings": 48, "lost_readings": 0 },
                "zones": [{ "id": "zone-1", "name": "Luống 1", "phase": "idle" }],
            })),
        }
    }

    #[test]
    fn the_table_shows_value_quality_reason_and_age() {
        let expected = "\
hoa-binh/gw-01 in nha-luoi-1   link up   clock synchronised   48 readings wait, 0 lost

device      channel            value  unit  quality  age
sht-inside  air_temperature    24.90  Cel   good     3 s
sht-inside  relative_humidity  —      Cel   failed   2 min  the bus did not answer in time

zone    name     state  left  used today  limit  next
zone-1  Luống 1  idle   -     -           -      -";
        assert_eq!(text(&view()), expected);
    }

    #[test]
    fn a_sample_is_a_line_once() {
        let mut shown = BTreeMap::new();
        let first = [
            "sht-inside/air_temperature 24.90 Cel good",
            "sht-inside/relative_humidity — Cel failed (the bus did not answer in time)",
        ];
        assert_eq!(new_lines(&view(), &mut shown), first);
        assert_eq!(new_lines(&view(), &mut shown), [""; 0]);
        let mut later = view();
        later.mono_ms += 1_000;
        later.samples[0].age_ms = Some(4_400);
        later.samples[1].age_ms = Some(500);
        assert_eq!(new_lines(&later, &mut shown), first[1..]);
    }

    #[test]
    fn json_has_everything_in_a_line() {
        let line = json_line(&view());
        assert_eq!(line["source"], "gateway");
        assert_eq!(line["samples"][0]["value"], 24.9);
        assert_eq!(line["samples"][1]["value"], Value::Null);
        assert_eq!(line["samples"][1]["quality"], "failed");
        assert_eq!(line["status"]["link"], "up");
        assert!(!line.to_string().contains('\n'));
    }
}
