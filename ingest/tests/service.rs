//! The whole process in one: a gateway's client publishes, is acknowledged, and the archive has it.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod kit;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use furrow_ingest::broker::{Accounts, Broker, BrokerOptions, PasswordHash};
use furrow_ingest::config::{self, HeartbeatSettings, LinkSettings, Secret, Settings};
use furrow_ingest::metrics::Metrics;
use furrow_ingest::run::Service;
use kit::client::{Gateway, PATIENCE, stored_in};
use kit::{READINGS, Source, key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_publishes_is_acknowledged_and_stored_once_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(settings(dir.path(), 0)).await.unwrap();
    let port = service.ready().mqtt.unwrap().port();
    let source = Source::new(7);
    let mut gateway = Gateway::connect(port);
    gateway.publish("state", true, source.state(1, 200)).await;
    gateway.wait_for_mark(&source, 0).await;
    for first in (1..=96).step_by(3) {
        gateway
            .publish("batch", false, source.packet(first..first + 3))
            .await;
    }
    gateway.wait_for_mark(&source, 96).await;
    let key = key("gw-01");
    assert!(service.fleet().get(&key.cooperative, &key.gateway).online);
    service.stop().await;
    assert_eq!(stored_in(dir.path()), (95 * READINGS, 0));

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
    gateway.wait_for_mark(&source, 150).await;
    service.stop().await;
    assert_eq!(stored_in(dir.path()), (149 * READINGS, 0));
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
    gateway.wait_for_mark(&source, 1).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outside_broker_that_is_away_is_waited_for_and_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    // A port that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut settings = settings(dir.path(), 0);
    settings.link = LinkSettings::Outside {
        host: "127.0.0.1".to_owned(),
        port,
        ca_file: None,
        username: "furrow-ingest".to_owned(),
        password: Secret("internal".to_owned()),
    };
    let service = Service::start(settings).await.unwrap();
    assert_eq!(service.ready().mqtt, None);
    let errors = service
        .metrics()
        .counter("furrow_broker_errors_total", "", &[]);
    let wait = async {
        while errors.get() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    assert!(!service.fleet().broker_up());

    let mut accounts = Accounts::default();
    accounts.set_internal("furrow-ingest", PasswordHash::of(b"internal"));
    let listen = ([127, 0, 0, 1], port).into();
    let options = BrokerOptions {
        listen,
        tls: None,
        accounts,
    };
    let broker = Broker::start(options, &Metrics::default()).await.unwrap();
    let wait = async {
        while !service.fleet().broker_up() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    broker.stop();
    let began = std::time::Instant::now();
    service.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

/// Counts requests and answers each.
async fn receiver() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let beats = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&beats);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, beats)
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    // Looks now and then: beats take seconds, and a busy loop would take the core from what is waited for.
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let wait = async {
        while !is_so() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect(what);
}

/// A second writer holds the file: the archive takes nothing, the log goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_stop_while_the_archive_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (address, beats) = receiver().await;
    let mut settings = settings(dir.path(), 0);
    settings.heartbeat = Some(HeartbeatSettings {
        url: format!("http://{address}/"),
        every: Duration::from_secs(1),
    });
    let service = Service::start(settings).await.unwrap();
    let count = || beats.load(Ordering::SeqCst);
    wait_until("beats", || count() >= 2).await;
    let file = dir.path().join("data/archive/hoa-binh.sqlite");
    let lock = rusqlite::Connection::open(file).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let source = Source::new(7);
    let mut gateway = Gateway::connect(service.ready().mqtt.unwrap().port());
    gateway.publish("state", true, source.state(1, 3)).await;
    gateway.publish("batch", false, source.packet(1..4)).await;
    gateway.wait_for_mark(&source, 3).await;
    let metrics = service.metrics();
    let errors = metrics.counter("furrow_archive_errors_total", "", &[]);
    wait_until("an error of the archive", || errors.get() > 0).await;
    let outcome = &[("outcome", "withheld")];
    let withheld = metrics.counter("furrow_heartbeats_total", "", outcome);
    let first = withheld.get();
    wait_until("a beat that is withheld", || withheld.get() > first).await;
    let silent_from = count();
    wait_until("more of them", || withheld.get() > first + 2).await;
    assert_eq!(count(), silent_from);
    lock.execute_batch("ROLLBACK").unwrap();
    wait_until("beats again", || count() > silent_from).await;
    service.stop().await;
    assert_eq!(stored_in(dir.path()), (2 * READINGS, 0));
}
