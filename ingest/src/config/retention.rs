//! How long a cooperative's readings are kept.

use serde_json::Value;

use super::check::{Checker, join};
use super::raw::{Leaf, RawRetention, Section};
use crate::archive::Retention;

/// Checks a section. What is finer may not be kept longer than what is coarser.
pub(super) fn check_retention(
    c: &mut Checker,
    key: &str,
    raw: Option<Section<RawRetention>>,
) -> Retention {
    let raw = c.section(key, raw).unwrap_or_default();
    c.unknown(key, &raw.unknown, "readings, minutes, hours");
    let retention = Retention {
        readings_ms: kept(c, &join(key, "readings"), raw.readings),
        minutes_ms: kept(c, &join(key, "minutes"), raw.minutes),
        hours_ms: kept(c, &join(key, "hours"), raw.hours),
    };
    let ever = |kept: Option<i64>| kept.unwrap_or(i64::MAX);
    for (name, finer, coarser) in [
        ("minutes", retention.readings_ms, retention.minutes_ms),
        ("hours", retention.minutes_ms, retention.hours_ms),
    ] {
        if ever(coarser) < ever(finer) {
            let text = "is shorter than what is finer; keep it at least as long (\"0\": for ever)";
            c.mistake(join(key, name), text);
        }
    }
    retention
}

/// Milliseconds; `None`: for ever.
fn kept(c: &mut Checker, key: &str, leaf: Leaf) -> Option<i64> {
    let is_zero = match &leaf {
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::String(text)) => text == "0",
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => false,
    };
    if is_zero {
        return None;
    }
    let kept = c.duration(key, leaf)?;
    if kept.as_secs() < 86_400 {
        c.mistake(key, "is below a day (\"0\": for ever)");
        return None;
    }
    i64::try_from(kept.as_millis()).ok()
}
