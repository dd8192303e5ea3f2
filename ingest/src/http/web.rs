//! The web app, embedded in the program. `build.rs` makes sure that its folder exists.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::answer::encoded;

const INDEX: &str = "index.html";
/// Files in this folder bear a hash of their content in their name.
const HASHED_FOLDER: &str = "assets/";

#[derive(Embed)]
#[folder = "web/dist"]
struct Files;

/// Any path that is nothing else. A path without a file ending is a view of the app.
pub(super) async fn file(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let wanted = uri.path().trim_start_matches('/');
    let is_view = !wanted
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains('.'));
    let name = if wanted.is_empty() || is_view {
        INDEX
    } else {
        wanted
    };
    match Files::get(name) {
        Some(file) => answer(&headers, name, file),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answer(request: &HeaderMap, name: &str, file: EmbeddedFile) -> Response {
    let hash: String = file
        .metadata
        .sha256_hash()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tag = format!("\"{hash}\"");
    let known = request
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| known.contains(&tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        encoded(request, file.data.into_owned())
    };
    let keep = if name.starts_with(HASHED_FOLDER) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(name)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
