//! One job at a time for each bus.
//!
//! A job holds simulated time still while it waits in a worker's queue, and the job before it may
//! need simulated time to pass: a sensor's conversion. So what waits, waits here, without a token.
//! Valves go before readings. A reading whose device needs time waits here, too, and its bus serves
//! others meanwhile.

use std::collections::VecDeque;

use crate::config::Settings;
use crate::devices::{Job, OPEN_LATE_MS};

/// Valve jobs that wait for one bus: two for each output of a full set of drip controllers. What
/// comes above this is given to the worker at once, which refuses it.
const URGENT_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Dispatch {
    buses: Vec<Bus>,
    /// Readings and surveys that go on later; at most one a device, and one a bus.
    later: Vec<(u64, Job)>,
    bus_of_device: Vec<usize>,
    controller_of_output: Vec<Option<usize>>,
}

#[derive(Debug, Default)]
struct Bus {
    in_hand: bool,
    urgent: VecDeque<(Job, u64)>,
    normal: VecDeque<Job>,
}

/// What to do with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Give it to the worker.
    Submit(Job),
    /// It would open a valve and has waited too long for its bus: it failed.
    TooLate(Job),
}

impl Dispatch {
    /// Queues for the buses of the settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Dispatch {
            buses: settings.buses().iter().map(|_| Bus::default()).collect(),
            later: Vec::new(),
            bus_of_device: settings.devices().iter().map(|device| device.bus).collect(),
            controller_of_output: settings
                .outputs()
                .map(|place| place.map(|place| place.controller))
                .collect(),
        }
    }

    /// A job is wanted. Readings are at most one a device, surveys one a bus, so their queue needs no
    /// other bound.
    pub fn push(&mut self, job: Job, now_ms: u64) -> Option<Turn> {
        let index = self.bus_of(job)?;
        let bus = self.buses.get_mut(index)?;
        match job {
            Job::Lease { .. } | Job::Status { .. } | Job::ClearFlags { .. } => {
                if bus.urgent.len() >= URGENT_MAX {
                    return Some(Turn::Submit(job));
                }
                bus.urgent.push_back((job, now_ms));
            }
            Job::Prepare { .. } | Job::Read { .. } | Job::Survey { .. } => {
                bus.normal.push_back(job);
            }
        }
        self.next(index, now_ms)
    }

    /// A job was answered; gives the next one of its bus.
    pub fn done(&mut self, job: Job, now_ms: u64) -> Option<Turn> {
        let index = self.bus_of(job)?;
        self.buses.get_mut(index)?.in_hand = false;
        self.next(index, now_ms)
    }

    /// A reading goes on at `until_ms`.
    pub fn later(&mut self, job: Job, until_ms: u64) {
        self.later.push((until_ms, job));
    }

    /// A reading that goes on now; to be called until there is none.
    pub fn poll_later(&mut self, now_ms: u64) -> Option<Job> {
        let due = self.later.iter().position(|(until, _)| *until <= now_ms)?;
        Some(self.later.remove(due).1)
    }

    /// When the next reading goes on.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.later.iter().map(|(until_ms, _)| *until_ms).min()
    }

    fn next(&mut self, index: usize, now_ms: u64) -> Option<Turn> {
        let bus = self.buses.get_mut(index)?;
        if bus.in_hand {
            return None;
        }
        let turn = match bus.urgent.pop_front() {
            Some((job @ Job::Lease { seconds: 1.., .. }, since_ms))
                if now_ms.saturating_sub(since_ms) > OPEN_LATE_MS =>
            {
                Turn::TooLate(job)
            }
            Some((job, _)) => Turn::Submit(job),
            None => Turn::Submit(bus.normal.pop_front()?),
        };
        bus.in_hand = true;
        Some(turn)
    }

    fn bus_of(&self, job: Job) -> Option<usize> {
        let device = match job {
            Job::Prepare { device } | Job::Read { device, .. } => device,
            Job::Lease { output, .. } | Job::Status { output } | Job::ClearFlags { output } => {
                (*self.controller_of_output.get(output)?)?
            }
            Job::Survey { bus, .. } => return Some(bus),
        };
        self.bus_of_device.get(device).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispatch() -> Dispatch {
        let buses = vec![Bus::default(), Bus::default()];
        Dispatch {
            buses,
            later: Vec::new(),
            bus_of_device: vec![0, 0, 1],
            controller_of_output: vec![Some(1), Some(2)],
        }
    }

    #[test]
    fn a_bus_has_one_job_in_hand_and_valves_go_first() {
        let mut dispatch = dispatch();
        let read = |device| Job::Read { device, tick_ms: 0 };
        let status = |output| Job::Status { output };
        assert_eq!(dispatch.push(read(0), 0), Some(Turn::Submit(read(0))));
        assert_eq!(dispatch.push(read(1), 0), None);
        assert_eq!(dispatch.push(status(0), 0), None);
        assert_eq!(
            dispatch.push(status(1), 0),
            Some(Turn::Submit(status(1))),
            "another bus"
        );
        assert_eq!(dispatch.done(read(0), 0), Some(Turn::Submit(status(0))));
        assert_eq!(dispatch.done(status(0), 0), Some(Turn::Submit(read(1))));
        assert_eq!(dispatch.done(read(1), 0), None);
    }

    #[test]
    fn a_reading_that_needs_time_leaves_its_bus_to_others() {
        let mut dispatch = dispatch();
        let read = |device| Job::Read { device, tick_ms: 0 };
        assert_eq!(dispatch.push(read(0), 0), Some(Turn::Submit(read(0))));
        dispatch.push(read(1), 0);
        // The conversion takes 900 ms; the other device is read at once.
        dispatch.later(read(0), 900);
        assert_eq!(dispatch.done(read(0), 1), Some(Turn::Submit(read(1))));
        dispatch.later(read(1), 16);
        assert_eq!(dispatch.done(read(1), 2), None);
        assert_eq!(dispatch.poll_timeout(), Some(16));
        assert_eq!(dispatch.poll_later(15), None);
        assert_eq!(dispatch.poll_later(900), Some(read(0)));
        assert_eq!(dispatch.poll_later(900), Some(read(1)));
        assert_eq!(
            (dispatch.poll_later(900), dispatch.poll_timeout()),
            (None, None)
        );
    }

    #[test]
    fn late_water_is_refused_and_closing_is_never_too_late() {
        let mut dispatch = dispatch();
        let read = Job::Read {
            device: 0,
            tick_ms: 0,
        };
        let lease = |seconds| Job::Lease { output: 0, seconds };
        dispatch.push(read, 0);
        assert_eq!(dispatch.push(lease(20), 0), None);
        assert_eq!(dispatch.push(lease(0), 0), None);
        assert_eq!(
            dispatch.done(read, OPEN_LATE_MS + 1),
            Some(Turn::TooLate(lease(20)))
        );
        assert_eq!(
            dispatch.done(lease(20), OPEN_LATE_MS + 1),
            Some(Turn::Submit(lease(0)))
        );
    }
}
