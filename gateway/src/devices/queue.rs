//! The jobs that wait for one bus: valves first, then readings in order.
//!
//! Of all the tokens that come with jobs, a bus keeps one: the one it works under. A job that waits
//! for another job's delay must not hold time still for it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Job;
use crate::bus::Busy;

/// A job in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    /// Only with a job that found the bus idle.
    pub(super) busy: Option<Busy>,
    /// When it was queued, in monotonic milliseconds.
    pub(super) since_ms: u64,
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
    urgent: VecDeque<Queued>,
    normal: VecDeque<Queued>,
    /// Devices whose reading is queued or in hand.
    reading: BTreeSet<usize>,
    /// The job in hand and since when.
    in_hand: Option<(Job, u64)>,
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
        };
        if full || state.closed {
            return Some((job, busy));
        }
        let idle = !state.active && state.urgent.is_empty() && state.normal.is_empty();
        let (kept, spare) = if idle {
            (Some(busy), None)
        } else {
            (None, Some(busy))
        };
        let queued = Queued {
            job,
            busy: kept,
            since_ms,
        };
        match job {
            Job::Lease { .. } | Job::Status { .. } | Job::ClearFlags { .. } => {
                state.urgent.push_back(queued);
            }
            Job::Prepare { device } | Job::Read { device, .. } => {
                state.reading.insert(device);
                state.normal.push_back(queued);
            }
        }
        drop(state);
        // Outside the lock: simulated time may run on with it.
        drop(spare);
        self.pushed.notify_one();
        None
    }

    /// Waits for the next job; `None` once the queue is closed.
    pub(super) fn pop(&self) -> Option<Queued> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(next) = state
                .urgent
                .pop_front()
                .or_else(|| state.normal.pop_front())
            {
                state.in_hand = Some((next.job, next.since_ms));
                state.active = true;
                return Some(next);
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
        if let Some((Job::Prepare { device } | Job::Read { device, .. }, _)) = state.in_hand.take()
        {
            state.reading.remove(&device);
        }
        state.active = !(state.urgent.is_empty() && state.normal.is_empty());
        state.active
    }

    /// The device in hand, if it has been for longer than `limit_ms`.
    pub(super) fn hanging(&self, now_ms: u64, limit_ms: u64) -> Option<usize> {
        match self.lock().in_hand {
            Some((Job::Prepare { device } | Job::Read { device, .. }, since_ms)) => {
                (now_ms.saturating_sub(since_ms) > limit_ms).then_some(device)
            }
            Some((Job::Lease { .. } | Job::Status { .. } | Job::ClearFlags { .. }, _)) | None => {
                None
            }
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = (
            std::mem::take(&mut state.urgent),
            std::mem::take(&mut state.normal),
        );
        drop(state);
        // Tokens are given up outside the lock.
        drop(dropped);
        self.pushed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
