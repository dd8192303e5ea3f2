//! The binary: exit codes, signals, and what survives a kill.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

mod kit;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use kit::client::{Gateway, stored_in};
use kit::{READINGS, Source};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_furrow-ingest"));
    command
        .arg("--config")
        .arg(dir.join("ingest.toml"))
        .env("RUST_LOG", "warn");
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn write_config(dir: &Path, broker_port: u16) {
    write_config_of(dir, broker_port, "nha-luoi-1");
}

/// With the gateway in this greenhouse.
fn write_config_of(dir: &Path, broker_port: u16, greenhouse: &str) {
    let text = format!(
        r#"
        data_dir = "{}"
        [broker]
        listen = "127.0.0.1:{broker_port}"
        [http]
        listen = "127.0.0.1:0"
        [[cooperative]]
        id = "hoa-binh"
        name = "HTX Hòa Bình"
        [[cooperative.gateway]]
        id = "gw-01"
        greenhouse = "{greenhouse}"
        password = "secret"
        "#,
        dir.join("data").display()
    );
    std::fs::write(dir.join("ingest.toml"), text).unwrap();
}

/// Starts it and gives the broker's port once it is ready.
fn start(dir: &Path) -> (Child, u16) {
    let mut child = command(dir)
        .args(["run", "--print-ready"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (http, mqtt) = line
        .trim()
        .strip_prefix("ready http=")
        .unwrap()
        .split_once(" mqtt=")
        .unwrap();
    assert!(http.starts_with("127.0.0.1:"));
    let (_, port) = mqtt.rsplit_once(':').unwrap();
    (child, port.parse().unwrap())
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn bad_configuration_is_64_with_all_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, stderr) = output(command(dir.path()).arg("check"));
    assert_eq!(code, Some(64));
    assert!(stderr.contains("can't read the configuration"), "{stderr}");
    std::fs::write(
        dir.path().join("ingest.toml"),
        "colour = 1\n[http]\nlisten = 2\n",
    )
    .unwrap();
    let (code, stdout, stderr) = output(command(dir.path()).arg("run"));
    assert_eq!((code, stdout.as_str()), (Some(64), ""));
    for key in ["colour: ", "data_dir: ", "broker: ", "http.listen: "] {
        assert!(stderr.contains(&format!("\n  {key}")), "{key} {stderr}");
    }
}

#[test]
fn check_says_what_it_found_and_the_environment_overrides_the_file() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), 0);
    let (code, stdout, stderr) = output(command(dir.path()).arg("check"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        stdout.contains("ok    configuration: 1 cooperatives, 1 gateways\n"),
        "{stdout}"
    );
    // A store that is away is told, and keeps nobody from starting.
    let path = dir.path().join("ingest.toml");
    let plain = std::fs::read_to_string(&path).unwrap();
    let store = "\n[[store]]\nname = \"influx\"\nkind = \"influxdb2\"\nurl = \"http://127.0.0.1:1\"\n\
                 org = \"o\"\nbucket = \"b\"\ntoken = \"t\"\n";
    std::fs::write(&path, plain.clone() + store).unwrap();
    let (code, stdout, stderr) = output(command(dir.path()).arg("check"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let told = "store influx: http://127.0.0.1:1 is not ready, which ingest waits for: store is busy or away";
    assert!(stdout.contains(told), "{stdout}");
    std::fs::write(&path, plain).unwrap();
    let wrong = ("FURROW__HTTP__LISTEN", "everywhere");
    let (code, _, stderr) = output(command(dir.path()).arg("check").env(wrong.0, wrong.1));
    assert_eq!(code, Some(64));
    assert!(
        stderr.contains("http.listen: \"everywhere\" is not an address"),
        "{stderr}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for verb in ["check", "run"] {
        let (code, _, _) = output(command(dir.path()).arg(verb).env(wrong.0, &address));
        assert_eq!(code, Some(1), "{verb}");
    }
}

/// At a shell's limit of 1,024 a thousand gateways were too many, and nothing said so.
#[test]
fn a_low_limit_of_open_files_is_raised_as_far_as_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), 0);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -Sn 200; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_furrow-ingest"))
        .arg("--config")
        .arg(dir.path().join("ingest.toml"))
        .args(["run", "--print-ready"])
        .stdout(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut limits = files.unwrap().split_whitespace();
    // "unlimited" is more than enough.
    let mut limit = || limits.next().unwrap().parse().unwrap_or(u64::MAX);
    let (soft, hard) = (limit(), limit());
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(soft, hard.min(65_536));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_stores_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    write_config(dir.path(), 0);
    let source = Source::new(7);
    let (mut child, port) = start(dir.path());
    write_config(dir.path(), port);
    let mut gateway = Gateway::connect(port);
    gateway.publish("state", true, source.state(1, 1)).await;
    let mut last = 0;
    for round in 0..4 {
        // Some of it is in the broker, some in the log, some acknowledged, some archived.
        for seq in last + 1..=last + 40 {
            gateway.publish("batch", false, source.packet([seq])).await;
        }
        gateway.wait_for_mark(&source, last + 8 + round).await;
        child.kill().unwrap();
        child.wait().unwrap();
        (child, _) = start(dir.path());
        // What was not acknowledged is offered again; here simply everything is.
        for first in (1..=last + 40).step_by(5) {
            gateway
                .publish("batch", false, source.packet(first..first + 5))
                .await;
        }
        last += 40;
        gateway.wait_for_mark(&source, last).await;
    }
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0), "a clean end");
    assert_eq!(stored_in(dir.path()), ((last - 1) * READINGS, 0));
    let (code, stdout, _) = output(command(dir.path()).arg("tail"));
    assert_eq!(code, Some(0));
    let records = stdout
        .lines()
        .filter(|line| line.contains("\"gateway\":\"gw-01\""))
        .count();
    assert!(records >= 160, "{records}");
}

/// What a command prints, of which success is expected.
fn printed(dir: &Path, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = output(command(dir).args(arguments));
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_records_are_listed_shown_and_run_again_by_the_running_ingest() {
    let dir = tempfile::tempdir().unwrap();
    write_config_of(dir.path(), 0, "nha-luoi-9");
    let source = Source::new(7);
    let (mut child, port) = start(dir.path());
    write_config_of(dir.path(), port, "nha-luoi-9");
    let mut gateway = Gateway::connect(port);
    gateway
        .publish("batch", false, source.packet([1, 2, 3, 9]))
        .await;
    gateway.wait_for_mark(&source, 3).await;
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let list = printed(dir.path(), &["dead", "list"]);
    assert_eq!(list.lines().count(), 4, "{list}");
    assert!(
        list.contains(
            "catalog names greenhouse nha-luoi-1, but the gateway is assigned to nha-luoi-9"
        ),
        "{list}"
    );
    let shown = printed(
        dir.path(),
        &["dead", "show", "--cooperative", "hoa-binh", "2"],
    );
    assert!(shown.contains("\"kind\": \"batch\""), "{shown}");
    assert!(shown.contains("\"can_be_run_again\": true"), "{shown}");
    let hex: String = source
        .record(2)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert!(shown.contains(&hex), "{shown}");
    let (code, _, stderr) =
        output(command(dir.path()).args(["dead", "show", "--cooperative", "hoa-binh", "99"]));
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("hoa-binh has no dead letter 99"),
        "{stderr}"
    );
    let gaps = printed(dir.path(), &["gaps", "--cooperative", "hoa-binh", "--json"]);
    assert!(gaps.contains("\"from_seq\":4,"), "{gaps}");
    assert!(gaps.contains("\"to_seq\":8"), "{gaps}");
    assert!(gaps.contains("\"reason\":\"waiting\""), "{gaps}");

    // The configuration is put right, and what was refused is run again.
    write_config(dir.path(), port);
    (child, _) = start(dir.path());
    let retry = ["dead", "retry", "--cooperative", "hoa-binh", "--all"];
    assert_eq!(printed(dir.path(), &retry), "4 to be run again, 4 done\n");
    assert_eq!(printed(dir.path(), &retry), "0 to be run again, 0 done\n");
    assert_eq!(printed(dir.path(), &["dead", "list"]), "");
    assert_eq!(printed(dir.path(), &["parked"]), "");
    gateway.publish("batch", false, source.packet(4..=8)).await;
    gateway.wait_for_mark(&source, 9).await;
    child.kill().unwrap();
    child.wait().unwrap();
    (child, _) = start(dir.path());
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(stored_in(dir.path()), (8 * READINGS, 0));
    assert_eq!(
        printed(dir.path(), &["gaps"]),
        "nothing is missing and nothing is lost\n"
    );
}
