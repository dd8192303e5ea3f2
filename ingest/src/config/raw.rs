//! The configuration as written: nothing is required, nothing is checked, nothing fails to parse.
//!
//! A wrong type or an unknown key becomes a mistake in [`super::settings`], beside all others, instead
//! of ending the reading at the first.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A value whose type is checked later.
pub(super) type Leaf = Option<Value>;
/// Keys that nobody asked for.
pub(super) type Unknown = BTreeMap<String, Value>;

/// A section that may be left out, or be something else than a section.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Section<T> {
    /// As it should be.
    Of(T),
    /// Something else.
    Other(Value),
}

/// A list of sections, or something else.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Sections<T> {
    /// As it should be.
    List(Vec<Section<T>>),
    /// Something else.
    Other(Value),
}

impl<T> Default for Sections<T> {
    fn default() -> Self {
        Sections::List(Vec::new())
    }
}

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawConfig {
    pub(super) data_dir: Leaf,
    pub(super) broker: Option<Section<RawBroker>>,
    pub(super) mqtt: Option<Section<RawMqtt>>,
    pub(super) http: Option<Section<RawHttp>>,
    pub(super) log: Option<Section<RawLog>>,
    pub(super) trace: Option<Section<RawTrace>>,
    pub(super) webhook: Option<Section<RawWebhook>>,
    pub(super) store: Sections<RawStore>,
    pub(super) heartbeat: Option<Section<RawHeartbeat>>,
    pub(super) cooperative: Sections<RawCooperative>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawBroker {
    pub(super) listen: Leaf,
    pub(super) tls: Option<Section<RawServerTls>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHeartbeat {
    pub(super) url: Leaf,
    pub(super) every: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawServerTls {
    pub(super) certificate: Leaf,
    pub(super) key: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawMqtt {
    pub(super) url: Leaf,
    pub(super) username: Leaf,
    pub(super) password: Leaf,
    pub(super) password_file: Leaf,
    pub(super) ca_file: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHttp {
    pub(super) listen: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawLog {
    pub(super) max_size: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTrace {
    pub(super) format: Leaf,
    pub(super) filter: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawWebhook {
    pub(super) url: Leaf,
    pub(super) ca_file: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStore {
    pub(super) name: Leaf,
    pub(super) kind: Leaf,
    pub(super) url: Leaf,
    pub(super) read_url: Leaf,
    pub(super) delete_url: Leaf,
    pub(super) org: Leaf,
    pub(super) bucket: Leaf,
    pub(super) bucket_prefix: Leaf,
    pub(super) token: Leaf,
    pub(super) token_file: Leaf,
    pub(super) compress: Leaf,
    pub(super) retention: Leaf,
    pub(super) visible_after: Leaf,
    pub(super) timeout: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawCooperative {
    pub(super) id: Leaf,
    pub(super) name: Leaf,
    pub(super) gateway: Sections<RawGateway>,
    pub(super) token: Sections<RawToken>,
    pub(super) alert: Sections<RawAlert>,
    pub(super) retention: Option<Section<RawRetention>>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRetention {
    pub(super) readings: Leaf,
    pub(super) minutes: Leaf,
    pub(super) hours: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawGateway {
    pub(super) id: Leaf,
    pub(super) greenhouse: Leaf,
    pub(super) password: Leaf,
    pub(super) password_sha256: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawToken {
    pub(super) name: Leaf,
    pub(super) token: Leaf,
    pub(super) token_sha256: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAlert {
    pub(super) id: Leaf,
    pub(super) greenhouse: Leaf,
    pub(super) device: Leaf,
    pub(super) channel: Leaf,
    pub(super) severity: Leaf,
    pub(super) above: Leaf,
    pub(super) below: Leaf,
    pub(super) absent: Leaf,
    pub(super) clear: Leaf,
    #[serde(rename = "for")]
    pub(super) lasting: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}
