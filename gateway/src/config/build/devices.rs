//! Devices and their channels.

use furrow_drivers::PulseFactor;
use furrow_drivers::scd4x::{self, Scd4xSettings};
use furrow_wire::DeviceId;

use super::inputs::inputs;
use super::section::Section;
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawConfig, RawDevice};
use crate::config::settings::{ChannelSettings, DeviceKind, DeviceSettings};

/// Most devices of a gateway.
const DEVICES_MAX: usize = 256;
/// GPIO lines of a Pi's header, by BCM number.
const PIN_MAX: i64 = 27;
const KINDS: &str = "sht4x, scd4x, ads1115, flow-meter or drip-controller";

pub(super) fn devices(raw: &RawConfig, found: &mut Mistakes) -> Option<Vec<DeviceSettings>> {
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
        .map(|index| device(raw, index, found))
        .collect();
    let mut seen: Vec<&DeviceSettings> = Vec::new();
    for (index, device) in built
        .iter()
        .enumerate()
        .filter_map(|(i, d)| Some((i, d.as_ref()?)))
    {
        let mut section = Section::new(format!("device[{index}]"), found);
        collisions(&mut section, device, &seen);
        seen.push(device);
    }
    built.into_iter().collect()
}

fn collisions(section: &mut Section<'_>, device: &DeviceSettings, seen: &[&DeviceSettings]) {
    if seen.iter().any(|other| other.id == device.id) {
        let problem = format!("{:?} names two devices", device.id.as_str());
        section.mistake::<()>("id", problem, "give each device its own id");
    }
    for other in seen.iter().filter(|other| other.bus == device.bus) {
        let id = other.id.as_str();
        if let Some(address) = device
            .address()
            .filter(|_| other.address() == device.address())
        {
            section.mistake::<()>(
                "address",
                format!("{address:#04x} is already used by device {id:?} on this bus"),
                "give each device on a bus its own address, or use another bus",
            );
        }
        if let (DeviceKind::FlowMeter { pin, .. }, DeviceKind::FlowMeter { pin: used, .. }) =
            (&device.kind, &other.kind)
            && pin == used
        {
            let problem = format!("GPIO {pin} is already used by device {id:?}");
            section.mistake::<()>("pin", problem, "give each flow meter its own pin");
        }
    }
}

fn device(raw: &RawConfig, index: usize, found: &mut Mistakes) -> Option<DeviceSettings> {
    let device = raw.device.get(index)?;
    let mut section = Section::new(format!("device[{index}]"), found);
    let known = "id, name, kind, bus, address, every, input, pin, self_calibration, altitude_m, \
                 pulses_per_litre, litres_per_pulse";
    section.refuse_unknown(&device.unknown, known);
    let id: Option<DeviceId> = section.parsed("id", device.id.as_ref(), "sht-inside");
    let default_name = id.as_ref().map_or("?", DeviceId::as_str);
    let name = section.text_or("name", device.name.as_ref(), default_name);
    let bus = bus(raw, device, &mut section);
    let kind_name = section.text("kind", device.kind.as_ref(), "sht4x");
    let least = if kind_name.as_deref() == Some("scd4x") {
        "5s"
    } else {
        "1s"
    };
    let every = section.duration("every", device.every.as_ref(), (least, "1h"), Some("10s"));
    let label = name.clone().unwrap_or_default();
    let built = kind_name.and_then(|kind| kind_of(&kind, raw, device, &label, &mut section));
    let (kind, channels) = built?;
    Some(DeviceSettings {
        id: id?,
        name: name?,
        bus: bus?,
        every: every?,
        kind,
        channels,
    })
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

type Built = (DeviceKind, Vec<ChannelSettings>);

fn kind_of(
    kind: &str,
    raw: &RawConfig,
    device: &RawDevice,
    label: &str,
    section: &mut Section<'_>,
) -> Option<Built> {
    refuse_foreign(kind, device, section);
    match kind {
        "sht4x" => {
            let address = address(device, section, 0x44..=0x46)?;
            Some((DeviceKind::Sht4x { address }, air_channels(label)))
        }
        "scd4x" => scd4x_of(device, label, section),
        "ads1115" => {
            let address = address(device, section, 0x48..=0x4B);
            let (inputs, channels) = inputs(device, label, section)?;
            Some((
                DeviceKind::Ads1115 {
                    address: address?,
                    inputs,
                },
                channels,
            ))
        }
        "flow-meter" => {
            let pin = section.whole("pin", device.pin.as_ref(), &(0..=PIN_MAX), "17");
            let factor = factor(
                device.pulses_per_litre.as_ref(),
                device.litres_per_pulse.as_ref(),
                section,
            );
            let channels = vec![
                channel("water_volume", "L", furrow_drivers::flow::EXPONENT, label),
                channel("water_flow", "L/min", furrow_drivers::flow::EXPONENT, label),
            ];
            let (pin, factor) = (u8::try_from(pin?).ok()?, factor?);
            Some((DeviceKind::FlowMeter { pin, factor }, channels))
        }
        "drip-controller" => {
            let address = address(device, section, 0x2C..=0x2F);
            let factor = controller_factor(raw, device, section)?;
            let channels = vec![
                channel("water_volume", "L", furrow_drivers::flow::EXPONENT, label),
                channel("zones_open", "1", 0, label),
            ];
            Some((
                DeviceKind::DripController {
                    address: address?,
                    factor,
                },
                channels,
            ))
        }
        other => {
            let problem = format!("{other:?} is no kind of device");
            section.mistake("kind", problem, format!("write {KINDS}"))
        }
    }
}

/// Keys that another kind of device has.
fn refuse_foreign(kind: &str, device: &RawDevice, section: &mut Section<'_>) {
    let counts_pulses = matches!(kind, "flow-meter" | "drip-controller");
    let foreign = [
        ("address", device.address.as_ref(), kind == "flow-meter"),
        ("pin", device.pin.as_ref(), kind != "flow-meter"),
        (
            "self_calibration",
            device.self_calibration.as_ref(),
            kind != "scd4x",
        ),
        ("altitude_m", device.altitude_m.as_ref(), kind != "scd4x"),
        (
            "pulses_per_litre",
            device.pulses_per_litre.as_ref(),
            !counts_pulses,
        ),
        (
            "litres_per_pulse",
            device.litres_per_pulse.as_ref(),
            !counts_pulses,
        ),
    ];
    for (key, leaf, foreign) in foreign {
        section.refuse(
            key,
            leaf.filter(|_| foreign),
            &format!("means nothing for {kind}"),
        );
    }
    if kind != "ads1115" && !device.input.is_empty() {
        section.mistake::<()>("input", format!("means nothing for {kind}"), "remove it");
    }
}

fn address(
    device: &RawDevice,
    section: &mut Section<'_>,
    range: std::ops::RangeInclusive<u8>,
) -> Option<u8> {
    let (first, last) = (*range.start(), *range.end());
    let leaf = device.address.as_ref();
    let number = section.whole("address", leaf, &(0..=0x7F), &format!("{first:#04x}"))?;
    match u8::try_from(number) {
        Ok(address) if range.contains(&address) => Some(address),
        _ => section.mistake(
            "address",
            format!("{number:#04x} is not an address of this kind of device"),
            format!("write {first:#04x} to {last:#04x}"),
        ),
    }
}

fn scd4x_of(device: &RawDevice, label: &str, section: &mut Section<'_>) -> Option<Built> {
    if device.address.is_some() {
        let at = i64::from(scd4x::ADDRESS);
        section.whole("address", device.address.as_ref(), &(at..=at), "0x62")?;
    }
    let leaf = device.self_calibration.as_ref();
    let self_calibration = section.truth("self_calibration", leaf, Some(true));
    let altitude_m = match device.altitude_m.as_ref() {
        None => Some(None),
        leaf => section
            .whole("altitude_m", leaf, &(0..=3_000), "900")
            .map(|metres| u16::try_from(metres).ok()),
    };
    let settings = Scd4xSettings {
        self_calibration: self_calibration?,
        altitude_m: altitude_m?,
    };
    let mut channels = vec![channel("co2", "[ppm]", 0, label)];
    channels.extend(air_channels(label));
    Some((DeviceKind::Scd4x { settings }, channels))
}

/// A flow meter's factor that must be given.
fn factor(
    pulses: Option<&Leaf>,
    litres: Option<&Leaf>,
    section: &mut Section<'_>,
) -> Option<PulseFactor> {
    optional_factor(pulses, litres, section)?.or_else(|| {
        section.mistake(
            "pulses_per_litre",
            "is missing",
            "add it from the meter's label, for example pulses_per_litre = 450",
        )
    })
}

/// A flow meter's factor where it may be left out: `None` after a mistake.
pub(super) fn optional_factor(
    pulses: Option<&Leaf>,
    litres: Option<&Leaf>,
    section: &mut Section<'_>,
) -> Option<Option<PulseFactor>> {
    match (pulses, litres) {
        (None, None) => Some(None),
        (Some(_), Some(_)) => {
            let problem = "stands beside litres_per_pulse";
            section.mistake("pulses_per_litre", problem, "keep only one of them")
        }
        (leaf @ Some(_), None) => {
            let number = section.number("pulses_per_litre", leaf, &(0.001..=100_000.0), "450")?;
            PulseFactor::per_litre(number).map(Some)
        }
        (None, leaf @ Some(_)) => {
            let number = section.number("litres_per_pulse", leaf, &(0.000_01..=1_000.0), "10")?;
            PulseFactor::litres_per_pulse(number).map(Some)
        }
    }
}

/// A drip controller's factor: its own, or that of the first of its zones that has one.
fn controller_factor(
    raw: &RawConfig,
    device: &RawDevice,
    section: &mut Section<'_>,
) -> Option<PulseFactor> {
    let own = (
        device.pulses_per_litre.as_ref(),
        device.litres_per_pulse.as_ref(),
    );
    if let Some(factor) = optional_factor(own.0, own.1, section)? {
        return Some(factor);
    }
    let id = plain(device.id.as_ref());
    let zones = raw
        .zone
        .iter()
        .filter(|zone| plain(zone.controller.as_ref()) == id);
    for zone in zones {
        let mut ignored = Mistakes::default();
        // Mistakes of a zone's factor are told where the zone is read.
        let mut silent = Section::new("", &mut ignored);
        let keys = (
            zone.pulses_per_litre.as_ref(),
            zone.litres_per_pulse.as_ref(),
        );
        if let Some(Some(factor)) = optional_factor(keys.0, keys.1, &mut silent) {
            return Some(factor);
        }
    }
    factor(None, None, section)
}

fn air_channels(label: &str) -> Vec<ChannelSettings> {
    vec![
        channel(
            "air_temperature",
            "Cel",
            furrow_drivers::sht4x::EXPONENT,
            label,
        ),
        channel(
            "relative_humidity",
            "%RH",
            furrow_drivers::sht4x::EXPONENT,
            label,
        ),
    ]
}

fn channel(name: &str, unit: &str, exponent: i8, label: &str) -> ChannelSettings {
    ChannelSettings {
        name: name.parse().expect("channel names in code are well formed"),
        unit: unit.to_owned(),
        exponent,
        label: label.to_owned(),
    }
}
