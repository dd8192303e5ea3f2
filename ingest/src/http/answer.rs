//! JSON answers, errors among them, gzipped where the client takes it.

use std::borrow::Cow;
use std::io::Write;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use crate::archive::ArchiveError;

/// Below this many bytes compression saves less than a packet.
const GZIP_MIN_BYTES: usize = 1024;

/// Why a request gets no data.
#[derive(Debug)]
pub(super) enum ApiError {
    /// No token, or an unknown one.
    Unauthorised,
    /// It does not exist, or not for this token.
    NotFound(&'static str),
    /// The request makes no sense.
    Bad(String),
    /// Another site's page asked with this site's cookie.
    Forbidden(&'static str),
    /// Somebody else was faster, or the gateway does not do it.
    Conflict(Value),
    /// Too many of these; after so many seconds there may be another.
    TooMany {
        /// For people.
        text: String,
        /// Seconds.
        wait_s: u64,
    },
    /// Sent, and not answered in time.
    NoAnswer(Value),
    /// Too much at once, or the archive can't be read.
    Unavailable(Cow<'static, str>),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = |text: String| json!({ "error": text });
        let mut wait_s = None;
        let (status, body) = match self {
            ApiError::Unauthorised => (
                StatusCode::UNAUTHORIZED,
                error("a valid token is needed".to_owned()),
            ),
            ApiError::NotFound(what) => (StatusCode::NOT_FOUND, error(format!("no such {what}"))),
            ApiError::Bad(text) => (StatusCode::BAD_REQUEST, error(text)),
            ApiError::Forbidden(text) => (StatusCode::FORBIDDEN, error(text.to_owned())),
            ApiError::Conflict(body) => (StatusCode::CONFLICT, body),
            ApiError::TooMany { text, wait_s: s } => {
                wait_s = Some(s);
                (StatusCode::TOO_MANY_REQUESTS, error(text))
            }
            ApiError::NoAnswer(body) => (StatusCode::GATEWAY_TIMEOUT, body),
            ApiError::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, error(text.into())),
        };
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-store"),
        ];
        let mut response = (status, headers, body.to_string()).into_response();
        if let Some(wait_s) = wait_s {
            let value = HeaderValue::from(wait_s);
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }
}

impl From<ArchiveError> for ApiError {
    fn from(error: ArchiveError) -> Self {
        if let ArchiveError::OutOfService(_) = error {
            // Said in the log when it was found, and in a figure since.
            return ApiError::Unavailable(error.to_string().into());
        }
        tracing::error!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "archive can't be read"
        );
        ApiError::Unavailable("the archive can't be read".into())
    }
}

/// What a handler gives.
pub(super) type Answer = Result<Response, ApiError>;

/// A value as JSON that nobody may keep.
pub(super) fn json_answer(request: &HeaderMap, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value)
        .map_err(|_| ApiError::Unavailable("the answer can't be written".into()))?;
    let mut response = encoded(request, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A body, gzipped if that helps and the client takes it.
pub(super) fn encoded(request: &HeaderMap, body: Vec<u8>) -> Response {
    let takes_gzip = request
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value
                .split(',')
                .any(|coding| coding.trim().starts_with("gzip"))
        });
    let packed = (takes_gzip && body.len() >= GZIP_MIN_BYTES)
        .then(|| gzip(&body))
        .flatten();
    let gzipped = packed.is_some();
    let mut response = Response::new(Body::from(packed.unwrap_or(body)));
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("accept-encoding"));
    if gzipped {
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}
