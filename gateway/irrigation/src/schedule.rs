//! The daily schedule in local time. Each entry happens once per local day: a time that the spring
//! step skips happens right after the gap, one that the autumn step repeats happens the first time.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::plan::Days;

/// A start that is later than this is missed, not made up: 15 minutes, in milliseconds. Long enough
/// for a reboot, short enough not to water in the heat of noon.
pub const SCHEDULE_GRACE_MS: u64 = 15 * 60_000;
/// How far back missed starts are looked for: one day.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24);

/// The local date of an instant.
pub(crate) fn local_date(wall: Timestamp, zone: &TimeZone) -> Date {
    zone.to_datetime(wall).date()
}

/// The instant at which a local time of day happens on a date. None only at the ends of time.
pub(crate) fn occurrence(date: Date, at: Time, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_zoned(date.to_datetime(at))
        .compatible()
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// The occurrences of `at` in `(after, until]`, at most one look-back long, oldest first.
pub(crate) fn due(
    at: Time,
    days: Days,
    zone: &TimeZone,
    after: Timestamp,
    until: Timestamp,
) -> Vec<Timestamp> {
    let horizon = until.checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
    let from = after.max(horizon);
    let mut found = Vec::new();
    // One day more on either side: a local date may begin before or after the UTC one.
    let mut date = local_date(from, zone).yesterday().unwrap_or(Date::MIN);
    let last = local_date(until, zone);
    while date <= last {
        if days.contains(date.weekday())
            && let Some(when) = occurrence(date, at, zone)
            && when > from
            && when <= until
        {
            found.push(when);
        }
        let Ok(next) = date.checked_add(1.day()) else {
            break;
        };
        date = next;
    }
    found
}

/// The first occurrence of `at` after an instant.
pub(crate) fn next(at: Time, days: Days, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let today = local_date(after, zone);
    // A week, and a day more on either side.
    (-1..=8)
        .filter_map(|day| today.checked_add(day.days()).ok())
        .filter(|date| days.contains(date.weekday()))
        .filter_map(|date| occurrence(date, at, zone))
        .find(|&when| when > after)
}
