//! From a driver's raw value to the value of the channel.

use furrow_drivers::analog::Conversion;
use furrow_drivers::{Cause, SensorError};
use furrow_gateway_core::calibration::Line;
use furrow_wire::Decimal;

use super::Calibrations;
use crate::config::{DeviceKind, DeviceSettings, Settings};

/// What is done to each channel's raw values. Devices and channels are named by their place.
#[derive(Debug, Clone)]
pub struct Scales(Vec<Vec<Scale>>);

#[derive(Debug, Clone)]
struct Scale {
    kind: &'static str,
    exponent: i8,
    /// By the configuration.
    conversion: Option<Conversion>,
    /// By what was measured on site; goes before the configuration.
    line: Option<Line>,
}

impl Scales {
    /// By the configuration and what was calibrated.
    #[must_use]
    pub fn new(settings: &Settings, calibrations: &Calibrations) -> Self {
        let of_device = |device: &DeviceSettings| {
            let channels = device.channels.iter().enumerate();
            channels
                .map(|(place, channel)| Scale {
                    kind: device.kind.name(),
                    exponent: channel.exponent,
                    conversion: conversion_of(&device.kind, place),
                    line: calibrations.line(&device.id, &channel.name),
                })
                .collect()
        };
        Scales(settings.devices().iter().map(of_device).collect())
    }

    /// The value of a raw one. It may lie outside what can be true: that is judged later.
    ///
    /// # Errors
    /// A raw value that failed stays so; a value that its channel can't hold.
    pub fn value(
        &self,
        device: usize,
        place: usize,
        raw: &Result<Decimal, SensorError>,
    ) -> Result<Decimal, SensorError> {
        let raw = raw.clone()?;
        let Some(scale) = self.0.get(device).and_then(|device| device.get(place)) else {
            return Ok(raw);
        };
        let exponent = scale.exponent;
        match (scale.line, &scale.conversion) {
            (Some(line), _) => match line.value(raw, exponent) {
                Some(mantissa) => Ok(Decimal { mantissa, exponent }),
                None => Err(SensorError {
                    chip: scale.kind,
                    address: None,
                    register: "calibration",
                    cause: Cause::Refused("the calibrated value fits no number"),
                }),
            },
            (None, Some(conversion)) => conversion.finish(raw, exponent),
            (None, None) => Ok(raw),
        }
    }

    /// All channels of a device.
    #[must_use]
    pub fn values(
        &self,
        device: usize,
        raw: &[Result<Decimal, SensorError>],
    ) -> Vec<Result<Decimal, SensorError>> {
        let places = raw.iter().enumerate();
        places
            .map(|(place, raw)| self.value(device, place, raw))
            .collect()
    }
}

/// The conversion whose raw value the driver gives.
pub(super) fn conversion_of(kind: &DeviceKind, place: usize) -> Option<Conversion> {
    match kind {
        DeviceKind::Ads1115 { inputs, .. } => inputs.get(place).map(|input| input.conversion),
        DeviceKind::Sht4x { .. }
        | DeviceKind::Sht3x { .. }
        | DeviceKind::Bme280 { .. }
        | DeviceKind::Bh1750 { .. }
        | DeviceKind::Scd4x { .. }
        | DeviceKind::Scd30 { .. }
        | DeviceKind::Ina219 { .. }
        | DeviceKind::Ezo { .. }
        | DeviceKind::Mcp23017 { .. }
        | DeviceKind::Pcf8574 { .. }
        | DeviceKind::GpioInputs { .. }
        | DeviceKind::FlowMeter { .. }
        | DeviceKind::RainGauge { .. }
        | DeviceKind::Ds18b20 { .. }
        | DeviceKind::SoilProbe { .. }
        | DeviceKind::DripController { .. }
        | DeviceKind::GuardedOutputs => None,
    }
}

/// Unit of a channel's raw values.
#[must_use]
pub fn raw_unit(device: &DeviceSettings, place: usize) -> &str {
    let of_channel = device.channels.get(place);
    conversion_of(&device.kind, place)
        .and_then(|conversion| conversion.raw_unit())
        .or(of_channel.map(|channel| channel.unit.as_str()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use furrow_drivers::BusFault;

    use super::super::What;
    use super::super::tests::{decimal, entry, offset, reading};
    use super::*;

    /// Place of the moisture probe in the reference greenhouse.
    const PROBE: (usize, usize) = (3, 2);

    #[track_caller]
    fn check(
        what: Option<(&str, &str, What)>,
        (device, place): (usize, usize),
        raw: &str,
        expected: &str,
    ) {
        let deploy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/gateway-simulated.toml"
        );
        let settings = Settings::load(Path::new(deploy)).unwrap();
        let mut calibrations = Calibrations::default();
        if let Some((device, channel, what)) = what {
            calibrations.add(entry(device, channel, 1, what)).unwrap();
        }
        let scales = Scales::new(&settings, &calibrations);
        let found = match scales.value(device, place, &Ok(decimal(raw))) {
            Ok(value) => value.to_string(),
            Err(error) => error.cause.to_string(),
        };
        assert_eq!(found, expected, "{raw}");
    }

    #[test]
    fn a_probe_goes_by_its_configuration_or_by_what_was_measured() {
        check(None, PROBE, "2.100000", "50.0");
        check(None, PROBE, "2.900000", "0.0");
        let capacitive = || {
            let what = What::Capacitive {
                dry: reading("3.1000"),
                wet: reading("1.1000"),
            };
            Some(("analog", "soil_moisture_index", what))
        };
        check(capacitive(), PROBE, "2.100000", "50.0");
        check(capacitive(), PROBE, "2.900000", "10.0");
        // Never clamped: the range is the quality's business.
        check(capacitive(), PROBE, "3.300000", "-10.0");
        check(capacitive(), PROBE, "0.900000", "110.0");
    }

    #[test]
    fn only_the_calibrated_channel_changes_and_a_failure_stays_one() {
        let air = || Some(("sht-inside", "air_temperature", offset("-0.35")));
        check(air(), (0, 0), "24.98", "24.63");
        check(air(), (0, 1), "60.00", "60.00");
        check(air(), (1, 0), "24.98", "24.98");
        let settings = Settings::load(Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/gateway-simulated.toml"
        )))
        .unwrap();
        let failed = SensorError {
            chip: "sht4x",
            address: Some(0x44),
            register: "measurement",
            cause: Cause::Bus(BusFault::NoAddress),
        };
        let scales = Scales::new(&settings, &Calibrations::default());
        assert_eq!(scales.value(0, 0, &Err(failed.clone())), Err(failed));
        assert_eq!(raw_unit(&settings.devices()[3], 2), "V");
        assert_eq!(raw_unit(&settings.devices()[0], 0), "Cel");
    }
}
