//! The guard's outputs, against each other and against the gateway's own devices.

use std::ops::RangeInclusive;

use furrow_drivers::{Mcp23017Bank, Pcf8574, Pcf8574Bank};

use super::devices::{LINE_MAX, PIN_MAX, is_of_kind, plain};
use super::irrigation::SUPPLY;
use super::section::Section;
use crate::config::device::{DeviceKind, DeviceSettings, Level};
use crate::config::guard::{GuardOutput, GuardSettings, OutputAt, WatchdogLine};
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawConfig, RawGuard, RawGuardOutput};
use crate::config::settings::{BusKind, BusSettings, OutputSettings, ZoneSettings};

/// Numbers of outputs: what one reading of the guard holds.
pub(super) const NUMBERS: RangeInclusive<i64> = 1..=32;
/// From one edge of the watchdog's line to the next, unless given.
const PERIOD: &str = "500ms";

/// `None` after a mistake, `Some(None)` where nothing is guarded.
pub(super) fn guard(
    raw: &RawConfig,
    buses: Option<&[BusSettings]>,
    devices: Option<&[DeviceSettings]>,
    found: &mut Mistakes,
) -> Option<Option<GuardSettings>> {
    let (buses, devices) = (buses.unwrap_or_default(), devices.unwrap_or_default());
    let sockets = buses.iter().filter_map(|bus| match &bus.kind {
        BusKind::Guard { socket } => Some(socket.clone()),
        BusKind::Pi
        | BusKind::Linux { .. }
        | BusKind::Simulated { .. }
        | BusKind::OneWire { .. }
        | BusKind::Rs485(_) => None,
    });
    let sockets: Vec<_> = sockets.collect();
    if sockets.len() > 1 {
        let problem = format!("there are {} buses of kind guard", sockets.len());
        found.add("bus", problem, "keep one: a gateway has one guard");
        return None;
    }
    let Some(written) = raw.guard.as_ref() else {
        if sockets.is_empty() {
            return Some(None);
        }
        let remedy = "add [[guard.output]] with number, kind, bus and active";
        found.add("guard", "the guard has no outputs", remedy);
        return None;
    };
    let socket = sockets.into_iter().next();
    let mut section = Section::new("guard", found);
    let known = "output, watchdog_bus, watchdog_line, watchdog_period";
    section.refuse_unknown(&written.unknown, known);
    if socket.is_none() {
        let remedy = "add a [[bus]] with id = \"guard\" and kind = \"guard\"";
        section.mistake::<()>("output", "there is no bus of kind guard", remedy);
    }
    let watchdog = watchdog(raw, written, &mut section);
    let outputs = outputs(raw, written, found);
    let (outputs, watchdog) = (outputs?, watchdog?);
    apart(&outputs, watchdog.as_ref(), found);
    not_the_gateways(&outputs, watchdog.as_ref(), (buses, devices, raw), found);
    Some(Some(GuardSettings {
        socket: socket?,
        outputs,
        watchdog,
    }))
}

/// Zones name outputs that there are.
pub(super) fn has_outputs(
    guard: Option<&GuardSettings>,
    devices: &[DeviceSettings],
    zones: &[ZoneSettings],
    supply: &[Option<OutputSettings>; 3],
    found: &mut Mistakes,
) {
    let Some(guard) = guard else { return };
    let zones = zones.iter().enumerate().map(|(index, zone)| {
        let path = format!("zone[{index}]");
        (path, zone.controller, zone.output)
    });
    let supply = SUPPLY.iter().zip(supply).filter_map(|(name, output)| {
        let output = output.as_ref()?;
        let path = format!("irrigation.{name}");
        Some((path, output.controller, output.output))
    });
    for (path, controller, output) in zones.chain(supply) {
        let controller = devices.get(controller).map(|device| &device.kind);
        let is_guarded = controller == Some(&DeviceKind::GuardedOutputs);
        let numbers = guard.outputs.iter().map(|output| output.number);
        if is_guarded && !numbers.clone().any(|number| number == output) {
            let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
            let problem = format!("the guard has no output {output}");
            let remedy = format!("write one of {}", numbers.join(", "));
            Section::new(path, found).mistake::<()>("output", problem, remedy);
        }
    }
}

fn outputs(raw: &RawConfig, written: &RawGuard, found: &mut Mistakes) -> Option<Vec<GuardOutput>> {
    if written.output.is_empty() || written.output.len() > 32 {
        let problem = format!("there are {} outputs", written.output.len());
        let remedy = "add 1 to 32 [[guard.output]] with number, kind, bus and active";
        found.add("guard.output", problem, remedy);
        return None;
    }
    let outputs = written.output.iter().enumerate();
    let outputs: Vec<_> = outputs
        .map(|(index, one)| {
            let mut section = Section::new(format!("guard.output[{index}]"), found);
            output(raw, one, &mut section)
        })
        .collect();
    outputs.into_iter().collect()
}

fn output(
    raw: &RawConfig,
    written: &RawGuardOutput,
    section: &mut Section<'_>,
) -> Option<GuardOutput> {
    let known = "number, name, kind, bus, line, address, pin, active";
    section.refuse_unknown(&written.unknown, known);
    let number = section.whole("number", written.number.as_ref(), &NUMBERS, "1");
    let default_name = number.map_or_else(String::new, |number| format!("output {number}"));
    let name = section.text_or("name", written.name.as_ref(), &default_name);
    let bus = bus(raw, "bus", written.bus.as_ref(), section);
    let kind = section.text("kind", written.kind.as_ref(), "gpio");
    let active = section.text("active", written.active.as_ref(), "low");
    let active = match active.as_deref() {
        Some("low") => Some(Level::Low),
        Some("high") => Some(Level::High),
        Some(other) => {
            let problem = format!("{other:?} is no level");
            let remedy = "write \"low\" or \"high\": the level that switches the relay on";
            section.mistake("active", problem, remedy)
        }
        None => None,
    };
    let at = match kind.as_deref() {
        Some("gpio") => {
            let why = "means nothing for a GPIO line";
            section.refuse("address", written.address.as_ref(), why);
            section.refuse("pin", written.pin.as_ref(), why);
            line(raw, bus, "line", written.line.as_ref(), section).map(OutputAt::Line)
        }
        Some("mcp23017") => expander(raw, written, (bus, Mcp23017Bank::<()>::PINS), section)
            .map(|(address, pin)| OutputAt::Mcp23017 { address, pin }),
        Some("pcf8574") => {
            if active == Some(Level::High) {
                let problem = "all pins of a PCF8574 are high after power-on: every valve would \
                               open before the guard runs";
                let remedy = "use a board that is on while its pin is low";
                section.mistake::<()>("active", problem, remedy);
            }
            expander(raw, written, (bus, Pcf8574Bank::<()>::PINS), section)
                .map(|(address, pin)| OutputAt::Pcf8574 { address, pin })
        }
        Some(other) => {
            let problem = format!("{other:?} is no kind of output");
            section.mistake(
                "kind",
                problem,
                "write \"gpio\", \"mcp23017\" or \"pcf8574\"",
            )
        }
        None => None,
    };
    Some(GuardOutput {
        number: u8::try_from(number?).ok()?,
        name: name?,
        bus: bus?,
        at: at?,
        active: active?,
    })
}

fn expander(
    raw: &RawConfig,
    written: &RawGuardOutput,
    (bus, pins): (Option<usize>, u8),
    section: &mut Section<'_>,
) -> Option<(u8, u8)> {
    section.refuse(
        "line",
        written.line.as_ref(),
        "means nothing at an expander",
    );
    let on = bus.and_then(|bus| raw.bus.get(bus));
    if is_of_kind(on, "linux") && on.is_some_and(|bus| bus.i2c.is_none()) {
        let remedy = "add i2c to the bus, or use another bus";
        section.mistake::<()>("bus", "has GPIO lines only", remedy);
    }
    let (address, pin) = (written.address.as_ref(), written.pin.as_ref());
    let kind = plain(written.kind.as_ref());
    let address = section.whole("address", address, &(0..=0x7F), "0x20");
    let address = address.and_then(|address| u8::try_from(address).ok());
    let pin = section.whole("pin", pin, &(0..=i64::from(pins) - 1), "0");
    let (fits, remedy) = match kind.as_deref() {
        Some("mcp23017") => (
            address.is_some_and(|at| Mcp23017Bank::<()>::ADDRESSES.contains(&at)),
            "write 0x20 to 0x27",
        ),
        Some(_) | None => {
            let ranges = Pcf8574::<()>::ADDRESSES;
            let fits = |at: u8| ranges.iter().any(|range| range.contains(&at));
            let remedy = "write 0x20 to 0x27 or 0x38 to 0x3f";
            (address.is_some_and(fits), remedy)
        }
    };
    let address = address?;
    if !fits {
        let problem = format!("{address:#04x} is not an address of this kind of chip");
        return section.mistake("address", problem, remedy);
    }
    Some((address, u8::try_from(pin?).ok()?))
}

fn watchdog(
    raw: &RawConfig,
    written: &RawGuard,
    section: &mut Section<'_>,
) -> Option<Option<WatchdogLine>> {
    let (bus_of, line_of) = (&written.watchdog_bus, &written.watchdog_line);
    let period_of = &written.watchdog_period;
    if line_of.is_none() {
        let why = "means nothing without watchdog_line";
        section.refuse("watchdog_bus", bus_of.as_ref(), why);
        section.refuse("watchdog_period", period_of.as_ref(), why);
        return Some(None);
    }
    let bus = bus(raw, "watchdog_bus", bus_of.as_ref(), section);
    let line = line(raw, bus, "watchdog_line", line_of.as_ref(), section);
    let range = ("50ms", "5s");
    let period = section.duration("watchdog_period", period_of.as_ref(), range, Some(PERIOD));
    Some(Some(WatchdogLine {
        bus: bus?,
        line: line?,
        period: period?,
    }))
}

/// A bus with pins: the machine's or a simulator's.
pub(super) fn bus(
    raw: &RawConfig,
    key: &str,
    leaf: Option<&Leaf>,
    section: &mut Section<'_>,
) -> Option<usize> {
    let name = section.text(key, leaf, "main")?;
    let has_pins = |bus| !is_of_kind(Some(bus), "guard") && !is_of_kind(Some(bus), "one-wire");
    let id = |leaf: Option<&Leaf>| plain(leaf);
    let place = raw
        .bus
        .iter()
        .position(|bus| has_pins(bus) && id(bus.id.as_ref()).as_ref() == Some(&name));
    if place.is_some() {
        return place;
    }
    let buses = raw.bus.iter().filter(|bus| has_pins(bus));
    let names: Vec<String> = buses.filter_map(|bus| id(bus.id.as_ref())).collect();
    let remedy = format!("name one of: {}", names.join(", "));
    section.mistake(key, format!("there is no bus {name:?} with pins"), remedy)
}

/// A line of such a bus.
pub(super) fn line(
    raw: &RawConfig,
    bus: Option<usize>,
    key: &str,
    leaf: Option<&Leaf>,
    section: &mut Section<'_>,
) -> Option<u8> {
    let bus = bus.and_then(|bus| raw.bus.get(bus));
    let is_linux = is_of_kind(bus, "linux");
    if is_linux && bus.is_some_and(|bus| bus.gpio_chip.is_none()) {
        let remedy = "add gpio_chip = \"/dev/gpiochip0\" to the bus";
        section.mistake::<()>("bus", "names no GPIO chip", remedy);
    }
    let most = if is_linux { LINE_MAX } else { PIN_MAX };
    let line = section.whole(key, leaf, &(0..=most), "12")?;
    u8::try_from(line).ok()
}

/// No two outputs share a number or a place.
fn apart(outputs: &[GuardOutput], watchdog: Option<&WatchdogLine>, found: &mut Mistakes) {
    for (index, output) in outputs.iter().enumerate() {
        let mut section = Section::new(format!("guard.output[{index}]"), found);
        let before = outputs.iter().take(index);
        for other in before {
            if other.number == output.number {
                let problem = format!("{} numbers two outputs", output.number);
                section.mistake::<()>("number", problem, "give each output its own number");
            }
            if other.bus != output.bus {
                continue;
            }
            if other.at == output.at {
                let problem = format!("{} is already output {}", output.at.place(), other.number);
                section.mistake::<()>(key(output.at), problem, "name each relay once");
            } else if other.at.address().is_some()
                && other.at.address() == output.at.address()
                && other.at.kind() != output.at.kind()
            {
                let problem = format!("output {} calls its chip {}", other.number, other.at.kind());
                section.mistake::<()>("kind", problem, "one address is one chip");
            }
        }
        let feeds = watchdog.filter(|watchdog| watchdog.bus == output.bus);
        if feeds.is_some_and(|watchdog| output.at == OutputAt::Line(watchdog.line)) {
            let problem = "is the line of the relay supply's watchdog";
            section.mistake::<()>("line", problem, "use another line");
        }
    }
}

/// The gateway opens none of these: each line and address has one owner.
fn not_the_gateways(
    outputs: &[GuardOutput],
    watchdog: Option<&WatchdogLine>,
    (buses, devices, raw): (&[BusSettings], &[DeviceSettings], &RawConfig),
    found: &mut Mistakes,
) {
    let place = Lines {
        buses,
        devices,
        raw,
    };
    for (index, output) in outputs.iter().enumerate() {
        let mut section = Section::new(format!("guard.output[{index}]"), found);
        match output.at.address() {
            None => {
                if let OutputAt::Line(line) = output.at
                    && let Some(user) = place.user(output.bus, line)
                {
                    section.mistake::<()>("line", user, "use another line");
                }
            }
            Some(address) => {
                let here = devices.iter().filter(|device| device.bus == output.bus);
                let uses = |device: &&DeviceSettings| {
                    let mux = device.route.map(|route| route.mux);
                    device.address() == Some(address) || mux == Some(address)
                };
                if let Some(device) = here.clone().find(uses) {
                    let id = device.id.as_str();
                    let problem =
                        format!("{address:#04x} is already used by the gateway's device {id:?}");
                    let remedy =
                        "give one of them another address: the guard alone opens its chips";
                    section.mistake::<()>("address", problem, remedy);
                }
                let sensor = here.clone().find(|device| device.address().is_some());
                if let Some(sensor) = sensor.filter(|_| watchdog.is_none()) {
                    let id = sensor.id.as_str();
                    let problem = format!(
                        "the bus is shared with device {id:?}: a sensor that holds it would keep \
                         the valve open"
                    );
                    let remedy = "put the relays on a bus of their own, or wire the relay supply's \
                                  watchdog and add watchdog_line";
                    section.mistake::<()>("bus", problem, remedy);
                }
            }
        }
    }
    if let Some(watchdog) = watchdog
        && let Some(user) = place.user(watchdog.bus, watchdog.line)
    {
        let mut section = Section::new("guard", found);
        section.mistake::<()>("watchdog_line", user, "use another line");
    }
}

/// Who uses which line.
pub(super) struct Lines<'a> {
    pub(super) buses: &'a [BusSettings],
    pub(super) devices: &'a [DeviceSettings],
    pub(super) raw: &'a RawConfig,
}

impl Lines<'_> {
    /// Lines of one chip: all buses of the Pi, of a simulator, and of one GPIO chip each.
    pub(super) fn chip(&self, bus: usize) -> Option<String> {
        let bus = self.raw.bus.get(bus);
        bus.filter(|bus| is_of_kind(Some(bus), "linux"))
            .and_then(|bus| plain(bus.gpio_chip.as_ref()))
    }

    /// Which of the gateway's devices or buses has a line already.
    pub(super) fn user(&self, bus: usize, line: u8) -> Option<String> {
        let chip = self.chip(bus);
        let used = |device: &&DeviceSettings| {
            self.chip(device.bus) == chip && device.pins().contains(&line)
        };
        if let Some(device) = self.devices.iter().find(used) {
            let id = device.id.as_str();
            return Some(format!(
                "GPIO {line} is already used by the gateway's device {id:?}"
            ));
        }
        let clears = |bus: &&BusSettings| {
            let pins = bus.clear.filter(|_| chip.is_none());
            pins.is_some_and(|pins| pins.scl == line || pins.sda == line)
        };
        let bus = self.buses.iter().find(clears)?;
        Some(format!(
            "GPIO {line} is a line of bus {:?}",
            bus.id.as_str()
        ))
    }
}

fn key(at: OutputAt) -> &'static str {
    match at {
        OutputAt::Line(_) => "line",
        OutputAt::Mcp23017 { .. } | OutputAt::Pcf8574 { .. } => "pin",
    }
}
