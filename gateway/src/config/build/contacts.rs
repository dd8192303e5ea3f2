//! Contacts at an expander or at GPIO lines.

use furrow_wire::ChannelName;

use super::section::Section;
use crate::config::device::{ChannelSettings, Contact, Level};
use crate::config::leaf::Leaf;
use crate::config::raw::{RawDevice, RawInput};

const CONTACT_KINDS: &str = "float-switch, door, mains, button or contact";
/// Most lines of one device: what a reading of its driver holds.
const LINES_MAX: usize = 16;

/// Where the contacts of a device are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// Lines of an expander, so many.
    OfExpander(u8),
    /// GPIO lines, up to this one.
    Pins(i64),
}

pub(super) fn contacts(
    device: &RawDevice,
    label: &str,
    lines: Lines,
    section: &mut Section<'_>,
) -> Option<(Vec<Contact>, Vec<ChannelSettings>)> {
    if device.input.is_empty() || device.input.len() > LINES_MAX {
        let problem = format!("there are {} inputs", device.input.len());
        let remedy = "add 1 to 16 [[device.input]] with a line and kind";
        return section.mistake("input", problem, remedy);
    }
    let mut built: Vec<Option<(Contact, ChannelSettings)>> = Vec::new();
    for (index, raw) in device.input.iter().enumerate() {
        let mut section = section.inner(format!("input[{index}]"));
        let one = contact(raw, label, lines, &mut section);
        if let Some((contact, channel)) = &one {
            for (other, used) in built.iter().flatten() {
                if other.line == contact.line {
                    let problem = format!("line {} is used twice", contact.line);
                    section.mistake::<()>(lines.key(), problem, "give each contact its own line");
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

impl Lines {
    fn key(self) -> &'static str {
        match self {
            Lines::OfExpander(_) => "input",
            Lines::Pins(_) => "pin",
        }
    }
}

fn contact(
    raw: &RawInput,
    label: &str,
    lines: Lines,
    section: &mut Section<'_>,
) -> Option<(Contact, ChannelSettings)> {
    let known = "input, pin, kind, name, channel, active, debounce";
    section.refuse_unknown(&raw.unknown, known);
    refuse_analog(raw, section);
    let line = match lines {
        Lines::OfExpander(count) => {
            let why = "means nothing at an expander";
            section.refuse("pin", raw.pin.as_ref(), why);
            section.whole(
                "input",
                raw.input.as_ref(),
                &(0..=i64::from(count) - 1),
                "0",
            )
        }
        Lines::Pins(most) => {
            let why = "means nothing at GPIO lines";
            section.refuse("input", raw.input.as_ref(), why);
            section.whole("pin", raw.pin.as_ref(), &(0..=most), "22")
        }
    };
    let name = section.text_or("name", raw.name.as_ref(), label);
    let kind = section.text("kind", raw.kind.as_ref(), "float-switch")?;
    // What 1 means: the float is up, the door is open, there is power, the button is pressed.
    let (channel, active) = match kind.as_str() {
        "float-switch" => (Some("float_switch"), Level::Low),
        "door" => (Some("door_open"), Level::High),
        "mains" => (Some("mains_present"), Level::Low),
        "button" => (Some("button"), Level::Low),
        "contact" => (None, Level::Low),
        other => {
            let problem = format!("{other:?} is no kind of contact");
            return section.mistake("kind", problem, format!("write {CONTACT_KINDS}"));
        }
    };
    let default = channel.map(|name| Leaf::Text(name.to_owned()));
    let leaf = raw.channel.as_ref().or(default.as_ref());
    let channel: Option<ChannelName> = section.parsed("channel", leaf, "gate_open");
    let active = level(raw, active, section);
    let leaf = raw.debounce.as_ref();
    let debounce = section.duration("debounce", leaf, ("1ms", "1s"), Some("50ms"));
    let contact = Contact {
        line: u8::try_from(line?).ok()?,
        active: active?,
        debounce_ms: u64::try_from(debounce?.as_millis()).ok()?,
        latched: kind == "button",
    };
    let channel = ChannelSettings {
        name: channel?,
        unit: "1".to_owned(),
        exponent: 0,
        label: name?,
    };
    Some((contact, channel))
}

fn level(raw: &RawInput, default: Level, section: &mut Section<'_>) -> Option<Level> {
    let Some(leaf) = raw.active.as_ref() else {
        return Some(default);
    };
    match section.text("active", Some(leaf), "low")?.as_str() {
        "low" => Some(Level::Low),
        "high" => Some(Level::High),
        other => {
            let problem = format!("{other:?} is no level");
            section.mistake("active", problem, "write \"low\" or \"high\"")
        }
    }
}

fn refuse_analog(raw: &RawInput, section: &mut Section<'_>) {
    for (key, leaf) in [
        ("unit", &raw.unit),
        ("decimals", &raw.decimals),
        ("volts_per_unit", &raw.volts_per_unit),
        ("shunt_ohms", &raw.shunt_ohms),
        ("at_4_ma", &raw.at_4_ma),
        ("at_20_ma", &raw.at_20_ma),
        ("dry_volts", &raw.dry_volts),
        ("wet_volts", &raw.wet_volts),
    ] {
        section.refuse(key, leaf.as_ref(), "means nothing for a contact");
    }
}
