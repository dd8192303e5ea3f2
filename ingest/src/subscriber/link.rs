//! The way back: confirmations to the broker, acknowledgements and all else to gateways, never waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use furrow_ingest_core::GatewayKey;
use furrow_wire::{Ack, Topic, TopicKind};
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use tokio::sync::oneshot;

use crate::log::writer::Link;
use crate::remote::{Keep, Post};

/// What confirms one message.
#[derive(Debug)]
pub enum Receipt {
    /// To the broker.
    Broker {
        /// The message.
        publish: Box<Publish>,
        /// Number of the connection it came by. Packet ids mean nothing on another one.
        connection: u64,
    },
    /// To somebody in this process who asked for something to be logged.
    Here(oneshot::Sender<()>),
}

/// The handle of the log's writer.
#[derive(Debug)]
pub struct MqttLink {
    client: AsyncClient,
    connection: Arc<AtomicU64>,
}

/// The handle of those who have something for gateways beside acknowledgements.
#[derive(Debug, Clone)]
pub struct MqttPost {
    client: AsyncClient,
}

impl MqttPost {
    pub(super) fn new(client: AsyncClient) -> Self {
        Self { client }
    }
}

impl Post for MqttPost {
    fn publish(&self, topic: &Topic, keep: Keep, body: Bytes) -> bool {
        let (retain, expiry) = match keep {
            Keep::Seconds(seconds) => (false, Some(seconds)),
            Keep::Newest => (true, None),
        };
        let properties = PublishProperties {
            message_expiry_interval: expiry,
            ..PublishProperties::default()
        };
        let (topic, qos) = (topic.to_string(), QoS::AtLeastOnce);
        let client = &self.client;
        client
            .try_publish_with_properties(topic, qos, retain, body, properties)
            .is_ok()
    }
}

impl MqttLink {
    pub(super) fn new(client: AsyncClient, connection: Arc<AtomicU64>) -> Self {
        Self { client, connection }
    }
}

impl Link for MqttLink {
    type Receipt = Receipt;

    fn confirm(&mut self, receipt: Receipt) -> Result<(), Receipt> {
        let (publish, connection) = match receipt {
            Receipt::Broker {
                publish,
                connection,
            } => (publish, connection),
            Receipt::Here(asker) => {
                // An error says that nobody waits for it any more.
                asker.send(()).ok();
                return Ok(());
            }
        };
        if connection != self.connection.load(Ordering::Acquire) {
            // The broker sends it again, by another packet id: known then, and confirmed again.
            return Ok(());
        }
        let sent = self.client.try_ack(&publish);
        sent.map_err(|_| Receipt::Broker {
            publish,
            connection,
        })
    }

    fn acknowledge(&mut self, gateway: &GatewayKey, ack: &Ack) -> bool {
        let topic = Topic {
            cooperative: gateway.cooperative.clone(),
            gateway: gateway.gateway.clone(),
            kind: TopicKind::Ack,
        };
        // No expiry: gateways begin a new session each time, for which nothing is kept.
        self.client
            .try_publish(topic.to_string(), QoS::AtLeastOnce, false, ack.encode())
            .is_ok()
    }
}
