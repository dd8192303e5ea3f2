//! All parts together: each input is handed to the part that it concerns, and what follows from it
//! to the next. Reads no clock: the event loop hands in the time.

use std::collections::VecDeque;
use std::sync::Arc;

use furrow_gateway_core::FieldMs;
use furrow_gateway_core::clock::Clock;
use furrow_gateway_core::commands::Commands;
use furrow_gateway_core::evict;
use furrow_gateway_core::recovery::HeldBoot;
use furrow_gateway_core::space::Space;
use furrow_wire::{Ack, CatalogHash, Event, EventKind, TopicKind};

use super::alarming::Alarming;
use super::asked::Wish;
use super::buttons::Buttons;
use super::calibrating::catalog_json;
use super::delivery::{Delivery, Offers, Unreadable};
use super::dispatch::Dispatch;
use super::journal_thread::{Answer as JournalAnswer, JournalThread};
use super::measuring::Measuring;
use super::ordered::Ordered;
use super::records::{Done as Written, Records};
use super::report;
use super::sampling::Sampling;
use super::store::Fill;
use super::surveying::Surveying;
use super::water_watch::WaterWatch;
use super::watering::Watering;
use crate::bus::FieldClock;
use crate::calibrations::Calibrations;
use crate::config::Settings;
use crate::devices::Devices;
use crate::link::{Change, LinkEvent};

/// See the module.
#[derive(Debug)]
pub struct Gateway {
    pub(super) settings: Arc<Settings>,
    pub(super) clock: Clock,
    pub(super) sampling: Sampling,
    pub(super) watering: Watering,
    pub(super) records: Records,
    pub(super) delivery: Delivery,
    pub(super) fill: Fill,
    offers: Offers,
    pub(super) dispatch: Dispatch,
    pub(super) devices: Devices,
    pub(super) journal: JournalThread,
    pub(super) field: FieldClock,
    pub(super) catalog: CatalogHash,
    pub(super) catalog_json: bytes::Bytes,
    pub(super) catalog_told: bool,
    /// `None` when the file could not be read.
    pub(super) calibrations: Option<Calibrations>,
    pub(super) measuring: Measuring,
    pub(super) surveying: Surveying,
    pub(super) born_at: Option<furrow_gateway_core::LinkMs>,
    pub(super) told_waiting: u64,
    pub(super) watch: WaterWatch,
    pub(super) early: Vec<Wish>,
    pub(super) held_boots: Vec<HeldBoot>,
    pub(super) space: Space,
    pub(super) segment_bytes: u32,
    pub(super) cap_bytes: u64,
    /// What was asked for while the process is stopping.
    pub(super) stopping: bool,
    pub(super) buttons: Buttons,
    pub(super) commands: Commands,
    pub(super) ordered: Ordered,
    pub(super) alarming: Alarming,
    /// The latest of watering, oldest first.
    pub(super) recent: VecDeque<Event>,
}

/// What [`Gateway::new`] puts together.
#[derive(Debug)]
pub struct Parts {
    /// What is configured.
    pub settings: Arc<Settings>,
    /// What was calibrated; `None` when that can't be read.
    pub calibrations: Option<Calibrations>,
    /// The field clock's adopted wall time.
    pub clock: Clock,
    /// When devices are read.
    pub sampling: Sampling,
    /// When zones are watered.
    pub watering: Watering,
    /// What ingest wants it to be watered by.
    pub ordered: Ordered,
    /// What is alarmed of.
    pub alarming: Alarming,
    /// What is on its way into the journal.
    pub records: Records,
    /// What is on its way to ingest.
    pub delivery: Delivery,
    /// The buses.
    pub devices: Devices,
    /// The journal.
    pub journal: JournalThread,
    /// The field clock.
    pub field: FieldClock,
    /// Earlier boots whose records wait for a mapping, in their order.
    pub held_boots: Vec<HeldBoot>,
    /// Bytes of one segment of the journal.
    pub segment_bytes: u32,
    /// How full the journal is.
    pub fill: Fill,
}

impl Gateway {
    /// Puts the parts together and journals the start.
    #[must_use]
    pub fn new(mut parts: Parts, clean_stop_before: bool) -> Self {
        let catalog = report::catalog(&parts.settings, parts.calibrations.as_ref());
        let hash = parts.records.catalog(&catalog);
        let cap_bytes = parts.settings.journal().cap_bytes;
        let commands = Commands::new(parts.clock.boot(), parts.field.now().mono_ms());
        let mut gateway = Gateway {
            catalog: hash,
            catalog_json: catalog_json(&catalog, hash),
            catalog_told: false,
            calibrations: parts.calibrations,
            measuring: Measuring::default(),
            surveying: Surveying::default(),
            dispatch: Dispatch::new(&parts.settings),
            buttons: Buttons::new(parts.settings.buttons().to_vec()),
            alarming: parts.alarming,
            settings: parts.settings,
            clock: parts.clock,
            sampling: parts.sampling,
            watering: parts.watering,
            commands,
            ordered: parts.ordered,
            records: parts.records,
            delivery: parts.delivery,
            fill: parts.fill,
            offers: Offers::default(),
            devices: parts.devices,
            journal: parts.journal,
            field: parts.field,
            born_at: None,
            told_waiting: 0,
            watch: WaterWatch::default(),
            recent: VecDeque::new(),
            early: Vec::new(),
            held_boots: parts.held_boots,
            space: Space::default(),
            segment_bytes: parts.segment_bytes,
            cap_bytes,
            stopping: false,
        };
        let now = gateway.field.now();
        gateway.estimate_earlier_boots();
        let software = env!("CARGO_PKG_VERSION").to_owned();
        let what = EventKind::GatewayStarted {
            software,
            clean_stop_before,
        };
        gateway.journal_event(Event {
            at_mono_ms: now.mono_ms(),
            zone: None,
            planting: None,
            what,
        });
        gateway.prepare_devices();
        gateway
    }

    /// The journal thread answered.
    pub fn handle_journal(&mut self, answer: JournalAnswer) {
        match answer {
            JournalAnswer::Wrote(outcome, fill) => {
                let done = self.records.handle_outcome(outcome);
                for written in done {
                    self.handle_written(&written);
                }
                self.delivery.outbox.handle_segments(&fill.segments);
                self.fill = fill;
                if self.records.lacks_catalog(&self.fill.segments) {
                    let calibrations = self.calibrations.as_ref();
                    self.records
                        .catalog(&report::catalog(&self.settings, calibrations));
                }
                self.make_space_if_due();
            }
            JournalAnswer::Trouble(trouble) => self.make_space(trouble),
            JournalAnswer::Packed(packed) => {
                let unreadable = self.delivery.handle_packed(packed, &mut self.offers);
                if let Some(Unreadable { stream, from, to }) = unreadable {
                    tracing::error!(%stream, %from, %to, "records can't be read back and are lost");
                    let text = "found damaged when it was to be sent".to_owned();
                    self.records.loss(&evict::damaged(stream, from, to, text));
                }
            }
            JournalAnswer::Scanned(segment, found) => self.handle_scanned(segment, &found),
        }
        self.send_space();
    }

    /// Something happened on the link.
    pub fn handle_link(&mut self, event: LinkEvent) {
        match self.delivery.handle_link(event) {
            Some(Change::Up) => {
                self.say_birth();
                if !self.catalog_told {
                    self.tell_catalog();
                }
                self.delivery.handle_born(self.field_ms());
            }
            Some(Change::Message(TopicKind::Ack, payload)) => match Ack::decode(&payload) {
                Ok(ack) => self.handle_ack(&ack),
                Err(error) => self.delivery.handle_malformed(TopicKind::Ack, &error),
            },
            Some(Change::Message(TopicKind::Command, payload)) => self.handle_command(&payload),
            Some(Change::Message(TopicKind::Config, payload)) => self.handle_orders(&payload),
            Some(
                Change::Message(
                    TopicKind::Batch
                    | TopicKind::State
                    | TopicKind::Catalog
                    | TopicKind::Result
                    | TopicKind::Json,
                    _,
                )
                | Change::Down
                | Change::Puback(_),
            )
            | None => {}
        }
    }

    /// Does what is due now: 1. water, 2. alarms, 3. readings, 4. batches, 5. the journal, 6. the link.
    pub fn turn(&mut self) {
        let now = self.field.now();
        let at = FieldMs(now.mono_ms());
        if now.mono_ms() >= self.watering.poll_timeout() {
            self.watering.handle_timeout(now);
        }
        self.retry_early();
        self.execute_watering();
        if !self.stopping {
            self.execute_orders();
            self.watch_alarms(now);
        }
        while let Some(job) = self.dispatch.poll_later(at.0) {
            self.submit(job);
        }
        if !self.stopping {
            self.begin_readings(at);
            self.cut_batches(now);
            self.renew_catalog_if_due();
            while let Some(what) = self.sampling.poll_told() {
                tracing::warn!(?what, "a device changed");
                let event = Event {
                    at_mono_ms: at.0,
                    zone: None,
                    planting: None,
                    what,
                };
                self.journal_event(event);
            }
        }
        self.send_space();
        self.records.send(&self.journal);
        self.say_birth_if_due();
        self.delivery.poll(at, &self.journal, &mut self.offers);
    }

    /// When the field clock should wake the loop, in milliseconds.
    #[must_use]
    pub fn poll_field_timeout(&self) -> u64 {
        let water = self.watering.poll_timeout();
        let sampling = if self.stopping {
            u64::MAX
        } else {
            let measuring = self.measuring.poll_timeout();
            let alarms = self.alarming.poll_timeout().unwrap_or(u64::MAX);
            self.sampling.poll_timeout().0.min(measuring).min(alarms)
        };
        let send = self.delivery.outbox.poll_field_timeout(self.field_ms());
        let later = self.dispatch.poll_timeout();
        let orders = self.poll_orders_timeout().filter(|_| !self.stopping);
        [
            Some(water),
            Some(sampling),
            later,
            send.map(|at| at.0),
            orders,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(u64::MAX)
    }

    /// When the link clock should wake the loop.
    #[must_use]
    pub fn poll_link_timeout(&self) -> Option<tokio::time::Instant> {
        let at = self.delivery.outbox.poll_timeout(self.delivery.now())?;
        Some(self.delivery.instant(at))
    }

    /// The next answer of the journal thread, or else the next event of the link. Cancel-safe.
    ///
    /// # Errors
    /// Not an error: the link's event.
    pub async fn next_of_threads(&mut self) -> Result<Option<JournalAnswer>, Option<LinkEvent>> {
        tokio::select! {
            biased;
            answer = self.journal.answers.recv() => Ok(answer),
            event = self.delivery.link.events.recv() => Err(event),
        }
    }

    /// An answer of the journal thread that is already there.
    pub fn try_journal(&mut self) -> Option<JournalAnswer> {
        self.journal.answers.try_recv().ok()
    }

    /// An event of the link that is already there.
    pub fn try_link(&mut self) -> Option<LinkEvent> {
        self.delivery.link.events.try_recv().ok()
    }

    /// Nothing new begins: valves are closed.
    pub fn handle_shutdown(&mut self) {
        self.stopping = true;
        self.watering.handle_shutdown(self.field.now());
    }

    /// What is sampled goes into a last batch, and nothing waits for company any more.
    pub fn handle_last_batch(&mut self) {
        self.stopping = true;
        if let Some(cut) = self
            .sampling
            .cut_rest(self.field_ms(), self.clock.offset_ms())
        {
            self.records.batch(cut, self.catalog, &mut self.clock);
        }
        self.delivery.outbox.handle_flush();
    }

    /// The last entry: the process ends as it should.
    pub fn handle_goodbye(&mut self) {
        self.records.set_marks(&self.delivery.outbox.streams());
        self.records.goodbye();
    }

    /// Ends the threads; says goodbye to the broker.
    pub async fn stop(mut self) {
        let offline = furrow_wire::GatewayState::offline().to_json().into();
        if self.delivery.link.is_up()
            && let Err(error) = self
                .delivery
                .link
                .publish_retained(TopicKind::State, offline)
        {
            tracing::debug!(%error, "the broker was not told that the gateway stops");
        }
        let field = self.field.clone();
        self.alarming.stop(|| field.busy());
        self.delivery.link.stop().await;
        self.journal.stop();
        self.devices.stop();
    }

    pub(super) fn field_ms(&self) -> FieldMs {
        FieldMs(self.field.now().mono_ms())
    }

    fn handle_ack(&mut self, ack: &Ack) {
        let now = self.delivery.now();
        self.delivery.outbox.handle_ack(ack, now);
        self.handle_heard();
        let at = self.field_ms();
        self.clock.handle_ingest_time(at, ack.ingest_unix_ms);
    }

    fn handle_written(&mut self, written: &Written) {
        let field = self.field_ms();
        let now = self.delivery.now();
        let outbox = &mut self.delivery.outbox;
        match written {
            Written::Record(entry, urgency) => {
                outbox.handle_journalled(*entry, *urgency, field, now);
            }
            Written::Copied(entry) => outbox.handle_recovered(*entry),
            Written::Mapped(boot) => outbox.handle_mapped(*boot),
            Written::Persisted(_) => self.watering.handle_persisted(),
            Written::Evicted(segment) => self.space.handle_evicted(*segment, outbox),
        }
    }

    pub(super) fn journal_event(&mut self, event: Event) {
        self.records.events(vec![event], &mut self.clock);
    }
}
