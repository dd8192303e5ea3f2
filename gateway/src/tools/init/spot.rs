//! Places and parts as a person names them on the command line.

use std::str::FromStr;

/// Kinds that can be configured by their address alone, though nothing identifies them.
pub(super) const UNPROVEN: [&str; 2] = ["bh1750", "ina219"];
/// Boards of contacts: nothing identifies them, and each contact is to be named.
pub(super) const BOARDS: [(&str, u8); 2] = [("mcp23017", 16), ("pcf8574", 8)];

/// An I2C address, behind a multiplexer or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) address: u8,
    /// Multiplexer and channel.
    pub(super) behind: Option<(u8, u8)>,
}

/// What a person says of an address that nothing identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) spot: Spot,
    pub(super) kind: &'static str,
}

/// What hangs on an analog input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Analog {
    pub(super) spot: Spot,
    pub(super) input: u8,
    pub(super) kind: AnalogKind,
}

/// Kinds of analog sensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnalogKind {
    Pyranometer,
    CurrentLoop,
    CapacitiveMoisture,
    Nothing,
}

/// What hangs on a line of a board of contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) spot: Spot,
    pub(super) line: u8,
    pub(super) kind: ContactKind,
}

/// Kinds of contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContactKind {
    FloatSwitch,
    Door,
    Mains,
    Button,
    Contact,
}

impl std::fmt::Display for Spot {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((mux, channel)) = self.behind {
            write!(f, "{mux:#04x}/{channel}/")?;
        }
        write!(f, "{:#04x}", self.address)
    }
}

impl FromStr for Spot {
    type Err = &'static str;

    /// `0x48`, or `0x70/2/0x48` behind channel 2 of the multiplexer at 0x70.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "an address is 0x48, or 0x70/2/0x48 behind channel 2 of a multiplexer";
        let hex = |text: &str| {
            let digits = text.strip_prefix("0x").ok_or(form)?;
            u8::from_str_radix(digits, 16).map_err(|_| form)
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (address, behind) = match parts.as_slice() {
            [address] => (address, None),
            [mux, channel, address] => {
                let channel = channel.parse().ok().filter(|channel| *channel <= 7);
                (address, Some((hex(mux)?, channel.ok_or(form)?)))
            }
            _ => return Err(form),
        };
        let address = hex(address)?;
        Ok(Spot { address, behind })
    }
}

impl FromStr for Told {
    type Err = String;

    /// `0x23=bh1750`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be ADDRESS=KIND, for example 0x23=bh1750";
        let (spot, kind) = text.split_once('=').ok_or(form)?;
        let spot = spot.parse()?;
        let mut kinds = UNPROVEN.into_iter().chain(BOARDS.map(|(kind, _)| kind));
        let names: Vec<&str> = kinds.clone().collect();
        let kind = kinds.find(|known| *known == kind);
        let kind = kind.ok_or_else(|| format!("KIND must be one of {}", names.join(", ")))?;
        Ok(Told { spot, kind })
    }
}

impl FromStr for AnalogKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pyranometer" => Ok(Self::Pyranometer),
            "current-loop" => Ok(Self::CurrentLoop),
            "capacitive-moisture" => Ok(Self::CapacitiveMoisture),
            "nothing" => Ok(Self::Nothing),
            other => Err(format!(
                "{other:?} must be pyranometer, current-loop, capacitive-moisture or nothing"
            )),
        }
    }
}

impl FromStr for Analog {
    type Err = String;

    /// `0x48:0=pyranometer`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be ADDRESS:INPUT=KIND, for example 0x48:0=pyranometer";
        let (spot, input, kind) = parts(text).ok_or(form)?;
        if input > 3 {
            return Err(form.to_owned());
        }
        Ok(Analog {
            spot: spot.parse()?,
            input,
            kind: kind.parse()?,
        })
    }
}

impl ContactKind {
    /// As in the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FloatSwitch => "float-switch",
            Self::Door => "door",
            Self::Mains => "mains",
            Self::Button => "button",
            Self::Contact => "contact",
        }
    }

    const ALL: [Self; 5] = [
        Self::FloatSwitch,
        Self::Door,
        Self::Mains,
        Self::Button,
        Self::Contact,
    ];
}

impl FromStr for Contact {
    type Err = String;

    /// `0x20:3=float-switch`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "must be ADDRESS:LINE=KIND, for example 0x20:3=float-switch";
        let (spot, line, kind) = parts(text).ok_or(form)?;
        if line > 15 {
            return Err(form.to_owned());
        }
        let known = ContactKind::ALL.into_iter().find(|one| one.name() == kind);
        let names = ContactKind::ALL.map(ContactKind::name).join(", ");
        Ok(Contact {
            spot: spot.parse()?,
            line,
            kind: known.ok_or_else(|| format!("KIND must be one of {names}"))?,
        })
    }
}

/// Spot, number and kind of `SPOT:NUMBER=KIND`.
fn parts(text: &str) -> Option<(&str, u8, &str)> {
    let (place, kind) = text.split_once('=')?;
    let (spot, number) = place.split_once(':')?;
    Some((spot, number.parse().ok()?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_place_and_a_part() {
        let told: Told = "0x23=bh1750".parse().unwrap();
        assert_eq!((told.spot.address, told.kind), (0x23, "bh1750"));
        let told: Told = "0x70/7/0x21=mcp23017".parse().unwrap();
        assert_eq!(told.spot.to_string(), "0x70/7/0x21");
        let analog: Analog = "0x70/2/0x48:3=current-loop".parse().unwrap();
        assert_eq!((analog.spot.behind, analog.input), (Some((0x70, 2)), 3));
        let contact: Contact = "0x20:15=door".parse().unwrap();
        assert_eq!((contact.line, contact.kind), (15, ContactKind::Door));
    }

    #[test]
    fn all_else_is_refused() {
        for bad in [
            "23=bh1750",
            "0x23",
            "0x44=sht4x",
            "0x23=",
            "0x70/8/0x23=bh1750",
        ] {
            assert!(bad.parse::<Told>().is_err(), "{bad}");
        }
        for bad in [
            "48:0=pyranometer",
            "0x48:4=pyranometer",
            "0x48:0=probe",
            "0x48=nothing",
            "0x70/0x48:0=pyranometer",
        ] {
            assert!(bad.parse::<Analog>().is_err(), "{bad}");
        }
        for bad in ["0x20:16=door", "0x20:0=gate", "0x20=door"] {
            assert!(bad.parse::<Contact>().is_err(), "{bad}");
        }
    }
}
