//! InfluxDB 2: writes through the crate `influxdb2`, reads by our own Flux requests (docs/adr/0007).
//!
//! The crate has no time-outs, forgets the headers of an answer and panics on an address that is none: so each call
//! stands under a time-out here, and addresses are checked first. A server's `Retry-After` to a write can't be known.
//! Trying again, and how long to wait, are the caller's. See docs/stores.md.

mod flux;
mod send;
mod set_up;
mod table;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};
use influxdb2::RequestError;
use influxdb2::api::buckets::ListBucketsRequest;
use jiff::Timestamp;
use reqwest::{Method, Url};

use self::flux::Selection;
use self::send::{Bucket, fault_of};
pub use self::set_up::{Downsampling, SetUp, SetUpDone, SetUpError, set_up};
use super::batch::{self, LineSink};
use super::fields::{self, Buckets, Cells, Field, Figure, Latest};
use super::http::{self, Http, SettingsError};
use super::{
    Abilities, Kept, Newest, Point, Reading, Run, SeriesInfo, SeriesStore, Span, StoreFault,
    Written,
};

const TOKEN_REMEDY: &str =
    "look at the token, the organisation and the bucket; `furrow-ingest store setup` makes buckets";

/// Where cooperatives go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// All into one bucket; the tag `cooperative` keeps them apart.
    Shared {
        /// Its name.
        bucket: String,
    },
    /// Each into a bucket of its own. InfluxDB 2 bears about 20 of them.
    Each {
        /// A bucket's name is this and the cooperative's id.
        prefix: String,
    },
}

/// A server, and what may be done there.
#[derive(Clone, PartialEq, Eq)]
pub struct InfluxSettings {
    /// `http://host:8086`, without a path. No `https`: put a proxy for it beside this program (docs/adr/0007).
    pub url: String,
    /// Name of the organisation.
    pub org: String,
    /// A token that reads and writes the buckets; for `set_up` one that also makes buckets and tasks.
    pub token: String,
    /// Where cooperatives go.
    pub layout: Layout,
    /// How long the server may take for one request.
    pub timeout: Duration,
}

impl fmt::Debug for InfluxSettings {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InfluxSettings")
            .field("url", &self.url)
            .field("org", &self.org)
            .field("layout", &self.layout)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Series in an InfluxDB 2.
#[derive(Debug)]
pub struct InfluxStore {
    settings: InfluxSettings,
    base: Url,
    writer: influxdb2::Client,
    reader: Http,
}

impl InfluxStore {
    /// Makes the clients; nothing is sent yet.
    ///
    /// # Errors
    /// When the settings can't be used.
    pub fn new(settings: InfluxSettings) -> Result<Self, SettingsError> {
        let base = http::address(&settings.url)?;
        let wrong = |problem| SettingsError::Url {
            url: settings.url.clone(),
            problem,
        };
        if base.scheme() != "http" {
            return Err(wrong(
                "must begin with http://: for TLS put a proxy beside this program",
            ));
        }
        if base.path() != "/" {
            return Err(wrong("has a path, which InfluxDB's client would leave out"));
        }
        let authorization = format!("Token {}", settings.token);
        let reader = Http::new(settings.timeout, Some(&authorization))?;
        // The address is one, by the check above: the builder would panic.
        let writer = influxdb2::ClientBuilder::new(base.as_str(), &settings.org, &settings.token);
        let writer = writer
            .build()
            .map_err(|error| SettingsError::Client(Box::new(error)))?;
        Ok(Self {
            settings,
            base,
            writer,
            reader,
        })
    }

    fn bucket(&self, cooperative: &CooperativeId) -> String {
        match &self.settings.layout {
            Layout::Shared { bucket } => bucket.clone(),
            Layout::Each { prefix } => format!("{prefix}{cooperative}"),
        }
    }

    /// A call of the crate, which waits for ever by itself.
    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, RequestError>> + Send,
    ) -> Result<Result<T, RequestError>, StoreFault> {
        let timeout = self.settings.timeout;
        tokio::time::timeout(timeout, call)
            .await
            .map_err(|_| StoreFault::Busy {
                reason: format!("no answer within {timeout:?}"),
                retry_after: None,
            })
    }

    /// A call of the crate for which any refusal is a fault.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, RequestError>> + Send,
    ) -> Result<T, StoreFault> {
        self.within(call).await?.map_err(fault_of)
    }

    async fn query(&self, flux: &str) -> Result<Vec<u8>, StoreFault> {
        let url = http::at(&self.base, "/api/v2/query", &[("org", &self.settings.org)]);
        let dialect = serde_json::json!({
            "annotations": ["datatype", "group", "default"], "header": true, "delimiter": ",",
        });
        let body = serde_json::json!({ "type": "flux", "query": flux, "dialect": dialect });
        let answer = self
            .reader
            .send(Method::POST, url, &JSON, body.to_string())
            .await?;
        if answer.status != 200 {
            return Err(answer.fault(TOKEN_REMEDY));
        }
        Ok(answer.body)
    }

    /// `None`: there is no such bucket.
    async fn bucket_id(&self, name: &str) -> Result<Option<String>, StoreFault> {
        let request = ListBucketsRequest {
            name: Some(name.to_owned()),
            org: Some(self.settings.org.clone()),
            ..ListBucketsRequest::default()
        };
        let found = match self.within(self.writer.list_buckets(Some(request))).await? {
            Err(RequestError::Http { status, .. }) if status.as_u16() == 404 => return Ok(None),
            found => found.map_err(fault_of)?,
        };
        let bucket = found.buckets.into_iter().find(|bucket| bucket.name == name);
        Ok(bucket.and_then(|bucket| bucket.id))
    }

    /// Takes a cooperative out of a bucket that others share; `false`: there is no such bucket.
    async fn delete_from(
        &self,
        bucket: &str,
        cooperative: &CooperativeId,
    ) -> Result<bool, StoreFault> {
        let parameters = [("org", self.settings.org.as_str()), ("bucket", bucket)];
        let url = http::at(&self.base, "/api/v2/delete", &parameters);
        let body = serde_json::json!({
            "start": "1677-09-21T00:12:44Z",
            "stop": "2262-04-11T23:47:16Z",
            "predicate": format!("cooperative={}", flux::Text(cooperative.as_str())),
        });
        let answer = self
            .reader
            .send(Method::POST, url, &JSON, body.to_string())
            .await?;
        match answer.status {
            204 => Ok(true),
            404 => Ok(false),
            _ => Err(answer.fault(TOKEN_REMEDY)),
        }
    }
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[async_trait]
impl SeriesStore for InfluxStore {
    fn abilities(&self) -> Abilities {
        Abilities {
            keeps_decimals: false,
            of_two: Kept::Last,
            retention_per_cooperative: match self.settings.layout {
                Layout::Shared { .. } => false,
                Layout::Each { .. } => true,
            },
            deletes_at_once: true,
            visible_after: Duration::ZERO,
            // It syncs its log before it answers (storage-wal-fsync-delay is 0 by default).
            durable_after: Duration::ZERO,
        }
    }

    async fn health(&self) -> Result<(), StoreFault> {
        // Not by the crate: it takes the server's "pass" for an error.
        let url = http::at(&self.base, "/health", &[]);
        let answer = self.reader.send(Method::GET, url, &[], "").await?;
        if answer.status != 200 {
            return Err(answer.fault("is this an InfluxDB 2?"));
        }
        match &self.settings.layout {
            Layout::Shared { bucket } => {
                // A comment stores nothing, yet needs the bucket and the right to write to it.
                let sink = Bucket {
                    store: self,
                    name: bucket,
                };
                sink.send(Bytes::from_static(b"#\n")).await.map(drop)
            }
            // Which cooperatives there are is not known here.
            Layout::Each { prefix } => self.bucket_id(prefix).await.map(drop),
        }
    }

    async fn write(
        &self,
        cooperative: &CooperativeId,
        runs: &[Run],
    ) -> Result<Written, StoreFault> {
        let name = self.bucket(cooperative);
        batch::write_all(
            &Bucket {
                store: self,
                name: &name,
            },
            cooperative,
            runs,
        )
        .await
    }

    async fn series(&self, cooperative: &CooperativeId) -> Result<Vec<SeriesInfo>, StoreFault> {
        let newest = self.latest(cooperative, None).await?;
        Ok(newest.into_iter().map(|newest| newest.series).collect())
    }

    async fn latest(
        &self,
        cooperative: &CooperativeId,
        greenhouse: Option<&GreenhouseId>,
    ) -> Result<Vec<Newest>, StoreFault> {
        let bucket = self.bucket(cooperative);
        let fields = &Field::ALL;
        let selection = Selection {
            bucket: &bucket,
            cooperative,
            greenhouse,
            series: None,
            fields,
            span: None,
        };
        let body = self.query(&flux::newest(&selection)).await?;
        let mut latest = Latest::default();
        table::rows(&body, |row| {
            let (device, channel) = (row.get("device"), row.get("_measurement"));
            let Some(id) = fields::series_id(row.get("greenhouse"), device, channel) else {
                tracing::debug!(channel, device, "left out a series that is not ours");
                return Ok(());
            };
            let info = SeriesInfo {
                id,
                unit: row.get("unit").to_owned(),
            };
            latest.set(
                info,
                time_of(row)?,
                field_of(row)?,
                fields::number(row.get("_value"))?,
            );
            Ok(())
        })?;
        latest.newest()
    }

    async fn extent(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
    ) -> Result<Option<Span>, StoreFault> {
        let bucket = self.bucket(cooperative);
        let selection = Selection {
            bucket: &bucket,
            cooperative,
            greenhouse: None,
            series: Some(series),
            fields: &Field::ALL,
            span: None,
        };
        let body = self.query(&flux::ends(&selection)).await?;
        let mut extent = None;
        table::rows(&body, |row| {
            fields::widen(&mut extent, time_of(row)?);
            Ok(())
        })?;
        Ok(extent)
    }

    async fn read(
        &self,
        cooperative: &CooperativeId,
        series: &SeriesId,
        span: Span,
    ) -> Result<Vec<Reading>, StoreFault> {
        if span.from_ms >= span.to_ms {
            return Ok(Vec::new());
        }
        let bucket = self.bucket(cooperative);
        let selection = Selection {
            bucket: &bucket,
            cooperative,
            greenhouse: None,
            series: Some(series),
            fields: &Field::ALL,
            span: Some(span),
        };
        let body = self.query(&flux::all(&selection)).await?;
        let mut cells = Cells::default();
        table::rows(&body, |row| {
            cells.set(
                time_of(row)?,
                field_of(row)?,
                fields::number(row.get("_value"))?,
            );
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
        if span.from_ms >= span.to_ms || bucket_ms == 0 {
            return Ok(Vec::new());
        }
        let bucket = self.bucket(cooperative);
        let selection = Selection {
            bucket: &bucket,
            cooperative,
            greenhouse: None,
            series: Some(series),
            fields: &[Field::Value],
            span: Some(span),
        };
        let body = self.query(&flux::buckets(&selection, bucket_ms)).await?;
        let mut buckets = Buckets::default();
        table::rows(&body, |row| {
            let name = row.get("result");
            let figure = Figure::ALL
                .into_iter()
                .find(|figure| figure.as_str() == name);
            let figure = figure.ok_or_else(|| http::broken(format!("result {name:?}")))?;
            let number = fields::number(row.get("_value"))?;
            buckets.set(time_of(row)?, row.get("unit"), figure, number);
            Ok(())
        })?;
        buckets.points()
    }

    async fn delete(&self, cooperative: &CooperativeId) -> Result<(), StoreFault> {
        let bucket = self.bucket(cooperative);
        // The raw readings first: a task that rolls up meanwhile finds nothing more to make roll-ups of.
        let found = self.delete_bucket_or_part(&bucket, cooperative).await?;
        for name in set_up::downsampled(&bucket) {
            self.delete_bucket_or_part(&name, cooperative).await?;
        }
        match self.settings.layout {
            Layout::Shared { .. } if !found => Err(StoreFault::Denied {
                reason: format!("there is no bucket {bucket:?} ({TOKEN_REMEDY})"),
            }),
            Layout::Shared { .. } | Layout::Each { .. } => Ok(()),
        }
    }
}

impl InfluxStore {
    async fn delete_bucket_or_part(
        &self,
        name: &str,
        cooperative: &CooperativeId,
    ) -> Result<bool, StoreFault> {
        match self.settings.layout {
            Layout::Shared { .. } => self.delete_from(name, cooperative).await,
            Layout::Each { .. } => match self.bucket_id(name).await? {
                Some(id) => self
                    .call(self.writer.delete_bucket(&id))
                    .await
                    .map(|()| true),
                None => Ok(false),
            },
        }
    }
}

fn time_of(row: &table::Row<'_>) -> Result<i64, StoreFault> {
    let text = row.get("_time");
    let time: Timestamp = text
        .parse()
        .map_err(|_| http::broken(format!("{text:?} is no time")))?;
    Ok(time.as_millisecond())
}

fn field_of(row: &table::Row<'_>) -> Result<Field, StoreFault> {
    let name = row.get("_field");
    Field::of(name).ok_or_else(|| http::broken(format!("{name:?} is no field")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> InfluxSettings {
        InfluxSettings {
            url: url.to_owned(),
            org: "org".to_owned(),
            token: "secret".to_owned(),
            layout: Layout::Shared {
                bucket: "readings".to_owned(),
            },
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn unusable_addresses_are_named_not_panicked_over() {
        for (url, message) in [
            (
                "nonsense",
                "store address \"nonsense\" is not a URL such as http://localhost:8086",
            ),
            (
                "https://a",
                "store address \"https://a\" must begin with http://: for TLS put a proxy beside this program",
            ),
            (
                "http://a/insert/0/influx",
                "store address \"http://a/insert/0/influx\" has a path, which InfluxDB's client would leave out",
            ),
        ] {
            assert_eq!(
                InfluxStore::new(settings(url)).unwrap_err().to_string(),
                message
            );
        }
    }

    #[test]
    fn the_token_is_not_shown() {
        let store = InfluxStore::new(settings("http://localhost:8086")).unwrap();
        assert!(
            !format!("{store:?} {:?}", store.settings).contains("secret"),
            "{store:?}"
        );
    }
}
