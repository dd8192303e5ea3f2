//! Devices on their buses: one worker thread per bus, jobs in, results out.
//!
//! Owns: building the drivers from the settings, retries, and the queues. It does not schedule and
//! does not judge readings: that is the core's. A bus that hangs stops its own worker and nobody
//! else: its jobs are answered as failed by [`Devices::submit`].
//!
//! ```text
//! event loop ──submit(Job, Busy)──► queue (bounded) ──► worker ──Done{outcome, busy}──► Results
//! ```
//!
//! Every submitted job is answered by exactly one [`Done`]: either at once by `submit`, or through
//! [`Results`]. The [`Busy`] token travels with it, so that simulated time waits for the answer.

mod contacts;
mod driver;
mod queue;
mod reading;
mod surveying;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use furrow_drivers::{BusFault, SensorError};
use furrow_irrigation::OutputStatus;
use furrow_wire::Decimal;

use crate::bus::{Busy, Field, FieldClock};
use crate::config::Settings;
use crate::survey::{Addresses, Next, Seen};

use self::queue::Queue;
use self::worker::Worker;

/// Most valve jobs that wait for one bus: two for each output of a full set of drip controllers.
const URGENT_MAX: usize = 64;
/// A valve job that opens and has waited longer than this is refused: late water can hurt.
pub const OPEN_LATE_MS: u64 = 5_000;

/// Work for a bus. Devices and zones are named by their place in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Bring a device into its measuring mode; once for each device at start. May take 0.5 s.
    Prepare {
        /// The device.
        device: usize,
    },
    /// Read all channels of a device, or go on with that reading: see [`Outcome::Later`].
    Read {
        /// The device.
        device: usize,
        /// Handed back as it is: the tick that this reading belongs to.
        tick_ms: u64,
    },
    /// Renew or end an output's lease. Goes before readings.
    Lease {
        /// The output: see [`Settings::output`].
        output: usize,
        /// 0 closes.
        seconds: u16,
    },
    /// Read an output. Goes before readings.
    Status {
        /// The output.
        output: usize,
    },
    /// Clear the latched flags of an output's controller. Goes before readings.
    ClearFlags {
        /// The output.
        output: usize,
    },
    /// Look at some addresses of a bus, some milliseconds long.
    Survey {
        /// The bus.
        bus: usize,
        /// Counts from 0, which begins anew.
        part: u32,
        /// Of a serial line.
        addresses: Addresses,
    },
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Of [`Job::Prepare`]: when the first reading can be had, in monotonic milliseconds; `None` when
    /// it can be had now.
    Prepared(Result<Option<u64>, SensorError>),
    /// Of [`Job::Read`]: the device needs time, and the bus is free for others. The same job is to be
    /// submitted again then.
    Later {
        /// In monotonic milliseconds.
        until_ms: u64,
    },
    /// Of [`Job::Read`]: one for each channel of the device, in the order of the settings; raw, as
    /// [`crate::calibrations::Scales`] takes them.
    Readings(Vec<Result<Decimal, SensorError>>),
    /// Of [`Job::Lease`].
    Lease(Result<(), SensorError>),
    /// Of [`Job::Status`].
    Status(Result<OutputStatus, SensorError>),
    /// Of [`Job::ClearFlags`].
    Cleared(Result<(), SensorError>),
    /// Of [`Job::Survey`].
    Surveyed(Part),
}

/// What a part of a survey brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What answered.
    pub seen: Vec<Seen>,
    /// When the next part is due, or why there is none, for people.
    pub next: Result<Next, String>,
    /// The address of a serial line that a long search has come to.
    pub slave: Option<u8>,
}

/// An answered job.
#[derive(Debug)]
pub struct Done {
    /// The job.
    pub job: Job,
    /// What became of it.
    pub outcome: Outcome,
    /// When, in monotonic milliseconds.
    pub at_mono_ms: u64,
    /// The token that came with the job.
    pub busy: Busy,
}

/// The devices can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system gives no thread.
    #[error("start the worker of bus {bus}")]
    Thread {
        /// Which.
        bus: String,
        /// Why not.
        source: io::Error,
    },
}

/// All workers. Dropping it ends them; one that hangs in the kernel is left behind.
#[derive(Debug)]
pub struct Devices {
    field: Field,
    settings: Arc<Settings>,
    queues: Vec<Arc<Queue>>,
    clears: Arc<AtomicU64>,
}

/// The answers of all workers.
#[derive(Debug)]
pub struct Results(tokio::sync::mpsc::Receiver<Done>);

impl Results {
    /// The next answer. `None` once all workers have ended. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Done> {
        self.0.recv().await
    }

    /// The next answer, if there is one.
    pub fn try_recv(&mut self) -> Option<Done> {
        self.0.try_recv().ok()
    }

    /// The next answer, for programs without an event loop. Must not be called inside one.
    pub fn blocking_recv(&mut self) -> Option<Done> {
        self.0.blocking_recv()
    }
}

impl Devices {
    /// Starts a worker for each bus. Nothing is sent to any device yet.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(settings: &Arc<Settings>, field: &Field) -> Result<(Self, Results), StartError> {
        // Two of each device, and a survey.
        let normal_max = settings.devices().len().saturating_mul(2).saturating_add(1);
        let buses = settings.buses().len();
        // Room for every job that can be queued or in hand: a worker never waits for the loop.
        let answers = normal_max
            .saturating_add(URGENT_MAX)
            .saturating_add(1)
            .saturating_mul(buses);
        let (sender, receiver) = tokio::sync::mpsc::channel(answers.max(1));
        let mut devices = Self {
            field: field.clone(),
            settings: Arc::clone(settings),
            queues: Vec::new(),
            clears: Arc::default(),
        };
        let meters = driver::meters(settings, field);
        for (index, bus) in settings.buses().iter().enumerate() {
            let queue = Arc::new(Queue::new(normal_max, URGENT_MAX));
            let worker = Worker {
                settings: Arc::clone(settings),
                bus: index,
                field: field.clone(),
                queue: Arc::clone(&queue),
                answers: sender.clone(),
                clears: Arc::clone(&devices.clears),
                meters: meters.clone(),
            };
            // Not joined: a worker may hang in the kernel, and the process must end all the same.
            std::thread::Builder::new()
                .name(format!("bus-{}", bus.id))
                .spawn(move || worker.run())
                .map_err(|source| StartError::Thread {
                    bus: bus.id.to_string(),
                    source,
                })?;
            devices.queues.push(queue);
        }
        Ok((devices, Results(receiver)))
    }

    /// The field's clock.
    #[must_use]
    pub fn clock(&self) -> &FieldClock {
        self.field.clock()
    }

    /// How often a stuck bus was clocked, since the start.
    #[must_use]
    pub fn bus_clears(&self) -> u64 {
        self.clears.load(Ordering::Relaxed)
    }

    /// Queues a job. Where that can't be (the bus hangs: its queue is full, or the device's last
    /// reading is still not back), the job is answered at once, as failed.
    #[must_use = "a job that can't be queued is answered here"]
    pub fn submit(&self, job: Job, busy: Busy) -> Option<Done> {
        let now_ms = self.field.clock().now().mono_ms();
        let bus = bus_of(&self.settings, job);
        let Some(queue) = bus.and_then(|bus| self.queues.get(bus)) else {
            return Some(self.stuck(job, busy, now_ms));
        };
        let (job, busy) = queue.push(job, busy, now_ms)?;
        tracing::debug!(?job, "bus does not keep up, job refused");
        Some(self.stuck(job, busy, now_ms))
    }

    /// Ends the workers: each finishes its job in hand and closes the valves that wait to be closed.
    /// Other jobs are dropped. Does not wait, since a bus may hang; its leases end by themselves.
    pub fn stop(self) {
        self.close();
    }

    fn stuck(&self, job: Job, busy: Busy, at_mono_ms: u64) -> Done {
        let outcome = worker::failed(&self.settings, job, BusFault::Stuck);
        Done {
            job,
            outcome,
            at_mono_ms,
            busy,
        }
    }

    fn close(&self) {
        for queue in &self.queues {
            queue.close();
        }
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.close();
    }
}

/// The bus that a job is for; `None` for a device or zone that does not exist.
fn bus_of(settings: &Settings, job: Job) -> Option<usize> {
    let device = match job {
        Job::Prepare { device } | Job::Read { device, .. } => device,
        Job::Lease { output, .. } | Job::Status { output } | Job::ClearFlags { output } => {
            settings.output(output)?.controller
        }
        Job::Survey { bus, .. } => return Some(bus),
    };
    settings.devices().get(device).map(|device| device.bus)
}

#[cfg(test)]
mod tests;
