//! On site, with no network and without the time of day: alarms drive a siren and a beacon, and buttons
//! beat rules and commands. Everything goes through simulated GPIO lines; no ingest is there at all.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "test helpers; figures for who runs it"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use furrow_tests::process::{Process, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// Simulated seconds a real second, at most: what is looked at from outside is seen that much later.
const SPEED: f64 = 5.0;
/// Real time of a look from outside, s.
const LOOK_S: f64 = 0.5;
/// Contacts are read this often, s.
const EVERY_S: f64 = 1.0;
/// The mains may be away for so long, s.
const MAINS_FOR_S: f64 = 10.0;
/// Longest travel of a simulated valve, s.
const TRAVEL_S: f64 = 3.0;
/// What the manual button gives, s.
const MANUAL_S: f64 = 30.0;

const SIREN: u8 = 9;
const BEACON: u8 = 10;
const STOP: &str = "5";
const MANUAL: &str = "6";
const SILENCE: &str = "7";

#[test]
fn an_alarm_sounds_until_it_is_silenced_or_over() {
    let mut bench = Bench::start();
    let check = |line, what: &str| bench.says("check", &[], &format!("{line:<10}{what}"));
    check(
        "siren",
        "GPIO 9 on main, on while high, at most 15 min at once",
    );
    check(
        "alarm",
        "mains (Mains are away): lines/mains_present below 0.5 for 10 s, over at 0.5; critical",
    );
    bench.reached(None, (false, false), "off at the start");

    // The mains fail: within the rule's time, one reading and a look.
    let at_s = bench.fault(&["mains-off"]);
    let bound_s = MAINS_FOR_S + EVERY_S;
    bench.reached(Some((at_s, bound_s)), (true, true), "the mains fail");
    bench.says(
        "status",
        &[],
        "alarm     mains: Mains are away, critical, sounding",
    );

    let at_s = bench.press(SILENCE);
    bench.reached(
        Some((at_s, EVERY_S)),
        (false, true),
        "silenced by its button",
    );
    bench.says("status", &[], "critical, silenced for");

    // Heat, a new alarm, sounds beside the silenced one.
    bench.fault(&["heat", "+30"]);
    bench.reached(None, (true, true), "heat");
    bench.says("silence", &["--for", "1h"], "2 alarms are silenced");
    bench.reached(None, (false, true), "silenced by command");

    // One is over, the other is not; then both are.
    bench.fault(&["heat", "-10"]);
    bench.says_soon("status", "alarm     heat", false);
    assert_eq!(bench.lines(), (false, true));
    let at_s = bench.fault(&["mains-on"]);
    bench.reached(Some((at_s, EVERY_S)), (false, false), "all is well");

    // It comes back and sounds: the silence went with it. The process ends, and the siren with it.
    bench.fault(&["mains-off"]);
    bench.reached(None, (true, true), "the mains fail again");
    let ended = bench.gateway.stop(PATIENCE).unwrap();
    assert!(ended.success(), "{ended}: {}", bench.gateway.log_tail());
    assert_eq!(
        bench.lines(),
        (false, false),
        "{}",
        bench.gateway.log_tail()
    );

    for what in [
        "critical alarm: Mất điện / Mains are away: lines/mains_present below 0.5, is 0",
        "alarm mains silenced for 30 min, by button",
        "critical alarm: heat: sht-inside/air_temperature above 42",
        "alarm heat silenced for 60 min, by tool",
        "alarm heat is over",
        "alarm mains is over",
    ] {
        bench.says("explain", &["--since", "2000-01-01"], what);
    }
}

#[test]
fn a_probe_that_is_gone_is_an_alarm() {
    let bench = Bench::start();
    bench.reached(None, (false, false), "off at the start");
    let at_s = bench.fault(&["unplug", "sht-outside"]);
    // Absent for a minute, from the last good reading; it is asked less often when it keeps failing.
    bench.reached(Some((at_s, 60.0 + 20.0)), (true, true), "a probe is gone");
    bench.fault(&["plug", "sht-outside"]);
    bench.reached(None, (false, false), "it is back");
}

#[test]
fn the_stop_button_beats_rules_and_commands_and_the_manual_button_waters() {
    let bench = Bench::start();
    // Zone 1 is thirsty by its rule, zone 2 is watered by command.
    let words = ["water", "--zone", "zone-2", "--for", "10min"];
    let log = bench.config.with_file_name("water.log");
    let mut water = bench.program(&words);
    let mut water = Process::start("water", &mut water, &log).unwrap();
    bench.opened(&[1, 2]);
    let at_s = bench.press(STOP);
    bench.closed(at_s, EVERY_S + 2.0);
    let ended = water.wait(PATIENCE).unwrap();
    assert!(!ended.success(), "{}", water.log_tail());
    assert!(water.log_tail().contains("stopped"), "{}", water.log_tail());
    let refused = "a person on site wants no water";
    bench.says("water", &["--zone", "zone-2", "--for", "1min"], refused);
    bench.press(MANUAL);
    bench.later(60.0);
    assert_eq!(bench.open(), Vec::<usize>::new());
    for what in [
        "no water for 30 min, by button",
        "zone-3     not watered, though wanted by manual: a person on site wants no water",
    ] {
        bench.says("explain", &["--since", "2000-01-01"], what);
    }

    // Released, it waters as long as it says; nobody ends it.
    bench.says("release", &[], "watering may begin again");
    let before_s = bench.open_s(3);
    bench.press(MANUAL);
    bench.opened_among(3);
    until(PATIENCE, || Ok((!bench.open().contains(&3)).then_some(()))).unwrap();
    let open_s = bench.open_s(3) - before_s;
    eprintln!("manual button: open for {open_s:.1} s of {MANUAL_S} s");
    assert!(
        (MANUAL_S - TRAVEL_S..=MANUAL_S + 2.0 * TRAVEL_S).contains(&open_s),
        "{open_s}"
    );
}

/// A simulated site and its gateway.
struct Bench {
    programs: PathBuf,
    config: PathBuf,
    control: String,
    gateway: Process,
    _sim: Process,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = programs();
        let (sim, bus, control) = simulator(&programs, folder.path());
        let config = folder.path().join("gateway.toml");
        std::fs::write(&config, configuration(folder.path(), &bus)).unwrap();
        let mut command = Command::new(programs.join("furrow-gateway"));
        command.arg("--config").arg(&config).arg("run");
        let log = folder.path().join("gateway.log");
        let gateway = Process::start("furrow-gateway", &mut command, &log).unwrap();
        let bench = Bench {
            programs,
            config,
            control,
            gateway,
            _sim: sim,
            _folder: folder,
        };
        let idle = || {
            let output = bench.program(&["status", "--json"]).output()?;
            let Ok(status) = serde_json::from_slice::<Value>(&output.stdout) else {
                return Ok(None);
            };
            let zones = status["zones"].as_array().unwrap();
            let ready = zones.iter().all(|zone| zone["phase"] != "clearing");
            Ok(ready.then_some(()))
        };
        until(PATIENCE, idle).unwrap_or_else(|e| panic!("{e}: {}", bench.gateway.log_tail()));
        bench
    }

    /// Siren and beacon come to be so, within `bound_s` of a moment where that is told.
    #[track_caller]
    fn reached(&self, since: Option<(f64, f64)>, expected: (bool, bool), what: &str) {
        let at_s = until(PATIENCE, || {
            let truth = self.truth();
            let is_so = lines_of(&truth) == expected;
            Ok(is_so.then(|| seconds(&truth)))
        });
        let at_s = at_s.unwrap_or_else(|error| {
            panic!(
                "{what}: {error}: {:?}\n{}",
                self.lines(),
                self.gateway.log_tail()
            )
        });
        if let Some((since_s, bound_s)) = since {
            let (after_s, bound_s) = (at_s - since_s, bound_s + SPEED * LOOK_S);
            eprintln!("{what}: after {after_s:.1} s, bound {bound_s:.1} s");
            assert!(after_s <= bound_s, "{what}: {after_s} s");
        }
    }

    fn lines(&self) -> (bool, bool) {
        lines_of(&self.truth())
    }

    fn open(&self) -> Vec<usize> {
        serde_json::from_value(self.truth()["valves_open"].clone()).unwrap()
    }

    fn open_s(&self, zone: usize) -> f64 {
        self.truth()["zone_open_s"][zone - 1].as_f64().unwrap()
    }

    #[track_caller]
    fn opened(&self, zones: &[usize]) {
        let opened = until(PATIENCE, || Ok((self.open() == zones).then_some(())));
        opened.unwrap_or_else(|e| panic!("{e}: {:?}\n{}", self.open(), self.gateway.log_tail()));
    }

    #[track_caller]
    fn opened_among(&self, zone: usize) {
        let opened = until(PATIENCE, || Ok(self.open().contains(&zone).then_some(())));
        opened.unwrap_or_else(|e| panic!("{e}: {:?}\n{}", self.open(), self.gateway.log_tail()));
    }

    /// All valves are closed within `bound_s`, their travel and a look.
    #[track_caller]
    fn closed(&self, since_s: f64, bound_s: f64) {
        let at_s = until(PATIENCE, || {
            let truth = self.truth();
            let is_shut = truth["valves_open"].as_array().unwrap().is_empty();
            Ok(is_shut.then(|| seconds(&truth)))
        });
        let after_s = at_s.unwrap() - since_s;
        let bound_s = bound_s + TRAVEL_S + SPEED * LOOK_S;
        eprintln!("stop button: all closed after {after_s:.1} s, bound {bound_s:.1} s");
        assert!(after_s <= bound_s, "{after_s}");
    }

    /// Simulated time passes.
    fn later(&self, seconds_s: f64) {
        let until_s = seconds(&self.truth()) + seconds_s;
        let passed = || Ok((seconds(&self.truth()) >= until_s).then_some(()));
        until(PATIENCE, passed).unwrap();
    }

    /// Presses a button for long enough to be read; it is let go by itself. Gives when it was pressed.
    fn press(&self, pin: &str) -> f64 {
        self.fault(&["close-contact", pin, "--for", "3s"])
    }

    /// Gives the simulated time of the order.
    fn fault(&self, words: &[&str]) -> f64 {
        let at_s = seconds(&self.truth());
        let mut sim = Command::new(self.programs.join("furrow-sim"));
        let sim = sim.args(["fault", "--control", &self.control]).args(words);
        assert!(sim.status().unwrap().success(), "{words:?}");
        at_s
    }

    fn truth(&self) -> Value {
        let mut sim = Command::new(self.programs.join("furrow-sim"));
        let sim = sim.args(["status", "--json", "--control", &self.control]);
        serde_json::from_slice(&sim.output().unwrap().stdout).unwrap()
    }

    fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("furrow-gateway"));
        command.arg("--config").arg(&self.config).args(words);
        command
    }

    fn said(&self, command: &str, words: &[&str]) -> String {
        let words = [&[command], words].concat();
        let output = self.program(&words).output().unwrap();
        let (out, error) = (output.stdout, output.stderr);
        String::from_utf8_lossy(&out).into_owned() + &String::from_utf8_lossy(&error)
    }

    #[track_caller]
    fn says(&self, command: &str, words: &[&str], expected: &str) {
        let said = self.said(command, words);
        assert!(said.contains(expected), "no {expected:?} in\n{said}");
    }

    #[track_caller]
    fn says_soon(&self, command: &str, text: &str, is_there: bool) {
        let said = || Ok((self.said(command, &[]).contains(text) == is_there).then_some(()));
        until(PATIENCE, said).unwrap_or_else(|e| panic!("{e}: {}", self.said(command, &[])));
    }
}

fn seconds(truth: &Value) -> f64 {
    truth["mono_ms"].as_f64().unwrap() / 1_000.0
}

/// A line that was never driven is neither on nor off.
fn lines_of(truth: &Value) -> (bool, bool) {
    let line = |pin: u8| truth["outputs"][pin.to_string()].as_bool();
    match (line(SIREN), line(BEACON)) {
        (Some(siren), Some(beacon)) => (siren, beacon),
        other => panic!("a line is not driven: {other:?}"),
    }
}

/// The folder of the programs, built in this test's profile.
fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().to_owned();
    for name in ["furrow-gateway", "furrow-sim"] {
        let program = folder.join(name);
        assert!(
            program.is_file(),
            "{} is missing: run `cargo build --workspace`",
            program.display()
        );
    }
    folder
}

fn simulator(programs: &Path, folder: &Path) -> (Process, String, String) {
    let mut command = Command::new(programs.join("furrow-sim"));
    command.args(["greenhouse", "--seed", "7", "--zones", "4", "--lock-step"]);
    command.args(["--start", "2026-04-18T10:00:00+07:00", "--no-wall-clock"]);
    command.args(["--speed", &SPEED.to_string(), "--listen", "tcp:127.0.0.1:0"]);
    let log = folder.join("sim.log");
    let mut sim = Process::start("furrow-sim", &mut command, &log).unwrap();
    let line = sim.wait_for_line("listening bus=", PATIENCE).unwrap();
    let field = |key: &str| {
        let mut words = line.split_whitespace();
        words
            .find_map(|word| word.strip_prefix(key))
            .unwrap()
            .to_owned()
    };
    let (bus, control) = (field("bus="), field("control="));
    (sim, bus, control)
}

const DEVICES: &str = r#"
[siren]
bus = "main"
line = 9
[beacon]
bus = "main"
line = 10

[[device]]
id = "sht-inside"
kind = "sht4x"
bus = "main"
address = 0x44
every = "2s"
[[device]]
id = "sht-outside"
kind = "sht4x"
bus = "main"
address = 0x45
every = "2s"
[[device]]
id = "analog"
kind = "ads1115"
bus = "main"
address = 0x48
every = "5s"
[[device.input]]
input = 2
kind = "capacitive-moisture"
dry_volts = 2.90
wet_volts = 1.30
[[device]]
id = "drip"
kind = "drip-controller"
bus = "valves"
address = 0x2c
pulses_per_litre = 450
[[device]]
id = "lines"
kind = "gpio-inputs"
bus = "main"
every = "1s"
"#;

const RULES: &str = r#"
[[button]]
channel = "lines/stop"
does = "stop"
[[button]]
channel = "lines/manual"
does = "water"
zone = "zone-3"
for = "30s"
[[button]]
channel = "lines/silence"
does = "silence"

[[alarm]]
id = "mains"
name = "Mất điện"
name_en = "Mains are away"
channel = "lines/mains_present"
below = 0.5
for = "10s"
[[alarm]]
id = "heat"
channel = "sht-inside/air_temperature"
above = 42
clear = 40
for = "20s"
[[alarm]]
id = "outside"
channel = "sht-outside/air_temperature"
absent = "1min"
"#;

fn configuration(folder: &Path, bus: &str) -> String {
    let state = folder.join("state");
    let mut text = format!(
        "[gateway]\ncooperative = \"hoa-binh\"\nid = \"gw-01\"\ngreenhouse = \"nha-luoi-1\"\n\
         timezone = \"Asia/Ho_Chi_Minh\"\nstate_dir = {state:?}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\npassword = \"secret\"\n\
         [irrigation]\nlease = \"10s\"\nmax_open_zones = 2\n"
    );
    for (id, i2c) in [("main", 1), ("valves", 3)] {
        text += &format!(
            "[[bus]]\nid = \"{id}\"\nkind = \"simulated\"\naddress = \"{bus}\"\ni2c = {i2c}\n\
             waits_for_delivery = false\n"
        );
    }
    text += DEVICES;
    for (pin, kind, channel) in [
        (24, "mains", "mains_present"),
        (5, "button", "stop"),
        (6, "button", "manual"),
        (7, "button", "silence"),
    ] {
        text +=
            &format!("[[device.input]]\npin = {pin}\nkind = \"{kind}\"\nchannel = \"{channel}\"\n");
    }
    text += RULES;
    for zone in 1..=3 {
        text += &format!(
            "[[zone]]\nid = \"zone-{zone}\"\ncontroller = \"drip\"\noutput = {zone}\n\
             min_off = \"0s\"\n"
        );
        if zone == 1 {
            text += "[[zone.rule]]\nname = \"dry\"\nkind = \"moisture\"\n\
                     channel = \"analog/soil_moisture_index\"\nstart_below = 98\nstop_above = 99\n\
                     for = \"10min\"\n";
        }
    }
    text
}
