//! Login: a token becomes a cookie that scripts can't read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, ApiError, json_answer};
use super::scope::{COOKIE_NAME, Grants};
use super::{Api, CooperativeAccess};

/// How long a browser keeps the cookie: a season's worth of field visits without typing.
const COOKIE_SECONDS: u32 = 90 * 24 * 3600;

#[derive(Debug, Deserialize)]
pub(super) struct Login {
    token: String,
}

/// `POST /api/v1/login`
pub(super) async fn login(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Result<Json<Login>, JsonRejection>,
) -> Answer {
    let Json(Login { token }) =
        body.map_err(|_| ApiError::Bad("the body must be {\"token\": \"…\"}".to_owned()))?;
    let grants = Some(&token)
        .filter(|token| token.bytes().all(fits_a_cookie))
        .and_then(|token| Grants::of_token(&api, token));
    let Some(grants) = grants else {
        api.refused.increment();
        tracing::info!("login refused");
        return Err(ApiError::Unauthorised);
    };
    let cooperatives: Vec<Value> = grants.cooperatives(&api).map(listed).collect();
    let mut response = json_answer(&headers, &json!({ "cooperatives": cooperatives }))?;
    set_cookie(&headers, response.headers_mut(), &token, COOKIE_SECONDS)?;
    Ok(response)
}

/// `POST /api/v1/logout`
pub(super) async fn logout(headers: HeaderMap) -> Answer {
    let mut response = json_answer(&headers, &json!({}))?;
    set_cookie(&headers, response.headers_mut(), "", 0)?;
    Ok(response)
}

/// A cooperative as lists show it.
pub(super) fn listed(cooperative: &CooperativeAccess) -> Value {
    json!({ "id": cooperative.id, "name": cooperative.name })
}

fn set_cookie(
    request: &HeaderMap,
    response: &mut HeaderMap,
    token: &str,
    seconds: u32,
) -> Result<(), ApiError> {
    // Behind a TLS proxy the cookie must never travel without TLS; without one it must travel at all.
    let tls = request
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto == "https");
    let secure = if tls { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"
    );
    let value = HeaderValue::from_str(&cookie)
        .map_err(|_| ApiError::Bad("the token does not fit a cookie".to_owned()))?;
    response.insert(SET_COOKIE, value);
    Ok(())
}

/// `cookie-octet` of RFC 6265.
fn fits_a_cookie(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}
