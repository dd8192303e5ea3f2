//! Where heartbeats go.

use std::time::Duration;

use super::check::Checker;
use super::raw::RawHeartbeat;

/// Time between two heartbeats when none is given.
const EVERY_DEFAULT: Duration = Duration::from_secs(60);
/// Least time between two: more often tells nobody more.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// Most time between two: beyond a day nobody waits for them.
const EVERY_MAX: Duration = Duration::from_secs(86_400);

/// Who is told that ingest is well.
#[derive(Clone, PartialEq, Eq)]
pub struct HeartbeatSettings {
    /// The address, `http://` or `https://`. It may hold a secret.
    pub url: String,
    /// How often.
    pub every: Duration,
}

impl std::fmt::Debug for HeartbeatSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeartbeatSettings")
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// Checks the section.
pub(super) fn check_heartbeat(
    c: &mut Checker,
    raw: Option<super::raw::Section<RawHeartbeat>>,
) -> Option<HeartbeatSettings> {
    let raw = c.section("heartbeat", raw)?;
    c.unknown("heartbeat", &raw.unknown, "url, every");
    let url = c.required_text("heartbeat.url", raw.url, "\"https://hc.example/…\"");
    let every = c.duration("heartbeat.every", raw.every);
    let every = every.unwrap_or(EVERY_DEFAULT);
    if !(EVERY_MIN..=EVERY_MAX).contains(&every) {
        c.mistake("heartbeat.every", "must be 1s to 1d");
    }
    let url = url?;
    if reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        Some(HeartbeatSettings { url, every })
    } else {
        c.mistake(
            "heartbeat.url",
            "must be an address with http:// or https://",
        );
        None
    }
}
