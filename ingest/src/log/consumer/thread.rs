//! The consumer's thread: reads as long as there is something, waits, tries again, checkpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use furrow_journal::Disk;

use super::Consumer;
use crate::log::Log;
use crate::log::derived::Derived;

/// How long it sleeps without news, to look whether it is to stop.
const IDLE: Duration = Duration::from_millis(200);
/// Wait before an archive that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Least time between two checkpoints: each syncs every cooperative's file.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// A running consumer.
#[derive(Debug)]
pub struct ConsumerThread {
    stop: Arc<AtomicBool>,
    wake: Box<dyn Wake>,
    thread: JoinHandle<()>,
}

trait Wake: Send + std::fmt::Debug {
    fn wake(&self);
}

impl<D: Disk + Send + std::fmt::Debug> Wake for Arc<Log<D>> {
    fn wake(&self) {
        Log::wake(self);
    }
}

impl ConsumerThread {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start<D, S>(mut consumer: Consumer<D, S>) -> std::io::Result<Self>
    where
        D: Disk + Send + std::fmt::Debug + 'static,
        S: Derived + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let wake = Box::new(Arc::clone(&consumer.log));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("log-consumer".to_owned())
            .spawn(move || consumer.run(&stopped))?;
        Ok(Self { stop, wake, thread })
    }

    /// Lets it read to the end of the log, at most until `patience` is over, and waits for it.
    pub fn stop(self, patience: Duration) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
        let deadline = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if !self.thread.is_finished() {
            tracing::warn!("log is not read to its end; the rest is read at the next start");
        } else if self.thread.join().is_err() {
            tracing::error!("log consumer panicked");
        }
    }
}

impl<D: Disk, S: Derived> Consumer<D, S> {
    fn run(&mut self, stop: &AtomicBool) {
        let mut last_checkpoint = Instant::now();
        let mut is_failing = false;
        loop {
            let is_stopping = stop.load(Ordering::Acquire);
            match self.step() {
                Ok(0) if is_stopping => break,
                Ok(0) => self.log.wait_behind(self.position, IDLE),
                Ok(_) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("archive takes entries again");
                    }
                }
                Err(error) => {
                    self.figures.archive_errors.increment();
                    if !std::mem::replace(&mut is_failing, true) {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::error!(error, "archive takes no more; the log holds");
                    }
                    if is_stopping {
                        return;
                    }
                    std::thread::park_timeout(RETRY);
                }
            }
            if self.has_passed_a_segment()
                && self.group.is_none()
                && last_checkpoint.elapsed() >= CHECKPOINT_EVERY
            {
                last_checkpoint = Instant::now();
                self.try_checkpoint();
            }
        }
        self.try_checkpoint();
    }

    fn has_passed_a_segment(&self) -> bool {
        self.position.segment > self.checkpoint.segment
    }

    fn try_checkpoint(&mut self) {
        if let Err(error) = self.checkpoint() {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(error, "no segment of the log can be let go");
        }
    }
}
