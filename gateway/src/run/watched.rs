//! Samples of channels that alarms look at, between the sampling and the alarms.

use std::collections::{BTreeSet, VecDeque};

use furrow_gateway_core::FieldMs;
use furrow_wire::Sample;

use crate::config::Settings;

/// Samples that wait for the alarms. They are taken at every turn of the event loop; a batch of calculated
/// values brings most at once: ten minutes of 32 channels at 1 Hz are fewer.
const WAITING_MAX: usize = 32_768;

/// See the module.
#[derive(Debug)]
pub struct Watched {
    channels: BTreeSet<usize>,
    waiting: VecDeque<(usize, FieldMs, Sample)>,
    dropped: u64,
}

impl Watched {
    /// The channels of all alarms.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let rules = settings.alarms().rules.iter();
        Self {
            channels: rules.map(|rule| rule.channel).collect(),
            waiting: VecDeque::new(),
            dropped: 0,
        }
    }

    /// A channel, named by its place in the catalog, has a sample.
    pub fn handle_sample(&mut self, channel: usize, at: FieldMs, sample: Sample) {
        if !self.channels.contains(&channel) {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
            let dropped = self.dropped;
            tracing::error!(dropped, "alarms do not keep up with their samples");
        }
        self.waiting.push_back((channel, at, sample));
    }

    /// The next sample.
    pub fn poll(&mut self) -> Option<(usize, FieldMs, Sample)> {
        self.waiting.pop_front()
    }
}
