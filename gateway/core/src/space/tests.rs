use furrow_wire::{RecordKind, RecordName, Seq, StreamId};

use super::*;
use crate::outbox::{self, Journalled, LIVE_PLACES, Options, Place, Urgency};
use crate::{FieldMs, LinkMs};

const S: StreamId = StreamId(7);
const FIELD: FieldMs = FieldMs(0);

/// Two segments of ten records each that wait, the second one still written.
fn outbox() -> Outbox {
    let mut outbox = Outbox::new(Options {
        send_interval_ms: 0,
        live_places: LIVE_PLACES,
        seed: 1,
    });
    for seq in 1..=20 {
        let segment = 1 + seq / 11;
        let entry = Journalled {
            name: name(seq),
            place: Place { segment, offset: 0 },
            readings: 10,
            held: None,
        };
        outbox.handle_journalled(entry, Urgency::Normal, FIELD, LinkMs(0));
    }
    outbox
}

fn name(seq: u64) -> RecordName {
    RecordName {
        stream: S,
        seq: Seq(seq),
    }
}

/// Every third record is an event.
fn found() -> Vec<Waiting> {
    let record = |seq: u64| Waiting {
        name: name(seq),
        kind: Some(match seq % 3 {
            0 => RecordKind::Events,
            _ => RecordKind::Batch,
        }),
        readings: 10,
    };
    (1..=10).map(record).collect()
}

fn commands(space: &mut Space) -> Vec<Command> {
    std::iter::from_fn(|| space.poll_command()).collect()
}

/// Seqs that the outbox offers on a new connection, once ingest has spoken.
fn offered(outbox: &mut Outbox) -> Vec<(u64, u64)> {
    let mut offered = Vec::new();
    outbox.handle_connected(FIELD, LinkMs(0));
    while let Some(command) = outbox.poll_command(FIELD, LinkMs(10_000)) {
        if let outbox::Command::Offer(offer) = command {
            offered.push((offer.from.0, offer.to.0));
        }
    }
    offered.sort_unstable();
    offered
}

#[test]
fn a_segment_is_read_told_of_and_released_in_this_order() {
    let (mut space, mut outbox) = (Space::default(), outbox());
    space.handle_written(false, &outbox);
    assert_eq!(commands(&mut space), []);
    space.handle_written(true, &outbox);
    assert_eq!(commands(&mut space), [Command::Scan(1)]);
    // One at a time, and a disk that fails is no reason to give anything up.
    space.handle_written(true, &outbox);
    for trouble in [Trouble::Full, Trouble::Disk] {
        assert_eq!(space.handle_trouble(trouble, &mut outbox), None);
    }
    let plan = space.handle_scanned(1, &found(), &outbox);
    assert_eq!((plan.copies, plan.readings), (vec![2, 5, 8], 70));
    assert_eq!(commands(&mut space), []);
    space.handle_evicted(1, &mut outbox);
    assert_eq!(commands(&mut space), [Command::Release(1)]);
}

#[test]
fn what_was_acknowledged_meanwhile_is_neither_lost_nor_written_again() {
    let (mut space, mut outbox) = (Space::default(), outbox());
    space.handle_written(true, &outbox);
    outbox.handle_settled(S, Seq(1), Seq(5));
    let plan = space.handle_scanned(1, &found(), &outbox);
    let losses = plan.losses.iter().map(|l| (l.from_seq.0, l.to_seq.0));
    assert_eq!(losses.collect::<Vec<_>>(), [(7, 8), (10, 10)]);
    assert_eq!((plan.copies, plan.readings), (vec![5, 8], 30));
}

#[test]
fn a_loss_says_whether_the_cap_or_the_disk_was_full() {
    for (trouble, reason) in [
        (Trouble::Full, LossReason::CapReached),
        (Trouble::DiskFull, LossReason::DiskFull),
    ] {
        let (mut space, mut outbox) = (Space::default(), outbox());
        assert_eq!(space.handle_trouble(trouble, &mut outbox), None);
        assert_eq!(space.trouble(), Some(trouble));
        let plan = space.handle_scanned(1, &found(), &outbox);
        assert!(plan.losses.iter().all(|loss| loss.reason == reason));
    }
}

#[test]
fn a_release_that_finds_no_place_is_asked_for_until_it_does() {
    let (mut space, mut outbox) = (Space::default(), outbox());
    space.handle_written(true, &outbox);
    let scan = space.poll_command().unwrap();
    space.handle_busy(scan);
    assert_eq!(commands(&mut space), [Command::Scan(1)]);
    space.handle_scanned(1, &found(), &outbox);
    space.handle_evicted(1, &mut outbox);
    for _ in 0..3 {
        let release = space.poll_command().unwrap();
        assert_eq!(release, Command::Release(1));
        space.handle_busy(release);
    }
    // The next segment is still written: nothing is given up meanwhile.
    space.handle_written(true, &outbox);
    assert_eq!(commands(&mut space), [Command::Release(1)]);
}

#[test]
fn a_segment_given_up_untold_is_not_offered_any_more() {
    let (mut space, mut outbox) = (Space::default(), outbox());
    assert_eq!(offered(&mut outbox), [(1, 10), (11, 16), (17, 20)]);
    space.handle_trouble(Trouble::DiskFull, &mut outbox);
    space.handle_scanned(1, &found(), &outbox);
    commands(&mut space);
    // What tells of it can't be written either.
    assert_eq!(
        space.handle_trouble(Trouble::DiskFull, &mut outbox),
        Some(1)
    );
    assert_eq!(commands(&mut space), [Command::Release(1)]);
    assert_eq!(offered(&mut outbox), [(11, 16), (17, 20)]);
    // Once, however long it lasts; and it went already when the telling is written at last.
    assert_eq!(space.handle_trouble(Trouble::DiskFull, &mut outbox), None);
    space.handle_evicted(1, &mut outbox);
    assert_eq!(commands(&mut space), []);
}
