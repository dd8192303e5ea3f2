//! Server-sent events of one cooperative.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::answer::ApiError;
use super::scope::Scope;
use crate::archive::live::LiveMessage;
use crate::metrics::Counter;

/// How often a silent stream says that it lives: below the idle time-outs of mobile networks and proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Listener {
    messages: broadcast::Receiver<Arc<LiveMessage>>,
    slow: Counter,
    _place: OwnedSemaphorePermit,
}

/// `GET /api/v1/cooperatives/{cooperative}/live`
pub(super) async fn live(scope: Scope) -> Result<Response, ApiError> {
    let place = Arc::clone(&scope.api.streams)
        .try_acquire_owned()
        .map_err(|_| ApiError::Unavailable("too many live streams".into()))?;
    let listener = Listener {
        messages: scope.api.live.subscribe(&scope.cooperative()?),
        slow: scope.api.slow.clone(),
        _place: place,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    let mut response = Sse::new(events(listener))
        .keep_alive(keep_alive)
        .into_response();
    // Proxies must pass each event on at once.
    let no = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", no);
    Ok(response)
}

/// Ends when the client is too slow: it reads the archive again when it comes back.
fn events(listener: Listener) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(listener, |mut listener| async move {
        match listener.messages.recv().await {
            Ok(message) => {
                let event = Event::default()
                    .event(message.kind.as_str())
                    .data(message.data.to_string());
                Some((Ok(event), listener))
            }
            Err(RecvError::Lagged(missed)) => {
                listener.slow.increment();
                tracing::info!(missed, "live stream ended: its client is too slow");
                None
            }
            Err(RecvError::Closed) => None,
        }
    })
}
