//! From what was written to what holds.

mod alarms;
mod buses;
mod buttons;
mod contacts;
mod derived;
mod devices;
mod guard;
mod inputs;
mod irrigation;
mod kind;
mod looked_at;
pub(super) mod orders;
mod page;
mod plantings;
mod profile;
mod rules;
mod section;
mod zone_options;
mod zones;

use std::io;
use std::path::{Path, PathBuf};

use furrow_gateway_core::outbox::{LIVE_PLACES, WINDOW};
use furrow_wire::{CooperativeId, GatewayId};
use jiff::tz::TimeZone;

use self::alarms::Taken;
use self::looked_at::LookedAt;
use self::section::Section;
use super::guard::GuardPart;
use super::mistakes::Mistakes;
use super::raw::{RawConfig, RawGateway, RawJournal, RawMqtt};
use super::settings::{GatewaySettings, JournalSettings, MqttSettings, Secret, Settings};

pub(super) use self::profile::builtin as builtin_profiles;

/// How the file of a secret, a certificate or a profile is read; a test hands in its own.
type ReadText<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Readings are seen within a minute; about 30 MB a month for 16 channels (docs/adr/0006).
const SEND_NORMAL: &str = "60s";
/// Readings are seen within five minutes, for a third of the data.
const SEND_SAVER: &str = "5min";

impl Settings {
    /// Checks everything; all mistakes come together.
    pub(super) fn from_raw(raw: &RawConfig, read: ReadText<'_>) -> Result<Self, Mistakes> {
        let mut found = Mistakes::default();
        let known = "gateway, mqtt, journal, irrigation, guard, page, button, siren, beacon, alarm, bus, \
                     device, derived, zone, planting";
        Section::new("", &mut found).refuse_unknown(&raw.unknown, known);
        let gateway = gateway(raw.gateway.as_ref(), &mut found);
        let login = gateway
            .as_ref()
            .map(|g| format!("{}/{}", g.cooperative, g.id));
        let mqtt = mqtt(raw.mqtt.as_ref(), login.as_deref(), read, &mut found);
        let journal = journal(raw.journal.as_ref(), &mut found);
        let buses = buses::buses(&raw.bus, &mut found);
        let devices = devices::devices(raw, buses.as_deref(), read, &mut found);
        let derived = derived::derived(raw, devices.as_deref(), &mut found);
        let guard = guard::guard(raw, buses.as_deref(), devices.as_deref(), &mut found);
        let commit_interval = journal.map(|journal| journal.commit_interval);
        let mut looked_at = LookedAt::new(devices.as_deref(), derived.as_deref(), commit_interval);
        let zones = zones::zones(raw, &mut looked_at, &mut found);
        let none = (Vec::new(), Vec::new());
        let (watered, meters) = zones.as_ref().unwrap_or(&none);
        let irrigation = irrigation::irrigation(raw, (watered, meters), &mut looked_at, &mut found);
        let buttons = buttons::buttons(&raw.button, watered, &looked_at, &mut found);
        let taken = Taken::new(raw, buses.as_deref(), devices.as_deref(), guard.as_ref());
        let alarms = alarms::alarms(raw, &taken, &looked_at, &mut found);
        let inputs = looked_at.into_inputs();
        let plantings = plantings::plantings(raw, watered, &mut found);
        let page = page::page(raw.page.as_ref(), read, &mut found);
        let parts = (
            gateway, mqtt, journal, irrigation, buses, devices, derived, zones, guard, page,
            buttons, plantings, alarms,
        );
        let (
            Some(gateway),
            Some(mqtt),
            Some(journal),
            Some(mut irrigation),
            Some(buses),
            Some(devices),
            Some(derived),
            Some((zones, _)),
            Some(guard),
            Some(page),
            Some(buttons),
            Some(plantings),
            Some(alarms),
        ) = parts
        else {
            return Err(found);
        };
        irrigation.inputs = inputs;
        let supply = &irrigation.supply;
        guard::has_outputs(guard.as_ref(), &devices, &zones, supply, &mut found);
        if found.as_slice().is_empty() {
            Ok(Self {
                gateway,
                mqtt,
                journal,
                irrigation,
                buses,
                devices,
                derived,
                zones,
                guard,
                page,
                buttons,
                plantings,
                alarms,
            })
        } else {
            Err(found)
        }
    }
}

impl GuardPart {
    pub(super) fn from_raw(raw: &RawConfig, read: ReadText<'_>) -> Result<Self, Mistakes> {
        let mut found = Mistakes::default();
        let buses = buses::buses(&raw.bus, &mut found);
        // Mistakes of sensors are told where sensors are read; what they use counts all the same.
        let devices = devices::devices(raw, buses.as_deref(), read, &mut Mistakes::default());
        let guard = guard::guard(raw, buses.as_deref(), devices.as_deref(), &mut found);
        if let Some(None) = guard {
            let remedy = "add [[guard.output]], or do not start the guard";
            found.add("guard", "there are no outputs to guard", remedy);
        }
        match (buses, guard.flatten()) {
            (Some(buses), Some(guard)) if found.as_slice().is_empty() => Ok(Self { buses, guard }),
            (Some(_) | None, Some(_) | None) => Err(found),
        }
    }
}

fn gateway(raw: Option<&RawGateway>, found: &mut Mistakes) -> Option<GatewaySettings> {
    let Some(raw) = raw else {
        found.add(
            "gateway",
            "the section is missing",
            "add [gateway] with cooperative and id",
        );
        return None;
    };
    let mut section = Section::new("gateway", found);
    let known = "cooperative, id, greenhouse, greenhouse_name, timezone, state_dir";
    section.refuse_unknown(&raw.unknown, known);
    let cooperative: Option<CooperativeId> =
        section.parsed("cooperative", raw.cooperative.as_ref(), "hoa-binh");
    let id: Option<GatewayId> = section.parsed("id", raw.id.as_ref(), "gw-01");
    let greenhouse = section.parsed("greenhouse", raw.greenhouse.as_ref(), "nha-luoi-1");
    let name_default = raw.greenhouse.as_ref().map_or_else(String::new, |leaf| {
        let text = leaf.to_string();
        text.trim_matches('"').to_owned()
    });
    let greenhouse_name = section.text_or(
        "greenhouse_name",
        raw.greenhouse_name.as_ref(),
        &name_default,
    );
    let time_zone = time_zone(&mut section, raw);
    let state_dir = section.text_or(
        "state_dir",
        raw.state_dir.as_ref(),
        "/var/lib/furrow-gateway",
    );
    Some(GatewaySettings {
        cooperative: cooperative?,
        id: id?,
        greenhouse: greenhouse?,
        greenhouse_name: greenhouse_name?,
        time_zone: time_zone?,
        state_dir: PathBuf::from(state_dir?),
    })
}

fn time_zone(section: &mut Section<'_>, raw: &RawGateway) -> Option<TimeZone> {
    let example = "Asia/Ho_Chi_Minh";
    let name = section.text("timezone", raw.timezone.as_ref(), example)?;
    match TimeZone::get(&name) {
        Ok(zone) => Some(zone),
        Err(_) => section.mistake(
            "timezone",
            format!("{name:?} is not a time zone"),
            format!("write an IANA name such as {example:?}"),
        ),
    }
}

fn mqtt(
    raw: Option<&RawMqtt>,
    login: Option<&str>,
    read: ReadText<'_>,
    found: &mut Mistakes,
) -> Option<MqttSettings> {
    let Some(raw) = raw else {
        found.add(
            "mqtt",
            "the section is missing",
            "add [mqtt] with host and password_file",
        );
        return None;
    };
    let mut section = Section::new("mqtt", found);
    let known = "host, port, username, password, password_file, profile, send_interval, live_packets, \
                 tls";
    section.refuse_unknown(&raw.unknown, known);
    let host = section.text("host", raw.host.as_ref(), "ingest.example");
    let port = match raw.port.as_ref() {
        None => Some(if raw.tls.is_some() { 8883 } else { 1883 }),
        port => section.whole("port", port, &(1..=65_535), "1883"),
    };
    let username = section.text_or("username", raw.username.as_ref(), login.unwrap_or("?"));
    let password = password(&mut section, raw, read);
    let range = ("1s", "1h");
    let usual = usual_send_interval(&mut section, raw);
    let send_interval = section.duration(
        "send_interval",
        raw.send_interval.as_ref(),
        range,
        Some(usual.unwrap_or(SEND_NORMAL)),
    );
    let live_packets = live_packets(&mut section, raw);
    let ca_pem = match &raw.tls {
        None => Some(None),
        Some(tls) => {
            let mut section = section.inner("tls");
            section.refuse_unknown(&tls.unknown, "ca_file");
            let path = section.text("ca_file", tls.ca_file.as_ref(), "/etc/furrow/ca.pem");
            path.and_then(|path| certificate(&mut section, &path, read))
                .map(Some)
        }
    };
    Some(MqttSettings {
        host: host?,
        port: u16::try_from(port?).ok()?,
        username: username?,
        password: password?,
        send_interval: usual.and(send_interval)?,
        live_packets: live_packets?,
        ca_pem: ca_pem?,
    })
}

/// The profile's send interval: `saver` is for a SIM card with little data.
fn usual_send_interval(section: &mut Section<'_>, raw: &RawMqtt) -> Option<&'static str> {
    let name = section.text_or("profile", raw.profile.as_ref(), "normal")?;
    match name.as_str() {
        "normal" => Some(SEND_NORMAL),
        "saver" => Some(SEND_SAVER),
        _ => section.mistake(
            "profile",
            format!("{name:?} is not a profile"),
            "write \"normal\" (a packet a minute) or \"saver\" (one in five minutes)",
        ),
    }
}

fn live_packets(section: &mut Section<'_>, raw: &RawMqtt) -> Option<usize> {
    if raw.live_packets.is_none() {
        return Some(LIVE_PLACES);
    }
    let most = i64::try_from(WINDOW - 1).ok()?;
    let number = section.whole("live_packets", raw.live_packets.as_ref(), &(1..=most), "8")?;
    usize::try_from(number).ok()
}

fn password(section: &mut Section<'_>, raw: &RawMqtt, read: ReadText<'_>) -> Option<Secret> {
    let example = "/etc/furrow/mqtt-password";
    match (&raw.password, &raw.password_file) {
        (Some(password), None) => section
            .text("password", Some(password), "…")
            .map(Secret::new),
        (None, Some(file)) => {
            let path = section.text("password_file", Some(file), example)?;
            let remedy = "write the password into that file, on its first line";
            match read(Path::new(&path)) {
                Ok(text) if text.trim().is_empty() => {
                    section.mistake("password_file", format!("{path:?} is empty"), remedy)
                }
                Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(error) => section.mistake(
                    "password_file",
                    format!("{path:?} can't be read: {error}"),
                    remedy,
                ),
            }
        }
        (Some(_), Some(_)) => section.mistake(
            "password",
            "stands beside password_file",
            "keep only one of them",
        ),
        (None, None) => section.mistake(
            "password_file",
            "there is no password",
            format!("add password_file = {example:?} (or password)"),
        ),
    }
}

fn certificate(section: &mut Section<'_>, path: &str, read: ReadText<'_>) -> Option<String> {
    let remedy = "name the PEM file with the certificate of the broker's authority";
    match read(Path::new(path)) {
        Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => Some(pem),
        Ok(_) => section.mistake(
            "ca_file",
            format!("{path:?} holds no PEM certificate"),
            remedy,
        ),
        Err(error) => section.mistake(
            "ca_file",
            format!("{path:?} can't be read: {error}"),
            remedy,
        ),
    }
}

fn journal(raw: Option<&RawJournal>, found: &mut Mistakes) -> Option<JournalSettings> {
    let default = RawJournal::default();
    let raw = raw.unwrap_or(&default);
    let mut section = Section::new("journal", found);
    section.refuse_unknown(&raw.unknown, "commit_interval, cap");
    let leaf = raw.commit_interval.as_ref();
    let commit_interval = section.duration("commit_interval", leaf, ("1s", "10min"), Some("30s"));
    let cap_bytes = section.size("cap", raw.cap.as_ref(), ("1 MiB", "64 GiB"), "512 MiB");
    Some(JournalSettings {
        commit_interval: commit_interval?,
        cap_bytes: cap_bytes?,
    })
}
