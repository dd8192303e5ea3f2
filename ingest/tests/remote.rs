//! Commands and orders through the whole process: over HTTP to a gateway on the broker, and back, also
//! over a kill.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test helpers; foreign enums"
)]

mod kit;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};

use furrow_wire::{
    Birth, BootId, ClockState, Command, CommandOutcome, CommandResult, Compression, Event,
    EventKind, Events, GatewayState, Orders, OrdersOutcome, Record, RecordKind, Wanted,
    encode_packet,
};
use kit::client::PATIENCE;
use kit::{START_MS, Source};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet};
use rumqttc::v5::{AsyncClient, MqttOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const COMMANDS: &str = "/api/v1/cooperatives/hoa-binh/gateways/gw-01/commands";
const ORDERS: &str = "/api/v1/cooperatives/hoa-binh/gateways/gw-01/orders";
const OPEN: &str = r#"{"kind":"open_zone","zone":"zone-1","seconds":600}"#;

/// A running program.
struct Ingest {
    child: Child,
    http: String,
    mqtt: u16,
}

fn start(dir: &Path, mqtt: u16) -> Ingest {
    let gateway = |id: &str| {
        format!(
            "[[cooperative.gateway]]\nid = \"{id}\"\ngreenhouse = \"nha-luoi-1\"\npassword = \"secret\"\n"
        )
    };
    let cooperative = |id: &str, token: &str, gateways: &str| {
        format!(
            "[[cooperative]]\nid = \"{id}\"\nname = \"HTX\"\n{gateways}\
             [[cooperative.token]]\nname = \"{token}\"\ntoken = \"{token}-token-of-a-fair-length\"\n"
        )
    };
    let text = format!(
        "data_dir = \"{}\"\n[broker]\nlisten = \"127.0.0.1:{mqtt}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{}{}",
        dir.join("data").display(),
        cooperative("hoa-binh", "hoa", &gateway("gw-01")),
        cooperative("other", "lan", &gateway("gw-02")),
    );
    std::fs::write(dir.join("ingest.toml"), text).unwrap();
    let mut child = Process::new(env!("CARGO_BIN_EXE_furrow-ingest"))
        .arg("--config")
        .arg(dir.join("ingest.toml"))
        .args(["run", "--print-ready"])
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready = line.trim().strip_prefix("ready http=").unwrap();
    let (http, mqtt) = ready.split_once(" mqtt=").unwrap();
    let (_, mqtt) = mqtt.rsplit_once(':').unwrap();
    Ingest {
        child,
        http: http.to_owned(),
        mqtt: mqtt.parse().unwrap(),
    }
}

impl Ingest {
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a request, and gives status and body.
    async fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer hoa-token-of-a-fair-length\r\n\
             content-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}",
            self.http
        );
        let address = self.http.clone();
        let exchange = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = exchange.await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "text/plain", "").await
    }

    async fn put(&self, query: &str, text: &str) -> (u16, Value) {
        let path = format!("{ORDERS}{query}");
        self.ask("PUT", &path, "application/toml", text).await
    }

    async fn command(&self, body: &str) -> (u16, Value) {
        self.ask("POST", COMMANDS, "application/json", body).await
    }

    /// Asks until the archive, which follows the log, has what is expected.
    async fn wait_for(&self, path: &str, expected: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let (status, found) = self.get(path).await;
                if status == 200 && expected(&found) {
                    return found;
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("{path} stays other than expected"))
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // It may have been killed before.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a made-up gateway is told.
#[derive(Debug)]
enum Told {
    Connected,
    Command(Command),
    Orders(Orders),
}

struct Gateway {
    client: AsyncClient,
    told: mpsc::Receiver<Told>,
    task: tokio::task::JoinHandle<()>,
}

impl Gateway {
    async fn connect(port: u16) -> Self {
        let mut options = MqttOptions::new("hoa-binh/gw-01", "127.0.0.1", port);
        options.set_credentials("hoa-binh/gw-01", "secret");
        options.set_max_packet_size(Some(1 << 20));
        let (client, mut events) = AsyncClient::new(options, 100);
        let (sender, told) = mpsc::channel(100);
        let subscriber = client.clone();
        let task = tokio::spawn(async move {
            loop {
                let packet = match events.poll().await {
                    Ok(rumqttc::v5::Event::Incoming(packet)) => packet,
                    Ok(_) => continue,
                    // Ingest was killed, and nobody looks at this gateway any more.
                    Err(_) => return,
                };
                let told = match packet {
                    Packet::ConnAck(_) => {
                        let filters = ["command", "config"].map(|kind| {
                            let topic = format!("furrow/1/hoa-binh/gw-01/{kind}");
                            Filter::new(topic, QoS::AtLeastOnce)
                        });
                        subscriber.try_subscribe_many(filters).unwrap();
                        continue;
                    }
                    Packet::SubAck(_) => Told::Connected,
                    Packet::Publish(publish) if publish.topic.ends_with(b"/command") => {
                        let properties = publish.properties.unwrap();
                        assert!(properties.message_expiry_interval.unwrap() <= 60);
                        Told::Command(Command::decode(&publish.payload).unwrap())
                    }
                    Packet::Publish(publish) => {
                        Told::Orders(Orders::decode(&publish.payload).unwrap())
                    }
                    _ => continue,
                };
                if sender.send(told).await.is_err() {
                    return;
                }
            }
        });
        let mut gateway = Self { client, told, task };
        let told = gateway.told().await;
        assert!(matches!(told, Told::Connected), "{told:?}");
        gateway
    }

    async fn told(&mut self) -> Told {
        tokio::time::timeout(PATIENCE, self.told.recv())
            .await
            .unwrap()
            .unwrap()
    }

    async fn command(&mut self) -> Command {
        match self.told().await {
            Told::Command(command) => command,
            other => panic!("{other:?}"),
        }
    }

    async fn orders(&mut self) -> (u64, String) {
        match self.told().await {
            Told::Orders(orders) => (orders.version, orders.text),
            other => panic!("{other:?}"),
        }
    }

    async fn publish(&self, kind: &str, body: impl Into<bytes::Bytes>) {
        let topic = format!("furrow/1/hoa-binh/gw-01/{kind}");
        self.client
            .publish(topic, QoS::AtLeastOnce, kind == "state", body)
            .await
            .unwrap();
    }

    async fn be_born(&self, boot: u64, mono_ms: u64, orders: u64) {
        let birth = Birth {
            boot: BootId(boot),
            mono_ms,
            software: "test".to_owned(),
            greenhouse: "nha-luoi-1".parse().unwrap(),
            clock: ClockState::Synchronised,
            orders,
            streams: vec![],
            journalled_readings: 0,
            waiting_readings: 0,
            lost_readings: 0,
        };
        let state = GatewayState {
            online: true,
            birth: Some(birth),
        };
        self.publish("state", state.to_json()).await;
    }

    async fn answer(&self, command: &Command, outcome: CommandOutcome, mono_ms: u64) {
        let result = CommandResult {
            id: command.id,
            outcome,
            text: match outcome {
                CommandOutcome::Refused => "tank is empty".to_owned(),
                CommandOutcome::Accepted | CommandOutcome::Stale => String::new(),
            },
            boot: BootId(5),
            at_mono_ms: mono_ms,
            run: (outcome == CommandOutcome::Accepted).then_some(4),
        };
        self.publish("result", result.encode()).await;
    }

    /// Says in record `seq` what became of orders.
    async fn say(&self, seq: u64, version: u64, outcome: OrdersOutcome, text: &str) {
        let events = Events {
            boot: BootId(5),
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(START_MS),
            events: vec![Event {
                at_mono_ms: seq * 1_000,
                zone: None,
                planting: None,
                what: EventKind::Ordered {
                    version,
                    outcome,
                    by: "hoa".to_owned(),
                    text: text.to_owned(),
                },
            }],
        };
        let record = Record {
            name: Source::new(7).name(seq),
            kind: RecordKind::Events,
            body: events.encode(),
        };
        let record = record.encode().unwrap();
        let packet = encode_packet(&[&record], Compression::Plain).unwrap();
        self.publish("batch", packet).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wait_until_online(ingest: &Ingest, online: bool) {
    let path = "/api/v1/cooperatives/hoa-binh/greenhouses";
    let is_it = |found: &Value| found[0]["gateway"]["online"] == json!(online);
    ingest.wait_for(path, is_it).await;
}

/// Hands a command in; the gateway answers what arrives with these outcomes and at these times of its own.
/// Gives the answer, and what arrived.
async fn asked(
    ingest: &Ingest,
    gateway: &mut Gateway,
    body: &str,
    answers: &[(CommandOutcome, u64)],
) -> ((u16, Value), Vec<Command>) {
    tokio::join!(ingest.command(body), async {
        let mut arrived = Vec::new();
        for (outcome, mono_ms) in answers {
            let command = gateway.command().await;
            gateway.answer(&command, *outcome, *mono_ms).await;
            arrived.push(command);
        }
        arrived
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_reaches_its_gateway_and_its_answer_the_person() {
    use CommandOutcome::{Accepted, Refused, Stale};
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = start(dir.path(), 0);
    let offline = json!({ "error": "the gateway is offline; nothing was sent" });
    assert_eq!(ingest.command(OPEN).await, (503, offline.clone()));
    let mut gateway = Gateway::connect(ingest.mqtt).await;
    gateway.be_born(5, 1_000, 0).await;
    wait_until_online(&ingest, true).await;

    let (answer, first) = asked(&ingest, &mut gateway, OPEN, &[(Accepted, 2_000)]).await;
    let expected = Command {
        id: first[0].id,
        boot: BootId(5),
        mono_ms: 1_000,
        issued_by: "hoa".to_owned(),
        wanted: Wanted::OpenZone {
            zone: "zone-1".parse().unwrap(),
            seconds: 600,
        },
    };
    assert_eq!(first, [expected]);
    let id = |commands: &[Command], n: usize| json!(commands[n].id.to_string());
    let body = json!({ "id": id(&first, 0), "outcome": "accepted", "run": 4 });
    assert_eq!(answer, (200, body));

    // Its time is that of the answer before.
    let hold = r#"{"kind":"hold","seconds":60}"#;
    let (answer, second) = asked(&ingest, &mut gateway, hold, &[(Refused, 3_000)]).await;
    assert_eq!(second[0].mono_ms, 2_000);
    let body = json!({ "error": "tank is empty", "id": id(&second, 0), "outcome": "refused" });
    assert_eq!(answer, (409, body));

    let answers = [(Stale, 90_000), (Accepted, 90_100)];
    let release = r#"{"kind":"release"}"#;
    let (answer, third) = asked(&ingest, &mut gateway, release, &answers).await;
    assert_eq!((third[0].mono_ms, third[1].mono_ms), (3_000, 90_000));
    assert_eq!((answer.0, &answer.1["id"]), (200, &id(&third, 1)));

    let answers = [(Stale, 90_200), (Stale, 90_300)];
    let (answer, fourth) = asked(&ingest, &mut gateway, release, &answers).await;
    let text = "it came too late, and was not done";
    let body = json!({ "error": text, "id": id(&fourth, 1), "outcome": "stale" });
    assert_eq!(answer, (409, body));

    // All of it is told afterwards, also after a kill.
    let is_complete = |found: &Value| {
        let rows = found.as_array().unwrap();
        rows.len() == 6 && rows.iter().all(|row| !row["outcome"].is_null())
    };
    let before = ingest.wait_for(COMMANDS, is_complete).await;
    ingest.kill();
    let mut ingest = start(dir.path(), ingest.mqtt);
    let told = ingest.wait_for(COMMANDS, is_complete).await;
    assert_eq!(told, before);
    let keys = ["id", "issued_by", "outcome", "text", "run", "repeats"];
    let rows = told.as_array().unwrap().iter().rev();
    let rows: Vec<Value> = rows
        .map(|row| keys.map(|key| row[key].clone()).into())
        .collect();
    let expected = [
        json!([id(&first, 0), "hoa", "accepted", "", 4, null]),
        json!([
            id(&second, 0),
            "hoa",
            "refused",
            "tank is empty",
            null,
            null
        ]),
        json!([id(&third, 0), "hoa", "stale", "", null, null]),
        json!([id(&third, 1), "hoa", "accepted", "", 4, id(&third, 0)]),
        json!([id(&fourth, 0), "hoa", "stale", "", null, null]),
        json!([id(&fourth, 1), "hoa", "stale", "", null, id(&fourth, 0)]),
    ];
    assert_eq!(rows, expected);
    assert_eq!(told[4]["wanted"], json!({ "kind": "hold", "seconds": 60 }));
    ingest.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_ask_what_and_how_often() {
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = start(dir.path(), 0);
    let mut gateway = Gateway::connect(ingest.mqtt).await;
    gateway.be_born(5, 1_000, 0).await;
    wait_until_online(&ingest, true).await;
    // Another cooperative's gateway does not exist, whatever the path.
    for path in [
        "/api/v1/cooperatives/hoa-binh/gateways/gw-02/commands",
        "/api/v1/cooperatives/other/gateways/gw-02/commands",
        "/api/v1/cooperatives/other/gateways/gw-02/orders",
    ] {
        let method = if path.ends_with("orders") {
            "PUT"
        } else {
            "POST"
        };
        let (status, _) = ingest.ask(method, path, "application/json", OPEN).await;
        assert_eq!(status, 404, "{path}");
    }
    let refused = [(CommandOutcome::Refused, 2_000)];
    for n in 0..10 {
        let (answer, _) = asked(&ingest, &mut gateway, OPEN, &refused).await;
        assert_eq!(answer.0, 409, "{n}");
    }
    assert_eq!(ingest.command(OPEN).await.0, 429);
    // Its last will.
    gateway.publish("state", "{\"online\":false}").await;
    wait_until_online(&ingest, false).await;
    assert_eq!(ingest.command(OPEN).await.0, 503);
    ingest.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_reach_their_gateway_whatever_is_killed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut ingest = start(dir.path(), 0);
    let version = |version: u64| (200, json!({ "version": version }));
    assert_eq!(ingest.get(ORDERS).await, version(0));
    assert_eq!(ingest.put("?after=0", "a = 1").await, version(1));
    assert_eq!(ingest.put("?after=0", "a = 1").await, version(1));
    let lost = json!({ "error": "version 1 is the newest", "version": 1 });
    assert_eq!(ingest.put("?after=0", "a = 2").await, (409, lost));
    assert_eq!(ingest.put("", "a = = 2").await.0, 400);

    // The broker kept them.
    let mut gateway = Gateway::connect(ingest.mqtt).await;
    assert_eq!(gateway.orders().await, (1, "a = 1".to_owned()));
    gateway.be_born(5, 1_000, 1).await;
    wait_until_online(&ingest, true).await;
    assert_eq!(ingest.put("?after=1", "a = 2").await, version(2));
    assert_eq!(gateway.orders().await, (2, "a = 2".to_owned()));

    // What the gateway says became of them.
    gateway.say(1, 1, OrdersOutcome::Refused, "no zone-9").await;
    gateway.say(2, 2, OrdersOutcome::OnTrial, "").await;
    gateway.say(3, 2, OrdersOutcome::Confirmed, "").await;
    let confirmed = |found: &Value| found["outcome"] == json!("confirmed");
    let found = ingest.wait_for(ORDERS, confirmed).await;
    let keys = ["version", "issued_by", "text", "why", "seen_by_gateway"];
    assert_eq!(
        keys.map(|key| found[key].clone()),
        [
            json!(2),
            json!("hoa"),
            json!("a = 2"),
            json!(""),
            json!(false)
        ]
    );
    let (_, first) = ingest.get(&format!("{ORDERS}?version=1")).await;
    assert_eq!(
        ["outcome", "why"].map(|key| first[key].clone()),
        [json!("refused"), json!("no zone-9")]
    );

    // As soon as a version is told it is durable: the archive may not have it yet.
    drop(gateway);
    assert_eq!(ingest.put("", "a = 3").await, version(3));
    ingest.kill();
    let mut ingest = start(dir.path(), ingest.mqtt);
    assert_eq!(ingest.put("?after=2", "a = 3").await, version(3));
    let pending = |found: &Value| found["version"] == json!(3);
    let found = ingest.wait_for(ORDERS, pending).await;
    assert_eq!(found["outcome"], json!("pending"));

    // The broker has forgotten; the birth says what is lacking.
    let mut gateway = Gateway::connect(ingest.mqtt).await;
    gateway.be_born(6, 1_000, 2).await;
    assert_eq!(gateway.orders().await, (3, "a = 3".to_owned()));
    gateway.be_born(6, 2_000, 3).await;
    ingest
        .wait_for(ORDERS, |found| found["seen_by_gateway"] == json!(true))
        .await;
    assert_eq!(ingest.put("", "a = 4").await, version(4));
    assert_eq!(gateway.orders().await, (4, "a = 4".to_owned()));
    ingest.kill();
}
