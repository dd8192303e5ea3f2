//! Names that can't be malformed.
//!
//! Text ids become parts of MQTT topics, file names and URLs, so they are short lower-case ASCII.
//! People's names (with accents and spaces) are free text beside them and never identify anything.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest text id in bytes: short enough for a topic level and a file name, long enough to speak.
pub const MAX_ID_BYTES: usize = 32;
/// Longest channel name in bytes; names such as `outside_relative_humidity` are longer than ids.
pub const MAX_CHANNEL_BYTES: usize = 48;

/// Why a text is not an id. Names the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("{what} is empty (must be 1 to {max} characters)")]
    Empty {
        /// Which id.
        what: &'static str,
        /// Longest allowed, in bytes.
        max: usize,
    },
    /// Too many bytes.
    #[error("{what} has {len} bytes (must be at most {max})")]
    TooLong {
        /// Which id.
        what: &'static str,
        /// Bytes given.
        len: usize,
        /// Longest allowed, in bytes.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("{what} has {character:?} at position {at} (must be {allowed})")]
    Character {
        /// Which id.
        what: &'static str,
        /// The first offending character.
        character: char,
        /// Its byte position, from 0.
        at: usize,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Starts or ends in a way that is not allowed.
    #[error("{what} {text:?} must {rule}")]
    Edge {
        /// Which id.
        what: &'static str,
        /// The text given.
        text: String,
        /// The rule in words.
        rule: &'static str,
    },
    /// A number in hexadecimal was expected.
    #[error("{what} {text:?} is not 16 hexadecimal digits")]
    Hex {
        /// Which id.
        what: &'static str,
        /// The text given, at most 32 characters of it.
        text: String,
    },
}

fn check_slug(what: &'static str, text: &str) -> Result<(), IdError> {
    let max = MAX_ID_BYTES;
    if text.is_empty() {
        return Err(IdError::Empty { what, max });
    }
    if text.len() > max {
        return Err(IdError::TooLong {
            what,
            len: text.len(),
            max,
        });
    }
    let allowed = "a-z, 0-9 or '-'";
    for (at, character) in text.char_indices() {
        if !(character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-') {
            return Err(IdError::Character {
                what,
                character,
                at,
                allowed,
            });
        }
    }
    if text.starts_with('-') || text.ends_with('-') {
        let rule = "start and end with a letter or digit";
        return Err(IdError::Edge {
            what,
            text: text.to_owned(),
            rule,
        });
    }
    Ok(())
}

fn check_channel(what: &'static str, text: &str) -> Result<(), IdError> {
    let max = MAX_CHANNEL_BYTES;
    if text.is_empty() {
        return Err(IdError::Empty { what, max });
    }
    if text.len() > max {
        return Err(IdError::TooLong {
            what,
            len: text.len(),
            max,
        });
    }
    let allowed = "a-z, 0-9 or '_'";
    for (at, character) in text.char_indices() {
        if !(character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_') {
            return Err(IdError::Character {
                what,
                character,
                at,
                allowed,
            });
        }
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        let rule = "start with a letter";
        return Err(IdError::Edge {
            what,
            text: text.to_owned(),
            rule,
        });
    }
    Ok(())
}

// Shared: an id is copied for every batch, and a large ingest remembers one text for thousands of series.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                $check($what, text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                $check($what, &text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The tenant: one cooperative (hợp tác xã).
    ///
    /// ```
    /// use furrow_wire::CooperativeId;
    /// assert!("hoa-binh".parse::<CooperativeId>().is_ok());
    /// let error = "Hòa Bình".parse::<CooperativeId>().unwrap_err();
    /// assert_eq!(error.to_string(), "cooperative id has 'H' at position 0 (must be a-z, 0-9 or '-')");
    /// ```
    CooperativeId, "cooperative id", check_slug
);
text_id!(
    /// One Raspberry Pi in its role; survives a change of hardware.
    GatewayId, "gateway id", check_slug
);
text_id!(
    /// A net-house.
    GreenhouseId, "greenhouse id", check_slug
);
text_id!(
    /// A sensor, probe, expander or drip controller.
    DeviceId, "device id", check_slug
);
text_id!(
    /// A bed or block that one valve waters.
    ZoneId, "zone id", check_slug
);
text_id!(
    /// One crop in one place for one season.
    PlantingId, "planting id", check_slug
);
text_id!(
    /// An irrigation rule or an alert rule.
    RuleId, "rule id", check_slug
);
text_id!(
    /// One quantity of a device, e.g. `air_temperature`.
    ChannelName, "channel name", check_channel
);

/// What continues when a Pi is replaced: one channel of one device in one greenhouse.
/// The cooperative stands outside, since it always comes from the authenticated topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId {
    /// Where the device stands.
    pub greenhouse: GreenhouseId,
    /// The device.
    pub device: DeviceId,
    /// The quantity.
    pub channel: ChannelName,
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.greenhouse, self.device, self.channel)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let excerpt = || text.chars().take(MAX_ID_BYTES).collect();
                let hex = text.len() == 16
                    && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !hex {
                    return Err(IdError::Hex { what: $what, text: excerpt() });
                }
                u64::from_str_radix(text, 16)
                    .map(Self)
                    .map_err(|_| IdError::Hex { what: $what, text: excerpt() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

hex_id!(
    /// Drawn at random each time a journal is opened; the first half of a record's name.
    ///
    /// ```
    /// use furrow_wire::StreamId;
    /// let id = StreamId(0x1f);
    /// assert_eq!(id.to_string(), "000000000000001f");
    /// assert_eq!("000000000000001f".parse(), Ok(id));
    /// ```
    StreamId, "stream id"
);
hex_id!(
    /// Which boot of the machine a monotonic time belongs to.
    BootId, "boot id"
);
hex_id!(
    /// The first 8 bytes of the SHA-256 of a catalog's body, big-endian.
    CatalogHash, "catalog hash"
);

/// Place of a record in its stream: dense, from 1, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The first record of a stream.
    pub const FIRST: Seq = Seq(1);

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_bad(text: &str, message: &str) {
        assert_eq!(text.parse::<ZoneId>().unwrap_err().to_string(), message);
    }

    #[test]
    fn a_malformed_id_names_its_rule() {
        check_bad("", "zone id is empty (must be 1 to 32 characters)");
        check_bad(&"a".repeat(33), "zone id has 33 bytes (must be at most 32)");
        check_bad(
            "a/b",
            "zone id has '/' at position 1 (must be a-z, 0-9 or '-')",
        );
        check_bad(
            "a+",
            "zone id has '+' at position 1 (must be a-z, 0-9 or '-')",
        );
        check_bad(
            "-a",
            "zone id \"-a\" must start and end with a letter or digit",
        );
        check_bad(
            "a-",
            "zone id \"-a\" must start and end with a letter or digit"
                .replace("-a", "a-")
                .as_str(),
        );
    }

    #[test]
    fn channel_names_are_snake_case() {
        assert!("air_temperature".parse::<ChannelName>().is_ok());
        let error = "2nd".parse::<ChannelName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "channel name \"2nd\" must start with a letter"
        );
        assert!("a-b".parse::<ChannelName>().is_err());
        assert!("a".repeat(49).parse::<ChannelName>().is_err());
    }

    #[test]
    fn hex_ids_refuse_signs_and_capitals() {
        for text in [
            "+00000000000001f",
            "000000000000001F",
            "1f",
            "00000000000000011",
        ] {
            assert!(text.parse::<StreamId>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_checked_when_deserialised() {
        assert!(serde_json::from_str::<DeviceId>("\"sht-inside\"").is_ok());
        assert!(serde_json::from_str::<DeviceId>("\"sht inside\"").is_err());
        assert_eq!(
            serde_json::to_string(&BootId(10)).unwrap(),
            "\"000000000000000a\""
        );
    }
}
