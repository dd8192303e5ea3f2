//! The loop of one forwarder: copy from the archive if it has to, then follow the log.

mod fill;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_ingest_core::GatewayKey;
use furrow_journal::{FileDisk, Position};
use furrow_wire::{CooperativeId, GreenhouseId};

use super::FOLDER;
use super::backoff::{Backoff, Pace};
use super::figures::{Condition, Figures};
use super::filled::Filled;
use super::state::State;
use crate::archive::{ArchiveError, ArchiveReader};
use crate::decode::Decoder;
use crate::http::Fleet;
use crate::log::consumer::{Consumer, ConsumerSetup};
use crate::log::recover::recover;
use crate::log::snapshot::{self, Snapshot};
use crate::log::writer::unix_ms;
use crate::log::{Hold, Log};
use crate::metrics::Metrics;
use crate::remote::Board;
use crate::store::{SeriesStore, StoreFault};

/// How long it sleeps without news, to look whether it is to stop.
const IDLE: Duration = Duration::from_millis(200);

/// What a forwarder needs.
#[derive(Debug, Clone)]
pub struct ForwarderSetup {
    /// The store's name in the configuration.
    pub name: String,
    /// The store.
    pub store: Arc<dyn SeriesStore>,
    /// Where log, archive and state are.
    pub data_dir: PathBuf,
    /// Folder of the archive.
    pub archive_dir: PathBuf,
    /// The archive, for where it is in the log.
    pub reader: ArchiveReader,
    /// Gateways and where they stand.
    pub gateways: BTreeMap<GatewayKey, GreenhouseId>,
    /// Whose readings.
    pub cooperatives: Vec<CooperativeId>,
    /// How fast it goes.
    pub pace: Pace,
    /// Figures.
    pub metrics: Metrics,
}

/// A forwarder that runs.
#[derive(Debug)]
pub struct Forwarder {
    name: String,
    stop: Arc<AtomicBool>,
    log: Arc<Log<FileDisk>>,
    thread: JoinHandle<()>,
}

impl Forwarder {
    /// Takes hold of its place in the log, and starts. Call it before the log's consumer starts, which lets segments
    /// go.
    ///
    /// # Errors
    /// When its state can't be read or there is no thread to be had.
    pub fn start(log: &Arc<Log<FileDisk>>, setup: ForwarderSetup) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let name = setup.name.clone();
        let mut work = Work::new(Arc::clone(log), setup, Arc::clone(&stop))
            .with_context(|| format!("can't use the state of store {name}"))?;
        work.hold_stored_place();
        let thread = std::thread::Builder::new()
            .name(format!("store-{name}"))
            .spawn(move || work.run())
            .context("can't start a forwarder")?;
        Ok(Self {
            name,
            stop,
            log: Arc::clone(log),
            thread,
        })
    }

    /// Asks it to end; what it has not forwarded stays in the log.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.log.wake();
    }

    /// Waits for its end until `deadline`. A write that hangs is given up: it is repeated at the next start.
    pub fn join(self, deadline: Instant) {
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if !self.thread.is_finished() {
            tracing::warn!(store = %self.name, "store does not answer; its last write is repeated at the next start");
        } else if self.thread.join().is_err() {
            tracing::error!(store = %self.name, "forwarder panicked");
        }
    }
}

struct Work {
    setup: ForwarderSetup,
    log: Arc<Log<FileDisk>>,
    hold: Hold,
    folder: PathBuf,
    filled: Option<Filled>,
    runtime: Arc<tokio::runtime::Runtime>,
    figures: Figures,
    backoff: Backoff,
    stop: Arc<AtomicBool>,
}

/// Why following the log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    LostPlace,
    /// The store may have forgotten what it took last: back to the stored place.
    Forgotten,
}

impl Work {
    fn new(
        log: Arc<Log<FileDisk>>,
        setup: ForwarderSetup,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let folder = setup.data_dir.join(FOLDER).join(&setup.name);
        // Timers and sockets of one store: the thread itself drives them.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let runtime = Arc::new(runtime);
        let figures = Figures::new(&setup.metrics, &setup.name);
        let state = State::open(&folder)?;
        let filled = Filled {
            received_ms: state.received_ms()?,
            state,
            folder: folder.clone(),
            store: Arc::clone(&setup.store),
            runtime: Arc::clone(&runtime),
            figures: figures.clone(),
            units: BTreeMap::new(),
            waiting: VecDeque::new(),
            stored_place: Position::default(),
        };
        Ok(Self {
            hold: Hold::loose(&format!("store {}", setup.name)),
            log,
            folder,
            filled: Some(filled),
            runtime,
            figures,
            backoff: Backoff::new(setup.pace),
            setup,
            stop,
        })
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Before anything is let go: the place that it had when it ended, if it had one and the log still has it.
    fn hold_stored_place(&mut self) {
        let Ok(Some(marks)) = snapshot::load(&self.folder) else {
            return;
        };
        if self.log.has(marks.position) {
            self.log.hold(&self.hold, marks.position);
            if let Some(filled) = &mut self.filled {
                filled.stored_place = marks.position;
            }
        }
    }

    fn run(&mut self) {
        while !self.is_over() {
            let ended = self.fill().and_then(|()| {
                if self.is_over() {
                    return Ok(End::Stopped);
                }
                self.follow()
            });
            match ended {
                Ok(End::Stopped) => return,
                Ok(End::LostPlace | End::Forgotten) => {}
                Err(error) => {
                    let wait = self.handle_fault(&error);
                    self::wait(wait, &self.stop, || {
                        if let Some(filled) = &self.filled {
                            self.show_lag_from(filled.stored_place, filled.received_ms);
                        }
                    });
                }
            }
        }
    }

    /// Follows the log until it is to stop, or its place is gone.
    fn follow(&mut self) -> Result<End, ArchiveError> {
        let Some(mut filled) = self.filled.take() else {
            return Ok(End::Stopped);
        };
        let rewound = filled.rewind();
        if let Err(error) = rewound {
            self.filled = Some(filled);
            return Err(error);
        }
        let (decoder, marks, went_back) = match self.resume(&mut filled) {
            Ok(resumed) => resumed,
            Err(error) => {
                self.filled = Some(filled);
                return Err(error);
            }
        };
        let position = marks.position;
        filled.stored_place = position;
        let setup = ConsumerSetup {
            hold: self.hold.clone(),
            fleet: Fleet::default(),
            board: Board::default(),
            // The archive's consumer counts what the log holds.
            metrics: Metrics::default(),
        };
        let mut consumer = Consumer::new(Arc::clone(&self.log), filled, decoder, marks, setup);
        // It holds its place by now: what is there stays there.
        let end = if self.log.has(position) && !went_back {
            self.follow_with(&mut consumer)
        } else {
            self.log.let_go(&self.hold.name);
            Ok(End::LostPlace)
        };
        self.filled = Some(consumer.into_derived());
        end
    }

    /// What the consumer begins with, and whether that is before the stored place.
    fn resume(&self, filled: &mut Filled) -> Result<(Decoder, Snapshot, bool), ArchiveError> {
        let stored = snapshot::load(&self.folder).map_err(ArchiveError::Marks)?;
        let mut decoder = Decoder::new(self.setup.gateways.clone());
        filled.state.restore(&mut decoder)?;
        let marks = recover(&self.log, filled, &self.setup.cooperatives);
        let marks = marks.map_err(ArchiveError::Marks)?;
        // What is stored does not fit the log or itself, and the log is to be read from before the stored place: what
        // stood there may be gone.
        let went_back = stored.is_none_or(|stored| marks.position < stored.position);
        Ok((decoder, marks, went_back))
    }

    fn follow_with(
        &mut self,
        consumer: &mut Consumer<FileDisk, Filled>,
    ) -> Result<End, ArchiveError> {
        let may_forget = !self.setup.store.abilities().durable_after.is_zero();
        let incarnation = if may_forget {
            self.incarnation()?
        } else {
            None
        };
        let mut last_look = Instant::now();
        let mut checkpointed = consumer.position();
        loop {
            if self.is_over() {
                self.checkpoint(consumer);
                return Ok(End::Stopped);
            }
            let began = Instant::now();
            let stepped = consumer.step();
            if !self.log.is_held(&self.hold.name) {
                return Ok(End::LostPlace);
            }
            match stepped {
                Ok(0) => {
                    self.figures.show(Condition::Forwarding);
                    self.log.wait_behind(consumer.position(), IDLE);
                }
                Ok(_) => {
                    self.backoff.handle_success();
                    self.figures.show(Condition::Forwarding);
                    let pace = self.setup.pace.between_writes;
                    self.pause(pace.saturating_sub(began.elapsed()), consumer.position());
                }
                Err(error) => {
                    let wait = self.handle_fault(&error);
                    self::wait(wait, &self.stop, || self.show_lag(consumer));
                    if may_forget {
                        return Ok(End::Forgotten);
                    }
                }
            }
            self.show_lag(consumer);
            if last_look.elapsed() < self.setup.pace.look_every {
                continue;
            }
            last_look = Instant::now();
            if may_forget && self.incarnation()? != incarnation {
                tracing::warn!(store = %self.setup.name, "store was started anew: what it took last is written again");
                return Ok(End::Forgotten);
            }
            consumer.derived_mut().settle(last_look)?;
            // Also where nothing more comes: the log may go up to what is settled.
            let settled = consumer.derived().stored_place;
            self.log.move_hold(&self.hold, settled);
            if consumer.position() != checkpointed {
                checkpointed = consumer.position();
                self.checkpoint(consumer);
            }
        }
    }

    fn incarnation(&self) -> Result<Option<u64>, ArchiveError> {
        let asked = self.runtime.block_on(self.setup.store.incarnation());
        asked.map_err(ArchiveError::Forward)
    }

    fn checkpoint(&self, consumer: &mut Consumer<FileDisk, Filled>) {
        if let Err(error) = consumer.checkpoint() {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(store = %self.setup.name, error, "store's place in the log can't be kept");
        }
    }

    fn show_lag(&self, consumer: &Consumer<FileDisk, Filled>) {
        self.show_lag_from(consumer.position(), consumer.derived().received_ms);
    }

    fn show_lag_from(&self, position: Position, received_ms: Option<i64>) {
        let bytes = self.log.bytes_behind(position);
        let age_ms = received_ms.map_or(0, |at| unix_ms().saturating_sub(at));
        let seconds = u64::try_from(age_ms / 1_000).unwrap_or(0);
        self.figures
            .show_lag(bytes, if bytes == 0 { 0 } else { seconds });
    }

    /// Lets more come together, unless there is a lot already.
    fn pause(&self, wait: Duration, position: Position) {
        const MUCH_BYTES: u64 = 1 << 20;
        let end = Instant::now() + wait;
        while Instant::now() < end
            && !self.is_over()
            && self.log.bytes_behind(position) < MUCH_BYTES
        {
            std::thread::park_timeout(IDLE.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Tells of it; gives how long to wait.
    fn handle_fault(&mut self, error: &ArchiveError) -> Duration {
        self.figures.faults.increment();
        let fault = if let ArchiveError::Forward(fault) = error {
            fault.clone()
        } else {
            StoreFault::Busy {
                reason: error.to_string(),
                retry_after: None,
            }
        };
        let condition = match fault {
            StoreFault::Busy { .. } => Condition::Waiting,
            StoreFault::Denied { .. } | StoreFault::Refused { .. } => Condition::Denied,
        };
        self.figures.show(condition);
        let wait = self.backoff.handle_fault(&fault, rand::random::<f64>());
        let error: &(dyn std::error::Error + 'static) = error;
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match condition {
            Condition::Denied => {
                tracing::error!(store = %self.setup.name, error, wait_ms, "store needs a person; the log holds");
            }
            Condition::Waiting | Condition::Forwarding | Condition::Copying => {
                tracing::warn!(store = %self.setup.name, error, wait_ms, "store takes nothing; the log holds");
            }
        }
        wait
    }
}

/// Waits, unless it is to stop, and calls `look` all the while.
fn wait(time: Duration, stop: &AtomicBool, look: impl Fn()) {
    let end = Instant::now() + time;
    while Instant::now() < end && !stop.load(Ordering::Acquire) {
        look();
        std::thread::park_timeout(IDLE.min(end.saturating_duration_since(Instant::now())));
    }
}
