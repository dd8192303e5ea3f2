//! `furrow-ingest run`: starts everything in order, and ends it in order.
//!
//! Start: archive and log, the marks from the snapshot and the log behind it, the consumer, the API's
//! socket, the broker, the writer, the link. End, on SIGTERM or SIGINT: nothing more is taken, what
//! was taken is committed and confirmed, the log is read to its end, the snapshot is stored.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use furrow_ingest_core::{GatewayKey, Tracker};
use furrow_journal::FileDisk;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::alerting::{Webhook, run_webhook};
use crate::archive::{Archive, ArchiveReader, CooperativeSetup, LiveHub, digest_of};
use crate::broker::{Accounts, Broker, BrokerOptions, PasswordHash};
use crate::config::{LinkSettings, Secret, Settings, StoreSettings};
use crate::deletion::{self, RefuseError, request};
use crate::files;
use crate::forward::{Forwarder, ForwarderSetup, Pace};
use crate::health::{Health, Watched};
use crate::heartbeat::{self, Heartbeat};
use crate::http::{self, Fleet};
use crate::log::Log;
use crate::log::consumer::{Consumer, ConsumerThread};
use crate::log::derived::DataDir;
use crate::log::recover::{recover, replay, replay_behind};
use crate::log::writer::{self, Delivery};
use crate::metrics::Metrics;
use crate::rerun;
use crate::subscriber::{self, CLIENT_ID, LinkOptions, Receipt, Stage};

mod restore;
mod shared;

use restore::{restore_orders, restored_decoder};
use shared::{Shared, assignments, listen, watch_queue, watch_tasks};

/// Folder of the cooperatives' files within the data directory.
pub const ARCHIVE_FOLDER: &str = "archive";
/// What the writer gets to commit what was taken.
const DRAIN_WRITER: Duration = Duration::from_secs(10);
/// What the consumer gets to read the log to its end. The rest is read at the next start.
const DRAIN_CONSUMER: Duration = Duration::from_secs(20);

/// What all stores together get to answer their last write. It is repeated at the next start.
const DRAIN_FORWARDERS: Duration = Duration::from_secs(5);

/// Where it can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The API.
    pub http: SocketAddr,
    /// The embedded broker.
    pub mqtt: Option<SocketAddr>,
}

/// A running ingest.
pub struct Service {
    ready: Ready,
    fleet: Fleet,
    metrics: Metrics,
    stage: watch::Sender<Stage>,
    link: JoinHandle<()>,
    requests: [(&'static str, JoinHandle<()>); 2],
    desk: JoinHandle<()>,
    http: JoinHandle<std::io::Result<()>>,
    webhook: Option<JoinHandle<()>>,
    heartbeat: Option<JoinHandle<()>>,
    writer: std::thread::JoinHandle<()>,
    consumer: ConsumerThread,
    forwarders: Vec<Forwarder>,
    broker: Option<Broker>,
}

/// Runs until a signal comes.
///
/// # Errors
/// When something can't be started, or the API's listener fails.
pub async fn run(settings: Settings, print_ready: bool) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    files::raise_limit(&settings);
    let service = Service::start(settings).await?;
    let Ready { http, mqtt } = service.ready();
    let mqtt_text = mqtt.map_or_else(|| "outside".to_owned(), |mqtt| mqtt.to_string());
    tracing::info!(%http, mqtt = %mqtt_text, "ready");
    if print_ready {
        let mut out = std::io::stdout().lock();
        writeln!(out, "ready http={http} mqtt={mqtt_text}").context("can't write to stdout")?;
        out.flush().context("can't write to stdout")?;
    }
    // Without systemd there is nobody to tell.
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).ok();
    let ended = service.wait(signals.next()).await;
    sd_notify::notify(&[sd_notify::NotifyState::Stopping]).ok();
    ended
}

impl Service {
    /// Starts everything.
    ///
    /// # Errors
    /// When something can't be started.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let shared = Shared::default();
        let archive = open_archive(&settings, &shared.live, &shared.metrics)?;
        let reader = archive.reader();
        let health = shared.health(&reader);
        let webhook = settings.webhook.as_ref().map(Webhook::new).transpose()?;
        let heartbeat = settings.heartbeat.as_ref();
        let heartbeat = heartbeat.map(Heartbeat::new).transpose()?;
        let started = start_consumer(&settings, archive, &shared, &health)?;

        let (listener, http_address) = listen(settings.http_listen).await?;
        let (broker, options) = start_broker(&settings, &shared.metrics).await?;
        let (subscriber, link) = subscriber::new(&options, shared.fleet.clone(), &shared.metrics)?;
        let front = shared.front(&settings);
        let (messages, writer) =
            writer::start(Arc::clone(&started.log), started.tracker, front, link)
                .context("can't start the log's writer")?;
        watch_queue(&health, messages.downgrade());
        let (stage, stages) = watch::channel(Stage::Running);
        let requests = start_requests(
            &settings,
            &shared,
            &reader,
            (started.log, started.awake),
            &messages,
            &stage,
        );
        let desk = shared.desk(&reader, messages.downgrade(), subscriber.post());
        let router = http::router(shared.http(&settings, &reader, desk.clone(), health.clone()));
        let desk = tokio::spawn(desk.run(until(&stage, Stage::Draining)));
        let link = tokio::spawn(subscriber.run(messages, stages));

        let draining = until(&stage, Stage::Draining);
        let http = tokio::spawn(http::serve(listener, router, draining));
        let webhook = webhook.map(|webhook| {
            let (shutdown, metrics) = (until(&stage, Stage::Draining), shared.metrics.clone());
            tokio::spawn(run_webhook(webhook, reader, metrics, shutdown))
        });
        let heartbeat = heartbeat.map(|heartbeat| {
            let (shutdown, metrics) = (until(&stage, Stage::Draining), shared.metrics.clone());
            tokio::spawn(heartbeat::run(heartbeat, health.clone(), metrics, shutdown))
        });
        watch_tasks(&health, &[("broker link", &link), ("desk", &desk)]);
        watch_tasks(
            &health,
            &requests.each_ref().map(|(name, task)| (*name, task)),
        );
        watch_tasks(
            &health,
            webhook.as_ref().map(|task| ("webhook", task)).as_slice(),
        );
        let mqtt = broker.as_ref().map(Broker::address);
        Ok(Self {
            ready: Ready {
                http: http_address,
                mqtt,
            },
            fleet: shared.fleet,
            metrics: shared.metrics,
            stage,
            link,
            requests,
            desk,
            http,
            webhook,
            heartbeat,
            writer,
            consumer: started.consumer,
            forwarders: started.forwarders,
            broker,
        })
    }

    /// Where it can be reached.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.ready
    }

    /// What is known of gateways.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Figures.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits for `signal`, or for the API's end, and ends everything.
    ///
    /// # Errors
    /// When the API ended by itself.
    pub async fn wait(mut self, signal: impl Future<Output = ()>) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = signal => None,
            ended = &mut self.http => Some(ended),
        };
        self.stop().await;
        match failed {
            None => Ok(()),
            Some(ended) => {
                ended.context("API panicked")?.context("API failed")?;
                anyhow::bail!("API ended by itself")
            }
        }
    }

    /// Ends everything, in order.
    pub async fn stop(self) {
        tracing::info!("stopping");
        // The link gives up its end of the queue: the writer commits what is in it, and ends.
        self.stage.send_replace(Stage::Draining);
        let writer = tokio::task::spawn_blocking(move || self.writer.join());
        match tokio::time::timeout(DRAIN_WRITER, writer).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => tracing::error!("log writer panicked"),
            Err(_) => tracing::error!("log writer does not end; gateways offer the rest again"),
        }
        self.stage.send_replace(Stage::Ended);
        join("broker link", self.link).await;
        for (name, task) in self.requests {
            join(name, task).await;
        }
        join("commands and orders", self.desk).await;
        let (consumer, forwarders) = (self.consumer, self.forwarders);
        forwarders.iter().for_each(Forwarder::ask_to_stop);
        let drained = tokio::task::spawn_blocking(move || {
            consumer.stop(DRAIN_CONSUMER);
            let deadline = std::time::Instant::now() + DRAIN_FORWARDERS;
            forwarders.into_iter().for_each(|one| one.join(deadline));
        });
        if drained.await.is_err() {
            tracing::error!("log consumer can't be stopped");
        }
        if !self.http.is_finished() {
            join("API", self.http).await;
        }
        if let Some(webhook) = self.webhook {
            join("webhook", webhook).await;
        }
        if let Some(heartbeat) = self.heartbeat {
            join("heartbeat", heartbeat).await;
        }
        if let Some(broker) = self.broker {
            let stopped = tokio::task::spawn_blocking(move || broker.stop()).await;
            if stopped.is_err() {
                tracing::error!("broker can't be stopped");
            }
        }
        tracing::info!("stopped");
    }
}

/// SIGTERM and SIGINT, listened to from the first moment.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("can't listen to signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Opens the archive of all configured cooperatives.
///
/// # Errors
/// When a file can't be opened.
pub fn open_archive(
    settings: &Settings,
    live: &LiveHub,
    metrics: &Metrics,
) -> anyhow::Result<Archive> {
    let named = settings.cooperatives.iter().map(|one| &one.id);
    deletion::refuse(&settings.data_dir, named)?;
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("can't create {}", settings.data_dir.display()))?;
    let cooperatives: Vec<CooperativeSetup> = settings
        .cooperatives
        .iter()
        .map(|cooperative| CooperativeSetup {
            id: cooperative.id.clone(),
            rules: cooperative.rules.clone(),
        })
        .collect();
    let dir = settings.data_dir.join(ARCHIVE_FOLDER);
    let archive = Archive::open(&dir, &cooperatives, live.clone(), metrics);
    let mut archive = archive.context("can't open the archive")?;
    for cooperative in &settings.cooperatives {
        archive.keep(&cooperative.id, cooperative.retention);
    }
    Ok(archive)
}

/// The log and its reader.
struct Started {
    forwarders: Vec<Forwarder>,
    log: Arc<Log<FileDisk>>,
    /// What is held at the log's end.
    tracker: Tracker,
    consumer: ConsumerThread,
    /// Gateways of which parked records can come out.
    awake: Vec<GatewayKey>,
}

/// Opens the log, makes the marks fit it, and starts to read it back.
fn start_consumer(
    settings: &Settings,
    mut archive: Archive,
    shared: &Shared,
    health: &Health,
) -> anyhow::Result<Started> {
    let log = Log::open(&settings.data_dir, settings.log.max_bytes);
    let log = Arc::new(log.context("can't open the log")?);
    let cooperatives: Vec<_> = settings.cooperatives.iter().map(|c| c.id.clone()).collect();
    let decoder = restored_decoder(settings, &mut archive)?;
    restore_orders(&shared.board, &mut archive, &cooperatives)?;
    let awake = decoder.awake();
    let path = settings.data_dir.clone();
    let mut derived = DataDir { archive, path };
    let snapshot = recover(&log, &mut derived, &cooperatives).context("can't store the marks")?;
    let tracker = replay(&log, &snapshot);
    let behind = replay_behind(&log, &snapshot);
    if let Some(deleted) = cooperatives.iter().find(|id| behind.deleted.contains(id)) {
        // It ended before that was obeyed. The next start without it in the configuration obeys.
        let cooperative = deleted.clone();
        return Err(RefuseError::Deleted { cooperative }.into());
    }
    for (key, orders) in behind.orders {
        let digest = digest_of(&orders.text);
        shared.board.handle_orders(&key, orders.version, digest);
    }
    let setup = shared.consumer();
    let reader = derived.archive.reader();
    let derived = Watched::new(derived, health.progress());
    let consumer = Consumer::new(Arc::clone(&log), derived, decoder, snapshot, setup);
    // They hold what they need before anything is let go.
    let forwarders = start_forwarders(settings, &log, &reader, shared)?;
    let consumer = ConsumerThread::start(consumer).context("can't start the log's consumer")?;
    Ok(Started {
        forwarders,
        log,
        tracker,
        consumer,
        awake,
    })
}

/// What people ask for by files in the data directory.
fn start_requests(
    settings: &Settings,
    shared: &Shared,
    reader: &ArchiveReader,
    (log, awake): (Arc<Log<FileDisk>>, Vec<GatewayKey>),
    messages: &mpsc::Sender<Delivery<Receipt>>,
    stage: &watch::Sender<Stage>,
) -> [(&'static str, JoinHandle<()>); 2] {
    let reruns = rerun::run(
        settings.data_dir.clone(),
        awake,
        reader.clone(),
        messages.clone(),
        until(stage, Stage::Draining),
    );
    let deletions = shared.deletions(settings, log, messages.clone());
    let deletions = request::run(deletions, until(stage, Stage::Draining));
    [
        ("reruns", tokio::spawn(reruns)),
        ("deletions", tokio::spawn(deletions)),
    ]
}

/// One for each store beside the archive.
fn start_forwarders(
    settings: &Settings,
    log: &Arc<Log<FileDisk>>,
    reader: &ArchiveReader,
    shared: &Shared,
) -> anyhow::Result<Vec<Forwarder>> {
    let start = |store: &StoreSettings| {
        let name = &store.name;
        let client = store
            .open()
            .with_context(|| format!("can't use store {name}"))?;
        let setup = ForwarderSetup {
            name: name.clone(),
            store: client,
            data_dir: settings.data_dir.clone(),
            archive_dir: settings.data_dir.join(ARCHIVE_FOLDER),
            reader: reader.clone(),
            gateways: assignments(settings),
            cooperatives: settings.cooperatives.iter().map(|c| c.id.clone()).collect(),
            pace: Pace::default(),
            metrics: shared.metrics.clone(),
        };
        Forwarder::start(log, setup)
    };
    settings.stores.iter().map(start).collect()
}

/// The embedded broker, if there is one, and how to reach the broker.
async fn start_broker(
    settings: &Settings,
    metrics: &Metrics,
) -> anyhow::Result<(Option<Broker>, LinkOptions)> {
    match &settings.link {
        LinkSettings::Outside {
            host,
            port,
            ca_file,
            username,
            password,
        } => Ok((
            None,
            LinkOptions {
                host: host.clone(),
                port: *port,
                ca_file: ca_file.clone(),
                username: username.clone(),
                password: password.clone(),
            },
        )),
        LinkSettings::Embedded { listen, tls } => {
            // Drawn anew at each start: nobody needs to know it.
            let password: String = (0..32)
                .map(|_| format!("{:02x}", rand::random::<u8>()))
                .collect();
            let mut accounts = Accounts::default();
            accounts.set_internal(CLIENT_ID, PasswordHash::of(password.as_bytes()));
            for cooperative in &settings.cooperatives {
                for gateway in &cooperative.gateways {
                    accounts.add_gateway(&cooperative.id, &gateway.id, gateway.password);
                }
            }
            let options = BrokerOptions {
                listen: *listen,
                tls: tls.clone(),
                accounts,
            };
            let broker = Broker::start(options, metrics).await?;
            let address = broker.internal_address();
            let link = LinkOptions {
                host: if address.ip().is_unspecified() {
                    "127.0.0.1".to_owned()
                } else {
                    address.ip().to_string()
                },
                port: address.port(),
                ca_file: None,
                username: CLIENT_ID.to_owned(),
                password: Secret(password),
            };
            Ok((Some(broker), link))
        }
    }
}

fn until(stage: &watch::Sender<Stage>, wanted: Stage) -> impl Future<Output = ()> + use<> {
    let mut stage = stage.subscribe();
    async move {
        // An error says that the service is gone: then it is time, too.
        stage.wait_for(|stage| *stage >= wanted).await.ok();
    }
}

async fn join<T>(what: &'static str, task: JoinHandle<T>) {
    if task.await.is_err() {
        tracing::error!(what, "task panicked");
    }
}
