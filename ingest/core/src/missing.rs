//! Which seqs ingest lacks although it knows of them, since when, and whether they can still come.
//!
//! A seq is missing when a later one of its stream has come, or when the gateway says that what it
//! holds begins later. As long as the gateway holds it, it may come. When neither side holds it, it is
//! gone, and nobody has told of it as a loss: a card or an ingest was replaced.

use serde::{Deserialize, Serialize};

use crate::stream::{SeqRange, StreamTrack};

/// Consecutive seqs that ingest lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// First and last of them.
    pub range: SeqRange,
    /// Receive time of what first showed that they are missing, Unix milliseconds.
    pub since_ms: i64,
    /// Receive time of the gateway's word that it does not hold them either; `None`: they may come.
    pub gone_ms: Option<i64>,
}

/// What the gateway says of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing new.
    None,
    /// It holds everything from this seq on that it ever wrote.
    HoldsFrom(u64),
    /// It does not hold the stream.
    HoldsNothing,
}

/// The list anew: what came is taken off, what turned out to be missing is added. At most two entries
/// for each hole, of which there are as many as ranges, and one.
pub(crate) fn revised(
    track: &StreamTrack,
    before: &[Missing],
    word: Word,
    now_ms: i64,
) -> Vec<Missing> {
    let below_held = match word {
        Word::HoldsFrom(first) => first.saturating_sub(1),
        Word::None | Word::HoldsNothing => 0,
    };
    let known = before.last().map_or(0, |missing| missing.range.1);
    let held = track.ranges().last().map_or(0, |range| range.1);
    let horizon = held.max(known).max(below_held);
    let mut out: Vec<Missing> = Vec::new();
    for hole in track.missing_in((1, horizon)) {
        for piece in pieces(hole, before, now_ms) {
            for piece in said(piece, word, now_ms) {
                push(&mut out, piece);
            }
        }
    }
    out
}

/// A hole with what was known of its parts before.
fn pieces((from, to): SeqRange, before: &[Missing], now_ms: i64) -> Vec<Missing> {
    let fresh = |from, to| Missing {
        range: (from, to),
        since_ms: now_ms,
        gone_ms: None,
    };
    let mut out = Vec::new();
    let mut next = from;
    for known in before {
        let (start, end) = (known.range.0.max(next), known.range.1.min(to));
        if start > end {
            continue;
        }
        if start > next {
            out.push(fresh(next, start - 1));
        }
        out.push(Missing {
            range: (start, end),
            ..*known
        });
        next = end.saturating_add(1);
    }
    if next <= to {
        out.push(fresh(next, to));
    }
    out
}

/// A piece after the gateway's word, cut where what it holds begins.
fn said(piece: Missing, word: Word, now_ms: i64) -> Vec<Missing> {
    let gone = |range| Missing {
        range,
        gone_ms: Some(piece.gone_ms.unwrap_or(now_ms)),
        ..piece
    };
    let (from, to) = piece.range;
    match word {
        Word::None => vec![piece],
        Word::HoldsNothing => vec![gone((from, to))],
        Word::HoldsFrom(first) => {
            let mut out = Vec::new();
            if from < first {
                out.push(gone((from, to.min(first - 1))));
            }
            if to >= first {
                out.push(Missing {
                    range: (from.max(first), to),
                    gone_ms: None,
                    ..piece
                });
            }
            out
        }
    }
}

/// Adds a piece; two that touch and are both gone, or both are not, are one, since the earlier of both.
fn push(out: &mut Vec<Missing>, piece: Missing) {
    if let Some(last) = out.last_mut()
        && last.range.1.saturating_add(1) == piece.range.0
        && last.gone_ms.is_some() == piece.gone_ms.is_some()
    {
        last.range.1 = piece.range.1;
        last.since_ms = last.since_ms.min(piece.since_ms);
        last.gone_ms = last.gone_ms.min(piece.gone_ms);
        return;
    }
    out.push(piece);
}

#[cfg(test)]
mod tests {
    use furrow_wire::Seq;

    use super::*;

    fn missing(from: u64, to: u64, since_ms: i64, gone_ms: Option<i64>) -> Missing {
        Missing {
            range: (from, to),
            since_ms,
            gone_ms,
        }
    }

    /// Seqs that come at times 1, 2, 3, …; then the gateway's words, one a time.
    #[track_caller]
    fn check(seqs: &[u64], words: &[Word], expected: &[Missing]) {
        let mut track = StreamTrack::default();
        let mut list = Vec::new();
        let mut now_ms = 0;
        for seq in seqs {
            now_ms += 1;
            track.accept(Seq(*seq));
            list = revised(&track, &list, Word::None, now_ms);
        }
        for word in words {
            now_ms += 1;
            list = revised(&track, &list, *word, now_ms);
            let again = revised(&track, &list, *word, now_ms + 100);
            assert_eq!(again, list, "said twice");
        }
        assert_eq!(list, expected);
    }

    #[test]
    fn a_later_seq_shows_what_is_missing_until_it_comes() {
        check(&[1, 2, 3], &[], &[]);
        check(&[1, 5], &[], &[missing(2, 4, 2, None)]);
        check(
            &[1, 5, 3],
            &[],
            &[missing(2, 2, 2, None), missing(4, 4, 2, None)],
        );
        check(&[1, 5, 2, 3, 4], &[], &[]);
        check(
            &[2, 9],
            &[],
            &[missing(1, 1, 1, None), missing(3, 8, 2, None)],
        );
    }

    #[test]
    fn what_the_gateway_no_longer_holds_is_gone() {
        let from = Word::HoldsFrom;
        check(&[9], &[from(1)], &[missing(1, 8, 1, None)]);
        check(
            &[9],
            &[from(4)],
            &[missing(1, 3, 1, Some(2)), missing(4, 8, 1, None)],
        );
        check(
            &[9],
            &[from(4), from(6)],
            &[missing(1, 5, 1, Some(2)), missing(6, 8, 1, None)],
        );
        check(
            &[9],
            &[from(4), Word::HoldsNothing],
            &[missing(1, 8, 1, Some(2))],
        );
        // The card that held it is back.
        check(&[9], &[from(10), from(1)], &[missing(1, 8, 1, None)]);
    }

    #[test]
    fn an_ingest_that_lost_everything_learns_it_from_the_gateway() {
        let from = Word::HoldsFrom;
        check(&[], &[from(5)], &[missing(1, 4, 1, Some(1))]);
        check(&[], &[from(1)], &[]);
        check(&[], &[Word::HoldsNothing], &[]);
        check(&[], &[from(5), Word::None], &[missing(1, 4, 1, Some(1))]);
    }

    #[test]
    fn a_loss_ends_it() {
        let mut track = StreamTrack::default();
        track.accept(Seq(9));
        let list = revised(&track, &[], Word::None, 1);
        track.cover((1, 8)).unwrap();
        assert_eq!(revised(&track, &list, Word::HoldsFrom(9), 2), []);
    }
}
