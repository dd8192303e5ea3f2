//! For machines that watch this one. Nothing here belongs to a cooperative, so no token is asked.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;

/// `GET /healthz`: nothing has ended that must not. What fails here comes back by a restart only.
pub(super) async fn healthz(State(api): State<Arc<Api>>) -> Response {
    let dead = api.health.dead();
    if dead.is_empty() {
        return "ok".into_response();
    }
    let body = json!({ "dead": dead }).to_string();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// `GET /readyz`: archive, broker link, log and the archive's lag, each with the reason where it is not well.
/// How many cooperatives are out of service since their file is damaged is said, and does not count: the others are
/// served. Who they are is in the log, and in the answers that they get.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let status = if api.health.is_well() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = api.health.json();
    let out = api.reader.out_of_service();
    if let Some(body) = body.as_object_mut().filter(|_| out > 0) {
        body.insert("out_of_service".to_owned(), out.into());
    }
    let body = body.to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    api.health.refresh();
    let gauge = |name, help, value| api.metrics.gauge(name, help, &[]).set(value);
    gauge(
        "furrow_gateways_online",
        "Gateways that are online.",
        api.fleet.online(),
    );
    gauge(
        "furrow_broker_up",
        "Whether the broker link is up.",
        api.fleet.broker_up().into(),
    );
    gauge(
        "furrow_archive_writable",
        "Whether the archive's last transaction succeeded.",
        api.reader.writable().into(),
    );
    let type_ = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, type_)], api.metrics.render()).into_response()
}
