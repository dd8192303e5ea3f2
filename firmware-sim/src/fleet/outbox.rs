//! One simulated gateway's journal and what of it is on its way: pure, `now` is an argument.
//!
//! Smaller than the gateway's own: records go one to a packet and in order, and what a connection had
//! on its way goes again from the oldest. What it shares with the real one is what loads ingest: a
//! record stays until ingest has acknowledged it, the window counts what ingest has not acknowledged,
//! retries send the same bytes. Told to keep back, it sends every [`LATE_EVERY`]th record late, as a
//! gateway does that has live data and a backlog.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use furrow_wire::StreamMarks;

/// Packets under way at once, as the gateway has them.
pub(crate) const WINDOW: usize = 32;
/// Most records of one gateway's journal: with a thousand gateways and batches of 96 some 80 MiB. When
/// it is full no more readings are made, and their latency counts from when they were due.
pub(crate) const JOURNAL_RECORDS: usize = 256;
/// Told to keep back: every so many records one goes late.
const LATE_EVERY: u64 = 64;
/// After so many that are newer. With batches of a minute a quarter of an hour, and sometimes beyond
/// midnight, where the archive's windows end.
const LATE_BY: u64 = 16;
/// What stays unacknowledged this long is offered again.
const RETRY_FIRST: Duration = Duration::from_secs(30);
/// The longest pause between two offers of the same record.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// See the module. Records are named by their seq, dense from 1.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Seq of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Everything below was offered on this connection.
    next: u64,
    /// Offered on this connection and not acknowledged.
    under_way: usize,
    waiting_readings: u64,
    is_connected: bool,
    keeps_back: bool,
    /// Seqs passed over on this connection, ascending: at most one in [`LATE_EVERY`] of the journal.
    late: VecDeque<u64>,
}

#[derive(Debug)]
struct Entry {
    packet: Bytes,
    readings: u32,
    due: Duration,
    is_acknowledged: bool,
    /// Offers on any connection.
    offers: u32,
    /// When it was last offered on this connection.
    offered: Option<Duration>,
}

/// A packet to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The bytes, the same each time.
    pub(crate) packet: Bytes,
    /// Readings in it.
    pub(crate) readings: u32,
    /// Whether it was offered before.
    pub(crate) is_again: bool,
}

impl Outbox {
    /// An empty journal, not connected.
    pub(crate) fn new() -> Self {
        Outbox {
            first: 1,
            entries: VecDeque::new(),
            next: 1,
            under_way: 0,
            waiting_readings: 0,
            is_connected: false,
            keeps_back: false,
            late: VecDeque::new(),
        }
    }

    /// From now on every [`LATE_EVERY`]th record goes after [`LATE_BY`] newer ones.
    pub(crate) fn keep_back(&mut self) {
        self.keeps_back = true;
    }

    /// Keeps nothing back any more, also what was.
    pub(crate) fn release(&mut self) {
        self.keeps_back = false;
    }

    /// The seq of the next record.
    pub(crate) fn next_seq(&self) -> u64 {
        self.first + u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    /// First seq that may be unacknowledged, last seq written.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.first, self.next_seq() - 1)
    }

    /// Whether the journal takes another record.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < JOURNAL_RECORDS
    }

    /// Whether a record that is journalled now would be offered at once.
    pub(crate) fn has_window(&self) -> bool {
        self.is_connected && self.under_way < WINDOW && self.next == self.next_seq()
    }

    /// Readings that are not acknowledged.
    pub(crate) fn waiting_readings(&self) -> u64 {
        self.waiting_readings
    }

    /// Whether everything is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Journals a record; latency counts from `due`.
    pub(crate) fn push(&mut self, packet: Bytes, readings: u32, due: Duration) {
        self.waiting_readings += u64::from(readings);
        self.entries.push_back(Entry {
            packet,
            readings,
            due,
            is_acknowledged: false,
            offers: 0,
            offered: None,
        });
    }

    /// Ready to publish.
    pub(crate) fn handle_connected(&mut self) {
        self.handle_disconnected();
        self.is_connected = true;
    }

    /// The connection is gone, and what was on its way with it.
    pub(crate) fn handle_disconnected(&mut self) {
        self.is_connected = false;
        self.next = self.first;
        self.under_way = 0;
        self.late.clear();
        for entry in &mut self.entries {
            entry.offered = None;
        }
    }

    /// Ingest said what it holds; `acknowledged` is told the readings of each record that it did not
    /// hold before, and how long after its due time.
    pub(crate) fn handle_ack(
        &mut self,
        marks: &StreamMarks,
        now: Duration,
        mut acknowledged: impl FnMut(u32, Duration),
    ) {
        let below = (1, marks.mark);
        for (from, to) in std::iter::once(below).chain(marks.ranges.iter().copied()) {
            let from = from.max(self.first);
            for seq in from..=to.min(self.next_seq() - 1) {
                let Some(entry) = entry_mut(&mut self.entries, self.first, seq) else {
                    break;
                };
                if std::mem::replace(&mut entry.is_acknowledged, true) {
                    continue;
                }
                self.under_way -= usize::from(entry.offered.is_some());
                self.waiting_readings -= u64::from(entry.readings);
                acknowledged(entry.readings, now.saturating_sub(entry.due));
            }
        }
        while self.entries.pop_front_if(|e| e.is_acknowledged).is_some() {
            self.first += 1;
        }
        self.next = self.next.max(self.first);
    }

    /// The next packet that the window has a place for.
    pub(crate) fn poll_offer(&mut self, now: Duration) -> Option<Offer> {
        while self.is_connected && self.under_way < WINDOW {
            let seq = match self.pop_late() {
                Some(seq) => seq,
                None => self.pop_next()?,
            };
            // Below the first is what was acknowledged meanwhile.
            let Some(entry) = entry_mut(&mut self.entries, self.first, seq) else {
                continue;
            };
            if !entry.is_acknowledged {
                self.under_way += 1;
                return Some(entry.offer(now));
            }
        }
        None
    }

    /// A record that was passed over, once it is late enough.
    fn pop_late(&mut self) -> Option<u64> {
        let (next, is_over) = (self.next, !self.keeps_back);
        self.late
            .pop_front_if(|seq| is_over || *seq + LATE_BY < next)
    }

    /// The next in order that is not passed over; `None` when all were offered.
    fn pop_next(&mut self) -> Option<u64> {
        while self.next < self.next_seq() {
            let seq = self.next;
            self.next += 1;
            if !self.keeps_back || !seq.is_multiple_of(LATE_EVERY) {
                return Some(seq);
            }
            self.late.push_back(seq);
        }
        None
    }

    /// A packet that nobody has acknowledged for too long.
    pub(crate) fn poll_again(&mut self, now: Duration) -> Option<Offer> {
        let entries = self.entries.iter_mut().take(2 * WINDOW);
        let mut waiting = entries.filter(|entry| !entry.is_acknowledged);
        let overdue = waiting.find(|entry| {
            let pause = RETRY_FIRST * 2u32.saturating_pow(entry.offers.saturating_sub(1).min(8));
            let offered = entry.offered;
            offered.is_some_and(|offered| offered + pause.min(RETRY_MAX) <= now)
        });
        overdue.map(|entry| entry.offer(now))
    }
}

impl Entry {
    fn offer(&mut self, now: Duration) -> Offer {
        self.offered = Some(now);
        self.offers += 1;
        Offer {
            packet: self.packet.clone(),
            readings: self.readings,
            is_again: self.offers > 1,
        }
    }
}

fn entry_mut(entries: &mut VecDeque<Entry>, first: u64, seq: u64) -> Option<&mut Entry> {
    let at = usize::try_from(seq.checked_sub(first)?).ok()?;
    entries.get_mut(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use furrow_wire::StreamId;

    fn packet(seq: u64) -> Bytes {
        Bytes::from(seq.to_string())
    }

    fn filled(records: u64) -> Outbox {
        let mut outbox = Outbox::new();
        for seq in 1..=records {
            assert_eq!(outbox.next_seq(), seq);
            outbox.push(packet(seq), 10, Duration::from_secs(seq));
        }
        outbox
    }

    fn offered(outbox: &mut Outbox, now_s: u64) -> Vec<String> {
        let now = Duration::from_secs(now_s);
        let text = |offer: Offer| {
            let again = if offer.is_again { " again" } else { "" };
            format!("{}{again}", String::from_utf8_lossy(&offer.packet))
        };
        std::iter::from_fn(|| outbox.poll_offer(now).map(text)).collect()
    }

    fn acked(outbox: &mut Outbox, now_s: u64, mark: u64, ranges: &[(u64, u64)]) -> Vec<u64> {
        let marks = StreamMarks {
            stream: StreamId(1),
            mark,
            ranges: ranges.to_vec(),
        };
        let mut latencies = Vec::new();
        let now = Duration::from_secs(now_s);
        outbox.handle_ack(&marks, now, |readings, latency| {
            assert_eq!(readings, 10);
            latencies.push(latency.as_secs());
        });
        latencies
    }

    #[test]
    fn nothing_goes_without_a_connection_and_a_window_full_with_one() {
        let mut outbox = filled(40);
        assert_eq!(offered(&mut outbox, 50), [""; 0]);
        outbox.handle_connected();
        let expected: Vec<String> = (1..=32).map(|seq: u64| seq.to_string()).collect();
        assert_eq!(offered(&mut outbox, 50), expected);
        assert_eq!(acked(&mut outbox, 50, 2, &[]), [49, 48]);
        assert_eq!(offered(&mut outbox, 51), ["33", "34"]);
        assert_eq!((outbox.held(), outbox.waiting_readings()), ((3, 40), 380));
    }

    #[test]
    fn ranges_above_the_mark_count_once_and_are_not_offered_again() {
        let mut outbox = filled(5);
        outbox.handle_connected();
        assert_eq!(offered(&mut outbox, 6).len(), 5);
        assert_eq!(acked(&mut outbox, 10, 1, &[(3, 4)]), [9, 7, 6]);
        assert_eq!(acked(&mut outbox, 11, 1, &[(3, 4), (90, 99)]), [0; 0]);
        outbox.handle_disconnected();
        outbox.handle_connected();
        assert_eq!(offered(&mut outbox, 12), ["2 again", "5 again"]);
        assert_eq!(acked(&mut outbox, 12, 5, &[]), [10, 7]);
        assert!(outbox.is_empty());
        assert_eq!((outbox.held(), outbox.waiting_readings()), ((6, 5), 0));
    }

    #[test]
    fn what_nobody_acknowledges_is_offered_again_with_growing_pauses() {
        let mut outbox = filled(1);
        outbox.handle_connected();
        assert_eq!(offered(&mut outbox, 0), ["1"]);
        let mut again = |now_s| outbox.poll_again(Duration::from_secs(now_s)).is_some();
        assert_eq!((again(29), again(30), again(30)), (false, true, false));
        assert_eq!((again(89), again(90)), (false, true));
        assert_eq!((again(209), again(210)), (false, true));
        assert_eq!((again(449), again(450)), (false, true));
        assert_eq!((again(749), again(750)), (false, true));
    }

    #[test]
    fn a_full_journal_takes_no_more_until_there_is_room() {
        let mut outbox = filled(JOURNAL_RECORDS as u64);
        assert!(!outbox.has_room());
        assert_eq!(acked(&mut outbox, 300, 1, &[]).len(), 1);
        assert!(outbox.has_room());
    }

    #[test]
    fn what_is_kept_back_goes_after_newer_ones_and_at_the_latest_when_it_is_released() {
        let mut outbox = filled(100);
        outbox.keep_back();
        outbox.handle_connected();
        let (mut order, mut ranges) = (Vec::new(), Vec::new());
        loop {
            let now = offered(&mut outbox, 0);
            if now.is_empty() {
                break;
            }
            let seqs = now.iter().map(|text| text.parse::<u64>().unwrap());
            ranges.extend(seqs.clone().map(|seq| (seq, seq)));
            order.extend(seqs);
            acked(&mut outbox, 0, 0, &ranges);
        }
        let late = (1..=80).filter(|seq| *seq != 64).chain([64]);
        let expected: Vec<u64> = late.chain(81..=100).collect();
        assert_eq!(order, expected);
        let mut short = filled(70);
        short.keep_back();
        short.handle_connected();
        offered(&mut short, 0);
        acked(&mut short, 0, 32, &[]);
        offered(&mut short, 0);
        acked(&mut short, 0, 63, &[]);
        assert_eq!(offered(&mut short, 0), ["66", "67", "68", "69", "70"]);
        short.release();
        assert_eq!(offered(&mut short, 0), ["64"]);
        // A new connection offers it in its turn.
        short.handle_disconnected();
        short.handle_connected();
        assert_eq!(offered(&mut short, 0)[0], "64 again");
    }

    #[test]
    fn the_window_is_open_while_everything_was_offered() {
        let mut outbox = filled(0);
        assert!(!outbox.has_window());
        outbox.handle_connected();
        assert!(outbox.has_window());
        outbox.push(packet(1), 10, Duration::ZERO);
        assert!(!outbox.has_window());
        assert_eq!(offered(&mut outbox, 0), ["1"]);
        assert!(outbox.has_window());
    }
}
