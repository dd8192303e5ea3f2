//! Commands and orders for a gateway.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::{JsonRejection, QueryRejection, StringRejection};
use axum::http::{HeaderMap, StatusCode};
use furrow_ingest_core::CommandRefusal;
use furrow_wire::{CommandOutcome, MAX_ORDERS_BYTES, Wanted};
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, ApiError, json_answer};
use super::api::read;
use super::scope::Machine;
use crate::remote::{CommandError, OrdersError};

/// `?version=N`, or `?after=N`.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    version: Option<u64>,
    after: Option<u64>,
}

/// `GET …/gateways/{gateway}/commands`
pub(super) async fn commands(machine: Machine, headers: HeaderMap) -> Answer {
    let Machine { scope, key, by: _ } = machine;
    let all = read(&scope.api, move |reader| reader.commands(&key)).await?;
    json_answer(&headers, &all)
}

/// `POST …/gateways/{gateway}/commands`
pub(super) async fn command(
    machine: Machine,
    headers: HeaderMap,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Answer {
    let Json(wanted) = body.map_err(|error| ApiError::Bad(error.body_text()))?;
    let Machine { scope, key, by } = machine;
    let result = scope.api.desk.command(&key, wanted, &by).await;
    let result = result.map_err(|error| command_error(&error))?;
    let (id, outcome) = (result.id.to_string(), result.outcome);
    match outcome {
        CommandOutcome::Accepted => {
            let body = json!({ "id": id, "outcome": outcome, "run": result.run });
            json_answer(&headers, &body)
        }
        CommandOutcome::Refused | CommandOutcome::Stale => {
            let known = Some(result.text).filter(|text| !text.is_empty());
            let text = known.unwrap_or_else(|| match outcome {
                CommandOutcome::Stale => "it came too late, and was not done".to_owned(),
                CommandOutcome::Accepted | CommandOutcome::Refused => {
                    "the gateway refuses it".to_owned()
                }
            });
            let body = json!({ "error": text, "id": id, "outcome": outcome });
            Err(ApiError::Conflict(body))
        }
    }
}

/// `GET …/gateways/{gateway}/orders?version=N`
pub(super) async fn orders(
    machine: Machine,
    query: Result<Query<Version>, QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let wanted = version_of(query)?.version;
    let Machine { scope, key, by: _ } = machine;
    let (_, seen) = scope.api.desk.versions(&key);
    let row = read(&scope.api, move |reader| reader.orders(&key, wanted)).await?;
    let Some(row) = row else {
        return match wanted {
            Some(_) => Err(ApiError::NotFound("version of orders")),
            // What `after` is to be for the first ones.
            None => json_answer(&headers, &json!({ "version": 0 })),
        };
    };
    let outcome = row.outcome.as_deref().unwrap_or("pending");
    let body = json!({
        "version": row.version,
        "issued_by": row.issued_by,
        "issued_ms": row.issued_ms,
        "text": row.text,
        "outcome": outcome,
        "why": row.why,
        "outcome_ms": row.outcome_ms,
        "seen_by_gateway": row.version <= seen,
    });
    json_answer(&headers, &body)
}

/// `PUT …/gateways/{gateway}/orders`: the body is TOML.
pub(super) async fn put_orders(
    machine: Machine,
    query: Result<Query<Version>, QueryRejection>,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Answer {
    let after = after_of(&version_of(query)?, &headers)?;
    let text = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::Bad(format!("orders are longer than {MAX_ORDERS_BYTES} bytes"))
        }
        _ => ApiError::Bad(error.body_text()),
    })?;
    if let Err(error) = toml::from_str::<toml::Table>(&text) {
        return Err(ApiError::Bad(syntax_text(&text, &error)));
    }
    let Machine { scope, key, by } = machine;
    let version = scope.api.desk.put(&key, text, &by, after).await;
    let version = version.map_err(|error| orders_error(&error))?;
    json_answer(&headers, &json!({ "version": version }))
}

fn version_of(query: Result<Query<Version>, QueryRejection>) -> Result<Version, ApiError> {
    let query = query.map(|Query(version)| version);
    query.map_err(|_| ApiError::Bad("version and after must be whole numbers".to_owned()))
}

/// The version that the new one is to follow, by `?after=N` or `If-Match: "N"`.
fn after_of(query: &Version, headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    if query.after.is_some() {
        return Ok(query.after);
    }
    let Some(tag) = headers.get(axum::http::header::IF_MATCH) else {
        return Ok(None);
    };
    let number = tag.to_str().ok().map(|tag| tag.trim_matches('"').parse());
    match number {
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) | None => Err(ApiError::Bad("if-match must be a version".to_owned())),
    }
}

/// Where a text is not TOML, and why.
fn syntax_text(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    let message = error.message().trim().replace('\n', ", ");
    format!("line {line}, column {column}: {message}")
}

fn command_error(error: &CommandError) -> ApiError {
    let text = error.to_string();
    match error {
        CommandError::Refusal(CommandRefusal::Rate { wait_ms }) => ApiError::TooMany {
            text,
            wait_s: wait_ms.div_ceil(1_000),
        },
        CommandError::Refusal(CommandRefusal::Busy | CommandRefusal::Unheard)
        | CommandError::Offline
        | CommandError::NoBroker
        | CommandError::NotStored => ApiError::Unavailable(text.into()),
        CommandError::NoAnswer(id) => {
            let id = id.to_string();
            ApiError::NoAnswer(json!({ "error": text, "id": id, "outcome": "unknown" }))
        }
    }
}

fn orders_error(error: &OrdersError) -> ApiError {
    let text = error.to_string();
    match error {
        OrdersError::Lost(lost) => ApiError::Conflict(json!({ "error": text, "version": lost.0 })),
        OrdersError::Rate { wait_ms } => ApiError::TooMany {
            text,
            wait_s: wait_ms.div_ceil(1_000),
        },
        OrdersError::Busy | OrdersError::NotStored => ApiError::Unavailable(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use furrow_ingest_core::LostUpdate;
    use furrow_wire::CommandId;

    use super::*;

    #[test]
    fn each_failure_has_its_status() {
        let rate = CommandRefusal::Rate { wait_ms: 1_001 };
        for (error, status) in [
            (CommandError::Refusal(rate), 429),
            (CommandError::Refusal(CommandRefusal::Busy), 503),
            (CommandError::Refusal(CommandRefusal::Unheard), 503),
            (CommandError::Offline, 503),
            (CommandError::NoBroker, 503),
            (CommandError::NotStored, 503),
            (CommandError::NoAnswer(CommandId([7; 16])), 504),
        ] {
            let response = command_error(&error).into_response();
            assert_eq!(response.status().as_u16(), status, "{error}");
            let wait = response.headers().get("retry-after");
            assert_eq!(wait.is_some_and(|wait| wait == "2"), status == 429);
        }
        for (error, status) in [
            (OrdersError::Lost(LostUpdate(3)), 409),
            (OrdersError::Rate { wait_ms: 1 }, 429),
            (OrdersError::Busy, 503),
            (OrdersError::NotStored, 503),
        ] {
            let response = orders_error(&error).into_response();
            assert_eq!(response.status().as_u16(), status, "{error}");
        }
    }

    #[test]
    fn the_version_to_follow_is_told_in_two_ways() {
        let of = |after: Option<u64>, tag: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(tag) = tag {
                let value = axum::http::HeaderValue::from_static(tag);
                headers.insert(axum::http::header::IF_MATCH, value);
            }
            let query = Version {
                version: None,
                after,
            };
            after_of(&query, &headers).ok()
        };
        assert_eq!(of(None, None), Some(None));
        assert_eq!(of(Some(3), Some("9")), Some(Some(3)));
        assert_eq!(of(None, Some("\"4\"")), Some(Some(4)));
        assert_eq!(of(None, Some("4")), Some(Some(4)));
        assert_eq!(of(None, Some("*")), None);
    }
}
