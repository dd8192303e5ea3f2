//! The gateway without threads, journal and link: ticks, drivers, quality, derived channels and the
//! irrigation, each as it ships, in one loop.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use furrow_gateway::bus::FieldTime;
use furrow_gateway::calibrations::{Calibrations, Scales};
use furrow_gateway::config::Settings;
use furrow_gateway::devices::Job;
use furrow_gateway::run::sampling::Sampling;
use furrow_gateway::run::watering::{Effect, Watering};
use furrow_gateway_core::FieldMs;
use furrow_irrigation::Origin;
use furrow_sim::InProcess;
use furrow_wire::{Event, EventKind, Quality};
use serde_json::Value;

use crate::field::Devices;

/// The soil probe's channel.
const SOIL: &str = "soil_moisture_index";

/// See the module.
pub(crate) struct Gateway {
    settings: Arc<Settings>,
    machine: InProcess,
    devices: Devices,
    sampling: Sampling,
    watering: Watering,
    soil: usize,
}

/// What was told, and what went over the bus. It outlives gateways, as a journal does.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The irrigation's state that was made durable last.
    state: Option<Value>,
    pub(crate) events: Vec<Event>,
    /// Outputs that got a first lease: when, and which by its place.
    pub(crate) opened: Vec<(u64, usize)>,
    /// When the soil probe's readings became bad.
    pub(crate) soil_bad: Vec<u64>,
    /// When something began to forbid that runs begin.
    pub(crate) forbidden: Vec<u64>,
    leased: u8,
    was_bad: bool,
    was_forbidden: bool,
}

impl Gateway {
    /// Starts as after power came: with what was made durable, and every output closed first.
    pub(crate) fn start(
        config: &Path,
        machine: &InProcess,
        told: &mut Told,
    ) -> anyhow::Result<Self> {
        let settings = Arc::new(Settings::load(config).context("the season's configuration")?);
        let now = moment(machine);
        let scales = Scales::new(&settings, &Calibrations::default());
        let at = FieldMs(now.mono_ms());
        let offset_ms = machine.wall_offset_ms();
        let mut sampling = Sampling::new(&settings, Some(scales), at, offset_ms, None, 0);
        for device in 0..settings.devices().len() {
            sampling.handle_prepared(device, at);
        }
        let mut channels = settings.channels();
        let soil = channels.position(|(_, _, channel)| channel.name.as_str() == SOIL);
        drop(channels);
        told.leased = 0;
        Ok(Self {
            devices: Devices::new(&settings, machine)?,
            watering: Watering::new(&settings, told.state.clone(), now),
            machine: machine.clone(),
            sampling,
            soil: soil.context("there is no soil probe")?,
            settings,
        })
    }

    /// Does what is due. Drivers let a few milliseconds pass.
    pub(crate) fn turn(&mut self, told: &mut Told) {
        let now = FieldMs(moment(&self.machine).mono_ms());
        while let Some(tick) = self.sampling.poll_tick(now) {
            let readings = self.devices.read(tick.device);
            let change = self
                .sampling
                .handle_readings(tick.device, tick.at, &readings);
            told.events.extend(change.map(|what| Event {
                at_mono_ms: tick.at.0,
                zone: None,
                planting: None,
                what,
            }));
        }
        let offset_ms = self.machine.wall_offset_ms();
        while self.sampling.poll_cut(now, offset_ms).is_some() {}
        self.watering
            .handle_readings(self.sampling.latest(), moment(&self.machine));
        self.execute(told);
        if self.watering.poll_timeout() <= moment(&self.machine).mono_ms() {
            self.watering.handle_timeout(moment(&self.machine));
            self.execute(told);
        }
        self.look(told);
    }

    /// When there is something to do, monotonic ms.
    pub(crate) fn next_ms(&self) -> u64 {
        self.sampling
            .poll_timeout()
            .0
            .min(self.watering.poll_timeout())
    }

    /// A person has looked at what was told.
    pub(crate) fn reset(&mut self, told: &mut Told) {
        self.watering
            .handle_reset(Origin::Page, moment(&self.machine));
        self.execute(told);
    }

    fn execute(&mut self, told: &mut Told) {
        while let Some(effect) = self.watering.poll_effect(moment(&self.machine)) {
            match effect {
                Effect::Persist(state) => {
                    told.state = Some(state);
                    self.watering.handle_persisted();
                }
                Effect::Job(job) => {
                    told.lease(job, moment(&self.machine).mono_ms());
                    if let Some(outcome) = self.devices.execute(job, &self.settings) {
                        let now = moment(&self.machine);
                        self.watering.handle_outcome(job, &outcome, now);
                    }
                }
                Effect::Event(event) | Effect::Refused(_, _, event) => told.events.push(event),
            }
        }
    }

    fn look(&self, told: &mut Told) {
        let now = moment(&self.machine);
        let soil = self.sampling.latest().of(self.soil);
        let is_bad = soil.is_some_and(|now| now.sample.quality != Quality::Good);
        if is_bad && !told.was_bad {
            told.soil_bad.push(now.mono_ms());
        }
        let is_forbidden = self.watering.site_view(now).forbids.is_some();
        if is_forbidden && !told.was_forbidden {
            told.forbidden.push(now.mono_ms());
        }
        (told.was_bad, told.was_forbidden) = (is_bad, is_forbidden);
    }
}

impl Told {
    /// Notes which outputs are opened.
    fn lease(&mut self, job: Job, at_ms: u64) {
        let Job::Lease { output, seconds } = job else {
            return;
        };
        let bit = 1 << output;
        if seconds == 0 {
            self.leased &= !bit;
        } else if self.leased & bit == 0 {
            self.leased |= bit;
            self.opened.push((at_ms, output));
        }
    }

    /// How many runs began.
    pub(crate) fn runs(&self) -> usize {
        let begun = |event: &&Event| matches!(event.what, EventKind::RunStarted { .. });
        self.events.iter().filter(begun).count()
    }
}

fn moment(machine: &InProcess) -> FieldTime {
    let mono_ns = machine.now_ns();
    let mono_ms = i64::try_from(mono_ns / 1_000_000).unwrap_or(i64::MAX);
    FieldTime {
        boot: machine.boot(),
        mono_ns,
        wall_unix_ms: machine
            .wall_offset_ms()
            .map(|offset| offset.saturating_add(mono_ms)),
    }
}
