//! Channels that rules and interlocks look at, found by `device/channel`.

use std::time::Duration;

use furrow_irrigation::{InputIndex, InputPlan};

use super::section::Section;
use crate::config::device::DeviceSettings;
use crate::config::leaf::Leaf;
use crate::config::settings::{DerivedSettings, InputSettings};

/// A value counts for so many of its channel's intervals.
const INTERVALS: u32 = 3;
/// And at least for this long.
const LEAST: Duration = Duration::from_secs(30);
/// What is calculated comes when its batch is cut, and a reading may be late by this.
const GRACE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct LookedAt<'a> {
    /// `None` where they are wrong themselves: then nothing is said here.
    channels: Option<Vec<Channel<'a>>>,
    inputs: Vec<InputSettings>,
}

struct Channel<'a> {
    device: &'a str,
    name: &'a str,
    unit: &'a str,
    exponent: i8,
    max_age: Duration,
}

impl<'a> LookedAt<'a> {
    pub(super) fn new(
        devices: Option<&'a [DeviceSettings]>,
        derived: Option<&'a [DerivedSettings]>,
        commit_interval: Option<Duration>,
    ) -> Self {
        let all = devices.zip(derived).map(|(devices, derived)| {
            let measured = devices.iter().flat_map(|device| {
                device.channels.iter().map(move |channel| Channel {
                    device: device.id.as_str(),
                    name: channel.name.as_str(),
                    unit: &channel.unit,
                    exponent: channel.exponent,
                    max_age: (device.every * INTERVALS).max(LEAST) + GRACE,
                })
            });
            let late = commit_interval.unwrap_or_default() + GRACE;
            let calculated = derived.iter().flat_map(|one| {
                one.channels.iter().map(move |channel| Channel {
                    device: one.id.as_str(),
                    name: channel.name.as_str(),
                    unit: &channel.unit,
                    exponent: channel.exponent,
                    max_age: (one.every * INTERVALS).max(LEAST) + late,
                })
            });
            measured.chain(calculated).collect()
        });
        Self {
            channels: all,
            inputs: Vec::new(),
        }
    }

    /// A channel, in one of some units; any where none is named.
    pub(super) fn find(
        &mut self,
        key: &str,
        leaf: Option<&Leaf>,
        units: &[&str],
        example: &str,
        section: &mut Section<'_>,
    ) -> Option<InputIndex> {
        let text = section.text(key, leaf, example)?;
        let channels = self.channels.as_ref()?;
        let found = channels
            .iter()
            .enumerate()
            .find(|(_, channel)| text.split_once('/') == Some((channel.device, channel.name)));
        let Some((place, channel)) = found else {
            let remedy = format!("write device/channel of a device here, for example {example:?}");
            return section.mistake(key, format!("there is no channel {text:?}"), remedy);
        };
        if !units.is_empty() && !units.contains(&channel.unit) {
            let problem = format!("{text:?} is measured in {}", channel.unit);
            let remedy = format!("name a channel in {}", units.join(" or "));
            return section.mistake(key, problem, remedy);
        }
        if let Some(known) = self.inputs.iter().position(|input| input.channel == place) {
            return Some(InputIndex(known));
        }
        self.inputs.push(InputSettings {
            plan: InputPlan {
                name: text,
                max_age_ms: u64::try_from(channel.max_age.as_millis()).unwrap_or(u64::MAX),
            },
            channel: place,
            exponent: channel.exponent,
        });
        Some(InputIndex(self.inputs.len() - 1))
    }

    /// A channel's place in the catalog, whatever its unit.
    pub(super) fn place(
        &self,
        key: &str,
        leaf: Option<&Leaf>,
        example: &str,
        section: &mut Section<'_>,
    ) -> Option<usize> {
        let text = section.text(key, leaf, example)?;
        let mut channels = self.channels.as_ref()?.iter();
        let place = channels
            .position(|channel| text.split_once('/') == Some((channel.device, channel.name)));
        place.or_else(|| {
            let remedy = format!("write device/channel of a device here, for example {example:?}");
            section.mistake(key, format!("there is no channel {text:?}"), remedy)
        })
    }

    /// The decimal exponent of a channel, by its place in the catalog.
    pub(super) fn exponent(&self, place: usize) -> Option<i8> {
        let channel = self.channels.as_ref()?.get(place)?;
        Some(channel.exponent)
    }

    pub(super) fn into_inputs(self) -> Vec<InputSettings> {
        self.inputs
    }
}
