//! Settings that make sense, and the checks that make them so.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use furrow_alerts::{Condition, Rule, Severity};
use furrow_wire::{CooperativeId, GatewayId, GreenhouseId, RuleId};

use super::Mistake;
use super::check::{Checker, join};
use super::heartbeat::{HeartbeatSettings, check_heartbeat};
use super::raw::{
    Leaf, RawAlert, RawBroker, RawConfig, RawCooperative, RawGateway, RawMqtt, RawServerTls,
};
use super::retention::check_retention;
use super::secret::{check_secret, check_token};
use super::store::{StoreSettings, check_stores};
use super::webhook::{WebhookSettings, check_webhook};
use crate::alerting::AlertRule;
use crate::archive::Retention;
use crate::broker::{PasswordHash, ServerTls, is_loopback};

/// Where the API listens unless told otherwise.
const DEFAULT_HTTP: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// Space of the log unless told otherwise: hours of a full fleet while the archive is stuck.
const DEFAULT_LOG_BYTES: u64 = 4 << 30;
/// Least space of the log: a few of its segments.
const MIN_LOG_BYTES: u64 = 64 << 20;
/// What is traced unless told otherwise. The broker library speaks of every client that leaves.
const DEFAULT_FILTER: &str = "info,rmqtt=warn,rmqtt_net=warn";

/// Everything the process needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where log, archive and snapshot live.
    pub data_dir: PathBuf,
    /// The broker: embedded or outside.
    pub link: LinkSettings,
    /// Where the API listens.
    pub http_listen: SocketAddr,
    /// The log.
    pub log: LogSettings,
    /// How traces are written.
    pub trace_format: TraceFormat,
    /// Which traces are written, in the syntax of `RUST_LOG`.
    pub trace_filter: String,
    /// Where alerts are posted.
    pub webhook: Option<WebhookSettings>,
    /// Stores beside the archive.
    pub stores: Vec<StoreSettings>,
    /// Who is told that ingest is well.
    pub heartbeat: Option<HeartbeatSettings>,
    /// Tenants.
    pub cooperatives: Vec<CooperativeSettings>,
}

/// How ingest gets its messages.
#[derive(Debug, Clone)]
pub enum LinkSettings {
    /// From its own broker.
    Embedded {
        /// Where that listens.
        listen: SocketAddr,
        /// Its certificate.
        tls: Option<ServerTls>,
    },
    /// From another one.
    Outside {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Certificates to trust, PEM; `None`: no TLS.
        ca_file: Option<PathBuf>,
        /// User name.
        username: String,
        /// Password.
        password: Secret,
    },
}

/// The log's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// Bytes that it may take on the disk.
    pub max_bytes: u64,
}

/// How traces are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One tenant.
#[derive(Debug, Clone)]
pub struct CooperativeSettings {
    /// Its id.
    pub id: CooperativeId,
    /// For people.
    pub name: String,
    /// Its gateways.
    pub gateways: Vec<GatewaySettings>,
    /// API tokens: whose, and the SHA-256.
    pub tokens: Vec<(String, [u8; 32])>,
    /// Alert rules.
    pub rules: Vec<AlertRule>,
    /// How long its readings are kept.
    pub retention: Retention,
}

/// One gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Its id.
    pub id: GatewayId,
    /// Where it stands. A catalog that names another greenhouse is refused.
    pub greenhouse: GreenhouseId,
    /// Of its connection to the embedded broker.
    pub password: PasswordHash,
}

/// Checks everything.
pub(super) fn check(raw: RawConfig) -> Result<Settings, Vec<Mistake>> {
    let mut checker = Checker::default();
    let c = &mut checker;
    c.unknown(
        "",
        &raw.unknown,
        "data_dir, broker, mqtt, http, log, trace, webhook, store, heartbeat, cooperative",
    );
    let data_dir = c.required_text("data_dir", raw.data_dir, "\"/var/lib/furrow-ingest\"");
    let broker = c.section("broker", raw.broker);
    let mqtt = c.section("mqtt", raw.mqtt);
    let link = check_link(c, broker, mqtt);
    let http = c.section("http", raw.http).unwrap_or_default();
    c.unknown("http", &http.unknown, "listen");
    let http_listen = c
        .address("http.listen", http.listen)
        .unwrap_or(DEFAULT_HTTP);
    let log = c.section("log", raw.log).unwrap_or_default();
    c.unknown("log", &log.unknown, "max_size");
    let max_bytes = c
        .size("log.max_size", log.max_size)
        .unwrap_or(DEFAULT_LOG_BYTES);
    if max_bytes < MIN_LOG_BYTES {
        c.mistake(
            "log.max_size",
            "is below 64 MiB (a backlog would stop ingest at once)",
        );
    }
    let trace = c.section("trace", raw.trace).unwrap_or_default();
    c.unknown("trace", &trace.unknown, "format, filter");
    let trace_format = check_trace_format(c, trace.format);
    let trace_filter = c.text("trace.filter", trace.filter);
    let webhook = c.section("webhook", raw.webhook).unwrap_or_default();
    let webhook = check_webhook(c, webhook);
    let stores = c.sections("store", raw.store);
    let stores = check_stores(c, stores);
    let heartbeat = check_heartbeat(c, raw.heartbeat);
    let cooperatives = c.sections("cooperative", raw.cooperative);
    let cooperatives: Vec<_> = cooperatives
        .into_iter()
        .filter_map(|(key, cooperative)| check_cooperative(c, &key, cooperative))
        .collect();
    unique(
        c,
        "cooperative",
        cooperatives
            .iter()
            .map(|cooperative| cooperative.id.as_str()),
    );
    match (data_dir, link) {
        (Some(data_dir), Some(link)) if checker.mistakes.is_empty() => Ok(Settings {
            data_dir: data_dir.into(),
            link,
            http_listen,
            log: LogSettings { max_bytes },
            trace_format,
            trace_filter: trace_filter.unwrap_or_else(|| DEFAULT_FILTER.to_owned()),
            webhook,
            stores,
            heartbeat,
            cooperatives,
        }),
        _ => Err(checker.mistakes),
    }
}

fn check_link(
    c: &mut Checker,
    broker: Option<RawBroker>,
    mqtt: Option<RawMqtt>,
) -> Option<LinkSettings> {
    match (broker, mqtt) {
        (Some(broker), None) => check_broker(c, broker),
        (None, Some(mqtt)) => check_mqtt(c, mqtt),
        (Some(_), Some(_)) => {
            c.mistake(
                "mqtt",
                "stands beside [broker]; remove one: own broker or another one",
            );
            None
        }
        (None, None) => {
            c.mistake(
                "broker",
                "is missing; add [broker] listen = \"127.0.0.1:1883\", or [mqtt] url",
            );
            None
        }
    }
}

fn check_broker(c: &mut Checker, raw: RawBroker) -> Option<LinkSettings> {
    c.unknown("broker", &raw.unknown, "listen, tls");
    if raw.listen.is_none() {
        c.mistake(
            "broker.listen",
            "is missing; set it, e.g. \"127.0.0.1:1883\"",
        );
    }
    let listen = c.address("broker.listen", raw.listen);
    let has_tls = raw.tls.is_some();
    let tls = c
        .section("broker.tls", raw.tls)
        .and_then(|tls| check_tls(c, tls));
    if listen.is_some_and(|listen| !is_loopback(listen.ip())) && !has_tls {
        let remedy = "add tls = { certificate = \"…\", key = \"…\" }, or listen on 127.0.0.1";
        c.mistake(
            "broker.listen",
            format!("is reachable from other machines without TLS; {remedy}"),
        );
    }
    Some(LinkSettings::Embedded {
        listen: listen?,
        tls,
    })
}

fn check_tls(c: &mut Checker, raw: RawServerTls) -> Option<ServerTls> {
    c.unknown("broker.tls", &raw.unknown, "certificate, key");
    let file = "\"/etc/furrow/broker.pem\"";
    let certificate = c.required_text("broker.tls.certificate", raw.certificate, file);
    let key = c.required_text("broker.tls.key", raw.key, file);
    Some(ServerTls {
        certificate: certificate?.into(),
        key: key?.into(),
    })
}

fn check_mqtt(c: &mut Checker, raw: RawMqtt) -> Option<LinkSettings> {
    c.unknown(
        "mqtt",
        &raw.unknown,
        "url, username, password, password_file, ca_file",
    );
    let example = "\"mqtt://127.0.0.1:1883\" or \"mqtts://broker.example:8883\"";
    let url = c.required_text("mqtt.url", raw.url, example);
    let username = c.required_text("mqtt.username", raw.username, "\"furrow-ingest\"");
    let password = match (raw.password, raw.password_file) {
        (Some(_), Some(_)) => {
            c.mistake("mqtt.password", "stands beside password_file; remove one");
            None
        }
        (password, None) => c.required_text("mqtt.password", password, "password_file = \"…\""),
        (None, file) => {
            let file = c.text("mqtt.password_file", file);
            file.and_then(|file| read_text(c, "mqtt.password_file", &file))
        }
    };
    let ca_file = c.text("mqtt.ca_file", raw.ca_file).map(PathBuf::from);
    let (is_tls, host, port) = split_url(&url?).or_else(|| {
        c.mistake(
            "mqtt.url",
            format!("is not the address of a broker (e.g. {example})"),
        );
        None
    })?;
    match (is_tls, &ca_file) {
        (true, None) => c.mistake("mqtt.ca_file", "is missing; name the certificates to trust"),
        (false, Some(_)) => c.mistake("mqtt.url", "is plain beside ca_file; use mqtts://"),
        (true, Some(_)) | (false, None) => {}
    }
    let password = Secret(password?);
    Some(LinkSettings::Outside {
        host,
        port,
        ca_file,
        username: username?,
        password,
    })
}

fn split_url(url: &str) -> Option<(bool, String, u16)> {
    let (is_tls, rest, default_port) = match url.split_once("://")? {
        ("mqtt", rest) => (false, rest, 1883),
        ("mqtts", rest) => (true, rest, 8883),
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (rest, default_port),
    };
    let is_host = !host.is_empty() && !host.contains(['/', '@', '?']);
    is_host.then(|| (is_tls, host.to_owned(), port))
}

pub(super) fn read_text(c: &mut Checker, key: &str, path: &str) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => {
            c.mistake(key, format!("can't be read: {error}"));
            None
        }
    }
}

fn check_trace_format(c: &mut Checker, leaf: Leaf) -> TraceFormat {
    match c.text("trace.format", leaf).as_deref() {
        None | Some("text") => TraceFormat::Text,
        Some("json") => TraceFormat::Json,
        Some(_) => {
            c.mistake("trace.format", "must be \"text\" or \"json\"");
            TraceFormat::Text
        }
    }
}

fn check_cooperative(
    c: &mut Checker,
    key: &str,
    raw: RawCooperative,
) -> Option<CooperativeSettings> {
    c.unknown(
        key,
        &raw.unknown,
        "id, name, gateway, token, alert, retention",
    );
    let id = c.required(&join(key, "id"), raw.id, "\"hoa-binh\"");
    let name = c.required_text(&join(key, "name"), raw.name, "\"HTX Hòa Bình\"");
    let gateways: Vec<GatewaySettings> = c
        .sections(&join(key, "gateway"), raw.gateway)
        .into_iter()
        .filter_map(|(key, gateway)| check_gateway(c, &key, gateway))
        .collect();
    unique(
        c,
        &join(key, "gateway"),
        gateways.iter().map(|gateway| gateway.id.as_str()),
    );
    let tokens: Vec<(String, [u8; 32])> = c
        .sections(&join(key, "token"), raw.token)
        .into_iter()
        .filter_map(|(key, token)| check_token(c, &key, token))
        .collect();
    let rules: Vec<AlertRule> = c
        .sections(&join(key, "alert"), raw.alert)
        .into_iter()
        .filter_map(|(key, alert)| check_alert(c, &key, alert))
        .collect();
    unique(
        c,
        &join(key, "alert"),
        rules.iter().map(|rule| rule.id.as_str()),
    );
    let retention = check_retention(c, &join(key, "retention"), raw.retention);
    Some(CooperativeSettings {
        id: id?,
        name: name?,
        gateways,
        tokens,
        rules,
        retention,
    })
}

fn check_gateway(c: &mut Checker, key: &str, raw: RawGateway) -> Option<GatewaySettings> {
    c.unknown(
        key,
        &raw.unknown,
        "id, greenhouse, password, password_sha256",
    );
    let id = c.required(&join(key, "id"), raw.id, "\"gw-01\"");
    let greenhouse = c.required(&join(key, "greenhouse"), raw.greenhouse, "\"nha-luoi-1\"");
    let password = check_secret(c, key, "password", raw.password, raw.password_sha256);
    Some(GatewaySettings {
        id: id?,
        greenhouse: greenhouse?,
        password: password?,
    })
}

fn check_alert(c: &mut Checker, key: &str, raw: RawAlert) -> Option<AlertRule> {
    let known = "id, greenhouse, device, channel, severity, above, below, absent, clear, for";
    c.unknown(key, &raw.unknown, known);
    let id: Option<RuleId> = c.required(&join(key, "id"), raw.id, "\"heat\"");
    let channel = c.required(&join(key, "channel"), raw.channel, "\"air_temperature\"");
    let greenhouse = c.parsed(&join(key, "greenhouse"), raw.greenhouse);
    let device = c.parsed(&join(key, "device"), raw.device);
    let severity = match c.text(&join(key, "severity"), raw.severity).as_deref() {
        None => Severity::default(),
        Some("info") => Severity::Info,
        Some("warning") => Severity::Warning,
        Some("critical") => Severity::Critical,
        Some(_) => {
            c.mistake(
                join(key, "severity"),
                "must be \"info\", \"warning\" or \"critical\"",
            );
            Severity::default()
        }
    };
    let for_ms = c
        .duration(&join(key, "for"), raw.lasting)
        .map_or(0, |lasting| {
            u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX)
        });
    let above = c.number(&join(key, "above"), raw.above);
    let below = c.number(&join(key, "below"), raw.below);
    let absent = c.flag(&join(key, "absent"), raw.absent).unwrap_or(false);
    let clear = c.number(&join(key, "clear"), raw.clear);
    let condition = match (above, below, absent) {
        (Some(limit), None, false) => Condition::Above {
            limit,
            clear: clear.unwrap_or(limit),
        },
        (None, Some(limit), false) => Condition::Below {
            limit,
            clear: clear.unwrap_or(limit),
        },
        (None, None, true) => Condition::Absent,
        _ => {
            c.mistake(
                key,
                "must have exactly one of above = …, below = …, absent = true",
            );
            return None;
        }
    };
    let rule = Rule::new(condition, for_ms)
        .map_err(|error| c.mistake(key, error.to_string()))
        .ok();
    Some(AlertRule {
        id: id?,
        greenhouse,
        device,
        channel: channel?,
        severity,
        rule: rule?,
    })
}

fn unique<'a>(c: &mut Checker, key: &str, ids: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            c.mistake(
                key,
                format!("{id:?} stands there twice; ids must be unique"),
            );
        }
    }
}
