//! One simulated gateway: makes batches in time, journals them, offers them, hears acknowledgements.

use std::time::Duration;

use bytes::Bytes;
use furrow_wire::{
    Ack, Birth, BootId, ClockState, GatewayState, HeldStream, RecordKind, StreamId, TopicKind,
};
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;

use super::FleetError;
use super::names::Name;
use super::outbox::{Offer, Outbox};
use super::pace::{Plan, Rate};
use super::tally::Tally;
use super::template::Template;

/// How often a gateway says again how it is.
const BIRTH_EVERY: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Name,
    batch_topic: String,
    state_topic: String,
    number: u32,
    plan: Plan,
    stream: StreamId,
    template: Template,
    outbox: Outbox,
    /// Batches made.
    made: u64,
    journalled: u64,
    client: Option<AsyncClient>,
    was_connected: bool,
    born: Duration,
    /// When batches began to be made; `None` before and after.
    began: Option<Duration>,
}

impl Member {
    /// Gateway number `number` of the fleet, its catalog journalled.
    pub(crate) fn new(
        number: u32,
        name: Name,
        plan: Plan,
        stream: StreamId,
        device: &str,
        seed: u64,
    ) -> Result<Self, FleetError> {
        let (template, catalog) = Template::new(&plan, &name.greenhouse, stream, device, seed)?;
        let mut outbox = Outbox::new();
        let packet = template.packet(RecordKind::Catalog, outbox.next_seq(), catalog)?;
        outbox.push(packet, 0, Duration::ZERO);
        Ok(Member {
            batch_topic: name.topic(TopicKind::Batch),
            state_topic: name.topic(TopicKind::State),
            name,
            number,
            plan,
            stream,
            template,
            outbox,
            made: 0,
            journalled: 0,
            client: None,
            was_connected: false,
            born: Duration::ZERO,
            began: None,
        })
    }

    /// From now on some records go late.
    pub(crate) fn keep_back(&mut self) {
        self.outbox.keep_back();
    }

    /// Makes batches from now on, by this plan.
    pub(crate) fn begin(&mut self, plan: Plan, now: Duration) {
        self.plan = plan;
        self.template.set_start(plan.start_unix_ms);
        self.began = Some(now);
    }

    /// Subscribed: the birth goes first, then what waits.
    pub(crate) fn handle_connected(
        &mut self,
        client: AsyncClient,
        now: Duration,
        tally: &mut Tally,
    ) {
        tally.connects += 1;
        tally.connected += u64::from(!std::mem::replace(&mut self.was_connected, true));
        self.client = Some(client);
        self.outbox.handle_connected();
        self.say_birth(now);
        self.offer(now, tally);
    }

    /// The connection is gone.
    pub(crate) fn handle_disconnected(&mut self) {
        self.client = None;
        self.outbox.handle_disconnected();
    }

    /// Ingest said what it holds.
    pub(crate) fn handle_ack(
        &mut self,
        ack: &Ack,
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), FleetError> {
        for marks in ack.streams.iter().filter(|m| m.stream == self.stream) {
            self.outbox.handle_ack(marks, now, |readings, latency| {
                // The catalog is not a reading, and waits for the first connection.
                if readings > 0 {
                    tally.acknowledged += u64::from(readings);
                    tally.latency.record(latency);
                }
            });
        }
        self.offer(now, tally);
        self.make_due(now, tally)
    }

    /// When the next batch is due; `None` when there is none any more.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let due = self.plan.due(self.number, self.made)?;
        Some(self.began? + due)
    }

    /// Makes the batches that are due, as far as the journal has room, and offers them.
    pub(crate) fn make_due(&mut self, now: Duration, tally: &mut Tally) -> Result<(), FleetError> {
        while let Some(due) = self.poll_timeout().filter(|due| *due <= now) {
            let (may, due) = match self.plan.rate {
                Rate::PerSecond(_) => (self.outbox.has_room(), due),
                Rate::Max => (self.outbox.has_window(), now),
            };
            if !may {
                break;
            }
            let packet = self.template.batch(self.outbox.next_seq(), self.made)?;
            let readings = self.plan.batch_readings();
            self.outbox.push(packet, readings, due);
            self.made += 1;
            self.journalled += u64::from(readings);
            tally.journalled += u64::from(readings);
            self.offer(now, tally);
        }
        Ok(())
    }

    /// Once a second: what was not acknowledged goes again, an old birth is said again.
    pub(crate) fn handle_second(
        &mut self,
        now: Duration,
        tally: &mut Tally,
    ) -> Result<(), FleetError> {
        while let Some(offer) = self.outbox.poll_again(now) {
            self.publish(offer, tally);
        }
        if self.client.is_some() && now.saturating_sub(self.born) >= BIRTH_EVERY {
            self.say_birth(now);
        }
        self.make_due(now, tally)
    }

    /// Makes no more; what was kept back goes.
    pub(crate) fn stop(&mut self, now: Duration, tally: &mut Tally) {
        self.began = None;
        self.outbox.release();
        self.offer(now, tally);
    }

    /// Whether ingest has acknowledged everything, the catalog too.
    pub(crate) fn is_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    /// A last birth with the final figures, and a goodbye in order.
    pub(crate) fn say_goodbye(&mut self, now: Duration) {
        self.say_birth(now);
        self.say_state(GatewayState::offline().to_json());
        if let Some(client) = self.client.take()
            && client.try_disconnect().is_err()
        {
            tracing::debug!(gateway = %self.name.gateway, "no goodbye: the queue is full");
        }
    }

    fn offer(&mut self, now: Duration, tally: &mut Tally) {
        while let Some(offer) = self.outbox.poll_offer(now) {
            self.publish(offer, tally);
        }
    }

    fn publish(&mut self, offer: Offer, tally: &mut Tally) {
        if offer.is_again {
            tally.again += u64::from(offer.readings);
        } else {
            tally.sent += u64::from(offer.readings);
        }
        let topic = self.batch_topic.clone();
        self.hand_over(topic, offer.packet, false);
    }

    fn say_birth(&mut self, now: Duration) {
        self.born = now;
        let (first, last) = self.outbox.held();
        let birth = Birth {
            boot: BootId(self.stream.0),
            mono_ms: self.made * self.plan.span_ms(),
            software: concat!("furrow-sim ", env!("CARGO_PKG_VERSION")).to_owned(),
            greenhouse: self.name.greenhouse.clone(),
            clock: ClockState::Synchronised,
            orders: 0,
            streams: vec![HeldStream {
                stream: self.stream,
                first,
                last,
            }],
            journalled_readings: self.journalled,
            waiting_readings: self.outbox.waiting_readings(),
            lost_readings: 0,
        };
        let state = GatewayState {
            online: true,
            birth: Some(birth),
        };
        self.say_state(state.to_json());
    }

    fn say_state(&mut self, state: Vec<u8>) {
        self.hand_over(self.state_topic.clone(), state.into(), true);
    }

    /// What the client does not take is as lost as on a bad link: offered again after its pause.
    fn hand_over(&self, topic: String, payload: Bytes, retain: bool) {
        if let Some(client) = &self.client
            && client
                .try_publish(topic, QoS::AtLeastOnce, retain, payload)
                .is_err()
        {
            tracing::debug!(gateway = %self.name.gateway, "the client's queue is full");
        }
    }
}
