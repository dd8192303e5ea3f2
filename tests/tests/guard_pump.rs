//! Pump, master valve and fertiliser pump on relays of the guard: on in their order, and off within the
//! stated bound, whoever dies. The simulated plumbing tells.
//!
//! The valve hangs on an MCP23017, the master valve too, the pump on a PCF8574, the fertiliser pump on a
//! GPIO line. The supervisor does what systemd does with `deploy/furrow-guard.service`.
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
use furrow_tests::supervisor::{Supervisor, Unit};
use nix::sys::signal::Signal;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// Of the zone and the master valve, in seconds: the shortest.
const LEASE_S: f64 = 6.0;
/// Between valve, master valve and pump: longer than the simulated valves travel.
const STEP_S: f64 = 4.0;
/// Pump and fertiliser pump have a shorter lease: they stop before the valves close.
const PUMP_LEASE_S: f64 = 3.0;
/// Longest travel of a simulated valve.
const TRAVEL_S: f64 = 3.0;
/// Travel of a contactor, starting `furrow-guard --all-off`, and looking at the plumbing.
const SLACK_S: f64 = 1.5;
/// What is off stays off: looked at for this long.
const STILL: Duration = Duration::from_secs(3);
/// What the plumbing calls them, in the order in which they go on.
const ORDER: [&str; 4] = ["zone", "master-valve", "pump", "dosing"];

#[test]
fn all_go_on_in_order_and_the_gateway_is_killed() {
    let mut bench = Bench::open("gateway killed");
    bench.was_opened_in_order();
    let at = bench.simulated_s();
    bench.gateway.kill().unwrap();
    bench.off(at, &["pump", "dosing"], PUMP_LEASE_S);
    bench.off(at, &["zone", "master-valve"], LEASE_S + TRAVEL_S);
    // Never against closed valves.
    let truth = bench.truth();
    let shut = truth["plant"]["pump_against_closed_longest_s"].as_f64();
    assert!(shut.unwrap() < 0.2, "{shut:?} s against closed valves");
    let off = |what| bench.changed(what, false);
    let pump = off("pump");
    assert!(
        pump <= off("master-valve") && pump <= off("zone"),
        "{truth}"
    );
}

#[test]
fn the_guard_is_killed() {
    let bench = Bench::open("guard killed");
    bench.was_opened_in_order();
    let at = bench.simulated_s();
    bench.guard.signal(Signal::SIGKILL).unwrap();
    bench.off(at, &["pump", "dosing"], 0.0);
    bench.off(at, &["zone", "master-valve"], TRAVEL_S);
    until(PATIENCE, || {
        Ok((bench.guard.seen().ready == 2).then_some(()))
    })
    .unwrap();
    let seen = bench.guard.seen();
    assert_eq!((seen.stop_posts, seen.stop_posts_failed), (1, 0));
    bench.stays_off();
}

#[test]
fn gateway_and_guard_are_killed_together() {
    let mut bench = Bench::open("both killed");
    let at = bench.simulated_s();
    bench.gateway.kill().unwrap();
    bench.guard.signal(Signal::SIGKILL).unwrap();
    bench.off(at, &["pump", "dosing"], 0.0);
    bench.off(at, &["zone", "master-valve"], TRAVEL_S);
    bench.stays_off();
}

/// A simulated site with its two programs and a run under way.
struct Bench {
    what: &'static str,
    programs: PathBuf,
    control: String,
    gateway: Process,
    guard: Supervisor,
    _water: Process,
    _sim: Process,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// Everything is on.
    fn open(what: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = programs();
        let (sim, bus, control) = simulator(&programs, folder.path());
        let config = folder.path().join("gateway.toml");
        std::fs::write(&config, configuration(folder.path(), &bus)).unwrap();
        let guard = Supervisor::start(unit(&programs, folder.path())).unwrap();
        let start = |words: &[&str], log: &str| {
            let mut command = Command::new(programs.join("furrow-gateway"));
            command.arg("--config").arg(&config).args(words);
            Process::start("furrow-gateway", &mut command, &folder.path().join(log)).unwrap()
        };
        let gateway = start(&["run"], "gateway.log");
        until(PATIENCE, || {
            let mut status = Command::new(programs.join("furrow-gateway"));
            status.arg("--config").arg(&config);
            let output = status.args(["status", "--json"]).output()?;
            let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            Ok((status["zones"][0]["phase"] == "idle").then_some(()))
        })
        .unwrap();
        let water = start(&["water", "--zone", "zone-1", "--for", "5min"], "water.log");
        let bench = Bench {
            what,
            programs,
            control,
            gateway,
            guard,
            _water: water,
            _sim: sim,
            _folder: folder,
        };
        let all_on = until(PATIENCE, || Ok((bench.on().len() == 4).then_some(())));
        all_on.unwrap_or_else(|error| {
            let (on, log) = (bench.on(), bench.gateway.log_tail());
            panic!("{error}: only {on:?}\n{log}")
        });
        bench
    }

    /// Each a step after the one before; the fertiliser when water is seen to flow.
    #[track_caller]
    fn was_opened_in_order(&self) {
        let at = ORDER.map(|what| self.changed(what, true));
        eprintln!(
            "{:<16} on: valve, master valve after {:.1} s, pump after {:.1} s, fertiliser after {:.1} s",
            self.what,
            at[1] - at[0],
            at[2] - at[0],
            at[3] - at[0]
        );
        let steps = [at[1] - at[0], at[2] - at[1]];
        assert!(steps.iter().all(|step| *step >= STEP_S - 0.1), "{at:?}");
        assert!(at[3] > at[2], "{at:?}");
    }

    /// When its relay changed last, in simulated seconds.
    fn changed(&self, what: &str, open: bool) -> f64 {
        let truth = self.truth();
        let log = truth["valve_log"].as_array().unwrap();
        let mut its = log.iter().rev();
        let its = its.find(|entry| entry["drives"] == what && entry["open"] == open);
        its.unwrap_or_else(|| panic!("{what} never changed: {log:?}"))["mono_ms"]
            .as_f64()
            .unwrap()
            / 1_000.0
    }

    /// Each is off within `bound_s` and the look.
    #[track_caller]
    fn off(&self, at_s: f64, which: &[&str], bound_s: f64) {
        let bound_s = bound_s + SLACK_S;
        let mut left = which.to_vec();
        let done = until(PATIENCE, || {
            let (on, now_s) = (self.on(), self.simulated_s());
            left.retain(|what| {
                let is_on = on.iter().any(|on| on == what);
                if !is_on {
                    let after_s = now_s - at_s;
                    eprintln!(
                        "{:<16} {what} off after {after_s:.1} s, bound {bound_s:.1} s",
                        self.what
                    );
                    assert!(after_s <= bound_s, "{} {what}: {after_s} s", self.what);
                }
                is_on
            });
            Ok(left.is_empty().then_some(()))
        });
        done.unwrap_or_else(|error| panic!("{}: {left:?} still on: {error}", self.what));
    }

    #[track_caller]
    fn stays_off(&self) {
        let again = until(STILL, || Ok(self.on().first().cloned()));
        assert!(again.is_err(), "{}: {again:?} went on again", self.what);
    }

    /// What the switches in the plumbing say is open or on.
    fn on(&self) -> Vec<String> {
        let truth = self.truth();
        let zones = truth["valves_open"].as_array().unwrap().len();
        let mut on = vec!["zone".to_owned(); zones];
        let others: Vec<String> = serde_json::from_value(truth["plant"]["open"].clone()).unwrap();
        on.extend(others);
        on
    }

    fn simulated_s(&self) -> f64 {
        self.truth()["mono_ms"].as_f64().unwrap() / 1_000.0
    }

    fn truth(&self) -> Value {
        let mut sim = Command::new(self.programs.join("furrow-sim"));
        let sim = sim.args(["status", "--json", "--control", &self.control]);
        serde_json::from_slice(&sim.output().unwrap().stdout).unwrap()
    }
}

/// The folder of the programs, built in this test's profile.
fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().to_owned();
    for name in ["furrow-gateway", "furrow-guard", "furrow-sim"] {
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
    command.args(["greenhouse", "--seed", "7", "--zones", "4"]);
    command.args(["--master-valve", "2", "--pump", "3", "--dosing", "4"]);
    command.args(["--listen", "tcp:127.0.0.1:0"]);
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

/// As `deploy/furrow-guard.service`.
fn unit(programs: &Path, folder: &Path) -> Unit {
    let config = folder.join("gateway.toml").display().to_string();
    let guard = programs.join("furrow-guard").display().to_string();
    let words = |last: &str| {
        let words = [guard.as_str(), "--config", &config, last];
        words.map(str::to_owned).to_vec()
    };
    Unit {
        name: "furrow-guard".into(),
        start: words("run"),
        stop_post: words("--all-off"),
        watchdog: Duration::from_secs(10),
        restart_after: Duration::from_secs(1),
        folder: folder.to_owned(),
    }
}

fn configuration(folder: &Path, bus: &str) -> String {
    let (state, socket) = (folder.join("state"), folder.join("guard.sock"));
    let mut text = format!(
        "[gateway]\ncooperative = \"hoa-binh\"\nid = \"gw-01\"\ngreenhouse = \"nha-luoi-1\"\n\
         timezone = \"Asia/Ho_Chi_Minh\"\nstate_dir = {state:?}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\npassword = \"secret\"\n\
         [irrigation]\nlease = \"{LEASE_S}s\"\nstep = \"{STEP_S}s\"\n"
    );
    for (part, output) in [("master_valve", 2), ("pump", 3), ("dosing", 4)] {
        text += &format!("[irrigation.{part}]\ncontroller = \"relays\"\noutput = {output}\n");
    }
    text += "flush = \"0s\"\n";
    text += &format!("[[bus]]\nid = \"guard\"\nkind = \"guard\"\nsocket = {socket:?}\n");
    for (id, i2c) in [("main", 1), ("relays", 9)] {
        text += &format!(
            "[[bus]]\nid = \"{id}\"\nkind = \"simulated\"\naddress = \"{bus}\"\ni2c = {i2c}\n"
        );
    }
    text += "[guard]\n";
    let outputs = [
        "kind = \"mcp23017\"\nbus = \"relays\"\naddress = 0x20\npin = 0\nactive = \"low\"",
        "kind = \"mcp23017\"\nbus = \"relays\"\naddress = 0x20\npin = 1\nactive = \"low\"",
        "kind = \"pcf8574\"\nbus = \"relays\"\naddress = 0x21\npin = 2\nactive = \"low\"",
        "kind = \"gpio\"\nbus = \"main\"\nline = 18\nactive = \"high\"",
    ];
    for (number, output) in (1..).zip(outputs) {
        text += &format!("[[guard.output]]\nnumber = {number}\n{output}\n");
    }
    text += "[[device]]\nid = \"meter\"\nkind = \"flow-meter\"\nbus = \"main\"\npin = 17\n\
             pulses_per_litre = 450\n\
             [[device]]\nid = \"relays\"\nkind = \"guarded-outputs\"\nbus = \"guard\"\n\
             [[zone]]\nid = \"zone-1\"\ncontroller = \"relays\"\noutput = 1\nmeter = \"meter\"\n\
             max_run = \"10min\"\nflow = \"monitor\"\nfill_up = \"0s\"\nfertigate = true\n";
    text
}
