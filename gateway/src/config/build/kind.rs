//! What each kind of device needs, and what it yields.

use std::ops::RangeInclusive;

use furrow_drivers::ezo::Probe;
use furrow_drivers::scd4x::Scd4xSettings;
use furrow_drivers::scd30::Scd30Settings;
use furrow_drivers::{PulseFactor, bh1750, bme280, ds18b20, ezo, flow, ina219, rain, registers};

use super::ReadText;
use super::contacts::{Lines, contacts};
use super::devices::{pin_max, plain};
use super::inputs::inputs;
use super::profile::profile;
use super::section::Section;
use crate::config::device::{ChannelSettings, DeviceKind};
use crate::config::kinds::{Kind, Place};
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawConfig, RawDevice};

pub(super) type Built = (DeviceKind, Vec<ChannelSettings>);

/// The shunt of the usual boards, in ohms.
const SHUNT_DEFAULT: &str = "0.1";

pub(super) fn kind_of(
    kind: &Kind,
    (raw, read): (&RawConfig, ReadText<'_>),
    device: &RawDevice,
    label: &str,
    section: &mut Section<'_>,
) -> Option<Built> {
    refuse_foreign(kind, device, section);
    let address = match kind.place {
        Place::I2c { addresses, default } => address(device, section, addresses, default),
        Place::Rs485 => slave(device, section),
        Place::Gpio | Place::OneWire | Place::Guard => Some(0),
    };
    match kind.name {
        "sht4x" | "sht3x" | "bme280" => Some(climate_of(kind, address?, label)),
        "scd4x" | "scd30" => co2_of(kind, device, label, address, section),
        "bh1750" => bh1750_of(device, label, address, section),
        "ads1115" => {
            let (inputs, channels) = inputs(device, label, section)?;
            let address = address?;
            Some((DeviceKind::Ads1115 { address, inputs }, channels))
        }
        "ina219" => ina219_of(device, label, address, section),
        "ezo-ph" => Some(ezo_of(Probe::Ph, address?, label)),
        "ezo-ec" => Some(ezo_of(Probe::Ec, address?, label)),
        "mcp23017" => {
            let (contacts, channels) = contacts(device, label, Lines::OfExpander(16), section)?;
            let address = address?;
            Some((DeviceKind::Mcp23017 { address, contacts }, channels))
        }
        "pcf8574" => {
            let (contacts, channels) = contacts(device, label, Lines::OfExpander(8), section)?;
            let address = address?;
            Some((DeviceKind::Pcf8574 { address, contacts }, channels))
        }
        "gpio-inputs" => {
            let (contacts, channels) =
                contacts(device, label, Lines::Pins(pin_max(raw, device)), section)?;
            Some((DeviceKind::GpioInputs { contacts }, channels))
        }
        "flow-meter" => flow_of(raw, device, label, section),
        "rain-gauge" => rain_of(raw, device, label, section),
        "ds18b20" => ds18b20_of(device, label, section),
        "soil-probe" => {
            let (profile, channels) = profile(device, label, read, section)?;
            let address = address?;
            Some((DeviceKind::SoilProbe { address, profile }, channels))
        }
        "drip-controller" => drip_of(raw, device, label, address, section),
        "guarded-outputs" => {
            let open = channel("zones_open", "1", 0, label);
            Some((DeviceKind::GuardedOutputs, vec![open]))
        }
        other => {
            let problem = format!("{other:?} can't be configured yet");
            section.mistake("kind", problem, "leave it out")
        }
    }
}

fn climate_of(kind: &Kind, address: u8, label: &str) -> Built {
    match kind.name {
        "sht4x" => (DeviceKind::Sht4x { address }, air_channels(label)),
        "sht3x" => (DeviceKind::Sht3x { address }, air_channels(label)),
        _ => {
            let mut channels = vec![channel("air_pressure", "hPa", bme280::EXPONENT, label)];
            channels.extend(air_channels(label));
            (DeviceKind::Bme280 { address }, channels)
        }
    }
}

fn ezo_of(probe: Probe, address: u8, label: &str) -> Built {
    let (name, unit) = match probe {
        Probe::Ph => ("ph", "[pH]"),
        Probe::Ec => ("electrical_conductivity", "dS/m"),
    };
    let channels = vec![channel(name, unit, ezo::EXPONENT, label)];
    (DeviceKind::Ezo { probe, address }, channels)
}

/// Full sun unless something else is wanted.
fn bh1750_of(
    device: &RawDevice,
    label: &str,
    address: Option<u8>,
    section: &mut Section<'_>,
) -> Option<Built> {
    let (least, most) = bh1750::MEASUREMENT_TIMES.into_inner();
    let measurement_time = match device.measurement_time.as_ref() {
        None => Some(i64::from(least)),
        leaf => {
            let range = i64::from(least)..=i64::from(most);
            section.whole("measurement_time", leaf, &range, "31")
        }
    };
    let kind = DeviceKind::Bh1750 {
        address: address?,
        measurement_time: u8::try_from(measurement_time?).ok()?,
    };
    let channels = vec![channel("illuminance", "lx", bh1750::EXPONENT, label)];
    Some((kind, channels))
}

fn flow_of(
    raw: &RawConfig,
    device: &RawDevice,
    label: &str,
    section: &mut Section<'_>,
) -> Option<Built> {
    let pins = 0..=pin_max(raw, device);
    let pin = section.whole("pin", device.pin.as_ref(), &pins, "17");
    let (pulses, litres) = (&device.pulses_per_litre, &device.litres_per_pulse);
    let factor = factor(pulses.as_ref(), litres.as_ref(), section);
    let (pin, factor) = (u8::try_from(pin?).ok()?, factor?);
    let channels = vec![
        channel("water_volume", "L", flow::EXPONENT, label),
        channel("water_flow", "L/min", flow::EXPONENT, label),
    ];
    Some((DeviceKind::FlowMeter { pin, factor }, channels))
}

fn drip_of(
    raw: &RawConfig,
    device: &RawDevice,
    label: &str,
    address: Option<u8>,
    section: &mut Section<'_>,
) -> Option<Built> {
    let factor = controller_factor(raw, device, section);
    let kind = DeviceKind::DripController {
        address: address?,
        factor: factor?,
    };
    let channels = vec![
        channel("water_volume", "L", flow::EXPONENT, label),
        channel("zones_open", "1", 0, label),
    ];
    Some((kind, channels))
}

/// Keys that another kind of device has.
fn refuse_foreign(kind: &Kind, device: &RawDevice, section: &mut Section<'_>) {
    let all = [
        ("address", &device.address),
        ("mux", &device.mux),
        ("mux_channel", &device.mux_channel),
        ("pin", &device.pin),
        ("rom", &device.rom),
        ("profile", &device.profile),
        ("profile_file", &device.profile_file),
        ("measurement_time", &device.measurement_time),
        ("shunt_ohms", &device.shunt_ohms),
        ("mm_per_tip", &device.mm_per_tip),
        ("self_calibration", &device.self_calibration),
        ("altitude_m", &device.altitude_m),
        ("pulses_per_litre", &device.pulses_per_litre),
        ("litres_per_pulse", &device.litres_per_pulse),
    ];
    let why = format!("means nothing for {}", kind.name);
    for (key, leaf) in all {
        section.refuse(key, leaf.as_ref().filter(|_| !kind.has_key(key)), &why);
    }
    if !kind.has_key("input") && !device.input.is_empty() {
        section.mistake::<()>("input", why, "remove it");
    }
}

/// An address on a serial line.
fn slave(device: &RawDevice, section: &mut Section<'_>) -> Option<u8> {
    let range = i64::from(*registers::SLAVES.start())..=i64::from(*registers::SLAVES.end());
    let number = section.whole("address", device.address.as_ref(), &range, "1")?;
    u8::try_from(number).ok()
}

fn address(
    device: &RawDevice,
    section: &mut Section<'_>,
    ranges: &[RangeInclusive<u8>],
    default: Option<u8>,
) -> Option<u8> {
    let leaf = device.address.as_ref();
    if let (None, Some(default)) = (leaf, default) {
        return Some(default);
    }
    let first = ranges.first().map_or(0, |range| *range.start());
    let example = default.unwrap_or(first);
    let number = section.whole("address", leaf, &(0..=0x7F), &format!("{example:#04x}"))?;
    let address = u8::try_from(number).ok();
    if let Some(address) = address.filter(|at| ranges.iter().any(|range| range.contains(at))) {
        return Some(address);
    }
    let written: Vec<String> = ranges
        .iter()
        .map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => format!("{first:#04x}"),
            (first, last) => format!("{first:#04x} to {last:#04x}"),
        })
        .collect();
    section.mistake(
        "address",
        format!("{number:#04x} is not an address of this kind of device"),
        format!("write {}", written.join(" or ")),
    )
}

fn co2_of(
    kind: &Kind,
    device: &RawDevice,
    label: &str,
    address: Option<u8>,
    section: &mut Section<'_>,
) -> Option<Built> {
    let leaf = device.self_calibration.as_ref();
    let self_calibration = section.truth("self_calibration", leaf, Some(true));
    let altitude_m = match device.altitude_m.as_ref() {
        None => Some(None),
        leaf => section
            .whole("altitude_m", leaf, &(0..=3_000), "900")
            .map(|metres| u16::try_from(metres).ok()),
    };
    address?;
    let (self_calibration, altitude_m) = (self_calibration?, altitude_m?);
    let mut channels = vec![channel("co2", "[ppm]", 0, label)];
    channels.extend(air_channels(label));
    let kind = if kind.name == "scd30" {
        let settings = Scd30Settings {
            self_calibration,
            altitude_m,
        };
        DeviceKind::Scd30 { settings }
    } else {
        let settings = Scd4xSettings {
            self_calibration,
            altitude_m,
        };
        DeviceKind::Scd4x { settings }
    };
    Some((kind, channels))
}

fn ina219_of(
    device: &RawDevice,
    label: &str,
    address: Option<u8>,
    section: &mut Section<'_>,
) -> Option<Built> {
    let shunt_ohms = match device.shunt_ohms.as_ref() {
        None => SHUNT_DEFAULT.parse().ok(),
        leaf => section.number("shunt_ohms", leaf, &ina219::SHUNT_OHMS, SHUNT_DEFAULT),
    };
    let kind = DeviceKind::Ina219 {
        address: address?,
        shunt_ohms: shunt_ohms?,
    };
    let channels = vec![
        channel("voltage", "V", ina219::EXPONENT, label),
        channel("current", "A", ina219::CURRENT_EXPONENT, label),
        channel("power", "W", ina219::EXPONENT, label),
    ];
    Some((kind, channels))
}

fn rain_of(
    raw: &RawConfig,
    device: &RawDevice,
    label: &str,
    section: &mut Section<'_>,
) -> Option<Built> {
    let pins = 0..=pin_max(raw, device);
    let pin = section.whole("pin", device.pin.as_ref(), &pins, "27");
    let leaf = device.mm_per_tip.as_ref();
    let mm_per_tip = section.number("mm_per_tip", leaf, &rain::MM_PER_TIP, "0.2");
    let kind = DeviceKind::RainGauge {
        pin: u8::try_from(pin?).ok()?,
        mm_per_tip: mm_per_tip?,
    };
    let channels = vec![
        channel("rain", "mm", rain::EXPONENT, label),
        channel("rain_rate", "mm/h", rain::EXPONENT, label),
    ];
    Some((kind, channels))
}

fn ds18b20_of(device: &RawDevice, label: &str, section: &mut Section<'_>) -> Option<Built> {
    let example = "28-0316a2795bff";
    let rom = section.text("rom", device.rom.as_ref(), example)?;
    if !ds18b20::is_id(&rom) {
        let problem = format!("{rom:?} is no id of a DS18B20");
        let remedy = format!("write it as the kernel does, for example {example:?}");
        return section.mistake("rom", problem, remedy);
    }
    let channels = vec![channel("temperature", "Cel", ds18b20::EXPONENT, label)];
    Some((DeviceKind::Ds18b20 { rom }, channels))
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

pub(super) fn channel(name: &str, unit: &str, exponent: i8, label: &str) -> ChannelSettings {
    ChannelSettings {
        name: name.parse().expect("channel names in code are well formed"),
        unit: unit.to_owned(),
        exponent,
        label: label.to_owned(),
    }
}
