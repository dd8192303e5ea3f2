//! Ingest without sockets, threads and clocks: the real log, front, intake and consumer over a disk
//! that fails on demand, and the archive of the reference.

use std::sync::Arc;

use bytes::Bytes;

use furrow_ingest::archive::LiveHub;
use furrow_ingest::decode::Decoder;
use furrow_ingest::http::Fleet;
use furrow_ingest::log::Log;
use furrow_ingest::log::consumer::{Consumer, ConsumerSetup};
use furrow_ingest::log::derived::Derived;
use furrow_ingest::log::entry::EntryKind;
use furrow_ingest::log::front::{Front, FrontSetup, Incoming};
use furrow_ingest::log::recover::{recover, replay};
use furrow_ingest::log::writer::{Delivery, Intake, Link};
use furrow_ingest::metrics::Metrics;
use furrow_ingest::remote::Board;
use furrow_ingest_core::{GatewayKey, Tracker};
use furrow_journal::sim::SimDisk;
use furrow_journal::{Journal, Options, Position};
use furrow_wire::{Ack, GreenhouseId};

use crate::archive::Archive;
use crate::broker::Message;
use crate::reached::{Point, Reached};

/// Small segments, so that they go within a run.
const LOG: Options = Options {
    segment_bytes: 8 * 1024,
    cap_bytes: 12 * 8 * 1024,
    keep_bytes: 8 * 1024,
};

/// The way back of one ingest process.
#[derive(Debug, Default)]
pub(crate) struct Back {
    pub(crate) confirmed: Vec<u64>,
    pub(crate) acks: Vec<Ack>,
    /// The client takes nothing now.
    pub(crate) is_blocked: bool,
}

impl Link for Back {
    type Receipt = u64;

    fn confirm(&mut self, receipt: u64) -> Result<(), u64> {
        if self.is_blocked {
            return Err(receipt);
        }
        self.confirmed.push(receipt);
        Ok(())
    }

    fn acknowledge(&mut self, _: &GatewayKey, ack: &Ack) -> bool {
        if !self.is_blocked {
            self.acks.push(ack.clone());
        }
        !self.is_blocked
    }
}

/// A running ingest.
pub(crate) struct Process {
    pub(crate) intake: Intake<SimDisk, Back>,
    consumer: Consumer<SimDisk, Archive>,
    checkpoint: Position,
    began_ms: u64,
    metrics: Metrics,
}

/// What a start found.
pub(crate) struct Started {
    pub(crate) process: Process,
    /// What it knows it holds.
    pub(crate) tracker: Tracker,
    pub(crate) new_era: bool,
    pub(crate) marks_lost: bool,
}

/// Whose packets these are.
pub(crate) fn key() -> GatewayKey {
    GatewayKey {
        cooperative: "hoa-binh".parse().expect("a valid id"),
        gateway: "gw-01".parse().expect("a valid id"),
    }
}

/// As `furrow-ingest run` logs it after a start; it answers nobody's message.
fn wake(gateway: GatewayKey) -> Delivery<u64> {
    let incoming = Incoming {
        gateway,
        kind: EntryKind::Wake,
        bytes: Bytes::new(),
        received_unix_ms: 0,
    };
    Delivery {
        incoming,
        receipt: 0,
    }
}

/// Where the gateway stands.
pub(crate) fn greenhouse() -> GreenhouseId {
    "nha-luoi-1".parse().expect("a valid id")
}

impl Process {
    /// Starts as `furrow-ingest run` does; the archive comes back when the disk fails.
    pub(crate) fn start(
        disk: &SimDisk,
        mut archive: Archive,
        now_ms: u64,
    ) -> Result<Started, Box<Archive>> {
        let Ok((journal, _)) = Journal::open(disk.clone(), LOG) else {
            return Err(Box::new(archive));
        };
        let log = Arc::new(Log::new(journal));
        let key = key();
        let mut decoder = Decoder::new([(key.clone(), greenhouse())]);
        for body in archive.tables.catalogs.values() {
            decoder.restore_catalog(&key, body);
        }
        for mapping in archive.tables.mappings.values() {
            decoder.restore_mapping(&key, *mapping);
        }
        for parked in archive.tables.parked.values() {
            decoder.restore_parked(&key, parked.clone());
        }
        let awake = decoder.awake();
        let marks_lost = archive.load_marks().is_err();
        let cooperatives = [key.cooperative.clone()];
        let Ok(snapshot) = recover(&log, &mut archive, &cooperatives) else {
            return Err(Box::new(archive));
        };
        let before = archive.load_marks().ok().flatten().unwrap_or_default();
        let new_era = !snapshot.eras.is_empty() && before.position <= snapshot.position;
        let tracker = replay(&log, &snapshot);
        let (fleet, live, metrics) = (Fleet::default(), LiveHub::default(), Metrics::default());
        let checkpoint = snapshot.position;
        let board = Board::default();
        let setup = ConsumerSetup {
            hold: furrow_ingest::log::Hold::firm("archive"),
            fleet: fleet.clone(),
            board: board.clone(),
            metrics: metrics.clone(),
        };
        let consumer = Consumer::new(Arc::clone(&log), archive, decoder, snapshot, setup);
        let setup = FrontSetup {
            gateways: [(key, greenhouse())].into(),
            fleet,
            live,
            board,
            metrics: metrics.clone(),
        };
        let front = Front::new(log, tracker.clone(), setup);
        let mut intake = Intake::new(front, Back::default(), &metrics);
        intake.push(awake.into_iter().map(wake));
        Ok(Started {
            process: Process {
                intake,
                consumer,
                checkpoint,
                began_ms: now_ms,
                metrics,
            },
            tracker,
            new_era,
            marks_lost,
        })
    }

    /// A message from the broker.
    pub(crate) fn push(&mut self, message: &Message, unix_ms: i64) {
        let incoming = Incoming {
            gateway: key(),
            kind: message.kind,
            bytes: message.bytes.clone(),
            received_unix_ms: unix_ms,
        };
        self.intake.push([Delivery {
            incoming,
            receipt: message.id,
        }]);
    }

    pub(crate) fn turn(&mut self, now_ms: u64, unix_ms: i64) {
        self.intake.turn(now_ms - self.began_ms, unix_ms);
    }

    /// Applies the next group; whether there was one.
    pub(crate) fn consume(&mut self) -> bool {
        self.consumer.step().is_ok_and(|count| count > 0)
    }

    /// Stores the marks and lets segments go; whether that succeeded.
    pub(crate) fn checkpoint(&mut self) -> bool {
        let done = self.consumer.checkpoint().is_ok();
        if done {
            self.checkpoint = self.consumer.position();
        }
        done
    }

    pub(crate) fn archive(&self) -> &Archive {
        self.consumer.derived()
    }

    pub(crate) fn archive_mut(&mut self) -> &mut Archive {
        self.consumer.derived_mut()
    }

    /// For a trace.
    pub(crate) fn summary(&self) -> String {
        let (read, marks) = (self.consumer.position(), self.checkpoint);
        format!(
            "log read to {read}, marks of {marks}, {}",
            self.archive().summary()
        )
    }

    /// What is held, committed or not.
    pub(crate) fn tracker(&self) -> &Tracker {
        self.intake.front().tracker()
    }

    /// The process ends; what it stored stays.
    pub(crate) fn end(self, reached: &mut Reached) -> Archive {
        let help = "";
        for (result, point) in [("duplicate", Point::Duplicate), ("beyond", Point::Beyond)] {
            let name = "furrow_records_offered_total";
            let offered = self.metrics.counter(name, help, &[("result", result)]);
            reached.add(point, offered.get());
        }
        let skipped = "furrow_log_entries_skipped_total";
        reached.add(
            Point::Skipped,
            self.metrics.counter(skipped, help, &[]).get(),
        );
        self.consumer.into_derived()
    }
}

/// What ingest would know if its power went now: recovery on a copy of its disk. `None` when it could
/// not even start.
pub(crate) fn known_after_power_cut(disk: &SimDisk, archive: &Archive) -> Option<Tracker> {
    let image = disk.image();
    image.restart(furrow_journal::sim::Survival::Nothing);
    let mut archive = archive.on(image.clone());
    let (journal, _) = Journal::open(image, LOG).ok()?;
    let log = Log::new(journal);
    let snapshot = recover(&log, &mut archive, &[key().cooperative]).ok()?;
    Some(replay(&log, &snapshot))
}
