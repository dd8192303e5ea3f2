//! What is calculated from measured channels.

use std::time::Duration;

use furrow_gateway_core::derived::et0::Covered;
use furrow_gateway_core::derived::light::{Light, Source};
use furrow_gateway_core::derived::{Formula, Input, Plan};
use furrow_wire::DeviceId;

use super::kind::channel;
use super::section::Section;
use crate::config::device::DeviceSettings;
use crate::config::leaf::Leaf;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawConfig, RawDerived};
use crate::config::settings::DerivedSettings;

/// Most sets of derived channels: one for each zone of a full gateway, and some.
const DERIVED_MAX: usize = 64;
const KNOWN: &str = "id, name, kind, temperature, humidity, surface, radiation, photons, \
                     illuminance, transmission, altitude_m";

pub(super) fn derived(
    raw: &RawConfig,
    devices: Option<&[DeviceSettings]>,
    found: &mut Mistakes,
) -> Option<Vec<DerivedSettings>> {
    if raw.derived.len() > DERIVED_MAX {
        let problem = format!("there are {} derived", raw.derived.len());
        found.add("derived", problem, format!("keep at most {DERIVED_MAX}"));
        return None;
    }
    let measured: usize = devices
        .unwrap_or_default()
        .iter()
        .map(|device| device.channels.len())
        .sum();
    let mut first_output = u16::try_from(measured).unwrap_or(u16::MAX);
    let mut built: Vec<Option<DerivedSettings>> = Vec::new();
    for (index, raw) in raw.derived.iter().enumerate() {
        let mut section = Section::new(format!("derived[{index}]"), found);
        let one = one(raw, devices, first_output, &mut section);
        if let Some(one) = &one {
            let outputs = u16::try_from(one.channels.len()).unwrap_or(u16::MAX);
            first_output = first_output.saturating_add(outputs);
            let of_derived = built.iter().flatten().map(|other| &other.id);
            let of_devices = devices.unwrap_or_default().iter().map(|device| &device.id);
            if of_devices.chain(of_derived).any(|id| *id == one.id) {
                let problem = format!("{:?} names two things", one.id.as_str());
                let remedy = "give each device and derived its own id";
                section.mistake::<()>("id", problem, remedy);
            }
        }
        built.push(one);
    }
    built.into_iter().collect()
}

fn one(
    raw: &RawDerived,
    devices: Option<&[DeviceSettings]>,
    first_output: u16,
    section: &mut Section<'_>,
) -> Option<DerivedSettings> {
    section.refuse_unknown(&raw.unknown, KNOWN);
    let id: Option<DeviceId> = section.parsed("id", raw.id.as_ref(), "climate-inside");
    let default_name = id.as_ref().map_or("?", DeviceId::as_str);
    let name = section.text_or("name", raw.name.as_ref(), default_name);
    let kind = section.text("kind", raw.kind.as_ref(), "air")?;
    refuse_foreign(&kind, raw, section);
    let find = |key, leaf, unit: &str, example, section: &mut Section<'_>| {
        input(key, leaf, unit, example, devices, section)
    };
    let (formula, inputs) = match kind.as_str() {
        "air" => {
            let example = "sht-inside/air_temperature";
            let temperature = find("temperature", &raw.temperature, "Cel", example, section);
            let example = "sht-inside/relative_humidity";
            let humidity = find("humidity", &raw.humidity, "%RH", example, section);
            let mut inputs = vec![temperature, humidity];
            if raw.surface.is_some() {
                let example = "leaf/temperature";
                inputs.push(find("surface", &raw.surface, "Cel", example, section));
            }
            (Some(Formula::Air), inputs)
        }
        "light" => light(raw, devices, section)?,
        "et0" => water(raw, devices, section),
        other => {
            let problem = format!("{other:?} is nothing that is calculated");
            return section.mistake("kind", problem, "write air, light or et0");
        }
    };
    let inputs: Option<Vec<(Input, Duration)>> = inputs.into_iter().collect();
    let (formula, inputs) = (formula?, inputs?);
    let every = inputs.first().map(|(_, every)| *every)?;
    let label = name.clone()?;
    let channels = formula
        .outputs()
        .iter()
        .map(|output| channel(output.name, output.unit, output.exponent, &label));
    Some(DerivedSettings {
        id: id?,
        name: name?,
        channels: channels.collect(),
        plan: Plan {
            formula,
            inputs: inputs.into_iter().map(|(input, _)| input).collect(),
            first_output,
        },
        every,
    })
}

type Inputs = Vec<Option<(Input, Duration)>>;

/// One quantity of light, and how much of it reaches the crop.
fn light(
    raw: &RawDerived,
    devices: Option<&[DeviceSettings]>,
    section: &mut Section<'_>,
) -> Option<(Option<Formula>, Inputs)> {
    let sources = [
        ("radiation", &raw.radiation, "W/m2", Source::Radiation),
        ("photons", &raw.photons, "umol/m2/s", Source::Photons),
        ("illuminance", &raw.illuminance, "lx", Source::Illuminance),
    ];
    let mut given = sources.into_iter().filter(|(_, leaf, _, _)| leaf.is_some());
    let (Some((key, leaf, unit, source)), None) = (given.next(), given.next()) else {
        let remedy = "add one of radiation, photons and illuminance, for example \
                      radiation = \"analog/global_radiation\"";
        return section.mistake("radiation", "there must be one measured light", remedy);
    };
    let input = input(key, leaf, unit, "analog/global_radiation", devices, section);
    let transmission = match raw.transmission.as_ref() {
        None => Some(1.0),
        leaf => section.number("transmission", leaf, &(0.01..=1.0), "0.6"),
    };
    let formula = transmission.map(|transmission| {
        Formula::Light(Light {
            source,
            transmission,
        })
    });
    Some((formula, vec![input]))
}

/// What evaporates under a cover.
fn water(
    raw: &RawDerived,
    devices: Option<&[DeviceSettings]>,
    section: &mut Section<'_>,
) -> (Option<Formula>, Inputs) {
    let mut find =
        |key, leaf, unit: &str, example| input(key, leaf, unit, example, devices, section);
    let inputs = vec![
        find(
            "temperature",
            &raw.temperature,
            "Cel",
            "sht-inside/air_temperature",
        ),
        find(
            "humidity",
            &raw.humidity,
            "%RH",
            "sht-inside/relative_humidity",
        ),
        find(
            "radiation",
            &raw.radiation,
            "W/m2",
            "analog/global_radiation",
        ),
    ];
    let transmission = match raw.transmission.as_ref() {
        None => Some(1.0),
        leaf => section.number("transmission", leaf, &(0.01..=1.0), "0.6"),
    };
    let altitude_m = match raw.altitude_m.as_ref() {
        None => Some(0.0),
        leaf => section.number("altitude_m", leaf, &(-400.0..=4_000.0), "1500"),
    };
    let formula = transmission
        .zip(altitude_m)
        .map(|(transmission, altitude_m)| {
            Formula::Evapotranspiration(Covered {
                transmission,
                altitude_m,
            })
        });
    (formula, inputs)
}

fn refuse_foreign(kind: &str, raw: &RawDerived, section: &mut Section<'_>) {
    let (air, light, water) = (kind == "air", kind == "light", kind == "et0");
    for (key, leaf, foreign) in [
        ("temperature", &raw.temperature, light),
        ("humidity", &raw.humidity, light),
        ("surface", &raw.surface, light || water),
        ("radiation", &raw.radiation, air),
        ("photons", &raw.photons, air || water),
        ("illuminance", &raw.illuminance, air || water),
        ("transmission", &raw.transmission, air),
        ("altitude_m", &raw.altitude_m, air || light),
    ] {
        let leaf = leaf.as_ref().filter(|_| foreign);
        section.refuse(key, leaf, &format!("means nothing for {kind}"));
    }
}

/// A channel by `device/channel`, in the unit that the formula expects. Nothing is said where the
/// devices themselves are wrong.
fn input(
    key: &str,
    leaf: &Option<Leaf>,
    unit: &str,
    example: &str,
    devices: Option<&[DeviceSettings]>,
    section: &mut Section<'_>,
) -> Option<(Input, Duration)> {
    let text = section.text(key, leaf.as_ref(), example)?;
    let devices = devices?;
    let channels = devices
        .iter()
        .flat_map(|device| device.channels.iter().map(move |channel| (device, channel)));
    let mut places = (0_u16..).zip(channels);
    let found = places.find(|(_, (device, channel))| {
        text.split_once('/') == Some((device.id.as_str(), channel.name.as_str()))
    });
    let Some((place, (device, channel))) = found else {
        let remedy = format!("write device/channel of a device here, for example {example:?}");
        return section.mistake(key, format!("there is no channel {text:?}"), remedy);
    };
    if channel.unit != unit {
        let problem = format!("{text:?} is measured in {}", channel.unit);
        return section.mistake(key, problem, format!("name a channel in {unit}"));
    }
    let interval_ms = u64::try_from(device.every.as_millis()).unwrap_or(u64::MAX);
    let input = Input {
        channel: place,
        exponent: channel.exponent,
        interval_ms,
    };
    Some((input, device.every))
}
