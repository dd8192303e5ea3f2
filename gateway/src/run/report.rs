//! What the gateway tells of itself: the birth for ingest, status and journal for people.

use std::collections::BTreeSet;

use furrow_gateway_core::FieldMs;
use furrow_gateway_core::lateness::Lateness;
use furrow_gateway_core::outbox::Held;
use furrow_irrigation::{Interlock, Phase, ZoneIndex};
use furrow_wire::ack::MAX_STREAMS;
use furrow_wire::state::Birth;
use furrow_wire::{
    Catalog, CatalogChannel, CatalogDevice, CatalogZone, Decimal, DeviceId, GatewayState,
    HeldStream,
};
use serde_json::{Value, json};

use super::gateway::Gateway;
use super::latest::Now;
use crate::bus::FieldTime;
use crate::calibrations::Calibrations;
use crate::config::{DerivedSettings, Settings};
use crate::control::ChannelNow;

/// What the columns of batches mean.
#[must_use]
pub fn catalog(settings: &Settings, calibrations: Option<&Calibrations>) -> Catalog {
    let devices = settings.devices().iter().map(|device| CatalogDevice {
        id: device.id.clone(),
        kind: device.kind.name().to_owned(),
        bus: settings
            .buses()
            .get(device.bus)
            .map_or_else(String::new, |bus| bus.id.to_string()),
        address: device.address().map(u16::from),
        name: device.name.clone(),
        calibration_version: calibrations.map_or(0, |all| all.version(&device.id)),
    });
    let calculated = settings.derived().iter().map(|one| CatalogDevice {
        id: one.id.clone(),
        kind: format!("derived-{}", one.kind()),
        bus: String::new(),
        address: None,
        name: one.name.clone(),
        calibration_version: calibrations.map_or(0, |all| version_of_derived(settings, one, all)),
    });
    let of_derived = settings.derived().iter().flat_map(|one| {
        one.channels.iter().map(|channel| CatalogChannel {
            device: one.id.clone(),
            channel: channel.name.clone(),
            unit: channel.unit.clone(),
            exponent: channel.exponent,
            interval_ms: u32::try_from(one.every.as_millis()).unwrap_or(u32::MAX),
            name: channel.label.clone(),
        })
    });
    let channels = settings
        .channels()
        .map(|(_, device, channel)| CatalogChannel {
            device: device.id.clone(),
            channel: channel.name.clone(),
            unit: channel.unit.clone(),
            exponent: channel.exponent,
            interval_ms: u32::try_from(device.every.as_millis()).unwrap_or(u32::MAX),
            name: channel.label.clone(),
        });
    let zones = settings.zones().iter().map(|zone| CatalogZone {
        id: zone.id.clone(),
        name: zone.name.clone(),
        controller: settings
            .devices()
            .get(zone.controller)
            .map(|device| device.id.clone()),
    });
    Catalog {
        greenhouse: settings.gateway().greenhouse.clone(),
        greenhouse_name: settings.gateway().greenhouse_name.clone(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        devices: devices.chain(calculated).collect(),
        channels: channels.chain(of_derived).collect(),
        zones: zones.collect(),
    }
}

fn version(settings: &Settings, device: &DeviceId, calibrations: &Calibrations) -> u32 {
    match settings.derived().iter().find(|one| one.id == *device) {
        Some(derived) => version_of_derived(settings, derived, calibrations),
        None => calibrations.version(device),
    }
}

/// What is calculated changes when a device that it follows from is calibrated. Those versions only
/// grow, so their sum changes with each of them, and never comes back to what it was.
fn version_of_derived(
    settings: &Settings,
    derived: &DerivedSettings,
    calibrations: &Calibrations,
) -> u32 {
    let channels: Vec<&DeviceId> = settings.channels().map(|(_, of, _)| &of.id).collect();
    let inputs = derived.plan.inputs.iter();
    let devices = inputs.filter_map(|input| channels.get(usize::from(input.channel)).copied());
    let devices: BTreeSet<&DeviceId> = devices.collect();
    let versions = devices
        .into_iter()
        .map(|device| calibrations.version(device));
    versions.fold(0, u32::saturating_add)
}

/// The retained birth.
#[must_use]
pub fn birth(gateway: &Gateway, now: FieldTime) -> GatewayState {
    let birth = Birth {
        boot: gateway.clock.boot(),
        mono_ms: now.mono_ms(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        greenhouse: gateway.settings.gateway().greenhouse.clone(),
        clock: gateway.clock.state(),
        orders: gateway.ordered.seen(),
        streams: held_streams(gateway),
        journalled_readings: gateway.records.journalled_readings(),
        waiting_readings: gateway.delivery.outbox.totals().waiting_readings,
        lost_readings: gateway.records.lost_readings(),
    };
    GatewayState {
        online: true,
        birth: Some(birth),
    }
}

/// What the journal holds and what waits.
#[must_use]
pub fn journal(gateway: &Gateway) -> Value {
    let totals = gateway.delivery.outbox.totals();
    json!({
        "journalled_readings": gateway.records.journalled_readings(),
        "waiting_readings": totals.waiting_readings,
        "waiting_records": totals.waiting_records,
        "lost_readings": gateway.records.lost_readings(),
        "streams": held_streams(gateway),
        "live_bytes": gateway.fill.live_bytes,
        "bytes_written": gateway.fill.bytes_written,
        "commits": gateway.fill.commits,
        "trouble": gateway.space.trouble().map(|trouble| format!("{trouble:?}")),
    })
}

/// Everything at a glance.
#[must_use]
pub fn status(gateway: &Gateway, now: FieldTime) -> Value {
    let settings = &gateway.settings;
    let totals = gateway.delivery.outbox.totals();
    let faulty: Vec<&str> = gateway
        .sampling
        .faulty()
        .filter_map(|device| settings.devices().get(device))
        .map(|device| device.id.as_str())
        .collect();
    let pausing = gateway.sampling.pausing(FieldMs(now.mono_ms()));
    let pausing = pausing.filter_map(|(device, until)| {
        let id = &settings.devices().get(device)?.id;
        Some(json!({ "id": id, "left_ms": until.since(FieldMs(now.mono_ms())) }))
    });
    let zones = settings.zones().iter().enumerate().map(|(index, zone)| {
        let view = gateway.watering.view(ZoneIndex(index), now);
        json!({
            "id": zone.id,
            "name": zone.name,
            "phase": view.as_ref().map(|view| phase_name(view.phase)),
            "run": view.as_ref().and_then(|view| view.run),
            "left_ms": view.as_ref().and_then(|view| view.left_ms),
            "used_today_ms": view.as_ref().map(|view| view.used_today_ms),
            "daily_limit_ms": view.as_ref().map(|view| view.daily_limit_ms),
            "used_today_ml": view.as_ref().map(|view| view.used_today_ml),
            "is_waiting": view.as_ref().is_some_and(|view| view.is_waiting),
            "held_ms": view.as_ref().and_then(|view| view.held_ms),
            "lock": view.as_ref().and_then(|view| view.lock),
            "lock_text": view.as_ref().and_then(|view| view.lock).map(Interlock::text),
            "next_start": view.and_then(|view| view.next_start).map(|at| at.to_string()),
        })
    });
    json!({
        "cooperative": settings.gateway().cooperative,
        "gateway": settings.gateway().id,
        "greenhouse": settings.gateway().greenhouse,
        "time_zone": settings.gateway().time_zone.iana_name(),
        "greenhouse_name": settings.gateway().greenhouse_name,
        "software": env!("CARGO_PKG_VERSION"),
        "boot": gateway.clock.boot(),
        "mono_ms": now.mono_ms(),
        "wall_unix_ms": now.wall_unix_ms,
        "clock": gateway.clock.state(),
        "link": if gateway.delivery.link.is_up() { "up" } else { "down" },
        "faulty_devices": faulty,
        "pausing_devices": pausing.collect::<Vec<_>>(),
        "bus_clears": gateway.devices.bus_clears(),
        "unjournalled_readings": gateway.sampling.unjournalled(),
        "missed_ticks": gateway.sampling.missed(),
        "lateness": lateness(gateway.sampling.lateness()),
        "late_samples": gateway.sampling.late(),
        "offered_again": totals.offered_again,
        "refused_packets": totals.refused,
        "taken_back_records": totals.taken_back,
        "malformed_messages": gateway.delivery.malformed(),
        "unencodable_records": gateway.records.unencodable(),
        "zones": zones.collect::<Vec<_>>(),
        "irrigation": site(gateway, now),
        "orders": gateway.ordered.report(now.mono_ms()),
        "refused_commands": gateway.commands.refused(),
        "unsaid_results": gateway.commands.unsaid(),
        "alarms": gateway.alarm_report(now),
        "journal": journal(gateway),
    })
}

/// What all zones share.
fn site(gateway: &Gateway, now: FieldTime) -> Value {
    let view = gateway.watering.site_view(now);
    json!({
        "held_ms": view.held_ms,
        "lock": view.lock,
        "lock_text": view.lock.map(Interlock::text),
        "forbids": view.forbids,
        "forbids_text": view.forbids.map(Interlock::text),
        "is_dosing": view.is_dosing,
    })
}

/// The latest sample of every channel, in the order of the catalog.
#[must_use]
pub fn samples(gateway: &Gateway, now: FieldTime) -> Vec<ChannelNow> {
    let settings = &gateway.settings;
    let measured = settings
        .channels()
        .map(|(_, device, channel)| (&device.id, channel));
    let derived = settings.derived().iter();
    let derived = derived.flat_map(|one| one.channels.iter().map(|channel| (&one.id, channel)));
    let channels = measured.chain(derived).enumerate();
    channels
        .map(|(index, (device, channel))| {
            let latest = gateway.sampling.latest().of(index);
            let value = latest.and_then(|latest| latest.sample.mantissa);
            let exponent = channel.exponent;
            ChannelNow {
                device: device.clone(),
                channel: channel.name.clone(),
                unit: channel.unit.clone(),
                value: value.map(|mantissa| Decimal { mantissa, exponent }.to_f64()),
                decimals: exponent.min(0).unsigned_abs(),
                quality: latest.map(|latest| latest.sample.quality),
                reason: latest.and_then(Now::reason),
                age_ms: latest.map(|latest| now.mono_ms().saturating_sub(latest.at.0)),
                calibration: gateway
                    .calibrations
                    .as_ref()
                    .map_or(0, |all| version(settings, device, all)),
            }
        })
        .collect()
}

/// How late buses began with readings.
fn lateness(lateness: &Lateness) -> Value {
    json!({
        "ticks": lateness.served(),
        "p50_ms": lateness.within_ms(500),
        "p99_ms": lateness.within_ms(990),
        "max_ms": lateness.max_ms(),
    })
}

/// The oldest streams, which drain first, and always the one that is written.
fn held_streams(gateway: &Gateway) -> Vec<HeldStream> {
    let current = gateway.records.stream();
    let held = |held: &Held| HeldStream {
        stream: held.stream,
        first: held.first,
        last: held.last,
    };
    let streams = gateway.delivery.outbox.streams();
    let others = streams.iter().filter(|held| held.stream != current);
    let mut told: Vec<HeldStream> = others.take(MAX_STREAMS - 1).map(held).collect();
    let written = streams.iter().find(|held| held.stream == current);
    let none_yet = HeldStream {
        stream: current,
        first: 1,
        last: 0,
    };
    told.push(written.map_or(none_yet, held));
    told
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Clearing => "clearing",
        Phase::Idle => "idle",
        Phase::Checking => "checking",
        Phase::Watering => "watering",
        Phase::Closing => "closing",
        Phase::LockedOut => "locked_out",
    }
}

#[cfg(test)]
mod tests;
