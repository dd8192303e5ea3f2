use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use furrow_alerts::{Condition, Rule, Severity};
use furrow_wire::{
    Axis, Batch, BootId, Catalog, CatalogChannel, CatalogDevice, ClockState, Column, RecordName,
    Sample, Seq, StreamId,
};
use rumqttc::tokio_rustls::TlsAcceptor;
use rumqttc::tokio_rustls::rustls::ServerConfig;
use rumqttc::tokio_rustls::rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::alerting::AlertRule;
use crate::archive::{Archive, Change, CooperativeSetup, LiveHub, LogEntry, LogPosition, Readings};

const FAST: Pace = Pace {
    look_every: Duration::from_millis(5),
    retry_first: Duration::from_millis(5),
    retry_longest: Duration::from_millis(20),
};
/// Bound of the test's own channel.
const POSTS_MAX: usize = 64;

/// A receiver that refuses the first two posts and takes the others; tells each.
fn receiver() -> (axum::Router, mpsc::Receiver<(bool, Value)>) {
    let (posts, posted) = mpsc::channel(POSTS_MAX);
    let take =
        |State((count, posts)): State<(Arc<std::sync::atomic::AtomicU32>, mpsc::Sender<_>)>,
         body: String| async move {
            let taken = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) >= 2;
            posts
                .send((taken, serde_json::from_str(&body).unwrap()))
                .await
                .unwrap();
            if taken {
                StatusCode::NO_CONTENT
            } else {
                StatusCode::BAD_GATEWAY
            }
        };
    let app = axum::Router::new()
        .route("/hook", axum::routing::post(take))
        .with_state((Arc::default(), posts));
    (app, posted)
}

async fn plain(app: axum::Router) -> WebhookSettings {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    WebhookSettings { url, ca_pem: None }
}

/// Accepts TLS connections with a certificate of its own making.
struct TlsListener(tokio::net::TcpListener, TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = rumqttc::tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.0.accept().await.unwrap();
            // A client that does not trust the certificate ends the handshake.
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

async fn encrypted(app: axum::Router) -> WebhookSettings {
    crate::tls::install_provider();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}/hook",
        listener.local_addr().unwrap().port()
    );
    let listener = TlsListener(listener, TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    WebhookSettings {
        url,
        ca_pem: Some(certified.cert.pem()),
    }
}

fn rule() -> AlertRule {
    AlertRule {
        id: "heat".parse().unwrap(),
        greenhouse: None,
        device: None,
        channel: "air_temperature".parse().unwrap(),
        severity: Severity::Critical,
        rule: Rule::new(
            Condition::Above {
                limit: 35.0,
                clear: 33.5,
            },
            0,
        )
        .unwrap(),
    }
}

fn readings(values: &[i64]) -> Change {
    let catalog = Catalog {
        greenhouse: "house".parse().unwrap(),
        greenhouse_name: String::new(),
        software: String::new(),
        devices: vec![CatalogDevice {
            id: "sht".parse().unwrap(),
            kind: String::new(),
            bus: String::new(),
            address: None,
            name: String::new(),
            calibration_version: 0,
        }],
        channels: vec![CatalogChannel {
            device: "sht".parse().unwrap(),
            channel: "air_temperature".parse().unwrap(),
            unit: "Cel".into(),
            exponent: -1,
            interval_ms: 1000,
            name: String::new(),
        }],
        zones: Vec::new(),
    };
    let times = (0..values.len() as u64).map(|n| n * 1000).collect();
    let samples = values.iter().copied().map(Sample::good).collect();
    Change::Readings(Readings {
        gateway: "gw-01".parse().unwrap(),
        greenhouse: "house".parse().unwrap(),
        record: RecordName {
            stream: StreamId(1),
            seq: Seq(1),
        },
        wall_offset_ms: 0,
        batch: Batch {
            boot: BootId(1),
            from_mono_ms: 0,
            to_mono_ms: values.len() as u64 * 1000,
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(0),
            catalog: Catalog::hash(&catalog.encode()),
            axes: vec![Axis {
                step_ms: 1000,
                times,
                columns: vec![Column {
                    channel: 0,
                    samples,
                }],
            }],
        },
        catalog: Arc::new(catalog),
        received_unix_ms: 5,
    })
}

#[tokio::test]
async fn messages_are_sent_in_order_and_again_until_they_are_taken() {
    let (app, posted) = receiver();
    check_sending(&plain(app).await, posted).await;
}

#[tokio::test]
async fn over_tls_too() {
    let (app, posted) = receiver();
    check_sending(&encrypted(app).await, posted).await;
}

#[tokio::test]
async fn a_receiver_that_is_not_trusted_gets_nothing() {
    let (app, mut posted) = receiver();
    let trusted = encrypted(app.clone()).await;
    let other = encrypted(app).await;
    let settings = WebhookSettings {
        ca_pem: other.ca_pem,
        ..trusted
    };
    let error = post(&Webhook::new(&settings).unwrap(), "{}".to_owned())
        .await
        .unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    assert!(posted.try_recv().is_err());
    for (pem, expected) in [
        ("", "webhook.ca_file holds no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            "webhook.ca_file is not in PEM",
        ),
    ] {
        let settings = WebhookSettings {
            url: String::new(),
            ca_pem: Some(pem.to_owned()),
        };
        assert_eq!(Webhook::new(&settings).unwrap_err().to_string(), expected);
    }
}

async fn check_sending(webhook: &WebhookSettings, mut posted: mpsc::Receiver<(bool, Value)>) {
    let dir = tempfile::tempdir().unwrap();
    let owner: CooperativeId = "one".parse().unwrap();
    let setup = CooperativeSetup {
        id: owner.clone(),
        rules: vec![rule()],
    };
    let metrics = Metrics::default();
    let mut archive = Archive::open(dir.path(), &[setup], LiveHub::default(), &metrics).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let sender = tokio::spawn(run_at(
        FAST,
        Webhook::new(webhook).unwrap(),
        archive.reader(),
        metrics.clone(),
        async {
            stopped.await.ok();
        },
    ));
    let position = LogPosition {
        segment: 1,
        offset: 1,
    };
    let entry = LogEntry {
        position,
        chain: 0,
        changes: vec![readings(&[360, 330])],
    };
    archive.apply(&owner, &[entry]).unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (taken, body) = posted.recv().await.unwrap();
        seen.push((
            taken,
            body["state"].as_str().unwrap().to_owned(),
            body["value"].clone(),
        ));
    }
    let step = |taken, state: &str, value: f64| (taken, state.to_owned(), Value::from(value));
    let expected = [
        step(false, "firing", 36.0),
        step(false, "firing", 36.0),
        step(true, "firing", 36.0),
        step(true, "resolved", 33.0),
    ];
    assert_eq!(seen, expected);
    // The second mark follows the answer: wait for it without asking the clock.
    while !archive.reader().outbox(&owner, 10).unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    sender.await.unwrap();
    let count = |name| metrics.counter(name, "", &[]).get();
    assert_eq!(count("furrow_webhook_sent_total"), 2);
    assert_eq!(count("furrow_webhook_failed_total"), 2);
    assert!(posted.try_recv().is_err());
}
