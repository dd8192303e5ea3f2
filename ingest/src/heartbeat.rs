//! Tells somebody outside at regular times that ingest is well, so that they notice when it is not, or is gone.
//!
//! Only silence carries news: a beat goes out only while every part does its work ([`Health::is_well`]).
//! One request at a time, each with a time-out, so nothing piles up.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::HeartbeatSettings;
use crate::health::Health;
use crate::log::writer::unix_ms;
use crate::metrics::{Counter, Gauge, Metrics};

/// How long the receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait until ingest is looked at again after it was found not to be well, or the receiver failed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// A receiver and how it is reached.
#[derive(Debug)]
pub struct Heartbeat {
    url: String,
    every: Duration,
    client: reqwest::Client,
}

impl Heartbeat {
    /// Makes the client.
    ///
    /// # Errors
    /// When the system has no certificates to trust.
    pub fn new(settings: &HeartbeatSettings) -> anyhow::Result<Self> {
        crate::tls::install_provider();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("heartbeat's client can't be made")?;
        Ok(Self {
            url: settings.url.clone(),
            every: settings.every,
            client,
        })
    }
}

struct Figures {
    sent: Counter,
    failed: Counter,
    withheld: Counter,
    last_success: Gauge,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        let beats = |outcome| {
            let help = "Heartbeats, by what became of them; withheld: ingest was not well.";
            metrics.counter("furrow_heartbeats_total", help, &[("outcome", outcome)])
        };
        Self {
            sent: beats("sent"),
            failed: beats("failed"),
            withheld: beats("withheld"),
            last_success: metrics.gauge(
                "furrow_heartbeat_last_success_timestamp_seconds",
                "When the receiver last took a heartbeat, in Unix seconds; 0: never.",
                &[],
            ),
        }
    }
}

/// Beats until `shutdown` completes.
pub async fn run(
    heartbeat: Heartbeat,
    health: Health,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send,
) {
    let figures = Figures::new(&metrics);
    let mut last = None;
    tokio::pin!(shutdown);
    loop {
        let wait = tokio::select! {
            () = &mut shutdown => return,
            wait = beat(&heartbeat, &health, &figures, &mut last) => wait,
        };
        tokio::select! {
            () = &mut shutdown => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// What became of a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Sent,
    Failed,
    Withheld,
}

/// One beat, or none; says how long to wait for the next. A change of what becomes of them is logged.
async fn beat(
    heartbeat: &Heartbeat,
    health: &Health,
    figures: &Figures,
    last: &mut Option<Outcome>,
) -> Duration {
    let outcome = if health.is_well() {
        send(heartbeat).await
    } else {
        Outcome::Withheld
    };
    let has_changed = last.replace(outcome) != Some(outcome);
    match outcome {
        Outcome::Sent => {
            figures.sent.increment();
            let now_s = u64::try_from(unix_ms() / 1000).unwrap_or(0);
            figures.last_success.set(now_s);
            if has_changed {
                tracing::info!("heartbeat goes out");
            }
            return heartbeat.every;
        }
        Outcome::Failed => figures.failed.increment(),
        Outcome::Withheld => {
            figures.withheld.increment();
            if has_changed {
                let (parts, dead) = (health.json(), health.dead());
                tracing::warn!(%parts, ?dead, "heartbeat is withheld");
            }
        }
    }
    heartbeat.every.min(LOOK_AGAIN)
}

async fn send(heartbeat: &Heartbeat) -> Outcome {
    let answer = heartbeat.client.get(&heartbeat.url).send().await;
    match answer.and_then(reqwest::Response::error_for_status) {
        Ok(_) => Outcome::Sent,
        Err(error) => {
            // The address may hold a secret: it does not belong in a log.
            let error = format!("{:#}", anyhow::Error::from(error.without_url()));
            tracing::warn!(error, "heartbeat was not taken");
            Outcome::Failed
        }
    }
}
