//! Whether ingest does what it is there for: takes messages, keeps them, and puts them in the archive.
//!
//! Owns the judgement, not the measuring: the archive, the fleet and the log say how they are; the log's
//! consumer is watched from outside, by what it hands to the archive ([`Watched`]). Decides nothing: who
//! asks draws the conclusions (`/readyz`, `/healthz`, the heartbeat).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use furrow_journal::Position;
use furrow_wire::CooperativeId;
use serde_json::{Value, json};

use crate::archive::{Applied, ArchiveError, ArchiveReader, Change, LogEntry, LogPosition};
use crate::deletion::Deletion;
use crate::http::Fleet;
use crate::log::derived::Derived;
use crate::log::snapshot::{Snapshot, SnapshotError};
use crate::log::writer::unix_ms;
use crate::metrics::{Gauge, Metrics};

/// How far behind the archive may be, in milliseconds: six times the budget of 10 s.
pub const LAG_MAX_MS: i64 = 60_000;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    reader: ArchiveReader,
    fleet: Fleet,
    is_stalled: Gauge,
    progress: Progress,
    tasks: Mutex<Vec<Task>>,
}

struct Task {
    name: &'static str,
    is_dead: Box<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A part, and why it does not do its work; `None`: it does.
pub type Judgement = (&'static str, Option<String>);

impl Health {
    /// Judges these; `metrics` know whether the log takes messages.
    #[must_use]
    pub fn new(reader: ArchiveReader, fleet: Fleet, metrics: &Metrics) -> Self {
        let help = "1 while the log takes no more.";
        Self(Arc::new(Parts {
            reader,
            fleet,
            is_stalled: metrics.gauge("furrow_log_stalled", help, &[]),
            progress: Progress::new(metrics),
            tasks: Mutex::default(),
        }))
    }

    /// Names something that must not end while ingest runs.
    pub fn watch(&self, name: &'static str, is_dead: impl Fn() -> bool + Send + Sync + 'static) {
        let is_dead = Box::new(is_dead);
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(Task { name, is_dead });
    }

    /// A view of what the log's consumer does.
    pub(crate) fn progress(&self) -> Progress {
        self.0.progress.clone()
    }

    /// What has ended and must not have: nothing here comes back by itself.
    #[must_use]
    pub fn dead(&self) -> Vec<&'static str> {
        let tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = tasks.iter().filter(|task| (task.is_dead)());
        let consumer = self.0.progress.0.has_ended.load(Ordering::Acquire);
        dead.map(|task| task.name)
            .chain(consumer.then_some("log consumer"))
            .collect()
    }

    /// Each part.
    #[must_use]
    pub fn judge(&self) -> [Judgement; 4] {
        let parts = &self.0;
        let why = |is_bad: bool, text: &str| is_bad.then(|| text.to_owned());
        let lag_ms = parts.progress.lag_ms(unix_ms());
        [
            (
                "archive",
                why(
                    !parts.reader.writable(),
                    "its last transaction failed; the log holds what it does not take",
                ),
            ),
            (
                "broker",
                why(!parts.fleet.broker_up(), "no connection to the broker"),
            ),
            (
                "log",
                why(
                    parts.is_stalled.get() != 0,
                    "it takes no more; gateways hold what they have",
                ),
            ),
            (
                "lag",
                (lag_ms > LAG_MAX_MS).then(|| {
                    format!(
                        "the archive is {lag_ms} ms behind the log (must be at most {LAG_MAX_MS})"
                    )
                }),
            ),
        ]
    }

    /// Whether every part does its work.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.judge().iter().all(|(_, why)| why.is_none()) && self.dead().is_empty()
    }

    /// The judgement as JSON: by part `{"ok": …}`, and `why` where it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        let part = |(name, why): Judgement| {
            let body = match why {
                None => json!({ "ok": true }),
                Some(why) => json!({ "ok": false, "why": why }),
            };
            (name.to_owned(), body)
        };
        Value::Object(self.judge().into_iter().map(part).collect())
    }

    /// Brings the figures up to date that follow from the time.
    pub fn refresh(&self) {
        let lag_ms = self.0.progress.lag_ms(unix_ms()).max(0);
        let lag_s = u64::try_from(lag_ms / 1000).unwrap_or(0);
        self.0.progress.0.lag_s.set(lag_s);
    }
}

/// What the log's consumer was last seen to do.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    /// Since when it waits for the archive, in Unix milliseconds; 0: it does not.
    busy_since_ms: AtomicI64,
    /// How old the newest message was when the archive took it, in milliseconds.
    last_lag_ms: AtomicI64,
    has_ended: AtomicBool,
    lag_s: Gauge,
}

impl Progress {
    fn new(metrics: &Metrics) -> Self {
        Self(Arc::new(Seen {
            busy_since_ms: AtomicI64::new(0),
            last_lag_ms: AtomicI64::new(0),
            has_ended: AtomicBool::new(false),
            lag_s: metrics.gauge(
                "furrow_archive_lag_seconds",
                "How old the newest message was when the archive took it, or how long it has been trying.",
                &[],
            ),
        }))
    }

    /// How far behind the archive is: what it last took was so old, or it has tried for so long. A consumer
    /// that has nothing to do was at the log's end.
    fn lag_ms(&self, now_ms: i64) -> i64 {
        let since_ms = self.0.busy_since_ms.load(Ordering::Acquire);
        let busy_ms = if since_ms == 0 { 0 } else { now_ms - since_ms };
        busy_ms.max(self.0.last_lag_ms.load(Ordering::Acquire))
    }
}

/// What the log's consumer fills, watched. When the consumer ends, however it ends, this is dropped.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    inner: S,
    progress: Progress,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, progress: Progress) -> Self {
        Self { inner, progress }
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        self.progress.0.has_ended.store(true, Ordering::Release);
    }
}

impl<S: Derived> Derived for Watched<S> {
    fn position(&self, cooperative: &CooperativeId) -> Option<LogPosition> {
        self.inner.position(cooperative)
    }

    fn chain(&self, cooperative: &CooperativeId) -> Option<u32> {
        self.inner.chain(cooperative)
    }

    fn apply(
        &mut self,
        cooperative: &CooperativeId,
        entries: &[LogEntry],
    ) -> Result<Applied, ArchiveError> {
        let seen = &self.progress.0;
        let now_ms = unix_ms();
        // A try that follows a failed one goes on with its time.
        if seen.busy_since_ms.load(Ordering::Acquire) == 0 {
            seen.busy_since_ms.store(now_ms, Ordering::Release);
        }
        let applied = self.inner.apply(cooperative, entries);
        if applied.is_ok() || matches!(applied, Err(ArchiveError::UnknownCooperative(_))) {
            let changes = entries.iter().flat_map(|entry| &entry.changes);
            if let Some(received_ms) = changes.filter_map(received_ms).max() {
                let lag_ms = unix_ms().saturating_sub(received_ms).max(0);
                seen.last_lag_ms.store(lag_ms, Ordering::Release);
            }
            seen.busy_since_ms.store(0, Ordering::Release);
        }
        applied
    }

    fn out_of_service(&self) -> BTreeSet<CooperativeId> {
        self.inner.out_of_service()
    }

    fn deleted(&self) -> BTreeSet<CooperativeId> {
        self.inner.deleted()
    }

    fn delete(&mut self, deletion: &Deletion) -> Result<(), ArchiveError> {
        self.inner.delete(deletion)
    }

    fn make_durable(&mut self) -> Result<(), ArchiveError> {
        self.inner.make_durable()
    }

    fn load_marks(&self) -> Result<Option<Snapshot>, SnapshotError> {
        self.inner.load_marks()
    }

    fn store_marks(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.inner.store_marks(snapshot)
    }

    fn needs_from(&self, position: Position) -> Position {
        self.inner.needs_from(position)
    }

    fn sync_marks(&mut self) -> Result<(), SnapshotError> {
        self.inner.sync_marks()
    }
}

/// When a message came, where its change says so.
fn received_ms(change: &Change) -> Option<i64> {
    match change {
        Change::Readings(readings) => Some(readings.received_unix_ms),
        Change::Catalog {
            received_unix_ms, ..
        }
        | Change::Mapping {
            received_unix_ms, ..
        }
        | Change::Loss {
            received_unix_ms, ..
        }
        | Change::DeadLetter {
            received_unix_ms, ..
        } => Some(*received_unix_ms),
        // Some come from long ago, some do not say.
        Change::Events { .. }
        | Change::Parked(_)
        | Change::Unparked { .. }
        | Change::Missing { .. }
        | Change::Rerun { .. }
        | Change::Command(_)
        | Change::Result(_)
        | Change::Orders(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::StoreError;

    /// An archive that takes entries, or does not.
    #[derive(Debug)]
    struct Told {
        takes: bool,
    }

    impl Derived for Told {
        fn position(&self, _: &CooperativeId) -> Option<LogPosition> {
            None
        }
        fn chain(&self, _: &CooperativeId) -> Option<u32> {
            None
        }
        fn apply(&mut self, id: &CooperativeId, _: &[LogEntry]) -> Result<Applied, ArchiveError> {
            let refused = StoreError::Schema { found: 0, known: 1 };
            match self.takes {
                true => Ok(Applied::default()),
                false => Err(refused.during("write", id)),
            }
        }
        fn out_of_service(&self) -> BTreeSet<CooperativeId> {
            ["sick".parse().unwrap()].into()
        }
        fn deleted(&self) -> BTreeSet<CooperativeId> {
            ["gone".parse().unwrap()].into()
        }
        fn delete(&mut self, _: &Deletion) -> Result<(), ArchiveError> {
            self.takes = false;
            Ok(())
        }
        fn needs_from(&self, _: Position) -> Position {
            Position {
                segment: 7,
                offset: 7,
            }
        }
        fn make_durable(&mut self) -> Result<(), ArchiveError> {
            Ok(())
        }
        fn load_marks(&self) -> Result<Option<Snapshot>, SnapshotError> {
            Ok(None)
        }
        fn store_marks(&mut self, _: &Snapshot) -> Result<(), SnapshotError> {
            Ok(())
        }
        fn sync_marks(&mut self) -> Result<(), SnapshotError> {
            Ok(())
        }
    }

    fn health(fleet: &Fleet, metrics: &Metrics) -> Health {
        let reader = ArchiveReader::open_dir(std::path::Path::new("/nowhere"), &[]);
        Health::new(reader, fleet.clone(), metrics)
    }

    fn entry(received_unix_ms: i64) -> LogEntry {
        LogEntry {
            position: LogPosition {
                segment: 1,
                offset: 0,
            },
            chain: 0,
            changes: vec![Change::DeadLetter {
                gateway: "gw-01".parse().unwrap(),
                record: None,
                reason: "test".to_owned(),
                bytes: bytes::Bytes::new(),
                received_unix_ms,
            }],
        }
    }

    fn bad(health: &Health) -> Vec<&'static str> {
        let parts = health.judge().into_iter();
        parts.filter_map(|(name, why)| why.map(|_| name)).collect()
    }

    #[test]
    fn each_part_is_judged_by_itself() {
        let (fleet, metrics) = (Fleet::default(), Metrics::default());
        let health = health(&fleet, &metrics);
        assert_eq!(bad(&health), ["broker"]);
        fleet.set_broker_up(true);
        assert!(health.is_well());
        let stalled = metrics.gauge("furrow_log_stalled", "", &[]);
        stalled.set(1);
        assert_eq!(bad(&health), ["log"]);
        let ok = json!({ "ok": true });
        let why = "it takes no more; gateways hold what they have";
        let log = json!({ "ok": false, "why": why });
        let expected = json!({ "archive": ok, "broker": ok, "log": log, "lag": ok });
        assert_eq!(health.json(), expected);
        stalled.set(0);
        assert!(health.is_well());
    }

    #[test]
    fn the_lag_is_how_old_a_message_is_when_it_is_taken_or_how_long_it_is_not() {
        let (fleet, metrics) = (Fleet::default(), Metrics::default());
        fleet.set_broker_up(true);
        let health = health(&fleet, &metrics);
        let (id, now_ms) = ("one".parse().unwrap(), unix_ms());
        let mut watched = Watched::new(Told { takes: true }, health.progress());
        watched
            .apply(&id, &[entry(now_ms - 2 * LAG_MAX_MS)])
            .unwrap();
        assert_eq!(bad(&health), ["lag"]);
        watched.apply(&id, &[entry(now_ms)]).unwrap();
        assert!(health.is_well());
        watched.inner.takes = false;
        watched.apply(&id, &[entry(now_ms)]).unwrap_err();
        let begun_ms = health.progress().0.busy_since_ms.load(Ordering::Acquire);
        assert!(begun_ms >= now_ms);
        assert_eq!(health.progress().lag_ms(begun_ms + LAG_MAX_MS), LAG_MAX_MS);
        watched.apply(&id, &[entry(now_ms)]).unwrap_err();
        let still_ms = health.progress().0.busy_since_ms.load(Ordering::Acquire);
        assert_eq!(still_ms, begun_ms);
        watched.inner.takes = true;
        watched.apply(&id, &[entry(unix_ms())]).unwrap();
        assert_eq!(health.progress().0.busy_since_ms.load(Ordering::Acquire), 0);
    }

    /// What it is asked beside the entries goes through: the log keeps what an archive out of service lacks.
    #[test]
    fn a_watched_archive_answers_everything_itself() {
        let health = health(&Fleet::default(), &Metrics::default());
        let mut watched = Watched::new(Told { takes: true }, health.progress());
        assert_eq!(watched.out_of_service(), ["sick".parse().unwrap()].into());
        assert_eq!(watched.deleted(), ["gone".parse().unwrap()].into());
        assert_eq!(watched.needs_from(Position::default()).segment, 7);
        let deletion = Deletion {
            cooperative: "gone".parse().unwrap(),
            position: Position::default(),
            deleted_unix_ms: 1,
        };
        watched.delete(&deletion).unwrap();
        assert!(!watched.inner.takes);
    }

    #[test]
    fn what_has_ended_is_named() {
        let (fleet, metrics) = (Fleet::default(), Metrics::default());
        fleet.set_broker_up(true);
        let health = health(&fleet, &metrics);
        let ended = Arc::new(AtomicBool::new(false));
        let has_ended = Arc::clone(&ended);
        health.watch("log writer", move || has_ended.load(Ordering::Acquire));
        let watched = Watched::new(Told { takes: true }, health.progress());
        assert!(health.is_well());
        drop(watched);
        assert_eq!(health.dead(), ["log consumer"]);
        ended.store(true, Ordering::Release);
        assert_eq!(health.dead(), ["log writer", "log consumer"]);
        assert!(!health.is_well());
    }
}
