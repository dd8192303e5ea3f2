//! What a probe has in which register: a profile that comes along, or a file of one's own.

use std::path::Path;

use furrow_drivers::registers::{Function, Profile, REGISTERS_MAX, Register, Sign};
use furrow_wire::ChannelName;

use super::ReadText;
use super::section::Section;
use crate::config::device::ChannelSettings;
use crate::config::mistakes::Mistakes;
use crate::config::raw::{RawDevice, RawProfile, RawRegister};

/// The profiles that come along, written as one's own would be.
const PROFILES: [(&str, &str); 2] = [
    ("sen0604", include_str!("../../../profiles/sen0604.toml")),
    ("s-soil", include_str!("../../../profiles/s-soil.toml")),
];
/// What probes without an electrode for it calculate from conductivity.
const NUTRIENTS: [&str; 6] = ["nitrogen", "phosphorus", "potassium", "n", "p", "k"];

/// The profiles that come along, with their names and channels.
pub(in crate::config) fn builtin() -> Vec<(&'static str, Profile, Vec<ChannelSettings>)> {
    let mut found = Mistakes::default();
    let profiles = PROFILES.iter().filter_map(|(name, text)| {
        let (profile, channels) = parsed(text, name, &mut Section::new(*name, &mut found))?;
        Some((*name, profile, channels))
    });
    profiles.collect()
}

pub(super) fn profile(
    device: &RawDevice,
    label: &str,
    read: ReadText<'_>,
    section: &mut Section<'_>,
) -> Option<(Profile, Vec<ChannelSettings>)> {
    match (&device.profile, &device.profile_file) {
        (Some(_), Some(_)) => {
            let problem = "stands beside profile_file";
            section.mistake("profile", problem, "keep only one of them")
        }
        (leaf @ (Some(_) | None), None) => {
            let name = section.text("profile", leaf.as_ref(), "sen0604")?;
            let Some((_, text)) = PROFILES.iter().find(|(of, _)| *of == name) else {
                let problem = format!("{name:?} is no profile");
                let names = PROFILES.map(|(name, _)| name).join(" or ");
                let remedy = format!("write {names}, or profile_file with one of your own");
                return section.mistake("profile", problem, remedy);
            };
            parsed(text, label, &mut section.inner("profile"))
        }
        (None, Some(_)) => {
            let example = "/etc/furrow/my-probe.toml";
            let path = section.text("profile_file", device.profile_file.as_ref(), example)?;
            match read(Path::new(&path)) {
                Ok(text) => parsed(&text, label, &mut section.inner("profile_file")),
                Err(error) => section.mistake(
                    "profile_file",
                    format!("{path:?} can't be read: {error}"),
                    "name a TOML file with function and [[register]] sections",
                ),
            }
        }
    }
}

fn parsed(
    text: &str,
    label: &str,
    section: &mut Section<'_>,
) -> Option<(Profile, Vec<ChannelSettings>)> {
    let raw: Result<RawProfile, _> = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize);
    let raw = match raw {
        Ok(raw) => raw,
        Err(error) => {
            let remedy = "correct the file";
            return section.mistake("register", format!("is no profile: {error}"), remedy);
        }
    };
    section.refuse_unknown(&raw.unknown, "function, register");
    let function = match raw.function.as_ref() {
        None => Some(Function::Holding),
        leaf => match section.whole("function", leaf, &(3..=4), "3") {
            Some(4) => Some(Function::Input),
            Some(_) => Some(Function::Holding),
            None => None,
        },
    };
    if raw.register.is_empty() || raw.register.len() > REGISTERS_MAX {
        let problem = format!("there are {} registers", raw.register.len());
        let remedy = format!("write 1 to {REGISTERS_MAX} [[register]] sections");
        return section.mistake("register", problem, remedy);
    }
    let mut built: Vec<Option<(Register, ChannelSettings)>> = Vec::new();
    for (index, raw) in raw.register.iter().enumerate() {
        let mut section = section.inner(format!("register[{index}]"));
        let one = register(raw, label, &mut section);
        if let Some((_, channel)) = &one
            && built
                .iter()
                .flatten()
                .any(|(_, used)| used.name == channel.name)
        {
            let problem = format!("{:?} names two channels", channel.name.as_str());
            section.mistake::<()>("channel", problem, "give each register a name of its own");
        }
        built.push(one);
    }
    let built: Option<Vec<_>> = built.into_iter().collect();
    let (registers, channels) = built?.into_iter().unzip();
    let profile = Profile {
        function: function?,
        registers,
    };
    Some((profile, channels))
}

fn register(
    raw: &RawRegister,
    label: &str,
    section: &mut Section<'_>,
) -> Option<(Register, ChannelSettings)> {
    let known = "register, channel, unit, scale, signed, decimals, min, max, name";
    section.refuse_unknown(&raw.unknown, known);
    let number = section.whole("register", raw.register.as_ref(), &(0..=0xFFFF), "0");
    let channel: Option<ChannelName> =
        section.parsed("channel", raw.channel.as_ref(), "soil_moisture");
    if let Some(name) = channel.as_ref().map(ChannelName::as_str)
        && NUTRIENTS.contains(&name)
    {
        let problem = format!("{name:?} is calculated from conductivity by such probes");
        let remedy = format!("call it {name}_indicative");
        section.mistake::<()>("channel", problem, remedy);
    }
    let unit = section.text("unit", raw.unit.as_ref(), "%");
    let scale = section.number("scale", raw.scale.as_ref(), &(-1e6..=1e6), "0.1");
    let signed = section.truth("signed", raw.signed.as_ref(), Some(false));
    let decimals = section.whole("decimals", raw.decimals.as_ref(), &(0..=6), "1");
    let span = -1e9..=1e9;
    let min = section.number("min", raw.min.as_ref(), &span, "0");
    let max = section.number("max", raw.max.as_ref(), &span, "100");
    let name = section.text_or("name", raw.name.as_ref(), label);
    let (scale, min, max) = (scale?, min?, max?);
    if scale.abs() < 1e-9 {
        let remedy = "write the unit per step of the register, for example 0.1";
        section.mistake::<()>("scale", "is 0", remedy);
    }
    if min >= max {
        let remedy = "write what the probe can measure at most";
        section.mistake::<()>("max", "is not above min", remedy);
    }
    let exponent = i8::try_from(-decimals?).ok()?;
    let register = Register {
        number: u16::try_from(number?).ok()?,
        sign: if signed? {
            Sign::Signed
        } else {
            Sign::Unsigned
        },
        scale,
        exponent,
        min,
        max,
    };
    let channel = ChannelSettings {
        name: channel?,
        unit: unit?,
        exponent,
        label: name?,
    };
    Some((register, channel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mistakes::Mistakes;

    fn built(text: &str) -> Result<(Profile, Vec<ChannelSettings>), Vec<String>> {
        let mut found = Mistakes::default();
        let built = parsed(
            text,
            "Soil",
            &mut Section::new("device[0].profile_file", &mut found),
        );
        let told: Vec<String> = found.as_slice().iter().map(ToString::to_string).collect();
        match built.filter(|_| told.is_empty()) {
            Some(built) => Ok(built),
            None => Err(told),
        }
    }

    #[test]
    fn the_profiles_that_come_along_decode_their_makers_examples() {
        let npk = include_str!("../../../../deploy/probe-npk.toml");
        for (text, words, expected) in [
            (
                PROFILES[0].1,
                &[0x0292, 0xFF9B, 0x03E8, 0x0038][..],
                "soil_moisture 65.8 %, temperature -10.1 Cel, electrical_conductivity 1.000 dS/m, ph 5.6 [pH]",
            ),
            (
                PROFILES[1].1,
                &[0x0702, 0x071D, 0x071D],
                "temperature 17.94 Cel, soil_moisture 18.21 %, electrical_conductivity 1.821 dS/m",
            ),
            (
                npk,
                &[0x0292, 0xFF9B, 0x03E8, 0x0038, 32, 37, 48],
                "soil_moisture 65.8 %, temperature -10.1 Cel, electrical_conductivity 1.000 dS/m, ph 5.6 [pH], \
                 nitrogen_indicative 32 mg/kg, phosphorus_indicative 37 mg/kg, potassium_indicative 48 mg/kg",
            ),
        ] {
            let (profile, channels) = built(text).unwrap();
            let told: Vec<String> = profile
                .registers
                .iter()
                .zip(channels)
                .map(|(register, channel)| {
                    let value = register
                        .decode(words[usize::from(register.number)])
                        .unwrap();
                    format!("{} {value} {}", channel.name, channel.unit)
                })
                .collect();
            assert_eq!(told.join(", "), expected);
        }
    }

    #[test]
    fn every_mistake_of_a_file_is_told_with_its_key() {
        let file = r#"
            function = 6
            speed = 1
            [[register]]
            register = 70000
            channel = "nitrogen"
            unit = "mg/kg"
            scale = 0
            decimals = 0
            min = 10
            max = 1
            colour = "red"
            [[register]]
            register = 1
            channel = "ph"
            unit = "[pH]"
            scale = 0.1
            decimals = 1
            min = 0
            max = 14
            [[register]]
            register = 2
            channel = "ph"
            signed = "perhaps"
            scale = "much"
            min = 0
            max = 14
        "#;
        let key = "device[0].profile_file";
        let expected = [
            ".speed: unknown key; remove it or correct its spelling (known here: function, register)",
            ".function: 6 is out of range; write a whole number from 3 to 4, for example 3",
            ".register[0].colour: unknown key; remove it or correct its spelling (known here: register, channel, unit, scale, signed, decimals, min, max, name)",
            ".register[0].register: 70000 is out of range; write a whole number from 0 to 65535, for example 0",
            ".register[0].channel: \"nitrogen\" is calculated from conductivity by such probes; call it nitrogen_indicative",
            ".register[0].scale: is 0; write the unit per step of the register, for example 0.1",
            ".register[0].max: is not above min; write what the probe can measure at most",
            ".register[2].unit: is missing; add it, for example unit = \"%\"",
            ".register[2].scale: \"much\" is not a number; write a number from -1000000 to 1000000, for example 0.1",
            ".register[2].signed: \"perhaps\" is neither true nor false; write true or false",
            ".register[2].decimals: is missing; add it, for example decimals = 1",
        ];
        let expected: Vec<String> = expected.map(|text| format!("{key}{text}")).to_vec();
        assert_eq!(built(file).unwrap_err(), expected);
        let twice = PROFILES[0].1.replace("temperature", "soil_moisture");
        let told = built(&twice).unwrap_err();
        assert_eq!(
            told,
            [format!(
                "{key}.register[1].channel: \"soil_moisture\" names two channels; give each register a name of its own"
            )]
        );
        assert_eq!(
            built("function = 4").unwrap_err(),
            [format!(
                "{key}.register: there are 0 registers; write 1 to 16 [[register]] sections"
            )]
        );
        assert!(built("register = 1").unwrap_err()[0].contains("is no profile"));
    }
}
