//! Answers in Prometheus' shapes, none longer than [`BYTES_MAX`].

use std::io::Write;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::super::answer::encoded;
use crate::promql::{Frame, Labels, QueryError, Sample, Value};

/// Longest answer, in bytes before compression: 40 series of the most points.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a request is answered with.
#[derive(Debug)]
pub(super) struct Answer {
    data: Data,
    /// How many were read for it.
    pub(super) samples: u64,
}

/// What a query came to.
#[derive(Debug)]
pub(super) enum Shape {
    /// At one time, in Unix milliseconds.
    Instant(Value, i64),
    /// At the times of a frame.
    Range(Value, Frame),
    /// Samples as they are.
    Samples(Vec<(Labels, Vec<Sample>)>),
}

/// Why there is no answer, for the client.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    text: String,
}

#[derive(Debug)]
enum Data {
    Query(Shape),
    /// JSON, or why it could not be written.
    List(Result<serde_json::Value, serde_json::Error>),
}

impl Answer {
    pub(super) fn query(shape: Shape, samples: u64) -> Self {
        let data = Data::Query(shape);
        Self { data, samples }
    }

    pub(super) fn list(data: &impl Serialize) -> Self {
        let data = Data::List(serde_json::to_value(data));
        Self { data, samples: 0 }
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it is too long.
    pub(super) fn write(self, headers: &HeaderMap) -> Result<Response, QueryError> {
        let mut body = Limited(Vec::new());
        let written = match self.data {
            Data::Query(shape) => body.write(&shape),
            Data::List(list) => list.and_then(|list| body.write(&list)),
        };
        match written {
            Ok(()) => Ok(finished(headers, StatusCode::OK, body.0)),
            Err(error) if error.is_io() => Err(QueryError::TooMuch {
                what: "give an answer of too many bytes",
                limit: BYTES_MAX as u64,
            }),
            Err(error) => Err(QueryError::Source(Box::new(error))),
        }
    }
}

impl Refusal {
    /// All places are taken.
    pub(super) fn busy() -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            kind: "unavailable",
            text: "too many queries at once".to_owned(),
        }
    }

    pub(super) fn of(error: QueryError) -> Self {
        let (status, kind) = match &error {
            QueryError::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            QueryError::Unsupported(_) | QueryError::Execution(_) | QueryError::TooMuch { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "execution")
            }
            QueryError::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            QueryError::Source(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let text = error.to_string();
        if let QueryError::Source(_) = &error {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(error, "query can't be answered");
        }
        Self { status, kind, text }
    }

    pub(super) fn into_response(self, headers: &HeaderMap) -> Response {
        let body = json!({ "status": "error", "errorType": self.kind, "error": self.text });
        let mut response = finished(headers, self.status, body.to_string().into_bytes());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

fn finished(request: &HeaderMap, status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = encoded(request, body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A body that does not grow beyond [`BYTES_MAX`].
struct Limited(Vec<u8>);

impl Limited {
    fn write(&mut self, data: &impl Serialize) -> Result<(), serde_json::Error> {
        #[derive(Serialize)]
        struct Envelope<'a, T> {
            status: &'static str,
            data: &'a T,
        }
        let status = "success";
        serde_json::to_writer(self, &Envelope { status, data })
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > BYTES_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Shape::Instant(Value::Scalar(values), time_ms) => {
                let value = values.first().copied().unwrap_or(f64::NAN);
                result(serializer, "scalar", &Pair(*time_ms, value))
            }
            Shape::Instant(Value::Vector(rows), time_ms) => {
                let rows = rows.iter().filter_map(|row| {
                    let value = row.points.first().copied().flatten()?;
                    let pair = Pair(*time_ms, value);
                    Some(SeriesBody::Value(&row.labels, pair))
                });
                result(serializer, "vector", &rows.collect::<Vec<_>>())
            }
            Shape::Range(Value::Scalar(values), frame) => {
                let points: Vec<_> = values.iter().copied().map(Some).collect();
                let labels = Labels::default();
                let row = SeriesBody::Steps(&labels, &points, frame);
                result(serializer, "matrix", &[row])
            }
            Shape::Range(Value::Vector(rows), frame) => {
                let rows = rows.iter();
                let rows = rows.map(|row| SeriesBody::Steps(&row.labels, &row.points, frame));
                result(serializer, "matrix", &rows.collect::<Vec<_>>())
            }
            Shape::Samples(rows) => {
                let rows = rows.iter();
                let rows = rows.map(|(labels, samples)| SeriesBody::Samples(labels, samples));
                result(serializer, "matrix", &rows.collect::<Vec<_>>())
            }
        }
    }
}

fn result<S: Serializer>(
    serializer: S,
    kind: &'static str,
    result: &impl Serialize,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("resultType", kind)?;
    map.serialize_entry("result", result)?;
    map.end()
}

/// One series of a result.
enum SeriesBody<'a> {
    Value(&'a Labels, Pair),
    Steps(&'a Labels, &'a [Option<f64>], &'a Frame),
    Samples(&'a Labels, &'a [Sample]),
}

impl Serialize for SeriesBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            SeriesBody::Value(labels, pair) => {
                map.serialize_entry("metric", labels)?;
                map.serialize_entry("value", pair)?;
            }
            SeriesBody::Steps(labels, points, frame) => {
                map.serialize_entry("metric", labels)?;
                map.serialize_entry("values", &Steps(points, frame))?;
            }
            SeriesBody::Samples(labels, samples) => {
                map.serialize_entry("metric", labels)?;
                let pairs = samples
                    .iter()
                    .map(|(time_ms, value)| Pair(*time_ms, *value));
                map.serialize_entry("values", &pairs.collect::<Vec<_>>())?;
            }
        }
        map.end()
    }
}

/// Steps that have a point.
struct Steps<'a>(&'a [Option<f64>], &'a Frame);

impl Serialize for Steps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        for (point, time_ms) in self.0.iter().zip(self.1.times()) {
            if let Some(value) = point {
                seq.serialize_element(&Pair(time_ms, *value))?;
            }
        }
        seq.end()
    }
}

/// Unix milliseconds and a value: a number of seconds and a text, since JSON has no infinity.
struct Pair(i64, f64);

impl Serialize for Pair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Pair(time_ms, value) = self;
        let text = if value.is_nan() {
            "NaN".to_owned()
        } else if value.is_infinite() {
            if *value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
        } else {
            value.to_string()
        };
        if time_ms % 1000 == 0 {
            (time_ms / 1000, text).serialize(serializer)
        } else {
            (promql_seconds(*time_ms), text).serialize(serializer)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds are below 2^53")]
fn promql_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
