//! Sends what waits in the outboxes to one URL, with bounded retries.
//!
//! Each message is a POST of JSON. It is marked in the outbox after the receiver answered 2xx, so a message may
//! be sent twice when the process dies between the two; its `id` and `state` tell.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use furrow_wire::CooperativeId;
use tokio::time::Instant;

use crate::archive::reader::{MessageFate, OutboxMessage};
use crate::archive::{ArchiveError, ArchiveReader};
use crate::config::WebhookSettings;
use crate::metrics::{Counter, Metrics};

/// How long a receiver may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of one message before it is given up: about two hours and a half at the usual pace.
const ATTEMPTS_MAX: u32 = 40;
/// Messages taken from one outbox at a time, so that no cooperative holds up the others.
const BATCH: u32 = 16;

/// A receiver and how it is reached.
#[derive(Debug)]
pub struct Webhook {
    url: String,
    client: reqwest::Client,
}

impl Webhook {
    /// Makes the client.
    ///
    /// # Errors
    /// When the certificates to trust are none, or the system has none.
    pub fn new(settings: &WebhookSettings) -> anyhow::Result<Self> {
        crate::tls::install_provider();
        let mut client = reqwest::Client::builder().timeout(SEND_TIMEOUT);
        if let Some(pem) = &settings.ca_pem {
            let trusted = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                .context("webhook.ca_file is not in PEM")?;
            anyhow::ensure!(!trusted.is_empty(), "webhook.ca_file holds no certificate");
            client = client.tls_certs_only(trusted);
        }
        Ok(Self {
            url: settings.url.clone(),
            client: client.build().context("webhook's client can't be made")?,
        })
    }
}

/// Sends the outbox of all cooperatives to the webhook until `shutdown` completes.
pub async fn run_webhook(
    webhook: Webhook,
    archive: ArchiveReader,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send,
) {
    run_at(Pace::default(), webhook, archive, metrics, shutdown).await;
}

async fn run_at(
    pace: Pace,
    webhook: Webhook,
    archive: ArchiveReader,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send,
) {
    let mut sender = Sender {
        pace,
        webhook,
        archive,
        figures: Figures::new(&metrics),
        waits: BTreeMap::new(),
    };
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            () = tokio::time::sleep(pace.look_every) => {}
        }
        tokio::select! {
            () = &mut shutdown => return,
            () = sender.round() => {}
        }
    }
}

/// How fast the sender goes. Tests go faster.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How often outboxes are looked at.
    look_every: Duration,
    /// First wait after a failure; doubles up to the longest.
    retry_first: Duration,
    /// Longest wait between tries.
    retry_longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            // Well within the second that an alert may take to be told.
            look_every: Duration::from_millis(300),
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(300),
        }
    }
}

struct Sender {
    pace: Pace,
    webhook: Webhook,
    archive: ArchiveReader,
    figures: Figures,
    /// Cooperatives whose last message failed: not before this instant, and the wait after that.
    waits: BTreeMap<CooperativeId, (Instant, Duration)>,
}

struct Figures {
    sent: Counter,
    failed: Counter,
    given_up: Counter,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter(name, help, &[]);
        Self {
            sent: counter(
                "furrow_webhook_sent_total",
                "Alert messages that the receiver took.",
            ),
            failed: counter(
                "furrow_webhook_failed_total",
                "Failed tries to send a message.",
            ),
            given_up: counter(
                "furrow_webhook_given_up_total",
                "Alert messages given up after too many tries.",
            ),
        }
    }
}

impl Sender {
    async fn round(&mut self) {
        let cooperatives: Vec<CooperativeId> = self.archive.cooperatives().cloned().collect();
        for cooperative in cooperatives {
            let waiting = self.waits.get(&cooperative);
            if waiting.is_some_and(|(until, _)| *until > Instant::now()) {
                continue;
            }
            let archive = self.archive.clone();
            let wanted = cooperative.clone();
            let messages =
                tokio::task::spawn_blocking(move || archive.outbox(&wanted, BATCH)).await;
            match messages {
                Ok(Ok(messages)) => self.send_all(&cooperative, messages).await,
                Ok(Err(error)) => {
                    tracing::warn!(%cooperative, error = chain(error), "outbox can't be read")
                }
                Err(error) => tracing::warn!(%cooperative, %error, "outbox reader panicked"),
            }
        }
    }

    /// In order; the first failure ends the round of this cooperative.
    async fn send_all(&mut self, cooperative: &CooperativeId, messages: Vec<OutboxMessage>) {
        for message in messages {
            let (id, attempts) = (message.id, message.attempts + 1);
            let fate = match post(&self.webhook, message.body).await {
                Ok(()) => {
                    self.figures.sent.increment();
                    self.waits.remove(cooperative);
                    MessageFate::Sent {
                        now_ms: jiff::Timestamp::now().as_millisecond(),
                    }
                }
                Err(reason) if attempts >= ATTEMPTS_MAX => {
                    self.figures.failed.increment();
                    self.figures.given_up.increment();
                    tracing::error!(%cooperative, id, reason, "alert message given up");
                    MessageFate::GivenUp { reason }
                }
                Err(reason) => {
                    self.figures.failed.increment();
                    tracing::warn!(%cooperative, id, attempts, reason, "alert message not taken");
                    MessageFate::Failed
                }
            };
            let failed = fate == MessageFate::Failed;
            let marked = self.mark(cooperative, id, fate).await;
            if failed || !marked {
                self.back_off(cooperative);
                return;
            }
        }
    }

    async fn mark(&self, cooperative: &CooperativeId, id: i64, fate: MessageFate) -> bool {
        let (archive, owner) = (self.archive.clone(), cooperative.clone());
        let marked =
            tokio::task::spawn_blocking(move || archive.mark_message(&owner, id, &fate)).await;
        match marked {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%cooperative, id, error = chain(error), "outbox can't be marked");
                false
            }
            Err(error) => {
                tracing::warn!(%cooperative, id, %error, "outbox writer panicked");
                false
            }
        }
    }

    fn back_off(&mut self, cooperative: &CooperativeId) {
        let last = self.waits.get(cooperative).map(|(_, wait)| *wait);
        let wait = last.map_or(self.pace.retry_first, |wait| {
            (wait * 2).min(self.pace.retry_longest)
        });
        self.waits
            .insert(cooperative.clone(), (Instant::now() + wait, wait));
    }
}

async fn post(webhook: &Webhook, body: String) -> Result<(), String> {
    let request = webhook
        .client
        .post(&webhook.url)
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(body);
    match request.send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("receiver answered {}", response.status().as_u16())),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error.without_url()))),
    }
}

fn chain(error: ArchiveError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

#[cfg(test)]
mod tests;
