//! The thread that owns the journal: a sync on an SD card can take hundreds of milliseconds, and the
//! event loop has valve leases to renew meanwhile.
//!
//! Requests come through a bounded queue in order; everything that waits in it shares one sync.

use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};

use furrow_gateway_core::outbox::Offer;
use furrow_journal::FileDisk;
use tokio::sync::mpsc;

use super::quiet::Quiet;
use super::store::{Fill, Found, Outcome, Packed, Store, Trouble, Write};

/// Requests that may wait: the window's packets, and writes beside them.
const QUEUE: usize = 128;
/// Answers that may wait for the event loop.
const ANSWERS: usize = 256;
/// So often a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What the event loop asks for.
#[derive(Debug)]
pub enum Request {
    /// Make entries durable.
    Write(Write),
    /// Read a packet.
    Pack(Offer),
    /// A segment may be reused.
    Release(u64),
    /// It may not, after all.
    Keep(u64),
    /// Read the records of a segment that is to be given up.
    Scan(u64),
}

/// What the thread answers.
#[derive(Debug)]
pub enum Answer {
    /// What became of a write, and how full the journal is now.
    Wrote(Outcome, Fill),
    /// Writes wait.
    Trouble(Trouble),
    /// A packet, or records that can't be read.
    Packed(Packed),
    /// The records of a segment.
    Scanned(u64, Vec<Found>),
}

/// The event loop's side.
#[derive(Debug)]
pub struct JournalThread {
    requests: blocking::SyncSender<Request>,
    /// What the thread answers; ends when the thread has ended.
    pub answers: mpsc::Receiver<Answer>,
    thread: std::thread::JoinHandle<()>,
}

/// The thread is gone, or its queue is full.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Its queue is full: try again later.
    #[error("journal thread is busy")]
    Busy(Box<Request>),
    /// It has ended, which it only does at the end of the process or by a panic.
    #[error("journal thread has ended")]
    Gone,
}

impl JournalThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Store<FileDisk>) -> std::io::Result<Self> {
        let (requests, from_loop) = blocking::sync_channel(QUEUE);
        let (to_loop, answers) = mpsc::channel(ANSWERS);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(store, &from_loop, &to_loop))?;
        Ok(JournalThread {
            requests,
            answers,
            thread,
        })
    }

    /// Hands a request over, without waiting.
    ///
    /// # Errors
    /// [`SendError`], with the request where it can be tried again.
    pub fn send(&self, request: Request) -> Result<(), SendError> {
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                blocking::TrySendError::Full(request) => SendError::Busy(Box::new(request)),
                blocking::TrySendError::Disconnected(_) => SendError::Gone,
            })
    }

    /// Ends the thread after what was handed over, and waits for it.
    pub fn stop(self) {
        let JournalThread {
            requests,
            answers,
            thread,
        } = self;
        drop(requests);
        // The thread must not wait for a reader that is gone.
        drop(answers);
        if thread.join().is_err() {
            tracing::error!("journal thread panicked");
        }
    }
}

fn run(
    mut store: Store<FileDisk>,
    requests: &blocking::Receiver<Request>,
    answers: &mpsc::Sender<Answer>,
) {
    let (began, mut quiet) = (Instant::now(), Quiet::default());
    loop {
        let first = if store.has_queued() {
            match requests.recv_timeout(RETRY) {
                Ok(request) => Some(request),
                Err(blocking::RecvTimeoutError::Timeout) => None,
                Err(blocking::RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match requests.recv() {
                Ok(request) => Some(request),
                Err(blocking::RecvError) => return,
            }
        };
        let mut reads = Vec::new();
        for request in first.into_iter().chain(requests.try_iter()) {
            match request {
                Request::Write(write) => store.push(write),
                Request::Release(segment) => store.release(segment),
                Request::Keep(segment) => store.keep(segment),
                Request::Pack(_) | Request::Scan(_) => reads.push(request),
            }
        }
        let has_written = store.has_queued();
        let wrote = commit(&mut store);
        if has_written {
            say(&store, &mut quiet, began.elapsed());
        }
        let all_heard = wrote
            .into_iter()
            .chain(read(&store, reads))
            .all(|answer| answers.blocking_send(answer).is_ok());
        if !all_heard {
            return finish(store, requests);
        }
    }
}

/// The event loop no longer listens: writes what it has still handed over.
fn finish(mut store: Store<FileDisk>, requests: &blocking::Receiver<Request>) {
    for request in requests.try_iter() {
        match request {
            Request::Write(write) => store.push(write),
            Request::Release(_) | Request::Keep(_) | Request::Pack(_) | Request::Scan(_) => {}
        }
    }
    if let Err(trouble) = store.commit() {
        let failure = store.failure();
        tracing::error!(?trouble, ?failure, "last commit of the journal failed");
    }
}

fn commit(store: &mut Store<FileDisk>) -> Vec<Answer> {
    let trouble = if store.has_queued() {
        store.commit().err()
    } else {
        None
    };
    let outcomes = store.take_outcomes();
    let fill = if outcomes.is_empty() {
        Fill::default()
    } else {
        store.fill()
    };
    let wrote = outcomes
        .into_iter()
        .map(|outcome| Answer::Wrote(outcome, fill.clone()));
    wrote.chain(trouble.map(Answer::Trouble)).collect()
}

/// A disk that fails is tried again and again: that is said at a bounded rate.
fn say(store: &Store<FileDisk>, quiet: &mut Quiet, since_start: Duration) {
    let now_ms = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX);
    match store.failure() {
        Some(error) => {
            if let Some(more) = quiet.handle_failure(now_ms) {
                let error = error as &dyn std::error::Error;
                tracing::error!(error, more, "cannot write the journal");
            }
        }
        None => {
            if let Some(more) = quiet.handle_success() {
                tracing::info!(more, "the journal can be written again");
            }
        }
    }
}

fn read(store: &Store<FileDisk>, requests: Vec<Request>) -> impl Iterator<Item = Answer> {
    requests.into_iter().filter_map(|request| match request {
        Request::Pack(offer) => Some(Answer::Packed(store.pack(&offer))),
        Request::Scan(segment) => Some(Answer::Scanned(segment, store.records_of(segment))),
        Request::Write(_) | Request::Release(_) | Request::Keep(_) => None,
    })
}
