//! The jobs that wait for one bus: valves first, then readings in order.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Job;
use crate::bus::Busy;

/// A job in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) job: Job,
    pub(super) busy: Busy,
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
        if state.closed {
            return Some((job, busy));
        }
        let queued = |busy| Queued {
            job,
            busy,
            since_ms,
        };
        match job {
            Job::Lease { .. } | Job::Status { .. } | Job::ClearFlags { .. } => {
                if state.urgent.len() >= self.urgent_max {
                    return Some((job, busy));
                }
                state.urgent.push_back(queued(busy));
            }
            Job::Prepare { device } | Job::Read { device, .. } => {
                if state.normal.len() >= self.normal_max || state.reading.contains(&device) {
                    return Some((job, busy));
                }
                state.reading.insert(device);
                state.normal.push_back(queued(busy));
            }
        }
        drop(state);
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
                return Some(next);
            }
            state = self
                .pushed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The job in hand is done: its device may be read again.
    pub(super) fn finished(&self) {
        let mut state = self.lock();
        if let Some((Job::Prepare { device } | Job::Read { device, .. }, _)) = state.in_hand.take()
        {
            state.reading.remove(&device);
        }
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
