//! Readings that people ask for beside the schedule: for calibrating, and for testing a valve.
//!
//! They are never journalled. A sensor that measures at its own pace, or counts between two readings,
//! is not asked more often than its schedule says: what it gives then is passed on.

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
pub struct Measuring(Vec<Asker>);

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
        self.0.retain(|asker| !asker.reply.is_closed());
        if !(1..=READINGS_MAX).contains(&readings) {
            return Err(format!("{readings} readings (must be 1 to {READINGS_MAX})"));
        }
        if self.0.len() >= ASKERS {
            return Err("too many people measure at once".to_owned());
        }
        self.0.push(Asker {
            device,
            left: readings,
            next_ms: can_be_hurried(&settings.kind).then_some(now_ms),
            reply,
        });
        Ok(())
    }

    /// A reading that is due now.
    pub fn poll_job(&mut self, now_ms: u64) -> Option<Job> {
        self.0.retain(|asker| !asker.reply.is_closed());
        let due = |asker: &&mut Asker| asker.next_ms.is_some_and(|at| at <= now_ms);
        let asker = self.0.iter_mut().find(due)?;
        asker.next_ms = None;
        let device = asker.device;
        // One reading serves all who wait for this device.
        for other in &mut self.0 {
            if other.device == device && other.next_ms.is_some() {
                other.next_ms = None;
            }
        }
        Some(Job::Read {
            device,
            tick_ms: EXTRA_TICK_MS,
        })
    }

    /// When [`Measuring::poll_job`] has something, milliseconds of the field.
    #[must_use]
    pub fn poll_timeout(&self) -> u64 {
        let times = self.0.iter().filter_map(|asker| asker.next_ms);
        times.min().unwrap_or(u64::MAX)
    }

    /// Whether anybody waits for a device.
    #[must_use]
    pub fn wants(&self, device: usize) -> bool {
        self.0.iter().any(|asker| asker.device == device)
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
        for asker in self.0.iter_mut().filter(|asker| asker.device == device) {
            let readings = readings.clone();
            if asker.reply.try_send(Answer::Readings { readings }).is_err() {
                tracing::debug!("nobody waits for a reading any more");
            }
            asker.left = asker.left.saturating_sub(1);
            asker.next_ms =
                can_be_hurried(&settings.kind).then_some(now_ms.saturating_add(PAUSE_MS));
        }
        self.0.retain(|asker| asker.left > 0);
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
        | DeviceKind::Ads1115 { .. }
        | DeviceKind::Ina219 { .. }
        | DeviceKind::Ds18b20 { .. }
        | DeviceKind::SoilProbe { .. }
        | DeviceKind::DripController { .. } => true,
        // These measure at their own pace, go through steps that another reading would disturb, or
        // count since the last reading.
        DeviceKind::Sht3x { .. }
        | DeviceKind::Bme280 { .. }
        | DeviceKind::Bh1750 { .. }
        | DeviceKind::Scd4x { .. }
        | DeviceKind::Scd30 { .. }
        | DeviceKind::Ezo { .. }
        | DeviceKind::Mcp23017 { .. }
        | DeviceKind::Pcf8574 { .. }
        | DeviceKind::GpioInputs { .. }
        | DeviceKind::FlowMeter { .. }
        | DeviceKind::RainGauge { .. } => false,
    }
}
