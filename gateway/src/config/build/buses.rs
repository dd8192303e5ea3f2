//! Buses.

use super::devices::PIN_MAX;
use super::section::Section;
use crate::config::mistakes::Mistakes;
use crate::config::raw::RawBus;
use crate::config::settings::{BusKind, BusSettings, ClearPins};

/// Most buses: a Pi 5 has seven I2C controllers.
const BUSES_MAX: usize = 8;
/// Where the kernel shows its 1-Wire sensors.
const ONE_WIRE_ROOT: &str = "/sys/bus/w1/devices";

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
        let is_wire = |bus: &BusSettings| matches!(bus.kind, BusKind::OneWire { .. });
        // The kernel's 1-Wire bus has no clock of its own.
        let first = seen.iter().find(|other| !is_wire(other));
        if let Some(other) = first.filter(|other| !is_wire(bus) && other.kind != bus.kind) {
            let problem = format!("is behind another clock than bus {:?}", other.id.as_str());
            let remedy = "make all buses pi, or all simulated at one address";
            section.mistake::<()>("kind", problem, remedy);
        }
        seen.push(bus);
    }
    built.into_iter().collect()
}

fn bus(index: usize, raw: &RawBus, found: &mut Mistakes) -> Option<BusSettings> {
    let mut section = Section::new(format!("bus[{index}]"), found);
    let known = "id, kind, i2c, address, root, scl_pin, sda_pin";
    section.refuse_unknown(&raw.unknown, known);
    let id = section.parsed("id", raw.id.as_ref(), "main");
    let kind = section.text("kind", raw.kind.as_ref(), "pi");
    let is_wire = kind.as_deref() == Some("one-wire");
    let i2c = if is_wire {
        section.refuse("i2c", raw.i2c.as_ref(), "a 1-Wire bus has no I2C number");
        Some(None)
    } else {
        let number = section.whole("i2c", raw.i2c.as_ref(), &(0..=255), "1");
        number.map(|number| u8::try_from(number).ok())
    };
    if !is_wire {
        let why = "only a 1-Wire bus has a folder";
        section.refuse("root", raw.root.as_ref(), why);
    }
    let kind = match kind?.as_str() {
        "pi" => {
            let why = "a bus of the Pi has no address";
            section.refuse("address", raw.address.as_ref(), why);
            Some(BusKind::Pi)
        }
        "one-wire" => {
            let why = "a 1-Wire bus has no address";
            section.refuse("address", raw.address.as_ref(), why);
            let root = section.text_or("root", raw.root.as_ref(), ONE_WIRE_ROOT);
            root.map(|root| BusKind::OneWire { root: root.into() })
        }
        "simulated" => simulated(raw, &mut section),
        other => {
            let problem = format!("{other:?} is no kind of bus");
            let remedy = "write \"pi\", \"one-wire\" or \"simulated\"";
            section.mistake("kind", problem, remedy)
        }
    };
    let clear = clear(raw, is_wire, &mut section);
    Some(BusSettings {
        id: id?,
        kind: kind?,
        i2c: i2c?,
        clear: clear?,
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
fn clear(raw: &RawBus, is_wire: bool, section: &mut Section<'_>) -> Option<Option<ClearPins>> {
    let (scl, sda) = (raw.scl_pin.as_ref(), raw.sda_pin.as_ref());
    if is_wire {
        section.refuse("scl_pin", scl, "a 1-Wire bus has no clock");
        section.refuse("sda_pin", sda, "a 1-Wire bus has no clock");
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
