//! `init`: a first configuration, from a few questions and what is on the buses.
//!
//! Writes only what `check` accepts, and nothing over what is there. It decides nothing that a person
//! must: which sensor hangs where, what a zone waters and when.

mod asking;
mod explain;
mod eyes;
mod find;
mod questions;
mod spot;
mod write;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use furrow_wire::{CooperativeId, GatewayId, GreenhouseId};

use self::asking::{ask_probes, ask_strangers, missing};
use self::explain::explain;
use self::eyes::Eyes;
use self::find::{Found, ToldProbe};
use self::questions::{NoAnswer, Questions};
use self::spot::{Analog, Contact, Told};
use self::write::{Plan, is_configured, toml};
use super::scan::LookError;
use super::{EXIT_CONFIG, EXIT_FAILURE, print};
use crate::config::{BusKind, ConfigError, Settings, parse_duration};

/// I2C buses that a Pi or another board may have.
const OWN_BUSES: std::ops::RangeInclusive<u8> = 0..=22;
/// Where the kernel shows its 1-Wire sensors.
const ONE_WIRE_ROOT: &str = "/sys/bus/w1/devices";
/// Where readings are kept, if nobody says otherwise.
const STATE_DIR: &str = "/var/lib/furrow-gateway";
/// Those of the simulator's greenhouse.
const SIMULATED_BUSES: [u8; 3] = [1, 2, 3];

/// Write a first configuration: asks a few questions, looks at the buses, and explains what it found
///
/// Asks for what no flag says; with `--yes` it takes defaults instead. It never writes over a file
/// without `--force`, and writes nothing that `check` would refuse. A gateway that is running already
/// (by the configuration that is to be replaced, or in `--state-dir`) looks at its buses by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo furrow-gateway init\n  \
    furrow-gateway init --yes --cooperative hoa-binh --mqtt-host ingest.example --password-file /etc/furrow/mqtt-password\n  \
    furrow-gateway --config ./gateway.toml init --bus tcp:127.0.0.1:7000 --analog 0x48:0=pyranometer\n  \
    furrow-gateway init --serial /dev/ttyUSB0 --probe 1=sen0604\n\n\
    The configuration goes to the file of --config.")]
pub struct Init {
    /// Take defaults instead of asking
    #[arg(long)]
    yes: bool,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    /// Where the devices are: pi, linux for any other board, or a simulator as tcp:HOST:PORT or unix:PATH
    #[arg(long, default_value = "pi")]
    bus: String,
    /// I2C bus to look at, as N in /dev/i2c-N; may be given several times [default: all there are]
    #[arg(long, value_name = "N")]
    i2c: Vec<u8>,
    /// The cooperative's id
    #[arg(long)]
    cooperative: Option<CooperativeId>,
    /// This gateway's id
    #[arg(long)]
    gateway: Option<GatewayId>,
    /// The greenhouse's id
    #[arg(long)]
    greenhouse: Option<GreenhouseId>,
    /// The greenhouse's name for people
    #[arg(long)]
    greenhouse_name: Option<String>,
    /// Local time, e.g. Asia/Ho_Chi_Minh
    #[arg(long)]
    timezone: Option<String>,
    /// Where readings are kept
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Host of the ingest service
    #[arg(long)]
    mqtt_host: Option<String>,
    /// Its port [default: 8883 with --ca-file, otherwise 1883]
    #[arg(long)]
    mqtt_port: Option<u16>,
    /// File that holds the gateway's password; asked for and written when it is missing
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Certificate of the ingest service: the link is encrypted then
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// How often sensors are read
    #[arg(long, default_value = "10s", value_parser = interval)]
    every: String,
    /// What hangs on an analog input; may be given several times
    ///
    /// An address behind a multiplexer is 0x70/2/0x48: channel 2 of that at 0x70
    #[arg(long, value_name = "ADDRESS:INPUT=KIND")]
    analog: Vec<Analog>,
    /// What hangs on a line of an MCP23017 or PCF8574; may be given several times
    #[arg(long, value_name = "ADDRESS:LINE=KIND")]
    contact: Vec<Contact>,
    /// What an address is that nothing identifies; may be given several times
    #[arg(long, value_name = "ADDRESS=KIND")]
    device: Vec<Told>,
    /// Serial port with Modbus soil probes: addresses 1 to 16 are asked; may be given several times
    #[arg(long, value_name = "PORT")]
    serial: Vec<PathBuf>,
    /// The profile of the probe at a Modbus address; may be given several times
    #[arg(long, value_name = "ADDRESS=PROFILE")]
    probe: Vec<ToldProbe>,
    /// Folder of the kernel's 1-Wire sensors
    #[arg(long, value_name = "DIR", default_value = ONE_WIRE_ROOT)]
    one_wire: PathBuf,
    /// The chip of the GPIO lines, with --bus linux: a path, or a label that `gpiodetect` shows
    #[arg(long, value_name = "CHIP", default_value = "/dev/gpiochip0")]
    gpio_chip: String,
    /// GPIO line (BCM number, or line of that chip) of a pulse flow meter: no scan can find it
    #[arg(long, value_name = "GPIO")]
    flow_meter: Option<u8>,
    /// Of the flow meters, from their labels
    #[arg(long, default_value_t = 450.0)]
    pulses_per_litre: f64,
}

#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("{} is there already: add --force to replace it, or --config for another place", .0.display())]
    Exists(PathBuf),
    #[error("--yes needs {0} too")]
    Missing(String),
    #[error("{} is missing: write the gateway's password into it, on its first line", .0.display())]
    NoPassword(PathBuf),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error(
        "this machine has no I2C bus: switch it on (raspi-config nonint do_i2c 0), or name a simulator by --bus"
    )]
    NoBus,
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(
        "no device was recognised: look at supply, wiring and addresses, and run it again; nothing was written"
    )]
    NothingFound,
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the configuration would be wrong; nothing was written")]
    Wrong(#[source] ConfigError),
}

impl Init {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let mut input = io::stdin().lock();
        let mut output = io::stdout();
        let questions = if self.yes {
            let missing = Vec::new();
            Questions::Defaults { missing }
        } else {
            Questions::Person {
                input: &mut input,
                output: &mut output,
            }
        };
        match self.init(config, questions) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print::error(&error);
                let code = match error {
                    InitError::Exists(_) | InitError::Missing(_) | InitError::Wrong(_) => {
                        EXIT_CONFIG
                    }
                    InitError::NoPassword(_)
                    | InitError::NoAnswer(_)
                    | InitError::NoBus
                    | InitError::Look(_)
                    | InitError::NothingFound
                    | InitError::Write { .. } => EXIT_FAILURE,
                };
                ExitCode::from(code)
            }
        }
    }

    fn init(&self, config: &Path, mut questions: Questions<'_>) -> Result<(), InitError> {
        if config.exists() && !self.force {
            return Err(InitError::Exists(config.to_owned()));
        }
        let (buses, found) = self.look(config, &mut questions)?;
        let plan = self.plan(config, &mut questions, buses, found)?;
        explain(&plan);
        if !plan
            .found
            .devices
            .iter()
            .any(|device| is_configured(&plan, device))
            && plan.flow_pin.is_none()
        {
            return Err(InitError::NothingFound);
        }
        keep_password(&plan.link.password_file, &mut questions)?;
        write(config, &toml(&plan))?;
        let config = config.display();
        print::line(format!(
            "\n{config} is written, and `check` accepts it. Next:\n  \
             furrow-gateway --config {config} read\n  furrow-gateway --config {config} run"
        ));
        Ok(())
    }

    fn kind(&self) -> BusKind {
        match self.bus.as_str() {
            "pi" => BusKind::Pi,
            "linux" => BusKind::Linux {
                gpio_chip: Some(self.gpio_chip.clone()),
            },
            address => BusKind::Simulated {
                address: address.to_owned(),
                waits_for_delivery: true,
            },
        }
    }

    fn look(
        &self,
        config: &Path,
        questions: &mut Questions<'_>,
    ) -> Result<(Vec<u8>, Found), InitError> {
        let kind = self.kind();
        let buses = match (&kind, self.i2c.as_slice()) {
            (_, [_, ..]) => self.i2c.clone(),
            (BusKind::Simulated { .. }, []) => SIMULATED_BUSES.to_vec(),
            (_, []) => OWN_BUSES
                .filter(|number| Path::new(&format!("/dev/i2c-{number}")).exists())
                .collect(),
        };
        let ports = self.ports(questions)?;
        if buses.is_empty() && ports.is_empty() {
            return Err(InitError::NoBus);
        }
        let state_dir = self.state_dir.as_deref();
        let eyes = Eyes {
            config,
            state_dir: state_dir.unwrap_or(Path::new(STATE_DIR)),
            kind: &kind,
            buses: &buses,
            ports: &ports,
            told: &self.device,
            told_probes: &self.probe,
        };
        let mut found = eyes.look()?;
        found.handle_one_wire(&self.one_wire);
        Ok((buses, found))
    }

    fn plan(
        &self,
        config: &Path,
        questions: &mut Questions<'_>,
        buses: Vec<u8>,
        mut found: Found,
    ) -> Result<Plan, InitError> {
        ask_strangers(questions, &mut found)?;
        ask_probes(questions, &mut found)?;
        let place = self.place(questions)?;
        let link = self.link(config, questions)?;
        let analog = self.analog(questions, &found)?;
        let (Some(place), Some(link)) = (place, link) else {
            return Err(missing(questions));
        };
        let contacts = self.contacts(questions, &found)?;
        Ok(Plan {
            place,
            link,
            every: self.every.clone(),
            kind: self.kind(),
            buses,
            one_wire: self.one_wire.clone(),
            found,
            analog,
            contacts,
            flow_pin: self.flow_meter,
            pulses_per_litre: self.pulses_per_litre,
        })
    }
}

fn interval(text: &str) -> Result<String, String> {
    let duration = parse_duration(text)?;
    if (Duration::from_secs(5)..=Duration::from_secs(3_600)).contains(&duration) {
        Ok(text.to_owned())
    } else {
        Err("must be 5s to 1h".to_owned())
    }
}

/// The password's file, asked for when it is missing. Only its owner can read it.
fn keep_password(path: &Path, questions: &mut Questions<'_>) -> Result<(), InitError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if path.exists() {
        return Ok(());
    }
    if !questions.has_person() {
        return Err(InitError::NoPassword(path.to_owned()));
    }
    let what = "The gateway's password at the ingest service";
    let password: Option<String> = questions.ask(("--password-file", None), what, None)?;
    let failed = |source| InitError::Write {
        path: path.to_owned(),
        source,
    };
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(failed)?;
    writeln!(file, "{}", password.unwrap_or_default()).map_err(failed)
}

/// Writes beside the place, has it checked, and only then moves it there.
fn write(path: &Path, text: &str) -> Result<(), InitError> {
    let failed = |source| InitError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let beside = path.with_extension("toml.new");
    fs::write(&beside, text).map_err(failed)?;
    if let Err(error) = Settings::load(&beside) {
        fs::remove_file(&beside).map_err(failed)?;
        return Err(InitError::Wrong(error));
    }
    fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests;
