//! The JSON answers. Times are Unix milliseconds; values are in the channel's unit.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use furrow_wire::{ChannelName, DeviceId, SeriesId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, ApiError, json_answer};
use super::scope::{Grants, House, Scope, path_part};
use super::session::listed;
use crate::archive::{ArchiveError, ArchiveReader, GapRow, Latest, Point};

/// Most points of one answer: more than any screen is wide.
const POINTS_MAX: u32 = 5000;
/// Points when none are asked for.
const POINTS_DEFAULT: u32 = 500;
/// Longest range of one request: ten years.
const RANGE_MAX_MS: i64 = 10 * 366 * 24 * 3_600_000;
/// Range when none is asked for: a day.
const RANGE_DEFAULT_MS: i64 = 24 * 3_600_000;
/// How long a request waits for one of the archive's readers.
pub(super) const READ_WAIT: Duration = Duration::from_secs(5);

/// `GET /api/v1/cooperatives`
pub(super) async fn cooperatives(
    State(api): State<Arc<Api>>,
    grants: Grants,
    headers: HeaderMap,
) -> Answer {
    let all: Vec<Value> = grants.cooperatives(&api).map(listed).collect();
    json_answer(&headers, &all)
}

/// `GET /api/v1/cooperatives/{cooperative}/greenhouses`
pub(super) async fn greenhouses(scope: Scope, headers: HeaderMap) -> Answer {
    let cooperative = scope.cooperative()?;
    let wanted = cooperative.clone();
    let known = read(&scope.api, move |reader| reader.greenhouses(&wanted)).await?;
    let access = scope.access()?;
    let mut ids: Vec<_> = access
        .gateways
        .iter()
        .map(|(_, greenhouse)| greenhouse)
        .collect();
    ids.extend(known.iter().map(|greenhouse| &greenhouse.id));
    ids.sort();
    ids.dedup();
    let row = |id: &&furrow_wire::GreenhouseId| {
        let stored = known.iter().find(|greenhouse| greenhouse.id == **id);
        let name = stored
            .map(|stored| stored.name.as_str())
            .filter(|name| !name.is_empty());
        let gateway = access
            .gateways
            .iter()
            .find(|(_, greenhouse)| greenhouse == *id);
        json!({
            "id": id,
            "name": name.unwrap_or(id.as_str()),
            "gateway": gateway.map(|(gateway, _)| {
                let status = scope.api.fleet.get(&cooperative, gateway);
                json!({
                    "id": gateway,
                    "online": status.online,
                    "last_seen_ms": status.last_seen_unix_ms,
                    "software": status.software,
                    "waiting_readings": status.waiting_readings,
                    "lost_readings": status.lost_readings,
                })
            }),
            "zones": stored.map_or_else(|| json!([]), |stored| stored.zones.clone()),
        })
    };
    let all: Vec<Value> = ids.iter().map(row).collect();
    json_answer(&headers, &all)
}

/// `GET …/greenhouses/{greenhouse}/channels`
pub(super) async fn channels(house: House, headers: HeaderMap) -> Answer {
    let row = |latest: &Latest| {
        json!({
            "device": latest.series.device,
            "device_name": &*latest.device_name,
            "channel": latest.series.channel,
            "channel_name": &*latest.channel_name,
            "unit": &*latest.unit,
            "decimals": latest.decimals(),
            "interval_ms": latest.interval_ms,
        })
    };
    let all: Vec<Value> = latest_of(&house)?.iter().map(row).collect();
    json_answer(&headers, &all)
}

/// `GET …/greenhouses/{greenhouse}/latest`
pub(super) async fn latest(house: House, headers: HeaderMap) -> Answer {
    let row = |latest: &Latest| {
        let (time_ms, mantissa, quality) = latest.newest?;
        let good = latest.good;
        Some(json!({
            "device": latest.series.device,
            "channel": latest.series.channel,
            "channel_name": &*latest.channel_name,
            "unit": &*latest.unit,
            "decimals": latest.decimals(),
            "interval_ms": latest.interval_ms,
            "time_ms": time_ms,
            "value": quality.has_value().then(|| latest.value(mantissa)),
            "quality": quality.as_str(),
            "last_good": good.map(|(time_ms, mantissa)| {
                json!({ "time_ms": time_ms, "value": latest.value(mantissa) })
            }),
        }))
    };
    let all: Vec<Value> = latest_of(&house)?.iter().filter_map(row).collect();
    json_answer(&headers, &all)
}

/// `GET …/greenhouses/{greenhouse}/series/{device}/{channel}?from&to&points`
pub(super) async fn series(
    house: House,
    Channel { device, channel }: Channel,
    range: Result<Query<Range>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let range = Range::of(range)?;
    let (from_ms, to_ms) = range.bounds()?;
    let points = range.points.unwrap_or(POINTS_DEFAULT);
    if !(1..=POINTS_MAX).contains(&points) {
        return Err(ApiError::Bad(format!(
            "points is {points} (must be 1 to {POINTS_MAX})"
        )));
    }
    let cooperative = house.scope.cooperative()?;
    let series = SeriesId {
        greenhouse: house.id,
        device,
        channel,
    };
    let answer = read(&house.scope.api, move |reader| {
        reader.points(&cooperative, &series, from_ms, to_ms, points)
    });
    let answer = answer.await?.ok_or(ApiError::NotFound("channel"))?;
    let body = SeriesBody {
        unit: answer.unit,
        decimals: answer.exponent.min(0).unsigned_abs(),
        from_ms: answer.from_ms,
        to_ms: answer.to_ms,
        bucket_ms: answer.bucket_ms,
        points: answer.points.iter().map(PointBody::of).collect(),
    };
    json_answer(&headers, &body)
}

/// `GET …/greenhouses/{greenhouse}/events?from&to`
pub(super) async fn events(
    house: House,
    range: Result<Query<Range>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let (from_ms, to_ms) = Range::of(range)?.bounds()?;
    let (cooperative, id) = (house.scope.cooperative()?, house.id.clone());
    let rows = read(&house.scope.api, move |reader| {
        reader.events(&cooperative, &id, from_ms, to_ms)
    });
    let all: Vec<Value> = rows.await?.iter().map(|row| row.json(&house.id)).collect();
    json_answer(&headers, &all)
}

/// `GET …/greenhouses/{greenhouse}/gaps`
pub(super) async fn gaps(house: House, headers: HeaderMap) -> Answer {
    let (cooperative, id) = (house.scope.cooperative()?, house.id);
    let all = read(&house.scope.api, move |reader| {
        reader.gaps(&cooperative, Some(&id))
    })
    .await?;
    json_answer(
        &headers,
        &all.iter().map(GapRow::json).collect::<Vec<Value>>(),
    )
}

/// `GET …/greenhouses/{greenhouse}/alerts?from&to`
pub(super) async fn alerts(
    house: House,
    range: Result<Query<Range>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    let (from_ms, to_ms) = Range::of(range)?.bounds()?;
    let (cooperative, id) = (house.scope.cooperative()?, house.id);
    let rows = read(&house.scope.api, move |reader| {
        reader.alerts(&cooperative, &id, from_ms, to_ms)
    });
    json_answer(&headers, &rows.await?)
}

/// `GET /api/v1/cooperatives/{cooperative}/delivery`: what came, by an actual look at every stored reading.
pub(super) async fn delivery(scope: Scope, headers: HeaderMap) -> Answer {
    let place = Arc::clone(&scope.api.scans).acquire_owned();
    let Ok(Ok(one_at_a_time)) = tokio::time::timeout(READ_WAIT, place).await else {
        return Err(ApiError::Unavailable("another scan is running".into()));
    };
    let cooperative = scope.cooperative()?;
    let wanted = cooperative.clone();
    let (scans, aside) = read(&scope.api, move |reader| {
        let _until_done = one_at_a_time;
        Ok((reader.scan(&wanted)?, reader.set_aside(&wanted)?))
    })
    .await?;
    let rows = scope
        .access()?
        .gateways
        .iter()
        .map(|(gateway, greenhouse)| {
            let status = scope.api.fleet.get(&cooperative, gateway);
            let scan = scans.get(greenhouse).copied().unwrap_or_default();
            let aside = aside.get(gateway).copied().unwrap_or_default();
            json!({
                "gateway": gateway,
                "greenhouse": greenhouse,
                "stored_readings": scan.readings,
                "twice": scan.twice,
                "missing_records": status.missing_records,
                "duplicates_ignored": status.duplicates_ignored,
                "parked": aside.parked,
                "dead": aside.dead,
                "journalled_readings": status.journalled_readings,
                "waiting_readings": status.waiting_readings,
                "lost_readings": status.lost_readings,
                "streams": status.streams,
                "card": status.card,
            })
        });
    json_answer(&headers, &rows.collect::<Vec<Value>>())
}

/// Any other path below `/api`.
pub(super) async fn nothing(_grants: Grants) -> Result<(), ApiError> {
    Err(ApiError::NotFound("resource"))
}

/// Device and channel of a path.
pub(super) struct Channel {
    device: DeviceId,
    channel: ChannelName,
}

impl FromRequestParts<Arc<Api>> for Channel {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let device = path_part(parts, api, "device")
            .await
            .and_then(|text| text.parse().ok());
        let channel = path_part(parts, api, "channel")
            .await
            .and_then(|text| text.parse().ok());
        match (device, channel) {
            (Some(device), Some(channel)) => Ok(Channel { device, channel }),
            _ => Err(ApiError::NotFound("channel")),
        }
    }
}

/// `?from=MS&to=MS&points=N`, all optional.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    from: Option<i64>,
    to: Option<i64>,
    points: Option<u32>,
}

impl Range {
    fn of(
        query: Result<Query<Range>, axum::extract::rejection::QueryRejection>,
    ) -> Result<Self, ApiError> {
        query
            .map(|Query(range)| range)
            .map_err(|_| ApiError::Bad("from, to and points must be whole numbers".to_owned()))
    }

    fn bounds(&self) -> Result<(i64, i64), ApiError> {
        let to_ms = self
            .to
            .unwrap_or_else(|| jiff::Timestamp::now().as_millisecond());
        let from_ms = self
            .from
            .unwrap_or_else(|| to_ms.saturating_sub(RANGE_DEFAULT_MS));
        let span_ms = to_ms.checked_sub(from_ms).unwrap_or(i64::MAX);
        // Far from the ends of the number line, so that rounding to buckets can't leave it.
        let sane = from_ms.unsigned_abs().max(to_ms.unsigned_abs()) < 1 << 53;
        if sane && (1..=RANGE_MAX_MS).contains(&span_ms) {
            Ok((from_ms, to_ms))
        } else {
            let text = format!("from {from_ms} to {to_ms} must be up to {RANGE_MAX_MS} ms");
            Err(ApiError::Bad(text))
        }
    }
}

#[derive(Debug, Serialize)]
struct SeriesBody {
    unit: String,
    decimals: u8,
    from_ms: i64,
    to_ms: i64,
    bucket_ms: i64,
    points: Vec<PointBody>,
}

/// Time, least, mean, greatest, count; the values are null for a raw reading that is not good.
#[derive(Debug, Serialize)]
struct PointBody(i64, Option<f64>, Option<f64>, Option<f64>, u64);

impl PointBody {
    fn of(point: &Point) -> Self {
        let [min, mean, max] = point.values.map_or([None; 3], |values| values.map(Some));
        PointBody(point.time_ms, min, mean, max, point.count)
    }
}

fn latest_of(house: &House) -> Result<Vec<Latest>, ApiError> {
    Ok(house
        .scope
        .api
        .reader
        .latest(&house.scope.cooperative()?, &house.id)?)
}

/// Reads the archive on a thread that may block; waits for a place, but not for ever. The place is held
/// until the work is done, also when nobody waits for it any more.
pub(super) async fn read<T: Send + 'static>(
    api: &Arc<Api>,
    work: impl FnOnce(&ArchiveReader) -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = tokio::time::timeout(READ_WAIT, Arc::clone(&api.reads).acquire_owned());
    let Ok(Ok(place)) = place.await else {
        return Err(ApiError::Unavailable("too many requests at once".into()));
    };
    let reader = api.reader.clone();
    let done = tokio::task::spawn_blocking(move || {
        let _until_done = place;
        work(&reader)
    })
    .await;
    Ok(done.map_err(|_| ApiError::Unavailable("the archive's reader failed".into()))??)
}
