//! Several raw readings of one channel: by the running gateway, or from the bus.

use std::sync::Arc;

use furrow_gateway_core::calibration::{Measured, usual_spread};
use furrow_wire::Decimal;

use crate::config::Settings;
use crate::control::client::{AskError, ask};
use crate::control::{Answer, Ask, RawReading};
use crate::run::measuring::{can_be_hurried, raw_readings};
use crate::tools::reader::{Reader, ReaderError};

/// Between two readings from the bus, in milliseconds: noise of the mains and of a pump shows.
const PAUSE_MS: u64 = 500;

/// What is to be measured.
pub(super) struct Measurement<'a> {
    pub(super) settings: &'a Arc<Settings>,
    pub(super) device: usize,
    pub(super) place: usize,
    pub(super) readings: u32,
    pub(super) unit: String,
    pub(super) max_spread: Option<f64>,
}

/// Readings that make no calibration.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeasureError {
    #[error("reading {number} of {readings} failed: {why}; nothing was calibrated")]
    Failed {
        number: usize,
        readings: u32,
        why: String,
    },
    #[error(
        "the readings differ by {spread} {unit} (at most {most:.3}): wait until the value has settled, \
         look at wiring and shield, or allow more by --max-spread; nothing was calibrated"
    )]
    Noisy {
        spread: Decimal,
        unit: String,
        most: f64,
    },
    #[error("the gateway gave {0} of the readings: ask again")]
    Few(usize),
    #[error("the readings are too large to be a measurement")]
    TooLarge,
    #[error("the gateway refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Reader(#[from] ReaderError),
}

/// Measures now.
pub(super) fn measure(what: &Measurement<'_>) -> Result<Measured, MeasureError> {
    let readings = match by_gateway(what) {
        Err(MeasureError::Ask(AskError::NotRunning { .. })) => by_bus(what)?,
        other => other?,
    };
    judge(what, &readings)
}

fn by_gateway(what: &Measurement<'_>) -> Result<Vec<RawReading>, MeasureError> {
    let Some(device) = what.settings.devices().get(what.device) else {
        return Ok(Vec::new());
    };
    let question = Ask::Read {
        device: device.id.clone(),
        readings: what.readings,
    };
    let mut found = Vec::new();
    for answer in ask(&what.settings.gateway().control_socket(), &question)? {
        match answer? {
            Answer::Readings { readings } => found.extend(readings.into_iter().nth(what.place)),
            Answer::Refused { reason } => return Err(MeasureError::Refused(reason)),
            Answer::Report { .. }
            | Answer::Accepted { .. }
            | Answer::Opened
            | Answer::Done { .. }
            | Answer::Recent { .. }
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

fn by_bus(what: &Measurement<'_>) -> Result<Vec<RawReading>, MeasureError> {
    let Some(device) = what.settings.devices().get(what.device) else {
        return Ok(Vec::new());
    };
    let mut reader = Reader::open(what.settings, "furrow-gateway calibrate", Some(what.device))?;
    let every_ms = u64::try_from(device.every.as_millis()).unwrap_or(u64::MAX);
    let pause_ms = if can_be_hurried(&device.kind) {
        PAUSE_MS
    } else {
        every_ms
    };
    let mut found = Vec::new();
    for number in 0..what.readings {
        if number > 0 {
            reader.wait(pause_ms);
        }
        for read in reader.read(Some(what.device)) {
            let readings = raw_readings(device, &read.raw, &read.values);
            found.extend(readings.into_iter().nth(what.place));
        }
    }
    reader.stop();
    Ok(found)
}

fn judge(what: &Measurement<'_>, readings: &[RawReading]) -> Result<Measured, MeasureError> {
    let mut raw = Vec::new();
    for (index, reading) in readings.iter().enumerate() {
        let value = reading.raw.as_ref().and_then(|text| text.parse().ok());
        raw.push(value.ok_or_else(|| MeasureError::Failed {
            number: index.saturating_add(1),
            readings: what.readings,
            why: reading.error.clone().unwrap_or_default(),
        })?);
    }
    if raw.len() < usize::try_from(what.readings).unwrap_or(usize::MAX) {
        return Err(MeasureError::Few(raw.len()));
    }
    let measured = Measured::of(&raw).ok_or(MeasureError::TooLarge)?;
    let usual = usual_spread(&what.unit, measured.mean.to_f64());
    let most = what.max_spread.unwrap_or(usual);
    if measured.spread.to_f64() > most {
        return Err(MeasureError::Noisy {
            spread: measured.spread,
            unit: what.unit.clone(),
            most,
        });
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[track_caller]
    fn check(raw: &[Option<&str>], max_spread: Option<f64>, expected: &str) {
        let deploy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/gateway-simulated.toml"
        );
        let settings = Arc::new(Settings::load(Path::new(deploy)).unwrap());
        let what = Measurement {
            settings: &settings,
            device: 3,
            place: 2,
            readings: 3,
            unit: "V".into(),
            max_spread,
        };
        let reading = |raw: &Option<&str>| RawReading {
            channel: "soil_moisture_index".parse().unwrap(),
            raw: raw.map(str::to_owned),
            value: None,
            error: raw.is_none().then(|| "no acknowledge".to_owned()),
        };
        let readings: Vec<RawReading> = raw.iter().map(reading).collect();
        let found = match judge(&what, &readings) {
            Ok(measured) => format!("{} within {}", measured.mean, measured.spread),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn noisy_failed_and_missing_readings_calibrate_nothing() {
        let steady = [Some("2.870"), Some("2.871"), Some("2.873")];
        check(&steady, None, "2.8713 within 0.003");
        check(
            &[Some("2.870"), None, Some("2.873")],
            None,
            "reading 2 of 3 failed: no acknowledge; nothing was calibrated",
        );
        let noisy = [Some("2.870"), Some("2.871"), Some("2.973")];
        check(
            &noisy,
            None,
            "the readings differ by 0.103 V (at most 0.020): wait until the value has settled, look \
             at wiring and shield, or allow more by --max-spread; nothing was calibrated",
        );
        check(&noisy, Some(0.2), "2.9047 within 0.103");
        check(
            &steady[..2],
            None,
            "the gateway gave 2 of the readings: ask again",
        );
    }
}
