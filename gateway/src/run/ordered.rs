//! Orders from ingest: looked at, put on trial when no water flows, kept or given up.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::Arc;

use furrow_gateway_core::orders::{Effect, Standing, Told};
use furrow_wire::{Event, EventKind, Orders, TopicKind};

use super::gateway::Gateway;
use crate::config::{LocalFile, Settings};
use crate::orders::{self, Writer};

/// See the module.
#[derive(Debug)]
pub struct Ordered {
    /// What the local file said when the process began.
    local: LocalFile,
    /// The settings by the local file alone.
    own: Settings,
    standing: Standing,
    writer: Writer,
    /// What fits, and waits until no water flows.
    waiting: Option<(Orders, Box<Settings>)>,
    /// What was given up: what was before waits until no water flows.
    restores: bool,
    told: VecDeque<Told>,
}

impl Ordered {
    /// Reads the orders' file. Also gives the settings that hold. A file that can't be read is none:
    /// watering goes on by the local file.
    ///
    /// # Errors
    /// The thread that writes them can't be started.
    pub fn load(local: LocalFile, own: Settings, now_ms: u64) -> io::Result<(Self, Settings)> {
        let state_dir = &own.gateway().state_dir;
        let book = orders::load(state_dir).unwrap_or_else(|error| {
            let path = orders::path(state_dir);
            let error: &(dyn Error + 'static) = &error;
            tracing::error!(
                path = %path.display(),
                error,
                "the orders can't be read: the local file alone holds"
            );
            furrow_gateway_core::orders::Book::default()
        });
        let mut standing = Standing::new(book, now_ms);
        let settings = orders::in_force(&local, own.clone(), &mut standing);
        let ordered = Self {
            writer: Writer::start(own.gateway().state_dir.clone())?,
            local,
            own,
            standing,
            waiting: None,
            restores: false,
            told: VecDeque::new(),
        };
        Ok((ordered, settings))
    }

    /// Newest version that was decided about; 0: none.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.standing.seen()
    }

    /// For people: what is in force, on trial for how long, and what waits.
    #[must_use]
    pub fn report(&self, now_ms: u64) -> serde_json::Value {
        let in_force = self.standing.in_force();
        serde_json::json!({
            "version": in_force.map(|orders| orders.version),
            "by": in_force.map(|orders| orders.issued_by.as_str()),
            "trial_left_ms": self.standing.trial_left_ms(now_ms),
            "waiting_version": self.waiting.as_ref().map(|(orders, _)| orders.version),
        })
    }

    fn take(&mut self, orders: Orders) {
        let waiting = self
            .waiting
            .as_ref()
            .map_or(0, |(orders, _)| orders.version);
        if orders.version <= self.standing.seen().max(waiting) {
            return;
        }
        let version = orders.version;
        match self.local.with_orders(&orders.text) {
            Ok(other) => {
                tracing::info!(
                    version,
                    by = orders.issued_by,
                    "orders wait until no water flows"
                );
                let settings = Box::new(self.own.with_watering_of(other));
                self.waiting = Some((orders, settings));
            }
            Err(error) => {
                self.waiting = None;
                self.standing.refuse(&orders, &error.to_string());
            }
        }
    }

    /// Executes what was decided; what is to be journalled is in `told`.
    fn execute(&mut self) {
        while let Some(effect) = self.standing.poll_effect() {
            match effect {
                Effect::Store(book) => self.writer.save(book),
                Effect::Change => self.restores = true,
                Effect::Tell(told) => self.told.push_back(told),
            }
        }
    }

    /// What is in force, of the local file and orders that fitted it before.
    fn settings(&self) -> Settings {
        let orders = self.standing.in_force();
        let fits = orders.and_then(|orders| self.local.with_orders(&orders.text).ok());
        match fits {
            Some(other) => self.own.with_watering_of(other),
            None => self.own.clone(),
        }
    }
}

impl Gateway {
    pub(super) fn handle_orders(&mut self, payload: &[u8]) {
        // A retained message that was taken back.
        if payload.is_empty() {
            return;
        }
        match Orders::decode(payload) {
            Ok(orders) => self.ordered.take(orders),
            Err(error) => {
                let error: &(dyn Error + 'static) = &error;
                self.delivery.handle_malformed(TopicKind::Config, error);
            }
        }
    }

    /// Ingest has said what it stored.
    pub(super) fn handle_heard(&mut self) {
        self.ordered.standing.handle_heard();
    }

    /// A fault has shut off water.
    pub(super) fn handle_locked(&mut self, text: &str) {
        self.ordered.standing.handle_locked(text);
    }

    /// When a trial is over.
    pub(super) fn poll_orders_timeout(&self) -> Option<u64> {
        self.ordered.standing.poll_timeout()
    }

    /// Does what is due, as far as no water flows.
    pub(super) fn execute_orders(&mut self) {
        let now = self.field.now();
        let now_ms = now.mono_ms();
        self.ordered.standing.handle_timeout(now_ms);
        self.ordered.execute();
        if self.ordered.restores && self.watering.is_idle() {
            self.ordered.restores = false;
            self.water_by(self.ordered.settings());
        }
        if self.watering.is_idle()
            && let Some((orders, settings)) = self.ordered.waiting.take()
        {
            // Whatever was to be restored is replaced, too.
            self.ordered.restores = false;
            self.ordered.standing.begin_trial(orders, now_ms);
            self.water_by(*settings);
            self.ordered.execute();
        }
        while let Some(told) = self.ordered.told.pop_front() {
            tracing::info!(?told, "orders");
            self.journal_event(Event {
                at_mono_ms: now_ms,
                zone: None,
                planting: None,
                what: EventKind::Ordered {
                    version: told.version,
                    outcome: told.outcome,
                    by: told.by,
                    text: told.text,
                },
            });
        }
    }

    fn water_by(&mut self, settings: Settings) {
        let settings = Arc::new(settings);
        if self.watering.replan(&settings, self.field.now()) {
            self.settings = settings;
        } else {
            tracing::error!("other zones than before: watering goes on as it was");
        }
    }
}
