//! What the gateway wrote down: events and samples of its journal, as its own command tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Longest line of a record, bytes; a record itself is far smaller.
const LINE_MAX: u64 = 16 * 1024 * 1024;
/// Most bytes that are read: a season of a large site.
const BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The journal, by ms after the start.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) events: Vec<(u64, Value)>,
    /// Good values of the wanted channels, by `device/channel`.
    pub(super) samples: BTreeMap<String, Vec<(u64, f64)>>,
    /// Channels that the journal has.
    pub(super) channels: BTreeSet<String>,
}

impl Records {
    /// Asks the gateway's program. Samples are kept of `wanted` channels only.
    pub(super) fn read(
        gateway: &Path,
        config: &Path,
        wanted: &BTreeSet<&str>,
    ) -> Result<Self, String> {
        let mut child = Command::new(gateway)
            .arg("--config")
            .arg(config)
            .args(["journal", "--decode"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("read the journal: {error}"))?;
        let mut records = Self::default();
        let mut seen = BTreeSet::new();
        if let Some(stream) = child.stdout.take() {
            let mut reader = BufReader::new(stream.take(BYTES_MAX));
            let mut line = String::new();
            while matches!(reader.by_ref().take(LINE_MAX).read_line(&mut line), Ok(1..)) {
                let record = serde_json::from_str(&line)
                    .map_err(|error| format!("read the journal: {error}"))?;
                records.take(&record, wanted, &mut seen);
                line.clear();
            }
        }
        let status = child
            .wait()
            .map_err(|error| format!("read the journal: {error}"))?;
        if !status.success() {
            return Err(format!("`journal --decode` ended with {status}"));
        }
        records.events.sort_by_key(|(at_ms, _)| *at_ms);
        for samples in records.samples.values_mut() {
            samples.sort_by_key(|(at_ms, _)| *at_ms);
        }
        Ok(records)
    }

    /// A record that was written again stands twice in the journal.
    fn take(&mut self, record: &Value, wanted: &BTreeSet<&str>, seen: &mut BTreeSet<String>) {
        let Some(body) = record.get("body") else {
            return;
        };
        if !record
            .get("name")
            .is_some_and(|name| seen.insert(name.to_string()))
        {
            return;
        }
        for event in list(body, "events") {
            let at_ms = event
                .get("at_mono_ms")
                .and_then(Value::as_u64)
                .unwrap_or_default();
            self.events.push((at_ms, event.clone()));
        }
        for column in list(body, "columns") {
            let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or("?");
            let name = format!("{}/{}", text("device"), text("name"));
            if wanted.contains(name.as_str()) {
                let samples = self.samples.entry(name.clone()).or_default();
                for sample in list(column, "samples") {
                    let is_good = sample.get("quality").and_then(Value::as_str) == Some("good");
                    let at_ms = sample.get("mono_ms").and_then(Value::as_u64);
                    let value = sample.get("value").and_then(Value::as_f64);
                    samples.extend(at_ms.zip(value).filter(|_| is_good));
                }
            }
            self.channels.insert(name);
        }
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}
