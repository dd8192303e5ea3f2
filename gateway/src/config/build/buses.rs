//! Buses.

use furrow_wire::DeviceId;

use super::devices::PIN_MAX;
use super::section::Section;
use crate::config::mistakes::Mistakes;
use crate::config::raw::RawBus;
use crate::config::settings::{BusKind, BusSettings, ClearPins, Parity, SerialSettings};

/// Most buses: a Pi 5 has seven I2C controllers.
const BUSES_MAX: usize = 8;
/// Where the kernel shows its 1-Wire sensors.
const ONE_WIRE_ROOT: &str = "/sys/bus/w1/devices";
/// Speeds that probes and ports have, bits per second.
const BAUDS: [u32; 8] = [1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200];
/// What nearly all probes leave the factory with.
const BAUD_DEFAULT: u32 = 9_600;
/// Where the guard listens: in the runtime folder of its unit.
const GUARD_SOCKET: &str = "/run/furrow-guard/guard.sock";

pub(super) fn buses(raw: &[RawBus], found: &mut Mistakes) -> Option<Vec<BusSettings>> {
    if raw.is_empty() {
        found.add(
            "bus",
            "there is no bus",
            "add a [[bus]] with id, kind and i2c",
        );
        return None;
    }
    if raw.len() > BUSES_MAX {
        found.add(
            "bus",
            format!("there are {} buses", raw.len()),
            "keep at most 8",
        );
        return None;
    }
    let built: Vec<_> = raw
        .iter()
        .enumerate()
        .map(|(index, raw)| bus(index, raw, found))
        .collect();
    let mut seen: Vec<&BusSettings> = Vec::new();
    for (index, bus) in built
        .iter()
        .enumerate()
        .filter_map(|(i, bus)| Some((i, bus.as_ref()?)))
    {
        let mut section = Section::new(format!("bus[{index}]"), found);
        if seen.iter().any(|other| other.id == bus.id) {
            let problem = format!("{:?} names two buses", bus.id.as_str());
            section.mistake::<()>("id", problem, "give each bus its own id");
        }
        if let Some(number) = bus.i2c
            && let Some(other) = seen.iter().find(|other| other.i2c == bus.i2c)
        {
            let problem = format!("I2C bus {number} is already bus {:?}", other.id.as_str());
            section.mistake::<()>("i2c", problem, "use one [[bus]] for it");
        }
        // 1-Wire, serial lines and the guard have no clock of their own.
        let timed = |bus: &BusSettings| match bus.kind {
            BusKind::Pi | BusKind::Linux { .. } | BusKind::Simulated { .. } => true,
            BusKind::OneWire { .. } | BusKind::Rs485(_) | BusKind::Guard { .. } => false,
        };
        let first = seen.iter().find(|other| timed(other));
        if let Some(other) = first.filter(|other| timed(bus) && clock(other) != clock(bus)) {
            let problem = format!("is behind another clock than bus {:?}", other.id.as_str());
            let remedy = "make none simulated, or all at one address";
            section.mistake::<()>("kind", problem, remedy);
        }
        if let BusKind::Rs485(line) = &bus.kind {
            let same = |other: &&&BusSettings| match &other.kind {
                BusKind::Rs485(other) => other.device == line.device,
                BusKind::Pi
                | BusKind::Linux { .. }
                | BusKind::Simulated { .. }
                | BusKind::OneWire { .. }
                | BusKind::Guard { .. } => false,
            };
            if let Some(other) = seen.iter().find(same) {
                let port = line.device.display();
                let problem = format!("{port} is already bus {:?}", other.id.as_str());
                section.mistake::<()>("device", problem, "use one [[bus]] for it");
            }
        }
        seen.push(bus);
    }
    built.into_iter().collect()
}

/// Where the clock of a bus is, if not in this machine.
fn clock(bus: &BusSettings) -> Option<&str> {
    match &bus.kind {
        BusKind::Simulated { address, .. } => Some(address),
        BusKind::Pi
        | BusKind::Linux { .. }
        | BusKind::OneWire { .. }
        | BusKind::Rs485(_)
        | BusKind::Guard { .. } => None,
    }
}

fn bus(index: usize, raw: &RawBus, found: &mut Mistakes) -> Option<BusSettings> {
    let mut section = Section::new(format!("bus[{index}]"), found);
    let known = "id, kind, i2c, address, root, gpio_chip, scl_pin, sda_pin, device, baud, parity, \
                 timeout, socket, waits_for_delivery";
    section.refuse_unknown(&raw.unknown, known);
    let id = section.parsed("id", raw.id.as_ref(), "main");
    let kind = section.text("kind", raw.kind.as_ref(), "pi");
    if kind.as_deref() == Some("guard") {
        return guard(raw, id, &mut section);
    }
    refuse_foreign(raw, kind.as_deref(), &mut section);
    let is_i2c = !matches!(kind.as_deref(), Some("one-wire" | "rs485"));
    let is_linux = kind.as_deref() == Some("linux");
    let i2c = if is_linux && raw.i2c.is_none() && raw.gpio_chip.is_some() {
        // Lines alone.
        Some(None)
    } else if is_i2c {
        let number = section.whole("i2c", raw.i2c.as_ref(), &(0..=255), "1");
        number.map(|number| u8::try_from(number).ok())
    } else {
        Some(None)
    };
    let kind = match kind?.as_str() {
        "pi" => Some(BusKind::Pi),
        "linux" => linux(raw, &mut section),
        "one-wire" => {
            let root = section.text_or("root", raw.root.as_ref(), ONE_WIRE_ROOT);
            root.map(|root| BusKind::OneWire { root: root.into() })
        }
        "rs485" => rs485(raw, &mut section).map(BusKind::Rs485),
        "simulated" => simulated(raw, &mut section),
        other => {
            let problem = format!("{other:?} is no kind of bus");
            let remedy =
                "write \"pi\", \"linux\", \"one-wire\", \"rs485\", \"guard\" or \"simulated\"";
            section.mistake("kind", problem, remedy)
        }
    };
    let clear = if is_i2c && !is_linux {
        clear(raw, &mut section)
    } else {
        Some(None)
    };
    Some(BusSettings {
        id: id?,
        kind: kind?,
        i2c: i2c?,
        clear: clear?,
    })
}

/// The guard's socket and nothing else.
fn guard(raw: &RawBus, id: Option<DeviceId>, section: &mut Section<'_>) -> Option<BusSettings> {
    let others = [
        ("i2c", &raw.i2c),
        ("address", &raw.address),
        ("root", &raw.root),
        ("gpio_chip", &raw.gpio_chip),
        ("scl_pin", &raw.scl_pin),
        ("sda_pin", &raw.sda_pin),
        ("device", &raw.device),
        ("baud", &raw.baud),
        ("parity", &raw.parity),
        ("timeout", &raw.timeout),
        ("waits_for_delivery", &raw.waits_for_delivery),
    ];
    for (key, leaf) in others {
        section.refuse(key, leaf.as_ref(), "the guard has a socket only");
    }
    let socket = section.text_or("socket", raw.socket.as_ref(), GUARD_SOCKET)?;
    Some(BusSettings {
        id: id?,
        kind: BusKind::Guard {
            socket: socket.into(),
        },
        i2c: None,
        clear: None,
    })
}

fn linux(raw: &RawBus, section: &mut Section<'_>) -> Option<BusKind> {
    let Some(leaf) = raw.gpio_chip.as_ref() else {
        return Some(BusKind::Linux { gpio_chip: None });
    };
    let chip = section.text("gpio_chip", Some(leaf), "/dev/gpiochip0")?;
    if chip.contains('/') && !chip.starts_with("/dev/") {
        let problem = format!("{chip:?} is no GPIO chip");
        let remedy = "write /dev/gpiochipN, or the label that gpiodetect shows";
        return section.mistake("gpio_chip", problem, remedy);
    }
    Some(BusKind::Linux {
        gpio_chip: Some(chip),
    })
}

/// Keys that another kind of bus has.
fn refuse_foreign(raw: &RawBus, kind: Option<&str>, section: &mut Section<'_>) {
    let (wire, line) = (kind == Some("one-wire"), kind == Some("rs485"));
    let linux = kind == Some("linux");
    let without = |what: &str| match kind {
        Some("one-wire") => format!("a 1-Wire bus has no {what}"),
        Some("rs485") => format!("a serial line has no {what}"),
        Some("linux") => format!("a bus of this machine has no {what}"),
        Some(_) | None => format!("a bus of the Pi has no {what}"),
    };
    let clocks = if linux {
        "here the kernel itself clears a bus, where its device tree names the lines".to_owned()
    } else {
        without("clock")
    };
    let i2c_only = wire || line;
    let own = linux || kind == Some("pi");
    let only = |what: &str| format!("only a serial line has a {what}");
    let foreign = [
        ("i2c", &raw.i2c, i2c_only, without("I2C number")),
        ("address", &raw.address, i2c_only || own, without("address")),
        (
            "root",
            &raw.root,
            !wire,
            "only a 1-Wire bus has a folder".to_owned(),
        ),
        (
            "gpio_chip",
            &raw.gpio_chip,
            !linux,
            "only a bus of kind linux names a GPIO chip".to_owned(),
        ),
        ("scl_pin", &raw.scl_pin, i2c_only || linux, clocks.clone()),
        ("sda_pin", &raw.sda_pin, i2c_only || linux, clocks),
        ("device", &raw.device, !line, only("port")),
        ("baud", &raw.baud, !line, only("speed")),
        ("parity", &raw.parity, !line, only("parity")),
        ("timeout", &raw.timeout, !line, only("time-out")),
        (
            "socket",
            &raw.socket,
            true,
            "only a bus of kind guard has a socket".to_owned(),
        ),
        (
            "waits_for_delivery",
            &raw.waits_for_delivery,
            kind != Some("simulated"),
            "only a simulated bus has a time that can wait".to_owned(),
        ),
    ];
    for (key, leaf, refused, why) in foreign {
        section.refuse(key, leaf.as_ref().filter(|_| refused), &why);
    }
}

fn rs485(raw: &RawBus, section: &mut Section<'_>) -> Option<SerialSettings> {
    let device = section.text("device", raw.device.as_ref(), "/dev/ttyUSB0");
    let baud = match raw.baud.as_ref() {
        None => Some(BAUD_DEFAULT),
        leaf => section
            .whole("baud", leaf, &(1_200..=115_200), "9600")
            .and_then(|baud| u32::try_from(baud).ok())
            .and_then(|baud| usual(baud, section)),
    };
    let parity = match section
        .text_or("parity", raw.parity.as_ref(), "none")
        .as_deref()
    {
        None => None,
        Some("none") => Some(Parity::None),
        Some("even") => Some(Parity::Even),
        Some("odd") => Some(Parity::Odd),
        Some(other) => {
            let problem = format!("{other:?} is no parity");
            section.mistake("parity", problem, "write \"none\", \"even\" or \"odd\"")
        }
    };
    let range = ("50ms", "2s");
    let timeout = section.duration("timeout", raw.timeout.as_ref(), range, Some("300ms"));
    Some(SerialSettings {
        device: device?.into(),
        baud: baud?,
        parity: parity?,
        timeout: timeout?,
    })
}

fn usual(baud: u32, section: &mut Section<'_>) -> Option<u32> {
    if BAUDS.contains(&baud) {
        return Some(baud);
    }
    let problem = format!("{baud} is no speed of a serial port");
    let usual: Vec<String> = BAUDS.iter().map(ToString::to_string).collect();
    section.mistake(
        "baud",
        problem,
        format!("write one of {}", usual.join(", ")),
    )
}

fn simulated(raw: &RawBus, section: &mut Section<'_>) -> Option<BusKind> {
    let waits = raw.waits_for_delivery.as_ref();
    let waits = section.truth("waits_for_delivery", waits, Some(true));
    let address = section.text("address", raw.address.as_ref(), "tcp:127.0.0.1:7000")?;
    if address.starts_with("tcp:") || address.starts_with("unix:") {
        return Some(BusKind::Simulated {
            address,
            waits_for_delivery: waits?,
        });
    }
    let problem = format!("{address:?} is no address of a simulator");
    section.mistake("address", problem, "write tcp:HOST:PORT or unix:/PATH")
}

/// The bus's lines as pins: both or none.
fn clear(raw: &RawBus, section: &mut Section<'_>) -> Option<Option<ClearPins>> {
    let (scl, sda) = (raw.scl_pin.as_ref(), raw.sda_pin.as_ref());
    if scl.is_none() && sda.is_none() {
        return Some(None);
    }
    let scl = section.whole("scl_pin", scl, &(0..=PIN_MAX), "3");
    let sda = section.whole("sda_pin", sda, &(0..=PIN_MAX), "2");
    let pins = ClearPins {
        scl: u8::try_from(scl?).ok()?,
        sda: u8::try_from(sda?).ok()?,
    };
    if pins.scl == pins.sda {
        return section.mistake(
            "sda_pin",
            "is the same as scl_pin",
            "write the data line's pin",
        );
    }
    Some(Some(pins))
}
