//! The configuration's text, for people to read and go on with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use furrow_wire::{CooperativeId, GatewayId, GreenhouseId};

use super::find::{At, Detail, Device, Found};
use super::spot::{Analog, AnalogKind, BOARDS, Contact, ContactKind, Spot};
use crate::config::BusKind;

/// Everything that the text says.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) place: WherePlan,
    pub(super) link: LinkPlan,
    pub(super) every: String,
    /// Of all I2C buses.
    pub(super) kind: BusKind,
    pub(super) buses: Vec<u8>,
    pub(super) one_wire: PathBuf,
    pub(super) found: Found,
    pub(super) analog: Vec<Analog>,
    pub(super) contacts: Vec<Contact>,
    pub(super) flow_pin: Option<u8>,
    pub(super) pulses_per_litre: f64,
}

/// Who and where.
#[derive(Debug)]
pub(super) struct WherePlan {
    pub(super) cooperative: CooperativeId,
    pub(super) gateway: GatewayId,
    pub(super) greenhouse: GreenhouseId,
    pub(super) greenhouse_name: String,
    pub(super) timezone: String,
    pub(super) state_dir: PathBuf,
}

/// How readings leave.
#[derive(Debug)]
pub(super) struct LinkPlan {
    pub(super) mqtt_host: String,
    pub(super) mqtt_port: u16,
    pub(super) password_file: PathBuf,
    pub(super) ca_file: Option<PathBuf>,
}

/// A converter of whose inputs nothing is known is no device yet, nor is a board of contacts.
pub(super) fn is_configured(plan: &Plan, device: &Device) -> bool {
    match device.kind {
        "ads1115" => inputs_of(plan, device).next().is_some(),
        "mcp23017" | "pcf8574" => contacts_of(plan, device).next().is_some(),
        _ => true,
    }
}

/// Its id in series: by kind and place, since only a person knows where it hangs.
pub(super) fn id_of(plan: &Plan, device: &Device) -> String {
    let kind = if device.kind == "drip-controller" {
        "drip"
    } else {
        device.kind
    };
    let (bus, Spot { address, behind }) = match &device.at {
        At::I2c { bus, spot } => (*bus, *spot),
        At::OneWire { rom } => {
            return format!("{kind}-{}", rom.strip_prefix("28-").unwrap_or(rom));
        }
        At::Serial { port, slave } => return format!("soil-{}", line_number(plan, port, *slave)),
    };
    if let Some((mux, channel)) = behind {
        return format!("{kind}-{bus}-{mux:02x}-{channel}-{address:02x}");
    }
    let twice = |other: &&Device| {
        let here = Spot {
            address,
            behind: None,
        };
        let is_here = matches!(&other.at, At::I2c { spot, .. } if *spot == here);
        is_here && other.kind == device.kind
    };
    if plan.found.devices.iter().filter(twice).count() > 1 {
        format!("{kind}-{bus}-{address:02x}")
    } else {
        format!("{kind}-{address:02x}")
    }
}

/// The whole text.
pub(super) fn toml(plan: &Plan) -> String {
    let mut text = String::new();
    let written = write(plan, &mut text);
    written.expect("writing to a string never fails");
    text
}

fn write(plan: &Plan, text: &mut String) -> std::fmt::Result {
    writeln!(
        text,
        "# Written by `furrow-gateway init`. `furrow-gateway check` prints every mistake with its remedy.\n\
         # Ids of devices stand in every series: rename them now, to what they measure, or never.\n\n\
         [gateway]\n\
         cooperative = {}\nid = {}\ngreenhouse = {}\ngreenhouse_name = {}\ntimezone = {}\nstate_dir = {}\n\n\
         [mqtt]\nhost = {}\nport = {}\npassword_file = {}",
        quoted(plan.place.cooperative.as_str()),
        quoted(plan.place.gateway.as_str()),
        quoted(plan.place.greenhouse.as_str()),
        quoted(&plan.place.greenhouse_name),
        quoted(&plan.place.timezone),
        quoted(&plan.place.state_dir.display().to_string()),
        quoted(&plan.link.mqtt_host),
        plan.link.mqtt_port,
        quoted(&plan.link.password_file.display().to_string()),
    )?;
    if let Some(ca_file) = &plan.link.ca_file {
        let ca_file = quoted(&ca_file.display().to_string());
        writeln!(text, "tls = {{ ca_file = {ca_file} }}")?;
    }
    write_buses(plan, text)?;
    for device in &plan.found.devices {
        write_device(plan, device, text)?;
    }
    if let (Some(pin), Some(bus)) = (plan.flow_pin, plan.buses.first()) {
        writeln!(
            text,
            "\n[[device]]\nid = \"flow\"\nkind = \"flow-meter\"\nbus = \"i2c-{bus}\"\npin = {pin}\n\
             pulses_per_litre = {:?}         # from its label\nevery = {}",
            plan.pulses_per_litre,
            quoted(&plan.every),
        )?;
    }
    for device in &plan.found.devices {
        if let Detail::Outputs(outputs) = device.detail {
            write_zones(plan, device, outputs, text)?;
        }
    }
    Ok(())
}

fn write_buses(plan: &Plan, text: &mut String) -> std::fmt::Result {
    for number in &plan.buses {
        writeln!(text, "\n[[bus]]\nid = \"i2c-{number}\"\ni2c = {number}")?;
        match &plan.kind {
            BusKind::Simulated { address, .. } => {
                writeln!(text, "kind = \"simulated\"\naddress = {}", quoted(address))?;
            }
            BusKind::Linux { gpio_chip } => {
                writeln!(text, "kind = \"linux\"")?;
                if let Some(chip) = gpio_chip {
                    writeln!(text, "gpio_chip = {}", quoted(chip))?;
                }
            }
            BusKind::Pi | BusKind::OneWire { .. } | BusKind::Rs485(_) | BusKind::Guard { .. } => {
                writeln!(text, "kind = \"pi\"")?
            }
        }
    }
    let is_one_wire = |device: &Device| matches!(device.at, At::OneWire { .. });
    if plan.found.devices.iter().any(is_one_wire) {
        let root = quoted(&plan.one_wire.display().to_string());
        writeln!(
            text,
            "\n[[bus]]\nid = \"one-wire\"\nkind = \"one-wire\"\nroot = {root}"
        )?;
    }
    for port in ports(plan) {
        let (id, port) = (line_id(plan, port), quoted(&port.display().to_string()));
        writeln!(
            text,
            "\n[[bus]]\nid = \"{id}\"\nkind = \"rs485\"\ndevice = {port}"
        )?;
    }
    Ok(())
}

fn write_device(plan: &Plan, device: &Device, text: &mut String) -> std::fmt::Result {
    // What is not known yet stands there all the same, for a person to go on with.
    let mark = if is_configured(plan, device) {
        ""
    } else {
        "# "
    };
    writeln!(text, "\n# {}", device.evidence)?;
    let mut lines = vec![
        "[[device]]".to_owned(),
        format!("id = {}", quoted(&id_of(plan, device))),
        format!("kind = \"{}\"", device.kind),
    ];
    match &device.at {
        At::I2c { bus, spot } => {
            lines.push(format!("bus = \"i2c-{bus}\""));
            lines.push(format!("address = {:#04x}", spot.address));
            if let Some((mux, channel)) = spot.behind {
                lines.push(format!("mux = {mux:#04x}"));
                lines.push(format!("mux_channel = {channel}"));
            }
        }
        At::OneWire { rom } => {
            lines.push("bus = \"one-wire\"".to_owned());
            lines.push(format!("rom = {}", quoted(rom)));
        }
        At::Serial { port, slave } => {
            lines.push(format!("bus = \"{}\"", line_id(plan, port)));
            lines.push(format!("address = {slave}"));
        }
    }
    if let Detail::Profile(profile) = device.detail {
        lines.push(format!("profile = \"{profile}\""));
    }
    lines.push(format!("every = {}", quoted(&plan.every)));
    for line in lines {
        writeln!(text, "{mark}{line}")?;
    }
    if device.kind == "drip-controller" {
        writeln!(
            text,
            "pulses_per_litre = {:?}         # of the meter at the controller, from its label",
            plan.pulses_per_litre
        )?;
    }
    match &device.detail {
        Detail::None if BOARDS.iter().any(|(kind, _)| *kind == device.kind) => {
            write_contacts(plan, device, text)
        }
        Detail::None | Detail::Outputs(_) | Detail::Profile(_) => Ok(()),
        Detail::Inputs(inputs) => write_inputs(plan, device, inputs, text),
    }
}

fn write_inputs(
    plan: &Plan,
    device: &Device,
    inputs: &[Option<f64>],
    text: &mut String,
) -> std::fmt::Result {
    for one in inputs_of(plan, device) {
        writeln!(text, "\n[[device.input]]\ninput = {}", one.input)?;
        text.push_str(match one.kind {
            AnalogKind::Pyranometer => PYRANOMETER,
            AnalogKind::CurrentLoop => CURRENT_LOOP,
            AnalogKind::CapacitiveMoisture => CAPACITIVE,
            AnalogKind::Nothing => "",
        });
        if matches!(one.kind, AnalogKind::CurrentLoop) {
            writeln!(text, "channel = \"level_{}\"", one.input)?;
        } else if repeats(plan, device, one) {
            writeln!(text, "channel = \"{}_{}\"", name_of(one.kind), one.input)?;
        }
    }
    if inputs_of(plan, device).next().is_none() {
        for (number, volts) in inputs.iter().enumerate() {
            let volts = volts.map_or("nothing".to_owned(), |volts| format!("{volts:.3} V"));
            writeln!(
                text,
                "# [[device.input]]              # reads {volts}: what hangs there?\n\
                 # input = {number}\n# kind = \"pyranometer\"           # or current-loop, capacitive-moisture"
            )?;
        }
    }
    Ok(())
}

const PYRANOMETER: &str =
    "kind = \"pyranometer\"\nvolts_per_unit = 0.002          # volts a W/m2, amplifier included\n";
const CURRENT_LOOP: &str = "kind = \"current-loop\"\nunit = \"m\"\nshunt_ohms = 100.0\nat_4_ma = 0.0                    # what the transmitter means by 4 mA\nat_20_ma = 2.5\n";
const CAPACITIVE: &str = "kind = \"capacitive-moisture\"\ndry_volts = 2.90                 # `furrow-gateway calibrate capacitive` measures both\nwet_volts = 1.30\n";

fn write_zones(plan: &Plan, device: &Device, outputs: u8, text: &mut String) -> std::fmt::Result {
    let id = id_of(plan, device);
    for output in 1..=outputs {
        writeln!(
            text,
            "\n# Waters only by hand until it has a [[zone.schedule]] with `at` and `for`.\n\
             [[zone]]\nid = \"{id}-{output}\"\nname = \"Zone {output}\"\ncontroller = \"{id}\"\n\
             output = {output}\nmax_run = \"30min\"\ndaily_limit = \"2h\"",
        )?;
    }
    Ok(())
}

/// Ports with a device, each once.
fn ports(plan: &Plan) -> Vec<&Path> {
    let mut ports = Vec::new();
    for device in &plan.found.devices {
        if let At::Serial { port, .. } = &device.at
            && !ports.contains(&port.as_path())
        {
            ports.push(port.as_path());
        }
    }
    ports
}

fn line_id(plan: &Plan, port: &Path) -> String {
    match ports(plan).iter().position(|one| *one == port) {
        Some(0) | None => "soil".to_owned(),
        Some(place) => format!("soil-line-{}", place + 1),
    }
}

/// The address, and the line where there are several.
fn line_number(plan: &Plan, port: &Path, slave: u8) -> String {
    match ports(plan).iter().position(|one| *one == port) {
        Some(0) | None => slave.to_string(),
        Some(place) => format!("{}-{slave}", place + 1),
    }
}

fn spot_of(device: &Device) -> Option<Spot> {
    match &device.at {
        At::I2c { spot, .. } => Some(*spot),
        At::OneWire { .. } | At::Serial { .. } => None,
    }
}

fn inputs_of<'a>(plan: &'a Plan, device: &Device) -> impl Iterator<Item = &'a Analog> + use<'a> {
    let spot = spot_of(device);
    let of_device = plan.analog.iter().filter(move |one| Some(one.spot) == spot);
    of_device.filter(|one| one.kind != AnalogKind::Nothing)
}

/// The contacts that were named, of those that the board has.
fn contacts_of<'a>(plan: &'a Plan, device: &Device) -> impl Iterator<Item = &'a Contact> + use<'a> {
    let spot = spot_of(device);
    let board = BOARDS.iter().find(|(kind, _)| *kind == device.kind);
    let lines = board.map_or(0, |(_, lines)| *lines);
    let contacts = plan.contacts.iter();
    contacts.filter(move |one| Some(one.spot) == spot && one.line < lines)
}

fn write_contacts(plan: &Plan, device: &Device, text: &mut String) -> std::fmt::Result {
    let named: Vec<&Contact> = contacts_of(plan, device).collect();
    if named.is_empty() {
        return writeln!(
            text,
            "# [[device.input]]              # what hangs there?\n\
             # input = 0\n# kind = \"float-switch\"          # or door, mains, button, contact"
        );
    }
    for one in &named {
        let kind = one.kind.name();
        writeln!(
            text,
            "\n[[device.input]]\ninput = {}\nkind = \"{kind}\"",
            one.line
        )?;
        let repeats = named.iter().filter(|other| other.kind == one.kind).count() > 1;
        if repeats || one.kind == ContactKind::Contact {
            let name = kind.replace('-', "_");
            writeln!(text, "channel = \"{name}_{}\"", one.line)?;
        }
    }
    Ok(())
}

/// Whether another input of the converter has the same kind.
fn repeats(plan: &Plan, device: &Device, one: &Analog) -> bool {
    let same = inputs_of(plan, device).filter(|other| other.kind == one.kind);
    same.count() > 1
}

fn name_of(kind: AnalogKind) -> &'static str {
    match kind {
        AnalogKind::Pyranometer => "global_radiation",
        AnalogKind::CurrentLoop => "level",
        AnalogKind::CapacitiveMoisture => "soil_moisture_index",
        AnalogKind::Nothing => "nothing",
    }
}

/// A TOML text.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
