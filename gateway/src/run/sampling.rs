//! From ticks to samples: the schedule, the devices' answers, quality, the batch that is collected.

use std::collections::VecDeque;
use std::sync::Arc;

use furrow_drivers::SensorError;
use furrow_gateway_core::backoff::Backoff;
use furrow_gateway_core::batch::{BatchBuilder, Cut};
use furrow_gateway_core::derived::Derived;
use furrow_gateway_core::health::{Change, Health};
use furrow_gateway_core::lateness::Lateness;
use furrow_gateway_core::quality::{Checks, Reading, limits_of};
use furrow_gateway_core::schedule::{Schedule, Tick, next_aligned};
use furrow_gateway_core::{FieldMs, clock};
use furrow_wire::{Decimal, EventKind, Sample};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::answer::{fault_text, reading_of};
use super::latest::Latest;
use super::watched::Watched;
use crate::calibrations::{Calibrations, Scales};
use crate::config::Settings;
use crate::devices::Job;

/// A reading that is not back so long after its interval ended is given up: the batch goes without.
const GRACE_MS: u64 = 5_000;

/// See the module.
#[derive(Debug)]
pub struct Sampling {
    settings: Arc<Settings>,
    schedule: Schedule,
    lateness: Lateness,
    batch: BatchBuilder,
    devices: Vec<Device>,
    checks: Vec<Checks>,
    derived: Derived,
    commit_interval_ms: u64,
    commit_at: FieldMs,
    /// What is worth telling of devices that hang; at most one each.
    told: VecDeque<EventKind>,
    scales: Scales,
    /// Those of readings from this tick on.
    next_scales: Option<(FieldMs, Scales)>,
    /// Which channels were calibrated can't be known: no value may be trusted.
    distrust: bool,
    latest: Latest,
    watched: Watched,
}

#[derive(Debug)]
struct Device {
    /// Its channels in the catalog.
    first_channel: u16,
    health: Health,
    backoff: Backoff,
    /// The tick whose reading is under way.
    under_way: Option<FieldMs>,
    /// The last tick that its bus began with.
    served: Option<FieldMs>,
}

impl Sampling {
    /// Plans the devices of the settings. None is read before it is prepared. Without scales the
    /// calibrations are lost: values are then told, and suspect.
    #[must_use]
    pub fn new(
        settings: &Arc<Settings>,
        scales: Option<Scales>,
        now: FieldMs,
        offset_ms: Option<i64>,
        frontier_ms: Option<i64>,
        phase_ms: i64,
    ) -> Self {
        let every = |device: usize| {
            let device = settings.devices().get(device);
            device.map_or(u32::MAX, |device| millis(device.every))
        };
        let intervals: Vec<u32> = (0..settings.devices().len()).map(every).collect();
        let of_derived = settings
            .derived()
            .iter()
            .flat_map(|one| one.channels.iter().map(|_| millis(one.every)));
        let of_channels: Vec<u32> = settings
            .channels()
            .map(|(at, _, _)| every(at))
            .chain(of_derived)
            .collect();
        let plans = settings.derived().iter().map(|one| one.plan.clone());
        let checks = fresh_checks(settings).collect();
        let distrust = scales.is_none();
        let scales = scales.unwrap_or_else(|| Scales::new(settings, &Calibrations::default()));
        let mut first_channel = 0_u16;
        let devices = settings.devices().iter().map(|device| {
            let first = first_channel;
            let channels = u16::try_from(device.channels.len()).unwrap_or(u16::MAX);
            first_channel = first_channel.saturating_add(channels);
            Device {
                first_channel: first,
                health: Health::default(),
                backoff: Backoff::default(),
                under_way: None,
                served: None,
            }
        });
        let commit_interval_ms = u64::from(millis(settings.journal().commit_interval));
        Sampling {
            schedule: Schedule::new(&intervals, now, offset_ms, frontier_ms).after_phase(phase_ms),
            lateness: Lateness::default(),
            batch: BatchBuilder::new(&of_channels, now),
            devices: devices.collect(),
            latest: Latest::new(of_channels.len()),
            watched: Watched::new(settings),
            checks,
            scales,
            next_scales: None,
            distrust,
            derived: Derived::new(plans.collect()),
            commit_interval_ms,
            commit_at: next_aligned(now.plus(1), commit_interval_ms, offset_ms),
            settings: Arc::clone(settings),
            told: VecDeque::new(),
        }
    }

    /// A device can be read from `ready` on.
    pub fn handle_prepared(&mut self, device: usize, ready: FieldMs) {
        self.schedule.handle_prepared(device, ready);
    }

    /// Wall time was adopted, between two batches.
    pub fn handle_clock(&mut self, now: FieldMs, adopted: &clock::Adopted) {
        self.schedule
            .handle_clock(now, adopted.offset_ms, adopted.before_ms);
        self.plan_commit(now, Some(adopted.offset_ms));
    }

    /// The next device to read.
    pub fn poll_tick(&mut self, now: FieldMs) -> Option<Tick> {
        loop {
            let tick = self.schedule.poll_tick(now)?;
            let device = self.devices.get_mut(tick.device)?;
            if !device.backoff.is_pausing(tick.at) {
                device.under_way = Some(tick.at);
                return Some(tick);
            }
            // Its bus is left to the others; the sample is missing all the same.
            self.schedule.handle_done(tick.device);
            self.fail(tick.device, tick.at);
        }
    }

    /// A channel was calibrated, named by its place in the catalog: readings from `now` on go by it, in
    /// a batch of their own.
    pub fn handle_calibrated(&mut self, now: FieldMs, channel: usize, scales: Scales) {
        // What was flat or near under the old scale says nothing about the new one.
        let fresh = fresh_checks(&self.settings).nth(channel);
        if let (Some(checks), Some(fresh)) = (self.checks.get_mut(channel), fresh) {
            *checks = fresh;
        }
        self.next_scales = Some((now, scales));
        self.commit_at = self.commit_at.min(now);
    }

    /// Whether the batch under the old scales is cut: the catalog of the new ones is due.
    pub fn poll_calibrated(&mut self) -> bool {
        let from = self.batch.from();
        match self.next_scales.take_if(|(at, _)| *at <= from) {
            Some((_, scales)) => {
                self.scales = scales;
                true
            }
            None => false,
        }
    }

    /// The latest sample of each channel.
    #[must_use]
    pub fn latest(&self) -> &Latest {
        &self.latest
    }

    /// The next sample of a channel that an alarm looks at: all of them, in their order.
    pub fn poll_watched(&mut self) -> Option<(usize, FieldMs, Sample)> {
        self.watched.poll()
    }

    /// The values of a device's raw readings that are not its schedule's.
    #[must_use]
    pub fn values(
        &self,
        index: usize,
        raw: &[Result<Decimal, SensorError>],
    ) -> Vec<Result<Decimal, SensorError>> {
        let scales = self.next_scales.as_ref().map(|(_, scales)| scales);
        scales.unwrap_or(&self.scales).values(index, raw)
    }

    /// A bus begins with a reading, or goes on with it. Readings that are no tick's have no delay.
    pub fn handle_submitted(&mut self, job: Job, now: FieldMs) {
        let Job::Read { device, tick_ms } = job else {
            return;
        };
        let at = FieldMs(tick_ms);
        let device = self.devices.get_mut(device);
        let device = device.filter(|device| device.under_way == Some(at));
        if device.is_some_and(|device| device.served.replace(at) != Some(at)) {
            self.lateness.handle_served(now.since(at));
        }
    }

    /// A device answered; gives what is worth telling.
    pub fn handle_readings(
        &mut self,
        index: usize,
        at: FieldMs,
        raw: &[Result<Decimal, SensorError>],
    ) -> Option<EventKind> {
        self.schedule.handle_done(index);
        let scales = match &self.next_scales {
            Some((from, scales)) if at >= *from => scales,
            Some(_) | None => &self.scales,
        };
        let readings = scales.values(index, raw);
        let readings = readings.as_slice();
        let device = self.devices.get_mut(index)?;
        if device.under_way != Some(at) {
            // Given up before; its channels have a failed sample for this tick.
            return None;
        }
        device.under_way = None;
        let settings = self.settings.devices().get(index)?;
        for (place, (channel, reading)) in settings.channels.iter().zip(readings).enumerate() {
            let channel_index = device
                .first_channel
                .saturating_add_signed(i16::try_from(place).unwrap_or(i16::MAX));
            let error = reading.as_ref().err().cloned();
            let mut reading = reading_of(reading, channel);
            if let (true, Reading::Value(value)) = (self.distrust, reading) {
                reading = Reading::Suspect(value);
            }
            if let Some(checks) = self.checks.get_mut(usize::from(channel_index)) {
                let sample = checks.handle_reading(reading, at);
                self.latest
                    .handle_sample(usize::from(channel_index), at, sample, error);
                let place = usize::from(channel_index);
                self.watched.handle_sample(place, at, sample);
                self.batch.handle_sample(channel_index, at, sample);
                self.derived.handle_sample(channel_index, at, sample);
            }
        }
        let fault = readings
            .iter()
            .all(Result::is_err)
            .then(|| fault_text(readings))
            .flatten();
        let change = match &fault {
            Some(_) => {
                device.backoff.handle_failed(at);
                device.health.handle_failed()
            }
            None => {
                device.backoff.handle_good();
                device.health.handle_good()
            }
        };
        change.map(|change| match change {
            Change::Fault => EventKind::DeviceFault {
                device: settings.id.clone(),
                text: fault.unwrap_or_default(),
            },
            Change::Recovered => EventKind::DeviceRecovered {
                device: settings.id.clone(),
            },
        })
    }

    /// What is worth telling of a device that hangs.
    pub fn poll_told(&mut self) -> Option<EventKind> {
        self.told.pop_front()
    }

    /// When a device is to be read or a batch to be cut.
    #[must_use]
    pub fn poll_timeout(&self) -> FieldMs {
        let commit = if self
            .oldest_under_way()
            .is_some_and(|tick| tick < self.commit_at)
        {
            // The answer comes by itself; this is only for one that never comes.
            self.commit_at.plus(GRACE_MS)
        } else {
            self.commit_at
        };
        self.schedule
            .poll_timeout()
            .map_or(commit, |tick| tick.min(commit))
    }

    /// The readings of the interval that ended, once all of them are there.
    pub fn poll_cut(&mut self, now: FieldMs, offset_ms: Option<i64>) -> Option<Cut> {
        if self.batch.is_full() && now < self.commit_at {
            self.commit_at = now;
        }
        if now < self.commit_at {
            return None;
        }
        if self
            .oldest_under_way()
            .is_some_and(|tick| tick < self.commit_at)
        {
            if now < self.commit_at.plus(GRACE_MS) {
                return None;
            }
            self.give_up(self.commit_at);
        }
        self.derive(self.commit_at, offset_ms);
        let cut = self.batch.cut(self.commit_at);
        if self.batch.from() >= self.commit_at {
            self.plan_commit(now, offset_ms);
        }
        cut
    }

    /// How far ticks were moved off the grid, milliseconds.
    #[must_use]
    pub fn phase_ms(&self) -> i64 {
        self.schedule.phase_ms()
    }

    /// Cuts what there is: the process is about to end.
    pub fn cut_rest(&mut self, now: FieldMs, offset_ms: Option<i64>) -> Option<Cut> {
        self.give_up(now.plus(1));
        self.derive(now.plus(1), offset_ms);
        self.batch.cut(now.plus(1))
    }

    /// Ticks at which nothing was read, since the start.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.schedule.missed()
    }

    /// How late buses began with readings, since the start.
    #[must_use]
    pub fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    /// Samples dropped because they came after their batch, since the start.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.batch.late()
    }

    /// Readings that a power cut now would lose.
    #[must_use]
    pub fn unjournalled(&self) -> usize {
        self.batch.pending()
    }

    /// Devices that do not answer.
    pub fn faulty(&self) -> impl Iterator<Item = usize> {
        let devices = self.devices.iter().enumerate();
        devices
            .filter(|(_, device)| device.health.is_faulty())
            .map(|(index, _)| index)
    }

    /// Devices that are left alone because they keep failing, with the time when they are asked
    /// again.
    pub fn pausing(&self, now: FieldMs) -> impl Iterator<Item = (usize, FieldMs)> {
        let devices = self.devices.iter().enumerate();
        devices.filter_map(move |(index, device)| {
            let until = device.backoff.until()?;
            device.backoff.is_pausing(now).then_some((index, until))
        })
    }

    /// Whether a device's reading is under way.
    #[must_use]
    pub fn is_reading_of(&self, device: usize) -> bool {
        let device = self.devices.get(device);
        device.is_some_and(|device| device.under_way.is_some())
    }

    /// Whether a reading is under way.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.oldest_under_way().is_some()
    }

    fn plan_commit(&mut self, now: FieldMs, offset_ms: Option<i64>) {
        let after = now.max(self.batch.from()).plus(1);
        self.commit_at = next_aligned(after, self.commit_interval_ms, offset_ms);
    }

    fn oldest_under_way(&self) -> Option<FieldMs> {
        self.devices
            .iter()
            .filter_map(|device| device.under_way)
            .min()
    }

    /// Readings before `to` that did not come back in time count as failed.
    fn give_up(&mut self, to: FieldMs) {
        let late: Vec<(usize, FieldMs)> = self
            .devices
            .iter()
            .enumerate()
            .filter_map(|(index, device)| Some((index, device.under_way.filter(|at| *at < to)?)))
            .collect();
        for (index, at) in late {
            let Some(device) = self.devices.get_mut(index) else {
                continue;
            };
            device.under_way = None;
            device.backoff.handle_failed(at);
            let Some(settings) = self.settings.devices().get(index) else {
                continue;
            };
            tracing::warn!(device = %settings.id, "gave up a reading that took too long");
            if device.health.handle_failed() == Some(Change::Fault) {
                let text = "its bus hangs".to_owned();
                self.told.push_back(EventKind::DeviceFault {
                    device: settings.id.clone(),
                    text,
                });
            }
            self.fail(index, at);
        }
    }

    /// All channels of a device failed at a tick.
    fn fail(&mut self, index: usize, at: FieldMs) {
        let Some(device) = self.devices.get(index) else {
            return;
        };
        let settings = self.settings.devices().get(index);
        let channels = settings.map_or(0, |settings| settings.channels.len());
        for channel in (device.first_channel..).take(channels) {
            if let Some(checks) = self.checks.get_mut(usize::from(channel)) {
                let sample = checks.handle_reading(Reading::Failed, at);
                self.latest
                    .handle_sample(usize::from(channel), at, sample, None);
                self.watched.handle_sample(channel.into(), at, sample);
                self.batch.handle_sample(channel, at, sample);
                self.derived.handle_sample(channel, at, sample);
            }
        }
    }

    /// What follows from the samples before `to`.
    fn derive(&mut self, to: FieldMs, offset_ms: Option<i64>) {
        let time_zone = &self.settings.gateway().time_zone;
        let day_of = |at: FieldMs| local_day(at, offset_ms?, time_zone);
        for (channel, at, sample) in self.derived.poll(to, &day_of) {
            self.latest
                .handle_sample(usize::from(channel), at, sample, None);
            self.watched.handle_sample(channel.into(), at, sample);
            self.batch.handle_sample(channel, at, sample);
        }
    }
}

/// The local day of a moment, in days since 1970.
fn local_day(at: FieldMs, offset_ms: i64, time_zone: &TimeZone) -> Option<i64> {
    let unix_ms = offset_ms.saturating_add_unsigned(at.0);
    let time = Timestamp::from_millisecond(unix_ms).ok()?;
    let ahead_s = time_zone.to_offset(time).seconds();
    Some((unix_ms.div_euclid(1_000) + i64::from(ahead_s)).div_euclid(86_400))
}

fn fresh_checks(settings: &Settings) -> impl Iterator<Item = Checks> {
    let channels = settings.channels();
    channels.map(|(_, _, channel)| Checks::new(limits_of(channel.name.as_str()), channel.exponent))
}

fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
