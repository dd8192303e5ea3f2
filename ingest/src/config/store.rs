//! Stores that readings are forwarded to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::check::{Checker, join};
use super::raw::{Leaf, RawStore};
use super::settings::read_text;
use crate::store::influx::{InfluxSettings, InfluxStore, Layout};
use crate::store::victoria::{Body, VictoriaSettings, VictoriaStore};
use crate::store::{SeriesStore, SettingsError};

/// Most stores beside the archive: each reads the whole log once more.
const STORES_MAX: usize = 4;
/// Longest name of a store: it is a folder's name and a metric's label.
const NAME_BYTES_MAX: usize = 32;
/// How long a store may take for a request unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long VictoriaMetrics hides fresh readings by default (`-search.latencyOffset`).
const DEFAULT_VISIBLE_AFTER: Duration = Duration::from_secs(30);
/// What the archive is called where a store is named.
pub const ARCHIVE: &str = "archive";

/// A store that readings are forwarded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Its name: of its state's folder, in metrics and in commands.
    pub name: String,
    /// What it is and how it is reached.
    pub kind: StoreKind,
}

/// What a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKind {
    /// InfluxDB 2.
    Influx(InfluxSettings),
    /// VictoriaMetrics, one node or a cluster.
    Victoria(VictoriaSettings),
}

impl StoreSettings {
    /// Makes its client; nothing is sent yet.
    ///
    /// # Errors
    /// When an address is none.
    pub fn open(&self) -> Result<Arc<dyn SeriesStore>, SettingsError> {
        Ok(match &self.kind {
            StoreKind::Influx(settings) => Arc::new(InfluxStore::new(settings.clone())?),
            StoreKind::Victoria(settings) => Arc::new(VictoriaStore::new(settings.clone())?),
        })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        match &self.kind {
            StoreKind::Influx(settings) => &settings.url,
            StoreKind::Victoria(settings) => &settings.write_url,
        }
    }
}

/// Checks all of them.
pub(super) fn check_stores(c: &mut Checker, raw: Vec<(String, RawStore)>) -> Vec<StoreSettings> {
    if raw.len() > STORES_MAX {
        let count = raw.len();
        c.mistake(
            "store",
            format!("stands there {count} times; at most {STORES_MAX}"),
        );
    }
    let mut names = BTreeSet::new();
    let mut stores = Vec::new();
    for (key, raw) in raw {
        let name = c.required_text(&join(&key, "name"), raw.name.clone(), "\"influx\"");
        let name = name.filter(|name| is_name(c, &key, name, &mut names));
        let kind = check_kind(c, &key, raw);
        stores.extend(
            name.zip(kind)
                .map(|(name, kind)| StoreSettings { name, kind }),
        );
    }
    stores
}

fn is_name(c: &mut Checker, key: &str, name: &str, names: &mut BTreeSet<String>) -> bool {
    let key = join(key, "name");
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() > NAME_BYTES_MAX || !name.bytes().all(is_plain) {
        c.mistake(
            &key,
            "must be at most 32 lower-case letters, digits and hyphens, e.g. \"influx\"",
        );
        return false;
    }
    if name == ARCHIVE || !names.insert(name.to_owned()) {
        c.mistake(&key, format!("{name:?} is taken; names must be unique"));
        return false;
    }
    true
}

fn check_kind(c: &mut Checker, key: &str, raw: RawStore) -> Option<StoreKind> {
    let kind = c.required_text(
        &join(key, "kind"),
        raw.kind.clone(),
        "\"influxdb2\" or \"victoriametrics\"",
    )?;
    match kind.as_str() {
        "influxdb2" => check_influx(c, key, raw).map(StoreKind::Influx),
        "victoriametrics" => check_victoria(c, key, raw).map(StoreKind::Victoria),
        _ => {
            c.mistake(
                join(key, "kind"),
                "must be \"influxdb2\" or \"victoriametrics\"",
            );
            None
        }
    }
}

fn check_influx(c: &mut Checker, key: &str, raw: RawStore) -> Option<InfluxSettings> {
    let known = "name, kind, url, org, bucket, bucket_prefix, token, token_file, timeout";
    let foreign = [
        ("read_url", raw.read_url.is_some()),
        ("delete_url", raw.delete_url.is_some()),
        ("compress", raw.compress.is_some()),
        ("retention", raw.retention.is_some()),
        ("visible_after", raw.visible_after.is_some()),
    ];
    refuse_foreign(c, key, &foreign, known);
    c.unknown(key, &raw.unknown, known);
    let url = c.required_text(&join(key, "url"), raw.url, "\"http://127.0.0.1:8086\"");
    let org = c.required_text(&join(key, "org"), raw.org, "\"furrow\"");
    let bucket = c.text(&join(key, "bucket"), raw.bucket);
    let prefix = c.text(&join(key, "bucket_prefix"), raw.bucket_prefix);
    let layout = match (bucket, prefix) {
        (Some(bucket), None) => Some(Layout::Shared { bucket }),
        (None, Some(prefix)) => Some(Layout::Each { prefix }),
        (None, None) | (Some(_), Some(_)) => {
            c.mistake(
                key,
                "must have either bucket = \"readings\" for all, or bucket_prefix = \"furrow-\" for one each",
            );
            None
        }
    };
    let token = token(c, key, raw.token, raw.token_file);
    if token.is_none() {
        c.mistake(
            join(key, "token_file"),
            "is missing; name the file that holds the token",
        );
    }
    let timeout = c.duration(&join(key, "timeout"), raw.timeout);
    let settings = InfluxSettings {
        url: url?,
        org: org?,
        token: token?,
        layout: layout?,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
    };
    usable(c, key, InfluxStore::new(settings.clone()).err())?;
    Some(settings)
}

fn check_victoria(c: &mut Checker, key: &str, raw: RawStore) -> Option<VictoriaSettings> {
    let known = "name, kind, url, read_url, delete_url, token, token_file, compress, retention, \
                 visible_after, timeout";
    let foreign = [
        ("org", raw.org.is_some()),
        ("bucket", raw.bucket.is_some()),
        ("bucket_prefix", raw.bucket_prefix.is_some()),
    ];
    refuse_foreign(c, key, &foreign, known);
    c.unknown(key, &raw.unknown, known);
    let url = c.required_text(&join(key, "url"), raw.url, "\"http://127.0.0.1:8428\"");
    let read_url = c.text(&join(key, "read_url"), raw.read_url);
    let delete_url = c.text(&join(key, "delete_url"), raw.delete_url);
    let token = token(c, key, raw.token, raw.token_file);
    let compress = c.flag(&join(key, "compress"), raw.compress);
    let retention_key = join(key, "retention");
    let retention = c.required_text(
        &retention_key,
        raw.retention,
        "\"400d\": the server's -retentionPeriod, which is a month unless set",
    );
    let retention = c.duration(&retention_key, retention.map(Into::into));
    let visible_after = c.duration(&join(key, "visible_after"), raw.visible_after);
    let timeout = c.duration(&join(key, "timeout"), raw.timeout);
    let write_url = url?;
    let settings = VictoriaSettings {
        read_url: read_url.unwrap_or_else(|| write_url.clone()),
        write_url,
        delete_url,
        token,
        body: if compress.unwrap_or(true) {
            Body::Gzip
        } else {
            Body::Plain
        },
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        retention: retention?,
        visible_after: visible_after.unwrap_or(DEFAULT_VISIBLE_AFTER),
    };
    usable(c, key, VictoriaStore::new(settings.clone()).err())?;
    Some(settings)
}

/// What only the other kind has.
fn refuse_foreign(c: &mut Checker, key: &str, foreign: &[(&str, bool)], known: &str) {
    for (name, _) in foreign.iter().filter(|(_, is_there)| *is_there) {
        c.mistake(
            join(key, name),
            format!("is not for this kind of store; remove it (known: {known})"),
        );
    }
}

fn token(c: &mut Checker, key: &str, plain: Leaf, file: Leaf) -> Option<String> {
    match (plain, file) {
        (Some(_), Some(_)) => {
            c.mistake(join(key, "token"), "stands beside token_file; remove one");
            None
        }
        (plain @ Some(_), None) => c.text(&join(key, "token"), plain),
        (None, file) => {
            let key = join(key, "token_file");
            let file = c.text(&key, file)?;
            read_text(c, &key, &file)
        }
    }
}

fn usable(c: &mut Checker, key: &str, error: Option<SettingsError>) -> Option<()> {
    match error {
        None => Some(()),
        Some(error) => {
            c.mistake(key, error.to_string());
            None
        }
    }
}
