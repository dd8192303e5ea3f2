//! Durable ingest end to end: MQTT in, fsynced, acknowledged, archived. Prints one line.
//!
//! `cargo bench -p furrow-ingest --bench delivery -- [SECONDS] [GATEWAYS]`. Gateways, broker and ingest
//! share one process; each packet is a batch of 16 channels × 6 sweeps, each gateway keeps 32 packets
//! unacknowledged, as the real one does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark prints its figure and may panic"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use furrow_ingest::archive::ArchiveReader;
use furrow_ingest::config::{self, Settings};
use furrow_ingest::run::{ARCHIVE_FOLDER, Service};
use furrow_wire::{
    Ack, Axis, Batch, BootId, Catalog, CatalogChannel, CatalogDevice, ClockState, Column,
    Compression, Record, RecordKind, RecordName, Sample, Seq, StreamId, encode_batch,
    encode_packet,
};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::Barrier;

const CHANNELS: u16 = 16;
const SWEEPS: u64 = 6;
const READINGS: u64 = 96;
const WINDOW: u64 = 32;

fn main() {
    let numbers: Vec<u64> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let seconds = numbers.first().copied().unwrap_or(20);
    let gateways = numbers.get(1).copied().unwrap_or(100);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(Duration::from_secs(seconds), gateways));
}

async fn measure(duration: Duration, gateways: u64) {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), gateways);
    furrow_ingest::tools::start_tracing(&settings);
    let service = Service::start(settings).await.unwrap();
    let port = service.ready().mqtt.unwrap().port();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let connected = Arc::new(Barrier::new(usize::try_from(gateways).unwrap() + 1));
    let tasks: Vec<_> = (0..gateways)
        .map(|n| {
            let (connected, acknowledged) = (Arc::clone(&connected), Arc::clone(&acknowledged));
            tokio::spawn(gateway(n, port, duration, connected, acknowledged))
        })
        .collect();
    connected.wait().await;
    let began = Instant::now();
    let mut sent = 0;
    for task in tasks {
        sent += task.await.unwrap();
    }
    let elapsed = began.elapsed();
    service.stop().await;
    let drained = began.elapsed();
    let (stored, twice) = stored(dir.path());
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    let batches = acknowledged - gateways;
    println!(
        "delivery: {:.0} readings/s acknowledged over {:.1} s, {gateways} gateways, {sent} packets; archive behind by {:.1} s at the end; {stored} stored of {}, {twice} twice",
        (batches * READINGS) as f64 / elapsed.as_secs_f64(),
        elapsed.as_secs_f64(),
        (drained - elapsed).as_secs_f64(),
        batches * READINGS,
    );
}

/// Sends until `end`, then waits for the last acknowledgement. Gives how many packets it sent.
async fn gateway(
    n: u64,
    port: u16,
    duration: Duration,
    connected: Arc<Barrier>,
    acknowledged: Arc<AtomicU64>,
) -> u64 {
    let name = format!("hoa-binh/gw-{n}");
    let mut options = MqttOptions::new(&name, "127.0.0.1", port);
    options
        .set_credentials(&name, "secret")
        .set_max_packet_size(Some(1 << 20));
    options.set_connection_timeout(120);
    let (client, mut events) = AsyncClient::new(options, 200);
    client
        .try_subscribe(format!("furrow/1/{name}/ack"), QoS::AtLeastOnce)
        .unwrap();
    let topic = format!("furrow/1/{name}/batch");
    let catalog = catalog(n);
    while !matches!(
        events.poll().await.unwrap(),
        Event::Incoming(Packet::SubAck(_))
    ) {}
    connected.wait().await;
    let end = Instant::now() + duration;
    let (mut next, mut mark) = (1, 0);
    loop {
        while next - mark <= WINDOW && Instant::now() < end {
            let packet = packet(n, next, &catalog);
            client
                .try_publish(&topic, QoS::AtLeastOnce, false, packet)
                .unwrap();
            next += 1;
        }
        if mark + 1 == next {
            return next - 1;
        }
        if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
            for marks in Ack::decode(&publish.payload).unwrap().streams {
                acknowledged.fetch_add(marks.mark.saturating_sub(mark), Ordering::Relaxed);
                mark = marks.mark.max(mark);
            }
        }
    }
}

fn packet(gateway: u64, seq: u64, catalog: &Bytes) -> Bytes {
    let name = RecordName {
        stream: StreamId(gateway + 1),
        seq: Seq(seq),
    };
    let (kind, body) = if seq == 1 {
        (RecordKind::Catalog, catalog.clone())
    } else {
        (RecordKind::Batch, batch(gateway, seq, catalog))
    };
    let record = Record { name, kind, body }.encode().unwrap();
    encode_packet(&[&record], Compression::Plain).unwrap()
}

fn batch(gateway: u64, seq: u64, catalog: &Bytes) -> Bytes {
    let from = seq * 60_000;
    let times: Vec<u64> = (0..SWEEPS).map(|n| from + n * 10_000).collect();
    let value = |channel: u16, sweep: u64| {
        let wave = (seq * SWEEPS + sweep + gateway * 7) % 200;
        i64::try_from(2_000 + u64::from(channel) * 50 + wave).unwrap()
    };
    let columns = (0..CHANNELS)
        .map(|channel| {
            let samples = (0..SWEEPS)
                .map(|sweep| Sample::good(value(channel, sweep)))
                .collect();
            Column { channel, samples }
        })
        .collect();
    encode_batch(&Batch {
        boot: BootId(gateway),
        from_mono_ms: from,
        to_mono_ms: from + 60_000,
        clock: ClockState::Synchronised,
        wall_offset_ms: Some(1_500_000_000_000),
        catalog: Catalog::hash(catalog),
        axes: vec![Axis {
            step_ms: 10_000,
            times,
            columns,
        }],
    })
    .unwrap()
}

fn catalog(gateway: u64) -> Bytes {
    let device = CatalogDevice {
        id: "board".parse().unwrap(),
        kind: "board".to_owned(),
        bus: "main".to_owned(),
        address: None,
        name: String::new(),
        calibration_version: 0,
    };
    let channels = (0..CHANNELS)
        .map(|channel| CatalogChannel {
            device: device.id.clone(),
            channel: format!("quantity_{channel}").parse().unwrap(),
            unit: "Cel".to_owned(),
            exponent: -2,
            interval_ms: 10_000,
            name: String::new(),
        })
        .collect();
    let catalog = Catalog {
        greenhouse: format!("gh-{gateway}").parse().unwrap(),
        greenhouse_name: String::new(),
        software: "bench".to_owned(),
        devices: vec![device],
        channels,
        zones: vec![],
    };
    catalog.encode()
}

fn settings(dir: &Path, gateways: u64) -> Settings {
    let mut text = format!(
        "data_dir = \"{}\"\n[broker]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [[cooperative]]\nid = \"hoa-binh\"\nname = \"x\"\n",
        dir.join("data").display()
    );
    for n in 0..gateways {
        writeln!(
            text,
            "[[cooperative.gateway]]\nid = \"gw-{n}\"\ngreenhouse = \"gh-{n}\"\npassword = \"secret\""
        )
        .unwrap();
    }
    let path = dir.join("ingest.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path).unwrap()
}

fn stored(dir: &Path) -> (u64, u64) {
    let id = "hoa-binh".parse().unwrap();
    let folder = dir.join("data").join(ARCHIVE_FOLDER);
    let reader = ArchiveReader::open_dir(&folder, std::slice::from_ref(&id));
    let scans = reader.scan(&id).unwrap();
    scans.values().fold((0, 0), |(stored, twice), scan| {
        (stored + scan.readings, twice + scan.twice)
    })
}
