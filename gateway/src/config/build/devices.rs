//! Devices and their channels.

use furrow_drivers::tca9548a::{self, Route};
use furrow_wire::DeviceId;

use super::ReadText;
use super::kind::kind_of;
use super::section::Section;
use crate::config::device::{DeviceKind, DeviceSettings};
use crate::config::kinds::{Kind, Place};
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawBus, RawConfig, RawDevice};
use crate::config::settings::BusSettings;

/// Most devices of a gateway.
const DEVICES_MAX: usize = 256;
/// GPIO lines of a Pi's header, by BCM number.
pub(super) const PIN_MAX: i64 = 27;
/// Lines of a GPIO chip of another board; larger chips exist, their first lines can be used.
pub(super) const LINE_MAX: i64 = 255;

pub(super) fn devices(
    raw: &RawConfig,
    buses: Option<&[BusSettings]>,
    read: ReadText<'_>,
    found: &mut Mistakes,
) -> Option<Vec<DeviceSettings>> {
    if raw.device.is_empty() {
        found.add(
            "device",
            "there is no device",
            "add a [[device]] with id, kind and bus",
        );
        return None;
    }
    if raw.device.len() > DEVICES_MAX {
        let problem = format!("there are {} devices", raw.device.len());
        found.add("device", problem, format!("keep at most {DEVICES_MAX}"));
        return None;
    }
    let built: Vec<_> = (0..raw.device.len())
        .map(|index| device(raw, index, read, found))
        .collect();
    let mut seen: Vec<&DeviceSettings> = Vec::new();
    for (index, device) in built
        .iter()
        .enumerate()
        .filter_map(|(i, d)| Some((i, d.as_ref()?)))
    {
        let mut section = Section::new(format!("device[{index}]"), found);
        collisions(&mut section, device, &seen, raw);
        if gpio_chip(raw, device).is_none() {
            clear_pins(&mut section, device, buses.unwrap_or_default());
        }
        seen.push(device);
    }
    built.into_iter().collect()
}

fn collisions(
    section: &mut Section<'_>,
    device: &DeviceSettings,
    seen: &[&DeviceSettings],
    raw: &RawConfig,
) {
    if seen.iter().any(|other| other.id == device.id) {
        let problem = format!("{:?} names two devices", device.id.as_str());
        section.mistake::<()>("id", problem, "give each device its own id");
    }
    for other in seen {
        let id = other.id.as_str();
        address_collision(section, device, other);
        for pin in device.pins() {
            let same = gpio_chip(raw, device) == gpio_chip(raw, other);
            if same && other.pins().contains(&pin) {
                let problem = format!("GPIO {pin} is already used by device {id:?}");
                section.mistake::<()>("pin", problem, "give each its own pin");
            }
        }
        if device.rom().is_some() && device.rom() == other.rom() {
            let problem = format!("{} is already device {id:?}", device.place());
            section.mistake::<()>("rom", problem, "name each sensor once");
        }
    }
}

/// Two chips meet where both are connected at the same time: on the same bus, unless each sits
/// behind a channel of its own. A multiplexer itself is always connected.
fn address_collision(section: &mut Section<'_>, device: &DeviceSettings, other: &DeviceSettings) {
    if device.bus != other.bus {
        return;
    }
    let id = other.id.as_str();
    let apart = match (device.route, other.route) {
        (Some(route), Some(of_other)) => route != of_other,
        (Some(_) | None, None) | (None, Some(_)) => false,
    };
    let address = device
        .address()
        .filter(|_| !apart && other.address() == device.address());
    if let Some(address) = address {
        // Modbus addresses are written in decimal.
        let shown = if matches!(device.kind, DeviceKind::SoilProbe { .. }) {
            address.to_string()
        } else {
            format!("{address:#04x}")
        };
        let problem = format!("{shown} is already used by device {id:?} on this bus");
        let remedy = "give each device on a bus its own address, or use another bus";
        section.mistake::<()>("address", problem, remedy);
    }
    let mux = other.route.map(|route| route.mux);
    if mux.is_some() && mux == device.address() {
        let address = device.address().unwrap_or_default();
        let problem = format!("{address:#04x} is the multiplexer of device {id:?}");
        section.mistake::<()>("address", problem, "give one of them another address");
    }
    let mux = device.route.map(|route| route.mux);
    if mux.is_some() && mux == other.address() {
        let address = other.address().unwrap_or_default();
        let problem = format!("{address:#04x} is already used by device {id:?} on this bus");
        section.mistake::<()>("mux", problem, "give one of them another address");
    }
}

/// The chip of a device's lines, if it is not the Pi's.
fn gpio_chip(raw: &RawConfig, device: &DeviceSettings) -> Option<String> {
    let bus = raw
        .bus
        .get(device.bus)
        .filter(|bus| is_of_kind(Some(bus), "linux"))?;
    plain(bus.gpio_chip.as_ref())
}

fn clear_pins(section: &mut Section<'_>, device: &DeviceSettings, buses: &[BusSettings]) {
    for bus in buses {
        let Some(clear) = bus.clear else { continue };
        for pin in device.pins() {
            if pin == clear.scl || pin == clear.sda {
                let problem = format!("GPIO {pin} is a line of bus {:?}", bus.id.as_str());
                section.mistake::<()>("pin", problem, "use another pin");
            }
        }
    }
}

fn device(
    raw: &RawConfig,
    index: usize,
    read: ReadText<'_>,
    found: &mut Mistakes,
) -> Option<DeviceSettings> {
    let device = raw.device.get(index)?;
    let mut section = Section::new(format!("device[{index}]"), found);
    let known = "id, name, kind, bus, address, every, input, mux, mux_channel, pin, rom, \
                 profile, profile_file, measurement_time, shunt_ohms, mm_per_tip, self_calibration, altitude_m, \
                 pulses_per_litre, litres_per_pulse";
    section.refuse_unknown(&device.unknown, known);
    let id: Option<DeviceId> = section.parsed("id", device.id.as_ref(), "sht-inside");
    let default_name = id.as_ref().map_or("?", DeviceId::as_str);
    let name = section.text_or("name", device.name.as_ref(), default_name);
    let bus = bus(raw, device, &mut section);
    let kind_name = section.text("kind", device.kind.as_ref(), "sht4x");
    let kind = kind_name.as_deref().and_then(Kind::of);
    let least = kind.map_or("1s", |kind| kind.every_least);
    let every = section.duration("every", device.every.as_ref(), (least, "1h"), Some("10s"));
    let label = name.clone().unwrap_or_default();
    let Some(kind) = kind else {
        let problem = format!("{:?} is no kind of device", kind_name?);
        return section.mistake("kind", problem, format!("write {}", Kind::names()));
    };
    if let Some(bus) = bus {
        fits(raw, bus, kind, &mut section);
    }
    let route = route(device, &mut section);
    let (kind, channels) = kind_of(kind, (raw, read), device, &label, &mut section)?;
    Some(DeviceSettings {
        id: id?,
        name: name?,
        bus: bus?,
        route: route?,
        every: every?,
        kind,
        channels,
    })
}

/// Each kind of device hangs on a bus of its kind.
fn fits(raw: &RawConfig, bus: usize, kind: &Kind, section: &mut Section<'_>) {
    let bus = raw.bus.get(bus);
    let name = bus
        .and_then(|bus| plain(bus.id.as_ref()))
        .unwrap_or_default();
    if let Some(bus) = bus.filter(|_| is_of_kind(bus, "linux")) {
        fits_linux(bus, &name, kind, section);
    }
    let of_bus = bus.and_then(|bus| plain(bus.kind.as_ref()));
    let of_bus = of_bus.as_deref().unwrap_or_default();
    let (problem, remedy) = match (kind.place, of_bus) {
        (Place::OneWire, "one-wire") | (Place::Rs485, "rs485") | (Place::Guard, "guard") => return,
        (Place::Guard, _) => (
            format!("{name:?} is not the guard"),
            "add a [[bus]] of kind \"guard\"".to_owned(),
        ),
        (_, "guard") => (
            format!("{name:?} is the guard"),
            format!("put a {} on another bus", kind.name),
        ),
        (Place::OneWire, _) => (
            format!("{name:?} is no 1-Wire bus"),
            "add a [[bus]] of kind \"one-wire\"".to_owned(),
        ),
        (Place::Rs485, _) => (
            format!("{name:?} is no serial line"),
            "add a [[bus]] of kind \"rs485\"".to_owned(),
        ),
        (Place::I2c { .. } | Place::Gpio, "one-wire") => (
            format!("{name:?} is a 1-Wire bus"),
            format!("put a {} on an I2C bus", kind.name),
        ),
        (Place::I2c { .. } | Place::Gpio, "rs485") => (
            format!("{name:?} is a serial line"),
            format!("put a {} on an I2C bus", kind.name),
        ),
        (Place::I2c { .. } | Place::Gpio, _) => return,
    };
    section.mistake::<()>("bus", problem, remedy);
}

/// A bus of a board is I2C, lines, or both.
fn fits_linux(bus: &RawBus, name: &str, kind: &Kind, section: &mut Section<'_>) {
    match kind.place {
        Place::I2c { .. } if bus.i2c.is_none() => {
            let problem = format!("{name:?} has GPIO lines only");
            section.mistake::<()>("bus", problem, "add i2c to the bus, or use another bus");
        }
        Place::Gpio if bus.gpio_chip.is_none() => {
            let problem = format!("{name:?} names no GPIO chip");
            let remedy = "add gpio_chip = \"/dev/gpiochip0\" to the bus";
            section.mistake::<()>("bus", problem, remedy);
        }
        Place::I2c { .. } | Place::Gpio | Place::OneWire | Place::Rs485 | Place::Guard => {}
    }
}

pub(super) fn is_of_kind(bus: Option<&RawBus>, kind: &str) -> bool {
    bus.and_then(|bus| plain(bus.kind.as_ref())).as_deref() == Some(kind)
}

/// The highest pin of a device, by its bus.
pub(super) fn pin_max(raw: &RawConfig, device: &RawDevice) -> i64 {
    let name = plain(device.bus.as_ref());
    let bus = raw
        .bus
        .iter()
        .find(|bus| name.is_some() && plain(bus.id.as_ref()) == name);
    if is_of_kind(bus, "linux") {
        LINE_MAX
    } else {
        PIN_MAX
    }
}

/// The multiplexer in between: both keys or none.
fn route(device: &RawDevice, section: &mut Section<'_>) -> Option<Option<Route>> {
    let (mux, channel) = (device.mux.as_ref(), device.mux_channel.as_ref());
    if mux.is_none() && channel.is_none() {
        return Some(None);
    }
    let (first, last) = (*tca9548a::ADDRESSES.start(), *tca9548a::ADDRESSES.end());
    let range = i64::from(first)..=i64::from(last);
    let mux = section.whole("mux", mux, &range, "0x70");
    let channels = 0..=i64::from(tca9548a::CHANNELS) - 1;
    let channel = section.whole("mux_channel", channel, &channels, "0");
    Some(Some(Route {
        mux: u8::try_from(mux?).ok()?,
        channel: u8::try_from(channel?).ok()?,
    }))
}

fn bus(raw: &RawConfig, device: &RawDevice, section: &mut Section<'_>) -> Option<usize> {
    let name = section.text("bus", device.bus.as_ref(), "main")?;
    let names: Vec<String> = raw
        .bus
        .iter()
        .filter_map(|bus| plain(bus.id.as_ref()))
        .collect();
    let place = raw
        .bus
        .iter()
        .position(|bus| plain(bus.id.as_ref()).as_ref() == Some(&name));
    if place.is_none() {
        let remedy = format!("name one of: {}", names.join(", "));
        section.mistake::<()>("bus", format!("there is no bus {name:?}"), remedy);
    }
    place
}

/// A text as written, where nothing else is to be said about it.
pub(super) fn plain(leaf: Option<&Leaf>) -> Option<String> {
    match leaf {
        Some(Leaf::Text(text)) => Some(text.clone()),
        Some(Leaf::Integer(_) | Leaf::Float(_) | Leaf::Bool(_) | Leaf::List | Leaf::Table)
        | None => None,
    }
}
