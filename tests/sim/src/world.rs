//! One run: a gateway, a broker and ingest, what befalls them by a seed, and the checks after every
//! step. Time is a number.

use std::collections::{BTreeSet, VecDeque};

use furrow_gateway_core::outbox::OfferId;
use furrow_gateway_core::{FieldMs, LinkMs};
use furrow_ingest::log::entry::EntryKind;

use furrow_journal::sim::{SimDisk, Survival};
use furrow_journal::{Disk, Journal, Options};
use furrow_wire::{
    Ack, BootId, EventKind, GatewayState, RecordName, RunCause, decode_packet, records,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::archive::Archive;
use crate::book::{Book, Broken};
use crate::broker::{Broker, Message};
use crate::gateway::{self, Field, JOURNAL};
use crate::ingest::{self, key, known_after_power_cut};
use crate::reached::{Point, Reached};

/// 2026-09-21, Unix milliseconds.
const UNIX_MS: i64 = 1_790_000_000_000;
/// Steps with faults.
const STEPS: std::ops::Range<u32> = 60..260;
/// Seeds with a profile of their own come once in so many.
const PROFILES: u64 = 64;
/// Of these, the one with a link that comes up for a moment every quarter of an hour: too short for an
/// acknowledgement, so that only the newest records get through and each moment leaves a hole.
const FLAPPING: u64 = 7;
/// The ones with a journal whose cap is reached within minutes without a link.
const TIGHT: [u64; 2] = [23, 45];
/// Segments in a tight journal: five for what waits, four that are kept free.
const TIGHT_SEGMENTS: u64 = 9;
/// Segments in the journal of a flapping link: enough for what waits where hardly anything gets through.
const FLAPPING_SEGMENTS: u64 = 100;
/// Steps of a seed with a flapping link at least: more moments than ingest keeps ranges.
const FLAPPING_STEPS: u32 = 400;
/// In one of so many steps such a link is up.
const FLAPPING_EVERY: u32 = 5;
/// What else befalls such a seed: nothing that ends the gateway's process, whose stream gets the holes.
const BESIDE_FLAPPING: [Fault; 6] = [
    Fault::AckLost,
    Fault::BrokerDrops,
    Fault::IngestPower,
    Fault::IngestKilled,
    Fault::IngestWriteFails,
    Fault::ArchiveFails,
];
/// Rounds in which everything has to arrive once faults have ceased.
const ROUNDS_MAX: u32 = 600;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Ingest refuses what lies further ahead.
const FAR_AHEAD_MS: i64 = 23 * 3_600_000;
/// What the journal leaves free on a disk, and a little.
const RESERVE_BYTES: u64 = 16 * 1024 * 1024 + 512;

/// What can befall, each chosen by the seed for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    GatewayPower,
    GatewayKilled,
    GatewayStopped,
    GatewayFlip,
    GatewayFull,
    GatewayLies,
    GatewayWriteFails,
    GatewayRestored,
    Link,
    BrokerDrops,
    BrokerWedged,
    BrokerForgets,
    AckLost,
    IngestPower,
    IngestKilled,
    IngestFlip,
    IngestFull,
    IngestLies,
    IngestWriteFails,
    IngestBlocked,
    ArchiveFails,
    IngestRestored,
    Clock,
    Outage,
}

const FAULTS: [Fault; 24] = [
    Fault::GatewayPower,
    Fault::GatewayKilled,
    Fault::GatewayStopped,
    Fault::GatewayFlip,
    Fault::GatewayFull,
    Fault::GatewayLies,
    Fault::GatewayWriteFails,
    Fault::GatewayRestored,
    Fault::Link,
    Fault::BrokerDrops,
    Fault::BrokerWedged,
    Fault::BrokerForgets,
    Fault::AckLost,
    Fault::IngestPower,
    Fault::IngestKilled,
    Fault::IngestFlip,
    Fault::IngestFull,
    Fault::IngestLies,
    Fault::IngestWriteFails,
    Fault::IngestBlocked,
    Fault::ArchiveFails,
    Fault::IngestRestored,
    Fault::Clock,
    Fault::Outage,
];

/// The outcome of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The first promise that was broken, and in which step.
    pub broken: Option<(u32, Broken)>,
    /// What it came across.
    pub reached: Reached,
    /// Steps in all.
    pub steps: u32,
}

/// A gateway's box: what outlives its process.
struct Site {
    card: SimDisk,
    process: Option<gateway::Process>,
    boot: u64,
    booted_ms: u64,
    /// How far its wall clock is off; `None`: it has none.
    clock_error_ms: Option<i64>,
    last_commit: u64,
    link_up: bool,
    /// Broker's confirmations on their way.
    pubacks: VecDeque<OfferId>,
    /// An image of the card, and the records on it.
    image: Option<(SimDisk, BTreeSet<RecordName>)>,
    lies: bool,
}

/// Ingest's machine.
struct Server {
    disk: SimDisk,
    process: Option<ingest::Process>,
    /// While no process runs.
    archive: Option<Archive>,
    backup: Option<(SimDisk, Archive)>,
    lies_since: Option<usize>,
    /// A fault may have taken what was acknowledged; known after the next start.
    doubtful: bool,
}

/// See the module.
pub struct World {
    rng: StdRng,
    now_ms: u64,
    step: u32,
    site: Site,
    server: Server,
    broker: Broker,
    book: Book,
    enabled: Vec<Fault>,
    fault_percent: u32,
    /// See [`FLAPPING`].
    flapping: bool,
    journal: Options,
    /// Until when no link comes up by itself.
    outage_until_ms: u64,
    broker_drops: bool,
    broker_wedged: bool,
    ack_loss: bool,
    log: Option<fn(&str)>,
    next_run: u64,
}

impl World {
    /// A world of this seed. `log` gets a line for everything that happens.
    #[must_use]
    pub fn new(seed: u64, log: Option<fn(&str)>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let share = rng.random_range(10..60);
        let mut enabled: Vec<Fault> = FAULTS
            .into_iter()
            .filter(|_| rng.random_range(0..100) < share)
            .collect();
        let flapping = seed % PROFILES == FLAPPING;
        let tight = TIGHT.contains(&(seed % PROFILES));
        enabled.extend(
            tight
                .then_some([Fault::Link, Fault::Outage])
                .into_iter()
                .flatten(),
        );
        enabled.retain(|fault| !flapping || BESIDE_FLAPPING.contains(fault));
        let fault_percent = rng.random_range(1..25);
        let disk = SimDisk::new();
        World {
            now_ms: 0,
            step: 0,
            site: Site {
                card: SimDisk::new(),
                process: None,
                boot: 0,
                booted_ms: 0,
                clock_error_ms: Some(0),
                last_commit: 0,
                link_up: true,
                pubacks: VecDeque::new(),
                image: None,
                lies: false,
            },
            server: Server {
                disk: disk.clone(),
                process: None,
                archive: Some(Archive::new(disk)),
                backup: None,
                lies_since: None,
                doubtful: false,
            },
            broker: Broker::default(),
            book: Book::default(),
            enabled,
            fault_percent,
            flapping,
            journal: journal_of(flapping, tight),
            outage_until_ms: 0,
            broker_drops: false,
            broker_wedged: false,
            ack_loss: false,
            log,
            next_run: 0,
            rng,
        }
    }

    /// Runs to the end, or to the first promise that is broken.
    #[must_use]
    pub fn run(mut self) -> Run {
        self.say(|world| format!("faults {:?}", world.enabled));
        self.boot();
        let mut steps = self.rng.random_range(STEPS);
        if self.flapping {
            steps = steps.max(FLAPPING_STEPS);
        }
        while self.step < steps && self.book.broken().is_none() {
            self.step += 1;
            self.one_step();
        }
        if self.book.broken().is_none() {
            self.finish();
        }
        let step = self.step;
        let broken = self.book.broken().cloned().map(|broken| (step, broken));
        self.say(|world| format!("end: {broken:?}, {}", world.summary()));
        Run {
            broken,
            reached: self.book.reached,
            steps: self.step,
        }
    }

    fn say(&self, text: impl FnOnce(&Self) -> String) {
        if let Some(log) = self.log {
            let hours = self.now_ms / HOUR_MS;
            let seconds = (self.now_ms % HOUR_MS) / 1_000;
            log(&format!(
                "{:4} {hours:3}h{seconds:04}s {}",
                self.step,
                text(self)
            ));
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn one_step(&mut self) {
        let ms = match self.rng.random_range(0..100) {
            _ if self.flapping => self.rng.random_range(150_000..200_000),
            0..50 => self.rng.random_range(1..5_000),
            50..90 => self.rng.random_range(5_000..40_000),
            90..99 => self.rng.random_range(MINUTE_MS..10 * MINUTE_MS),
            _ => self.rng.random_range(MINUTE_MS..3 * HOUR_MS),
        };
        self.advance(ms);
        if !self.enabled.is_empty() && self.chance(self.fault_percent) {
            let place = self.rng.random_range(0..self.enabled.len());
            if let Some(fault) = self.enabled.get(place).copied() {
                self.befall(fault);
            }
        }
        self.heal();
        self.revive();
        self.gateway_works();
        if self.flapping && self.site.link_up {
            self.site.link_up = false;
            self.disconnect_gateway();
        }
        self.broker_works();
        self.ingest_works();
        self.check();
    }

    fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        self.book.now_ms = self.now_ms;
        self.broker.expire(self.now_ms);
    }

    fn field(&self) -> Field {
        let mono = self.now_ms - self.site.booted_ms + 5_000;
        Field {
            boot: BootId(self.site.boot),
            mono: FieldMs(mono),
            unix_ms: self.site.clock_error_ms.map(|error| self.unix_ms() + error),
            link: LinkMs(self.now_ms),
        }
    }

    fn unix_ms(&self) -> i64 {
        UNIX_MS.saturating_add_unsigned(self.now_ms)
    }

    /// Power comes to the gateway's box.
    fn boot(&mut self) {
        self.site.boot = self.rng.random_range(1..u64::MAX);
        self.site.booted_ms = self.now_ms;
        let clockless = self.enabled.contains(&Fault::Clock) && self.chance(40);
        if clockless {
            self.book.reached.note(Point::ClocklessBoot);
            self.site.clock_error_ms = None;
        } else if self.site.clock_error_ms.is_none() {
            self.site.clock_error_ms = Some(0);
        }
    }

    /// What ends by itself.
    fn heal(&mut self) {
        if self.now_ms >= self.outage_until_ms && !self.site.link_up && self.link_returns() {
            self.site.link_up = true;
        }
        if self.site.clock_error_ms.is_none() && self.chance(4) {
            self.site.clock_error_ms = Some(0);
            self.say(|_| "the gateway's clock is right".to_owned());
        }
        if self.chance(10) {
            self.site.card.set_capacity(None);
        }
        if self.chance(10) {
            self.server.disk.set_capacity(None);
        }
        if self.chance(20) {
            self.broker_wedged = false;
        }
        if self.chance(10) {
            (self.broker_drops, self.ack_loss) = (false, false);
        }
    }

    fn link_returns(&mut self) -> bool {
        if self.flapping {
            self.step.is_multiple_of(FLAPPING_EVERY)
        } else {
            self.chance(50)
        }
    }

    /// Whatever is down starts again, sooner or later.
    fn revive(&mut self) {
        if self.site.process.is_none() && self.chance(60) {
            self.start_gateway();
        }
        if self.server.process.is_none() && self.chance(50) {
            self.start_ingest();
        }
    }

    fn start_gateway(&mut self) {
        let draw = [
            self.rng.random(),
            self.rng.random(),
            self.rng.random_range(0..3),
        ];
        let field = self.field();
        let (card, last) = (self.site.card.clone(), self.site.last_commit);
        if Journal::open(card.image(), JOURNAL).is_ok_and(|(_, found)| found.torn.is_some()) {
            self.book.reached.note(Point::TornTail);
        }
        self.site.process =
            gateway::Process::start(&card, self.journal, field, draw, last, &mut self.book);
        self.say(|world| format!("gateway starts: {}", world.summary()));
        if self.site.process.is_none() {
            self.gateway_off(Survival::Everything);
        }
    }

    fn gateway_works(&mut self) {
        if self.site.process.is_some() && self.chance(3) {
            self.irrigate();
        }
        let field = self.field();
        let Some(process) = &mut self.site.process else {
            return;
        };
        if self.site.link_up && !process.is_connected {
            let birth = process.connect(field, &mut self.book);
            self.broker.publish(EntryKind::State, birth, self.now_ms);
        }
        let rounds = self.rng.random_range(1..4);
        for _ in 0..rounds {
            if self.gateway_turn() {
                self.book.reached.note(Point::Rebuilt);
                self.disconnect_gateway();
            }
        }
        self.publish();
        if self.site.card.is_off() {
            let survival = self.survival(true);
            self.gateway_off(survival);
        }
    }

    fn gateway_turn(&mut self) -> bool {
        let field = self.field();
        let lagging = self.chance(15);
        let deaf = self.chance(10);
        let card = self.site.card.clone();
        let Some(process) = &mut self.site.process else {
            return false;
        };
        let rebuild = process.turn(field, &mut self.book);
        if !lagging {
            process.journal(&card, &mut self.book);
        }
        if !deaf {
            process.hear(field, &mut self.book);
        }
        self.site.last_commit = process.commits();
        rebuild
    }

    fn irrigate(&mut self) {
        self.next_run += 1;
        let run = self.next_run;
        let field = self.field();
        if let Some(process) = &mut self.site.process {
            process.persist(run);
            process.event(
                field,
                EventKind::RunStarted {
                    run,
                    cause: RunCause::Schedule,
                    rule: None,
                    planned_ms: 600_000,
                    planned_millilitres: None,
                },
            );
        }
    }

    /// Packets go to the broker.
    fn publish(&mut self) {
        let Some(process) = &mut self.site.process else {
            return;
        };
        for (id, packet) in std::mem::take(&mut process.published) {
            if let Ok(content) = decode_packet(&packet)
                && records(&content).count() > 1
            {
                self.book.reached.note(Point::ManyRecords);
            }
            if self.broker_wedged {
                continue;
            }
            self.site.pubacks.push_back(id);
            if !self.broker_drops || !self.rng.random_bool(0.5) {
                self.broker.publish(EntryKind::Packet, packet, self.now_ms);
            }
        }
    }

    fn disconnect_gateway(&mut self) {
        if let Some(process) = &mut self.site.process
            && process.is_connected
        {
            process.disconnect();
        }
        self.site.pubacks.clear();
        self.broker.acks.clear();
        self.broker.publish_will(self.now_ms);
    }

    fn broker_works(&mut self) {
        // To the gateway.
        let field = self.field();
        let link = LinkMs(self.now_ms);
        if let Some(process) = &mut self.site.process
            && process.is_connected
        {
            for id in self.site.pubacks.drain(..) {
                process.handle_puback(id, link);
            }
        }
        if self.broker.acks.len() > 1 && self.chance(20) {
            self.book.reached.note(Point::AckReordered);
            self.broker.acks.swap(0, 1);
        }
        let slow = !self.enabled.is_empty() && self.chance(25);
        while !slow && let Some(ack) = self.broker.acks.pop_front() {
            let lost = self.ack_loss && self.chance(60);
            let Some(process) = self
                .site
                .process
                .as_mut()
                .filter(|p| p.is_connected && !lost)
            else {
                self.book.reached.note(Point::AckLost);
                continue;
            };
            match Ack::decode(&ack) {
                Ok(ack) => process.handle_ack(&ack, field, &mut self.book),
                Err(error) => self.book.fail("acknowledgements decode", error.to_string()),
            }
        }
        // To ingest.
        let unix_ms = self.unix_ms();
        let count = self.rng.random_range(0..12);
        for _ in 0..count {
            let waiting = self.broker.waiting();
            let place = if waiting > 1 && self.chance(10) {
                self.book.reached.note(Point::BrokerReorders);
                self.rng.random_range(0..waiting)
            } else {
                0
            };
            let Some(process) = self.server.process.as_mut() else {
                return;
            };
            if !process.intake.can_receive() {
                self.book.reached.note(Point::Stalled);
                break;
            }
            let Some(message) = self.broker.deliver(place) else {
                break;
            };
            process.push(&message, unix_ms);
            self.look_into(&message);
            if self.chance(4) {
                self.book.reached.note(Point::BrokerDuplicates);
                self.broker.duplicate(&message);
            }
        }
    }

    fn look_into(&mut self, message: &Message) {
        if message.kind != EntryKind::Packet {
            let state = GatewayState::from_json(&message.bytes).ok();
            if let Some(birth) = state.and_then(|state| state.birth) {
                self.book.handle_heard(&birth.streams);
            }
            return;
        }
        let Ok(content) = decode_packet(&message.bytes) else {
            return self
                .book
                .fail("packets decode", format!("message {}", message.id));
        };
        let mut at = 0;
        for record in records(&content).flatten() {
            let end = at + furrow_wire::HEADER_LEN + record.body.len();
            let bytes = content.get(at..end).unwrap_or_default();
            self.book.check_content(record.name, bytes);
            at = end;
        }
    }

    fn ingest_works(&mut self) {
        let link_broken = self.chance(1);
        let (now_ms, unix_ms) = (self.now_ms, self.unix_ms());
        let Some(process) = &mut self.server.process else {
            return;
        };
        if link_broken {
            self.broker.disconnect_ingest();
        }
        if !self.broker.is_connected() {
            self.broker.connect_ingest(now_ms);
        }
        process.turn(now_ms, unix_ms);
        let back = process.intake.link();
        for id in back.confirmed.drain(..) {
            self.broker.confirm(id);
        }
        let acks = std::mem::take(&mut back.acks);
        for ack in &acks {
            self.book.handle_acked(ack);
            self.broker.acks.push_back(ack.encode());
        }
        if !acks.is_empty() && self.chance(6) {
            self.audit();
        }
        self.consume();
        if self.server.disk.is_off() {
            let survival = self.survival(false);
            self.ingest_off(survival);
        }
    }

    /// What ingest has acknowledged must be on its disk now, not later.
    fn audit(&mut self) {
        let honest = !self.server.doubtful;
        if let Some(process) = &self.server.process
            && honest
            && !self.server.disk.is_off()
            && let Some(tracker) = known_after_power_cut(&self.server.disk, process.archive())
        {
            self.book.check_acked(&tracker, &key());
        }
    }

    fn consume(&mut self) {
        let rounds = self.rng.random_range(0..4);
        let checkpoint = self.chance(8);
        let Some(process) = &mut self.server.process else {
            return;
        };
        let before = process.archive().tables.unparked;
        for _ in 0..rounds {
            if process.consume()
                && let Some(log) = self.log
            {
                log(&format!("          stored {}", process.archive().last()));
            }
        }
        let tables = &process.archive().tables;
        self.book
            .reached
            .add(Point::Unparked, tables.unparked - before);
        if !tables.parked.is_empty() {
            self.book.reached.note(Point::Parked);
        }
        if !tables.dead.is_empty() {
            self.book.reached.note(Point::DeadLetter);
        }
        if checkpoint && process.checkpoint() {
            self.book.reached.note(Point::Checkpoint);
            let first = format!("{:016x}", 1);
            let names = self.server.disk.list().unwrap_or_default();
            if !names.iter().any(|name| name.contains(&first)) {
                self.book.reached.note(Point::LogRecycled);
            }
            self.say(|world| {
                let process = world.server.process.as_ref();
                let summary = process.map(ingest::Process::summary);
                format!("checkpoint: {}", summary.unwrap_or_default())
            });
        }
    }

    fn check(&mut self) {
        let archive = match &self.server.process {
            Some(process) => Some(process.archive()),
            None => self.server.archive.as_ref(),
        };
        if let Some(archive) = archive {
            self.book.check_archive(&archive.tables);
        }
    }

    fn survival(&mut self, gateway: bool) -> Survival {
        match self.rng.random_range(0..3) {
            0 => Survival::Everything,
            1 => Survival::Nothing,
            _ => {
                self.book.reached.note(if gateway {
                    Point::GatewayTorn
                } else {
                    Point::IngestTorn
                });
                let seed = self.rng.random();
                Survival::Torn { seed }
            }
        }
    }

    /// The gateway's box has no power; it comes back at once, the process later.
    fn gateway_off(&mut self, survival: Survival) {
        self.say(|world| format!("gateway's power is cut: {survival:?}, {}", world.summary()));
        self.disconnect_gateway();
        self.site.process = None;
        self.site.card.restart(survival);
        self.boot();
    }

    fn ingest_off(&mut self, survival: Survival) {
        self.say(|_| format!("ingest's power is cut: {survival:?}"));
        self.broker.disconnect_ingest();
        self.server.disk.restart(survival);
        let Some(mut archive) = self.take_archive() else {
            return;
        };
        if let Some(since) = self.server.lies_since {
            archive.forget_durable(since);
        }
        let rng = &mut self.rng;
        let lost = archive.cut_power(|open| rng.random_range(0..=open));
        // What a power cut left is on the medium, whoever lied before.
        let kept = archive.transactions();
        self.server.lies_since = self.server.lies_since.map(|_| kept);
        if lost > 0 {
            self.book.reached.note(Point::ArchiveRolledBack);
        }
        self.say(|_| format!("archive loses {lost} transactions: {}", archive.summary()));
        self.server.archive = Some(archive);
    }

    fn take_archive(&mut self) -> Option<Archive> {
        match self.server.process.take() {
            Some(process) => Some(process.end(&mut self.book.reached)),
            None => self.server.archive.take(),
        }
    }

    fn start_ingest(&mut self) {
        let Some(archive) = self.server.archive.take() else {
            return;
        };
        let started = ingest::Process::start(&self.server.disk, archive, self.now_ms);
        let started = match started {
            Ok(started) => started,
            Err(archive) => {
                self.server.archive = Some(*archive);
                if self.server.disk.is_off() {
                    let survival = self.survival(false);
                    self.ingest_off(survival);
                }
                return;
            }
        };
        self.say(|_| format!("ingest starts: {}", started.process.summary()));
        if started.marks_lost {
            self.book.reached.note(Point::MarksLost);
            self.book.excuses.marks_lost = true;
        }
        if started.new_era {
            self.book.reached.note(Point::NewEra);
        }
        if self.server.doubtful {
            self.book.handle_ingest_lost(&started.tracker, &key());
            self.server.doubtful = self.server.lies_since.is_some();
        } else {
            self.book.check_acked(&started.tracker, &key());
        }
        self.server.process = Some(started.process);
        self.broker.connect_ingest(self.now_ms);
    }

    fn summary(&self) -> String {
        let gateway = self.site.process.as_ref().map(gateway::Process::summary);
        let ingest = self.server.process.as_ref().map(ingest::Process::summary);
        format!(
            "{}, {}, broker {} waiting",
            gateway.unwrap_or_else(|| "gateway down".to_owned()),
            ingest.unwrap_or_else(|| "ingest down".to_owned()),
            self.broker.waiting()
        )
    }
}

fn journal_of(flapping: bool, tight: bool) -> Options {
    let cap_bytes = |segments| segments * u64::from(JOURNAL.segment_bytes);
    Options {
        cap_bytes: match (flapping, tight) {
            (true, _) => cap_bytes(FLAPPING_SEGMENTS),
            (false, true) => cap_bytes(TIGHT_SEGMENTS),
            (false, false) => JOURNAL.cap_bytes,
        },
        ..JOURNAL
    }
}

mod end;
mod faults;
