//! The only place that knows MQTT topic strings: it formats them and parses them back.
//!
//! A gateway publishes and subscribes only below its own two levels,
//! `furrow/1/{cooperative}/{gateway}/`. Who sent something is read from here, never from a payload.

use std::fmt;
use std::str::FromStr;

use crate::ids::{CooperativeId, GatewayId, IdError};

const ROOT: &str = "furrow";
const VERSION: &str = "1";

/// The last level of a topic: what is said, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKind {
    /// Gateway to ingest: packets of records.
    Batch,
    /// Ingest to gateway: what ingest holds.
    Ack,
    /// Gateway, retained JSON; the last will says offline.
    State,
    /// Gateway, retained JSON for people.
    Catalog,
    /// Ingest to gateway.
    Command,
    /// Gateway to ingest: the answer to a command.
    Result,
    /// Ingest to gateway, retained: desired configuration.
    Config,
    /// Foreign devices to ingest: plain JSON readings.
    Json,
}

impl TopicKind {
    /// All kinds.
    pub const ALL: [TopicKind; 8] = [
        TopicKind::Batch,
        TopicKind::Ack,
        TopicKind::State,
        TopicKind::Catalog,
        TopicKind::Command,
        TopicKind::Result,
        TopicKind::Config,
        TopicKind::Json,
    ];

    /// The topic level.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TopicKind::Batch => "batch",
            TopicKind::Ack => "ack",
            TopicKind::State => "state",
            TopicKind::Catalog => "catalog",
            TopicKind::Command => "command",
            TopicKind::Result => "result",
            TopicKind::Config => "config",
            TopicKind::Json => "json",
        }
    }

    /// Whether the gateway is the one that publishes here (else ingest is).
    #[must_use]
    pub fn is_from_gateway(self) -> bool {
        match self {
            TopicKind::Batch
            | TopicKind::State
            | TopicKind::Catalog
            | TopicKind::Result
            | TopicKind::Json => true,
            TopicKind::Ack | TopicKind::Command | TopicKind::Config => false,
        }
    }
}

/// One topic of one gateway.
///
/// ```
/// use furrow_wire::{Topic, TopicKind};
/// let topic: Topic = "furrow/1/hoa-binh/gw-01/batch".parse()?;
/// assert_eq!(topic.kind, TopicKind::Batch);
/// assert_eq!(topic.to_string(), "furrow/1/hoa-binh/gw-01/batch");
/// # Ok::<(), furrow_wire::TopicError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The tenant.
    pub cooperative: CooperativeId,
    /// The gateway.
    pub gateway: GatewayId,
    /// What is said.
    pub kind: TopicKind,
}

/// Why a string is not one of our topics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not five levels.
    #[error("topic has {0} levels (must be 5: furrow/1/cooperative/gateway/kind)")]
    Levels(usize),
    /// Another tree.
    #[error("topic does not start with furrow/")]
    Root,
    /// Another protocol version.
    #[error("topic is of protocol version {0:?} (this is 1)")]
    Version(String),
    /// An unknown last level.
    #[error("topic kind {0:?} is unknown")]
    Kind(String),
    /// A level that is not an id.
    #[error("topic has a malformed level")]
    Id(#[from] IdError),
}

impl Topic {
    /// The filter that gives every gateway's topic of one kind.
    ///
    /// ```
    /// use furrow_wire::{Topic, TopicKind};
    /// assert_eq!(Topic::filter(TopicKind::Batch), "furrow/1/+/+/batch");
    /// ```
    #[must_use]
    pub fn filter(kind: TopicKind) -> String {
        format!("{ROOT}/{VERSION}/+/+/{}", kind.as_str())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Topic {
            cooperative,
            gateway,
            kind,
        } = self;
        write!(
            f,
            "{ROOT}/{VERSION}/{cooperative}/{gateway}/{}",
            kind.as_str()
        )
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let mut levels = text.split('/');
        let (Some(root), Some(version), Some(cooperative), Some(gateway), Some(kind), None) = (
            levels.next(),
            levels.next(),
            levels.next(),
            levels.next(),
            levels.next(),
            levels.next(),
        ) else {
            return Err(TopicError::Levels(text.split('/').count()));
        };
        if root != ROOT {
            return Err(TopicError::Root);
        }
        if version != VERSION {
            return Err(TopicError::Version(version.chars().take(16).collect()));
        }
        let kind = TopicKind::ALL
            .into_iter()
            .find(|k| k.as_str() == kind)
            .ok_or_else(|| TopicError::Kind(kind.chars().take(16).collect()))?;
        Ok(Topic {
            cooperative: cooperative.parse()?,
            gateway: gateway.parse()?,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_bad(text: &str, message: &str) {
        assert_eq!(text.parse::<Topic>().unwrap_err().to_string(), message);
    }

    #[test]
    fn foreign_and_malformed_topics_are_refused() {
        check_bad(
            "",
            "topic has 1 levels (must be 5: furrow/1/cooperative/gateway/kind)",
        );
        check_bad(
            "furrow/1/a/b",
            "topic has 4 levels (must be 5: furrow/1/cooperative/gateway/kind)",
        );
        check_bad(
            "furrow/1/a/b/batch/x",
            "topic has 6 levels (must be 5: furrow/1/cooperative/gateway/kind)",
        );
        check_bad("barrow/1/a/b/batch", "topic does not start with furrow/");
        check_bad(
            "furrow/2/a/b/batch",
            "topic is of protocol version \"2\" (this is 1)",
        );
        check_bad("furrow/1/a/b/bath", "topic kind \"bath\" is unknown");
        check_bad("furrow/1/+/b/batch", "topic has a malformed level");
        check_bad("furrow/1/a/#/batch", "topic has a malformed level");
        check_bad("furrow/1//b/batch", "topic has a malformed level");
    }

    proptest! {
        #[test]
        fn format_and_parse_are_inverse(
            cooperative in "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?",
            gateway in "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?",
            kind in 0..TopicKind::ALL.len(),
        ) {
            let topic = Topic {
                cooperative: cooperative.parse().unwrap(),
                gateway: gateway.parse().unwrap(),
                kind: TopicKind::ALL[kind],
            };
            prop_assert_eq!(topic.to_string().parse::<Topic>().unwrap(), topic);
        }

        #[test]
        fn any_text_parses_to_itself_or_not_at_all(text in "\\PC{0,80}") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
