//! When each gateway's batches are due, and what field time they cover: pure.
//!
//! Batches of the whole fleet follow each other at even distances. A batch covers the next `sweeps`
//! samples of its gateway; at a rate above real time field time therefore begins in the past, and it
//! never passes the present: ingest refuses readings from the future.

use std::time::Duration;

/// How fast readings are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    /// Readings a second over the whole fleet.
    PerSecond(f64),
    /// As fast as ingest acknowledges: each gateway keeps its window full.
    Max,
}

/// What the fleet shall do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// How many gateways, from 1.
    pub(crate) gateways: u32,
    /// Channels of each, from 1.
    pub(crate) channels: u16,
    /// Sampling interval in milliseconds, from 1.
    pub(crate) interval_ms: u32,
    /// Sweeps over the channels in one batch, from 1.
    pub(crate) sweeps: u16,
    /// How fast.
    pub(crate) rate: Rate,
    /// No batch is made that is due later than this after the beginning.
    pub(crate) length: Duration,
    /// Most readings over the whole fleet; rounded up to whole batches.
    pub(crate) readings: Option<u64>,
    /// Wall time of the beginning, Unix milliseconds.
    pub(crate) began_unix_ms: i64,
    /// Field time of each gateway's first sample, Unix milliseconds.
    pub(crate) start_unix_ms: i64,
}

impl Plan {
    /// Readings a second at which field time keeps up with real time.
    pub(crate) fn real_time_rate(&self) -> f64 {
        f64::from(self.gateways) * f64::from(self.channels) * 1e3 / f64::from(self.interval_ms)
    }

    /// Readings in one batch.
    pub(crate) fn batch_readings(&self) -> u32 {
        u32::from(self.channels) * u32::from(self.sweeps)
    }

    /// Field time that one batch covers, in milliseconds.
    pub(crate) fn span_ms(&self) -> u64 {
        u64::from(self.interval_ms) * u64::from(self.sweeps)
    }

    /// The latest start that leaves room for all that will be made, ending at the present.
    /// `before_ms` is how long before the present field time begins where nobody knows how much that
    /// will be.
    pub(crate) fn start_unix_ms(&self, before_ms: u64) -> i64 {
        let needed_ms = match self.rate {
            Rate::Max => before_ms,
            Rate::PerSecond(rate) => {
                let speed = rate / self.real_time_rate();
                #[expect(clippy::cast_precision_loss, reason = "an estimate")]
                let by_count = self.readings.map_or(f64::MAX, |n| n as f64 / rate);
                let seconds = self.length.as_secs_f64().min(by_count);
                let beyond_real_time = (seconds * (speed - 1.0)).max(0.0) * 1e3;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "not negative; what exceeds the range saturates"
                )]
                let ms = beyond_real_time.ceil() as u64;
                ms.saturating_add(self.span_ms())
            }
        };
        let needed_ms = i64::try_from(needed_ms).unwrap_or(i64::MAX);
        let start = self.began_unix_ms.saturating_sub(needed_ms);
        // Round times, as a schedule gives them.
        start - start.rem_euclid(i64::from(self.interval_ms).max(1))
    }

    /// When batch number `batch` (from 0) of a gateway is due, after the beginning; `None` when it is
    /// not made at all. With [`Rate::Max`] it is the earliest moment.
    pub(crate) fn due(&self, gateway: u32, batch: u64) -> Option<Duration> {
        let place = batch * u64::from(self.gateways) + u64::from(gateway);
        let per_batch = u64::from(self.batch_readings());
        let is_wanted = |most: u64| place < most.div_ceil(per_batch);
        if !self.readings.is_none_or(is_wanted) {
            return None;
        }
        let paced = match self.rate {
            Rate::Max => Duration::ZERO,
            #[expect(clippy::cast_precision_loss, reason = "exact to a microsecond")]
            Rate::PerSecond(rate) => {
                Duration::try_from_secs_f64((place + 1) as f64 * per_batch as f64 / rate).ok()?
            }
        };
        let end_ms = i64::try_from((batch + 1).saturating_mul(self.span_ms())).ok()?;
        let ahead_ms = self.start_unix_ms.saturating_add(end_ms) - self.began_unix_ms;
        let present = Duration::from_millis(u64::try_from(ahead_ms).unwrap_or(0));
        Some(paced.max(present)).filter(|due| *due <= self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn plan(rate: Rate) -> Plan {
        let plan = Plan {
            gateways: 10,
            channels: 16,
            interval_ms: 10_000,
            sweeps: 6,
            rate,
            length: Duration::from_secs(600),
            readings: None,
            began_unix_ms: NOW,
            start_unix_ms: 0,
        };
        Plan {
            start_unix_ms: plan.start_unix_ms(86_400_000),
            ..plan
        }
    }

    fn field_end(plan: &Plan, batch: u64) -> i64 {
        plan.start_unix_ms + i64::try_from((batch + 1) * plan.span_ms()).unwrap()
    }

    #[test]
    fn in_real_time_a_gateway_sends_a_batch_each_span_and_none_from_the_future() {
        let plan = plan(Rate::PerSecond(16.0));
        assert!((plan.real_time_rate() - 16.0).abs() < 1e-9);
        assert_eq!(plan.due(0, 0), Some(Duration::from_secs(6)));
        assert_eq!(plan.due(9, 0), Some(Duration::from_secs(60)));
        assert_eq!(plan.due(0, 1), Some(Duration::from_secs(66)));
        let last = (0..)
            .take_while(|batch| plan.due(0, *batch).is_some())
            .last();
        assert_eq!(last, Some(9));
    }

    #[test]
    fn the_whole_fleet_keeps_the_rate_and_field_time_ends_at_the_present() {
        let plan = plan(Rate::PerSecond(16_000.0));
        let mut made = 0;
        for gateway in 0..plan.gateways {
            for batch in 0.. {
                let Some(due) = plan.due(gateway, batch) else {
                    break;
                };
                made += u64::from(plan.batch_readings());
                let due_ms = i64::try_from(due.as_millis()).unwrap();
                assert!(field_end(&plan, batch) <= NOW + due_ms, "{gateway} {batch}");
            }
        }
        assert_eq!(made, 16_000 * 600);
        let behind_ms = NOW + 600_000 - field_end(&plan, made / 96 / 10 - 1);
        assert!((0..70_000).contains(&behind_ms), "{behind_ms}");
    }

    #[test]
    fn a_count_is_rounded_up_to_whole_batches() {
        let plan = Plan {
            readings: Some(96 * 12 + 1),
            ..plan(Rate::Max)
        };
        let batches = |gateway| {
            (0..)
                .take_while(|n| plan.due(gateway, *n).is_some())
                .count()
        };
        let all: Vec<usize> = (0..10).map(batches).collect();
        assert_eq!(all, [2, 2, 2, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn as_fast_as_it_goes_ends_at_the_present_too() {
        let plan = plan(Rate::Max);
        assert_eq!(plan.due(3, 0), Some(Duration::ZERO));
        assert_eq!(plan.due(3, 1_439), Some(Duration::ZERO));
        let due = plan.due(3, 1_440).unwrap();
        assert_eq!(
            i64::try_from(due.as_millis()).unwrap() + NOW,
            field_end(&plan, 1_440)
        );
    }
}
