//! Somebody who looks at charts all day.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::api::Api;
use furrow_tests::process::pause;
use serde_json::Value;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Of a chart.
const RANGE_MS: i64 = 30 * 86_400_000;
/// Greenhouses that are looked at in turn.
const GREENHOUSES: u32 = 10;
const ROOT: &str = "/api/v1/cooperatives/fleet/greenhouses";

/// What the person saw.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Charts that were answered.
    pub(super) charts: f64,
    /// The slowest of them.
    pub(super) most_ms: f64,
}

/// Asks for one greenhouse's latest values and the chart of one of its channels after the other.
///
/// # Errors
/// When an answer is none.
pub(super) fn look(api: &Api, is_over: &AtomicBool) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    for number in 0_u32.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let greenhouse = format!("{ROOT}/gh-{:05}", number % GREENHOUSES + 1);
        let (status, text) = api.get_raw(&format!("{greenhouse}/latest"))?;
        // Nothing has come of it yet.
        if status != 404 {
            anyhow::ensure!(status == 200, "latest answered {status}: {text}");
            let latest: Value = serde_json::from_str(&text).context("read latest")?;
            let all = latest.as_array().context("latest is not a list")?;
            let place = usize::try_from(number / GREENHOUSES)? % all.len().max(1);
            if let Some(channel) = all.get(place) {
                chart(api, &greenhouse, channel, &mut seen)?;
            }
        }
        pause(LOOK);
    }
    Ok(seen)
}

fn chart(api: &Api, greenhouse: &str, latest: &Value, seen: &mut Seen) -> anyhow::Result<()> {
    let text = |key: &str| latest.get(key).and_then(Value::as_str);
    let device = text("device").context("no device")?;
    let channel = text("channel").context("no channel")?;
    let to_ms = jiff::Timestamp::now().as_millisecond();
    let from_ms = to_ms - RANGE_MS;
    let path =
        format!("{greenhouse}/series/{device}/{channel}?from={from_ms}&to={to_ms}&points=1000");
    let began = Instant::now();
    let answer = api.get(&path)?;
    let points = answer.get("points").and_then(Value::as_array);
    points.context("a chart without points")?;
    seen.charts += 1.0;
    seen.most_ms = seen.most_ms.max(began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
