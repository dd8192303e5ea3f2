//! The tools on site, as a technician uses them: real programs against the simulated greenhouse.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test helpers"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use furrow_tests::binaries::Binaries;
use furrow_tests::process::{Process, until};
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "nha-luoi-secret-7";
/// Simulated seconds a real second.
const SPEED: &str = "10";

/// What a command did.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

fn run(program: &Path, arguments: &[&str]) -> Done {
    let output = Command::new(program).args(arguments).output().unwrap();
    Done {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn gateway(folder: &Path, words: &[&str]) -> Done {
    let binaries = Binaries::beside_test().unwrap();
    let config = folder.join("gateway.toml");
    let config = config.to_str().unwrap();
    run(&binaries.gateway, &[&["--config", config], words].concat())
}

fn config() -> SiteConfig {
    SiteConfig {
        password: PASSWORD.into(),
        ..SiteConfig::usual("5s", "10s", "1s")
    }
}

fn ingest(folder: &Path) -> Ingest {
    let cooperative = Cooperative {
        gateways: vec![("gw-01".into(), "nha-luoi-1".into(), PASSWORD.into())],
        ..Cooperative::usual("token")
    };
    let binaries = Binaries::beside_test().unwrap();
    Ingest::start(&binaries, &folder.join("ingest"), &[cooperative], "", None).unwrap()
}

/// The simulated greenhouse, with a gateway that is not started yet.
fn site(folder: &Path, ingest: &Ingest) -> Site {
    let binaries = Binaries::beside_test().unwrap();
    let arguments = [
        "greenhouse",
        "--seed",
        "7",
        "--start",
        "-1d",
        "--speed",
        SPEED,
    ];
    Site::open(
        &binaries,
        &folder.join("site"),
        config(),
        &arguments,
        ingest.mqtt(),
    )
    .unwrap()
}

fn running(site: &mut Site) {
    site.start_gateway().unwrap();
    until(PATIENCE, || Ok(site.ask_gateway(&["status"]).ok())).unwrap();
}

/// One look of `watch`.
fn look(folder: &Path) -> Value {
    let done = gateway(folder, &["watch", "--json", "--for", "1ms"]);
    assert_eq!(done.code, 0, "{done:?}");
    serde_json::from_str(done.out.lines().next().unwrap()).unwrap()
}

fn sample(look: &Value, device: &str, channel: &str) -> Value {
    let mut samples = look["samples"].as_array().unwrap().iter();
    let found = samples.find(|one| one["device"] == device && one["channel"] == channel);
    found.unwrap_or(&Value::Null).clone()
}

/// A channel's value, once it is there and `wanted`.
fn value_when(folder: &Path, (device, channel): (&str, &str), wanted: impl Fn(f64) -> bool) -> f64 {
    until(PATIENCE, || {
        let value = sample(&look(folder), device, channel)["value"].as_f64();
        Ok(value.filter(|value| wanted(*value)))
    })
    .unwrap()
}

fn events(ingest: &Ingest, kind: &str) -> Vec<Value> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let from_ms = now_ms - 3 * 86_400_000;
    let path = format!(
        "/api/v1/cooperatives/hoa-binh/greenhouses/nha-luoi-1/events?from={from_ms}&to={now_ms}"
    );
    let events = ingest.api("token").get(&path).unwrap();
    let of_kind = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == kind);
    of_kind.cloned().collect()
}

/// `init` as a new user types it.
fn init(folder: &Path, bus: &str, port: u16, more: &[&str]) -> Done {
    init_in(folder, bus, port, &folder.join("state"), more)
}

fn init_in(folder: &Path, bus: &str, port: u16, state: &Path, more: &[&str]) -> Done {
    fs::create_dir_all(folder).unwrap();
    let password = folder.join("mqtt-password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let port = port.to_string();
    let words = [
        "init",
        "--yes",
        "--bus",
        bus,
        "--cooperative",
        "hoa-binh",
        "--gateway",
        "gw-01",
        "--greenhouse",
        "nha-luoi-1",
        "--timezone",
        "Asia/Ho_Chi_Minh",
        "--every",
        "5s",
        "--mqtt-host",
        "127.0.0.1",
        "--mqtt-port",
        &port,
        "--state-dir",
        state.to_str().unwrap(),
        "--password-file",
        password.to_str().unwrap(),
    ];
    gateway(folder, &[&words, more].concat())
}

fn start(folder: &Path) -> Process {
    let binaries = Binaries::beside_test().unwrap();
    let mut command = Command::new(&binaries.gateway);
    command
        .arg("--config")
        .arg(folder.join("gateway.toml"))
        .arg("run");
    let process = Process::start("furrow-gateway", &mut command, &folder.join("gateway.log"));
    let process = process.unwrap();
    let answers = || Ok((gateway(folder, &["status"]).code == 0).then_some(()));
    until(PATIENCE, answers).unwrap();
    process
}

#[test]
fn a_new_user_goes_from_an_empty_folder_to_stored_readings() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let site = site(folder.path(), &ingest);
    let new = folder.path().join("new");
    let port = ingest.mqtt().port();
    let inputs = [
        "--analog",
        "0x48:0=pyranometer",
        "--analog",
        "0x48:2=capacitive-moisture",
        "--device",
        "0x23=bh1750",
        "--device",
        "0x40=ina219",
        "--flow-meter",
        "17",
    ];
    let made = init(&new, site.bus(), port, &inputs);
    assert_eq!(made.code, 0, "{made:?}");
    let recognised = [
        "sht4x-44",
        "sht4x-45",
        "scd4x-62",
        "ads1115-48",
        "sht3x-44",
        "bme280-76",
        "scd30-61",
        "ezo-ph-63",
        "ezo-ec-64",
        "bh1750-23",
        "ina219-40",
        "sht4x-2-70-0-46",
        "drip-2c",
        "serial",
        "not configured: 0x41 on i2c-2 answers, but nothing identifies it: INA219 supply",
    ];
    for known in recognised {
        assert!(made.out.contains(known), "{known} in {}", made.out);
    }
    let checked = gateway(&new, &["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.out.contains("15 devices") && checked.out.contains("4 zones"),
        "{}",
        checked.out
    );

    // What is there is never written over by itself.
    let before = fs::read_to_string(new.join("gateway.toml")).unwrap();
    let again = init(&new, site.bus(), port, &[]);
    assert_eq!(again.code, 64, "{again:?}");
    assert!(again.err.contains("add --force"), "{}", again.err);
    assert_eq!(
        fs::read_to_string(new.join("gateway.toml")).unwrap(),
        before
    );

    let mut process = start(&new);
    let all_good = || {
        let look = look(&new);
        let good = look["samples"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["quality"] == "good");
        let some = |of: &str, key: &str| look["status"][of][key].as_u64() > Some(0);
        let stored = some("journal", "journalled_readings") && some("lateness", "ticks");
        Ok((good && stored && look["status"]["link"] == "up").then_some(()))
    };
    until(PATIENCE, all_good).unwrap_or_else(|error| panic!("{error}: {}", look(&new)));
    let started = until(PATIENCE, || Ok(events(&ingest, "gateway_started").pop()));
    started.unwrap();
    assert!(process.stop(PATIENCE).unwrap().success());
}

#[test]
fn wrong_wiring_is_told_by_init_scan_and_watch() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let site = site(folder.path(), &ingest);
    let port = ingest.mqtt().port();

    // A sensor that is not plugged in is not found, and nothing is invented for it.
    site.fault(&["unplug", "sht-inside"]).unwrap();
    let without = folder.path().join("without");
    let two = ["--i2c", "1", "--i2c", "3"];
    let made = init(&without, site.bus(), port, &two);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(!made.out.contains("0x44"), "{}", made.out);
    assert!(
        made.out.contains("nothing yet: name its inputs"),
        "{}",
        made.out
    );
    assert_eq!(gateway(&without, &["check"]).code, 0);

    // A sensor that is set to another address than it has: the scan shows both ends.
    let text = fs::read_to_string(without.join("gateway.toml")).unwrap();
    let swapped = text.replace("address = 0x45", "address = 0x46");
    assert_ne!(text, swapped);
    fs::write(without.join("gateway.toml"), swapped).unwrap();
    let scanned = gateway(&without, &["scan"]);
    let line = |address: &str| {
        let mut lines = scanned.out.lines();
        lines
            .find(|line| line.contains(address))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(line("0x46").contains("does not answer"), "{}", scanned.out);
    assert!(line("0x45").contains("not configured"), "{}", scanned.out);
    let read = gateway(&without, &["read"]);
    assert_eq!(read.code, 1, "{read:?}");

    // The gateway runs all the same: that sensor fails with its reason, the others are good.
    let mut process = start(&without);
    let settled = || {
        let look = look(&without);
        let wrong = sample(&look, "sht4x-45", "air_temperature");
        let right = sample(&look, "scd4x-62", "air_temperature");
        let is_so = wrong["quality"] == "failed" && right["quality"] == "good";
        Ok(is_so.then_some(wrong))
    };
    let wrong = until(PATIENCE, settled).unwrap();
    assert_eq!(wrong["value"], Value::Null);
    let reason = wrong["reason"].as_str().unwrap();
    assert!(
        reason.contains("0x46") && reason.contains("no acknowledge"),
        "{reason}"
    );
    assert!(process.stop(PATIENCE).unwrap().success());

    // With nothing at all on the buses nothing is written.
    for bus in ["1", "3"] {
        site.fault(&["bus-stuck", bus]).unwrap();
    }
    let nothing = folder.path().join("nothing");
    let made = init(&nothing, site.bus(), port, &two);
    assert_eq!(made.code, 1, "{made:?}");
    assert!(made.out.contains("gives no answers"), "{}", made.out);
    assert!(
        made.err.contains("no device was recognised"),
        "{}",
        made.err
    );
    assert!(!nothing.join("gateway.toml").exists());
}

#[test]
fn a_calibration_holds_at_once_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let mut site = site(folder.path(), &ingest);
    let at = site.folder().to_owned();
    running(&mut site);
    let inside = ("sht-inside", "air_temperature");
    let before = value_when(&at, inside, |_| true);

    let offset = [
        "calibrate",
        "offset",
        "sht-inside/air_temperature",
        "--value",
        "55.00",
        "--by",
        "an",
        "--max-spread",
        "2",
    ];
    let done = gateway(&at, &offset);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.out.contains("the running gateway has taken it up"),
        "{}",
        done.out
    );
    let after = value_when(&at, inside, |value| (value - before).abs() > 5.0);
    assert!((after - 55.0).abs() < 5.0, "{after}");

    // A probe between its two points, by volts that were measured before.
    let probe = "analog/soil_moisture_index";
    let dry_wet = [
        "calibrate",
        "capacitive",
        probe,
        "--dry",
        "3.50",
        "--wet",
        "0.50",
    ];
    assert_eq!(gateway(&at, &dry_wet).code, 0);

    let told = until(PATIENCE, || {
        let told = events(&ingest, "calibrated");
        Ok((told.len() == 2).then_some(told))
    });
    let told = told.unwrap();
    let texts: Vec<&str> = told
        .iter()
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert!(
        texts.iter().any(|text| text.starts_with("offset: read ")),
        "{texts:?}"
    );
    assert!(
        texts
            .iter()
            .any(|text| text.contains("dry 3.50 V, wet 0.50 V")),
        "{texts:?}"
    );
    let catalogs = until(PATIENCE, || {
        let records = site.ask_gateway(&["journal", "--decode"])?;
        let renewed = records.matches(r#""calibration_version":1"#).count() >= 2;
        Ok(renewed.then_some(()))
    });
    catalogs.unwrap();
    site.stop_gateway().unwrap();
}

#[test]
fn a_sensor_that_is_not_there_calibrates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let mut site = site(folder.path(), &ingest);
    let at = site.folder().to_owned();
    running(&mut site);
    site.fault(&["unplug", "sht-outside"]).unwrap();
    let failed = [
        "calibrate",
        "offset",
        "sht-outside/air_temperature",
        "--value",
        "20",
    ];
    let failed = gateway(&at, &failed);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.err.contains("nothing was calibrated"),
        "{}",
        failed.err
    );
    let listed = gateway(&at, &["calibrate", "list"]);
    assert_eq!(listed.out, "nothing was calibrated yet\n");
    site.stop_gateway().unwrap();
}

#[test]
fn a_calibration_outlasts_a_restart_and_can_be_undone() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let mut site = site(folder.path(), &ingest);
    let at = site.folder().to_owned();
    running(&mut site);
    let inside = ("sht-inside", "air_temperature");
    let before = value_when(&at, inside, |_| true);
    let series = "sht-inside/air_temperature";
    let offset = [
        "calibrate",
        "offset",
        series,
        "--value",
        "55.00",
        "--max-spread",
        "2",
    ];
    assert_eq!(gateway(&at, &offset).code, 0);

    // It holds after a restart. Without a gateway the bus is read, for the next one.
    site.stop_gateway().unwrap();
    let offset = [
        "calibrate",
        "offset",
        "sht-outside/air_temperature",
        "--value",
        "-5.5",
        "--max-spread",
        "2",
    ];
    let done = gateway(&at, &offset);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.out.contains("it holds from its next start on"),
        "{}",
        done.out
    );
    running(&mut site);
    value_when(&at, inside, |value| (value - 55.0).abs() < 5.0);
    value_when(&at, ("sht-outside", "air_temperature"), |value| {
        (value + 5.5).abs() < 5.0
    });

    let undone = gateway(&at, &["calibrate", "undo", "sht-inside/air_temperature"]);
    assert_eq!(undone.code, 0, "{undone:?}");
    value_when(&at, inside, |value| (value - before).abs() < 5.0);
    let listed = gateway(&at, &["calibrate", "list"]);
    assert_eq!(listed.out.lines().count(), 4, "{}", listed.out);
    assert!(listed.out.contains("version 1 undone"), "{}", listed.out);
    site.stop_gateway().unwrap();
}

#[test]
fn a_valve_test_passes_a_good_valve_and_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let mut site = site(folder.path(), &ingest);
    let at = site.folder().to_owned();
    running(&mut site);
    let test = ["valve-test", "--zone", "zone-1", "--for", "30s"];
    let good = gateway(&at, &test);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(
        good.out.contains("flowed while it was open"),
        "{}",
        good.out
    );
    assert!(good.out.contains("the water stopped"), "{}", good.out);

    site.fault(&["jam-meter"]).unwrap();
    let dry = gateway(&at, &test);
    assert_eq!(dry.code, 1, "{dry:?}");
    assert!(dry.out.contains("FAULT  no water flowed"), "{}", dry.out);
    assert!(dry.out.contains("ok     opened"), "{}", dry.out);
    site.fault(&["free-meter"]).unwrap();

    site.fault(&["stick-valve", "1", "--position", "closed"])
        .unwrap();
    let stuck = gateway(&at, &test);
    assert_eq!(stuck.code, 1, "{stuck:?}");
    assert!(stuck.out.contains("FAULT  did not open"), "{}", stuck.out);
    let unknown = gateway(&at, &["valve-test", "--zone", "zone-9"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");

    site.stop_gateway().unwrap();
    let none = gateway(&at, &test);
    assert_eq!(none.code, 1, "{none:?}");
    assert!(
        none.err.contains("the gateway is not running"),
        "{}",
        none.err
    );
}

#[test]
fn a_report_holds_everything_but_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let mut site = site(folder.path(), &ingest);
    let at = site.folder().to_owned();
    let look_into = |words: &[&str]| {
        let path = at.join("report.tar.gz");
        let path = path.to_str().unwrap();
        let done = gateway(&at, &[&["report", "--output", path], words].concat());
        assert_eq!(done.code, 0, "{done:?}");
        let shown = run(Path::new("tar"), &["-xzOf", path]);
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(!shown.out.contains(PASSWORD), "a secret is in the report");
        (done.out, shown.out)
    };
    let (held, text) = look_into(&[]);
    assert!(
        held.contains("status.json        missing: the gateway is not running"),
        "{held}"
    );
    assert!(text.contains("sht4x"), "the scan is in it");

    running(&mut site);
    // A careless log line.
    fs::write(
        at.join("careless.log"),
        format!("login failed with {PASSWORD}\n"),
    )
    .unwrap();
    let log = at.join("careless.log");
    let (held, text) = look_into(&["--log", log.to_str().unwrap()]);
    for part in [
        "config.toml",
        "status.json",
        "samples.json",
        "journal.json",
        "log.txt",
        "machine.txt",
    ] {
        assert!(
            held.lines()
                .any(|line| line.contains(part) && line.ends_with("bytes")),
            "{held}"
        );
    }
    assert!(text.contains("login failed with (removed)"), "{text}");
    assert!(text.contains("password = \"(removed)\""), "{text}");
    site.stop_gateway().unwrap();
}

/// One of each device, with a gateway that runs; a slow interval for the device that is calibrated.
fn every_sensor(folder: &Path, ingest: &Ingest) -> (Site, Process) {
    let binaries = Binaries::beside_test().unwrap();
    let (wire, line) = (folder.join("w1"), folder.join("rs485"));
    let (wire, line) = (wire.to_str().unwrap(), line.to_str().unwrap());
    let arguments = [
        "greenhouse",
        "--seed",
        "7",
        "--start",
        "-1d",
        "--speed",
        SPEED,
        "--one-wire",
        wire,
        "--serial",
        line,
    ];
    let simulator = folder.join("simulator");
    let site = Site::open(&binaries, &simulator, config(), &arguments, ingest.mqtt()).unwrap();
    let shipped = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/gateway-every-sensor.toml"
    );
    let text = fs::read_to_string(shipped).unwrap();
    let text = text
        .replace("tcp:127.0.0.1:7000", site.bus())
        .replace("./furrow-state/w1", wire)
        .replace("./furrow-state/rs485", line)
        .replace(
            "./furrow-state/gw-02",
            folder.join("state").to_str().unwrap(),
        )
        .replace("gw-02", "gw-01")
        .replace("nha-luoi-2", "nha-luoi-1")
        .replace("demo-only", PASSWORD)
        .replace("port = 1883", &format!("port = {}", ingest.mqtt().port()))
        .replace("every = \"60s\"", "every = \"10s\"");
    let (before, after) = text.split_once("id = \"sht31\"").unwrap();
    let after = after.replacen("every = \"10s\"", "every = \"2min\"", 1);
    let text = format!("{before}id = \"sht31\"{after}");
    // The sum of a day that began without it stays suspect until the next one.
    let (before, day_light) = text.split_once("[[derived]]\nid = \"day-light\"").unwrap();
    let after = day_light.split_once("\n[[").map_or("", |(_, rest)| rest);
    let after = format!("[[{after}");
    let after = if after == "[[" { "" } else { after.as_str() };
    fs::write(folder.join("gateway.toml"), format!("{before}{after}")).unwrap();
    let process = start(folder);
    (site, process)
}

/// Ticks that a machine may miss by itself during the tools, of some 400: at ten times real time, one that
/// stands still for a second misses ten seconds. A tool that held a bus would cost dozens.
const STALLED_MAX: u64 = 8;

/// Scan, read, calibrate, report and init of a gateway that goes on: no reading is missed for it, and none
/// is worse.
#[test]
fn all_tools_work_beside_a_running_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let at = folder.path();
    let (site, mut process) = every_sensor(at, &ingest);
    let bad = || {
        let look = look(at);
        let samples = look["samples"].as_array().unwrap().clone();
        let bad = samples.iter().filter(|one| one["quality"] != "good");
        bad.map(|one| format!("{}/{}: {}", one["device"], one["channel"], one["reason"]))
            .collect::<Vec<_>>()
    };
    until(PATIENCE, || Ok(bad().is_empty().then_some(())))
        .unwrap_or_else(|error| panic!("{error}: {:?}", bad()));
    let before = look(at)["status"].clone();

    scan_beside(at);
    read_beside(at);
    calibrate_beside(at);
    init_beside(at, &site, &ingest);
    report_beside(at);

    let after = look(at)["status"].clone();
    for key in ["missed_ticks", "late_samples"] {
        let count = |status: &Value| status[key].as_u64().unwrap();
        let more = count(&after) - count(&before);
        println!("{key}: {more}");
        assert!(more <= STALLED_MAX, "{key} in {after}");
    }
    assert_eq!(after["faulty_devices"], Value::Array(Vec::new()), "{after}");
    println!("lateness: {}", after["lateness"]);
    until(PATIENCE, || Ok(bad().is_empty().then_some(())))
        .unwrap_or_else(|error| panic!("{error}: {:?}", bad()));
    assert!(process.stop(PATIENCE).unwrap().success());
}

fn scan_beside(at: &Path) {
    let scanned = gateway(at, &["scan"]);
    assert_eq!(scanned.code, 0, "{scanned:?}");
    for known in [
        "SHT4x, serial 0f440001",
        "ADS1115, by its thresholds",
        "SHT3x, serial 0a310003",
        "SCD30, firmware 3.66",
        "EZO-pH, firmware 2.10",
        "EZO-EC, firmware 2.10",
        "BME280, id 0x60",
        "0x70/1 0x46",
        "SHT4x, serial 0f460005",
        "drip controller, version 1",
        "28-0316a2795bff",
        "address 2        soil-2 (soil-probe)",
    ] {
        assert!(scanned.out.contains(known), "{known} in {}", scanned.out);
    }
    for wrong in ["does not answer", "another part", "gives no answers"] {
        assert!(!scanned.out.contains(wrong), "{}", scanned.out);
    }
}

fn read_beside(at: &Path) {
    let all_good = || {
        let read = gateway(at, &["read", "--json"]);
        assert_eq!(read.code, 0, "{read:?}");
        let rows: Vec<Value> = serde_json::from_str(&read.out).unwrap();
        assert!(rows.len() > 40, "{}", read.out);
        let good = |row: &Value| {
            let fresh = row["age_ms"].as_u64() < Some(150_000);
            row["value"].is_number() && row["quality"] == "good" && fresh
        };
        Ok(rows.iter().all(good).then_some(()))
    };
    until(PATIENCE, all_good).unwrap();
    // Afresh, also of those that take their time, behind a multiplexer and on a serial line.
    let fresh = ["sht31", "light", "box", "feed-ph", "sht-bed-1", "soil-1"];
    let read = gateway(at, &[&["read", "--json"], &fresh[..]].concat());
    assert_eq!(read.code, 0, "{read:?}");
    let rows: Vec<Value> = serde_json::from_str(&read.out).unwrap();
    assert_eq!(rows.len(), 2 + 1 + 3 + 1 + 2 + 4, "{}", read.out);
    for row in &rows {
        assert!(row["value"].is_number(), "{row}");
        assert_eq!((&row["age_ms"], &row["quality"]), (&0.into(), &Value::Null));
    }
    assert_eq!(gateway(at, &["read", "nobody"]).code, 1);
}

fn calibrate_beside(at: &Path) {
    // Ten readings of a sensor that is read every other minute: twenty minutes, if they were its own.
    let mono_ms = || look(at)["status"]["mono_ms"].as_u64().unwrap();
    let began_ms = mono_ms();
    let series = "sht31/air_temperature";
    let offset = [
        "calibrate",
        "offset",
        series,
        "--value",
        "20",
        "--max-spread",
        "2",
    ];
    let done = gateway(at, &offset);
    assert_eq!(done.code, 0, "{done:?}");
    let took_ms = mono_ms() - began_ms;
    assert!(took_ms < 120_000, "{took_ms} ms of the field");
}

fn init_beside(at: &Path, site: &Site, ingest: &Ingest) {
    // A second configuration, beside the first one: the gateway that has the buses looks at them.
    let second = at.join("second");
    let line = at.join("rs485");
    let state_dir = at.join("state");
    let more = [
        "--serial",
        line.to_str().unwrap(),
        "--probe",
        "1=sen0604",
        "--device",
        "0x20=mcp23017",
        "--contact",
        "0x20:1=door",
    ];
    let made = init_in(&second, site.bus(), ingest.mqtt().port(), &state_dir, &more);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.err.contains("a gateway is running"), "{}", made.err);
    for known in [
        "sht4x-44",
        "sht4x-2-70-1-46",
        "scd30-61",
        "ezo-ph-63",
        "drip-2c",
        "mcp23017-20",
        "soil-1",
        "as s-soil it reads",
    ] {
        assert!(made.out.contains(known), "{known} in {}", made.out);
    }
    assert_eq!(gateway(&second, &["check"]).code, 0);
}

fn report_beside(at: &Path) {
    let report = at.join("report.tar.gz");
    let done = gateway(at, &["report", "--output", report.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{done:?}");
    let shown = run(
        Path::new("tar"),
        &[
            "-xzOf",
            report.to_str().unwrap(),
            "--wildcards",
            "*scan.txt",
        ],
    );
    assert!(
        shown.out.contains("SHT4x, serial 0f440001"),
        "{}",
        shown.out
    );
}

#[test]
fn watch_tells_each_sample_once_and_reads_the_bus_without_a_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let ingest = ingest(folder.path());
    let mut site = site(folder.path(), &ingest);
    let at = site.folder().to_owned();
    let alone = look(&at);
    assert_eq!(alone["source"], "bus");
    assert_eq!(
        sample(&alone, "sht-inside", "air_temperature")["quality"],
        "good"
    );
    running(&mut site);
    value_when(&at, ("sht-inside", "air_temperature"), |_| true);
    let lines = gateway(&at, &["watch", "--for", "3s"]);
    assert_eq!(lines.code, 0, "{lines:?}");
    let of_channel = |line: &&str| line.starts_with("sht-inside/air_temperature ");
    let count = lines.out.lines().filter(of_channel).count();
    assert!((2..=4).contains(&count), "{}", lines.out);
    let json = gateway(&at, &["watch", "--json", "--for", "3s", "--every", "1s"]);
    assert_eq!(json.out.lines().count(), 3, "{}", json.out);
    site.stop_gateway().unwrap();
}

#[test]
fn every_program_describes_itself_to_shells_and_to_man() {
    let binaries = Binaries::beside_test().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (program, name, command) in [
        (&binaries.gateway, "furrow-gateway", "valve-test"),
        (&binaries.ingest, "furrow-ingest", "export"),
        (&binaries.sim, "furrow-sim", "greenhouse"),
    ] {
        for shell in ["bash", "zsh", "fish"] {
            let script = run(program, &["completions", shell]);
            assert_eq!(script.code, 0, "{script:?}");
            assert!(script.out.contains(command), "{name} in {shell}");
        }
        let output = folder.path().join(name);
        let written = run(program, &["man", "--output", output.to_str().unwrap()]);
        assert_eq!(written.code, 0, "{written:?}");
        assert!(output.join(format!("{name}-{command}.1")).is_file());
        assert!(!output.join(format!("{name}-man.1")).exists());
    }
}
