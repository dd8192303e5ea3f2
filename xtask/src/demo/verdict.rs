//! Whether everything that should have arrived did.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use furrow_tests::api::Api;
use furrow_tests::delivery::{Books, drained_books};
use serde_json::Value;

use super::farm::Farm;

/// How long the books may take to balance at the end.
const SETTLE: Duration = Duration::from_secs(60);

/// What was found.
pub(super) struct Verdict {
    books: Books,
    channels: usize,
    silent: Vec<String>,
    runs: usize,
    alerts: usize,
}

impl Verdict {
    /// Readings of every channel, a watering run, an alert, nothing missing, nothing twice.
    pub(super) fn holds(&self) -> bool {
        self.books.balance()
            && self.books.stored > 0
            && self.channels > 0
            && self.silent.is_empty()
            && self.runs > 0
            && self.alerts > 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            books,
            channels,
            silent,
            runs,
            alerts,
        } = self;
        writeln!(
            f,
            "channels {channels}, silent {}, runs {runs}, alerts {alerts}",
            silent.len()
        )?;
        for series in silent {
            writeln!(f, "no good reading of {series}")?;
        }
        write!(f, "{books}")
    }
}

/// Asks ingest, with each cooperative's own token.
pub(super) fn judge(farm: &Farm) -> anyhow::Result<Verdict> {
    let apis = farm.apis();
    let books = drained_books(&farm.sites, &apis, SETTLE)?;
    let mut verdict = Verdict {
        books,
        channels: 0,
        silent: Vec::new(),
        runs: 0,
        alerts: 0,
    };
    for (cooperative, api) in &apis {
        let base = format!("/api/v1/cooperatives/{cooperative}/greenhouses");
        for greenhouse in list(api, &base)? {
            let id = text(&greenhouse, "id")?;
            look_at(&mut verdict, api, &format!("{base}/{id}"))?;
        }
    }
    Ok(verdict)
}

fn look_at(verdict: &mut Verdict, api: &Api, greenhouse: &str) -> anyhow::Result<()> {
    for channel in list(api, &format!("{greenhouse}/channels"))? {
        verdict.channels += 1;
        let (device, name) = (text(&channel, "device")?, text(&channel, "channel")?);
        let latest = list(api, &format!("{greenhouse}/latest"))?;
        let is_this = |value: &&Value| {
            value.get("device") == channel.get("device")
                && value.get("channel") == channel.get("channel")
        };
        let good = latest.iter().find(is_this).is_some_and(|value| {
            value.get("last_good").is_some_and(Value::is_object)
                || value.get("quality").and_then(Value::as_str) == Some("good")
        });
        if !good {
            verdict.silent.push(format!("{greenhouse}/{device}/{name}"));
        }
    }
    let ended = |event: &Value| {
        event.get("kind").and_then(Value::as_str) == Some("run_ended")
            && event
                .get("litres")
                .and_then(Value::as_f64)
                .is_some_and(|litres| litres > 0.0)
    };
    verdict.runs += list(api, &format!("{greenhouse}/events"))?
        .iter()
        .filter(|e| ended(e))
        .count();
    let fired = |alert: &Value| {
        alert
            .get("state")
            .and_then(Value::as_str)
            .is_some_and(|state| state != "pending")
    };
    verdict.alerts += list(api, &format!("{greenhouse}/alerts"))?
        .iter()
        .filter(|a| fired(a))
        .count();
    Ok(())
}

fn list(api: &Api, path: &str) -> anyhow::Result<Vec<Value>> {
    let answer = api.get(path)?;
    answer
        .as_array()
        .cloned()
        .with_context(|| format!("{path} did not answer a list"))
}

fn text<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    value
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("no {key} in {value}"))
}
