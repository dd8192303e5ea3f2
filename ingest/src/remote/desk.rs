//! Where people far away hand in what they want: it goes into the log, to the gateway, and the answer back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use furrow_ingest_core::{
    CommandRefusal, GatewayKey, LostUpdate, MAX_ORDERS_A_MINUTE, Place, may_repeat,
};
use furrow_wire::{
    COMMAND_MAX_AGE_MS, Command, CommandId, CommandOutcome, CommandResult, Orders, Topic,
    TopicKind, Wanted,
};
use tokio::sync::{mpsc, oneshot};

use super::Board;
use crate::archive::{ArchiveReader, digest_of};
use crate::http::Fleet;
use crate::log::entry::{EntryKind, Issued};
use crate::log::front::Incoming;
use crate::log::writer::{Delivery, unix_ms};
use crate::metrics::{Counter, Metrics};
use crate::subscriber::Receipt;

/// How long a broker keeps a command for a gateway that it can't reach, in seconds: as long as the
/// gateway would do it.
const COMMAND_EXPIRY_S: u32 = {
    assert!(COMMAND_MAX_AGE_MS == 60_000);
    60
};
/// Wait before orders that could not be published are tried again.
const PUBLISH_AGAIN: Duration = Duration::from_secs(1);
/// Orders that may be on their way into the log at once: each holds its text in memory.
const PUTS_MAX: usize = 64;

/// The way to the broker. Never waits.
pub trait Post: Send + Sync + std::fmt::Debug {
    /// Publishes with QoS 1, or says that it can't now.
    #[must_use]
    fn publish(&self, topic: &Topic, keep: Keep, body: Bytes) -> bool;
}

/// How long a broker keeps a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// For so many seconds, for a subscriber that it can't reach.
    Seconds(u32),
    /// Until there is a newer one, for whoever subscribes.
    Newest,
}

/// How long the desk waits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a gateway's answer: it answers at once, the rest is a slow network.
    pub answer: Duration,
    /// For the log to store one thing: a group commit takes milliseconds.
    pub store: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            store: Duration::from_secs(5),
        }
    }
}

/// What the desk needs.
#[derive(Debug, Clone)]
pub struct DeskSetup {
    /// What is known right now.
    pub board: Board,
    /// Which gateways are online.
    pub fleet: Fleet,
    /// Texts of orders.
    pub reader: ArchiveReader,
    /// Into the log. Weak: the log's writer ends when all that feed it have.
    pub log: mpsc::WeakSender<Delivery<Receipt>>,
    /// To the broker.
    pub post: Arc<dyn Post>,
    /// How long it waits.
    pub patience: Patience,
    /// Figures.
    pub metrics: Metrics,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    setup: DeskSetup,
    began: Instant,
    puts: Arc<tokio::sync::Semaphore>,
    /// One put at a time decides on a version.
    turn: Arc<tokio::sync::Mutex<()>>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Counters {
    issued: Counter,
    repeated: Counter,
    refused: Counter,
    unanswered: Counter,
    orders: Counter,
    published: Counter,
}

/// Why there is no result of a command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Too many, or nothing to quote.
    #[error(transparent)]
    Refusal(#[from] CommandRefusal),
    /// The gateway can't be reached.
    #[error("the gateway is offline; nothing was sent")]
    Offline,
    /// The broker can't be reached.
    #[error("there is no connection to the broker; nothing was sent")]
    NoBroker,
    /// The log does not take it.
    #[error("the command could not be stored; nothing was sent")]
    NotStored,
    /// It may have arrived.
    #[error("no answer in time: it may still be done; look at the events")]
    NoAnswer(CommandId),
}

/// Why orders are not taken.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// Somebody else was faster.
    #[error(transparent)]
    Lost(#[from] LostUpdate),
    /// Too many for this gateway.
    #[error("more than {MAX_ORDERS_A_MINUTE} versions in a minute for this gateway")]
    Rate {
        /// Milliseconds until the next one may come.
        wait_ms: u64,
    },
    /// Too many at once.
    #[error("too many orders at once")]
    Busy,
    /// The log does not take them, or not yet.
    #[error("the orders could not be stored yet; put them again, which is harmless")]
    NotStored,
}

impl Desk {
    /// A desk; its clock begins now.
    #[must_use]
    pub fn new(setup: DeskSetup) -> Self {
        let counters = Counters::new(&setup.metrics);
        Self {
            setup,
            began: Instant::now(),
            puts: Arc::new(tokio::sync::Semaphore::new(PUTS_MAX)),
            turn: Arc::default(),
            counters: Arc::new(counters),
        }
    }

    /// Has a gateway do something, and gives its answer. One that it finds stale is issued once more.
    ///
    /// # Errors
    /// [`CommandError`] when there is no answer.
    pub async fn command(
        &self,
        key: &GatewayKey,
        wanted: Wanted,
        by: &str,
    ) -> Result<CommandResult, CommandError> {
        let asked_ms = self.now_ms();
        let result = self.try_command(key, wanted, by, asked_ms).await;
        match &result {
            Ok(_) => {}
            Err(CommandError::NoAnswer(_)) => self.counters.unanswered.increment(),
            Err(
                CommandError::Refusal(_)
                | CommandError::Offline
                | CommandError::NoBroker
                | CommandError::NotStored,
            ) => self.counters.refused.increment(),
        }
        result
    }

    /// Makes a text the newest orders of a gateway, and has them published. Gives their version once they
    /// are durable. A text that is the newest already keeps its version; else `after`, if it is given,
    /// must be the newest version (0: none).
    ///
    /// # Errors
    /// [`OrdersError`].
    pub async fn put(
        &self,
        key: &GatewayKey,
        text: String,
        by: &str,
        after: Option<u64>,
    ) -> Result<u64, OrdersError> {
        let place = Arc::clone(&self.puts).try_acquire_owned();
        let place = place.map_err(|_| OrdersError::Busy)?;
        let (desk, key, by) = (self.clone(), key.clone(), by.to_owned());
        // A version whose fate is open must be settled before the next one is given, whether or not
        // somebody still waits for it.
        let work = tokio::spawn(async move {
            let _place = place;
            desk.store(&key, text, by, after).await
        });
        match tokio::time::timeout(self.setup.patience.store, work).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(_)) | Err(_) => Err(OrdersError::NotStored),
        }
    }

    /// Version of a gateway's newest orders, and of the newest that it said that it has seen; 0: none.
    #[must_use]
    pub fn versions(&self, key: &GatewayKey) -> (u64, u64) {
        self.setup.board.orders(key)
    }

    /// Publishes orders that gateways lack, until `ended`.
    pub async fn run(self, ended: impl Future<Output = ()>) {
        let work = async {
            loop {
                let due = self.setup.board.take_due().await;
                let left = self.publish_newest(due).await;
                if left.is_empty() {
                    continue;
                }
                for key in left {
                    self.setup.board.set_due(key);
                }
                tokio::time::sleep(PUBLISH_AGAIN).await;
            }
        };
        tokio::select! {
            () = ended => {}
            () = work => {}
        }
    }

    async fn try_command(
        &self,
        key: &GatewayKey,
        wanted: Wanted,
        by: &str,
        asked_ms: u64,
    ) -> Result<CommandResult, CommandError> {
        if !self.setup.fleet.get(&key.cooperative, &key.gateway).online {
            return Err(CommandError::Offline);
        }
        if !self.setup.fleet.broker_up() {
            return Err(CommandError::NoBroker);
        }
        self.setup.board.handle_wish(key, asked_ms)?;
        let (mut instead_of, mut times) = (None, 1);
        loop {
            let result = self.issue(key, &wanted, by, instead_of).await?;
            let is_stale = result.outcome == CommandOutcome::Stale;
            if !is_stale || !may_repeat(asked_ms, self.now_ms(), times) {
                return Ok(result);
            }
            tracing::info!(gateway = %key, id = %result.id, "stale command is issued once more");
            self.counters.repeated.increment();
            (instead_of, times) = (Some(result.id), times + 1);
        }
    }

    /// Into the log, to the gateway, and its answer.
    async fn issue(
        &self,
        key: &GatewayKey,
        wanted: &Wanted,
        by: &str,
        instead_of: Option<CommandId>,
    ) -> Result<CommandResult, CommandError> {
        let id = CommandId(rand::random());
        let (tick, mut waiting) = self.setup.board.issue(key, id)?;
        let command = Command {
            id,
            boot: tick.boot,
            mono_ms: tick.mono_ms,
            issued_by: by.to_owned(),
            wanted: wanted.clone(),
        };
        let body = command.encode();
        let entry = Issued {
            instead_of,
            command,
        };
        let stored = self.log(key, EntryKind::Command, entry.encode());
        match tokio::time::timeout(self.setup.patience.store, stored).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(CommandError::NotStored),
        }
        let topic = topic(key, TopicKind::Command);
        let keep = Keep::Seconds(COMMAND_EXPIRY_S);
        if !self.setup.post.publish(&topic, keep, body) {
            return Err(CommandError::NoBroker);
        }
        self.counters.issued.increment();
        let answer = tokio::time::timeout(self.setup.patience.answer, waiting.answer());
        match answer.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(CommandError::NoAnswer(id)),
        }
    }

    async fn store(
        &self,
        key: &GatewayKey,
        text: String,
        by: String,
        after: Option<u64>,
    ) -> Result<u64, OrdersError> {
        let _turn = self.turn.lock().await;
        let digest = digest_of(&text);
        let version = match self.setup.board.place(key, &digest, after)? {
            Place::Newest(version) => return Ok(version),
            Place::Next(version) => version,
        };
        let taken = self.setup.board.take_version(key, self.now_ms());
        taken.map_err(|wait_ms| OrdersError::Rate { wait_ms })?;
        let orders = Orders {
            version,
            issued_by: by,
            text,
        };
        let body = orders.encode();
        if !self.log(key, EntryKind::Orders, body.clone()).await {
            return Err(OrdersError::NotStored);
        }
        self.counters.orders.increment();
        self.setup.board.handle_orders(key, version, digest);
        tracing::info!(gateway = %key, version, by = orders.issued_by, "new orders");
        if !self.publish(key, body) {
            self.setup.board.set_due(key.clone());
        }
        Ok(version)
    }

    /// Publishes the newest orders of these gateways; gives those back for which it is to be tried again.
    async fn publish_newest(&self, due: BTreeSet<GatewayKey>) -> BTreeSet<GatewayKey> {
        let mut left = BTreeSet::new();
        for key in due {
            // No newer one is published between the look and the publishing of what was seen.
            let _turn = self.turn.lock().await;
            let (reader, wanted) = (self.setup.reader.clone(), key.clone());
            let read = tokio::task::spawn_blocking(move || reader.orders(&wanted, None));
            let (newest, _) = self.setup.board.orders(&key);
            let sent = match read.await {
                // The archive may be behind the log.
                Ok(Ok(Some(row))) if row.version >= newest => {
                    let orders = Orders {
                        version: row.version,
                        issued_by: row.issued_by,
                        text: row.text,
                    };
                    self.publish(&key, orders.encode())
                }
                Ok(Ok(_)) => false,
                Ok(Err(error)) => {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(error, gateway = %key, "orders can't be read; it is tried again");
                    false
                }
                Err(_) => false,
            };
            if !sent {
                left.insert(key);
            }
        }
        left
    }

    fn publish(&self, key: &GatewayKey, body: Bytes) -> bool {
        let topic = topic(key, TopicKind::Config);
        let sent = self.setup.post.publish(&topic, Keep::Newest, body);
        if sent {
            self.counters.published.increment();
        }
        sent
    }

    /// Puts something into the log. Says whether it is durable.
    async fn log(&self, key: &GatewayKey, kind: EntryKind, bytes: Bytes) -> bool {
        let Some(log) = self.setup.log.upgrade() else {
            return false;
        };
        let incoming = Incoming {
            gateway: key.clone(),
            kind,
            bytes,
            received_unix_ms: unix_ms(),
        };
        let (asker, answer) = oneshot::channel();
        let receipt = Receipt::Here(asker);
        if log.send(Delivery { incoming, receipt }).await.is_err() {
            return false;
        }
        drop(log);
        answer.await.is_ok()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn topic(key: &GatewayKey, kind: TopicKind) -> Topic {
    Topic {
        cooperative: key.cooperative.clone(),
        gateway: key.gateway.clone(),
        kind,
    }
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let plain = |name, help| metrics.counter(name, help, &[]);
        Self {
            issued: plain("furrow_commands_issued_total", "Commands sent to gateways."),
            repeated: plain(
                "furrow_commands_repeated_total",
                "Commands issued once more because the gateway found them stale.",
            ),
            refused: plain(
                "furrow_commands_refused_total",
                "Commands not sent: too many, gateway offline, no broker, log full.",
            ),
            unanswered: plain(
                "furrow_commands_unanswered_total",
                "Commands without an answer in time.",
            ),
            orders: plain("furrow_orders_total", "Versions of orders taken."),
            published: plain(
                "furrow_orders_published_total",
                "Orders published to gateways, repetitions included.",
            ),
        }
    }
}
