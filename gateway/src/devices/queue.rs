//! The jobs that wait for one bus: valves first, then readings in order.
//!
//! Of all the tokens that come with jobs, a bus keeps one: the one it works under. A job that waits
//! for another job's delay must not hold time still for it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Job;
use crate::bus::Busy;

/// A job for the worker.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    /// Only with the job that woke an idle bus; later ones go on under the worker's own token.
    pub(super) busy: Option<Busy>,
    /// When it was queued, in monotonic milliseconds.
    pub(super) since_ms: u64,
}

#[derive(Debug)]
struct Waiting {
    job: Job,
    since_ms: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    pushed: Condvar,
    normal_max: usize,
    urgent_max: usize,
}

#[derive(Debug, Default)]
struct State {
    urgent: VecDeque<Waiting>,
    normal: VecDeque<Waiting>,
    /// Devices whose reading is queued or in hand.
    reading: BTreeSet<usize>,
    /// The job in hand.
    in_hand: Option<Job>,
    /// Of the job that woke the bus, until the worker takes it.
    token: Option<Busy>,
    /// The worker is on its way and holds a token.
    active: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn new(normal_max: usize, urgent_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            pushed: Condvar::new(),
            normal_max,
            urgent_max,
        }
    }

    /// Queues a job, or gives it back: when the queue is full, or its device is still being read.
    pub(super) fn push(&self, job: Job, busy: Busy, since_ms: u64) -> Option<(Job, Busy)> {
        let mut state = self.lock();
        let full = match job {
            Job::Lease { .. } | Job::Status { .. } | Job::ClearFlags { .. } => {
                state.urgent.len() >= self.urgent_max
            }
            Job::Prepare { device } | Job::Read { device, .. } => {
                state.normal.len() >= self.normal_max || state.reading.contains(&device)
            }
            Job::Survey { .. } => state.normal.len() >= self.normal_max,
        };
        if full || state.closed {
            return Some((job, busy));
        }
        let waiting = Waiting { job, since_ms };
        match job {
            Job::Lease { .. } | Job::Status { .. } | Job::ClearFlags { .. } => {
                state.urgent.push_back(waiting);
            }
            Job::Prepare { device } | Job::Read { device, .. } => {
                state.reading.insert(device);
                state.normal.push_back(waiting);
            }
            Job::Survey { .. } => state.normal.push_back(waiting),
        }
        let spare = if state.active || state.token.is_some() {
            Some(busy)
        } else {
            state.token = Some(busy);
            None
        };
        drop(state);
        // Outside the lock: simulated time may run on with it.
        drop(spare);
        self.pushed.notify_one();
        None
    }

    /// Waits for the next job; `None` once the queue is closed and no valve is left to be closed.
    pub(super) fn pop(&self) -> Option<Queued> {
        let mut state = self.lock();
        loop {
            let next = state.urgent.pop_front();
            if let Some(Waiting { job, since_ms }) = next.or_else(|| state.normal.pop_front()) {
                state.in_hand = Some(job);
                state.active = true;
                let busy = state.token.take();
                return Some(Queued {
                    job,
                    busy,
                    since_ms,
                });
            }
            if state.closed {
                return None;
            }
            state = self
                .pushed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The job in hand is done: its device may be read again. Answers whether more is to be done; if
    /// so, the worker has to go on under a token of its own.
    pub(super) fn finished(&self) -> bool {
        let mut state = self.lock();
        if let Some(Job::Prepare { device } | Job::Read { device, .. }) = state.in_hand.take() {
            state.reading.remove(&device);
        }
        state.active = !(state.urgent.is_empty() && state.normal.is_empty());
        state.active
    }

    /// No more work: what waits is dropped, except what closes valves.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.normal.clear();
        let closes = |waiting: &Waiting| matches!(waiting.job, Job::Lease { seconds: 0, .. });
        state.urgent.retain(closes);
        let idle = state.urgent.is_empty();
        let spare = state.token.take_if(|_| idle);
        drop(state);
        // Outside the lock: simulated time may run on with it.
        drop(spare);
        self.pushed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
