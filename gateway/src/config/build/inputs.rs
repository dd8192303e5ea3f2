//! What hangs on the inputs of an analog converter.

use furrow_drivers::ads1115::Input;
use furrow_drivers::analog::Conversion;
use furrow_wire::ChannelName;

use super::section::Section;
use crate::config::device::{AnalogInput, ChannelSettings};
use crate::config::leaf::Leaf;
use crate::config::raw::{RawDevice, RawInput};

const INPUT_KINDS: &str = "pyranometer, current-loop or capacitive-moisture";

pub(super) fn inputs(
    device: &RawDevice,
    label: &str,
    section: &mut Section<'_>,
) -> Option<(Vec<AnalogInput>, Vec<ChannelSettings>)> {
    if device.input.is_empty() {
        let remedy = "add a [[device.input]] with input and kind";
        return section.mistake("input", "there is no input", remedy);
    }
    let mut built: Vec<Option<(AnalogInput, ChannelSettings)>> = Vec::new();
    for (index, raw) in device.input.iter().enumerate() {
        let mut section = section.inner(format!("input[{index}]"));
        let one = input(raw, label, &mut section);
        if let Some((input, channel)) = &one {
            for (other, used) in built.iter().flatten() {
                if other.input == input.input {
                    let problem = format!("AIN{} is used twice", input.input.number());
                    section.mistake::<()>("input", problem, "give each sensor its own input");
                }
                if used.name == channel.name {
                    let problem = format!("{:?} names two channels", channel.name.as_str());
                    let remedy = "add channel = \"…\" with a name of its own";
                    section.mistake::<()>("channel", problem, remedy);
                }
            }
        }
        built.push(one);
    }
    built
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .map(|pairs| pairs.into_iter().unzip())
}

fn input(
    raw: &RawInput,
    label: &str,
    section: &mut Section<'_>,
) -> Option<(AnalogInput, ChannelSettings)> {
    let known = "input, kind, name, channel, unit, decimals, volts_per_unit, shunt_ohms, at_4_ma, \
                 at_20_ma, dry_volts, wet_volts";
    section.refuse_unknown(&raw.unknown, known);
    let number = section.whole("input", raw.input.as_ref(), &(0..=3), "0");
    let name = section.text_or("name", raw.name.as_ref(), label);
    let kind = section.text("kind", raw.kind.as_ref(), "pyranometer")?;
    refuse_foreign_to_input(&kind, raw, section);
    let (default, unit, decimals) = match kind.as_str() {
        "pyranometer" => (Some("global_radiation"), "W/m2", 2),
        "current-loop" => (None, "m", 3),
        "capacitive-moisture" => (Some("soil_moisture_index"), "%", 1),
        other => {
            let problem = format!("{other:?} is no kind of input");
            return section.mistake("kind", problem, format!("write {INPUT_KINDS}"));
        }
    };
    let conversion = conversion(&kind, raw, section);
    let default = default.map(|name| Leaf::Text(name.to_owned()));
    let channel = raw.channel.as_ref().or(default.as_ref());
    let channel: Option<ChannelName> = section.parsed("channel", channel, "tank_level");
    let unit = section.text_or("unit", raw.unit.as_ref(), unit);
    let decimals = match raw.decimals.as_ref() {
        None => Some(decimals),
        leaf => section.whole("decimals", leaf, &(0..=6), "3"),
    };
    let input = *Input::ALL.get(usize::try_from(number?).ok()?)?;
    let exponent = i8::try_from(-decimals?).ok()?;
    let settings = AnalogInput {
        input,
        conversion: conversion?,
        exponent,
    };
    let channel = ChannelSettings {
        name: channel?,
        unit: unit?,
        exponent,
        label: name?,
    };
    Some((settings, channel))
}

fn refuse_foreign_to_input(kind: &str, raw: &RawInput, section: &mut Section<'_>) {
    let (pyranometer, current, moisture) = (
        kind == "pyranometer",
        kind == "current-loop",
        kind == "capacitive-moisture",
    );
    let foreign = [
        ("pin", raw.pin.as_ref(), true),
        ("active", raw.active.as_ref(), true),
        ("debounce", raw.debounce.as_ref(), true),
        ("unit", raw.unit.as_ref(), !current),
        ("volts_per_unit", raw.volts_per_unit.as_ref(), !pyranometer),
        ("shunt_ohms", raw.shunt_ohms.as_ref(), !current),
        ("at_4_ma", raw.at_4_ma.as_ref(), !current),
        ("at_20_ma", raw.at_20_ma.as_ref(), !current),
        ("dry_volts", raw.dry_volts.as_ref(), !moisture),
        ("wet_volts", raw.wet_volts.as_ref(), !moisture),
    ];
    for (key, leaf, foreign) in foreign {
        section.refuse(
            key,
            leaf.filter(|_| foreign),
            &format!("means nothing for {kind}"),
        );
    }
}

fn conversion(kind: &str, raw: &RawInput, section: &mut Section<'_>) -> Option<Conversion> {
    match kind {
        "pyranometer" => {
            let leaf = raw.volts_per_unit.as_ref();
            let volts_per_unit = section.number("volts_per_unit", leaf, &(1e-6..=1.0), "0.002")?;
            Some(Conversion::Pyranometer { volts_per_unit })
        }
        "current-loop" => {
            // 21 mA must stay below the converter's 4.096 V.
            let leaf = raw.shunt_ohms.as_ref();
            let shunt_ohms = section.number("shunt_ohms", leaf, &(10.0..=190.0), "100");
            let span = -1e6..=1e6;
            let at_4_ma = section.number("at_4_ma", raw.at_4_ma.as_ref(), &span, "0.0");
            let at_20_ma = section.number("at_20_ma", raw.at_20_ma.as_ref(), &span, "2.5");
            let (shunt_ohms, at_4_ma, at_20_ma) = (shunt_ohms?, at_4_ma?, at_20_ma?);
            if (at_20_ma - at_4_ma).abs() < 1e-6 {
                let remedy = "write the value that the transmitter means by 20 mA";
                return section.mistake("at_20_ma", "is the same as at_4_ma", remedy);
            }
            Some(Conversion::CurrentLoop {
                shunt_ohms,
                at_4_ma,
                at_20_ma,
            })
        }
        _ => {
            let span = 0.0..=4.096;
            let dry = section.number("dry_volts", raw.dry_volts.as_ref(), &span, "2.90");
            let wet = section.number("wet_volts", raw.wet_volts.as_ref(), &span, "1.30");
            let (dry_volts, wet_volts) = (dry?, wet?);
            if (dry_volts - wet_volts).abs() < 0.1 {
                let remedy = "measure the probe in air and in water";
                return section.mistake("wet_volts", "is too close to dry_volts", remedy);
            }
            Some(Conversion::CapacitiveMoisture {
                dry_volts,
                wet_volts,
            })
        }
    }
}
