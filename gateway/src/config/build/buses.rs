//! Buses.

use furrow_wire::DeviceId;

use super::devices::PIN_MAX;
use super::section::Section;
use crate::config::mistakes::Mistakes;
use crate::config::raw::RawBus;
use crate::config::settings::{BusKind, BusSettings, ClearPins};

/// Most buses: a Pi 5 has seven I2C controllers.
const BUSES_MAX: usize = 8;
/// Where the kernel shows its 1-Wire sensors.
const ONE_WIRE_ROOT: &str = "/sys/bus/w1/devices";
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
        let is_wire =
            |bus: &BusSettings| matches!(bus.kind, BusKind::OneWire { .. } | BusKind::Guard { .. });
        // The kernel's 1-Wire bus and the guard have no clock of their own.
        let first = seen.iter().find(|other| !is_wire(other));
        if let Some(other) = first.filter(|other| !is_wire(bus) && clock(other) != clock(bus)) {
            let problem = format!("is behind another clock than bus {:?}", other.id.as_str());
            let remedy = "make none simulated, or all at one address";
            section.mistake::<()>("kind", problem, remedy);
        }
        seen.push(bus);
    }
    built.into_iter().collect()
}

/// Where the clock of a bus is, if not in this machine.
fn clock(bus: &BusSettings) -> Option<&str> {
    match &bus.kind {
        BusKind::Simulated { address } => Some(address),
        BusKind::Pi | BusKind::Linux { .. } | BusKind::OneWire { .. } | BusKind::Guard { .. } => {
            None
        }
    }
}

fn bus(index: usize, raw: &RawBus, found: &mut Mistakes) -> Option<BusSettings> {
    let mut section = Section::new(format!("bus[{index}]"), found);
    let known = "id, kind, i2c, address, root, gpio_chip, scl_pin, sda_pin, socket";
    section.refuse_unknown(&raw.unknown, known);
    let id = section.parsed("id", raw.id.as_ref(), "main");
    let kind = section.text("kind", raw.kind.as_ref(), "pi");
    let is_wire = kind.as_deref() == Some("one-wire");
    let is_linux = kind.as_deref() == Some("linux");
    if kind.as_deref() == Some("guard") {
        return guard(raw, id, &mut section);
    }
    let why = "only a bus of kind guard has a socket";
    section.refuse("socket", raw.socket.as_ref(), why);
    let i2c = if is_wire {
        section.refuse("i2c", raw.i2c.as_ref(), "a 1-Wire bus has no I2C number");
        Some(None)
    } else if is_linux && raw.i2c.is_none() && raw.gpio_chip.is_some() {
        // Lines alone.
        Some(None)
    } else {
        let number = section.whole("i2c", raw.i2c.as_ref(), &(0..=255), "1");
        number.map(|number| u8::try_from(number).ok())
    };
    if !is_wire {
        let why = "only a 1-Wire bus has a folder";
        section.refuse("root", raw.root.as_ref(), why);
    }
    if !is_linux {
        let why = "only a bus of kind linux names a GPIO chip";
        section.refuse("gpio_chip", raw.gpio_chip.as_ref(), why);
    }
    let kind = match kind?.as_str() {
        "pi" => {
            let why = "a bus of the Pi has no address";
            section.refuse("address", raw.address.as_ref(), why);
            Some(BusKind::Pi)
        }
        "linux" => linux(raw, &mut section),
        "one-wire" => {
            let why = "a 1-Wire bus has no address";
            section.refuse("address", raw.address.as_ref(), why);
            let root = section.text_or("root", raw.root.as_ref(), ONE_WIRE_ROOT);
            root.map(|root| BusKind::OneWire { root: root.into() })
        }
        "simulated" => simulated(raw, &mut section),
        other => {
            let problem = format!("{other:?} is no kind of bus");
            let remedy = "write \"pi\", \"linux\", \"one-wire\", \"guard\" or \"simulated\"";
            section.mistake("kind", problem, remedy)
        }
    };
    let clear = clear(raw, (is_wire, is_linux), &mut section);
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
    let why = "a bus of this machine has no address";
    section.refuse("address", raw.address.as_ref(), why);
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

fn simulated(raw: &RawBus, section: &mut Section<'_>) -> Option<BusKind> {
    let address = section.text("address", raw.address.as_ref(), "tcp:127.0.0.1:7000")?;
    if address.starts_with("tcp:") || address.starts_with("unix:") {
        return Some(BusKind::Simulated { address });
    }
    let problem = format!("{address:?} is no address of a simulator");
    section.mistake("address", problem, "write tcp:HOST:PORT or unix:/PATH")
}

/// The bus's lines as pins: both or none.
fn clear(
    raw: &RawBus,
    (is_wire, is_linux): (bool, bool),
    section: &mut Section<'_>,
) -> Option<Option<ClearPins>> {
    let (scl, sda) = (raw.scl_pin.as_ref(), raw.sda_pin.as_ref());
    if is_wire || is_linux {
        let why = if is_wire {
            "a 1-Wire bus has no clock"
        } else {
            "here the kernel itself clears a bus, where its device tree names the lines"
        };
        section.refuse("scl_pin", scl, why);
        section.refuse("sda_pin", sda, why);
        return Some(None);
    }
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
