//! What the columns of a batch mean.
//!
//! A catalog is a record of the stream, journalled before the first batch that names it by hash.

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::decimal::Decimal;
use crate::ids::{CatalogHash, ChannelName, DeviceId, GreenhouseId, SeriesId, ZoneId};
use crate::{BodyError, decode_message, proto};

/// Most channels of one gateway.
pub const MAX_CHANNELS: usize = 1024;
/// Most devices, and most zones, of one gateway.
pub const MAX_DEVICES: usize = 256;
/// Longest free text (names, units, kinds), in bytes.
pub const MAX_TEXT_BYTES: usize = 128;

/// A device of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogDevice {
    /// Its id.
    pub id: DeviceId,
    /// Driver name, e.g. `sht4x`.
    pub kind: String,
    /// Which bus of the gateway.
    pub bus: String,
    /// Address on that bus, if it has one.
    pub address: Option<u16>,
    /// For people.
    pub name: String,
    /// How often its channels were calibrated on site, undoing included; 0 for never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub calibration_version: u32,
}

/// A channel of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogChannel {
    /// Whose.
    pub device: DeviceId,
    /// Which quantity.
    pub channel: ChannelName,
    /// UCUM or SenML unit code, e.g. `Cel`.
    pub unit: String,
    /// Value = mantissa × 10^exponent.
    pub exponent: i8,
    /// Sampling interval, in milliseconds.
    pub interval_ms: u32,
    /// For people.
    pub name: String,
}

/// A zone that a gateway waters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogZone {
    /// Its id.
    pub id: ZoneId,
    /// For people.
    pub name: String,
    /// The drip controller that owns its valve, if that is how it is driven.
    pub controller: Option<DeviceId>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Where the gateway stands.
    pub greenhouse: GreenhouseId,
    /// For people.
    pub greenhouse_name: String,
    /// Version of the gateway's software.
    pub software: String,
    /// Devices.
    pub devices: Vec<CatalogDevice>,
    /// Channels; a batch's columns name them by index.
    pub channels: Vec<CatalogChannel>,
    /// Zones.
    pub zones: Vec<CatalogZone>,
}

impl Catalog {
    /// The record's body. The same catalog always gives the same bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let index_of = |id: &DeviceId| {
            let place = self.devices.iter().position(|device| device.id == *id);
            place
                .and_then(|place| u32::try_from(place).ok())
                .unwrap_or(u32::MAX)
        };
        let devices = self.devices.iter().map(|device| proto::catalog::Device {
            id: device.id.to_string(),
            kind: device.kind.clone(),
            bus: device.bus.clone(),
            address: device.address.map(u32::from),
            name: device.name.clone(),
            calibration_version: device.calibration_version,
            ..Default::default()
        });
        let channels = self.channels.iter().map(|channel| proto::catalog::Channel {
            device: index_of(&channel.device),
            channel: channel.channel.to_string(),
            unit: channel.unit.clone(),
            exponent: channel.exponent.into(),
            interval_ms: channel.interval_ms,
            name: channel.name.clone(),
            ..Default::default()
        });
        let zones = self.zones.iter().map(|zone| proto::catalog::Zone {
            id: zone.id.to_string(),
            name: zone.name.clone(),
            controller: zone
                .controller
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        });
        proto::Catalog {
            greenhouse: self.greenhouse.to_string(),
            greenhouse_name: self.greenhouse_name.clone(),
            software: self.software.clone(),
            devices: devices.collect(),
            channels: channels.collect(),
            zones: zones.collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// How batches name a catalog with this body.
    #[must_use]
    pub fn hash(body: &[u8]) -> CatalogHash {
        let digest = Sha256::digest(body);
        let first = digest.iter().take(8);
        CatalogHash(first.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// Reads a record's body.
    ///
    /// # Errors
    /// [`BodyError`] when it is not a catalog, a name is malformed, a channel's device is missing,
    /// or a limit is exceeded.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let raw: proto::Catalog = decode_message("catalog", body)?;
        check_count("devices", raw.devices.len(), MAX_DEVICES)?;
        check_count("channels", raw.channels.len(), MAX_CHANNELS)?;
        check_count("zones", raw.zones.len(), MAX_DEVICES)?;
        let devices = raw
            .devices
            .iter()
            .map(decode_device)
            .collect::<Result<Vec<_>, _>>()?;
        let channel = |raw| decode_channel(raw, &devices);
        Ok(Catalog {
            greenhouse: parse("greenhouse", &raw.greenhouse)?,
            greenhouse_name: text("greenhouse name", &raw.greenhouse_name)?,
            software: text("software", &raw.software)?,
            channels: raw.channels.iter().map(channel).collect::<Result<_, _>>()?,
            zones: raw
                .zones
                .iter()
                .map(decode_zone)
                .collect::<Result<_, _>>()?,
            devices,
        })
    }

    /// The series that a column of a batch belongs to.
    #[must_use]
    pub fn series(&self, channel: u16) -> Option<SeriesId> {
        let channel = self.channels.get(usize::from(channel))?;
        Some(SeriesId {
            greenhouse: self.greenhouse.clone(),
            device: channel.device.clone(),
            channel: channel.channel.clone(),
        })
    }
}

fn is_zero(version: &u32) -> bool {
    *version == 0
}

fn check_count(field: &'static str, count: usize, max: usize) -> Result<(), BodyError> {
    if count <= max {
        return Ok(());
    }
    Err(BodyError::invalid(
        "catalog",
        field,
        format!("{count} of them (must be at most {max})"),
    ))
}

fn parse<T>(field: &'static str, text: &str) -> Result<T, BodyError>
where
    T: std::str::FromStr<Err = crate::IdError>,
{
    text.parse()
        .map_err(|error: crate::IdError| BodyError::invalid("catalog", field, error.to_string()))
}

fn text(field: &'static str, text: &str) -> Result<String, BodyError> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(text.to_owned());
    }
    let reason = format!("{} bytes (must be at most {MAX_TEXT_BYTES})", text.len());
    Err(BodyError::invalid("catalog", field, reason))
}

fn decode_device(raw: &proto::catalog::Device) -> Result<CatalogDevice, BodyError> {
    let address = raw.address.map(u16::try_from).transpose();
    Ok(CatalogDevice {
        id: parse("device", &raw.id)?,
        kind: text("device kind", &raw.kind)?,
        bus: text("device bus", &raw.bus)?,
        address: address.map_err(|e| BodyError::invalid("catalog", "address", e.to_string()))?,
        name: text("device name", &raw.name)?,
        calibration_version: raw.calibration_version,
    })
}

fn decode_channel(
    raw: &proto::catalog::Channel,
    devices: &[CatalogDevice],
) -> Result<CatalogChannel, BodyError> {
    let device = usize::try_from(raw.device)
        .ok()
        .and_then(|place| devices.get(place));
    let device = device.ok_or_else(|| {
        BodyError::invalid("catalog", "channel", format!("no device {}", raw.device))
    })?;
    let exponent = i8::try_from(raw.exponent)
        .ok()
        .filter(|e| (Decimal::MIN_EXPONENT..=Decimal::MAX_EXPONENT).contains(e))
        .ok_or_else(|| BodyError::invalid("catalog", "exponent", raw.exponent.to_string()))?;
    Ok(CatalogChannel {
        device: device.id.clone(),
        channel: parse("channel", &raw.channel)?,
        unit: text("unit", &raw.unit)?,
        exponent,
        interval_ms: raw.interval_ms,
        name: text("channel name", &raw.name)?,
    })
}

fn decode_zone(raw: &proto::catalog::Zone) -> Result<CatalogZone, BodyError> {
    let controller = match raw.controller.as_str() {
        "" => None,
        id => Some(parse("zone controller", id)?),
    };
    Ok(CatalogZone {
        id: parse("zone", &raw.id)?,
        name: text("zone name", &raw.name)?,
        controller,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample() -> Catalog {
        let device = |id: &str, address| CatalogDevice {
            id: id.parse().unwrap(),
            kind: "sht4x".into(),
            bus: "main".into(),
            address,
            name: "Cảm biến trong nhà".into(),
            calibration_version: 2,
        };
        let channel = |device: &str, channel: &str| CatalogChannel {
            device: device.parse().unwrap(),
            channel: channel.parse().unwrap(),
            unit: "Cel".into(),
            exponent: -2,
            interval_ms: 10_000,
            name: String::new(),
        };
        Catalog {
            greenhouse: "nha-luoi-1".parse().unwrap(),
            greenhouse_name: "Nhà lưới 1".into(),
            software: "0.1.0".into(),
            devices: vec![device("sht-inside", Some(0x44)), device("meter", None)],
            channels: vec![
                channel("sht-inside", "air_temperature"),
                channel("meter", "water_flow"),
            ],
            zones: vec![CatalogZone {
                id: "zone-1".parse().unwrap(),
                name: "Luống 1".into(),
                controller: Some("meter".parse().unwrap()),
            }],
        }
    }

    #[test]
    fn round_trip_and_hash() {
        let body = sample().encode();
        assert_eq!(Catalog::decode(&body), Ok(sample()));
        let digest = Sha256::digest(&body);
        assert_eq!(Catalog::hash(&body).0.to_be_bytes(), digest[..8]);
        let mut other = sample();
        other.channels[0].exponent = -1;
        assert_ne!(Catalog::hash(&other.encode()), Catalog::hash(&body));
    }

    #[test]
    fn a_column_finds_its_series() {
        assert_eq!(
            sample().series(1).unwrap().to_string(),
            "nha-luoi-1/meter/water_flow"
        );
        assert_eq!(sample().series(2), None);
    }

    #[test]
    fn a_channel_without_its_device_is_refused() {
        let mut bad = sample();
        bad.devices.truncate(1);
        let error = Catalog::decode(&bad.encode()).unwrap_err().to_string();
        assert_eq!(
            error,
            "catalog body has an invalid channel: no device 4294967295"
        );
    }

    #[test]
    fn limits_hold() {
        let mut bad = sample();
        bad.greenhouse_name = "x".repeat(129);
        assert!(Catalog::decode(&bad.encode()).is_err());
        let mut bad = sample();
        bad.channels = vec![bad.channels[0].clone(); MAX_CHANNELS + 1];
        assert!(Catalog::decode(&bad.encode()).is_err());
    }

    proptest! {
        #[test]
        fn damaged_bodies_never_panic(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
            let mut body = sample().encode().to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            Catalog::decode(&body[..cut.index(body.len())]).ok();
            Catalog::decode(&body).ok();
        }
    }
}
