use proptest::prelude::*;

use super::*;

const DAY_MS: i64 = FORGET_AFTER_MS;

fn key() -> GatewayKey {
    GatewayKey {
        cooperative: "hoa-binh".parse().unwrap(),
        gateway: "gw-01".parse().unwrap(),
    }
}

fn offer(stream: u64, seq: u64) -> Offer {
    Offer {
        name: RecordName {
            stream: StreamId(stream),
            seq: Seq(seq),
        },
        lost: None,
    }
}

fn loss(stream: u64, seq: u64, of: u64, range: SeqRange) -> Offer {
    Offer {
        lost: Some((StreamId(of), range)),
        ..offer(stream, seq)
    }
}

fn held(stream: u64, first: u64, last: u64) -> HeldStream {
    HeldStream {
        stream: StreamId(stream),
        first,
        last,
    }
}

fn gap(stream: u64, range: SeqRange) -> Gap {
    Gap {
        stream: StreamId(stream),
        range,
    }
}

#[track_caller]
fn check(tracker: &mut Tracker, offer: Offer, verdict: Verdict, gaps: &[Gap]) {
    assert_eq!(tracker.verdict(&key(), &offer), verdict, "asked before");
    assert_eq!(
        tracker.apply(&key(), &offer),
        Outcome {
            verdict,
            gaps: gaps.to_vec()
        }
    );
}

#[test]
fn a_packet_offered_twice_is_new_once() {
    let mut tracker = Tracker::default();
    check(&mut tracker, offer(1, 1), Verdict::New, &[]);
    check(&mut tracker, offer(2, 1), Verdict::New, &[]);
    check(&mut tracker, offer(1, 1), Verdict::Duplicate, &[]);
    assert_eq!(tracker.mark(&key(), StreamId(1)), Seq(1));
    let other = GatewayKey {
        gateway: "gw-02".parse().unwrap(),
        ..key()
    };
    assert_eq!(tracker.verdict(&other, &offer(1, 1)), Verdict::New);
}

#[test]
fn a_loss_is_a_record_and_moves_the_mark_of_the_stream_it_names() {
    let mut tracker = Tracker::default();
    check(&mut tracker, offer(1, 1), Verdict::New, &[]);
    check(&mut tracker, offer(1, 9), Verdict::New, &[]);
    check(
        &mut tracker,
        loss(2, 1, 1, (2, 8)),
        Verdict::New,
        &[gap(1, (2, 8))],
    );
    check(&mut tracker, loss(2, 1, 1, (2, 8)), Verdict::Duplicate, &[]);
    assert_eq!(tracker.mark(&key(), StreamId(1)), Seq(9));
    assert_eq!(tracker.mark(&key(), StreamId(2)), Seq(1));
    // Its own stream, over what came already.
    check(
        &mut tracker,
        loss(2, 3, 2, (1, 2)),
        Verdict::New,
        &[gap(2, (2, 2))],
    );
    assert_eq!(tracker.mark(&key(), StreamId(2)), Seq(3));
}

#[test]
fn a_loss_that_would_open_a_65th_range_leaves_nothing_behind() {
    let mut tracker = Tracker::default();
    for n in 1..=64 {
        check(&mut tracker, offer(1, n * 10), Verdict::New, &[]);
    }
    let before = tracker.clone();
    check(
        &mut tracker,
        loss(2, 1, 1, (700, 710)),
        Verdict::Beyond,
        &[],
    );
    assert_eq!(tracker.mark(&key(), StreamId(2)), Seq(0));
    assert_eq!(
        tracker.marks(&key(), Some(&[StreamId(1)].into())),
        before.marks(&key(), None)
    );
    check(&mut tracker, offer(1, 800), Verdict::Beyond, &[]);
}

#[test]
fn what_neither_side_holds_is_missing_until_it_comes() {
    let mut tracker = Tracker::default();
    for seq in [1, 2, 5] {
        check(&mut tracker, offer(1, seq), Verdict::New, &[]);
    }
    let state = [held(1, 8, 9), held(2, 3, 3)];
    assert_eq!(
        tracker.missing(&key(), &state),
        [gap(1, (3, 4)), gap(1, (6, 7)), gap(2, (1, 2))]
    );
    assert!(
        tracker.is_moved_by(&key(), &state, 0),
        "a stream to speak of"
    );
    tracker.handle_state(&key(), &state, 0);
    assert!(!tracker.is_moved_by(&key(), &state, 1));
    assert_eq!(tracker.marks(&key(), None).len(), 2);
    check(&mut tracker, offer(1, 4), Verdict::New, &[]);
    assert_eq!(
        tracker.missing(&key(), &[held(1, 8, 9)]),
        [gap(1, (3, 3)), gap(1, (6, 7))]
    );
    assert_eq!(tracker.missing(&key(), &[held(1, 1, 0), held(1, 0, 0)]), []);
}

#[test]
fn a_stream_is_forgotten_a_day_after_it_was_last_held() {
    let mut tracker = Tracker::default();
    check(&mut tracker, offer(1, 1), Verdict::New, &[]);
    check(&mut tracker, offer(2, 1), Verdict::New, &[]);
    tracker.handle_state(&key(), &[held(2, 1, 1)], 1_000);
    let said: Vec<_> = tracker
        .marks(&key(), None)
        .iter()
        .map(|marks| marks.stream)
        .collect();
    assert_eq!(said, [StreamId(2)], "an unheld stream is not spoken of");
    check(&mut tracker, offer(1, 1), Verdict::Duplicate, &[]);
    assert!(!tracker.is_moved_by(&key(), &[held(2, 1, 1)], 999 + DAY_MS));
    assert!(tracker.is_moved_by(&key(), &[held(2, 1, 1)], 1_000 + DAY_MS));
    // Named again in time: stays.
    let mut kept = tracker.clone();
    kept.handle_state(&key(), &[held(1, 1, 1), held(2, 1, 1)], 5_000);
    kept.handle_state(&key(), &[held(2, 1, 1)], 2_000 + DAY_MS);
    check(&mut kept, offer(1, 1), Verdict::Duplicate, &[]);
    tracker.handle_state(&key(), &[held(2, 1, 1)], 1_000 + DAY_MS);
    check(&mut tracker, offer(1, 1), Verdict::New, &[]);
}

#[test]
fn a_thousand_streams_are_remembered_and_not_more() {
    let mut tracker = Tracker::default();
    for stream in 1..=1_024 {
        check(&mut tracker, offer(stream, 1), Verdict::New, &[]);
    }
    let held: Vec<_> = (2..=1_024).map(|stream| held(stream, 1, 1)).collect();
    tracker.handle_state(&key(), &held, 0);
    check(&mut tracker, offer(2_000, 1), Verdict::New, &[]);
    assert_eq!(tracker.iter().count(), 1_024);
    check(&mut tracker, offer(2, 1), Verdict::Duplicate, &[]);
    check(&mut tracker, offer(1, 1), Verdict::New, &[]);
}

#[derive(Debug, Clone)]
enum Step {
    Packet(Vec<Offer>),
    State(Vec<HeldStream>, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (1u64..4, 1u64..150).prop_map(|(stream, seq)| offer(stream, seq));
    let lost = (1u64..4, 1u64..150, 1u64..4, 1u64..150, 0u64..5)
        .prop_map(|(stream, seq, of, from, len)| loss(stream, seq, of, (from, from + len)));
    let offers = prop_oneof![9 => record, 1 => lost];
    let packet = proptest::collection::vec(offers, 1..8).prop_map(Step::Packet);
    let state = (
        proptest::collection::vec((1u64..4, 1u64..60), 0..3),
        0i64..3,
    )
        .prop_map(|(held, day)| {
            let held = held
                .into_iter()
                .map(|(stream, first)| self::held(stream, first, 200))
                .collect();
            Step::State(held, day * DAY_MS)
        });
    proptest::collection::vec(prop_oneof![9 => packet, 1 => state], 0..200)
}

proptest! {
    /// In front only packets with something new, and states that change something, are logged; behind
    /// the log is all there is. Both must agree on every record.
    #[test]
    fn the_log_alone_gives_the_same_decisions(steps in steps()) {
        let (mut front, mut stored_in_front, mut log) = (Tracker::default(), Vec::new(), Vec::new());
        for step in steps {
            match &step {
                Step::Packet(offers) => {
                    if !offers.iter().any(|offer| front.verdict(&key(), offer) == Verdict::New) {
                        continue;
                    }
                    let before = stored_in_front.len();
                    for offer in offers {
                        if front.apply(&key(), offer).verdict == Verdict::New {
                            stored_in_front.push(*offer);
                        }
                    }
                    prop_assert!(stored_in_front.len() > before, "a logged packet has something new");
                }
                Step::State(held, at) => {
                    if !front.is_moved_by(&key(), held, *at) {
                        continue;
                    }
                    front.handle_state(&key(), held, *at);
                }
            }
            log.push(step);
        }
        let (mut behind, mut stored) = (Tracker::default(), Vec::new());
        for step in log {
            match step {
                Step::Packet(offers) => stored.extend(
                    offers.into_iter().filter(|offer| behind.apply(&key(), offer).verdict == Verdict::New),
                ),
                Step::State(held, at) => behind.handle_state(&key(), &held, at),
            }
        }
        prop_assert_eq!(&stored, &stored_in_front);
        prop_assert_eq!(&behind, &front);
        let parts = front.iter().map(|(key, stream, known)| (key.clone(), stream, known.clone()));
        prop_assert_eq!(parts.collect::<Tracker>(), behind);
    }
}

fn offered(stream: u64, seq: u64, checksum: u32) -> Offered {
    let offer = offer(stream, seq);
    Offered { offer, checksum }
}

#[test]
fn other_bytes_under_a_known_name_are_neither_new_nor_a_repetition() {
    let mut tracker = Tracker::default();
    let first = [offered(1, 1, 7), offered(1, 2, 8)];
    assert!(tracker.has_news(&key(), &first));
    assert_eq!(
        tracker.apply_packet(&key(), &first, 0),
        [Taken::New, Taken::New]
    );
    assert!(!tracker.has_news(&key(), &first));
    assert_eq!(
        tracker.apply_packet(&key(), &first, 0),
        [Taken::Duplicate, Taken::Duplicate]
    );
    let other = [offered(1, 2, 9)];
    assert!(tracker.has_news(&key(), &other));
    assert_eq!(tracker.apply_packet(&key(), &other, 0), [Taken::Conflict]);
    // It is kept aside once, however often it comes.
    assert!(!tracker.has_news(&key(), &other));
    assert_eq!(tracker.apply_packet(&key(), &other, 0), [Taken::Duplicate]);
    assert_eq!(tracker.mark(&key(), StreamId(1)), Seq(2));
}

#[test]
fn what_is_missing_is_known_with_its_time_and_told_apart_by_the_gateways_word() {
    let mut tracker = Tracker::default();
    tracker.apply_packet(&key(), &[offered(1, 1, 0), offered(1, 9, 0)], 100);
    let missing = |from, to, gone_ms| Missing {
        range: (from, to),
        since_ms: 100,
        gone_ms,
    };
    let list = |tracker: &Tracker| tracker.missing_of(&key()).remove(&StreamId(1));
    assert_eq!(list(&tracker), Some(vec![missing(2, 8, None)]));
    assert!(tracker.is_moved_by(&key(), &[held(1, 5, 9)], 200));
    tracker.handle_state(&key(), &[held(1, 5, 9)], 200);
    let expected = vec![missing(2, 4, Some(200)), missing(5, 8, None)];
    assert_eq!(list(&tracker), Some(expected));
    assert!(!tracker.is_moved_by(&key(), &[held(1, 5, 9)], 300));
    assert!(!tracker.is_moved_by(&key(), &[held(1, 1, 0)], 300));
    tracker.apply_packet(&key(), &[offered(1, 7, 0)], 400);
    tracker.handle_state(&key(), &[], 500);
    let expected = vec![missing(2, 6, Some(200)), missing(8, 8, Some(500))];
    assert_eq!(list(&tracker), Some(expected));
    let loss = Offered {
        offer: loss(2, 1, 1, (2, 8)),
        checksum: 0,
    };
    tracker.apply_packet(&key(), &[loss], 600);
    assert_eq!(list(&tracker), None);
}

#[test]
fn a_card_that_went_back_is_known_by_a_finished_stream_that_ends_too_early() {
    let mut tracker = Tracker::default();
    for seq in 1..=8 {
        tracker.apply_packet(&key(), &[offered(1, seq, 0)], 0);
    }
    let back = |held: &[HeldStream]| tracker.set_back(&key(), held);
    assert_eq!(back(&[held(1, 1, 8), held(2, 1, 1)]), []);
    // Perhaps an old message: the stream was still written then.
    assert_eq!(back(&[held(1, 1, 5)]), []);
    let expected = SetBack {
        stream: StreamId(1),
        held_last: 5,
        stored_last: 8,
    };
    assert_eq!(back(&[held(1, 1, 5), held(2, 1, 1)]), [expected]);
}
