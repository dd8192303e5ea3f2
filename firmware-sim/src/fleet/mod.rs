//! A fleet of gateways that load ingest: they speak the wire protocol themselves, without buses or
//! physics.
//!
//! Owns many connections, a small journal and window for each ([`outbox`]), the pace of the whole
//! ([`pace`]) and what came of it ([`tally`]). A reading counts as delivered when ingest has
//! acknowledged it, never by a broker's PUBACK. It does not look into ingest: compare its totals with
//! `/api/v1/cooperatives/{cooperative}/delivery`.
//!
//! Everything runs in one thread: the load generator shares its machine with what it loads.

mod latency;
mod link;
mod member;
mod names;
mod outbox;
mod pace;
mod tally;
mod template;
mod tls;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use furrow_wire::{BatchError, BodyError, IdError, PacketError, RecordError, StreamId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use self::names::Names;
pub use self::tally::{Latency, Report};
pub use self::tls::{Tls, TlsError};

use self::member::Member;
use self::pace::{Plan, Rate};
use self::tally::Tally;

/// Handshakes at once.
const HANDSHAKES: usize = 64;
/// The first connections have this long, all together.
const CONNECT_PATIENCE: Duration = Duration::from_secs(120);
/// How precisely batches are sent at their time.
const TICK: Duration = Duration::from_millis(2);
/// A gateway whose journal is full looks again after this.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// How often progress is logged and what is overdue is offered again.
const SECOND: Duration = Duration::from_secs(1);
/// As fast as it goes, nobody knows how much will be made: field time begins 30 days ago, and the fleet
/// waits for the present when it gets there.
const MAX_RATE_START_MS: u64 = 30 * 86_400_000;
/// What goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(10);

/// What the fleet shall do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who is in it.
    pub names: Names,
    /// Where the broker is.
    pub broker: Broker,
    /// How to speak TLS with it; `None`: plain TCP.
    pub tls: Option<Tls>,
    /// Every 64th record of each gateway goes late.
    pub is_late: bool,
    /// Channels of each gateway, 1 to 1024.
    pub channels: u16,
    /// Sampling interval, in milliseconds, from 1.
    pub interval_ms: u32,
    /// Sweeps over the channels in one batch, from 1.
    pub sweeps: u16,
    /// Readings a second over the whole fleet; `None`: as fast as ingest acknowledges.
    pub rate: Option<f64>,
    /// No batch is made later than this after all are connected.
    pub length: Duration,
    /// Most readings over the whole fleet; rounded up to whole batches.
    pub readings: Option<u64>,
    /// Field time of the first sample, Unix milliseconds; `None`: such that field time ends at the
    /// present.
    pub start_unix_ms: Option<i64>,
    /// What may pass after the last batch until everything is acknowledged.
    pub grace: Duration,
    /// Decides values.
    pub seed: u64,
}

/// Where a broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a fleet can't run.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No runtime or timer.
    #[error("start the fleet")]
    Runtime(#[source] std::io::Error),
    /// The broker does not know a gateway, or not with this password.
    #[error("broker refused {login}: is its gateway in ingest's configuration?")]
    Refused {
        /// User name.
        login: String,
        /// The broker's answer.
        #[source]
        source: Box<rumqttc::v5::ConnectionError>,
    },
    /// Not all gateways came to be connected.
    #[error("only {connected} of {gateways} gateways connected within {CONNECT_PATIENCE:?}")]
    Connect {
        /// Those that did.
        connected: u64,
        /// All.
        gateways: u32,
    },
    /// A name breaks its rules.
    #[error("name a gateway")]
    Name(#[from] IdError),
    /// Channels and sweeps do not make a batch.
    #[error("make a batch")]
    Batch(#[from] BatchError),
    /// Channels and sweeps make a record that is too long.
    #[error("make a record")]
    Record(#[from] RecordError),
    /// Channels and sweeps make a packet that is too long.
    #[error("make a packet")]
    Packet(#[from] PacketError),
    /// Ingest said something else than what it holds.
    #[error("read an acknowledgement")]
    Acknowledgement(#[source] BodyError),
    /// A task of the fleet panicked.
    #[error("run the fleet")]
    Task(#[from] tokio::task::JoinError),
}

/// When which gateway has to be looked at, the earliest first.
type Schedule = BinaryHeap<Reverse<(Duration, usize)>>;

/// What all tasks share. One thread runs them, so the locks are never waited for.
#[derive(Debug)]
struct Shared {
    began: Instant,
    broker: Broker,
    tls: Option<Tls>,
    password: String,
    handshakes: Semaphore,
    has_ended: AtomicBool,
    members: Vec<Mutex<Member>>,
    tally: Mutex<Tally>,
}

/// Runs a fleet until all it made is acknowledged or its grace is over; `stop` ends the making early.
///
/// # Errors
/// [`FleetError`]; readings that nobody acknowledged are no error but in the report.
pub fn run(options: &Options, stop: impl Future<Output = ()>) -> Result<Report, FleetError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(FleetError::Runtime)?;
    runtime.block_on(drive(options, stop))
}

async fn drive(options: &Options, stop: impl Future<Output = ()>) -> Result<Report, FleetError> {
    let shared = Arc::new(Shared::new(options)?);
    let mut links = JoinSet::new();
    for at in 0..shared.members.len() {
        links.spawn(link::run(Arc::clone(&shared), at));
    }
    connect(&shared, options, &mut links).await?;
    let began = shared.now();
    let due = begin(&shared, options)?;
    make(&shared, due, began + options.length, &mut links, stop).await?;
    drain(&shared, options.grace, &mut links).await?;
    let elapsed = shared.now().saturating_sub(began);
    goodbye(&shared, links).await;
    let tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(tally.report(options.names.gateways, options.channels, elapsed))
}

impl Shared {
    fn new(options: &Options) -> Result<Self, FleetError> {
        // Series of another run would meet other readings at the same times.
        let device = format!("fleet-{:08x}", rand::random::<u32>());
        let plan = plan(options);
        let member = |number: u32| {
            let name = options.names.of(number)?;
            let stream = StreamId(rand::random());
            let seed = template::mixed(options.seed ^ u64::from(number));
            let mut member = Member::new(number, name, plan, stream, &device, seed)?;
            if options.is_late {
                member.keep_back();
            }
            Ok::<_, FleetError>(Mutex::new(member))
        };
        Ok(Shared {
            began: Instant::now(),
            broker: options.broker.clone(),
            tls: options.tls.clone(),
            password: options.names.password.clone(),
            handshakes: Semaphore::new(HANDSHAKES),
            has_ended: AtomicBool::new(false),
            members: (0..options.names.gateways)
                .map(member)
                .collect::<Result<_, _>>()?,
            tally: Mutex::new(Tally::new()),
        })
    }

    /// Since the fleet was made.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn is_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Does something with gateway number `at`.
    fn with<T>(&self, at: usize, work: impl FnOnce(&mut Member, &mut Tally) -> T) -> Option<T> {
        let member = self.members.get(at)?;
        let mut member = member.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Some(work(&mut member, &mut tally))
    }

    /// Does something with every gateway.
    fn for_all(
        &self,
        mut work: impl FnMut(&mut Member, &mut Tally) -> Result<(), FleetError>,
    ) -> Result<(), FleetError> {
        (0..self.members.len()).try_for_each(|at| self.with(at, &mut work).unwrap_or(Ok(())))
    }
}

fn plan(options: &Options) -> Plan {
    let mut plan = Plan {
        gateways: options.names.gateways,
        channels: options.channels,
        interval_ms: options.interval_ms,
        sweeps: options.sweeps,
        rate: options.rate.map_or(Rate::Max, Rate::PerSecond),
        length: options.length,
        readings: options.readings,
        began_unix_ms: jiff::Timestamp::now().as_millisecond(),
        start_unix_ms: 0,
    };
    plan.start_unix_ms = options
        .start_unix_ms
        .unwrap_or_else(|| plan.start_unix_ms(MAX_RATE_START_MS));
    plan
}

async fn connect(
    shared: &Shared,
    options: &Options,
    links: &mut JoinSet<Result<(), FleetError>>,
) -> Result<(), FleetError> {
    let gateways = options.names.gateways;
    loop {
        let connected = shared.tally.lock().map_or(0, |tally| tally.connected);
        if connected >= u64::from(gateways) {
            tracing::info!(gateways, "all connected");
            return Ok(());
        }
        if shared.now() > CONNECT_PATIENCE {
            return Err(FleetError::Connect {
                connected,
                gateways,
            });
        }
        tokio::time::sleep(FULL_PAUSE).await;
        look(links)?;
    }
}

fn begin(shared: &Shared, options: &Options) -> Result<Schedule, FleetError> {
    let now = shared.now();
    let plan = plan(options);
    shared.for_all(|member, _| {
        member.begin(plan, now);
        Ok(())
    })?;
    let due = |at| {
        let due = shared.with(at, |member, _| member.poll_timeout())??;
        Some(Reverse((due, at)))
    };
    Ok((0..shared.members.len()).filter_map(due).collect())
}

async fn make(
    shared: &Shared,
    mut schedule: Schedule,
    end: Duration,
    links: &mut JoinSet<Result<(), FleetError>>,
    stop: impl Future<Output = ()>,
) -> Result<(), FleetError> {
    let mut stop = std::pin::pin!(stop);
    let mut seconds = Seconds::new(shared);
    while !schedule.is_empty() && shared.now() < end {
        let now = shared.now();
        while let Some(Reverse((_, at))) = pop_due(&mut schedule, now) {
            let next = shared.with(at, |member, tally| {
                member.make_due(now, tally)?;
                Ok::<_, FleetError>(member.poll_timeout())
            });
            if let Some(due) = next.transpose()?.flatten() {
                let due = if due <= now { now + FULL_PAUSE } else { due };
                schedule.push(Reverse((due, at)));
            }
        }
        seconds.pass(shared)?;
        look(links)?;
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = &mut stop => break,
        }
    }
    let now = shared.now();
    shared.for_all(|member, tally| {
        member.stop(now, tally);
        Ok(())
    })
}

fn pop_due(schedule: &mut Schedule, now: Duration) -> Option<Reverse<(Duration, usize)>> {
    let Reverse((due, _)) = schedule.peek()?;
    if *due > now { None } else { schedule.pop() }
}

async fn drain(
    shared: &Shared,
    grace: Duration,
    links: &mut JoinSet<Result<(), FleetError>>,
) -> Result<(), FleetError> {
    let end = shared.now() + grace;
    let mut seconds = Seconds::new(shared);
    // A gateway that is drained stays so: nothing is made any more.
    for at in 0..shared.members.len() {
        while shared.with(at, |member, _| member.is_drained()) == Some(false) {
            if shared.now() >= end {
                return Ok(());
            }
            seconds.pass(shared)?;
            look(links)?;
            tokio::time::sleep(TICK).await;
        }
    }
    Ok(())
}

async fn goodbye(shared: &Shared, mut links: JoinSet<Result<(), FleetError>>) {
    shared.has_ended.store(true, Ordering::Relaxed);
    let now = shared.now();
    for at in 0..shared.members.len() {
        shared.with(at, |member, _| member.say_goodbye(now));
    }
    let gone = async { while links.join_next().await.is_some() {} };
    if tokio::time::timeout(GOODBYE, gone).await.is_err() {
        tracing::debug!("not every goodbye went out in time");
    }
}

/// A connection that can't ever work ends the run.
fn look(links: &mut JoinSet<Result<(), FleetError>>) -> Result<(), FleetError> {
    while let Some(ended) = links.try_join_next() {
        ended??;
    }
    Ok(())
}

/// What happens once a second.
struct Seconds {
    next: Duration,
    acknowledged: u64,
}

impl Seconds {
    fn new(shared: &Shared) -> Self {
        Seconds {
            next: shared.now() + SECOND,
            acknowledged: shared.tally.lock().map_or(0, |tally| tally.acknowledged),
        }
    }

    fn pass(&mut self, shared: &Shared) -> Result<(), FleetError> {
        let now = shared.now();
        if now < self.next {
            return Ok(());
        }
        let elapsed = (now + SECOND - self.next).as_secs_f64();
        self.next = now + SECOND;
        shared.for_all(|member, tally| member.handle_second(now, tally))?;
        let tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a figure for people, not negative"
        )]
        let rate = ((tally.acknowledged - self.acknowledged) as f64 / elapsed) as u64;
        self.acknowledged = tally.acknowledged;
        let (sent, acknowledged, waiting) = (tally.sent, tally.acknowledged, tally.waiting());
        tracing::info!(sent, acknowledged, waiting, rate, "fleet");
        Ok(())
    }
}
