//! The gateway's sampling against a simulator in lock-step: drivers, bus workers, schedule, quality checks
//! and derived channels, without journal and link.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use furrow_gateway::bus::{Busy, Field, FieldClock};
use furrow_gateway::calibrations::{Calibrations, Scales};
use furrow_gateway::config::Settings;
use furrow_gateway::devices::{Devices, Done, Job, Outcome, Results};
use furrow_gateway::run::dispatch::{Dispatch, Turn};
use furrow_gateway::run::sampling::Sampling;
use furrow_gateway_core::FieldMs;
use furrow_wire::Sample;

/// Monday, 20 April 2026, midnight in Vietnam.
pub(crate) const START_UNIX_MS: i64 = 1_776_618_000_000;

/// Samples by channel and tick.
pub(crate) type Book = BTreeMap<String, BTreeMap<u64, Sample>>;

/// The gateway's event loop without journal and link.
pub(crate) struct Loop {
    channels: Vec<String>,
    clock: FieldClock,
    dispatch: Dispatch,
    pub(crate) sampling: Sampling,
    pub(crate) devices: Devices,
    results: Results,
    /// Jobs in the workers' hands.
    out: usize,
    token: Option<Busy>,
    /// The longest time from a tick to its answer.
    pub(crate) lag_ms: u64,
}

impl Loop {
    pub(crate) fn new(config: &Path) -> Self {
        let settings = Arc::new(Settings::load(config).unwrap());
        let field = Field::open(&settings, "week").unwrap();
        let clock = field.clock().clone();
        let token = Some(clock.busy());
        let (devices, results) = Devices::start(&settings, &field).unwrap();
        let measured = settings
            .channels()
            .map(|(_, device, channel)| format!("{}/{}", device.id, channel.name));
        let derived = settings.derived().iter().flat_map(|one| {
            let id = one.id.clone();
            one.channels.iter().map(move |c| format!("{id}/{}", c.name))
        });
        let scales = Scales::new(&settings, &Calibrations::default());
        let mut this = Self {
            channels: measured.chain(derived).collect(),
            dispatch: Dispatch::new(&settings),
            sampling: Sampling::new(
                &settings,
                Some(scales),
                FieldMs(0),
                Some(START_UNIX_MS),
                None,
                0,
            ),
            clock,
            devices,
            results,
            out: 0,
            token,
            lag_ms: 0,
        };
        for device in 0..settings.devices().len() {
            let turn = this.dispatch.push(Job::Prepare { device }, 0);
            this.take(turn);
        }
        this
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now().mono_ms()
    }

    /// What is due, then one wait.
    pub(crate) fn turn(&mut self, book: &mut Book) {
        let now = FieldMs(self.now());
        while let Some(job) = self.dispatch.poll_later(now.0) {
            let turn = self.dispatch.push(job, now.0);
            self.take(turn);
        }
        while let Some(tick) = self.sampling.poll_tick(now) {
            let job = Job::Read {
                device: tick.device,
                tick_ms: tick.at.0,
            };
            let turn = self.dispatch.push(job, now.0);
            self.take(turn);
        }
        while let Some(cut) = self.sampling.poll_cut(now, Some(START_UNIX_MS)) {
            for axis in cut.axes {
                for column in axis.columns {
                    let channel = &self.channels[usize::from(column.channel)];
                    let samples = axis.times.iter().copied().zip(column.samples);
                    let of_channel = book.entry(channel.clone()).or_default();
                    for (at, sample) in samples {
                        let before = of_channel.insert(at, sample);
                        assert_eq!(before, None, "{channel} twice at {at}");
                    }
                }
            }
        }
        self.wait();
    }

    fn wait(&mut self) {
        if self.out > 0 {
            drop(self.token.take());
            let done = self.results.blocking_recv().unwrap();
            self.out -= 1;
            self.done(done);
            return;
        }
        let later = self.dispatch.poll_timeout().unwrap_or(u64::MAX);
        let until = self.sampling.poll_timeout().0.min(later);
        let token = self.token.take().unwrap_or_else(|| self.clock.busy());
        self.token = Some(self.clock.wait_until(until * 1_000_000, token));
    }

    fn done(&mut self, done: Done) {
        let now = self.now();
        let turn = self.dispatch.done(done.job, now);
        match (done.job, done.outcome) {
            (Job::Prepare { device }, Outcome::Prepared(ready)) => {
                let ready = ready.unwrap().unwrap_or(now).max(now);
                self.sampling.handle_prepared(device, FieldMs(ready));
            }
            (Job::Read { .. }, Outcome::Later { until_ms }) => {
                self.dispatch.later(done.job, until_ms);
            }
            (Job::Read { device, tick_ms }, Outcome::Readings(readings)) => {
                let at = FieldMs(tick_ms);
                self.lag_ms = self.lag_ms.max(now.saturating_sub(tick_ms));
                drop(self.sampling.handle_readings(device, at, &readings));
            }
            (job, outcome) => panic!("{job:?} gave {outcome:?}"),
        }
        self.take(turn);
        self.token = Some(done.busy);
    }

    fn take(&mut self, turn: Option<Turn>) {
        match turn {
            Some(Turn::Submit(job)) => {
                let refused = self.devices.submit(job, self.clock.busy());
                assert!(refused.is_none(), "{job:?} was refused");
                self.out += 1;
            }
            Some(Turn::TooLate(job)) => panic!("{job:?} waters nothing here"),
            None => {}
        }
    }
}
