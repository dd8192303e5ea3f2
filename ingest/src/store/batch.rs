//! Cuts runs of readings into requests of line protocol, and finds the lines that a server does not take.
//!
//! Bounded by lines and bytes. A server that refuses a request is given its halves, down to single lines: those are
//! refused, all others stored. Sending a line again changes nothing, so halving is safe even where a part of the request
//! was stored. Waiting and trying again are the caller's: the first fault ends the write.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use furrow_wire::CooperativeId;

use super::line::{Precision, Prefix, push_line};
use super::{Reading, Refused, Run, StoreFault, Written};

/// Lines of a request: what InfluxDB's makers found best.
pub(super) const LINES_MAX: usize = 5_000;
/// Bytes of a request, but for one line more: well below what proxies usually let through (8 MiB or so).
pub(super) const BYTES_MAX: usize = 1 << 20;

/// What a server made of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it is stored.
    Stored,
    /// Some lines are dropped, the others stored.
    Dropped {
        /// How many, if it said so.
        lines: Option<usize>,
        /// Why.
        reason: String,
    },
    /// Nothing is stored, for something in it.
    NotTaken {
        /// What.
        reason: String,
    },
}

/// Where requests go.
#[async_trait]
pub(super) trait LineSink: Sync {
    /// Sends lines with times in milliseconds.
    async fn send(&self, lines: Bytes) -> Result<Sent, StoreFault>;
}

/// Sends all readings of all runs.
pub(super) async fn write_all(
    sink: &dyn LineSink,
    cooperative: &CooperativeId,
    runs: &[Run],
) -> Result<Written, StoreFault> {
    let mut written = Written::default();
    let mut batch = Batch::default();
    for run in runs {
        let prefix = Prefix::new(cooperative, &run.series, &run.unit);
        for reading in &run.readings {
            push_line(&mut batch.text, &prefix, reading, Precision::Milliseconds);
            let end = batch.text.len();
            batch.lines.push(Line { run, reading, end });
            if batch.lines.len() >= LINES_MAX || batch.text.len() >= BYTES_MAX {
                send(sink, std::mem::take(&mut batch), &mut written).await?;
            }
        }
    }
    send(sink, batch, &mut written).await?;
    if let Some(first) = written.refused.first() {
        let (refused, reason) = (written.refused.len(), first.reason.as_str());
        tracing::warn!(%cooperative, refused, reason, "store refused readings");
    }
    Ok(written)
}

#[derive(Default)]
struct Batch<'a> {
    text: String,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    run: &'a Run,
    reading: &'a Reading,
    /// Behind its line break.
    end: usize,
}

async fn send(
    sink: &dyn LineSink,
    batch: Batch<'_>,
    written: &mut Written,
) -> Result<(), StoreFault> {
    let text = Bytes::from(batch.text);
    let ends: Vec<usize> = batch.lines.iter().map(|line| line.end).collect();
    // Halves at the top come first, so that order is kept. It holds at most one range a halving.
    let mut waiting = Vec::new();
    if !ends.is_empty() {
        waiting.push(0..ends.len());
    }
    while let Some(range) = waiting.pop() {
        let sent = sink.send(text.slice(bytes_of(&ends, &range))).await?;
        let lines = range.len();
        match sent {
            Sent::Stored => written.stored += lines as u64,
            Sent::Dropped {
                lines: Some(dropped),
                reason,
            } if dropped >= lines => {
                refuse(&batch.lines, range, &reason, written);
            }
            Sent::Dropped { reason, .. } | Sent::NotTaken { reason } if lines == 1 => {
                refuse(&batch.lines, range, &reason, written);
            }
            Sent::Dropped { .. } | Sent::NotTaken { .. } => {
                let middle = range.start + lines / 2;
                waiting.push(middle..range.end);
                waiting.push(range.start..middle);
            }
        }
    }
    Ok(())
}

fn bytes_of(ends: &[usize], lines: &Range<usize>) -> Range<usize> {
    let behind = |line: Option<usize>| line.and_then(|line| ends.get(line)).copied().unwrap_or(0);
    behind(lines.start.checked_sub(1))..behind(lines.end.checked_sub(1))
}

fn refuse(lines: &[Line<'_>], range: Range<usize>, reason: &str, written: &mut Written) {
    let refused = lines.get(range).unwrap_or_default();
    written.refused.extend(refused.iter().map(|line| Refused {
        series: line.run.series.clone(),
        reading: *line.reading,
        reason: reason.to_owned(),
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use furrow_wire::{Decimal, Quality, SeriesId};

    /// Takes no line whose value is in `poison`, and at most `lines_max` lines.
    #[derive(Default)]
    struct Picky {
        poison: Vec<i64>,
        partial: bool,
        lines_max: Option<usize>,
        requests: Mutex<Vec<usize>>,
        stored: Mutex<Vec<i64>>,
    }

    #[async_trait]
    impl LineSink for Picky {
        async fn send(&self, lines: Bytes) -> Result<Sent, StoreFault> {
            let text = std::str::from_utf8(&lines).unwrap();
            assert!(text.ends_with('\n'));
            let value = |line: &str| {
                let (_, rest) = line.split_once("value=").unwrap();
                rest.split(' ').next().unwrap().parse::<i64>().unwrap()
            };
            let values: Vec<i64> = text.lines().map(value).collect();
            self.requests.lock().unwrap().push(values.len());
            let reason = || "bad".to_owned();
            if self.lines_max.is_some_and(|max| values.len() > max) {
                return Ok(Sent::NotTaken { reason: reason() });
            }
            let good: Vec<i64> = values
                .iter()
                .copied()
                .filter(|value| !self.poison.contains(value))
                .collect();
            if good.len() == values.len() {
                self.stored.lock().unwrap().extend(good);
                return Ok(Sent::Stored);
            }
            if !self.partial {
                return Ok(Sent::NotTaken { reason: reason() });
            }
            let dropped = values.len() - good.len();
            self.stored.lock().unwrap().extend(good);
            Ok(Sent::Dropped {
                lines: Some(dropped),
                reason: reason(),
            })
        }
    }

    fn run(values: Range<i64>) -> Run {
        let series = SeriesId {
            greenhouse: "nha-1".parse().unwrap(),
            device: "sht".parse().unwrap(),
            channel: "air_temperature".parse().unwrap(),
        };
        let reading = |mantissa| Reading {
            time_ms: mantissa,
            value: Some(Decimal {
                mantissa,
                exponent: 0,
            }),
            quality: Quality::Good,
        };
        Run {
            series,
            unit: String::new(),
            readings: values.map(reading).collect(),
        }
    }

    async fn check(sink: &Picky, count: i64) -> (u64, Vec<i64>) {
        let cooperative = "hoa-binh".parse().unwrap();
        let written = write_all(sink, &cooperative, &[run(0..count)])
            .await
            .unwrap();
        let refused: Vec<i64> = written
            .refused
            .iter()
            .map(|refused| refused.reading.time_ms)
            .collect();
        let mut stored = sink.stored.lock().unwrap().clone();
        stored.sort_unstable();
        stored.dedup();
        let expected: Vec<i64> = (0..count)
            .filter(|value| !refused.contains(value))
            .collect();
        assert_eq!(stored, expected, "each is stored or refused");
        (written.stored, refused)
    }

    #[tokio::test]
    async fn only_what_is_refused_is_refused() {
        let sink = Picky {
            poison: vec![3, 77],
            ..Picky::default()
        };
        assert_eq!(check(&sink, 100).await, (98, vec![3, 77]));
    }

    #[tokio::test]
    async fn a_partial_write_names_its_lines_in_few_requests() {
        let sink = Picky {
            poison: (0..64).collect(),
            partial: true,
            ..Picky::default()
        };
        let (stored, refused) = check(&sink, 128).await;
        assert_eq!((stored, refused.len()), (64, 64));
        assert_eq!(*sink.requests.lock().unwrap(), [128, 64, 64]);
    }

    #[tokio::test]
    async fn what_is_too_large_is_halved() {
        let sink = Picky {
            lines_max: Some(30),
            ..Picky::default()
        };
        assert_eq!(check(&sink, 100).await, (100, vec![]));
        assert_eq!(
            *sink.requests.lock().unwrap(),
            [100, 50, 25, 25, 50, 25, 25]
        );
    }

    #[tokio::test]
    async fn requests_are_bounded() {
        let sink = Picky::default();
        let lines = i64::try_from(LINES_MAX).unwrap();
        assert_eq!(
            check(&sink, 2 * lines + 1).await.0,
            2 * LINES_MAX as u64 + 1
        );
        assert_eq!(*sink.requests.lock().unwrap(), [LINES_MAX, LINES_MAX, 1]);
    }

    #[tokio::test]
    async fn nothing_to_write_is_no_request() {
        let sink = Picky::default();
        assert_eq!(check(&sink, 0).await, (0, vec![]));
        assert!(sink.requests.lock().unwrap().is_empty());
    }
}
