//! The loop of one forwarder: copy from the archive if it has to, then follow the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_ingest_core::GatewayKey;
use furrow_journal::{FileDisk, Position};
use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};

use super::FOLDER;
use super::backoff::{Backoff, Pace};
use super::copy::{Progress, Watch, cooperative as copy_cooperative};
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
use crate::store::archive::ArchiveStore;
use crate::store::{Refused, SeriesStore, StoreFault};

/// How long it sleeps without news, to look whether it is to stop.
const IDLE: Duration = Duration::from_millis(200);
/// Least time between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// Tries to find a place in the log while its segments go.
const PLACE_TRIES: u32 = 10;

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
    runtime: tokio::runtime::Runtime,
    figures: Figures,
    backoff: Backoff,
    stop: Arc<AtomicBool>,
}

/// Why following the log ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    LostPlace,
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
        let figures = Figures::new(&setup.metrics, &setup.name);
        let filled = Filled {
            state: State::open(&folder)?,
            folder: folder.clone(),
            store: Arc::clone(&setup.store),
            runtime: runtime.handle().clone(),
            figures: figures.clone(),
            units: BTreeMap::new(),
            received_ms: None,
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
                Ok(End::LostPlace) => {}
                Err(error) => self.wait_after(&error),
            }
        }
    }

    /// Copies from the archive what the log does not have any more.
    fn fill(&mut self) -> Result<(), ArchiveError> {
        if !self.log.is_held(&self.hold.name) {
            self.begin_at_archive()?;
        }
        self.adopt()?;
        let Some(filled) = &mut self.filled else {
            return Ok(());
        };
        for (cooperative, done) in filled.state.copying()? {
            self.figures.show(Condition::Copying);
            let store = Arc::clone(&filled.store);
            let archive = ArchiveStore::reading(&self.setup.archive_dir);
            let mut told = Told {
                cooperative: &cooperative,
                store: &self.setup.name,
                state: &mut filled.state,
                figures: &self.figures,
                stop: &self.stop,
            };
            let copied = copy_cooperative(
                &archive,
                store.as_ref(),
                &cooperative,
                done.as_deref(),
                &mut told,
            );
            let is_done = self.runtime.block_on(copied);
            if !is_done.map_err(ArchiveError::Forward)? {
                return Ok(());
            }
            filled.state.end_copy(&cooperative)?;
            self.backoff.handle_success();
            tracing::info!(store = %self.setup.name, %cooperative, "store has what the archive has");
        }
        Ok(())
    }

    /// Cooperatives that came back into the configuration: what the archive has of them came before this place.
    fn adopt(&mut self) -> Result<(), ArchiveError> {
        let Some(filled) = &mut self.filled else {
            return Ok(());
        };
        for cooperative in &self.setup.cooperatives {
            let is_new = filled.state.position(cooperative).is_none();
            if is_new && self.setup.reader.known(cooperative)?.position.is_some() {
                filled.state.begin_copy(cooperative)?;
            }
        }
        Ok(())
    }

    /// New, or its place in the log is gone: all is to be copied, and the log followed from where the archive is.
    fn begin_at_archive(&mut self) -> Result<(), ArchiveError> {
        // As long as the store is away a place would only be lost again.
        let health = self.runtime.block_on(self.setup.store.health());
        health.map_err(ArchiveError::Forward)?;
        let marks = self.take_place()?;
        let mut known = BTreeMap::new();
        for cooperative in &self.setup.cooperatives {
            known.insert(cooperative.clone(), self.setup.reader.known(cooperative)?);
        }
        let has_readings = known.values().any(|known| known.position.is_some());
        let Some(filled) = &mut self.filled else {
            return Ok(());
        };
        filled.state.seed(&known)?;
        snapshot::store(&self.folder, &marks).map_err(ArchiveError::Marks)?;
        if has_readings {
            self.figures.restarts.increment();
            tracing::warn!(store = %self.setup.name, "store is new or lost its place in the log: it gets everything from the archive");
        }
        Ok(())
    }

    /// Holds the log from the archive's last checkpoint on, and gives the marks that are of there.
    fn take_place(&self) -> Result<Snapshot, ArchiveError> {
        for _ in 0..PLACE_TRIES {
            let marks = snapshot::load(&self.setup.data_dir).map_err(ArchiveError::Marks)?;
            let mut marks = marks.unwrap_or_default();
            self.log.hold(&self.hold, marks.position);
            // It may have gone between the two.
            if self.log.has(marks.position) {
                // How far the archives were then is nothing to a store.
                marks.archives.clear();
                return Ok(marks);
            }
        }
        self.log.let_go(&self.hold.name);
        let reason = "the log lets go faster than a place can be taken".to_owned();
        Err(ArchiveError::Forward(StoreFault::Busy {
            reason,
            retry_after: None,
        }))
    }

    /// Follows the log until it is to stop, or its place is gone.
    fn follow(&mut self) -> Result<End, ArchiveError> {
        let Some(mut filled) = self.filled.take() else {
            return Ok(End::Stopped);
        };
        let (decoder, marks, went_back) = match self.resume(&mut filled) {
            Ok(resumed) => resumed,
            Err(error) => {
                self.filled = Some(filled);
                return Err(error);
            }
        };
        let position = marks.position;
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
            End::LostPlace
        };
        self.filled = Some(consumer.into_derived());
        Ok(end)
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

    fn follow_with(&mut self, consumer: &mut Consumer<FileDisk, Filled>) -> End {
        let mut last_checkpoint = Instant::now();
        let mut checkpointed = consumer.position();
        loop {
            if self.is_over() {
                self.checkpoint(consumer);
                return End::Stopped;
            }
            let began = Instant::now();
            let stepped = consumer.step();
            if !self.log.is_held(&self.hold.name) {
                return End::LostPlace;
            }
            match stepped {
                Ok(0) => self.log.wait_behind(consumer.position(), IDLE),
                Ok(_) => {
                    self.backoff.handle_success();
                    self.figures.show(Condition::Forwarding);
                    self.pause(
                        self.setup
                            .pace
                            .between_writes
                            .saturating_sub(began.elapsed()),
                        consumer.position(),
                    );
                }
                Err(error) => self.wait_after(&error),
            }
            self.show_lag(consumer);
            if consumer.position() != checkpointed && last_checkpoint.elapsed() >= CHECKPOINT_EVERY
            {
                last_checkpoint = Instant::now();
                checkpointed = consumer.position();
                self.checkpoint(consumer);
            }
        }
    }

    fn checkpoint(&self, consumer: &mut Consumer<FileDisk, Filled>) {
        if let Err(error) = consumer.checkpoint() {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(store = %self.setup.name, error, "store's place in the log can't be kept");
        }
    }

    fn show_lag(&self, consumer: &Consumer<FileDisk, Filled>) {
        let bytes = self.log.bytes_behind(consumer.position());
        let received_ms = consumer.derived().received_ms;
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

    fn wait_after(&mut self, error: &ArchiveError) {
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
        let end = Instant::now() + wait;
        while Instant::now() < end && !self.is_over() {
            std::thread::park_timeout(IDLE.min(end.saturating_duration_since(Instant::now())));
        }
    }
}

/// What the copy from the archive tells.
struct Told<'a> {
    cooperative: &'a CooperativeId,
    store: &'a str,
    state: &'a mut State,
    figures: &'a Figures,
    stop: &'a AtomicBool,
}

impl Watch for Told<'_> {
    fn handle_series(&mut self, series: &SeriesId, at: Progress) -> Result<(), StoreFault> {
        let Progress {
            done,
            series: all,
            readings,
        } = at;
        tracing::info!(
            store = %self.store, cooperative = %self.cooperative, done, all, readings,
            "copying from the archive"
        );
        self.state
            .set_copied(self.cooperative, series)
            .map_err(|error| busy(&error))
    }

    fn handle_written(&mut self, stored: u64, refused: &[Refused]) -> Result<(), StoreFault> {
        self.figures.readings.add(stored);
        self.figures.refused.add(refused.len() as u64);
        self.state
            .keep_refused(self.cooperative, refused)
            .map_err(|error| busy(&error))
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

fn busy(error: &super::StateError) -> StoreFault {
    StoreFault::Busy {
        reason: error.to_string(),
        retry_after: None,
    }
}
