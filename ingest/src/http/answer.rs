//! JSON answers, errors among them, gzipped where the client takes it.

use std::io::Write;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::json;

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
    /// Too much at once, or the archive can't be read.
    Unavailable(&'static str),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            ApiError::Unauthorised => (StatusCode::UNAUTHORIZED, "a valid token is needed".into()),
            ApiError::NotFound(what) => (StatusCode::NOT_FOUND, format!("no such {what}")),
            ApiError::Bad(text) => (StatusCode::BAD_REQUEST, text),
            ApiError::Unavailable(text) => (StatusCode::SERVICE_UNAVAILABLE, text.to_owned()),
        };
        let body = json!({ "error": text }).to_string();
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-store"),
        ];
        (status, headers, body).into_response()
    }
}

impl From<ArchiveError> for ApiError {
    fn from(error: ArchiveError) -> Self {
        tracing::error!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "archive can't be read"
        );
        ApiError::Unavailable("the archive can't be read")
    }
}

/// What a handler gives.
pub(super) type Answer = Result<Response, ApiError>;

/// A value as JSON that nobody may keep.
pub(super) fn json_answer(request: &HeaderMap, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value)
        .map_err(|_| ApiError::Unavailable("the answer can't be written"))?;
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
