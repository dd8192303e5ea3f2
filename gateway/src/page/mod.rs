//! The page on the gateway itself, for people on site: works without the internet.
//!
//! Owns: HTTP, the PIN and sessions. It knows nothing of watering: what people ask goes to the event
//! loop as any question at the control socket does, and is answered there.
//!
//! Plain HTTP: for the local network or the gateway's own hotspot, not for the internet.

mod login;
mod places;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use furrow_irrigation::Origin;
use furrow_wire::ZoneId;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::login::{Attempt, Logins};
use self::places::Places;
use crate::config::PageSettings;
use crate::control::server::Question;
use crate::control::{Answer, Ask};

/// Longest request, in bytes: a PIN or the name of a zone.
const BODY_MAX: usize = 1024;
/// Lines of one answer that wait: everything at a glance and all channels.
const LINES: usize = 64;
/// The event loop answers within this, or something is very wrong.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Name of the cookie.
const COOKIE: &str = "furrow";
/// A request that changes something carries this header: no other site's page can send it.
const HEADER: &str = "x-furrow";

/// The listening page; ends when dropped.
#[derive(Debug)]
pub struct Page {
    task: JoinHandle<()>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    questions: mpsc::Sender<Question>,
    logins: Mutex<Logins>,
    started: Instant,
}

type Site = Arc<Shared>;

impl Page {
    /// Listens.
    ///
    /// # Errors
    /// When the address can't be listened at.
    pub async fn listen(
        settings: &PageSettings,
        questions: mpsc::Sender<Question>,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            questions,
            logins: Mutex::new(Logins::new(settings.pin.reveal())),
            started: Instant::now(),
        });
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(Places::new(listener), router(shared)).await {
                tracing::error!(%error, "the page ended");
            }
        });
        Ok(Page { task, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", INDEX)))
        .route(
            "/page.js",
            get(async || file("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route(
            "/page.css",
            get(async || file("text/css; charset=utf-8", STYLE)),
        )
        .route("/login", post(log_in))
        .route("/now", get(now))
        .route("/do", post(act))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(site)
}

const INDEX: &str = include_str!("../../page/index.html");
const SCRIPT: &str = include_str!("../../page/page.js");
const STYLE: &str = include_str!("../../page/page.css");

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'self'; img-src data:; frame-ancestors 'none'"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, text)
}

#[derive(Debug, Deserialize)]
struct Pin {
    pin: String,
}

async fn log_in(State(site): State<Site>, headers: HeaderMap, Json(body): Json<Pin>) -> Response {
    if !headers.contains_key(HEADER) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let attempt = {
        let mut logins = site.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let token: u128 = rand::random();
        logins.handle_pin(&body.pin, token, site.started.elapsed())
    };
    match attempt {
        Attempt::Right { token } => {
            let cookie = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/");
            ([(header::SET_COOKIE, cookie)], StatusCode::NO_CONTENT).into_response()
        }
        Attempt::Wrong => {
            tracing::warn!("somebody entered a wrong PIN at the page");
            (StatusCode::UNAUTHORIZED, Json(json!({ "error": "pin" }))).into_response()
        }
        Attempt::Wait { left } => {
            let seconds = left.as_secs() + 1;
            let body = Json(json!({ "error": "wait", "seconds": seconds }));
            (StatusCode::TOO_MANY_REQUESTS, body).into_response()
        }
    }
}

fn is_logged_in(site: &Shared, headers: &HeaderMap) -> bool {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut tokens = cookies
        .filter_map(|cookie| cookie.to_str().ok())
        .flat_map(|cookie| cookie.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    let mut logins = site.logins.lock().unwrap_or_else(PoisonError::into_inner);
    let now = site.started.elapsed();
    tokens.any(|token| logins.is_known(token, now))
}

/// Everything that the page shows.
async fn now(State(site): State<Site>, headers: HeaderMap) -> Response {
    if !is_logged_in(&site, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let (mut samples, mut report, mut events) = (Vec::new(), None, Vec::new());
    for question in [Ask::Watch, Ask::Recent] {
        let Some(answers) = ask(&site, question).await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        for answer in answers {
            match answer {
                Answer::Samples { samples: more } => samples.extend(more),
                Answer::Report { report: whole } => report = Some(whole),
                Answer::Recent { events: recent } => events = recent,
                Answer::Accepted { .. }
                | Answer::Done { .. }
                | Answer::Opened
                | Answer::Progress { .. }
                | Answer::Closed { .. }
                | Answer::Stopping { .. }
                | Answer::Readings { .. }
                | Answer::Survey { .. }
                | Answer::Calibrated { .. }
                | Answer::Refused { .. } => {}
            }
        }
    }
    Json(json!({ "report": report, "samples": samples, "events": events })).into_response()
}

/// What people can do.
#[derive(Debug, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
enum Act {
    Water { zone: ZoneId, seconds: u32 },
    Stop { zone: ZoneId },
    Hold { seconds: u32 },
    Release,
    Reset,
    Silence { seconds: u32 },
}

async fn act(State(site): State<Site>, headers: HeaderMap, Json(act): Json<Act>) -> Response {
    if !headers.contains_key(HEADER) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if !is_logged_in(&site, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let for_ms = |seconds: u32| u64::from(seconds) * 1_000;
    let question = match act {
        Act::Water { zone, seconds } => Ask::Water {
            zone,
            for_ms: for_ms(seconds),
        },
        Act::Stop { zone } => Ask::Stop { zone },
        Act::Hold { seconds } => Ask::Hold {
            for_ms: for_ms(seconds),
        },
        Act::Release => Ask::Release,
        Act::Reset => Ask::Reset,
        Act::Silence { seconds } => Ask::Silence {
            for_ms: for_ms(seconds),
        },
    };
    tracing::info!(?question, "asked at the page");
    // A run goes on when its first answer has come.
    match first(&site, question).await {
        Some(Answer::Refused { reason }) => {
            (StatusCode::CONFLICT, Json(json!({ "error": reason }))).into_response()
        }
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn send(site: &Shared, ask: Ask) -> Option<mpsc::Receiver<Answer>> {
    let (reply, answers) = mpsc::channel(LINES);
    let origin = Origin::Page;
    let question = Question { ask, origin, reply };
    site.questions.send(question).await.ok()?;
    Some(answers)
}

async fn first(site: &Shared, question: Ask) -> Option<Answer> {
    let mut answers = send(site, question).await?;
    tokio::time::timeout(ANSWER_TIMEOUT, answers.recv())
        .await
        .ok()?
}

async fn ask(site: &Shared, question: Ask) -> Option<Vec<Answer>> {
    let mut answers = send(site, question).await?;
    let all = async {
        let mut all = Vec::new();
        while let Some(answer) = answers.recv().await {
            all.push(answer);
        }
        all
    };
    tokio::time::timeout(ANSWER_TIMEOUT, all).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page weighs, uncompressed, with all its files.
    const BYTES_MAX: usize = 30 * 1024;

    #[test]
    fn the_page_is_light() {
        let bytes = INDEX.len() + SCRIPT.len() + STYLE.len();
        assert!(bytes <= BYTES_MAX, "{bytes}");
    }
}
