//! `calibrate`: a channel's values are put right on site.
//!
//! Owns the questions to the person and the steps: measure, judge, write the history, tell the running
//! gateway. What a calibration is and where it is kept: [`crate::calibrations`].

mod list;
mod measure;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use furrow_wire::{ChannelName, Decimal, DeviceId};
use jiff::Timestamp;

use self::list::{json_of, text};
use self::measure::{MeasureError, Measurement, measure};
use super::{EXIT_FAILURE, load, print};
use crate::calibrations::{
    self, Calibrations, Entry, EntryError, FileError, Locked, Pair, Reading, What, raw_unit,
};
use crate::config::{DeviceKind, Settings};
use crate::control::client::{AskError, ask};
use crate::control::{Answer, Ask, READINGS_MAX};

/// Points of a line must be this many spreads apart: otherwise noise makes the slope.
const APART: f64 = 5.0;

/// Put a channel's values right by what is measured now
///
/// Readings are taken by the running gateway, or from the bus when none is running. A reading that
/// fails, or readings that differ too much, make no calibration. A running gateway takes it up at
/// once. What was read is kept with the date, and every calibration can be undone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway calibrate list\n  \
    furrow-gateway calibrate offset sht-inside/air_temperature --value 24.5 --reason 'reference thermometer'\n  \
    furrow-gateway calibrate two-point ph/ph --low 4.00 --high 7.00\n  \
    furrow-gateway calibrate two-point analog/tank_level --low 0.12=0.10 --high 1.98=2.00\n  \
    furrow-gateway calibrate capacitive analog/soil_moisture_index\n  \
    furrow-gateway calibrate undo analog/soil_moisture_index --reason 'probe was swapped'")]
pub struct Calibrate {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show all calibrations, oldest first
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add the same to every value: one known value, measured now
    Offset {
        #[command(flatten)]
        channel: Channel,
        /// What the channel should show now, in its unit
        #[arg(long, allow_hyphen_values = true)]
        value: Decimal,
        #[command(flatten)]
        how: How,
    },
    /// A line through two known values, measured one after the other
    TwoPoint {
        #[command(flatten)]
        channel: Channel,
        /// One known value; measured now, or RAW=VALUE if it was measured before
        #[arg(long, value_name = "VALUE|RAW=VALUE", allow_hyphen_values = true)]
        low: Known,
        /// The other one
        #[arg(long, value_name = "VALUE|RAW=VALUE", allow_hyphen_values = true)]
        high: Known,
        #[command(flatten)]
        how: How,
    },
    /// A capacitive moisture probe: 0 % in air or dry soil, 100 % in water or wet soil
    ///
    /// The result is an index of this probe in this soil, never water content.
    Capacitive {
        #[command(flatten)]
        channel: Channel,
        /// Volts when dry, if that was measured before
        #[arg(long, value_name = "VOLTS")]
        dry: Option<Decimal>,
        /// Volts when wet, if that was measured before
        #[arg(long, value_name = "VOLTS")]
        wet: Option<Decimal>,
        #[command(flatten)]
        how: How,
    },
    /// Take back a channel's latest calibration; the one before holds again
    Undo {
        #[command(flatten)]
        channel: Channel,
        #[command(flatten)]
        who: Who,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct Channel {
    /// Which, as `check` and `watch` show it
    #[arg(value_name = "DEVICE/CHANNEL")]
    channel: Series,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Series(DeviceId, ChannelName);

#[derive(Debug, Clone, clap::Args)]
struct Who {
    /// Your name, for the history
    #[arg(long, default_value_t = person())]
    by: String,
    /// Why, for the history
    #[arg(long, default_value = "on site")]
    reason: String,
}

#[derive(Debug, Clone, clap::Args)]
struct How {
    #[command(flatten)]
    who: Who,
    /// Readings a point
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=i64::from(READINGS_MAX)))]
    readings: u32,
    /// Largest difference between them, in the unit of the raw value [default: by that unit]
    #[arg(long, value_name = "DIFFERENCE")]
    max_spread: Option<f64>,
    /// Measure at once instead of asking for Enter before each point
    #[arg(long)]
    yes: bool,
}

/// A known value, possibly with what was read then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    raw: Option<Decimal>,
    value: Decimal,
}

#[derive(Debug, thiserror::Error)]
enum CalibrateError {
    #[error("there is no channel {0}: `furrow-gateway check` lists them")]
    NoChannel(String),
    #[error("{0}")]
    NotThis(String),
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(
        "the points were read at {low} and {high} {unit}, which is too close for their noise: \
         were both taken in the same place?"
    )]
    TooClose {
        low: Decimal,
        high: Decimal,
        unit: String,
    },
    #[error("read the answer")]
    Input(#[source] std::io::Error),
    #[error("nobody is there to press Enter: add --yes, or give the raw values")]
    Nobody,
}

impl Calibrate {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => Arc::new(settings),
            Err(code) => return code,
        };
        match self.act(&settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print::error(&error);
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }

    fn act(&self, settings: &Arc<Settings>) -> Result<(), CalibrateError> {
        let state_dir = &settings.gateway().state_dir;
        let (channel, who) = match &self.action {
            Action::List { json } => {
                let all = calibrations::load(state_dir)?;
                print::line(if *json { json_of(&all) } else { text(&all) });
                return Ok(());
            }
            Action::Offset { channel, how, .. }
            | Action::TwoPoint { channel, how, .. }
            | Action::Capacitive { channel, how, .. } => (&channel.channel, &how.who),
            Action::Undo { channel, who } => (&channel.channel, who),
        };
        let bench = Bench::new(settings, channel)?;
        let mut locked = Locked::open(state_dir)?;
        let what = self.measured(&bench, &locked.calibrations)?;
        let Series(device, channel) = channel.clone();
        let entry = Entry {
            version: locked.calibrations.version(&device).saturating_add(1),
            device,
            channel,
            at: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            by: who.by.clone(),
            reason: who.reason.clone(),
            what,
        };
        locked.calibrations.add(entry.clone())?;
        locked.save()?;
        print::line(format!("{}: {}", entry.series(), entry.text()));
        print::line(format!(
            "saved as version {} of {}",
            entry.version, entry.device
        ));
        print::line(tell_gateway(settings, entry));
        Ok(())
    }

    fn measured(&self, bench: &Bench, all: &Calibrations) -> Result<What, CalibrateError> {
        match &self.action {
            Action::Offset { value, how, .. } => {
                bench.refuse_volts("offset")?;
                let raw = bench.point(how, None, None)?;
                Ok(What::Offset { raw, value: *value })
            }
            Action::TwoPoint { low, high, how, .. } => {
                let of = |known: &Known| {
                    let prompt = format!("Bring it to {} {}", known.value, bench.unit());
                    let raw = bench.point(how, known.raw, Some(&prompt))?;
                    let value = known.value;
                    Ok::<_, CalibrateError>(Pair { raw, value })
                };
                let (low, high) = (of(low)?, of(high)?);
                bench.refuse_close(low.raw, high.raw)?;
                Ok(What::TwoPoint { low, high })
            }
            Action::Capacitive { dry, wet, how, .. } => {
                bench.refuse_other_than_volts()?;
                let dry = bench.point(how, *dry, Some("Hold the probe in air, dry and clean"))?;
                let wet = bench.point(how, *wet, Some("Put it into water up to its mark"))?;
                bench.refuse_close(dry, wet)?;
                Ok(What::Capacitive { dry, wet })
            }
            Action::Undo { channel, .. } => {
                let Series(device, name) = &channel.channel;
                let held = all.held(device, name);
                let held = held.ok_or_else(|| EntryError::NothingToUndo(bench.series()))?;
                let version = held.version;
                Ok(What::Undone { version })
            }
            // Answered before.
            Action::List { .. } => Err(CalibrateError::NotThis("nothing to measure".to_owned())),
        }
    }
}

/// The channel that is calibrated.
struct Bench {
    settings: Arc<Settings>,
    device: usize,
    place: usize,
}

impl Bench {
    fn new(settings: &Arc<Settings>, series: &Series) -> Result<Self, CalibrateError> {
        let Series(id, name) = series;
        let none = || CalibrateError::NoChannel(format!("{id}/{name}"));
        let mut devices = settings.devices().iter().enumerate();
        let (device, found) = devices
            .find(|(_, device)| device.id == *id)
            .ok_or_else(none)?;
        let place = found
            .channels
            .iter()
            .position(|channel| channel.name == *name);
        let place = place.ok_or_else(none)?;
        if let Some(why) = not_calibrated(&found.kind) {
            return Err(CalibrateError::NotThis(format!("{id} {why}")));
        }
        Ok(Bench {
            settings: Arc::clone(settings),
            device,
            place,
        })
    }

    fn series(&self) -> String {
        let device = self.settings.devices().get(self.device);
        let channel = device.and_then(|device| device.channels.get(self.place));
        let channel = channel.map_or("?", |channel| channel.name.as_str());
        format!(
            "{}/{channel}",
            device.map_or("?", |device| device.id.as_str())
        )
    }

    /// Of the values.
    fn unit(&self) -> String {
        let device = self.settings.devices().get(self.device);
        let channel = device.and_then(|device| device.channels.get(self.place));
        channel.map_or_else(String::new, |channel| channel.unit.clone())
    }

    /// Of what is read.
    fn raw_unit(&self) -> String {
        let device = self.settings.devices().get(self.device);
        device.map_or_else(String::new, |device| {
            raw_unit(device, self.place).to_owned()
        })
    }

    fn refuse_volts(&self, what: &str) -> Result<(), CalibrateError> {
        if self.raw_unit() == self.unit() {
            return Ok(());
        }
        let series = self.series();
        Err(CalibrateError::NotThis(format!(
            "{series} is a moisture probe, for which {what} means nothing: use `calibrate capacitive`"
        )))
    }

    fn refuse_other_than_volts(&self) -> Result<(), CalibrateError> {
        if self.raw_unit() != self.unit() {
            return Ok(());
        }
        let series = self.series();
        Err(CalibrateError::NotThis(format!(
            "{series} is no capacitive probe: use `calibrate offset` or `calibrate two-point`"
        )))
    }

    fn refuse_close(&self, low: Reading, high: Reading) -> Result<(), CalibrateError> {
        let apart = (low.mean.to_f64() - high.mean.to_f64()).abs();
        let noise = low.spread.to_f64().max(high.spread.to_f64());
        if apart > noise * APART {
            return Ok(());
        }
        Err(CalibrateError::TooClose {
            low: low.mean,
            high: high.mean,
            unit: self.raw_unit(),
        })
    }

    /// A point: as typed in, or measured now.
    fn point(
        &self,
        how: &How,
        typed: Option<Decimal>,
        prompt: Option<&str>,
    ) -> Result<Reading, CalibrateError> {
        if let Some(mean) = typed {
            let spread = Decimal {
                mantissa: 0,
                exponent: mean.exponent,
            };
            let readings = 0;
            return Ok(Reading {
                mean,
                spread,
                readings,
            });
        }
        if let Some(prompt) = prompt.filter(|_| !how.yes) {
            print::line(format!(
                "{prompt}, wait until it has settled, and press Enter."
            ));
            let mut line = String::new();
            let mut input = std::io::stdin().lock();
            let read = input.read_line(&mut line).map_err(CalibrateError::Input)?;
            if read == 0 && !std::io::stdin().is_terminal() {
                return Err(CalibrateError::Nobody);
            }
        }
        let measured = measure(&Measurement {
            settings: &self.settings,
            device: self.device,
            place: self.place,
            readings: how.readings,
            unit: self.raw_unit(),
            max_spread: how.max_spread,
        })?;
        print::line(format!(
            "read {} {}, {} readings within {}",
            measured.mean,
            self.raw_unit(),
            measured.readings,
            measured.spread
        ));
        Ok(measured.into())
    }
}

/// Why a kind of device has no calibration.
fn not_calibrated(kind: &DeviceKind) -> Option<&'static str> {
    match kind {
        DeviceKind::FlowMeter { .. } | DeviceKind::DripController { .. } => {
            Some("counts pulses: put pulses_per_litre right in its configuration")
        }
        DeviceKind::RainGauge { .. } => {
            Some("counts tips: put mm_per_tip right in its configuration")
        }
        DeviceKind::Mcp23017 { .. }
        | DeviceKind::Pcf8574 { .. }
        | DeviceKind::GpioInputs { .. } => Some("has contacts, which are open or closed"),
        DeviceKind::GuardedOutputs => Some("has relays, which are on or off"),
        DeviceKind::Sht4x { .. }
        | DeviceKind::Sht3x { .. }
        | DeviceKind::Bme280 { .. }
        | DeviceKind::Bh1750 { .. }
        | DeviceKind::Scd4x { .. }
        | DeviceKind::Scd30 { .. }
        | DeviceKind::Ads1115 { .. }
        | DeviceKind::Ina219 { .. }
        | DeviceKind::Ezo { .. }
        | DeviceKind::Ds18b20 { .. }
        | DeviceKind::SoilProbe { .. } => None,
    }
}

fn tell_gateway(settings: &Settings, entry: Entry) -> String {
    let entry = Box::new(entry);
    let question = Ask::Calibrate { entry };
    let told = ask(&settings.gateway().control_socket(), &question)
        .and_then(|mut answers| answers.next().transpose());
    match told {
        Ok(Some(Answer::Calibrated { .. })) => "the running gateway has taken it up".to_owned(),
        Ok(Some(Answer::Refused { reason })) => {
            format!("the running gateway did not take it up: {reason}")
        }
        Ok(_) => "the running gateway did not answer: restart it".to_owned(),
        Err(AskError::NotRunning { .. }) => {
            "no gateway is running: it holds from its next start on".to_owned()
        }
        Err(error) => format!(
            "the running gateway did not take it up ({}): restart it",
            print::chain(&error)
        ),
    }
}

impl std::str::FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (device, channel) = text.split_once('/').ok_or("must be DEVICE/CHANNEL")?;
        let device: DeviceId = device.parse().map_err(|error| format!("{error}"))?;
        let channel: ChannelName = channel.parse().map_err(|error| format!("{error}"))?;
        Ok(Series(device, channel))
    }
}

impl std::str::FromStr for Known {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let decimal = |text: &str| text.parse::<Decimal>().map_err(|error| error.to_string());
        match text.split_once('=') {
            Some((raw, value)) => Ok(Known {
                raw: Some(decimal(raw)?),
                value: decimal(value)?,
            }),
            None => Ok(Known {
                raw: None,
                value: decimal(text)?,
            }),
        }
    }
}

/// Whoever is logged in, also behind sudo.
fn person() -> String {
    let name = ["SUDO_USER", "USER"].map(|key| std::env::var(key).ok());
    let name = name.into_iter().flatten().find(|name| !name.is_empty());
    name.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_values_with_or_without_what_was_read() {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        let known = |text: &str| text.parse::<Known>();
        let (raw, value) = (Some(decimal("0.12")), decimal("0.10"));
        assert_eq!(known("0.12=0.10"), Ok(Known { raw, value }));
        let value = decimal("-4.0");
        assert_eq!(known("-4.0"), Ok(Known { raw: None, value }));
        for bad in ["", "=", "1=", "a=1", "1=2=3"] {
            assert!(known(bad).is_err(), "{bad}");
        }
        assert!("analog".parse::<Series>().is_err());
    }
}
