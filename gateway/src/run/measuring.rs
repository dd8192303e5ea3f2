//! Readings that people ask for beside the schedule: for calibrating, and for testing a valve.
//!
//! They are never journalled, unless a tick of the schedule comes while one is under way. A sensor that
//! measures at its own pace, or counts between two readings, is not asked more often than its schedule
//! says: what it gives then is passed on.

use std::collections::BTreeMap;

use furrow_drivers::SensorError;
use furrow_wire::Decimal;
use tokio::sync::mpsc;

use crate::config::{DeviceKind, DeviceSettings};
use crate::control::{Answer, READINGS_MAX, RawReading};
use crate::devices::Job;

/// The tick of a reading that is not the schedule's.
pub const EXTRA_TICK_MS: u64 = u64::MAX;
/// Between two of them, in milliseconds of the field: noise of the mains and of a pump shows.
const PAUSE_MS: u64 = 500;
/// Askers at once: one for each place of the control socket.
const ASKERS: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub struct Measuring {
    askers: Vec<Asker>,
    /// Devices in a reading that is not the schedule's, and the tick that came meanwhile.
    under_way: BTreeMap<usize, Option<u64>>,
}

#[derive(Debug)]
struct Asker {
    device: usize,
    left: u32,
    /// When to ask next; `None` while asked, or when the schedule asks.
    next_ms: Option<u64>,
    reply: mpsc::Sender<Answer>,
}

impl Measuring {
    /// Somebody wants readings of a device. Refused, with the reason, above the limits.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn add(
        &mut self,
        (device, settings): (usize, &DeviceSettings),
        readings: u32,
        reply: mpsc::Sender<Answer>,
        now_ms: u64,
    ) -> Result<(), String> {
        self.askers.retain(|asker| !asker.reply.is_closed());
        if !(1..=READINGS_MAX).contains(&readings) {
            return Err(format!("{readings} readings (must be 1 to {READINGS_MAX})"));
        }
        if self.askers.len() >= ASKERS {
            return Err("too many people measure at once".to_owned());
        }
        self.askers.push(Asker {
            device,
            left: readings,
            next_ms: can_be_hurried(&settings.kind).then_some(now_ms),
            reply,
        });
        Ok(())
    }

    /// A reading that is due now. Whom the schedule reads already waits for that.
    pub fn poll_job(&mut self, now_ms: u64, is_read: impl Fn(usize) -> bool) -> Option<Job> {
        self.askers.retain(|asker| !asker.reply.is_closed());
        loop {
            let due = |asker: &&Asker| asker.next_ms.is_some_and(|at| at <= now_ms);
            let device = self.askers.iter().find(due)?.device;
            // One reading serves all who wait for this device.
            for asker in self.askers.iter_mut().filter(|one| one.device == device) {
                asker.next_ms = None;
            }
            if !is_read(device) && !self.under_way.contains_key(&device) {
                self.under_way.insert(device, None);
                let tick_ms = EXTRA_TICK_MS;
                return Some(Job::Read { device, tick_ms });
            }
        }
    }

    /// A device is due by the schedule; whether a reading of it is under way, which is then the tick's.
    pub fn handle_tick(&mut self, device: usize, tick_ms: u64) -> bool {
        match self.under_way.get_mut(&device) {
            Some(tick) => {
                *tick = Some(tick_ms);
                true
            }
            None => false,
        }
    }

    /// A reading that was asked for is there; gives the tick that it is for, too.
    pub fn handle_extra_done(&mut self, device: usize) -> Option<u64> {
        self.under_way.remove(&device).flatten()
    }

    /// When [`Measuring::poll_job`] has something, milliseconds of the field.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        let times = self.askers.iter().filter_map(|asker| asker.next_ms);
        times.min().unwrap_or(u64::MAX)
    }

    /// Whether anybody waits for a device.
    #[must_use]
    pub fn wants(&self, device: usize) -> bool {
        self.askers.iter().any(|asker| asker.device == device)
    }

    /// A device was read: tells all who wait for it.
    pub fn handle_readings(
        &mut self,
        (device, settings): (usize, &DeviceSettings),
        raw: &[Result<Decimal, SensorError>],
        values: &[Result<Decimal, SensorError>],
        now_ms: u64,
    ) {
        let readings = raw_readings(settings, raw, values);
        for asker in self
            .askers
            .iter_mut()
            .filter(|asker| asker.device == device)
        {
            let readings = readings.clone();
            if asker.reply.try_send(Answer::Readings { readings }).is_err() {
                tracing::debug!("nobody waits for a reading any more");
            }
            asker.left = asker.left.saturating_sub(1);
            asker.next_ms =
                can_be_hurried(&settings.kind).then_some(now_ms.saturating_add(PAUSE_MS));
        }
        self.askers.retain(|asker| asker.left > 0);
    }
}

/// The channels of a reading as people see them.
#[must_use]
pub fn raw_readings(
    settings: &DeviceSettings,
    raw: &[Result<Decimal, SensorError>],
    values: &[Result<Decimal, SensorError>],
) -> Vec<RawReading> {
    let channels = settings.channels.iter().zip(raw).zip(values);
    channels
        .map(|((channel, raw), value)| RawReading {
            channel: channel.name.clone(),
            raw: raw.as_ref().ok().map(Decimal::to_string),
            value: value.as_ref().ok().map(Decimal::to_string),
            error: raw
                .as_ref()
                .err()
                .or(value.as_ref().err())
                .and_then(|error| super::latest::reason(furrow_wire::Quality::Failed, Some(error))),
        })
        .collect()
}

/// Whether a reading beside the schedule takes nothing away from the schedule's.
#[must_use]
pub fn can_be_hurried(kind: &DeviceKind) -> bool {
    match kind {
        DeviceKind::Sht4x { .. }
        | DeviceKind::Sht3x { .. }
        | DeviceKind::Bme280 { .. }
        | DeviceKind::Bh1750 { .. }
        | DeviceKind::Ads1115 { .. }
        | DeviceKind::Ina219 { .. }
        | DeviceKind::Ezo { .. }
        | DeviceKind::Ds18b20 { .. }
        | DeviceKind::SoilProbe { .. }
        | DeviceKind::DripController { .. }
        | DeviceKind::GuardedOutputs => true,
        // These measure at their own pace, or count since the last reading. A button's press is told
        // once; who asks beside the schedule would take it away.
        DeviceKind::Scd4x { .. }
        | DeviceKind::Scd30 { .. }
        | DeviceKind::Mcp23017 { .. }
        | DeviceKind::Pcf8574 { .. }
        | DeviceKind::GpioInputs { .. }
        | DeviceKind::FlowMeter { .. }
        | DeviceKind::RainGauge { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Settings;

    const DEVICE: usize = 0;

    fn settings() -> Settings {
        let deploy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/gateway-simulated.toml"
        );
        Settings::load(Path::new(deploy)).unwrap()
    }

    fn ask(
        measuring: &mut Measuring,
        settings: &Settings,
        readings: u32,
    ) -> mpsc::Receiver<Answer> {
        let (reply, answers) = mpsc::channel(8);
        let device = (DEVICE, &settings.devices()[DEVICE]);
        measuring.add(device, readings, reply, 1_000).unwrap();
        answers
    }

    fn told(answers: &mut mpsc::Receiver<Answer>) -> usize {
        std::iter::from_fn(|| answers.try_recv().ok()).count()
    }

    const EXTRA: Job = Job::Read {
        device: DEVICE,
        tick_ms: EXTRA_TICK_MS,
    };

    #[test]
    fn one_reading_serves_all_who_wait_and_the_tick_that_comes_meanwhile() {
        let settings = settings();
        let device = (DEVICE, &settings.devices()[DEVICE]);
        let mut measuring = Measuring::default();
        let mut one = ask(&mut measuring, &settings, 2);
        let mut other = ask(&mut measuring, &settings, 1);
        assert_eq!(measuring.poll_job(1_000, |_| false), Some(EXTRA));
        assert_eq!(
            measuring.poll_job(1_000, |_| false),
            None,
            "it is under way"
        );
        assert!(measuring.handle_tick(DEVICE, 1_100));
        assert!(!measuring.handle_tick(1, 1_100), "another device");
        assert_eq!(measuring.handle_extra_done(DEVICE), Some(1_100));
        measuring.handle_readings(device, &[], &[], 1_200);
        assert_eq!((told(&mut one), told(&mut other)), (1, 1));
        // The second reading, half a second later, with no tick in between.
        assert_eq!(measuring.poll_timeout(), 1_200 + PAUSE_MS);
        assert_eq!(measuring.poll_job(1_700, |_| false), Some(EXTRA));
        assert_eq!(measuring.handle_extra_done(DEVICE), None);
        measuring.handle_readings(device, &[], &[], 1_800);
        assert_eq!((told(&mut one), told(&mut other)), (1, 0));
        assert!(!measuring.wants(DEVICE));
        assert!(!measuring.handle_tick(DEVICE, 2_000));
    }

    #[test]
    fn a_reading_of_the_schedule_serves_who_asks_meanwhile() {
        let settings = settings();
        let device = (DEVICE, &settings.devices()[DEVICE]);
        let mut measuring = Measuring::default();
        let mut one = ask(&mut measuring, &settings, 2);
        assert_eq!(measuring.poll_job(1_000, |_| true), None);
        assert_eq!(measuring.poll_timeout(), u64::MAX, "nothing to wake for");
        measuring.handle_readings(device, &[], &[], 1_200);
        assert_eq!(told(&mut one), 1);
        assert_eq!(measuring.poll_job(1_700, |_| false), Some(EXTRA));
    }
}
