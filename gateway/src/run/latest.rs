//! The latest sample of each channel, with the reason where it is not good: for people.

use furrow_drivers::SensorError;
use furrow_gateway_core::FieldMs;
use furrow_wire::{Quality, Sample};

/// Longest reason, in characters: a line of the control socket holds many.
const REASON_MAX: usize = 160;

/// See the module.
#[derive(Debug)]
pub struct Latest(Vec<Option<Now>>);

/// One channel's latest sample.
#[derive(Debug, Clone)]
pub struct Now {
    /// Its tick.
    pub at: FieldMs,
    /// What was journalled.
    pub sample: Sample,
    /// What the driver said, where it gave no value.
    error: Option<SensorError>,
}

impl Latest {
    /// Of so many channels; none has a sample yet.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Latest(vec![None; channels])
    }

    /// A channel has a sample.
    pub fn handle_sample(
        &mut self,
        channel: usize,
        at: FieldMs,
        sample: Sample,
        error: Option<SensorError>,
    ) {
        let Some(now) = self.0.get_mut(channel) else {
            return;
        };
        // A device that is left alone for a while because it keeps failing fails for that reason.
        let is_failed = sample.quality == Quality::Failed;
        let before = now.take().filter(|_| is_failed && error.is_none());
        let error = error.or(before.and_then(|before| before.error));
        *now = Some(Now { at, sample, error });
    }

    /// A channel's latest sample, by its place in the catalog.
    #[must_use]
    pub fn of(&self, channel: usize) -> Option<&Now> {
        self.0.get(channel)?.as_ref()
    }
}

impl Now {
    /// Why it is not good.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        reason(self.sample.quality, self.error.as_ref())
    }
}

/// Why a sample is not good: in the driver's words where it said something.
#[must_use]
pub fn reason(quality: Quality, error: Option<&SensorError>) -> Option<String> {
    if let Some(error) = error {
        let text = format!("{error}: {}", causes(error));
        return Some(text.chars().take(REASON_MAX).collect());
    }
    let text = match quality {
        Quality::Good => return None,
        Quality::Failed => "the bus did not answer in time",
        Quality::Stale => "no new measurement",
        Quality::OutOfRange => "outside what this quantity can be",
        Quality::Stuck => "has not moved for longer than nature allows",
        Quality::Spike => "jumped further than nature allows",
        Quality::Suspect => "disturbed, or the calibrations can't be read",
    };
    Some(text.to_owned())
}

fn causes(error: &SensorError) -> String {
    let mut text = error.cause.to_string();
    let mut cause = std::error::Error::source(&error.cause);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use furrow_drivers::{BusFault, Cause};

    use super::*;

    #[test]
    fn a_failure_keeps_its_reason_while_the_device_is_left_alone() {
        let error = SensorError {
            chip: "sht4x",
            address: Some(0x44),
            register: "measurement",
            cause: Cause::Bus(BusFault::NoAddress),
        };
        let sample = |quality, mantissa| Sample { quality, mantissa };
        let (failed, good) = (
            sample(Quality::Failed, None),
            sample(Quality::Good, Some(1)),
        );
        let mut latest = Latest::new(1);
        let mut check = |sample, error, expected: Option<&str>| {
            latest.handle_sample(0, FieldMs(1), sample, error);
            assert_eq!(latest.of(0).unwrap().reason().as_deref(), expected);
        };
        check(failed, None, Some("the bus did not answer in time"));
        let text = "sht4x at 0x44: measurement: bus failure: no acknowledge of the address";
        check(failed, Some(error), Some(text));
        check(failed, None, Some(text));
        check(good, None, None);
        check(failed, None, Some("the bus did not answer in time"));
    }
}
