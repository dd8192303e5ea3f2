#![allow(
    clippy::string_slice,
    clippy::unwrap_in_result,
    reason = "ASCII; test helpers"
)]

use std::net::SocketAddr;
use std::time::Duration;

use super::*;

fn parse(text: &str) -> Result<Settings, Vec<Mistake>> {
    let raw: RawConfig = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .build()
        .unwrap()
        .try_deserialize()
        .unwrap();
    settings::check(raw)
}

const MINIMAL: &str = r#"
    data_dir = "/tmp/x"
    [broker]
    listen = "127.0.0.1:0"
    [[cooperative]]
    id = "hoa-binh"
    name = "HTX Hòa Bình"
    [[cooperative.gateway]]
    id = "gw-01"
    greenhouse = "nha-luoi-1"
    password = "secret"
"#;

/// The mistakes of [`MINIMAL`] with one text replaced.
#[track_caller]
fn check(from: &str, to: &str, expected: &[&str]) {
    assert!(MINIMAL.contains(from), "nothing to replace");
    let mistakes = parse(&MINIMAL.replace(from, to)).unwrap_err();
    let lines: Vec<_> = mistakes
        .iter()
        .map(|m| format!("{}: {}", m.key, m.text))
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_small_file_is_enough() {
    let settings = parse(MINIMAL).unwrap();
    assert_eq!(
        settings.http_listen,
        SocketAddr::from(([127, 0, 0, 1], 8080))
    );
    assert_eq!(settings.log, LogSettings { max_bytes: 4 << 30 });
    assert!(matches!(
        settings.link,
        LinkSettings::Embedded { tls: None, .. }
    ));
    let [cooperative] = &settings.cooperatives[..] else {
        panic!()
    };
    assert_eq!(cooperative.gateways[0].greenhouse.as_str(), "nha-luoi-1");
}

#[test]
fn the_shipped_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ingest.toml");
    let settings = load(&path).unwrap();
    assert_eq!(settings.cooperatives[0].rules.len(), 2);
    assert_eq!(settings.cooperatives[0].tokens[0].0, "kỹ thuật");
}

#[test]
fn all_mistakes_come_at_once() {
    let text = r#"
        data_dir = 7
        colour = "green"
        broker = "yes"
        [http]
        listen = "everywhere"
        [log]
        max_size = "4 gigabytes"
        [trace]
        format = "xml"
        [webhook]
        url = "ftp://x"
        ca_file = "/nowhere/ca.pem"
        [[cooperative]]
        id = "Hòa Bình"
        [[cooperative.gateway]]
        id = "gw-01"
        password = ""
        [[cooperative.gateway]]
        id = "gw-01"
        greenhouse = "x"
        password_sha256 = "abc"
        [[cooperative.alert]]
        id = "heat"
        channel = "air_temperature"
        above = "hot"
        below = 3
        for = "10 minutes"
    "#;
    let lines: Vec<_> = parse(text)
        .unwrap_err()
        .iter()
        .map(|m| format!("{}: {}", m.key, m.text))
        .collect();
    let secret = "password_sha256 = \"…\" (printf %s SECRET | sha256sum)";
    assert_eq!(
        lines,
        [
            "colour: is unknown; remove it (known: data_dir, broker, mqtt, http, log, trace, webhook, store, heartbeat, cooperative)",
            "broker: is text (must be a section)",
            "broker: is missing; add [broker] listen = \"127.0.0.1:1883\", or [mqtt] url",
            "http.listen: \"everywhere\" is not an address and port (e.g. \"127.0.0.1:8080\")",
            "log.max_size: \"4 gigabytes\" is not a size (must be a whole number with KiB, MiB, GiB or TiB, e.g. \"4 GiB\")",
            "trace.format: must be \"text\" or \"json\"",
            "webhook.url: must start with http:// or https://",
            "webhook.ca_file: can't be read: No such file or directory (os error 2)",
            "cooperative[0].id: cooperative id has 'H' at position 0 (must be a-z, 0-9 or '-')",
            "cooperative[0].name: is missing; set it, e.g. \"HTX Hòa Bình\"",
            "cooperative[0].gateway[0].greenhouse: is missing; set it, e.g. \"nha-luoi-1\"",
            &format!("cooperative[0].gateway[0].password: is empty; set it, e.g. {secret}"),
            "cooperative[0].gateway[1].password_sha256: is not a SHA-256 in 64 hexadecimal digits",
            "cooperative[0].alert[0].for: \"10 minutes\" is not a duration (must be a whole number with ms, s, min, h or d, e.g. \"10min\")",
            "cooperative[0].alert[0].above: is text (must be a number)",
        ]
    );
}

#[test]
fn a_listener_beyond_loopback_needs_tls() {
    let mistake = "broker.listen: is reachable from other machines without TLS; \
        add tls = { certificate = \"…\", key = \"…\" }, or listen on 127.0.0.1";
    check("127.0.0.1:0", "0.0.0.0:1883", &[mistake]);
    check("127.0.0.1:0", "[::]:1883", &[mistake]);
    check("127.0.0.1:0", "192.168.1.5:1883", &[mistake]);
    let with_tls = MINIMAL.replace(
        "listen = \"127.0.0.1:0\"",
        "listen = \"0.0.0.0:8883\"\ntls = { certificate = \"a.pem\", key = \"a.key\" }",
    );
    assert!(parse(&with_tls).is_ok());
    check(
        "listen = \"127.0.0.1:0\"",
        "listen = \"0.0.0.0:8883\"\ntls = { certificate = \"a.pem\" }",
        &["broker.tls.key: is missing; set it, e.g. \"/etc/furrow/broker.pem\""],
    );
}

#[test]
fn one_broker_or_the_other() {
    let outside = |mqtt: &str| {
        let start = MINIMAL.find("[broker]").unwrap();
        let end = MINIMAL.find("[[cooperative]]").unwrap();
        parse(&format!(
            "{}[mqtt]\n{mqtt}\n{}",
            &MINIMAL[..start],
            &MINIMAL[end..]
        ))
    };
    let plain = outside("url = \"mqtt://broker\"\nusername = \"u\"\npassword = \"p\"").unwrap();
    let LinkSettings::Outside {
        host,
        port,
        ca_file: None,
        ..
    } = plain.link
    else {
        panic!()
    };
    assert_eq!((host.as_str(), port), ("broker", 1883));
    let mistakes = outside("url = \"mqtts://broker:1x\"\nusername = \"u\"").unwrap_err();
    let lines: Vec<_> = mistakes.iter().map(|m| m.key.as_str()).collect();
    assert_eq!(lines, ["mqtt.password", "mqtt.url"]);
    let mistakes =
        outside("url = \"mqtts://broker:99\"\nusername = \"u\"\npassword = \"p\"").unwrap_err();
    let lines: Vec<_> = mistakes.iter().map(|m| m.key.as_str()).collect();
    assert_eq!(lines, ["mqtt.ca_file"]);
    let both = MINIMAL.replace("[broker]", "mqtt = { url = \"mqtt://a\" }\n[broker]");
    assert!(parse(&both).is_err());
}

#[test]
fn twins_are_named() {
    let twin = format!(
        "{MINIMAL}{}",
        &MINIMAL[MINIMAL.find("[[cooperative]]").unwrap()..]
    );
    let mistakes = parse(&twin).unwrap_err();
    assert_eq!(mistakes[0].key, "cooperative");
    assert_eq!(
        mistakes[0].text,
        "\"hoa-binh\" stands there twice; ids must be unique"
    );
}

#[test]
fn durations_and_sizes_have_units() {
    let mut checker = check::Checker::default();
    let mut duration = |text: &str| checker.duration("x", Some(text.into()));
    assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(duration("10min"), Some(Duration::from_secs(600)));
    assert_eq!(duration("30 s"), Some(Duration::from_secs(30)));
    assert_eq!(duration("2h"), Some(Duration::from_secs(7_200)));
    for bad in ["", "10", "s", "1.5h", "-1s", "10m"] {
        assert_eq!(duration(bad), None, "{bad}");
    }
    let mut size = |text: &str| checker.size("x", Some(text.into()));
    assert_eq!(size("64 MiB"), Some(64 << 20));
    assert_eq!(size("1GB"), None);
}

#[test]
fn heartbeats() {
    let with =
        |text: &str| parse(&MINIMAL.replace("[broker]", &format!("[heartbeat]\n{text}\n[broker]")));
    let settings = |text: &str| with(text).unwrap().heartbeat.unwrap();
    let every_minute = HeartbeatSettings {
        url: "https://hc.example/secret".to_owned(),
        every: Duration::from_secs(60),
    };
    assert_eq!(
        settings("url = \"https://hc.example/secret\""),
        every_minute
    );
    let every_hour = settings("url = \"http://127.0.0.1:9/\"\nevery = \"1h\"");
    assert_eq!(every_hour.every, Duration::from_secs(3_600));
    assert!(!format!("{every_minute:?}").contains("secret"));
    for (text, expected) in [
        (
            "every = \"1min\"",
            "heartbeat.url: is missing; set it, e.g. \"https://hc.example/…\"",
        ),
        (
            "url = \"hc.example\"",
            "heartbeat.url: must be an address with http:// or https://",
        ),
        (
            "url = \"ftp://hc.example\"",
            "heartbeat.url: must be an address with http:// or https://",
        ),
        (
            "url = \"http://x/\"\nevery = \"500ms\"",
            "heartbeat.every: must be 1s to 1d",
        ),
        (
            "url = \"http://x/\"\nevery = \"2d\"",
            "heartbeat.every: must be 1s to 1d",
        ),
        (
            "url = \"http://x/\"\nto = 1",
            "heartbeat.to: is unknown; remove it (known: url, every)",
        ),
    ] {
        let mistakes = with(text).unwrap_err();
        let lines: Vec<_> = mistakes
            .iter()
            .map(|m| format!("{}: {}", m.key, m.text))
            .collect();
        assert_eq!(lines, [expected], "{text}");
    }
}

#[test]
fn retention_is_for_ever_unless_set_and_what_is_finer_goes_first() {
    let with = |retention: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ingest.toml");
        let text = format!(
            "data_dir = \"d\"\n[broker]\nlisten = \"127.0.0.1:0\"\n\
             [[cooperative]]\nid = \"a\"\nname = \"A\"\n{retention}\n"
        );
        std::fs::write(&path, text).unwrap();
        let loaded = load(&path).map(|settings| settings.cooperatives[0].retention);
        loaded.map_err(|error| error.to_string())
    };
    assert_eq!(with(""), Ok(crate::archive::Retention::default()));
    let day_ms = 86_400_000;
    let kept = crate::archive::Retention {
        readings_ms: Some(400 * day_ms),
        minutes_ms: Some(800 * day_ms),
        hours_ms: None,
    };
    let text = "retention = { readings = \"400d\", minutes = \"800d\", hours = \"0\" }";
    assert_eq!(with(text), Ok(kept));
    for (text, mistake) in [
        (
            "retention = { minutes = \"1d\" }",
            "cooperative[0].retention.minutes: is shorter",
        ),
        (
            "retention = { readings = \"2d\", minutes = \"9d\", hours = \"8d\" }",
            "hours: is shorter",
        ),
        (
            "retention = { readings = \"5min\" }",
            "readings: is below a day",
        ),
        ("retention = { days = 1 }", "retention.days: is unknown"),
    ] {
        let error = with(text).unwrap_err();
        assert!(error.contains(mistake), "{error}");
    }
}

const STORES: &str = r#"
    [[store]]
    name = "influx"
    kind = "influxdb2"
    url = "http://127.0.0.1:8086"
    org = "furrow"
    bucket = "readings"
    token = "secret"
    [[store]]
    name = "victoria"
    kind = "victoriametrics"
    url = "http://127.0.0.1:8428"
    retention = "400d"
"#;

#[test]
fn stores_are_read() {
    let settings = parse(&format!("{MINIMAL}{STORES}")).unwrap();
    let [influx, victoria] = &settings.stores[..] else {
        panic!()
    };
    assert_eq!(
        (influx.name.as_str(), influx.address()),
        ("influx", "http://127.0.0.1:8086")
    );
    let StoreKind::Victoria(settings) = &victoria.kind else {
        panic!()
    };
    assert_eq!(settings.read_url, settings.write_url);
    assert_eq!(settings.retention, Duration::from_secs(400 * 86_400));
}

#[test]
fn mistakes_in_stores_are_told_with_their_remedy() {
    for (from, to, expected) in [
        (
            "name = \"victoria\"",
            "name = \"influx\"",
            "store[1].name: \"influx\" is taken; names must be unique",
        ),
        (
            "name = \"influx\"",
            "name = \"archive\"",
            "store[0].name: \"archive\" is taken; names must be unique",
        ),
        (
            "name = \"influx\"",
            "name = \"../etc\"",
            "store[0].name: must be at most 32 lower-case letters, digits and hyphens, e.g. \"influx\"",
        ),
        (
            "kind = \"influxdb2\"",
            "kind = \"influxdb3\"",
            "store[0].kind: must be \"influxdb2\" or \"victoriametrics\"",
        ),
        (
            "    token = \"secret\"",
            "",
            "store[0].token_file: is missing; name the file that holds the token",
        ),
        (
            "retention = \"400d\"",
            "",
            "store[1].retention: is missing; set it, e.g. \"400d\": the server's -retentionPeriod, \
             which is a month unless set",
        ),
        (
            "bucket = \"readings\"",
            "bucket = \"readings\"\n    retention = \"1d\"",
            "store[0].retention: is not for this kind of store; remove it (known: name, kind, url, \
             org, bucket, bucket_prefix, token, token_file, timeout)",
        ),
    ] {
        assert!(STORES.contains(from), "nothing to replace: {from}");
        let text = format!("{MINIMAL}{}", STORES.replace(from, to));
        let mistakes = parse(&text).unwrap_err();
        let lines: Vec<_> = mistakes
            .iter()
            .map(|m| format!("{}: {}", m.key, m.text))
            .collect();
        assert_eq!(lines, [expected]);
    }
}
