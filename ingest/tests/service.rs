//! The whole process in one: a gateway's client publishes, is acknowledged, and the archive has it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test helpers; foreign enums"
)]

mod kit;

use std::path::Path;
use std::time::Duration;

use furrow_ingest::archive::ArchiveReader;
use furrow_ingest::config::{self, Settings};
use furrow_ingest::run::{ARCHIVE_FOLDER, Service};
use furrow_wire::{Ack, StreamId, StreamMarks};
use kit::{READINGS, Source, key};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;

/// Bounds every wait: long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(dir: &Path, broker_port: u16) -> Settings {
    let text = format!(
        r#"
        data_dir = "{}"
        [broker]
        listen = "127.0.0.1:{broker_port}"
        [http]
        listen = "127.0.0.1:0"
        [[cooperative]]
        id = "hoa-binh"
        name = "HTX Hòa Bình"
        [[cooperative.gateway]]
        id = "gw-01"
        greenhouse = "nha-luoi-1"
        password = "secret"
        "#,
        dir.join("data").display()
    );
    let path = dir.join("ingest.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path).unwrap()
}

/// A gateway's connection: publishes what it is told, collects acknowledgements.
struct Gateway {
    client: AsyncClient,
    acks: mpsc::Receiver<Ack>,
    task: tokio::task::JoinHandle<()>,
}

impl Gateway {
    fn connect(port: u16) -> Self {
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

    async fn publish(&self, kind: &str, retain: bool, payload: impl Into<bytes::Bytes>) {
        let topic = format!("furrow/1/hoa-binh/gw-01/{kind}");
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, payload)
            .await
            .unwrap();
    }

    /// Waits until ingest says that it holds everything up to `mark`.
    async fn wait_for_mark(&mut self, stream: u64, mark: u64) {
        let expected = StreamMarks {
            stream: StreamId(stream),
            mark,
            ranges: vec![],
        };
        let wait = async {
            loop {
                let ack = self.acks.recv().await.unwrap();
                assert!(ack.ingest_unix_ms > kit::START_MS);
                if ack.streams.contains(&expected) {
                    return;
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
fn stored(dir: &Path) -> (u64, u64) {
    let id = key("gw-01").cooperative;
    let folder = dir.join("data").join(ARCHIVE_FOLDER);
    let reader = ArchiveReader::open_dir(&folder, std::slice::from_ref(&id));
    let scans = reader.scan(&id).unwrap();
    scans.values().fold((0, 0), |(readings, twice), scan| {
        (readings + scan.readings, twice + scan.twice)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_publishes_is_acknowledged_and_stored_once_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(settings(dir.path(), 0)).await.unwrap();
    let port = service.ready().mqtt.unwrap().port();
    let source = Source::new(7);
    let mut gateway = Gateway::connect(port);
    gateway.publish("state", true, source.state(1, 200)).await;
    gateway.wait_for_mark(7, 0).await;
    for first in (1..=96).step_by(3) {
        gateway
            .publish("batch", false, source.packet(first..first + 3))
            .await;
    }
    gateway.wait_for_mark(7, 96).await;
    let key = key("gw-01");
    assert!(service.fleet().get(&key.cooperative, &key.gateway).online);
    service.stop().await;
    assert_eq!(stored(dir.path()), (95 * READINGS, 0));

    // Ingest is away; the gateway goes on, and offers what it has offered before.
    let service = Service::start(settings(dir.path(), port)).await.unwrap();
    for first in (40..=150).rev().step_by(2) {
        gateway
            .publish("batch", false, source.packet([first]))
            .await;
        gateway
            .publish("batch", false, source.packet([first - 1, first]))
            .await;
    }
    gateway.wait_for_mark(7, 150).await;
    service.stop().await;
    assert_eq!(stored(dir.path()), (149 * READINGS, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_falls_silent_is_shown_offline() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(settings(dir.path(), 0)).await.unwrap();
    let port = service.ready().mqtt.unwrap().port();
    let source = Source::new(7);
    let mut gateway = Gateway::connect(port);
    gateway.publish("state", true, source.state(1, 1)).await;
    gateway.publish("batch", false, source.packet([1])).await;
    gateway.wait_for_mark(7, 1).await;
    gateway.publish("state", true, "{\"online\":false}").await;
    let key = key("gw-01");
    let wait = async {
        while service.fleet().get(&key.cooperative, &key.gateway).online {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    service.stop().await;
}
