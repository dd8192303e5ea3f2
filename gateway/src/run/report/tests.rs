use std::path::Path;

use super::*;
use crate::calibrations::What;
use crate::calibrations::tests::{entry, offset};

/// Version of a device in the catalog.
fn version_in(settings: &Settings, calibrations: &Calibrations, device: &str) -> u32 {
    let catalog = catalog(settings, Some(calibrations));
    let found = catalog.devices.iter().find(|one| one.id.as_str() == device);
    found.unwrap().calibration_version
}

#[test]
fn what_is_calculated_has_a_new_version_with_each_calibration_that_it_follows_from() {
    let deploy = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/gateway-every-sensor.toml"
    );
    let settings = Settings::load(Path::new(deploy)).unwrap();
    let mut calibrations = Calibrations::default();
    let mut versions = Vec::new();
    for (device, channel, version, what) in [
        ("sht-inside", "air_temperature", 1, offset("0.5")),
        ("sht-inside", "relative_humidity", 2, offset("1.0")),
        // Nothing follows from this one.
        ("sht31", "air_temperature", 1, offset("0.5")),
        (
            "sht-inside",
            "air_temperature",
            3,
            What::Undone { version: 1 },
        ),
        ("substrate-1", "temperature", 1, offset("0.5")),
    ] {
        let entry = entry(device, channel, version, what);
        calibrations.add(entry).unwrap();
        let [air, light] =
            ["climate", "day-light"].map(|id| version_in(&settings, &calibrations, id));
        versions.push((air, light));
    }
    assert_eq!(versions, [(1, 0), (2, 0), (2, 0), (3, 0), (4, 0)]);
}
