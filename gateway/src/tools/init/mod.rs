//! `init`: a first configuration, from a few questions and what is on the buses.
//!
//! Writes only what `check` accepts, and nothing over what is there. It decides nothing that a person
//! must: which sensor hangs where, what a zone waters and when.

mod explain;
mod find;
mod questions;
mod write;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use furrow_wire::{CooperativeId, GatewayId, GreenhouseId};

use self::explain::explain;
use self::find::{At, Detail, Found, Told, candidates, look, look_at_one_wire};
use self::questions::{NoAnswer, Questions};
use self::write::{Analog, AnalogKind, LinkPlan, Plan, WherePlan, is_configured, toml};
use super::{EXIT_CONFIG, EXIT_FAILURE, print};
use crate::bus::{Field, FieldDelay, FieldError};
use crate::config::{BusKind, ConfigError, Settings, parse_duration};

/// I2C buses that a Pi or another board may have.
const OWN_BUSES: std::ops::RangeInclusive<u8> = 0..=22;
/// Where the kernel shows its 1-Wire sensors.
const ONE_WIRE_ROOT: &str = "/sys/bus/w1/devices";
/// Those of the simulator's greenhouse.
const SIMULATED_BUSES: [u8; 3] = [1, 2, 3];

/// Write a first configuration: asks a few questions, looks at the buses, and explains what it found
///
/// Asks for what no flag says; with `--yes` it takes defaults instead. It never writes over a file
/// without `--force`, and writes nothing that `check` would refuse. Run it while no gateway is
/// running.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo furrow-gateway init\n  \
    furrow-gateway init --yes --cooperative hoa-binh --mqtt-host ingest.example --password-file /etc/furrow/mqtt-password\n  \
    furrow-gateway --config ./gateway.toml init --bus tcp:127.0.0.1:7000 --analog 0x48:0=pyranometer\n\n\
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
    #[arg(long, value_name = "ADDRESS:INPUT=KIND")]
    analog: Vec<Analog>,
    /// What an address is that nothing identifies; may be given several times
    #[arg(long, value_name = "ADDRESS=KIND")]
    device: Vec<Told>,
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
    Field(#[from] FieldError),
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
                    | InitError::Field(_)
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
        let (buses, found) = self.look()?;
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
            },
        }
    }

    fn look(&self) -> Result<(Vec<u8>, Found), InitError> {
        let kind = self.kind();
        let buses = match (&kind, self.i2c.as_slice()) {
            (_, [_, ..]) => self.i2c.clone(),
            (BusKind::Simulated { .. }, []) => SIMULATED_BUSES.to_vec(),
            (
                BusKind::Pi | BusKind::Linux { .. } | BusKind::OneWire { .. } | BusKind::Rs485(_),
                [],
            ) => OWN_BUSES
                .filter(|number| Path::new(&format!("/dev/i2c-{number}")).exists())
                .collect(),
        };
        if buses.is_empty() {
            return Err(InitError::NoBus);
        }
        let field = Field::connect(Some(&kind), "furrow-gateway init")?;
        let mut found = Found::default();
        let delay = FieldDelay::new(field.clock().clone());
        let busy = field.clock().busy();
        let ((), busy) = delay.carry(busy, || {
            for number in &buses {
                let (mut i2c, mut delay) = (field.i2c(&kind, *number), delay.clone());
                look(*number, &mut i2c, &mut delay, &self.device, &mut found);
            }
        });
        drop(busy);
        look_at_one_wire(&self.one_wire, &mut found);
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
        let place = self.place(questions)?;
        let link = self.link(config, questions)?;
        let analog = self.analog(questions, &found)?;
        let (Some(place), Some(link)) = (place, link) else {
            return Err(missing(questions));
        };
        Ok(Plan {
            place,
            link,
            every: self.every.clone(),
            kind: self.kind(),
            buses,
            one_wire: self.one_wire.clone(),
            found,
            analog,
            flow_pin: self.flow_meter,
            pulses_per_litre: self.pulses_per_litre,
        })
    }

    /// Who and where; `None` when something is missing.
    fn place(&self, questions: &mut Questions<'_>) -> Result<Option<WherePlan>, InitError> {
        let flag = self.cooperative.clone();
        let cooperative = questions.ask(("--cooperative", flag), "Id of the cooperative", None)?;
        let flag = self.gateway.clone();
        let gateway = questions.ask(("--gateway", flag), "Id of this gateway", Some("gw-01"))?;
        let flag = self.greenhouse.clone();
        let what = "Id of the greenhouse";
        let greenhouse: Option<GreenhouseId> =
            questions.ask(("--greenhouse", flag), what, Some("greenhouse-1"))?;
        let name = greenhouse
            .as_ref()
            .map_or("?", GreenhouseId::as_str)
            .to_owned();
        let flag = self.greenhouse_name.clone();
        let what = "Its name for people";
        let greenhouse_name = questions.ask(("--greenhouse-name", flag), what, Some(&name))?;
        let zone = jiff::tz::TimeZone::system();
        let zone = zone.iana_name().unwrap_or("UTC").to_owned();
        let flag = self.timezone.clone();
        let timezone = questions.ask(("--timezone", flag), "Time zone", Some(&zone))?;
        let flag = self.state_dir.clone();
        let (what, default) = ("Folder for readings", "/var/lib/furrow-gateway");
        let state_dir = questions.ask(("--state-dir", flag), what, Some(default))?;
        let (Some(cooperative), Some(gateway), Some(greenhouse)) =
            (cooperative, gateway, greenhouse)
        else {
            return Ok(None);
        };
        let (Some(greenhouse_name), Some(timezone), Some(state_dir)) =
            (greenhouse_name, timezone, state_dir)
        else {
            return Ok(None);
        };
        Ok(Some(WherePlan {
            cooperative,
            gateway,
            greenhouse,
            greenhouse_name,
            timezone,
            state_dir,
        }))
    }

    /// How readings leave; `None` when something is missing.
    fn link(
        &self,
        config: &Path,
        questions: &mut Questions<'_>,
    ) -> Result<Option<LinkPlan>, InitError> {
        let beside = config.parent().unwrap_or(Path::new("."));
        let password_file = beside.join("mqtt-password").display().to_string();
        let port = if self.ca_file.is_some() {
            "8883"
        } else {
            "1883"
        };
        let flag = self.mqtt_host.clone();
        let mqtt_host = questions.ask(("--mqtt-host", flag), "Host of the ingest service", None)?;
        let mqtt_port = questions.ask(("--mqtt-port", self.mqtt_port), "Its port", Some(port))?;
        let flag = self.password_file.clone();
        let what = "File with the gateway's password";
        let file = questions.ask(("--password-file", flag), what, Some(&password_file))?;
        let (Some(mqtt_host), Some(mqtt_port), Some(password_file)) = (mqtt_host, mqtt_port, file)
        else {
            return Ok(None);
        };
        Ok(Some(LinkPlan {
            mqtt_host,
            mqtt_port,
            password_file,
            ca_file: self.ca_file.clone(),
        }))
    }

    /// What hangs on the analog inputs: only a person can know.
    fn analog(
        &self,
        questions: &mut Questions<'_>,
        found: &Found,
    ) -> Result<Vec<Analog>, InitError> {
        let mut analog = self.analog.clone();
        if !questions.has_person() {
            return Ok(analog);
        }
        for device in &found.devices {
            let (Detail::Inputs(inputs), At::I2c { address, .. }) = (&device.detail, &device.at)
            else {
                continue;
            };
            for (input, volts) in (0_u8..).zip(inputs) {
                let address = *address;
                let is_known = |one: &Analog| one.address == address && one.input == input;
                let Some(volts) = volts.filter(|_| !self.analog.iter().any(is_known)) else {
                    continue;
                };
                let question = format!(
                    "Input {input} of the ADS1115 at {address:#04x} reads {volts:.3} V. What hangs there: \
                     pyranometer, current-loop, capacitive-moisture, nothing?"
                );
                let kind: Option<AnalogKind> =
                    questions.ask(("--analog", None), &question, Some("nothing"))?;
                analog.extend(kind.map(|kind| Analog {
                    address,
                    input,
                    kind,
                }));
            }
        }
        Ok(analog)
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

/// A person may know what nothing identifies.
fn ask_strangers(questions: &mut Questions<'_>, found: &mut Found) -> Result<(), InitError> {
    if !questions.has_person() {
        return Ok(());
    }
    let mut left = Vec::new();
    for stranger in std::mem::take(&mut found.strangers) {
        let kinds = candidates(&stranger);
        let (bus, address) = (stranger.bus, stranger.address);
        let mut told = None;
        if !kinds.is_empty() {
            let question = format!(
                "{address:#04x} on i2c-{bus} answers, and nothing identifies it. What is it: {}, nothing?",
                kinds.join(", ")
            );
            let answer: Option<String> =
                questions.ask(("--device", None), &question, Some("nothing"))?;
            told = kinds
                .into_iter()
                .find(|kind| Some(*kind) == answer.as_deref());
        }
        match told {
            Some(kind) => found.devices.push(find::Device {
                at: At::I2c {
                    bus,
                    address,
                    behind: stranger.behind,
                },
                kind,
                evidence: "you say so".to_owned(),
                detail: Detail::None,
            }),
            None => left.push(stranger),
        }
    }
    found.strangers = left;
    Ok(())
}

fn missing(questions: &Questions<'_>) -> InitError {
    let Questions::Defaults { missing } = questions else {
        return NoAnswer::Useless.into();
    };
    InitError::Missing(missing.join(", "))
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
mod tests {
    use super::find::{Device, Stranger};
    use super::*;

    fn plan(devices: Vec<Device>, analog: &[&str], folder: &Path) -> Plan {
        Plan {
            place: WherePlan {
                cooperative: "hoa-binh".parse().unwrap(),
                gateway: "gw-01".parse().unwrap(),
                greenhouse: "nha-luoi-1".parse().unwrap(),
                greenhouse_name: "Nhà \"lưới\" 1\\".into(),
                timezone: "Asia/Ho_Chi_Minh".into(),
                state_dir: folder.join("state"),
            },
            link: LinkPlan {
                mqtt_host: "ingest.example".into(),
                mqtt_port: 1883,
                password_file: folder.join("mqtt-password"),
                ca_file: None,
            },
            every: "10s".into(),
            kind: BusKind::Simulated {
                address: "tcp:127.0.0.1:7000".into(),
            },
            buses: vec![1, 3],
            one_wire: ONE_WIRE_ROOT.into(),
            found: Found {
                devices,
                strangers: vec![Stranger {
                    bus: 1,
                    address: 0x76,
                    behind: None,
                    identity: None,
                    could_be: vec!["BME280 pressure"],
                }],
                broken: Vec::new(),
            },
            analog: analog.iter().map(|one| one.parse().unwrap()).collect(),
            flow_pin: Some(17),
            pulses_per_litre: 450.0,
        }
    }

    fn device(bus: u8, address: u8, kind: &'static str, detail: Detail) -> Device {
        let behind = None;
        Device {
            at: At::I2c {
                bus,
                address,
                behind,
            },
            kind,
            evidence: "checksum right".into(),
            detail,
        }
    }

    fn all_devices() -> Vec<Device> {
        let inputs = vec![Some(0.5), Some(1.2), Some(2.1), None];
        let mut behind = device(1, 0x44, "sht3x", Detail::None);
        behind.at = At::I2c {
            bus: 1,
            address: 0x44,
            behind: Some((0x70, 1)),
        };
        let mut wire = device(1, 0, "ds18b20", Detail::None);
        wire.at = At::OneWire {
            rom: "28-0316a2794bff".into(),
        };
        vec![
            device(1, 0x45, "sht4x", Detail::None),
            device(3, 0x45, "sht4x", Detail::None),
            behind,
            device(1, 0x62, "scd4x", Detail::None),
            device(1, 0x61, "scd30", Detail::None),
            device(1, 0x76, "bme280", Detail::None),
            device(1, 0x23, "bh1750", Detail::None),
            device(1, 0x40, "ina219", Detail::None),
            device(1, 0x63, "ezo-ph", Detail::None),
            device(1, 0x64, "ezo-ec", Detail::None),
            device(1, 0x48, "ads1115", Detail::Inputs(inputs)),
            wire,
            device(3, 0x2C, "drip-controller", Detail::Outputs(2)),
        ]
    }

    const SIMPLE: [&str; 10] = [
        "sht4x-1-45",
        "sht4x-3-45",
        "sht3x-1-70-1-44",
        "scd4x-62",
        "scd30-61",
        "bme280-76",
        "bh1750-23",
        "ina219-40",
        "ezo-ph-63",
        "ezo-ec-64",
    ];

    #[track_caller]
    fn check(plan: &Plan, folder: &Path, devices: &[&str]) {
        fs::write(&plan.link.password_file, "secret\n").unwrap();
        let path = folder.join("gateway.toml");
        if let Err(error) = write(&path, &toml(plan)) {
            panic!("{}\n{}", print::chain(&error), toml(plan));
        }
        let settings = Settings::load(&path).unwrap();
        let found: Vec<&str> = settings
            .devices()
            .iter()
            .map(|one| one.id.as_str())
            .collect();
        assert_eq!(found, devices);
        assert_eq!(settings.gateway().greenhouse_name, "Nhà \"lưới\" 1\\");
    }

    #[test]
    fn what_is_written_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = [
            "0x48:0=pyranometer",
            "0x48:1=current-loop",
            "0x48:2=capacitive-moisture",
            "0x48:3=capacitive-moisture",
        ];
        let full = plan(all_devices(), &inputs, folder.path());
        let rest = ["ads1115-48", "ds18b20-0316a2794bff", "drip-2c", "flow"];
        let ids = [&SIMPLE[..], &rest].concat();
        check(&full, folder.path(), &ids);
        // What hangs on a converter is not known: it stands there as a comment.
        let bare = plan(all_devices(), &["0x48:0=nothing"], folder.path());
        let rest = ["ds18b20-0316a2794bff", "drip-2c", "flow"];
        let ids = [&SIMPLE[..], &rest].concat();
        check(&bare, folder.path(), &ids);
        assert!(
            toml(&bare).contains("# [[device.input]]              # reads 2.100 V"),
            "{}",
            toml(&bare)
        );
        check(
            &plan(Vec::new(), &[], folder.path()),
            folder.path(),
            &["flow"],
        );
    }

    #[test]
    fn buses_of_this_machine_are_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let linux = BusKind::Linux {
            gpio_chip: Some("/dev/gpiochip0".into()),
        };
        for kind in [BusKind::Pi, linux] {
            let mut own = plan(Vec::new(), &[], folder.path());
            own.kind = kind.clone();
            check(&own, folder.path(), &["flow"]);
            let settings = Settings::load(&folder.path().join("gateway.toml")).unwrap();
            let kinds = settings.buses().iter().map(|bus| &bus.kind);
            assert!(kinds.eq([&kind, &kind]), "{settings:?}");
        }
    }

    #[test]
    fn what_check_would_refuse_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        let mut wrong = plan(all_devices(), &[], folder.path());
        wrong.place.timezone = "Mars/Olympus".into();
        fs::write(&wrong.link.password_file, "secret\n").unwrap();
        assert!(matches!(
            write(&path, &toml(&wrong)),
            Err(InitError::Wrong(_))
        ));
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "only the password is there: {left:?}");
    }

    #[test]
    fn inputs_are_named_by_address() {
        for bad in [
            "48:0=pyranometer",
            "0x48:4=pyranometer",
            "0x48:0=probe",
            "0x48=nothing",
        ] {
            assert!(bad.parse::<Analog>().is_err(), "{bad}");
        }
    }
}
