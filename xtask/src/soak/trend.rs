//! Whether something grows: a straight line through what was seen. Pure.

use anyhow::ensure;

use crate::bench::Figure;

/// The beginning is left out: caches fill, and the first day of each series is the first of anything.
const WARM_UP: f64 = 1.0 / 3.0;
/// Fewer samples make no line.
const SAMPLES_MIN: usize = 3;
/// Growth of memory over a run that is not called one, in MiB. The allocator's and SQLite's caches move by
/// some; a leak of one reading in a hundred would be as much.
const RSS_GROWTH_MAX_MIB: f64 = 12.0;
/// The same of open files: connections of charts that come and go.
const FILES_GROWTH_MAX: f64 = 8.0;
/// The same of threads: those that wait for blocking work come and go.
const THREADS_GROWTH_MAX: f64 = 4.0;

/// Ingest at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Since the load began, in seconds.
    pub(super) at_s: f64,
    /// Memory.
    pub(super) rss_mib: f64,
    /// Open files, sockets included.
    pub(super) files: f64,
    /// Threads.
    pub(super) threads: f64,
    /// Files of the log.
    pub(super) log_mib: f64,
    /// Files of the archive.
    pub(super) archive_mib: f64,
}

/// What must not grow. The archive does, and the log may within its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Rss,
    Files,
    Threads,
}

/// How something went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    pub(super) what: What,
    /// Of the line, over the whole run.
    pub(super) growth: f64,
}

impl Sample {
    pub(super) const CSV_HEADER: &str = "seconds,rss_mib,files,threads,log_mib,archive_mib";

    /// One line.
    pub(super) fn csv(&self) -> String {
        let Sample {
            at_s,
            rss_mib,
            files,
            threads,
            log_mib,
            archive_mib,
        } = self;
        format!("{at_s:.1},{rss_mib:.2},{files},{threads},{log_mib:.2},{archive_mib:.2}\n")
    }
}

impl What {
    const ALL: [Self; 3] = [Self::Rss, Self::Files, Self::Threads];

    pub(super) fn text(self) -> &'static str {
        match self {
            What::Rss => "RSS",
            What::Files => "open files",
            What::Threads => "threads",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            What::Rss => "MiB",
            What::Files | What::Threads => "",
        }
    }

    fn of(self, sample: &Sample) -> f64 {
        match self {
            What::Rss => sample.rss_mib,
            What::Files => sample.files,
            What::Threads => sample.threads,
        }
    }

    fn growth_max(self) -> f64 {
        match self {
            What::Rss => RSS_GROWTH_MAX_MIB,
            What::Files => FILES_GROWTH_MAX,
            What::Threads => THREADS_GROWTH_MAX,
        }
    }
}

impl Trend {
    pub(super) fn is_too_much(&self) -> bool {
        self.growth > self.what.growth_max()
    }

    pub(super) fn figure(&self) -> Figure {
        let most = self.what.growth_max();
        Figure::at_most(&self.name(), self.growth, self.what.unit(), most)
    }

    /// Of a run that is too short for a judgement.
    pub(super) fn figure_not_judged(&self) -> Figure {
        Figure::plain(&self.name(), self.growth, self.what.unit())
    }

    fn name(&self) -> String {
        format!("soak: growth of {} over the run", self.what.text())
    }
}

/// Growth of all that must not, by the line of least squares through the last two thirds.
///
/// # Errors
/// When there are too few samples.
pub(super) fn judge(samples: &[Sample]) -> anyhow::Result<Vec<Trend>> {
    let length_s = samples.last().map_or(0.0, |last| last.at_s);
    let judged: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.at_s >= length_s * WARM_UP)
        .collect();
    ensure!(
        judged.len() >= SAMPLES_MIN,
        "{} samples make no trend",
        judged.len()
    );
    let trend = |what: What| {
        let points = judged.iter().map(|sample| (sample.at_s, what.of(sample)));
        let growth = slope(points) * length_s;
        Trend { what, growth }
    };
    Ok(What::ALL.map(trend).to_vec())
}

/// Of the line of least squares; 0 for points of one moment.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let mut count = 0.0;
    let (mut sum_x, mut sum_y) = (0.0, 0.0);
    for (x, y) in points.clone() {
        count += 1.0;
        sum_x += x;
        sum_y += y;
    }
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of `minutes` whose memory is `rss` of the minute.
    fn run(minutes: u32, rss: impl Fn(f64) -> f64) -> Vec<Sample> {
        let sample = |at| {
            let at_s = f64::from(at) * 10.0;
            Sample {
                at_s,
                rss_mib: rss(at_s / 60.0),
                // A chart's connection comes and goes.
                files: 40.0 + f64::from(at % 3),
                threads: 12.0 + f64::from(at % 2),
                log_mib: 8.0,
                archive_mib: at_s,
            }
        };
        (0..=minutes * 6).map(sample).collect()
    }

    #[track_caller]
    fn check(samples: &[Sample], expected: &[What]) {
        let grown = judge(samples).unwrap();
        let too_much: Vec<What> = grown
            .iter()
            .filter(|trend| trend.is_too_much())
            .map(|trend| trend.what)
            .collect();
        assert_eq!(too_much, expected, "{grown:?}");
    }

    #[test]
    fn memory_that_fills_its_caches_and_then_moves_a_little_is_flat() {
        let flat = |minute: f64| 60.0 + 20.0 * (minute / 5.0).min(1.0) + 3.0 * (minute * 7.0).sin();
        check(&run(30, flat), &[]);
    }

    #[test]
    fn a_leak_is_found_though_it_is_small_beside_the_noise() {
        let leak = |minute: f64| 80.0 + minute * 0.6 + 3.0 * (minute * 7.0).sin();
        check(&run(30, leak), &[What::Rss]);
        check(&run(2, |minute| 80.0 + minute * 10.0), &[What::Rss]);
    }

    #[test]
    fn a_descriptor_that_is_never_closed_and_a_thread_that_never_ends_are_found() {
        let mut samples = run(30, |_| 80.0);
        for sample in &mut samples {
            sample.files += sample.at_s / 60.0;
            sample.threads += sample.at_s / 300.0;
        }
        check(&samples, &[What::Files, What::Threads]);
    }

    #[test]
    fn a_line_is_a_line_and_too_few_samples_are_none() {
        let points = [(1.0, 5.0), (2.0, 7.0), (3.0, 9.0)];
        assert!((slope(points.into_iter()) - 2.0).abs() < 1e-9);
        assert!(slope([(1.0, 5.0), (1.0, 7.0)].into_iter()).abs() < 1e-9);
        let samples = run(30, |_| 80.0);
        assert!(judge(samples.get(..2).unwrap_or_default()).is_err());
    }
}
