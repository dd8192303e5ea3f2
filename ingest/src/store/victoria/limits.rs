//! What VictoriaMetrics drops without a word: found out before it is sent, and by the flags that it runs with.

use std::time::Duration;

use super::super::{Refused, Run, StoreFault};

/// How far ahead of its clock the server takes times (`-futureRetention`, 2 days), less what clocks differ.
pub(super) const AHEAD_MS: i64 = 47 * 3_600_000;
/// First time that is taken, in Unix milliseconds: the year 1971. The server looks back further than it is asked to, and
/// answers with nothing when that is before 1970.
pub(super) const FIRST_MS: i64 = 365 * 86_400_000;

/// What the server would drop without a word, with the reason; and what is left.
pub(super) fn sift(runs: &[Run], retention: Duration, now_ms: i64) -> (Vec<Run>, Vec<Refused>) {
    let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let first_ms = now_ms.saturating_sub(retention_ms).max(FIRST_MS);
    let mut refused = Vec::new();
    let mut kept = Vec::with_capacity(runs.len());
    for run in runs {
        let mut left = Run {
            series: run.series.clone(),
            unit: run.unit.clone(),
            readings: Vec::new(),
        };
        for reading in &run.readings {
            let reason = if reading.time_ms < first_ms {
                "older than the store's retention"
            } else if reading.time_ms > now_ms + AHEAD_MS {
                "further ahead than the store takes"
            } else {
                left.readings.push(*reading);
                continue;
            };
            let (series, reason) = (run.series.clone(), reason.to_owned());
            refused.push(Refused {
                series,
                reading: *reading,
                reason,
            });
        }
        kept.push(left);
    }
    (kept, refused)
}

/// What a single node was started with must fit what is promised.
pub(super) fn check_flags(flags: &str, retention: Duration) -> Result<(), StoreFault> {
    let flag = |name: &str| {
        let of_line = |line: &str| {
            Some(
                line.trim()
                    .strip_prefix(name)?
                    .strip_prefix('=')?
                    .trim_matches('"')
                    .to_owned(),
            )
        };
        flags.lines().find_map(of_line)
    };
    let denied = |reason: String| Err(StoreFault::Denied { reason });
    let distance = flag("-dedup.minScrapeInterval");
    if distance.as_deref() != Some("1ms") {
        let found = distance.unwrap_or_else(|| "not set".to_owned());
        return denied(format!(
            "-dedup.minScrapeInterval is {found}: a reading written twice would count twice, or near ones be lost; start it with 1ms"
        ));
    }
    let period = flag("-retentionPeriod").unwrap_or_else(|| "1".to_owned());
    match period_of(&period) {
        Some(kept) if kept >= retention => Ok(()),
        _ => denied(format!(
            "-retentionPeriod is {period:?}, shorter than the retention in our settings: it would drop what is between them"
        )),
    }
}

/// A duration as its flags have it; a bare number is months, of 31 days.
fn period_of(text: &str) -> Option<Duration> {
    const DAY_S: u64 = 86_400;
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit_s = match text.get(digits..)? {
        "" => 31 * DAY_S,
        "h" => 3_600,
        "d" => DAY_S,
        "w" => 7 * DAY_S,
        "y" => 365 * DAY_S,
        _ => return None,
    };
    number.checked_mul(unit_s).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::super::super::Reading;
    use super::*;
    use furrow_wire::SeriesId;

    #[test]
    fn flags_that_break_the_contract_are_told() {
        let year = Duration::from_secs(365 * 86_400);
        let good = "-dedup.minScrapeInterval=\"1ms\"\n-httpListenAddr=\":8428\"\n-retentionPeriod=\"1y\"\n";
        assert_eq!(check_flags(good, year), Ok(()));
        for (flags, word) in [
            (
                good.replace("1ms", "30s"),
                "-dedup.minScrapeInterval is 30s",
            ),
            (
                good.replace("-dedup", "-other"),
                "-dedup.minScrapeInterval is not set",
            ),
            (good.replace("1y", "364d"), "-retentionPeriod is \"364d\""),
            (
                good.replace("-retention", "-other"),
                "-retentionPeriod is \"1\"",
            ),
            (good.replace("1y", "x"), "-retentionPeriod is \"x\""),
        ] {
            let fault = check_flags(&flags, year).unwrap_err();
            assert!(
                matches!(&fault, StoreFault::Denied { reason } if reason.starts_with(word)),
                "{fault}"
            );
        }
        assert_eq!(period_of("12"), Some(Duration::from_secs(12 * 31 * 86_400)));
    }

    #[test]
    fn what_it_would_drop_is_refused_beforehand() {
        let series = SeriesId {
            greenhouse: "nha-1".parse().unwrap(),
            device: "sht".parse().unwrap(),
            channel: "air_temperature".parse().unwrap(),
        };
        let now = 1_760_054_400_000;
        let reading = |time_ms| Reading {
            time_ms,
            value: None,
            quality: furrow_wire::Quality::Failed,
        };
        let times = [
            i64::MIN,
            now - 90_000_000,
            now - 80_000_000,
            now + 86_400_000,
            now + 3 * 86_400_000,
        ];
        let run = Run {
            series,
            unit: String::new(),
            readings: times.map(reading).to_vec(),
        };
        let (kept, refused) = sift(&[run], Duration::from_secs(86_400), now);
        let kept: Vec<i64> = kept[0]
            .readings
            .iter()
            .map(|reading| reading.time_ms)
            .collect();
        assert_eq!(kept, times[2..4]);
        let refused: Vec<(i64, &str)> = refused
            .iter()
            .map(|refused| (refused.reading.time_ms, refused.reason.as_str()))
            .collect();
        let old = "older than the store's retention";
        let ahead = "further ahead than the store takes";
        assert_eq!(
            refused,
            [(times[0], old), (times[1], old), (times[4], ahead)]
        );
    }
}
