//! Water stops, whoever dies: gateway and guard are killed, paused and cut from power with valves
//! open, and the simulated plumbing tells when each has closed.
//!
//! Four zones are open at once: zone 1 by the drip controller, 2 by an MCP23017, 3 by a PCF8574, 4 by
//! a GPIO line. The supervisor does what systemd does with `deploy/furrow-guard.service`.
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

const PATIENCE: Duration = Duration::from_secs(30);
/// Of all zones, in seconds: the shortest.
const LEASE_S: f64 = 6.0;
/// `WatchdogSec` of the guard here; the unit that ships has 10 s.
const WATCHDOG_S: f64 = 4.0;
/// The simulated watchdog of the relays' supply lets go after this.
const SUPPLY_S: f64 = 3.0;
/// Longest travel of a simulated valve.
const TRAVEL_S: f64 = 3.0;
/// Starting `furrow-guard --all-off`, and looking at the plumbing.
const SLACK_S: f64 = 1.5;
/// A valve that has closed stays closed: looked at for this long.
const STILL: Duration = Duration::from_secs(3);

const DRIP: usize = 1;
const RELAYS: [usize; 3] = [2, 3, 4];

#[test]
fn the_gateway_is_killed() {
    let mut bench = Bench::open("gateway killed", true);
    let at = bench.simulated_s();
    bench.gateway.kill().unwrap();
    // Leases end by themselves.
    bench.closed(at, &[DRIP, 2, 3, 4], LEASE_S);
}

#[test]
fn the_gateway_is_paused_and_goes_on() {
    let bench = Bench::open("gateway paused", true);
    let at = bench.simulated_s();
    bench.gateway.signal(Signal::SIGSTOP).unwrap();
    bench.closed(at, &[DRIP, 2, 3, 4], LEASE_S);
    bench.gateway.signal(Signal::SIGCONT).unwrap();
    bench.stays_closed(&[DRIP, 2, 3, 4]);
}

#[test]
fn the_guard_is_killed() {
    let bench = Bench::open("guard killed", false);
    let at = bench.simulated_s();
    bench.guard.signal(Signal::SIGKILL).unwrap();
    bench.closed(at, &RELAYS, 0.0);
    // What has a lease of its own waters on; a run of the guard's is over, not taken up again.
    bench.restarted(0);
    bench.stays_closed(&RELAYS);
    assert_eq!(bench.valves_open(), [DRIP]);
}

#[test]
fn the_guard_is_paused() {
    // No supply watchdog: systemd's alone.
    let bench = Bench::open("guard paused", false);
    let at = bench.simulated_s();
    bench.guard.signal(Signal::SIGSTOP).unwrap();
    bench.closed(at, &RELAYS, WATCHDOG_S);
    bench.restarted(1);
    bench.stays_closed(&RELAYS);
}

#[test]
fn the_whole_machine_hangs_and_goes_on() {
    let bench = Bench::open("machine hangs", true);
    let at = bench.simulated_s();
    bench.guard.freeze().unwrap();
    bench.guard.signal(Signal::SIGSTOP).unwrap();
    bench.gateway.signal(Signal::SIGSTOP).unwrap();
    // Nobody closes anything: the watchdog of the relays' supply does.
    bench.closed(at, &RELAYS, SUPPLY_S);
    bench.closed(at, &[DRIP], LEASE_S);
    bench.guard.signal(Signal::SIGCONT).unwrap();
    bench.gateway.signal(Signal::SIGCONT).unwrap();
    bench.stays_closed(&[DRIP, 2, 3, 4]);
}

#[test]
fn the_power_is_cut() {
    let mut bench = Bench::open("power cut", false);
    let at = bench.simulated_s();
    bench.guard.freeze().unwrap();
    bench.guard.signal(Signal::SIGKILL).unwrap();
    bench.gateway.kill().unwrap();
    bench.fault(&["power-cut"]);
    bench.closed(at, &RELAYS, 0.0);
    // It has a supply of its own.
    bench.closed(at, &[DRIP], LEASE_S);
}

#[test]
fn gateway_and_guard_are_killed_together() {
    let mut bench = Bench::open("both killed", false);
    let at = bench.simulated_s();
    bench.gateway.kill().unwrap();
    bench.guard.signal(Signal::SIGKILL).unwrap();
    bench.closed(at, &RELAYS, 0.0);
    bench.closed(at, &[DRIP], LEASE_S);
    bench.restarted(0);
    bench.stays_closed(&[DRIP, 2, 3, 4]);
}

#[test]
fn people_see_the_guards_outputs() {
    let bench = Bench::start("tools", true);
    let run = |name: &str, words: &[&str]| {
        let output = program(&bench.programs, name, &bench.config, words).output();
        let output = output.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), format!("{text}{error}"))
    };
    let (code, text) = run(
        "furrow-gateway",
        &["valve-test", "--zone", "zone-2", "--for", "8s"],
    );
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("opened: its relay was read back"), "{text}");
    assert!(text.contains(" L flowed while it was open"), "{text}");
    let (code, text) = run("furrow-gateway", &["scan"]);
    assert_eq!(code, Some(0), "{text}");
    let line = |what: &str| {
        let mut lines = text.lines();
        lines
            .find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("{what}: {text}"))
    };
    assert!(line("output 1").contains("zone-2 (zone)"), "{text}");
    assert!(
        line("relays  0x20").contains("relays of the guard (mcp23017)"),
        "{text}"
    );
    let (code, text) = run("furrow-guard", &["status"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.matches("closed; 0 failures").count(), 3, "{text}");
    eprintln!("{text}");
    // Beside a guard that runs, and with a file that nobody can read any more.
    std::fs::write(&bench.config, "[guard").unwrap();
    let mut command = program(
        &bench.programs,
        "furrow-guard",
        &bench.config,
        &["--all-off"],
    );
    let folder = bench.config.parent().unwrap();
    let output = command.env("RUNTIME_DIRECTORY", folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("all 3 outputs are off"),
        "{text}"
    );
}

/// A simulated site with its two programs.
struct Bench {
    what: &'static str,
    programs: PathBuf,
    config: PathBuf,
    control: String,
    gateway: Process,
    guard: Supervisor,
    _sim: Process,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// All valves are open.
    fn open(what: &'static str, supply_watchdog: bool) -> Self {
        let bench = Self::start(what, supply_watchdog);
        let runs: Vec<Process> = (1..=4)
            .map(|zone| {
                let zone = format!("zone-{zone}");
                let words = ["water", "--zone", &zone, "--for", "5min"];
                let mut command = program(&bench.programs, "furrow-gateway", &bench.config, &words);
                let log = bench.config.with_file_name(format!("{zone}.log"));
                Process::start("water", &mut command, &log).unwrap()
            })
            .collect();
        let opened = until(PATIENCE, || {
            Ok((bench.valves_open() == [1, 2, 3, 4]).then_some(()))
        });
        let tails: Vec<String> = runs.iter().map(Process::log_tail).collect();
        opened.unwrap_or_else(|error| panic!("{error}: {tails:?}\n{}", bench.gateway.log_tail()));
        bench
    }

    /// All valves are known to be closed.
    fn start(what: &'static str, supply_watchdog: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = programs();
        let (sim, bus, control) = simulator(&programs, folder.path());
        let config = folder.path().join("gateway.toml");
        std::fs::write(&config, configuration(folder.path(), &bus, supply_watchdog)).unwrap();
        let guard = Supervisor::start(unit(&programs, folder.path())).unwrap();
        let gateway = program(&programs, "furrow-gateway", &config, &["run"]);
        let log = folder.path().join("gateway.log");
        let gateway = Process::start("furrow-gateway", &mut { gateway }, &log).unwrap();
        let ask = |words: &[&str]| {
            let output = program(&programs, "furrow-gateway", &config, words).output();
            let output = output.unwrap();
            output.status.success().then_some(output.stdout)
        };
        until(PATIENCE, || {
            let Some(status) = ask(&["status", "--json"]) else {
                return Ok(None);
            };
            let status: Value = serde_json::from_slice(&status)?;
            let zones = status["zones"].as_array().unwrap();
            let idle = zones.iter().filter(|zone| zone["phase"] == "idle").count();
            Ok((idle == 4).then_some(()))
        })
        .unwrap();
        Bench {
            what,
            programs,
            config,
            control,
            gateway,
            guard,
            _sim: sim,
            _folder: folder,
        }
    }

    /// Every one of the zones is closed within `bound_s`, its valve's travel and the look.
    #[track_caller]
    fn closed(&self, at_s: f64, zones: &[usize], bound_s: f64) {
        let bound_s = bound_s + TRAVEL_S + SLACK_S;
        let mut left = zones.to_vec();
        let closed = until(PATIENCE, || {
            let truth = self.truth();
            let now_s = truth["mono_ms"].as_f64().unwrap() / 1_000.0;
            let open = open_of(&truth);
            left.retain(|zone| {
                let is_open = open.contains(zone);
                if !is_open {
                    let after_s = now_s - at_s;
                    eprintln!(
                        "{:<16} zone {zone} closed after {after_s:.1} s, bound {bound_s:.1} s",
                        self.what
                    );
                    assert!(after_s <= bound_s, "{} zone {zone}: {after_s} s", self.what);
                }
                is_open
            });
            Ok(left.is_empty().then_some(()))
        });
        closed.unwrap_or_else(|error| panic!("{}: {left:?} still open: {error}", self.what));
    }

    #[track_caller]
    fn stays_closed(&self, zones: &[usize]) {
        let again = until(STILL, || {
            let open = self.valves_open();
            let again = zones.iter().copied().find(|zone| open.contains(zone));
            Ok(again)
        });
        assert!(again.is_err(), "{}: zone {again:?} opened again", self.what);
    }

    /// The guard was closed behind, and started again.
    fn restarted(&self, watchdog_kills: u32) {
        until(
            PATIENCE,
            || Ok((self.guard.seen().ready == 2).then_some(())),
        )
        .unwrap();
        let seen = self.guard.seen();
        assert_eq!(seen.watchdog_kills, watchdog_kills);
        assert_eq!((seen.stop_posts, seen.stop_posts_failed), (1, 0));
    }

    fn simulated_s(&self) -> f64 {
        self.truth()["mono_ms"].as_f64().unwrap() / 1_000.0
    }

    fn valves_open(&self) -> Vec<usize> {
        open_of(&self.truth())
    }

    fn truth(&self) -> Value {
        let mut sim = Command::new(self.programs.join("furrow-sim"));
        let sim = sim.args(["status", "--json", "--control", &self.control]);
        serde_json::from_slice(&sim.output().unwrap().stdout).unwrap()
    }

    fn fault(&self, words: &[&str]) {
        let mut sim = Command::new(self.programs.join("furrow-sim"));
        let sim = sim.args(["fault", "--control", &self.control]).args(words);
        assert!(sim.status().unwrap().success());
    }
}

fn open_of(truth: &Value) -> Vec<usize> {
    serde_json::from_value(truth["valves_open"].clone()).unwrap()
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

fn program(programs: &Path, name: &str, config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(programs.join(name));
    command.arg("--config").arg(config).args(words);
    command
}

fn simulator(programs: &Path, folder: &Path) -> (Process, String, String) {
    let mut command = Command::new(programs.join("furrow-sim"));
    command.args(["greenhouse", "--seed", "7", "--zones", "4"]);
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

/// As `deploy/furrow-guard.service`, with a shorter watchdog.
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
        watchdog: Duration::from_secs_f64(WATCHDOG_S),
        restart_after: Duration::from_secs(1),
        folder: folder.to_owned(),
    }
}

fn configuration(folder: &Path, bus: &str, supply_watchdog: bool) -> String {
    let (state, socket) = (folder.join("state"), folder.join("guard.sock"));
    let mut text = format!(
        "[gateway]\ncooperative = \"hoa-binh\"\nid = \"gw-01\"\ngreenhouse = \"nha-luoi-1\"\n\
         timezone = \"Asia/Ho_Chi_Minh\"\nstate_dir = {state:?}\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = 1\npassword = \"secret\"\n\
         [irrigation]\nlease = \"{LEASE_S}s\"\nmax_open_zones = 4\n\
         [[bus]]\nid = \"guard\"\nkind = \"guard\"\nsocket = {socket:?}\n"
    );
    for (id, i2c) in [("main", 1), ("valves", 3), ("relays", 9)] {
        text += &format!(
            "[[bus]]\nid = \"{id}\"\nkind = \"simulated\"\naddress = \"{bus}\"\ni2c = {i2c}\n"
        );
    }
    text += "[guard]\n";
    if supply_watchdog {
        text += "watchdog_bus = \"main\"\nwatchdog_line = 26\n";
    }
    let outputs = [
        "kind = \"mcp23017\"\nbus = \"relays\"\naddress = 0x20\npin = 1\nactive = \"low\"",
        "kind = \"pcf8574\"\nbus = \"relays\"\naddress = 0x21\npin = 2\nactive = \"low\"",
        "kind = \"gpio\"\nbus = \"main\"\nline = 18\nactive = \"high\"",
    ];
    for (number, output) in (1..).zip(outputs) {
        text += &format!("[[guard.output]]\nnumber = {number}\n{output}\n");
    }
    text += "[[device]]\nid = \"drip\"\nkind = \"drip-controller\"\nbus = \"valves\"\n\
             address = 0x2c\npulses_per_litre = 450\n\
             [[device]]\nid = \"meter\"\nkind = \"flow-meter\"\nbus = \"main\"\npin = 17\n\
             pulses_per_litre = 450\n\
             [[device]]\nid = \"relays\"\nkind = \"guarded-outputs\"\nbus = \"guard\"\n";
    for (zone, (controller, output)) in
        (1..).zip([("drip", 1), ("relays", 1), ("relays", 2), ("relays", 3)])
    {
        text += &format!(
            "[[zone]]\nid = \"zone-{zone}\"\ncontroller = \"{controller}\"\noutput = {output}\n"
        );
        if zone == 2 {
            text += "meter = \"meter\"\n";
        }
    }
    text
}
