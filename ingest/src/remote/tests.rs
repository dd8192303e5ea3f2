//! The desk between a log, a broker and a gateway that are made up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use furrow_ingest_core::{CommandRefusal, GatewayKey, MAX_WAITING_COMMANDS, Tick};
use furrow_wire::{
    Birth, BootId, ClockState, Command, CommandOutcome, CommandResult, Orders, Topic, TopicKind,
    Wanted,
};
use tokio::sync::mpsc;

use super::*;
use crate::archive::{
    Archive, Change, CooperativeSetup, LiveHub, LogEntry, LogPosition, PutOrders,
};
use crate::http::Fleet;
use crate::log::entry::{EntryKind, Issued};
use crate::log::front::Incoming;
use crate::log::writer::Delivery;
use crate::metrics::Metrics;
use crate::subscriber::Receipt;

/// More messages than any test sends.
const ROOM: usize = 2_000;

#[derive(Debug)]
struct FakePost {
    sent: mpsc::Sender<(Topic, Keep, Bytes)>,
}

impl Post for FakePost {
    fn publish(&self, topic: &Topic, keep: Keep, body: Bytes) -> bool {
        self.sent.try_send((topic.clone(), keep, body)).is_ok()
    }
}

struct Site {
    _dir: tempfile::TempDir,
    archive: Archive,
    desk: Desk,
    board: Board,
    fleet: Fleet,
    /// What the log holds.
    logged: Arc<Mutex<Vec<Incoming>>>,
    log: Option<mpsc::Sender<Delivery<Receipt>>>,
    sent: mpsc::Receiver<(Topic, Keep, Bytes)>,
}

fn key(gateway: &str) -> GatewayKey {
    GatewayKey {
        cooperative: "a".parse().unwrap(),
        gateway: gateway.parse().unwrap(),
    }
}

fn birth(boot: u64, mono_ms: u64, orders: u64) -> Birth {
    Birth {
        boot: BootId(boot),
        mono_ms,
        software: "test".into(),
        greenhouse: "house".parse().unwrap(),
        clock: ClockState::Synchronised,
        orders,
        streams: Vec::new(),
        journalled_readings: 0,
        waiting_readings: 0,
        lost_readings: 0,
    }
}

impl Site {
    fn new(answer: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (fleet, live, metrics) = (Fleet::default(), LiveHub::default(), Metrics::default());
        let setup = CooperativeSetup {
            id: key("g").cooperative,
            rules: Vec::new(),
        };
        let archive = Archive::open(dir.path(), &[setup], live, &metrics).unwrap();
        let (log, mut deliveries) = mpsc::channel::<Delivery<Receipt>>(ROOM);
        let logged = Arc::new(Mutex::new(Vec::new()));
        let entries = Arc::clone(&logged);
        tokio::spawn(async move {
            while let Some(Delivery { incoming, receipt }) = deliveries.recv().await {
                entries.lock().unwrap().push(incoming);
                let Receipt::Here(asker) = receipt else {
                    panic!("nothing comes from a broker");
                };
                asker.send(()).ok();
            }
        });
        let (sender, sent) = mpsc::channel(ROOM);
        let board = Board::default();
        let desk = Desk::new(DeskSetup {
            board: board.clone(),
            fleet: fleet.clone(),
            reader: archive.reader(),
            log: log.downgrade(),
            post: Arc::new(FakePost { sent: sender }),
            patience: Patience {
                answer,
                store: Duration::from_secs(60),
            },
            metrics,
        });
        fleet.set_broker_up(true);
        let site = Self {
            _dir: dir,
            archive,
            desk,
            board,
            fleet,
            logged,
            log: Some(log),
            sent,
        };
        site.born("g", 3, 1_000);
        site
    }

    /// Answers come at once here, or not at all.
    fn patient() -> Self {
        Self::new(Duration::from_secs(60))
    }

    fn born(&self, gateway: &str, boot: u64, mono_ms: u64) {
        let key = key(gateway);
        self.board.handle_birth(&key, &birth(boot, mono_ms, 0));
        self.fleet.update(&key.cooperative, &key.gateway, |status| {
            status.online = true;
        });
    }

    /// Utters a wish, whose end comes later.
    fn ask(&self, gateway: &str) -> tokio::task::JoinHandle<Result<CommandResult, CommandError>> {
        let (desk, key) = (self.desk.clone(), key(gateway));
        tokio::spawn(async move { desk.command(&key, wanted(), "hoa").await })
    }

    /// The next command that is sent; it is in the log by then.
    async fn command(&mut self) -> (Topic, Keep, Command) {
        let (topic, keep, body) = self.sent.recv().await.unwrap();
        let command = Command::decode(&body).unwrap();
        let logged = self.logged.lock().unwrap();
        let is_it = |entry: &Incoming| {
            let issued =
                (entry.kind == EntryKind::Command).then(|| Issued::decode(&entry.bytes).unwrap());
            issued.is_some_and(|issued| issued.command == command)
        };
        assert!(logged.iter().any(is_it), "{command:?} is not in the log");
        (topic, keep, command)
    }

    fn answer(&self, command: &Command, outcome: CommandOutcome, tick: Tick) -> CommandResult {
        let result = CommandResult {
            id: command.id,
            outcome,
            text: "said".into(),
            boot: tick.boot,
            at_mono_ms: tick.mono_ms,
            run: None,
        };
        self.board.handle_result(&key("g"), result.clone());
        result
    }
}

fn wanted() -> Wanted {
    Wanted::OpenZone {
        zone: "zone-1".parse().unwrap(),
        seconds: 600,
    }
}

fn tick(boot: u64, mono_ms: u64) -> Tick {
    Tick {
        boot: BootId(boot),
        mono_ms,
    }
}

#[tokio::test]
async fn a_command_quotes_the_newest_time_and_its_answer_comes_back() {
    for outcome in [CommandOutcome::Accepted, CommandOutcome::Refused] {
        let mut site = Site::patient();
        site.board.handle_heard(&key("g"), tick(3, 2_000));
        let asked = site.ask("g");
        let (topic, keep, command) = site.command().await;
        assert_eq!(topic.to_string(), "furrow/1/a/g/command");
        assert_eq!(keep, Keep::Seconds(60));
        let expected = Command {
            id: command.id,
            boot: BootId(3),
            mono_ms: 2_000,
            issued_by: "hoa".into(),
            wanted: wanted(),
        };
        assert_eq!(command, expected);
        let result = site.answer(&command, outcome, tick(3, 2_100));
        assert_eq!(asked.await.unwrap().unwrap(), result);
        assert!(site.sent.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_stale_one_is_issued_once_more_with_the_time_that_the_gateway_tells() {
    for second in [CommandOutcome::Accepted, CommandOutcome::Stale] {
        let mut site = Site::patient();
        let asked = site.ask("g");
        let (_, _, first) = site.command().await;
        site.answer(&first, CommandOutcome::Stale, tick(4, 70_000));
        let (_, _, again) = site.command().await;
        let expected = Command {
            id: again.id,
            boot: BootId(4),
            mono_ms: 70_000,
            ..first.clone()
        };
        assert_eq!(again, expected);
        assert_ne!(again.id, first.id);
        let entry = site.logged.lock().unwrap().last().unwrap().bytes.clone();
        let repeats = Issued::decode(&entry).unwrap().instead_of;
        assert_eq!(repeats, Some(first.id));
        let result = site.answer(&again, second, tick(4, 70_100));
        assert_eq!(asked.await.unwrap().unwrap(), result);
        assert!(site.sent.try_recv().is_err());
    }
}

#[tokio::test]
async fn what_stays_unanswered_is_told_and_gives_its_place_up() {
    let mut site = Site::new(Duration::from_millis(1));
    let asked = site.ask("g");
    let (_, _, command) = site.command().await;
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, CommandError::NoAnswer(id) if id == command.id));
    assert_eq!(
        error.to_string(),
        "no answer in time: it may still be done; look at the events"
    );
    site.answer(&command, CommandOutcome::Accepted, tick(3, 9));
    // Whoever goes away does, too.
    let site = Site::patient();
    let asked = site.ask("g");
    asked.abort();
    asked.await.unwrap_err();
    let mut waiting = Vec::new();
    for n in 0..MAX_WAITING_COMMANDS {
        let id = furrow_wire::CommandId([u8::try_from(n % 256).unwrap(); 16]);
        waiting.push(site.board.issue(&key("g"), id).unwrap());
    }
}

#[tokio::test]
async fn what_can_not_be_done_is_refused_and_nothing_is_logged() {
    let mut site = Site::patient();
    let refused = async |site: &Site, gateway| site.ask(gateway).await.unwrap().unwrap_err();
    assert!(matches!(
        refused(&site, "unheard").await,
        CommandError::Offline
    ));
    let (a, h) = (key("h").cooperative, key("h").gateway);
    site.fleet.update(&a, &h, |status| status.online = true);
    assert!(matches!(
        refused(&site, "h").await,
        CommandError::Refusal(CommandRefusal::Unheard)
    ));
    site.fleet.set_broker_up(false);
    assert!(matches!(refused(&site, "g").await, CommandError::NoBroker));
    site.fleet.set_broker_up(true);
    assert!(site.logged.lock().unwrap().is_empty());
    // The log's writer has ended.
    site.log = None;
    assert!(matches!(refused(&site, "g").await, CommandError::NotStored));
    assert!(site.sent.try_recv().is_err());
}

#[tokio::test]
async fn ten_a_minute_and_so_many_at_once() {
    let mut site = Site::patient();
    let mut asked = Vec::new();
    for n in 0..MAX_WAITING_COMMANDS {
        let gateway = format!("g-{}", n / 10);
        site.born(&gateway, 1, 1);
        asked.push(site.ask(&gateway));
        site.command().await;
    }
    let refused = async |site: &Site, gateway| site.ask(gateway).await.unwrap().unwrap_err();
    assert!(matches!(
        refused(&site, "g-0").await,
        CommandError::Refusal(CommandRefusal::Rate { .. })
    ));
    assert!(matches!(
        refused(&site, "g").await,
        CommandError::Refusal(CommandRefusal::Busy)
    ));
    let gone = asked.pop().unwrap();
    gone.abort();
    gone.await.unwrap_err();
    asked.push(site.ask("g"));
    site.command().await;
}

#[tokio::test]
async fn orders_are_in_the_log_before_they_are_published() {
    let mut site = Site::patient();
    let key = key("g");
    let put = async |text: &str, after| site.desk.put(&key, text.into(), "hoa", after).await;
    assert_eq!(put("a = 1", Some(0)).await.unwrap(), 1);
    assert_eq!(put("a = 1", Some(0)).await.unwrap(), 1);
    assert_eq!(put("a = 2", None).await.unwrap(), 2);
    let error = put("a = 3", Some(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "version 2 is the newest");
    let orders = |version, text: &str| Orders {
        version,
        issued_by: "hoa".into(),
        text: text.into(),
    };
    let expected = [orders(1, "a = 1"), orders(2, "a = 2")];
    for expected in &expected {
        let (topic, keep, body) = site.sent.recv().await.unwrap();
        assert_eq!(topic.kind, TopicKind::Config);
        assert_eq!(keep, Keep::Newest);
        assert_eq!(&Orders::decode(&body).unwrap(), expected);
    }
    assert!(site.sent.try_recv().is_err());
    let logged = site.logged.lock().unwrap();
    let logged: Vec<Orders> = logged
        .iter()
        .map(|entry| Orders::decode(&entry.bytes).unwrap())
        .collect();
    assert_eq!(logged, expected);
}

#[tokio::test]
async fn ten_versions_a_minute() {
    let site = Site::patient();
    let put = async |gateway: &str, n: u64| {
        let text = format!("a = {n}");
        site.desk.put(&key(gateway), text, "hoa", None).await
    };
    for n in 1..=10 {
        assert_eq!(put("g", n).await.unwrap(), n);
    }
    let error = put("g", 11).await.unwrap_err();
    assert!(matches!(error, OrdersError::Rate { .. }), "{error}");
    // Nothing new is no burden.
    assert_eq!(put("g", 10).await.unwrap(), 10);
    assert_eq!(put("h", 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_gateway_that_lacks_the_newest_orders_gets_them_again() {
    let mut site = Site::patient();
    let key = key("g");
    let orders = Orders {
        version: 7,
        issued_by: "hoa".into(),
        text: "a = 1".into(),
    };
    let entry = LogEntry {
        position: LogPosition::default(),
        chain: 0,
        changes: vec![Change::Orders(PutOrders {
            gateway: key.gateway.clone(),
            issued_unix_ms: 1,
            orders: orders.clone(),
        })],
    };
    site.archive.apply(&key.cooperative, &[entry]).unwrap();
    let digest = crate::archive::digest_of(&orders.text);
    site.board.handle_orders(&key, 7, digest);
    let task = tokio::spawn(site.desk.clone().run(std::future::pending()));
    site.board.handle_birth(&key, &birth(3, 1, 7));
    site.board.handle_birth(&key, &birth(3, 1, 6));
    let (topic, keep, body) = site.sent.recv().await.unwrap();
    assert_eq!(topic.to_string(), "furrow/1/a/g/config");
    assert_eq!(keep, Keep::Newest);
    assert_eq!(Orders::decode(&body).unwrap(), orders);
    assert_eq!(site.desk.versions(&key), (7, 6));
    task.abort();
    task.await.unwrap_err();
    assert!(site.sent.try_recv().is_err());
}
