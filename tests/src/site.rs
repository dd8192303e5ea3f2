//! A simulated greenhouse and the gateway that stands in it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::binaries::Binaries;
use crate::process::Process;
use crate::stack::STOP_PATIENCE;

/// How long the simulator may take to say where it listens: it spins up a day of weather first.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Inputs of a further board that measure something.
const INPUTS_A_BOARD: u8 = 3;

/// How a greenhouse is watered and sampled.
#[derive(Debug, Clone)]
pub struct SiteConfig {
    /// The cooperative's id.
    pub cooperative: String,
    /// The gateway's id.
    pub gateway: String,
    /// The greenhouse's id.
    pub greenhouse: String,
    /// Its name.
    pub greenhouse_name: String,
    /// The gateway's password at the broker.
    pub password: String,
    /// Sampling interval, e.g. `10s`.
    pub every: String,
    /// Commit interval, e.g. `30s`.
    pub commit: String,
    /// Send interval, e.g. `60s`.
    pub send: String,
    /// Bytes that its journal may take, e.g. `256 MiB`.
    pub journal_cap: String,
    /// Times of day at which the zone is watered, e.g. `06:00`.
    pub watering: Vec<String>,
    /// How long, e.g. `10min`.
    pub watering_for: String,
    /// Whether the devices that a recorded trace does not drive are there too.
    pub all_devices: bool,
    /// Channels on further analog boards, three a board, 0 to 60; the simulator needs as many.
    pub more_channels: u8,
    /// Certificate of the broker, for a connection over TLS.
    pub ca_file: Option<PathBuf>,
}

impl SiteConfig {
    /// The one greenhouse of most tests, `gw-01` in `nha-luoi-1` of `hoa-binh`, with all devices and
    /// without a schedule: sampled, committed and sent at these intervals.
    #[must_use]
    pub fn usual(every: &str, commit: &str, send: &str) -> Self {
        Self {
            cooperative: "hoa-binh".to_owned(),
            gateway: "gw-01".to_owned(),
            greenhouse: "nha-luoi-1".to_owned(),
            greenhouse_name: "Nhà lưới 1".to_owned(),
            password: "secret".to_owned(),
            every: every.to_owned(),
            commit: commit.to_owned(),
            send: send.to_owned(),
            journal_cap: "256 MiB".to_owned(),
            watering: Vec::new(),
            watering_for: String::new(),
            all_devices: true,
            more_channels: 0,
            ca_file: None,
        }
    }

    /// Boards for [`SiteConfig::more_channels`]: the simulator's `--boards`.
    #[must_use]
    pub fn boards(&self) -> u8 {
        self.more_channels.div_ceil(INPUTS_A_BOARD)
    }
}

/// A simulator and a gateway.
#[derive(Debug)]
pub struct Site {
    /// What it was made from.
    pub config: SiteConfig,
    binaries: Binaries,
    folder: PathBuf,
    sim: Process,
    bus: String,
    control: String,
    gateway: Option<Process>,
}

impl Site {
    /// Starts the simulator with `arguments` (its subcommand first), and writes the gateway's
    /// configuration, which publishes to `broker`. The gateway is not started yet.
    ///
    /// # Errors
    /// When the simulator does not come up.
    pub fn open(
        binaries: &Binaries,
        folder: &Path,
        config: SiteConfig,
        arguments: &[&str],
        broker: SocketAddr,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let log = folder.join("sim.log");
        std::fs::remove_file(&log).ok();
        let mut command = Command::new(&binaries.sim);
        command
            .args(arguments)
            .args(["--listen", "tcp:127.0.0.1:0"]);
        let mut sim = Process::start("furrow-sim", &mut command, &log)?;
        let line = sim.wait_for_line("listening bus=", READY_PATIENCE)?;
        let field = |key: &str| {
            let word = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(key));
            word.map(str::to_owned)
                .with_context(|| format!("no {key} in {line:?}"))
        };
        let (bus, control) = (field("bus=")?, field("control=")?);
        let text = gateway_toml(&config, &folder.join("state"), &bus, broker);
        std::fs::write(folder.join("gateway.toml"), text)
            .context("write the gateway's configuration")?;
        let (binaries, folder) = (binaries.clone(), folder.to_owned());
        Ok(Site {
            config,
            binaries,
            folder,
            sim,
            bus,
            control,
            gateway: None,
        })
    }

    /// Starts the gateway (again).
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_gateway(&mut self) -> anyhow::Result<()> {
        let mut command = self.gateway_command();
        command.arg("run");
        let log = self.folder.join("gateway.log");
        self.gateway = Some(Process::start("furrow-gateway", &mut command, &log)?);
        Ok(())
    }

    /// Kills the gateway, as a power cut would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill_gateway(&mut self) -> anyhow::Result<()> {
        self.gateway
            .take()
            .context("the gateway is not running")?
            .kill()
    }

    /// The gateway's process.
    ///
    /// # Errors
    /// When it is not running.
    pub fn gateway(&mut self) -> anyhow::Result<&mut Process> {
        self.gateway.as_mut().context("the gateway is not running")
    }

    /// Waits until the gateway has ended by itself.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_gateway(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.gateway()?.wait(patience)
    }

    /// Asks the gateway to stop, which commits and drains it for a moment.
    ///
    /// # Errors
    /// When it does not stop, or not cleanly.
    pub fn stop_gateway(&mut self) -> anyhow::Result<()> {
        if let Some(mut gateway) = self.gateway.take() {
            let status = gateway.stop(STOP_PATIENCE)?;
            let tail = gateway.log_tail();
            anyhow::ensure!(status.success(), "the gateway ended with {status}:\n{tail}");
        }
        Ok(())
    }

    /// Stops gateway and simulator.
    ///
    /// # Errors
    /// When the gateway does not stop, or not cleanly.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.stop_gateway()?;
        self.sim.stop(STOP_PATIENCE).map(drop)
    }

    /// The simulator's process.
    pub fn sim(&mut self) -> &mut Process {
        &mut self.sim
    }

    /// Where the remote bus listens.
    #[must_use]
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// The folder with configuration, state and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Does something to the hardware, e.g. `["unplug", "sht-inside"]`.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub fn fault(&self, words: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.binaries.sim);
        command
            .args(["fault", "--control", &self.control])
            .args(words);
        run(&mut command).map(drop)
    }

    /// What the simulator knows to be true.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn truth(&self) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.binaries.sim);
        command.args(["status", "--control", &self.control, "--json"]);
        serde_json::from_str(&run(&mut command)?).context("read the simulator's status")
    }

    /// Runs a command of the gateway, e.g. `["journal", "--json"]`; gives its output.
    ///
    /// # Errors
    /// When it fails.
    pub fn ask_gateway(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = self.gateway_command();
        run(command.args(words))
    }

    /// Starts a command of the gateway beside the running one; its output goes to a log.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_command(&self, words: &[&str]) -> anyhow::Result<Process> {
        let mut command = self.gateway_command();
        command.args(words);
        Process::start(
            "furrow-gateway",
            &mut command,
            &self.folder.join("command.log"),
        )
    }

    fn gateway_command(&self) -> Command {
        let mut command = Command::new(&self.binaries.gateway);
        command
            .arg("--config")
            .arg(self.folder.join("gateway.toml"));
        command
    }
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {name}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{name} {:?} ended with {}: {}",
        command.get_args().collect::<Vec<_>>(),
        output.status,
        error.trim(),
    );
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {name}"))
}

fn gateway_toml(config: &SiteConfig, state: &Path, bus: &str, broker: SocketAddr) -> String {
    let SiteConfig {
        cooperative,
        gateway,
        greenhouse,
        greenhouse_name,
        password,
        ..
    } = config;
    let SiteConfig {
        every,
        commit,
        send,
        journal_cap,
        ..
    } = config;
    let port = broker.port();
    let (host, tls) = match &config.ca_file {
        None => (broker.ip().to_string(), String::new()),
        Some(ca_file) => (
            crate::tls::NAME.to_owned(),
            format!("tls = {{ ca_file = {ca_file:?} }}\n"),
        ),
    };
    let mut out = format!(
        r#"[gateway]
cooperative = "{cooperative}"
id = "{gateway}"
greenhouse = "{greenhouse}"
greenhouse_name = "{greenhouse_name}"
timezone = "Asia/Ho_Chi_Minh"
state_dir = {state:?}

[mqtt]
host = "{host}"
port = {port}
password = "{password}"
send_interval = "{send}"
{tls}
[journal]
commit_interval = "{commit}"
cap = "{journal_cap}"

[[bus]]
id = "sensors"
kind = "simulated"
address = "{bus}"
i2c = 1

[[bus]]
id = "valves"
kind = "simulated"
address = "{bus}"
i2c = 3

"#
    );
    let more_busses = config.boards().div_ceil(4);
    for number in 4..4 + more_busses {
        // Writing to a string can't fail.
        write!(
            out,
            "[[bus]]\nid = \"boards-{number}\"\nkind = \"simulated\"\naddress = \"{bus}\"\n\
             i2c = {number}\n\n"
        )
        .ok();
    }
    out.push_str(&traced_devices_toml(every));
    if config.all_devices {
        out.push_str(&other_devices_toml(config));
    }
    out.push_str(&boards_toml(config));
    out
}

/// The devices that a recorded trace drives.
fn traced_devices_toml(every: &str) -> String {
    // An SCD4x has a new value every 5 s, not sooner.
    let every_co2 = if every == "1s" { "5s" } else { every };
    format!(
        r#"[[device]]
id = "sht-inside"
kind = "sht4x"
bus = "sensors"
address = 0x44
every = "{every}"

[[device]]
id = "sht-outside"
kind = "sht4x"
bus = "sensors"
address = 0x45
every = "{every}"

[[device]]
id = "co2"
kind = "scd4x"
bus = "sensors"
address = 0x62
every = "{every_co2}"

[[device]]
id = "analog"
kind = "ads1115"
bus = "sensors"
address = 0x48
every = "{every}"

[[device.input]]
input = 0
kind = "pyranometer"
volts_per_unit = 0.002
"#
    )
}

fn other_devices_toml(config: &SiteConfig) -> String {
    let SiteConfig {
        every,
        watering,
        watering_for,
        ..
    } = config;
    let mut out = format!(
        r#"
[[device.input]]
input = 1
kind = "current-loop"
channel = "tank_level"
unit = "m"
shunt_ohms = 100.0
at_4_ma = 0.0
at_20_ma = 2.5

[[device.input]]
input = 2
kind = "capacitive-moisture"
dry_volts = 2.90
wet_volts = 1.30

[[device]]
id = "meter"
kind = "flow-meter"
bus = "sensors"
pin = 17
pulses_per_litre = 450.0
every = "{every}"

[[device]]
id = "drip"
kind = "drip-controller"
bus = "valves"
address = 0x2c
every = "{every}"

[[zone]]
id = "zone-1"
name = "Luống 1"
controller = "drip"
output = 1
pulses_per_litre = 450.0
max_run = "30min"
daily_limit = "3h"
"#
    );
    for at in watering {
        // Writing to a string can't fail.
        write!(
            out,
            "\n[[zone.schedule]]\nat = \"{at}\"\nfor = \"{watering_for}\"\n"
        )
        .ok();
    }
    out
}

/// The same three terminals on each board: four boards a bus, from bus 4 on.
fn boards_toml(config: &SiteConfig) -> String {
    const INPUTS: [&str; INPUTS_A_BOARD as usize] = [
        "kind = \"pyranometer\"\nvolts_per_unit = 0.002",
        "kind = \"current-loop\"\nchannel = \"tank_level\"\nunit = \"m\"\nshunt_ohms = 100.0\n\
         at_4_ma = 0.0\nat_20_ma = 2.5",
        "kind = \"capacitive-moisture\"\ndry_volts = 2.90\nwet_volts = 1.30",
    ];
    let mut out = String::new();
    for channel in 0..config.more_channels {
        let (board, input) = (channel / INPUTS_A_BOARD, channel % INPUTS_A_BOARD);
        // Writing to a string can't fail.
        if input == 0 {
            write!(
                out,
                "\n[[device]]\nid = \"board-{board}\"\nkind = \"ads1115\"\nbus = \"boards-{}\"\n\
                 address = {:#x}\nevery = \"{}\"\n",
                4 + board / 4,
                0x48 + board % 4,
                config.every,
            )
            .ok();
        }
        let kind = INPUTS.get(usize::from(input)).unwrap_or(&"");
        write!(out, "\n[[device.input]]\ninput = {input}\n{kind}\n").ok();
    }
    out
}
