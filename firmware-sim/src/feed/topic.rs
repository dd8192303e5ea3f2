//! Topics of a feed: a template with names in braces.

use std::str::FromStr;

/// Longest topic, in bytes: brokers take 65,535, people less.
const TOPIC_MAX: usize = 256;
/// Room for the names that replace those in braces, in bytes.
const NAMES_MAX: usize = 64;

/// A topic with `{greenhouse}`, `{device}` and `{channel}` in it, each as often as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Greenhouse,
    Device,
    Channel,
}

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// There is no topic, or it is the broker's own.
    #[error("a topic is not empty and does not begin with $")]
    Reserved,
    /// A character that topics of messages can't have.
    #[error("a topic has no #, + or control characters")]
    Character,
    /// Too long for people.
    #[error("the topic is longer than {} bytes", TOPIC_MAX - NAMES_MAX)]
    Long,
    /// Something else in braces, or a brace alone.
    #[error("only {{greenhouse}}, {{device}} and {{channel}} stand in braces")]
    Braces,
}

impl TopicTemplate {
    /// The topic of a reading.
    #[must_use]
    pub fn topic(&self, greenhouse: &str, device: &str, channel: &str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Greenhouse => greenhouse,
            Part::Device => device,
            Part::Channel => channel,
        });
        parts.collect()
    }
}

impl FromStr for TopicTemplate {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        if text.is_empty() || text.starts_with('$') {
            return Err(TopicError::Reserved);
        }
        if text.chars().any(|c| c == '#' || c == '+' || c.is_control()) {
            return Err(TopicError::Character);
        }
        if text.len() > TOPIC_MAX - NAMES_MAX {
            return Err(TopicError::Long);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, after) = match rest.split_once('{') {
                Some((before, after)) => (before, Some(after)),
                None => (rest, None),
            };
            if before.contains('}') {
                return Err(TopicError::Braces);
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let Some(after) = after else { break };
            let (name, after) = after.split_once('}').ok_or(TopicError::Braces)?;
            parts.push(match name {
                "greenhouse" => Part::Greenhouse,
                "device" => Part::Device,
                "channel" => Part::Channel,
                _ => return Err(TopicError::Braces),
            });
            rest = after;
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_the_place_of_braces() {
        let check = |template: &str, expected: &str| {
            let template: TopicTemplate = template.parse().unwrap();
            assert_eq!(template.topic("house", "sht", "co2"), expected);
        };
        check("all", "all");
        check("a/{greenhouse}/{device}/{channel}", "a/house/sht/co2");
        check("{device}{device}-x", "shtsht-x");
        check("nhà/{channel}/", "nhà/co2/");
    }

    #[test]
    fn what_is_no_template() {
        let check = |text: &str, expected| {
            assert_eq!(text.parse::<TopicTemplate>(), Err(expected), "{text}");
        };
        check("", TopicError::Reserved);
        check("$SYS/x", TopicError::Reserved);
        check("a/#", TopicError::Character);
        check("a/+/b", TopicError::Character);
        check("a\0", TopicError::Character);
        check(&"x".repeat(193), TopicError::Long);
        for braces in ["{unit}", "{", "}", "a/{device", "a}b", "{}", "{{device}}"] {
            check(braces, TopicError::Braces);
        }
    }
}
