//! VictoriaMetrics, single node or cluster: for those who outgrow the archive.
//!
//! Writes go as line protocol through `/api/v2/write`, so that a channel becomes the metrics `{channel}_value`,
//! `{channel}_quality` and `{channel}_raw`. Readings come back from raw exports. Buckets are computed by the server: its
//! windows leave their beginning out and hold their end, so each is asked for at its last millisecond.
//!
//! It says 204 to what it drops: lines that it can't parse, and times beyond its retention or too far ahead. We write
//! none of the first, and refuse the others here. See docs/stores.md for the flags that it needs.

mod answer;
mod limits;
mod query;
mod send;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};
use jiff::Timestamp;
use reqwest::{Method, Url};

use self::limits::{AHEAD_MS, FIRST_MS};
use super::batch::{self, LineSink, Sent};
use super::fields::{self, Buckets, Cells, Field, Latest};
use super::http::{self, Http, SettingsError};
use super::{
    Abilities, Kept, Newest, Point, Reading, Run, SeriesInfo, SeriesStore, Span, StoreFault,
    Written,
};

const REMEDY: &str = "look at the store's addresses and token";
/// Points that one range query may have (`-search.maxPointsPerTimeseries` is 30,000).
const POINTS_MAX: i64 = 10_000;
/// How far back the newest readings are looked for at first. A server reads all that it has in a window.
const RECENT_MS: i64 = 3 * 86_400_000;
/// How long it may hold what it answered for in memory: it writes to the disk every 5 s (`-inmemoryDataFlushInterval`).
const DURABLE_AFTER: Duration = Duration::from_secs(30);
/// Behind the last time that can be asked for: the year 2262.
const BEHIND_MS: i64 = 9_223_372_036_854;

/// Whether request bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Not: less work.
    Plain,
    /// With gzip: about a tenth of the bytes, for a server that is away.
    Gzip,
}

/// A server or a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct VictoriaSettings {
    /// Of a single node `http://host:8428`; of a cluster `http://vminsert:8480/insert/0/influx`.
    pub write_url: String,
    /// Of a single node the same; of a cluster `http://vmselect:8481/select/0/prometheus`.
    pub read_url: String,
    /// Of a cluster `http://vmselect:8481/delete/0/prometheus`; `None`: like `read_url`.
    pub delete_url: Option<String>,
    /// Bearer token for a proxy before it.
    pub token: Option<String>,
    /// Whether writes are compressed.
    pub body: Body,
    /// How long the server may take for one request.
    pub timeout: Duration,
    /// The server's `-retentionPeriod`: what is older it would drop without a word.
    pub retention: Duration,
    /// How long after its write a reading may be hidden: 30 s with the server's defaults.
    pub visible_after: Duration,
}

impl fmt::Debug for VictoriaSettings {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VictoriaSettings")
            .field("write_url", &self.write_url)
            .field("read_url", &self.read_url)
            .field("delete_url", &self.delete_url)
            .field("body", &self.body)
            .field("timeout", &self.timeout)
            .field("retention", &self.retention)
            .field("visible_after", &self.visible_after)
            .finish_non_exhaustive()
    }
}

/// Series in VictoriaMetrics.
#[derive(Debug)]
pub struct VictoriaStore {
    settings: VictoriaSettings,
    write: Url,
    read: Url,
    delete: Url,
    http: Http,
}

impl VictoriaStore {
    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// When the settings can't be used.
    pub fn new(settings: VictoriaSettings) -> Result<Self, SettingsError> {
        let bearer = settings
            .token
            .as_ref()
            .map(|token| format!("Bearer {token}"));
        Ok(Self {
            write: http::address(&settings.write_url)?,
            read: http::address(&settings.read_url)?,
            delete: http::address(settings.delete_url.as_ref().unwrap_or(&settings.read_url))?,
            http: Http::new(settings.timeout, bearer.as_deref())?,
            settings,
        })
    }

    /// Asks below `base`, with parameters in the body.
    async fn ask(
        &self,
        base: &Url,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Vec<u8>, StoreFault> {
        let form = http::at(base, "", parameters);
        let body = form.query().unwrap_or_default().to_owned();
        let url = http::at(base, path, &[]);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self.http.send(Method::POST, url, &headers, body).await?;
        match answer.status {
            200 | 204 => Ok(answer.body),
            _ => Err(answer.fault(REMEDY)),
        }
    }

    /// The newest of each field within a window that ends as far ahead as readings can be.
    async fn newest(&self, selector: &str, window_ms: i64) -> Result<Latest, StoreFault> {
        let end_ms = now_ms() + AHEAD_MS;
        let window_ms = window_ms.min(end_ms - FIRST_MS);
        let query = query::newest(selector, window_ms);
        let time = seconds(end_ms);
        let parameters = [
            ("query", query.as_str()),
            ("time", &time),
            ("nocache", "1"),
            PARTS,
        ];
        let body = self.ask(&self.read, "/api/v1/query", &parameters).await?;
        // Each comes as two: the number and its time.
        let mut found: BTreeMap<(SeriesInfo, Field), (Option<f64>, Option<i64>)> = BTreeMap::new();
        for at in answer::at(&body)? {
            let Some(name) = answer::name_of(&at.metric) else {
                tracing::debug!(labels = ?at.metric, "left out a series that is not ours");
                continue;
            };
            let pair = found.entry(name).or_default();
            let number = at.number()?;
            match at.metric.get(query::FUNCTION_LABEL).map(String::as_str) {
                Some(query::LAST) => pair.0 = Some(number),
                Some(query::LAST_TIME) => pair.1 = Some(answer::milliseconds(number)?),
                other => return Err(http::broken(format!("a number of {other:?}"))),
            }
        }
        let mut latest = Latest::default();
        for ((info, field), pair) in found {
            let (Some(number), Some(time_ms)) = pair else {
                return Err(http::broken(format!(
                    "{} without its number or time",
                    info.id
                )));
            };
            latest.set(info, time_ms, field, number);
        }
        Ok(latest)
    }

    /// Labels of all series, each field and unit by itself.
    async fn labels(&self, selector: &str) -> Result<Vec<answer::Labels>, StoreFault> {
        let (start, end) = (seconds(FIRST_MS), seconds(BEHIND_MS));
        let parameters = [
            ("match[]", selector),
            ("start", &start),
            ("end", &end),
            PARTS,
        ];
        answer::series(&self.ask(&self.read, "/api/v1/series", &parameters).await?)
    }

    /// Makes what was just written visible, where the server has such a call; else waits until it is.
    async fn settle(&self) -> Result<(), StoreFault> {
        let url = http::at(&self.read, "/internal/force_flush", &[]);
        let answer = self.http.send(Method::GET, url, &[], "").await?;
        if answer.status != 200 {
            tokio::time::sleep(self.settings.visible_after).await;
        }
        Ok(())
    }
}

/// An answer without the parts of a cluster that are away is refused.
const PARTS: (&str, &str) = ("deny_partial_response", "1");

/// A figure of a server's `/metrics`.
fn figure_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    lines.filter_map(|rest| rest.strip_prefix(' ')).next()
}

#[async_trait]
impl SeriesStore for VictoriaStore {
    fn abilities(&self) -> Abilities {
        Abilities {
            keeps_decimals: false,
            of_two: Kept::Either,
            retention_per_cooperative: false,
            deletes_at_once: true,
            visible_after: self.settings.visible_after,
            durable_after: DURABLE_AFTER,
        }
    }

    async fn health(&self) -> Result<(), StoreFault> {
        // A comment stores nothing.
        let sent = self.send(Bytes::from_static(b"#\n")).await?;
        if sent != Sent::Stored {
            return Err(StoreFault::Refused {
                reason: "does not take line protocol".to_owned(),
            });
        }
        let parameters = [("query", "1"), ("nocache", "1")];
        answer::at(&self.ask(&self.read, "/api/v1/query", &parameters).await?)?;
        if self.read.path() != "/" {
            // Of a cluster, which has its flags in other places.
            return Ok(());
        }
        let url = http::at(&self.read, "/flags", &[]);
        let answer = self.http.send(Method::GET, url, &[], "").await?;
        match answer.status {
            200 => limits::check_flags(
                &String::from_utf8_lossy(&answer.body),
                self.settings.retention,
            ),
            // A proxy that does not let us look.
            _ => Ok(()),
        }
    }

    async fn incarnation(&self) -> Result<Option<u64>, StoreFault> {
        if self.read.path() != "/" {
            // Of a cluster: its storage nodes are not seen from here.
            return Ok(None);
        }
        let url = http::at(&self.read, "/metrics", &[]);
        let answer = self.http.send(Method::GET, url, &[], "").await?;
        match answer.status {
            200 => {
                let text = String::from_utf8_lossy(&answer.body);
                let started = figure_of(&text, "vm_app_start_timestamp");
                Ok(started.and_then(|text| text.trim().parse().ok()))
            }
            // A proxy that does not let us look.
            _ => Ok(None),
        }
    }

    async fn write(
        &self,
        cooperative: &CooperativeId,
        runs: &[Run],
    ) -> Result<Written, StoreFault> {
        let (runs, refused) = limits::sift(runs, self.settings.retention, now_ms());
        if let Some(first) = refused.first() {
            let (refused, reason) = (refused.len(), first.reason.as_str());
            tracing::warn!(%cooperative, refused, reason, "readings that the store would drop");
        }
        let mut written = batch::write_all(self, cooperative, &runs).await?;
        written.refused.extend(refused);
        Ok(written)
    }

    async fn series(&self, cooperative: &CooperativeId) -> Result<Vec<SeriesInfo>, StoreFault> {
        let selector = query::of_cooperative(cooperative, None);
        let mut units: BTreeMap<SeriesId, String> = BTreeMap::new();
        let mut several = false;
        for labels in self.labels(&selector).await? {
            if let Some((info, _)) = answer::name_of(&labels) {
                let before = units.insert(info.id, info.unit.clone());
                several |= before.is_some_and(|unit| unit != info.unit);
            }
        }
        if several {
            // Only the newest reading tells which unit is the one of now.
            for newest in self.newest(&selector, BEHIND_MS).await?.newest()? {
                units.insert(newest.series.id, newest.series.unit);
            }
        }
        Ok(units
            .into_iter()
            .map(|(id, unit)| SeriesInfo { id, unit })
            .collect())
    }

    async fn latest(
        &self,
        cooperative: &CooperativeId,
        greenhouse: Option<&GreenhouseId>,
    ) -> Result<Vec<Newest>, StoreFault> {
        let selector = query::of_cooperative(cooperative, greenhouse);
        let labels = self.labels(&selector).await?;
        let all = labels
            .iter()
            .filter_map(answer::name_of)
            .map(|(info, _)| info.id);
        let all: std::collections::BTreeSet<SeriesId> = all.collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let mut latest = self.newest(&selector, RECENT_MS).await?;
        if latest.len() < all.len() {
            latest = self.newest(&selector, BEHIND_MS).await?;
        }
        latest.newest()
    }

    async fn extent(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
    ) -> Result<Option<Span>, StoreFault> {
        let selector = query::of_series(cooperative, series, &Field::ALL);
        let end_ms = now_ms() + AHEAD_MS;
        let query = query::ends(&selector, end_ms - FIRST_MS);
        let time = seconds(end_ms);
        let parameters = [
            ("query", query.as_str()),
            ("time", &time),
            ("nocache", "1"),
            PARTS,
        ];
        let body = self.ask(&self.read, "/api/v1/query", &parameters).await?;
        let mut extent = None;
        for at in answer::at(&body)? {
            fields::widen(&mut extent, answer::milliseconds(at.number()?)?);
        }
        Ok(extent)
    }

    async fn read(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
    ) -> Result<Vec<Reading>, StoreFault> {
        let (from_ms, last_ms) = (span.from_ms.max(FIRST_MS), span.to_ms.min(BEHIND_MS) - 1);
        if from_ms > last_ms {
            return Ok(Vec::new());
        }
        let selector = query::of_series(cooperative, series, &Field::ALL);
        // A range whose end is the first millisecond of a day misses it: it asks for more, and what is beyond is left out.
        let (start, end) = (seconds(from_ms), seconds(last_ms + 1_000));
        let parameters = [
            ("match[]", selector.as_str()),
            ("start", &start),
            ("end", &end),
            PARTS,
        ];
        let body = self.ask(&self.read, "/api/v1/export", &parameters).await?;
        let mut cells = Cells::default();
        answer::blocks(&body, |block| {
            let name = answer::name_of(&block.metric).filter(|(info, _)| info.id == *series);
            let (_, field) = name.ok_or_else(|| http::broken("a series that was not asked for"))?;
            for (time_ms, number) in block.samples() {
                if (from_ms..=last_ms).contains(&time_ms) {
                    cells.set(time_ms, field, number);
                }
            }
            Ok(())
        })?;
        cells.readings()
    }

    async fn buckets(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
        bucket_ms: u32,
    ) -> Result<Vec<Point>, StoreFault> {
        let step_ms = i64::from(bucket_ms);
        if step_ms == 0 {
            return Ok(Vec::new());
        }
        // The bucket of the first time: a bucket has 50 days at most.
        let first_ms = span.from_ms.max(FIRST_MS - FIRST_MS % step_ms);
        let to_ms = span.to_ms.min(BEHIND_MS);
        let query = query::buckets(
            &query::of_series(cooperative, series, &[Field::Value]),
            bucket_ms,
        );
        let step = format!("{step_ms}ms");
        let mut buckets = Buckets::default();
        let mut from_ms = first_ms;
        while from_ms < to_ms {
            let until_ms = to_ms.min(from_ms.saturating_add(step_ms * POINTS_MAX));
            // A window (t - length, t] at the last millisecond of a bucket is that bucket. One more is asked for, as in
            // `read`, and left out.
            let last_ms = until_ms - 1 + step_ms;
            let (start, end) = (seconds(from_ms + step_ms - 1), seconds(last_ms));
            let parameters = [
                ("query", query.as_str()),
                ("start", &start),
                ("end", &end),
                ("step", &step),
                // Else it moves start and end to multiples of the step, and hides the newest.
                ("nocache", "1"),
                PARTS,
            ];
            let body = self
                .ask(&self.read, "/api/v1/query_range", &parameters)
                .await?;
            for over in answer::over(&body)? {
                let function = over.metric.get(query::FUNCTION_LABEL).map(String::as_str);
                let figure = function.and_then(query::figure);
                let figure = figure.ok_or_else(|| http::broken(format!("figure {function:?}")))?;
                let unit = over
                    .metric
                    .get("unit")
                    .map(String::as_str)
                    .unwrap_or_default();
                for sample in over.samples() {
                    let (time_ms, number) = sample?;
                    if time_ms < last_ms {
                        buckets.set(time_ms + 1 - step_ms, unit, figure, number);
                    }
                }
            }
            from_ms = until_ms;
        }
        buckets.points()
    }

    async fn delete(&self, cooperative: &CooperativeId) -> Result<(), StoreFault> {
        // A series that is not visible yet is not found, and would outlive its cooperative.
        self.settle().await?;
        let selector = query::of_cooperative(cooperative, None);
        let parameters = [("match[]", selector.as_str())];
        self.ask(
            &self.delete,
            "/api/v1/admin/tsdb/delete_series",
            &parameters,
        )
        .await?;
        if self.labels(&selector).await?.is_empty() {
            return Ok(());
        }
        let reason = "some series are still there after their deletion: ask again".to_owned();
        Err(StoreFault::Busy {
            reason,
            retry_after: None,
        })
    }
}

/// A time as its API has it. Some servers cut what they read as a floating-point number down to milliseconds,
/// others round it: a fifth of a millisecond more, and both mean the same one.
fn seconds(milliseconds: i64) -> String {
    format!(
        "{}.{:03}2",
        milliseconds.div_euclid(1000),
        milliseconds.rem_euclid(1000)
    )
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_not_shown() {
        let url = "http://localhost:8428".to_owned();
        let settings = VictoriaSettings {
            write_url: url.clone(),
            read_url: url,
            delete_url: None,
            token: Some("secret".to_owned()),
            body: Body::Plain,
            timeout: Duration::from_secs(1),
            retention: Duration::from_secs(86_400),
            visible_after: Duration::from_secs(30),
        };
        let store = VictoriaStore::new(settings).unwrap();
        assert!(
            !format!("{store:?} {:?}", store.settings).contains("secret"),
            "{store:?}"
        );
    }

    #[test]
    fn times_are_written_in_seconds() {
        assert_eq!(seconds(1_700_000_059_999), "1700000059.9992");
        assert_eq!(seconds(1), "0.0012");
    }
}
