//! The way back: confirmations to the broker and acknowledgements to gateways, never waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use furrow_ingest_core::GatewayKey;
use furrow_wire::{Ack, Topic, TopicKind};
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

use crate::log::writer::Link;

/// How long the broker keeps an acknowledgement for an absent gateway, in seconds. On connect the
/// gateway gets a new one in any case.
const ACK_EXPIRY_S: u32 = 120;

/// What confirms one message.
#[derive(Debug)]
pub struct Receipt {
    pub(super) publish: Publish,
    /// Number of the connection it came by. Packet ids mean nothing on another one.
    pub(super) connection: u64,
}

/// The handle of the log's writer.
#[derive(Debug)]
pub struct MqttLink {
    client: AsyncClient,
    connection: Arc<AtomicU64>,
}

impl MqttLink {
    pub(super) fn new(client: AsyncClient, connection: Arc<AtomicU64>) -> Self {
        Self { client, connection }
    }
}

impl Link for MqttLink {
    type Receipt = Receipt;

    fn confirm(&mut self, receipt: Receipt) -> Result<(), Receipt> {
        if receipt.connection != self.connection.load(Ordering::Acquire) {
            // The broker sends it again, by another packet id: known then, and confirmed again.
            return Ok(());
        }
        self.client.try_ack(&receipt.publish).map_err(|_| receipt)
    }

    fn acknowledge(&mut self, gateway: &GatewayKey, ack: &Ack) -> bool {
        let topic = Topic {
            cooperative: gateway.cooperative.clone(),
            gateway: gateway.gateway.clone(),
            kind: TopicKind::Ack,
        };
        let properties = PublishProperties {
            message_expiry_interval: Some(ACK_EXPIRY_S),
            ..PublishProperties::default()
        };
        let topic = topic.to_string();
        self.client
            .try_publish_with_properties(topic, QoS::AtLeastOnce, false, ack.encode(), properties)
            .is_ok()
    }
}
