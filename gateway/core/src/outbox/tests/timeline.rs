use super::super::*;
use furrow_wire::StreamMarks;

const S: StreamId = StreamId(7);
const OPTIONS: Options = Options {
    send_interval_ms: 60_000,
    live_places: LIVE_PLACES,
    seed: 1,
};

/// An outbox with its clocks; both run together.
struct Line {
    outbox: Outbox,
    now: u64,
    log: Vec<String>,
}

impl Line {
    fn new() -> Self {
        Line {
            outbox: Outbox::new(OPTIONS),
            now: 0,
            log: Vec::new(),
        }
    }

    fn journal(&mut self, seqs: std::ops::RangeInclusive<u64>, urgency: Urgency) -> &mut Self {
        for seq in seqs {
            let name = RecordName {
                stream: S,
                seq: Seq(seq),
            };
            let place = Place {
                segment: seq / 100,
                offset: 0,
            };
            let entry = Journalled {
                name,
                place,
                readings: 10,
                held: None,
            };
            let (field, link) = (FieldMs(self.now), LinkMs(self.now));
            self.outbox.handle_journalled(entry, urgency, field, link);
        }
        self
    }

    fn connect(&mut self) -> &mut Self {
        self.outbox
            .handle_connected(FieldMs(self.now), LinkMs(self.now));
        self
    }

    fn ack(&mut self, mark: u64, ranges: &[(u64, u64)]) -> &mut Self {
        let marks = StreamMarks {
            stream: S,
            mark,
            ranges: ranges.to_vec(),
        };
        let ack = Ack {
            ingest_unix_ms: 0,
            streams: vec![marks],
        };
        self.outbox.handle_ack(&ack, LinkMs(self.now));
        self
    }

    /// Runs to `to`, publishing every offer with at most `most` records; every PUBACK comes.
    fn run(&mut self, to: u64, most: u64) -> &mut Self {
        self.run_with(to, most, true)
    }

    fn run_with(&mut self, to: u64, most: u64, pubacks: bool) -> &mut Self {
        loop {
            let (field, link) = (FieldMs(self.now), LinkMs(self.now));
            while let Some(command) = self.outbox.poll_command(field, link) {
                self.obey(command, most, pubacks);
            }
            let next = self.outbox.poll_timeout(link).map_or(u64::MAX, |at| at.0);
            assert!(next > self.now, "a time-out in the past would spin");
            if next > to {
                self.now = to;
                return self;
            }
            self.now = next;
        }
    }

    fn obey(&mut self, command: Command, most: u64, pubacks: bool) {
        let now = self.now / 1000;
        match command {
            Command::Offer(offer) => {
                let to = offer.to.0.min(offer.from.0 + most - 1);
                let lane = match offer.lane {
                    Lane::Live => "live",
                    Lane::Backlog => "back",
                };
                self.log.push(format!("{now}s {lane} {}-{to}", offer.from));
                self.outbox
                    .handle_published(offer.id, Seq(to), LinkMs(self.now));
                if pubacks {
                    let answer = PubackAnswer::Accepted;
                    self.outbox
                        .handle_puback(offer.id, answer, LinkMs(self.now));
                }
            }
            Command::Release { segment } => self.log.push(format!("{now}s release {segment}")),
            Command::Keep { segment } => self.log.push(format!("{now}s keep {segment}")),
            Command::Rebuild => self.log.push(format!("{now}s rebuild")),
        }
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(self.log, expected);
        self.log.clear();
        self
    }
}

#[test]
fn live_batches_share_a_packet_for_the_send_interval_and_events_go_at_once() {
    let mut line = Line::new();
    line.connect()
        .ack(0, &[])
        .journal(1..=1, Urgency::Normal)
        .run(30_000, 9)
        .check(&[]);
    line.journal(2..=2, Urgency::Normal)
        .run(60_000, 9)
        .check(&["60s live 1-2"]);
    line.ack(2, &[])
        .journal(3..=3, Urgency::Normal)
        .journal(4..=4, Urgency::Urgent);
    line.run(61_000, 9).check(&["60s live 3-4"]);
}

#[test]
fn after_an_outage_the_newest_go_first_and_the_backlog_drains_beside() {
    let mut line = Line::new();
    line.journal(1..=20, Urgency::Normal)
        .run(1_000_000, 9)
        .check(&[]);
    line.connect()
        .run(1_000_000, 9)
        .check(&["1000s live 17-20"]);
    // The backlog waits for what ingest already holds: 1 to 3.
    line.ack(3, &[])
        .run(1_000_000, 9)
        .check(&["1000s back 4-12", "1000s back 13-16"]);
    line.ack(20, &[]).run(2_000_000, 9).check(&[]);
    assert_eq!(line.outbox.totals(), Totals::default());
}

#[test]
fn an_ingest_that_says_nothing_gets_the_backlog_after_five_seconds() {
    let mut line = Line::new();
    line.journal(1..=9, Urgency::Normal).connect();
    line.run(10_000, 9).check(&["0s live 6-9", "5s back 1-5"]);
}

#[test]
fn a_catalog_goes_before_the_newest() {
    let mut line = Line::new();
    line.journal(1..=1, Urgency::Context)
        .journal(2..=9, Urgency::Normal)
        .connect();
    line.run(0, 9).check(&["0s live 1-1", "0s live 6-9"]);
}

#[test]
fn a_backlog_leaves_places_for_the_live() {
    let mut line = Line::new();
    line.journal(1..=99, Urgency::Normal)
        .connect()
        .ack(0, &[])
        .run(0, 1);
    let backlog = line
        .log
        .iter()
        .filter(|entry| entry.contains("back"))
        .count();
    assert_eq!(backlog, WINDOW - LIVE_PLACES);
    line.log.clear();
    line.journal(100..=100, Urgency::Urgent)
        .run(1_000, 1)
        .check(&["0s live 100-100"]);
}

#[test]
fn silence_is_probed_by_one_packet_with_growing_pauses() {
    let mut line = Line::new();
    line.connect()
        .ack(0, &[])
        .journal(1..=3, Urgency::Urgent)
        .run(0, 1);
    line.check(&["0s live 1-1", "0s back 2-2", "0s back 3-3"]);
    line.run(1_500_000, 1);
    let times: Vec<u64> = line
        .log
        .iter()
        .map(|entry| entry.split('s').next().unwrap().parse().unwrap())
        .collect();
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, expected) in pauses.iter().zip([60, 120, 240, 300, 300]) {
        assert!(pause.abs_diff(expected) <= expected / 10, "{pauses:?}");
    }
    assert!(
        (27..=33).contains(&times[0]) && times.len() >= 5,
        "{times:?}"
    );
    // One answer, and all that is overdue goes at once.
    line.log.clear();
    line.ack(1, &[]).run(1_500_000, 1);
    line.log.sort();
    line.check(&["1500s back 2-2", "1500s back 3-3"]);
}

#[test]
fn a_lost_packet_among_acknowledged_ones_is_offered_again_without_silencing_the_rest() {
    let mut line = Line::new();
    line.connect()
        .ack(0, &[])
        .journal(1..=1, Urgency::Urgent)
        .run(0, 1)
        .check(&["0s live 1-1"]);
    line.now = 20_000;
    line.journal(2..=2, Urgency::Urgent)
        .run(20_000, 1)
        .check(&["20s live 2-2"]);
    line.ack(0, &[(2, 2)]).run(45_000, 1);
    assert_eq!(line.log.len(), 1, "{:?}", line.log);
    line.log.clear();
    line.journal(3..=3, Urgency::Urgent)
        .run(45_000, 1)
        .check(&["45s live 3-3"]);
}

#[test]
fn a_segment_is_released_when_all_in_it_is_acknowledged_and_it_is_no_longer_written() {
    let mut line = Line::new();
    line.journal(1..=150, Urgency::Normal)
        .connect()
        .ack(98, &[(100, 150)]);
    line.run(0, 50).check(&["0s back 99-99"]);
    line.ack(150, &[]).run(0, 50).check(&["0s release 0"]);
    line.journal(151..=200, Urgency::Normal)
        .ack(200, &[])
        .run(0, 50)
        .check(&["0s release 1"]);
}

#[test]
fn what_is_held_of_each_stream_is_told_oldest_first() {
    let mut line = Line::new();
    let held = |line: &Line| -> Vec<(u64, u64, u64, u64)> {
        let streams = line.outbox.streams().into_iter();
        streams
            .map(|held| (held.stream.0, held.first, held.last, held.mark))
            .collect()
    };
    let place = Place {
        segment: 0,
        offset: 0,
    };
    for (stream, seq) in [(9, 5), (9, 6), (3, 1)] {
        let name = RecordName {
            stream: StreamId(stream),
            seq: Seq(seq),
        };
        line.outbox.handle_recovered(Journalled {
            name,
            place,
            readings: 1,
            held: None,
        });
    }
    line.journal(1..=250, Urgency::Normal);
    assert_eq!(held(&line), [(9, 5, 6, 4), (3, 1, 1, 0), (7, 1, 250, 0)]);
    line.outbox.handle_settled(StreamId(9), Seq(1), Seq(6));
    line.ack(120, &[(200, 250)]);
    assert_eq!(held(&line), [(9, 5, 6, 6), (3, 1, 1, 0), (7, 1, 250, 120)]);
    line.ack(250, &[]);
    assert_eq!(held(&line), [(9, 5, 6, 6), (3, 1, 1, 0), (7, 1, 250, 250)]);
}

#[test]
fn pubacks_that_stop_ask_for_a_new_client_once() {
    let mut line = Line::new();
    line.connect().ack(0, &[]).journal(1..=1, Urgency::Urgent);
    line.run_with(29_999, 1, false)
        .log
        .retain(|entry| !entry.contains("live"));
    line.check(&[]);
    line.run_with(100_000, 1, false)
        .log
        .retain(|entry| entry.contains("rebuild"));
    line.check(&["30s rebuild"]);
    line.outbox.handle_disconnected();
    line.run_with(200_000, 1, false).check(&[]);
    line.connect()
        .run_with(200_000, 1, false)
        .check(&["200s live 1-1"]);
}

#[test]
fn an_ingest_restored_from_a_backup_is_given_again_what_it_lost() {
    let mut line = Line::new();
    line.journal(1..=99, Urgency::Normal)
        .connect()
        .ack(99, &[])
        .run(0, 99)
        .check(&[]);
    line.outbox.handle_lost(S, Seq(55), Seq(56));
    line.outbox.handle_disconnected();
    line.connect().ack(50, &[(60, 70)]).run(0, 99);
    line.check(&["0s back 51-54", "0s back 57-59", "0s back 71-99"]);
    assert_eq!(line.outbox.totals().taken_back, 38);
    // A later acknowledgement is read so too: the first may have spoken of another stream.
    line.ack(99, &[]).run(0, 99).check(&[]);
    line.ack(50, &[]).run(0, 99);
    line.check(&["0s back 51-54", "0s back 57-99"]);
}

/// What waits again must not be used again before it is given.
#[test]
fn a_released_segment_is_kept_when_ingest_lost_what_is_in_it() {
    let mut line = Line::new();
    line.journal(1..=250, Urgency::Normal)
        .connect()
        .ack(250, &[])
        .run(0, 200)
        .check(&["0s release 0", "0s release 1"]);
    line.ack(150, &[]).run(0, 200);
    line.check(&["0s keep 1", "0s back 151-199", "0s back 200-250"]);
    line.ack(250, &[]).run(0, 200).check(&["0s release 1"]);
    // Taken back and acknowledged before anybody asked.
    line.ack(150, &[]).ack(250, &[]).run(0, 200);
    line.check(&["0s keep 1", "0s release 1"]);
    // It was used again.
    line.ack(150, &[]);
    line.outbox.handle_segments(&[2]);
    line.run(0, 200).check(&["0s back 200-250"]);
}

#[test]
fn batches_without_a_clock_wait_for_the_mapping() {
    let mut line = Line::new();
    let boot = BootId(5);
    line.connect().ack(0, &[]);
    let name = RecordName {
        stream: S,
        seq: Seq(1),
    };
    let place = Place {
        segment: 0,
        offset: 0,
    };
    let entry = Journalled {
        name,
        place,
        readings: 10,
        held: Some(boot),
    };
    line.outbox
        .handle_journalled(entry, Urgency::Normal, FieldMs(0), LinkMs(0));
    line.run(500_000, 9).check(&[]);
    line.journal(2..=2, Urgency::Context)
        .outbox
        .handle_mapped(boot);
    line.run(500_000, 9)
        .check(&["500s live 2-2", "500s back 1-1"]);
}

#[test]
fn what_cannot_be_read_or_published_does_not_block_the_rest() {
    let mut line = Line::new();
    line.journal(1..=5, Urgency::Normal).connect().ack(0, &[]);
    let (field, link) = (FieldMs(0), LinkMs(0));
    let Some(Command::Offer(first)) = line.outbox.poll_command(field, link) else {
        panic!()
    };
    assert_eq!((first.from, first.to), (Seq(2), Seq(5)));
    assert!(line.outbox.handle_unreadable(first.id, Seq(2), Seq(3)));
    let Some(Command::Offer(second)) = line.outbox.poll_command(field, link) else {
        panic!()
    };
    line.outbox.handle_unpublished(second.id);
    line.run(0, 9).check(&["0s back 1-1", "0s back 4-5"]);
    assert_eq!(line.outbox.totals().waiting_records, 3);
}

#[test]
fn a_flush_waits_for_nothing() {
    let mut line = Line::new();
    line.connect()
        .ack(0, &[])
        .journal(1..=2, Urgency::Normal)
        .run(0, 9)
        .check(&[]);
    line.outbox.handle_flush();
    line.run(0, 9).check(&["0s live 1-2"]);
}

#[test]
fn a_copy_of_a_mapped_boots_record_does_not_wait_again() {
    let mut line = Line::new();
    let boot = BootId(5);
    line.connect().ack(0, &[]).outbox.handle_mapped(boot);
    let name = RecordName {
        stream: S,
        seq: Seq(1),
    };
    let place = Place {
        segment: 3,
        offset: 0,
    };
    line.outbox.handle_recovered(Journalled {
        name,
        place,
        readings: 0,
        held: Some(boot),
    });
    assert_eq!(line.outbox.held_boots(), []);
    line.run(0, 9).check(&["0s back 1-1"]);
}

#[test]
fn what_ingest_acknowledged_while_it_was_read_is_no_loss() {
    let mut line = Line::new();
    line.journal(1..=5, Urgency::Normal).connect().ack(0, &[]);
    let (field, link) = (FieldMs(0), LinkMs(0));
    let Some(Command::Offer(offer)) = line.outbox.poll_command(field, link) else {
        panic!()
    };
    line.ack(5, &[]);
    assert!(
        !line
            .outbox
            .handle_unreadable(offer.id, offer.from, offer.to)
    );
    assert!(
        !line
            .outbox
            .handle_unreadable(offer.id, offer.from, offer.to)
    );
}
