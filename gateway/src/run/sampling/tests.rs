use std::path::Path;

use furrow_wire::Quality;

use super::*;

/// The schedule's interval here.
const EVERY_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

/// The reference greenhouse's first device alone: air temperature and humidity.
fn sampling() -> (Arc<Settings>, Sampling) {
    let deploy = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/gateway-every-sensor.toml"
    );
    let settings = Arc::new(Settings::load(Path::new(deploy)).unwrap());
    let scales = Scales::new(&settings, &Calibrations::default());
    let mut sampling = Sampling::new(&settings, Some(scales), FieldMs(0), None, None, 0);
    sampling.handle_prepared(0, FieldMs(0));
    (settings, sampling)
}

/// One tick with these readings, in hundredths; the qualities that they are given.
fn tick(sampling: &mut Sampling, at_ms: u64, readings: [i64; 2]) -> [Quality; 2] {
    let now = FieldMs(at_ms);
    let tick = sampling.poll_tick(now).expect("a device is due");
    assert_eq!((tick.device, tick.at), (0, now));
    let raw = readings.map(|mantissa| {
        Ok(Decimal {
            mantissa,
            exponent: -2,
        })
    });
    sampling.handle_readings(0, now, &raw);
    while sampling.poll_cut(now, None).is_some() {}
    [0, 1].map(|channel| sampling.latest().of(channel).unwrap().sample.quality)
}

#[test]
fn a_calibration_forgets_what_was_flat_on_its_own_channel_only() {
    let (settings, mut sampling) = sampling();
    let mut at_ms = EVERY_MS;
    let mut last = [Quality::Good; 2];
    while at_ms <= 4 * HOUR_MS {
        last = tick(&mut sampling, at_ms, [2_500, 6_000]);
        at_ms += EVERY_MS;
    }
    assert_eq!(last, [Quality::Stuck; 2]);
    let scales = Scales::new(&settings, &Calibrations::default());
    sampling.handle_calibrated(FieldMs(at_ms), 0, scales);
    let after = tick(&mut sampling, at_ms, [2_500, 6_000]);
    assert_eq!(after, [Quality::Good, Quality::Stuck]);
}
