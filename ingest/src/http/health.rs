//! For machines that watch this one. Nothing here belongs to a cooperative, so no token is asked.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// `GET /readyz`: the archive takes writes and the broker link is up.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let (archive, broker) = (api.reader.writable(), api.fleet.broker_up());
    let status = if archive && broker {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({ "archive": archive, "broker": broker }).to_string();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
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
