//! When a step can happen: the model as the checker sees it.

use stateright::{Model, Property};

use crate::properties;
use crate::state::{Body, Broker, Due, Gateway, Ingest, Left, Message, Name, Record, State, Truth};
use crate::step::{Copies, Step, Unsynced};

/// How much may happen. The number of states grows steeply with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Readings journalled.
    pub records: u8,
    /// Crashes, of gateway and ingest together.
    pub crashes: u8,
    /// Messages lost or repeated, connections lost, sessions forgotten, together.
    pub faults: u8,
    /// Cards restored from an image.
    pub images: u8,
    /// Ingests restored from a backup.
    pub backups: u8,
    /// Messages under way to ingest at once.
    pub window: usize,
    /// Acknowledgements under way at once.
    pub acks: usize,
    /// Records that the journal holds, if it has a cap.
    pub cap: Option<usize>,
}

/// A deliberate mistake. The checker must find each: a model that no mistake can break proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Ingest acknowledges what its log has not synced.
    AckBeforeStore,
    /// The gateway takes the broker's PUBACK for an acknowledgement.
    ForgetOnPuback,
    /// An acknowledgement leaves out the ranges behind its first.
    AckOnlyFirstRange,
    /// A gateway that starts goes on with the last stream in its journal.
    ReuseSeq,
    /// Ingest starts without knowing what its log held.
    ForgetMarks,
    /// A record that is given up goes before its loss is durable.
    DropBeforeLoss,
    /// The gateway never offers again what was once acknowledged.
    TakeNothingBack,
}

/// Where the search begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing has happened.
    Empty,
    /// Ingest was restored from a backup and has nothing; the gateway has seqs 2 and 4 and no longer
    /// 1 and 3: two gaps that nobody can fill.
    Holes,
}

/// The protocol within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// How much may happen.
    pub bounds: Bounds,
    /// What is wrong with it, if something is.
    pub flaw: Option<Flaw>,
    /// Where it begins.
    pub start: Start,
}

impl Bounds {
    /// Nothing happens but what must.
    pub const CALM: Bounds = Bounds {
        records: 2,
        crashes: 0,
        faults: 0,
        images: 0,
        backups: 0,
        window: 2,
        acks: 1,
        cap: None,
    };
}

impl Delivery {
    /// The protocol as it is meant, from the beginning.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Delivery {
            bounds,
            flaw: None,
            start: Start::Empty,
        }
    }

    /// The state after a step that can happen.
    #[must_use]
    pub fn after(&self, state: &State, step: &Step) -> State {
        let mut next = state.clone();
        let flaw = self.flaw;
        match step {
            Step::Journal => {
                next.left.records -= 1;
                next.journal(next.left.records);
            }
            Step::Commit => next.commit(),
            Step::Evict(name) => next.evict(*name, flaw),
            Step::Recycle(name) => next.recycle(*name),
            Step::Connect => next.connect(),
            Step::SayBirth => next.say_birth(),
            Step::Disconnect => {
                next.left.faults -= 1;
                next.gateway.connected = false;
            }
            Step::Offer { stream, from, to } => next.offer(*stream, *from, *to, flaw),
            Step::HandleAck(ack, copies) => {
                match copies {
                    Copies::Last => drop(next.broker.to_gateway.remove(ack)),
                    Copies::Another => next.left.faults -= 1,
                }
                next.handle_ack(ack, flaw);
            }
            Step::CrashGateway(unsynced) => {
                next.left.crashes -= 1;
                next.crash_gateway(*unsynced, flaw);
            }
            Step::TakeImage => next.image = Some(next.gateway.journal.clone()),
            Step::RestoreImage => {
                next.left.images -= 1;
                next.restore_image(flaw);
            }
            Step::HandleMessage(message, copies) => {
                match copies {
                    Copies::Last => drop(next.broker.to_ingest.remove(message)),
                    Copies::Another => next.left.faults -= 1,
                }
                next.handle_message(message);
            }
            Step::CommitLog => next.commit_log(),
            Step::Acknowledge => next.acknowledge(flaw),
            Step::Archive => next.archive(),
            Step::CrashIngest(unsynced) => {
                next.left.crashes -= 1;
                next.crash_ingest(*unsynced, flaw);
            }
            Step::TakeBackup => next.take_backup(),
            Step::RestoreBackup => {
                next.left.backups -= 1;
                next.restore_backup();
            }
            Step::Lose(message) => {
                next.left.faults -= 1;
                next.broker.to_ingest.remove(message);
            }
            Step::LoseAck(ack) => {
                next.left.faults -= 1;
                next.broker.to_gateway.remove(ack);
            }
            Step::ForgetSessions => {
                next.left.faults -= 1;
                next.forget_sessions();
            }
        }
        next
    }

    /// Every step that can happen now.
    #[must_use]
    pub fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        self.gateway_steps(state, &mut steps);
        self.ingest_steps(state, &mut steps);
        self.broker_steps(state, &mut steps);
        steps
    }

    fn gateway_steps(&self, state: &State, steps: &mut Vec<Step>) {
        let (gateway, left) = (&state.gateway, state.left);
        let used = gateway.journal.len() + gateway.pending.len();
        if left.records > 0 && self.bounds.cap.is_none_or(|cap| used < cap) {
            steps.push(Step::Journal);
        }
        if gateway.pending.is_empty() {
            steps.extend(self.eviction(gateway).map(Step::Evict));
        } else {
            steps.push(Step::Commit);
        }
        // Segments go in order, and only when everything in them is settled.
        if let Some(oldest) = gateway.journal.first()
            && gateway.settled.contains(&oldest.name)
        {
            steps.push(Step::Recycle(oldest.name));
        }
        if gateway.connected {
            self.connected_steps(state, steps);
        } else {
            steps.push(Step::Connect);
        }
        if left.crashes > 0 {
            steps.push(Step::CrashGateway(Unsynced::Gone));
            if !gateway.pending.is_empty() {
                steps.push(Step::CrashGateway(Unsynced::Kept));
            }
        }
        if left.images > 0 {
            steps.push(match state.image {
                Some(_) => Step::RestoreImage,
                None => Step::TakeImage,
            });
        }
    }

    fn connected_steps(&self, state: &State, steps: &mut Vec<Step>) {
        let has_room = state.broker.to_ingest.len() < self.bounds.window;
        if has_room && state.broker.retained.as_ref() != Some(&state.gateway.streams()) {
            steps.push(Step::SayBirth);
        }
        if has_room {
            let offers = state.gateway.stretches().into_iter();
            steps.extend(offers.map(|(stream, from, to)| Step::Offer { stream, from, to }));
        }
        for ack in &state.broker.to_gateway {
            steps.push(Step::HandleAck(ack.clone(), Copies::Last));
            if state.left.faults > 0 {
                steps.push(Step::HandleAck(ack.clone(), Copies::Another));
            }
        }
        if state.left.faults > 0 {
            steps.push(Step::Disconnect);
        }
    }

    /// At the cap: the oldest reading that waits. Losses are kept.
    fn eviction(&self, gateway: &Gateway) -> Option<Name> {
        let is_full = self
            .bounds
            .cap
            .is_some_and(|cap| gateway.journal.len() >= cap);
        let oldest = gateway.journal.first().filter(|_| is_full)?;
        // A settled one is recycled first: that is what makes room.
        if gateway.settled.contains(&oldest.name) {
            return None;
        }
        let mut readings = gateway.journal.iter().filter(|record| match record.body {
            Body::Reading(_) => gateway.is_waiting(record.name),
            Body::Loss(_) => false,
        });
        readings.next().map(|record| record.name)
    }

    fn ingest_steps(&self, state: &State, steps: &mut Vec<Step>) {
        let (ingest, left) = (&state.ingest, state.left);
        let is_dirty = ingest.front != ingest.synced;
        let is_due = ingest.due.all || !ingest.due.touched.is_empty();
        if is_dirty {
            steps.push(Step::CommitLog);
        }
        let may_speak = !is_dirty || self.flaw == Some(Flaw::AckBeforeStore);
        if is_due && may_speak && state.broker.to_gateway.len() < self.bounds.acks {
            steps.push(Step::Acknowledge);
        }
        let applied = &ingest.archive.applied;
        if ingest
            .synced
            .records
            .keys()
            .any(|name| !applied.contains(name))
        {
            steps.push(Step::Archive);
        }
        if left.crashes > 0 {
            steps.push(Step::CrashIngest(Unsynced::Gone));
            if is_dirty {
                steps.push(Step::CrashIngest(Unsynced::Kept));
            }
        }
        if left.backups > 0 {
            steps.push(match state.backup {
                Some(_) => Step::RestoreBackup,
                None => Step::TakeBackup,
            });
        }
    }

    fn broker_steps(&self, state: &State, steps: &mut Vec<Step>) {
        let has_faults = state.left.faults > 0;
        for message in &state.broker.to_ingest {
            steps.push(Step::HandleMessage(message.clone(), Copies::Last));
            if has_faults {
                steps.push(Step::HandleMessage(message.clone(), Copies::Another));
                steps.push(Step::Lose(message.clone()));
            }
        }
        if has_faults {
            let acks = state.broker.to_gateway.iter();
            steps.extend(acks.map(|ack| Step::LoseAck(ack.clone())));
            if state.broker != Broker::default() {
                steps.push(Step::ForgetSessions);
            }
        }
    }

    /// What becomes of a state when faults stop: everybody goes on with what must be done. `None` when
    /// something still waits after [`ROUNDS`] rounds.
    #[must_use]
    pub fn settle(&self, state: &State) -> Option<State> {
        let mut next = state.clone();
        for _ in 0..ROUNDS {
            next.commit();
            next.connect();
            self.exchange(&mut next);
            for (stream, from, to) in next.gateway.stretches() {
                if next.gateway.is_waiting(Name { stream, seq: from }) {
                    next.offer(stream, from, to, self.flaw);
                }
            }
            self.exchange(&mut next);
            next.archive();
            if next.gateway.stretches().is_empty() {
                return Some(next);
            }
        }
        None
    }

    fn exchange(&self, next: &mut State) {
        for message in std::mem::take(&mut next.broker.to_ingest) {
            next.handle_message(&message);
        }
        next.commit_log();
        next.acknowledge(self.flaw);
        // What was under way comes first, what was said now comes last: it is not overtaken for ever.
        let everything = Due {
            all: true,
            ..Due::default()
        };
        let latest = next.ack(&everything, self.flaw);
        for ack in std::mem::take(&mut next.broker.to_gateway) {
            next.handle_ack(&ack, self.flaw);
        }
        next.handle_ack(&latest, self.flaw);
    }
}

/// Rounds of birth, offers and acknowledgements after which everything must be through.
const ROUNDS: usize = 4;

impl State {
    fn empty(left: Left) -> State {
        State {
            gateway: Gateway {
                stream: 0,
                next_seq: 1,
                journal: Vec::new(),
                pending: Vec::new(),
                settled: std::collections::BTreeSet::new(),
                connected: false,
            },
            broker: Broker::default(),
            ingest: Ingest::default(),
            image: None,
            backup: None,
            left,
            truth: Truth::default(),
        }
    }
}

fn holes(mut state: State) -> State {
    for (reading, seq) in [(100, 2), (101, 4)] {
        let name = Name { stream: 0, seq };
        let body = Body::Reading(reading);
        state.gateway.journal.push(Record { name, body });
        state.truth.journalled.insert(reading, name);
    }
    state.gateway.stream = 1;
    state
}

impl Model for Delivery {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let Bounds {
            records,
            crashes,
            faults,
            images,
            backups,
            ..
        } = self.bounds;
        let empty = State::empty(Left {
            records,
            crashes,
            faults,
            images,
            backups,
        });
        match self.start {
            Start::Empty => vec![empty],
            Start::Holes => vec![holes(empty)],
        }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        actions.extend(self.steps(state));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let next = self.after(state, &step);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Message {
    /// The records of a packet; none of a birth.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        match self {
            Message::Packet(records) => records,
            Message::State(_) => &[],
        }
    }
}
