//! The part of Prometheus' HTTP API that Grafana's data source for Prometheus calls, below
//! `/api/v1/cooperatives/{cooperative}/prometheus`.
//!
//! Owns parameters, answers, and how many queries run at once; what a query means is `crate::promql`'s.
//! Like everything about data it is made from a [`Scope`]: there is no query that could name another
//! cooperative. Series are listed as they are known now; `start` and `end` do not narrow a list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use self::answer::{Answer, Refusal, Shape};
use self::request::Params;
use self::source::{ArchiveSource, LABELS, label_of};
use super::Api;
use super::answer::ApiError;
use super::api::READ_WAIT;
use super::scope::{Scope, path_part};
use crate::metrics::{Counter, Metrics};
use crate::promql::{self, Budget, Frame, Plan, QueryError, STEPS_MAX};

mod answer;
mod request;
mod source;

/// Longest form, in bytes: a query of the greatest length, each byte escaped, and its parameters.
const FORM_BYTES_MAX: usize = 32 * 1024;
/// Queries at once, over all cooperatives: half of the archive's reads, so that the page still gets some.
const QUERIES_MAX: usize = 4;
/// Queries of one cooperative at once: half of these, so that nobody starves the others.
const COOPERATIVE_QUERIES_MAX: usize = 2;
/// What a query gets, from its first look at the archive; `timeout` may shorten it.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Most series in one list.
const LISTED_MAX: usize = 10_000;
/// The version whose API and language this follows; programs that ask choose their requests by it.
const FOLLOWED_VERSION: &str = "2.42.0";

/// How many queries run, and what became of them.
#[derive(Debug)]
pub(super) struct Queries {
    all: Arc<Semaphore>,
    pub(super) by_cooperative: Vec<Arc<Semaphore>>,
    answered: Counter,
    refused: Counter,
    samples: Counter,
}

impl Queries {
    pub(super) fn new(cooperatives: usize, metrics: &Metrics) -> Self {
        let queries = |outcome| {
            metrics.counter(
                "furrow_promql_requests_total",
                "Requests to the Prometheus API, by what became of them.",
                &[("outcome", outcome)],
            )
        };
        let each = |_| Arc::new(Semaphore::new(COOPERATIVE_QUERIES_MAX));
        Self {
            all: Arc::new(Semaphore::new(QUERIES_MAX)),
            by_cooperative: (0..cooperatives).map(each).collect(),
            answered: queries("answered"),
            refused: queries("refused"),
            samples: metrics.counter(
                "furrow_promql_samples_total",
                "Samples read for PromQL queries.",
                &[],
            ),
        }
    }
}

/// Everything below `/prometheus/api/v1`.
pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/query", get(query).post(query))
        .route("/query_range", get(query_range).post(query_range))
        .route("/labels", get(labels).post(labels))
        .route("/label/{name}/values", get(label_values))
        .route("/series", get(series).post(series))
        .route("/metadata", get(metadata))
        .route("/status/buildinfo", get(buildinfo))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

type Handled = Result<Response, ApiError>;

async fn query(scope: Scope, headers: HeaderMap, params: Params) -> Handled {
    answered(scope, headers, params, |params, source, expired| {
        let time_ms = params.time("time")?.unwrap_or_else(now_ms);
        let frame = Frame::instant(time_ms, params.duration("lookback_delta")?);
        let plan = Plan::parse(params.required("query")?)?;
        let mut budget = Budget::new(expired);
        let shape = if let Plan::Samples(selector, range_ms) = &plan {
            let samples = promql::samples(selector, *range_ms, &frame, source, &mut budget);
            Shape::Samples(samples?)
        } else {
            let value = promql::evaluate(&plan, &frame, source, &mut budget)?;
            Shape::Instant(value, time_ms)
        };
        Ok(Answer::query(shape, budget.samples()))
    })
    .await
}

async fn query_range(scope: Scope, headers: HeaderMap, params: Params) -> Handled {
    answered(scope, headers, params, |params, source, expired| {
        let bad = |text: &str| Err(QueryError::BadData(text.to_owned()));
        let (start_ms, end_ms) = (params.required_time("start")?, params.required_time("end")?);
        if end_ms < start_ms {
            return bad("end timestamp must not be before start time");
        }
        let step_ms = params.required("step").and_then(request::span_ms)?;
        let frame = Frame {
            start_ms,
            end_ms,
            step_ms,
            lookback_ms: params.duration("lookback_delta")?,
        };
        if frame.steps() > STEPS_MAX {
            return bad(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the \
                 query resolution (?step=XX)",
            );
        }
        let plan = Plan::parse(params.required("query")?)?;
        if matches!(plan, Plan::Samples(..)) {
            return bad(
                "invalid expression type \"range vector\" for range query, must be Scalar or \
                 instant Vector",
            );
        }
        let mut budget = Budget::new(expired);
        let value = promql::evaluate(&plan, &frame, source, &mut budget)?;
        Ok(Answer::query(Shape::Range(value, frame), budget.samples()))
    })
    .await
}

async fn labels(scope: Scope, headers: HeaderMap, params: Params) -> Handled {
    answered(scope, headers, params, |params, source, _| {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        source.visit(&params.selectors()?, |latest| {
            names.extend(
                LABELS
                    .iter()
                    .filter(|name| !label_of(latest, name).is_empty()),
            );
        })?;
        let names = names.into_iter().take(params.limit()?);
        Ok(Answer::list(&names.collect::<Vec<_>>()))
    })
    .await
}

async fn label_values(
    scope: Scope,
    headers: HeaderMap,
    name: LabelName,
    params: Params,
) -> Handled {
    answered(scope, headers, params, move |params, source, _| {
        let mut values = BTreeSet::new();
        source.visit(&params.selectors()?, |latest| {
            let value = label_of(latest, &name.0);
            if !value.is_empty() && !values.contains(value) {
                values.insert(value.to_owned());
            }
        })?;
        let values = values.into_iter().take(params.limit()?);
        Ok(Answer::list(&values.collect::<Vec<_>>()))
    })
    .await
}

async fn series(scope: Scope, headers: HeaderMap, params: Params) -> Handled {
    answered(scope, headers, params, |params, source, _| {
        let selectors = params.selectors()?;
        if selectors.is_empty() {
            let text = "no match[] parameter provided".to_owned();
            return Err(QueryError::BadData(text));
        }
        let limit = params.limit()?;
        let (mut found, mut beyond) = (Vec::new(), false);
        source.visit(&selectors, |latest| {
            if found.len() < limit.min(LISTED_MAX) {
                found.push(source::labels_of(latest));
            } else {
                beyond = limit > LISTED_MAX;
            }
        })?;
        if beyond {
            return Err(QueryError::TooMuch {
                what: "list too many series",
                limit: LISTED_MAX as u64,
            });
        }
        Ok(Answer::list(&found))
    })
    .await
}

/// A unit, and the name for people of the first series that has it.
type UnitAndHelp = (Arc<str>, Arc<str>);

async fn metadata(scope: Scope, headers: HeaderMap, params: Params) -> Handled {
    answered(scope, headers, params, |params, source, _| {
        let wanted = params.get("metric").filter(|name| !name.is_empty());
        let mut all: BTreeMap<String, BTreeSet<UnitAndHelp>> = BTreeMap::new();
        source.visit(&[], |latest| {
            let name = latest.series.channel.as_str();
            if wanted.is_none_or(|wanted| wanted == name) {
                let of_name = all.entry(name.to_owned()).or_default();
                // One for each unit; of several names for people, the first by series.
                if !of_name.iter().any(|(unit, _)| *unit == latest.unit) {
                    of_name.insert((latest.unit.clone(), latest.channel_name.clone()));
                }
            }
        })?;
        let row = |(unit, help): &UnitAndHelp| {
            json!({ "type": "gauge", "help": &**help, "unit": &**unit })
        };
        let all = all.iter().take(params.limit()?);
        let all = all.map(|(name, rows)| (name, rows.iter().map(row).collect::<Vec<Json>>()));
        Ok(Answer::list(&all.collect::<BTreeMap<_, _>>()))
    })
    .await
}

async fn buildinfo(scope: Scope, headers: HeaderMap, params: Params) -> Handled {
    answered(scope, headers, params, |_, _, _| {
        Ok(Answer::list(&json!({
            "version": FOLLOWED_VERSION,
            "revision": concat!("furrow-ingest ", env!("CARGO_PKG_VERSION")),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        })))
    })
    .await
}

/// The label of a path.
struct LabelName(String);

impl axum::extract::FromRequestParts<Arc<Api>> for LabelName {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        api: &Arc<Api>,
    ) -> Result<Self, ApiError> {
        let name = path_part(parts, api, "name").await;
        name.map(LabelName).ok_or(ApiError::NotFound("label"))
    }
}

/// Says that nobody waits any more.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits for places, does the work on a thread that may block, and writes its answer. The places are held
/// until the work is done, also when nobody waits for it any more; it ends soon then.
async fn answered(
    scope: Scope,
    headers: HeaderMap,
    params: Params,
    work: impl FnOnce(&Params, &ArchiveSource<'_>, &dyn Fn() -> bool) -> Result<Answer, QueryError>
    + Send
    + 'static,
) -> Handled {
    let api = Arc::clone(&scope.api);
    let queries = &api.queries;
    let own = queries.by_cooperative.get(scope.index);
    let own = Arc::clone(own.ok_or(ApiError::NotFound("cooperative"))?);
    let places = async {
        let own = own.acquire_owned().await.ok()?;
        let all = Arc::clone(&queries.all).acquire_owned().await.ok()?;
        let read = Arc::clone(&api.reads).acquire_owned().await.ok()?;
        Some([own, all, read])
    };
    let Ok(Some(places)) = tokio::time::timeout(READ_WAIT, places).await else {
        queries.refused.increment();
        return Ok(Refusal::busy().into_response(&headers));
    };
    let abandoned = Arc::new(AtomicBool::new(false));
    let _guard = Abandon(Arc::clone(&abandoned));
    let (reader, cooperative) = (api.reader.clone(), scope.cooperative()?);
    let (answered, refused) = (queries.answered.clone(), queries.refused.clone());
    let samples = queries.samples.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _until_done = places;
        let began = Instant::now();
        let time_max = params
            .duration("timeout")
            .ok()
            .flatten()
            .map_or(TIME_MAX, |ms| {
                TIME_MAX.min(Duration::from_millis(ms.unsigned_abs()))
            });
        let expired = || abandoned.load(Ordering::Relaxed) || began.elapsed() >= time_max;
        let source = ArchiveSource {
            reader: &reader,
            cooperative: &cooperative,
        };
        let answer = params
            .check()
            .and_then(|()| work(&params, &source, &expired));
        let answer = answer.and_then(|answer| {
            samples.add(answer.samples);
            answer.write(&headers)
        });
        match answer {
            Ok(response) => {
                answered.increment();
                response
            }
            Err(error) => {
                refused.increment();
                Refusal::of(error).into_response(&headers)
            }
        }
    });
    done.await
        .map_err(|_| ApiError::Unavailable("the query's thread failed".into()))
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
