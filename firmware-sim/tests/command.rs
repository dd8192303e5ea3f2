//! The binary itself: its one line, its exit codes, its ports.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use furrow_sim_bus::{End, RemoteBus};

struct Running {
    child: Child,
    bus: String,
    control: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_furrow-sim"))
            .args(arguments)
            .args(["--listen", "tcp:127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("listening"));
        let mut word = |name| words.next().unwrap().strip_prefix(name).unwrap().to_owned();
        let (bus, control) = (word("bus="), word("control="));
        Self {
            child,
            bus,
            control,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_furrow-sim"))
        .args(arguments)
        .output()
        .unwrap()
}

fn check(arguments: &[&str], code: i32, error: &str) {
    let output = command(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(error), "{arguments:?}: {text}");
}

#[test]
fn wrong_command_lines() {
    check(&[], 64, "Usage");
    check(&["--help"], 0, "");
    check(
        &["greenhouse", "--lock-step", "--catch-up"],
        64,
        "cannot be used with",
    );
    check(&["greenhouse", "--start", "soon"], 64, "neither a time");
    check(
        &["greenhouse", "--listen", "7000"],
        64,
        "neither tcp:HOST:PORT",
    );
    check(
        &["greenhouse", "--listen", "tcp:192.0.2.1:1"],
        1,
        "error: listen at tcp:192.0.2.1:1: ",
    );
    check(
        &["replay", "/no/such/file.csv"],
        1,
        "error: open /no/such/file.csv: ",
    );
    check(
        &["status", "--control", "tcp:127.0.0.1:1"],
        1,
        "error: ask the simulator at tcp:127.0.0.1:1: ",
    );
    check(
        &["mqtt", "--topic", "a/{unit}"],
        64,
        "only {greenhouse}, {device} and {channel} stand in braces",
    );
    check(
        &["mqtt", "--greenhouses", "100", "--speed", "1000"],
        1,
        "error: that would be about 250000 messages a second",
    );
}

#[test]
fn faults_and_status_over_the_control_port() {
    let simulator = Running::start(&["greenhouse", "--seed", "1", "--lock-step"]);
    let control = simulator.control.as_str();
    check(
        &[
            "fault",
            "--control",
            control,
            "unplug",
            "sht-inside",
            "--for",
            "60s",
        ],
        0,
        "",
    );
    check(
        &["fault", "--control", control, "--after", "1h", "heat", "-8"],
        0,
        "",
    );
    check(
        &["fault", "--control", control, "stick-valve", "9"],
        1,
        "error: the simulator refused: there is no zone 9; there are 4",
    );
    let output = command(&["status", "--control", control, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["mode"], "lock-step");
    assert_eq!(status["mono_ms"], 0);
    assert_eq!(status["chips"]["sht-inside"]["plugged"], false);
    assert_eq!(status["chips"]["sht-outside"]["plugged"], true);
    // The end of the first and the beginning of the second.
    assert_eq!(status["faults_waiting"], 2);
}

#[test]
fn faults_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faults");
    let path_text = path.to_str().unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    writeln!(
        file,
        r#"{{"op":"fault","order":{{"fault":{{"kind":"stick-valve","zone":1,"position":"open"}},"after_ms":0}}}}"#
    )
    .unwrap();
    let simulator = Running::start(&["greenhouse", "--lock-step", "--faults", path_text]);
    let output = command(&["status", "--control", &simulator.control, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["valves_open"], serde_json::json!([1]));
    writeln!(file, "{{}}").unwrap();
    check(
        &[
            "greenhouse",
            "--listen",
            "tcp:127.0.0.1:0",
            "--faults",
            path_text,
        ],
        1,
        "line 2: missing field `op`",
    );
}

#[test]
fn a_replay_ends_with_success_when_its_programs_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    std::fs::write(
        &path,
        "time,air_temperature_c,relative_humidity_pct,co2_ppm,outside_global_w_m2,\
         outside_temperature_c,outside_relative_humidity_pct\n\
         2026-01-01T00:00:00Z,20.1,91.6,508,0,17,81.9\n\
         2026-01-01T00:05:00Z,20.2,91.7,509,1.5,17.1,82\n",
    )
    .unwrap();
    let mut simulator = Running::start(&["replay", path.to_str().unwrap()]);
    let bus = RemoteBus::connect(&simulator.bus, "replay").unwrap();
    let clock = bus.clock();
    assert_eq!(clock.now().mono_ns, 270_000_000_000);
    let mut busy = clock.busy();
    let mut samples = 0;
    while clock.ended().is_none() {
        samples += 1;
        busy = clock.wait_until(clock.now().mono_ns + 30_000_000_000, busy);
    }
    // From half a minute before the first row to half a step after the last.
    assert_eq!(samples, (30 + 300 + 150) / 30);
    assert!(matches!(clock.ended(), Some(End::Finished(_))));
    drop((busy, clock, bus));
    assert_eq!(simulator.child.wait().unwrap().code(), Some(0));
}
