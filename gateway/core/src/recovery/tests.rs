use super::*;
use crate::FieldMs;
use crate::batch::Cut;
use crate::outbox::{LIVE_PLACES, Options, Urgency};
use crate::record::Recorder;
use furrow_wire::{Batch, CatalogHash, ClockState, Event, EventKind, LossReason, encode_batch};

const UNIX: i64 = 1_790_000_000_000;
const BOOT: BootId = BootId(5);

/// Writes entries and reads them back as after a restart.
struct Journal {
    recorder: Recorder,
    entries: Vec<(Place, u8, Vec<u8>)>,
}

impl Journal {
    fn new() -> Self {
        Journal {
            recorder: Recorder::new(StreamId(1)),
            entries: Vec::new(),
        }
    }

    fn push(&mut self, kind: u8, payload: &[u8]) -> &mut Self {
        let offset = u32::try_from(self.entries.len()).unwrap() * 10;
        self.entries
            .push((Place { segment: 1, offset }, kind, payload.to_vec()));
        self
    }

    fn batch(&mut self, to: u64, wall_offset_ms: Option<i64>, readings: u32) -> &mut Self {
        let cut = Cut {
            from: FieldMs(to - 10),
            to: FieldMs(to),
            axes: Vec::new(),
            readings,
        };
        let batch = Batch {
            boot: BOOT,
            from_mono_ms: cut.from.0,
            to_mono_ms: cut.to.0,
            clock: ClockState::Unknown,
            wall_offset_ms,
            catalog: CatalogHash(1),
            axes: cut.axes,
        };
        let held = wall_offset_ms.is_none().then_some(BOOT);
        self.record(
            RecordKind::Batch,
            encode_batch(&batch).unwrap(),
            readings,
            held,
        )
    }

    fn record(
        &mut self,
        kind: RecordKind,
        body: bytes::Bytes,
        readings: u32,
        held: Option<BootId>,
    ) -> &mut Self {
        let record = self
            .recorder
            .record(kind, body, readings, held, Urgency::Normal)
            .unwrap();
        self.push(ENTRY_RECORD, &record.payload)
    }

    fn loss(&mut self, from: u64, to: u64, readings: u64) -> &mut Self {
        let (from_seq, to_seq) = (Seq(from), Seq(to));
        let reason = LossReason::Damaged;
        let stream = StreamId(1);
        let loss = Loss {
            stream,
            from_seq,
            to_seq,
            readings,
            reason,
            text: String::new(),
        };
        self.record(RecordKind::Loss, loss.encode(), 0, None)
    }

    fn recover(&self, damage: &[Place]) -> Recovered {
        let options = Options {
            send_interval_ms: 0,
            live_places: LIVE_PLACES,
            seed: 0,
        };
        let mut recovery = Recovery::new(Outbox::new(options));
        for (place, kind, payload) in &self.entries {
            recovery.handle_entry(*place, *kind, payload);
        }
        recovery.finish(damage)
    }
}

#[test]
fn totals_go_on_from_the_latest_state_and_copies_do_not_count() {
    let mut journal = Journal::new();
    journal.batch(100, Some(UNIX), 7);
    let state = LocalState {
        journalled_readings: 1_000,
        lost_readings: 20,
        clean_stop: true,
        marks: vec![(StreamId(1), 1)],
        ..LocalState::default()
    };
    journal.push(ENTRY_STATE, &state.encode());
    assert!(journal.recover(&[]).state.clean_stop);
    journal.batch(200, Some(UNIX), 8).loss(90, 95, 3);
    let loss = journal.entries.last().unwrap().2.clone();
    journal
        .push(ENTRY_COPY, &loss)
        .push(ENTRY_RECORD, b"rubbish")
        .push(99, b"of a later version");
    let recovered = journal.recover(&[]);
    let state = &recovered.state;
    assert_eq!(
        (state.journalled_readings, state.lost_readings),
        (1_008, 23)
    );
    assert!(!state.clean_stop);
    assert_eq!(recovered.unreadable, 2);
    // The first batch was acknowledged before the restart.
    assert_eq!(recovered.outbox.totals().waiting_readings, 8);
    assert_eq!(recovered.frontier_ms, Some(UNIX + 199));
}

#[test]
fn what_damage_took_is_told_once() {
    let mut journal = Journal::new();
    for to in [100, 200, 300, 400, 500] {
        journal.batch(to, Some(UNIX), 1);
    }
    journal.entries.drain(1..3);
    // Without damage between them, the missing ones were recycled.
    assert_eq!(journal.recover(&[]).damaged, []);
    let place = |offset| Place { segment: 1, offset };
    assert_eq!(journal.recover(&[place(35)]).damaged, []);
    let damaged = journal.recover(&[place(10)]).damaged;
    let ranges: Vec<_> = damaged
        .iter()
        .map(|loss| (loss.from_seq.0, loss.to_seq.0))
        .collect();
    assert_eq!(ranges, [(2, 3)]);
    journal.record(RecordKind::Loss, damaged[0].encode(), 0, None);
    assert_eq!(journal.recover(&[place(10)]).damaged, []);
}

#[test]
fn a_boot_without_time_waits_for_its_mapping_and_tells_how_long_it_ran() {
    let mut journal = Journal::new();
    journal.batch(100, None, 1).batch(200, None, 1);
    let recovered = journal.recover(&[]);
    let held = HeldBoot {
        boot: BOOT,
        last_mono_ms: 200,
        before: None,
    };
    assert_eq!(recovered.held, [held]);
    assert_eq!(recovered.outbox.held_boots(), [BOOT]);
    let mapping = ClockMapping {
        boot: BOOT,
        wall_offset_ms: UNIX,
        error_ms: 0,
        state: ClockState::Estimated,
    };
    journal.record(RecordKind::ClockMapping, mapping.encode(), 0, None);
    let recovered = journal.recover(&[]);
    assert_eq!(
        (recovered.held.len(), recovered.outbox.held_boots().len()),
        (0, 0)
    );
    assert_eq!(recovered.mappings, BTreeMap::from([(BOOT, UNIX)]));
}

#[test]
fn a_boot_that_left_events_and_no_batch_waits_for_a_mapping_too() {
    let mut journal = Journal::new();
    let what = EventKind::GatewayStarted {
        software: String::new(),
        clean_stop_before: false,
    };
    let events = Events {
        boot: BOOT,
        clock: ClockState::Unknown,
        wall_offset_ms: None,
        events: vec![Event {
            at_mono_ms: 70,
            zone: None,
            planting: None,
            what,
        }],
    };
    journal.record(RecordKind::Events, events.encode(), 0, Some(BOOT));
    let held = HeldBoot {
        boot: BOOT,
        last_mono_ms: 70,
        before: None,
    };
    assert_eq!(journal.recover(&[]).held, [held]);
}
