//! What must hold in every state, and what must be reached in some.

use stateright::Property;

use crate::model::Delivery;
use crate::state::{Name, State};

/// No reading that was journalled is without a durable copy or a loss that tells of it.
pub const NO_LOSS: &str = "no journalled reading is lost";
/// The archive never has a reading twice.
pub const NO_DUPLICATE: &str = "no reading is stored twice";
/// No acknowledgement names a record that ingest never had on its disk, and the gateway settles none.
pub const NOTHING_UNSTORED: &str = "nothing is acknowledged that was not stored";
/// From wherever faults stop, everything is delivered.
pub const DELIVERY: &str = "when faults stop, everything is delivered";

/// All properties.
#[must_use]
pub fn all() -> Vec<Property<Delivery>> {
    let mut all = must_hold();
    all.extend(to_reach());
    all
}

fn must_hold() -> Vec<Property<Delivery>> {
    vec![
        Property::always(NO_LOSS, |_, state: &State| {
            state.unaccounted().next().is_none()
        }),
        Property::always(NO_DUPLICATE, |_, state: &State| {
            state
                .ingest
                .archive
                .effects
                .values()
                .all(|times| *times <= 1)
        }),
        Property::always(NOTHING_UNSTORED, |_, state: &State| is_truthful(state)),
        Property::always(DELIVERY, is_delivered_at_last),
    ]
}

fn to_reach() -> Vec<Property<Delivery>> {
    vec![
        Property::sometimes("everything is archived, recycled and quiet", is_quiet),
        Property::sometimes(
            "a packet comes that ingest has already",
            |_, state: &State| {
                packets(state).any(|name| state.ingest.synced.records.contains_key(&name))
            },
        ),
        Property::sometimes(
            "a seq is missing below one that is held",
            |_, state: &State| has_gap(state),
        ),
        Property::sometimes("an acknowledgement is overtaken", |_, state: &State| {
            acked(state).next().is_some() && says_too_little(state)
        }),
        Property::sometimes(
            "a packet outlives the process that sent it",
            |_, state: &State| packets(state).any(|name| name.stream < state.gateway.stream),
        ),
        Property::sometimes("records of two streams wait", |_, state: &State| {
            let waiting = state.gateway.stretches();
            let mut streams = waiting.iter().map(|(stream, _, _)| stream);
            let first = streams.next();
            first.is_some_and(|first| streams.any(|stream| stream != first))
        }),
        Property::sometimes(
            "a seq was used and lost before its sync",
            |_, state: &State| {
                let gateway = &state.gateway;
                gateway.stream > 0 && state.left.records < 2 && gateway.journal.is_empty()
            },
        ),
        Property::sometimes("a loss is archived", |_, state: &State| {
            let ingest = &state.ingest;
            let is_loss = |name: &Name| {
                let body = ingest.synced.records.get(name);
                body.is_some_and(|body| body.loss().is_some())
            };
            ingest.archive.applied.iter().any(is_loss)
        }),
        Property::sometimes("a lost record comes after all", |_, state: &State| {
            let records = &state.ingest.synced.records;
            let mut losses = records.values().filter_map(|body| body.loss());
            losses.any(|name| records.contains_key(&name))
        }),
        Property::sometimes("the card has gone back in time", |_, state: &State| {
            let readings = state.truth.destroyed.len();
            readings > 0 && state.truth.wiped.is_empty()
        }),
        Property::sometimes(
            "the gateway believes what ingest has lost",
            |_, state: &State| {
                let mut settled = state.gateway.settled.iter();
                settled.any(|name| state.truth.wiped.contains(name))
            },
        ),
        Property::sometimes(
            "an acknowledgement outlives what it told of",
            |_, state: &State| acked(state).any(|name| state.truth.wiped.contains(&name)),
        ),
    ]
}

/// Names in packets under way.
fn packets(state: &State) -> impl Iterator<Item = Name> {
    let records = state
        .broker
        .to_ingest
        .iter()
        .flat_map(|message| message.records());
    records.map(|record| record.name)
}

/// Names in acknowledgements under way.
fn acked(state: &State) -> impl Iterator<Item = Name> {
    let streams = state.broker.to_gateway.iter().flat_map(|ack| &ack.0);
    streams.flat_map(|(stream, seqs)| {
        let stream = *stream;
        seqs.iter().map(move |seq| Name { stream, seq: *seq })
    })
}

fn is_truthful(state: &State) -> bool {
    let stored = &state.truth.stored;
    let journal = &state.gateway.journal;
    let told_lost = |name: &Name| {
        journal
            .iter()
            .any(|record| record.body.loss() == Some(*name))
    };
    let mut settled = state.gateway.settled.iter();
    acked(state).all(|name| stored.contains(&name))
        && settled.all(|name| stored.contains(name) || told_lost(name))
}

fn is_delivered_at_last(model: &Delivery, state: &State) -> bool {
    let Some(end) = model.settle(state) else {
        return false;
    };
    let archive = &end.ingest.archive;
    end.truth.journalled.iter().all(|(reading, name)| {
        let times = archive.effects.get(reading).copied().unwrap_or(0);
        match times {
            0 => end.truth.destroyed.contains(reading) || end.ingest.synced.is_lost(*name),
            1 => true,
            _ => false,
        }
    })
}

fn is_quiet(_: &Delivery, state: &State) -> bool {
    let (gateway, broker) = (&state.gateway, &state.broker);
    let archived = state.ingest.archive.effects.len();
    state.left.records == 0
        && gateway.journal.is_empty()
        && gateway.pending.is_empty()
        && broker.to_ingest.is_empty()
        && broker.to_gateway.is_empty()
        && archived == state.truth.journalled.len()
        && archived > 1
}

fn has_gap(state: &State) -> bool {
    let synced = &state.ingest.synced;
    let mut streams = synced.streams.keys();
    streams.any(|stream| {
        let says = synced.says(*stream);
        let last = says.last().copied().unwrap_or(0);
        usize::from(last) > says.len()
    })
}

fn says_too_little(state: &State) -> bool {
    let synced = &state.ingest.synced;
    let mut acks = state.broker.to_gateway.iter().flat_map(|ack| &ack.0);
    acks.any(|(stream, seqs)| {
        let settled = state.gateway.settled.iter();
        let mut settled = settled.filter(|name| name.stream == *stream);
        settled.any(|name| !seqs.contains(&name.seq) && synced.records.contains_key(name))
    })
}
