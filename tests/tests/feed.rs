//! `furrow-sim mqtt` against real brokers: what Mosquitto acknowledged arrives, once each, as
//! documented; a broker that goes is waited for; one that is not there, or wants nobody, is an error.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test helpers"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use furrow_tests::binaries::Binaries;
use furrow_tests::fleet::Fleet;
use furrow_tests::mosquitto::{self, Mosquitto};
use furrow_tests::process::{Process, free_port, pause};
use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// Readings of a greenhouse at a tick.
const READINGS: usize = 22;

fn broker(folder: &Path) -> Mosquitto {
    Mosquitto::start(&mosquitto::find().unwrap(), &folder.join("broker")).unwrap()
}

fn feed(folder: &Path, broker: SocketAddr, options: &[&str]) -> Process {
    let mut command = Command::new(Binaries::beside_test().unwrap().sim);
    command
        .args(["mqtt", "--json", "--seed", "1", "--broker"])
        .arg(format!("mqtt://{broker}"))
        .args(options);
    Process::start("furrow-sim", &mut command, &folder.join("feed.log")).unwrap()
}

fn totals(feed: &mut Process) -> Value {
    let line = feed.wait_for_line("{\"made\"", PATIENCE).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// Listens to everything; ready when the broker has confirmed it.
fn listen(broker: SocketAddr) -> (Client, Connection) {
    let mut options = MqttOptions::new("listener", broker.ip().to_string(), broker.port());
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = Client::new(options, 16);
    client.subscribe("#", QoS::AtLeastOnce).unwrap();
    loop {
        let event = events.recv_timeout(PATIENCE).unwrap().unwrap();
        if matches!(event, Event::Incoming(Packet::SubAck(_))) {
            return (client, events);
        }
    }
}

/// So many messages: topic and payload.
fn receive(events: &mut Connection, count: usize) -> Vec<(String, Value)> {
    let end = Instant::now() + PATIENCE;
    let mut messages = Vec::new();
    while messages.len() < count {
        assert!(Instant::now() < end, "only {} messages", messages.len());
        let event = events.recv_timeout(PATIENCE).unwrap().unwrap();
        if let Event::Incoming(Packet::Publish(publish)) = event {
            let payload = serde_json::from_slice(&publish.payload).unwrap();
            messages.push((publish.topic, payload));
        }
    }
    messages
}

#[test]
fn every_reading_arrives_once_as_plain_json() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let (_client, mut events) = listen(broker.address());
    let start = "2026-04-18T12:00:00+07:00";
    let length = ["--for", "1m", "--every", "10s", "--speed", "100"];
    let topic = ["--topic", "farm/{greenhouse}/{device}/{channel}"];
    let which = ["--greenhouses", "2", "--start", start];
    let options = [length.as_slice(), &topic, &which].concat();
    let mut feed = feed(folder.path(), broker.address(), &options);
    let expected = 6 * 2 * READINGS;
    let messages = receive(&mut events, expected);
    assert!(
        feed.wait(PATIENCE).unwrap().success(),
        "{}",
        feed.log_tail()
    );
    assert_eq!(
        totals(&mut feed),
        serde_json::json!({ "made": expected, "acknowledged": expected, "reconnects": 0 })
    );
    let keys = ["channel", "device", "greenhouse", "time", "unit", "value"];
    let mut seen = BTreeSet::new();
    for (topic, payload) in &messages {
        let object = payload.as_object().unwrap();
        let names: BTreeSet<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(keys), "{payload}");
        assert!(payload["value"].is_number(), "{payload}");
        let text = |key: &str| payload[key].as_str().unwrap();
        let of = ["greenhouse", "device", "channel"].map(text);
        assert_eq!(*topic, format!("farm/{}", of.join("/")));
        assert!(
            seen.insert((topic.clone(), text("time").to_owned())),
            "{payload} came twice"
        );
    }
    let times: BTreeSet<&str> = seen.iter().map(|(_, time)| time.as_str()).collect();
    let first = times.first().copied();
    assert_eq!((times.len(), first), (6, Some("2026-04-18T05:00:00.000Z")));
}

#[test]
fn a_broker_that_is_killed_is_waited_for_and_gets_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = broker(folder.path());
    let options = ["--every", "1s", "--speed", "20", "--for", "1m"];
    let mut feed = feed(folder.path(), broker.address(), &options);
    feed.wait_for_line("connected to the broker", PATIENCE)
        .unwrap();
    pause(Duration::from_millis(500));
    broker.kill().unwrap();
    feed.wait_for_line("the broker is gone", PATIENCE).unwrap();
    broker.spawn().unwrap();
    assert!(
        feed.wait(PATIENCE).unwrap().success(),
        "{}",
        feed.log_tail()
    );
    let expected = 60 * READINGS;
    assert_eq!(
        totals(&mut feed),
        serde_json::json!({ "made": expected, "acknowledged": expected, "reconnects": 1 })
    );
}

#[test]
fn it_stops_when_told_to_with_everything_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(folder.path());
    let (_client, mut events) = listen(broker.address());
    let mut feed = feed(folder.path(), broker.address(), &["--every", "1s"]);
    receive(&mut events, 1);
    assert!(
        feed.stop(PATIENCE).unwrap().success(),
        "{}",
        feed.log_tail()
    );
    let totals = totals(&mut feed);
    assert_eq!(totals["made"], totals["acknowledged"], "{totals}");
}

#[test]
fn no_broker_and_one_that_wants_nobody_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let check = |address: SocketAddr, why: &str| {
        let mut feed = feed(folder.path(), address, &["--for", "1m"]);
        assert_eq!(feed.wait(PATIENCE).unwrap().code(), Some(1));
        let line = feed
            .wait_for_line(&format!("at {address}: "), PATIENCE)
            .unwrap();
        assert!(
            line.starts_with("error: connect to the broker at "),
            "{line}"
        );
        assert!(line.contains(why), "{line}");
    };
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    check(nobody, "Connection refused");
    let binaries = Binaries::beside_test().unwrap();
    let mut fleet = Fleet::open(&binaries, &folder.path().join("ingest"), 1).unwrap();
    // Ingest's own broker is for gateways.
    check(fleet.ingest.mqtt(), "BadUserNamePassword");
    fleet.ingest.stop().unwrap();
}
