//! What the fleet did, in figures.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::latency::Histogram;

/// Counts so far, in readings unless they say otherwise.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Made and journalled.
    pub(crate) journalled: u64,
    /// Offered for the first time.
    pub(crate) sent: u64,
    /// Offered a second time or more.
    pub(crate) again: u64,
    /// Acknowledged by ingest.
    pub(crate) acknowledged: u64,
    /// Publishes that the broker refused.
    pub(crate) refused_publishes: u64,
    /// Gateways that were ever connected.
    pub(crate) connected: u64,
    /// Connections made.
    pub(crate) connects: u64,
    /// Of each acknowledged batch.
    pub(crate) latency: Histogram,
}

/// Totals of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Gateways.
    pub gateways: u32,
    /// Channels of each.
    pub channels: u16,
    /// From the first batch to the last acknowledgement, or to the end of the grace period.
    pub seconds: f64,
    /// Readings made and journalled.
    pub journalled: u64,
    /// Readings sent, each counted once.
    pub sent: u64,
    /// Readings that ingest acknowledged.
    pub acknowledged: u64,
    /// Readings that it did not.
    pub waiting: u64,
    /// Readings offered a second time or more.
    pub duplicates_offered: u64,
    /// Publishes that the broker refused.
    pub refused_publishes: u64,
    /// Connections beyond the first of each gateway.
    pub reconnects: u64,
    /// Acknowledged readings a second.
    pub readings_per_second: f64,
    /// From a batch's due time to its acknowledgement.
    pub latency_ms: Option<Latency>,
}

/// Milliseconds that so many of a hundred batches did not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Half.
    pub p50: f64,
    /// 90.
    pub p90: f64,
    /// 99.
    pub p99: f64,
    /// All.
    pub max: f64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Tally {
            journalled: 0,
            sent: 0,
            again: 0,
            acknowledged: 0,
            refused_publishes: 0,
            connected: 0,
            connects: 0,
            latency: Histogram::new(),
        }
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.journalled.saturating_sub(self.acknowledged)
    }

    pub(crate) fn report(&self, gateways: u32, channels: u16, elapsed: Duration) -> Report {
        let ms = |percent| Some(self.latency.percentile(percent)?.as_secs_f64() * 1e3);
        let latency = || {
            Some(Latency {
                p50: ms(50)?,
                p90: ms(90)?,
                p99: ms(99)?,
                max: self.latency.max()?.as_secs_f64() * 1e3,
            })
        };
        let seconds = elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let acknowledged = self.acknowledged as f64;
        Report {
            gateways,
            channels,
            seconds,
            journalled: self.journalled,
            sent: self.sent,
            acknowledged: self.acknowledged,
            waiting: self.waiting(),
            duplicates_offered: self.again,
            refused_publishes: self.refused_publishes,
            reconnects: self.connects.saturating_sub(self.connected),
            readings_per_second: acknowledged / seconds.max(f64::MIN_POSITIVE),
            latency_ms: latency(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "readings sent {}, acknowledged {}, waiting {}, duplicates offered {}",
            self.sent, self.acknowledged, self.waiting, self.duplicates_offered
        )?;
        writeln!(
            f,
            "{:.0} readings/s over {:.1} s; {} gateways, {} channels each; reconnects {}, refused {}",
            self.readings_per_second,
            self.seconds,
            self.gateways,
            self.channels,
            self.reconnects,
            self.refused_publishes
        )?;
        match &self.latency_ms {
            None => write!(f, "acknowledgement: none"),
            Some(Latency { p50, p90, p99, max }) => write!(
                f,
                "acknowledgement after p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, max {max:.1} ms"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_waits_and_how_long_the_rest_took() {
        let mut tally = Tally::new();
        assert!(tally.report(2, 4, Duration::ZERO).latency_ms.is_none());
        tally.journalled = 300;
        tally.sent = 250;
        tally.again = 10;
        tally.acknowledged = 200;
        tally.connected = 2;
        tally.connects = 3;
        tally.latency.record(Duration::from_millis(20));
        let report = tally.report(2, 4, Duration::from_secs(10));
        assert_eq!(
            report.to_string(),
            "readings sent 250, acknowledged 200, waiting 100, duplicates offered 10\n\
             20 readings/s over 10.0 s; 2 gateways, 4 channels each; reconnects 1, refused 0\n\
             acknowledgement after p50 20.0 ms, p90 20.0 ms, p99 20.0 ms, max 20.0 ms"
        );
    }
}
