//! The thread in front of the log: takes messages, commits them in groups, confirms and acknowledges.
//!
//! [`Intake`] is what it does with a group, without thread, queue and clock; the rest waits.
//!
//! It never waits for the broker: what can't be handed over at once is kept and tried again. When the
//! log takes no more (disk full, disk broken, archive too far behind) it stops taking messages, so
//! nothing is confirmed and gateways hold; it tries again by itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use furrow_ingest_core::{GatewayKey, Tracker};
use furrow_journal::{Disk, JournalError};
use furrow_wire::Ack;
use tokio::sync::mpsc;

use super::Log;
use super::front::{Front, FrontSetup, Incoming};
use super::pace::Pace;
use crate::metrics::{Counter, Gauge, Metrics};

/// Messages between the broker link and the writer. More than the link's receive maximum, so that it
/// waits for the writer only after a reconnect has brought the same messages again.
pub const QUEUE_MESSAGES: usize = 2_048;
/// Messages of one commit at most: bounds how long the first of them waits.
const GROUP_MESSAGES: usize = 512;
/// How long a commit waits for company after its first message. A sync takes as long.
const GROUP_WINDOW: Duration = Duration::from_millis(2);
/// Longest sleep without messages: how late an acknowledgement of a quiet gateway can be.
const IDLE: Duration = Duration::from_millis(100);
/// Wait before a log that takes no more is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Confirmations that may wait for the link.
const MAX_UNCONFIRMED: usize = 2 * QUEUE_MESSAGES;

/// The way back to the broker and the gateways. None of these calls may wait.
pub trait Link: Send + 'static {
    /// What confirms one message to the broker.
    type Receipt: Send + 'static;

    /// Tells the broker that a message is durable; gives the receipt back if it can't be told now.
    ///
    /// # Errors
    /// The receipt: try again later.
    fn confirm(&mut self, receipt: Self::Receipt) -> Result<(), Self::Receipt>;

    /// Sends an acknowledgement. Says whether it could be handed over.
    #[must_use]
    fn acknowledge(&mut self, gateway: &GatewayKey, ack: &Ack) -> bool;
}

/// A message and its receipt.
#[derive(Debug)]
pub struct Delivery<R> {
    /// What came.
    pub incoming: Incoming,
    /// What confirms it.
    pub receipt: R,
}

/// Where deliveries go in, and the thread that takes them out.
pub type Started<R> = (mpsc::Sender<Delivery<R>>, JoinHandle<()>);

/// Starts the thread. It ends, after everything taken is committed, when all senders are gone.
///
/// # Errors
/// When there is no thread to be had.
pub fn start<D, L>(
    log: Arc<Log<D>>,
    tracker: Tracker,
    setup: FrontSetup,
    link: L,
) -> std::io::Result<Started<L::Receipt>>
where
    D: Disk + Send + 'static,
    L: Link,
{
    let (sender, messages) = mpsc::channel(QUEUE_MESSAGES);
    let metrics = setup.metrics.clone();
    let writer = Writer {
        log: Arc::clone(&log),
        pace: Pace::default(),
        intake: Intake::new(Front::new(log, tracker, setup), link, &metrics),
        messages,
        began: Instant::now(),
        is_closed: false,
    };
    // Only for its timer: the thread sleeps until a message comes or an acknowledgement is due.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || writer.run(&runtime))?;
    Ok((sender, thread))
}

struct Writer<D: Disk, L: Link> {
    log: Arc<Log<D>>,
    pace: Pace,
    intake: Intake<D, L>,
    messages: mpsc::Receiver<Delivery<L::Receipt>>,
    began: Instant,
    is_closed: bool,
}

/// Messages on their way into the log, and what is said once they are durable.
#[derive(Debug)]
pub struct Intake<D: Disk, L: Link> {
    front: Front<D>,
    link: L,
    /// Received, not yet in the log. At most [`GROUP_MESSAGES`].
    waiting: VecDeque<Delivery<L::Receipt>>,
    /// In the log, not yet committed.
    taken: Vec<L::Receipt>,
    /// Committed, not yet told to the broker. At most [`MAX_UNCONFIRMED`] before no more are taken.
    unconfirmed: VecDeque<L::Receipt>,
    is_stalled: bool,
    figures: Figures,
}

#[derive(Debug)]
struct Figures {
    commits: Counter,
    stalls: Counter,
    too_large: Counter,
    pauses: Counter,
    is_stalled: Gauge,
    unconfirmed: Gauge,
}

impl<D: Disk, L: Link> Writer<D, L> {
    fn run(mut self, runtime: &tokio::runtime::Runtime) {
        loop {
            // 1. Messages, or time to do something.
            if self.intake.can_receive() {
                runtime.block_on(self.receive());
            } else {
                wait(runtime, RETRY);
            }
            // 2. To the log, the broker and the gateways.
            let now_ms = if self.is_closed {
                // At the end nobody waits for the rest of a second.
                u64::MAX
            } else {
                self.now_ms()
            };
            self.intake.turn(now_ms, unix_ms());
            // 3. The end, with everything taken on the disk, or with nothing to be hoped for.
            if self.is_closed && (self.intake.is_done() || self.intake.is_stalled) {
                return;
            }
            // 4. Not faster than the archive, for long.
            let pause = self.pause();
            if !pause.is_zero() {
                wait(runtime, pause);
            }
        }
    }

    fn pause(&mut self) -> Duration {
        let Some((applied, behind)) = self.log.archive_progress().filter(|_| !self.is_closed)
        else {
            return Duration::ZERO;
        };
        let pause = self.pace.pause(self.now_ms(), applied, behind);
        self.intake.figures.pauses.add(u64::from(!pause.is_zero()));
        pause
    }

    async fn receive(&mut self) {
        let mut group = Vec::new();
        let due_ms = self.intake.front.poll_timeout();
        let until_due =
            due_ms.map(|due| Duration::from_millis(due.saturating_sub(self.now_ms()) + 1));
        let wait = until_due.map_or(IDLE, |due| due.min(IDLE));
        let room = GROUP_MESSAGES - self.intake.waiting.len().min(GROUP_MESSAGES - 1);
        let first = tokio::time::timeout(wait, self.messages.recv_many(&mut group, room)).await;
        self.is_closed = first == Ok(0);
        let window = tokio::time::sleep(GROUP_WINDOW);
        tokio::pin!(window);
        while !group.is_empty() && group.len() < room && !self.is_closed {
            let left = room - group.len();
            tokio::select! {
                more = self.messages.recv_many(&mut group, left) => self.is_closed = more == 0,
                () = &mut window => break,
            }
        }
        self.intake.push(group);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Sleeps on a runtime's timer: one made outside of it would panic.
fn wait(runtime: &tokio::runtime::Runtime, time: Duration) {
    runtime.block_on(async { tokio::time::sleep(time).await });
}

impl<D: Disk, L: Link> Intake<D, L> {
    /// Puts messages into the log behind `front` and answers over `link`.
    #[must_use]
    pub fn new(front: Front<D>, link: L, metrics: &Metrics) -> Self {
        Self {
            front,
            link,
            waiting: VecDeque::new(),
            taken: Vec::new(),
            unconfirmed: VecDeque::new(),
            is_stalled: false,
            figures: Figures::new(metrics),
        }
    }

    /// Whether more messages should be handed over.
    #[must_use]
    pub fn can_receive(&self) -> bool {
        !self.is_stalled && self.unconfirmed.len() < MAX_UNCONFIRMED
    }

    /// Hands messages over, in the order in which they came.
    pub fn push(&mut self, group: impl IntoIterator<Item = Delivery<L::Receipt>>) {
        self.waiting.extend(group);
    }

    /// Does what there is to do. `now_ms` is monotonic, `unix_ms` ingest's clock.
    pub fn turn(&mut self, now_ms: u64, unix_ms: i64) {
        // 1. Into the log, and onto the disk.
        let stored = self.take(now_ms).and_then(|()| self.front.commit());
        self.note(stored.as_ref().err());
        // 2. To the broker: what is durable is confirmed.
        if stored.is_ok() {
            if !self.taken.is_empty() {
                self.figures.commits.increment();
            }
            self.unconfirmed.extend(self.taken.drain(..));
        }
        self.confirm();
        // 3. To the gateways: what is held.
        self.acknowledge(now_ms, unix_ms);
    }

    /// Whether everything handed over is on the disk.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.taken.is_empty()
    }

    /// The decisions in front of the log.
    #[must_use]
    pub fn front(&self) -> &Front<D> {
        &self.front
    }

    /// The way back.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    /// Puts what waits into the log, in order, as far as the log takes it.
    fn take(&mut self, now_ms: u64) -> Result<(), JournalError> {
        while let Some(delivery) = self.waiting.front() {
            match self.front.handle_incoming(&delivery.incoming, now_ms) {
                Ok(()) => {}
                // A commit makes room; without one this is an ordinary failure.
                Err(JournalError::Uncommitted { .. }) => {
                    self.front.commit()?;
                    self.front.handle_incoming(&delivery.incoming, now_ms)?;
                }
                Err(error @ JournalError::TooLarge { .. }) => {
                    // It will never fit. The broker's limit is far below: another broker's is not.
                    self.figures.too_large.increment();
                    tracing::error!(gateway = %delivery.incoming.gateway, %error, "message dropped");
                }
                Err(error) => {
                    // What is in the log already may still be committed and confirmed.
                    self.front.commit()?;
                    self.unconfirmed.extend(self.taken.drain(..));
                    return Err(error);
                }
            }
            if let Some(delivery) = self.waiting.pop_front() {
                self.taken.push(delivery.receipt);
            }
        }
        Ok(())
    }

    fn confirm(&mut self) {
        while let Some(receipt) = self.unconfirmed.pop_front() {
            if let Err(receipt) = self.link.confirm(receipt) {
                self.unconfirmed.push_front(receipt);
                break;
            }
        }
        self.figures.unconfirmed.set(self.unconfirmed.len() as u64);
    }

    fn acknowledge(&mut self, now_ms: u64, unix_ms: i64) {
        for (due, acks) in self.front.poll_acks(now_ms, unix_ms) {
            let sent = acks
                .iter()
                .all(|ack| self.link.acknowledge(&due.gateway, ack));
            // At the end of time there is no later.
            if !sent && now_ms < u64::MAX {
                self.front.handle_unsent(due, now_ms);
            }
        }
    }

    fn note(&mut self, error: Option<&JournalError>) {
        match (error, self.is_stalled) {
            (Some(error), false) => {
                self.figures.stalls.increment();
                let error: &(dyn std::error::Error + 'static) = error;
                tracing::error!(
                    error,
                    "log takes no more; nothing is acknowledged until it does"
                );
            }
            (None, true) => tracing::info!("log takes messages again"),
            (Some(_), true) | (None, false) => {}
        }
        self.is_stalled = error.is_some();
        self.figures.is_stalled.set(u64::from(self.is_stalled));
    }
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        Self {
            commits: metrics.counter("furrow_log_commits_total", "Group commits of the log.", &[]),
            stalls: metrics.counter(
                "furrow_log_stalls_total",
                "Times the log took no more.",
                &[],
            ),
            too_large: metrics.counter(
                "furrow_messages_too_large_total",
                "Messages that no log entry can hold.",
                &[],
            ),
            pauses: metrics.counter(
                "furrow_log_pauses_total",
                "Pauses between two commits, since the archive is seconds behind.",
                &[],
            ),
            is_stalled: metrics.gauge("furrow_log_stalled", "1 while the log takes no more.", &[]),
            unconfirmed: metrics.gauge(
                "furrow_log_unconfirmed_messages",
                "Durable messages that the broker has not been told of.",
                &[],
            ),
        }
    }
}

/// Ingest's clock, Unix milliseconds.
#[must_use]
pub fn unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_can_wait_on_a_thread_without_a_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        wait(&runtime, Duration::from_millis(1));
    }
}
