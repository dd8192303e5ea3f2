//! A gateway's connection to a running ingest.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    reason = "test helpers; foreign enums"
)]

use std::path::Path;
use std::time::Duration;

use furrow_ingest::archive::ArchiveReader;
use furrow_ingest::run::ARCHIVE_FOLDER;
use furrow_wire::{Ack, StreamMarks};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;

use super::{START_MS, Source, key};

/// Bounds every wait: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway's connection: publishes what it is told, collects acknowledgements.
pub struct Gateway {
    client: AsyncClient,
    acks: mpsc::Receiver<Ack>,
    task: tokio::task::JoinHandle<()>,
}

impl Gateway {
    pub fn connect(port: u16) -> Self {
        let mut options = MqttOptions::new("hoa-binh/gw-01", "127.0.0.1", port);
        options
            .set_credentials("hoa-binh/gw-01", "secret")
            .set_keep_alive(PATIENCE);
        options.set_max_packet_size(Some(1 << 20));
        let (client, mut events) = AsyncClient::new(options, 1_000);
        let (sender, acks) = mpsc::channel(1_000);
        let subscriber = client.clone();
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        subscriber
                            .try_subscribe("furrow/1/hoa-binh/gw-01/ack", QoS::AtLeastOnce)
                            .unwrap();
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let ack = Ack::decode(&publish.payload).unwrap();
                        if sender.send(ack).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Self { client, acks, task }
    }

    pub async fn publish(&self, kind: &str, retain: bool, payload: impl Into<bytes::Bytes>) {
        let topic = format!("furrow/1/hoa-binh/gw-01/{kind}");
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, payload)
            .await
            .unwrap();
    }

    /// Waits until ingest says that it holds everything up to `mark`, at least. Like a real gateway
    /// it offers again what stays without an answer.
    pub async fn wait_for_mark(&mut self, source: &Source, mark: u64) {
        let is_there = |marks: &StreamMarks| marks.stream == source.stream && marks.mark >= mark;
        let wait = async {
            loop {
                match tokio::time::timeout(Duration::from_secs(2), self.acks.recv()).await {
                    Ok(ack) => {
                        let ack = ack.unwrap();
                        assert!(ack.ingest_unix_ms > START_MS);
                        if ack.streams.iter().any(is_there) {
                            return;
                        }
                    }
                    Err(_) => {
                        self.publish("batch", false, source.packet([mark.max(1)]))
                            .await
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the archive holds once ingest has stopped.
pub fn stored_in(dir: &Path) -> (u64, u64) {
    let id = key("gw-01").cooperative;
    let folder = dir.join("data").join(ARCHIVE_FOLDER);
    let reader = ArchiveReader::open_dir(&folder, std::slice::from_ref(&id));
    let scans = reader.scan(&id).unwrap();
    scans.values().fold((0, 0), |(readings, twice), scan| {
        (readings + scan.readings, twice + scan.twice)
    })
}
