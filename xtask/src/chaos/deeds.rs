//! What is done to whom, and when: a function of the seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Mean time between two deeds.
const EVERY_MS: u64 = 700;
/// Bandwidths of a slow link, bytes a second: a bad mobile link and a very bad one.
const BANDWIDTHS: [u64; 3] = [2_000, 8_000, 40_000];

/// What something can be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// The process of a site's gateway.
    Gateway(usize),
    /// Ingest's process.
    Ingest,
    /// Mosquitto's process.
    Broker,
    /// A link to the broker: a site's, or the last one, which is ingest's.
    Link(usize),
    /// The disk of a site's journal, or the last one, which is ingest's.
    Disk(usize),
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// SIGKILL, and started again at the end.
    Kill,
    /// SIGSTOP, and SIGCONT at the end.
    Pause,
    /// Connections are dropped and refused.
    Cut,
    /// Connections stay, nothing is carried.
    Hold,
    /// Everything takes its time.
    Slow {
        /// Before each chunk.
        delay_ms: u64,
        /// Bytes a second each way.
        bandwidth: u64,
    },
    /// No byte of the disk is free.
    Fill,
}

/// Something done to something, for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) target: Target,
    pub(super) what: What,
    pub(super) lasts: Duration,
}

/// The endless row of deeds of a seed.
pub(super) struct Timeline {
    rng: StdRng,
    targets: Vec<Target>,
}

/// How often each was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) kills: u32,
    pub(super) pauses: u32,
    pub(super) cuts: u32,
    pub(super) holds: u32,
    pub(super) slowed: u32,
    pub(super) fills: u32,
    /// Processes that ended though nobody asked them to.
    pub(super) own_ends: u32,
}

impl Timeline {
    pub(super) fn new(seed: u64, targets: &[Target]) -> Self {
        Timeline {
            rng: StdRng::seed_from_u64(seed),
            targets: targets.to_vec(),
        }
    }

    /// The next deed, and how long after the one before.
    pub(super) fn next(&mut self) -> (Duration, Deed) {
        let wait = Duration::from_millis(self.rng.random_range(0..=2 * EVERY_MS));
        let at = self.rng.random_range(0..self.targets.len().max(1));
        let target = self.targets.get(at).copied().unwrap_or(Target::Ingest);
        let what = match target {
            Target::Gateway(_) | Target::Ingest | Target::Broker => {
                if self.rng.random_bool(0.7) {
                    What::Kill
                } else {
                    What::Pause
                }
            }
            Target::Link(_) => match self.rng.random_range(0..3) {
                0 => What::Cut,
                1 => What::Hold,
                _ => What::Slow {
                    delay_ms: self.rng.random_range(20..800),
                    bandwidth: BANDWIDTHS
                        .get(self.rng.random_range(0..BANDWIDTHS.len()))
                        .copied()
                        .unwrap_or(8_000),
                },
            },
            Target::Disk(_) => What::Fill,
        };
        // Most are short, some outlast every time-out but the longest.
        let most_ms = match self.rng.random_range(0..10) {
            0..5 => 500,
            5..9 => 4_000,
            _ => 12_000,
        };
        let lasts = Duration::from_millis(self.rng.random_range(0..most_ms));
        (
            wait,
            Deed {
                target,
                what,
                lasts,
            },
        )
    }
}

impl Counts {
    pub(super) fn count(&mut self, what: What) {
        let counter = match what {
            What::Kill => &mut self.kills,
            What::Pause => &mut self.pauses,
            What::Cut => &mut self.cuts,
            What::Hold => &mut self.holds,
            What::Slow { .. } => &mut self.slowed,
            What::Fill => &mut self.fills,
        };
        *counter += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            kills,
            pauses,
            cuts,
            holds,
            slowed,
            fills,
            own_ends,
        } = self;
        write!(
            f,
            "kills {kills}, pauses {pauses}, cuts {cuts}, partitions {holds}, slow links {slowed}, \
             full disks {fills}, own ends {own_ends}"
        )
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Kill => write!(f, "kill {}", self.target),
            What::Pause => write!(f, "pause {}", self.target),
            What::Cut => write!(f, "cut {}", self.target),
            What::Hold => write!(f, "partition {}", self.target),
            What::Slow {
                delay_ms,
                bandwidth,
            } => write!(f, "slow {} to {delay_ms} ms, {bandwidth} B/s", self.target),
            What::Fill => write!(f, "fill {}", self.target),
        }?;
        write!(f, " for {:.1} s", self.lasts.as_secs_f64())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Gateway(at) => write!(f, "gateway {}", at + 1),
            Target::Ingest => write!(f, "ingest"),
            Target::Broker => write!(f, "mosquitto"),
            Target::Link(at) => write!(f, "link {}", at + 1),
            Target::Disk(at) => write!(f, "disk {}", at + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_the_same_deeds_and_all_of_them() {
        let targets = [
            Target::Gateway(0),
            Target::Ingest,
            Target::Broker,
            Target::Link(0),
            Target::Disk(0),
        ];
        let deeds = |seed| {
            let mut timeline = Timeline::new(seed, &targets);
            (0..300).map(|_| timeline.next()).collect::<Vec<_>>()
        };
        assert_eq!(deeds(1), deeds(1));
        assert_ne!(deeds(1), deeds(2));
        let kind = |deed: &Deed| {
            let text = deed.to_string();
            text.split(" for ")
                .next()
                .unwrap()
                .split(" to ")
                .next()
                .unwrap()
                .to_owned()
        };
        let seen: BTreeSet<String> = deeds(1).iter().map(|(_, deed)| kind(deed)).collect();
        let expected = [
            "cut link 1",
            "fill disk 1",
            "kill gateway 1",
            "kill ingest",
            "kill mosquitto",
            "partition link 1",
            "pause gateway 1",
            "pause ingest",
            "pause mosquitto",
            "slow link 1",
        ];
        assert!(seen.iter().eq(expected), "{seen:?}");
    }

    #[test]
    fn deeds_are_counted_by_kind() {
        let mut counts = Counts::default();
        let slow = What::Slow {
            delay_ms: 1,
            bandwidth: 1,
        };
        for what in [
            What::Kill,
            What::Kill,
            What::Pause,
            What::Cut,
            What::Hold,
            slow,
            What::Fill,
        ] {
            counts.count(what);
        }
        assert_eq!(
            counts.to_string(),
            "kills 2, pauses 1, cuts 1, partitions 1, slow links 1, full disks 1, own ends 0"
        );
    }
}
