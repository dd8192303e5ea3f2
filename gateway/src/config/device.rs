//! A device as it is configured.

use std::time::Duration;

use furrow_drivers::PulseFactor;
use furrow_drivers::ads1115::Input;
use furrow_drivers::analog::Conversion;
use furrow_drivers::ezo::Probe;
use furrow_drivers::registers::Profile;
use furrow_drivers::scd4x::Scd4xSettings;
use furrow_drivers::scd30::Scd30Settings;
use furrow_drivers::tca9548a::Route;
use furrow_wire::{ChannelName, DeviceId};

/// One device.
#[derive(Debug, Clone)]
pub struct DeviceSettings {
    /// Its id in series names.
    pub id: DeviceId,
    /// Its name for people.
    pub name: String,
    /// Place of its bus.
    pub bus: usize,
    /// The multiplexer that it sits behind.
    pub route: Option<Route>,
    /// How often it is read.
    pub every: Duration,
    /// What it is.
    pub kind: DeviceKind,
    /// What a reading yields, in this order.
    pub channels: Vec<ChannelSettings>,
}

impl DeviceSettings {
    /// The address on its I2C bus or serial line, for devices that have one.
    #[must_use]
    pub fn address(&self) -> Option<u8> {
        match &self.kind {
            DeviceKind::Sht4x { address }
            | DeviceKind::Sht3x { address }
            | DeviceKind::Bme280 { address }
            | DeviceKind::Bh1750 { address, .. }
            | DeviceKind::Ads1115 { address, .. }
            | DeviceKind::Ina219 { address, .. }
            | DeviceKind::Ezo { address, .. }
            | DeviceKind::Mcp23017 { address, .. }
            | DeviceKind::Pcf8574 { address, .. }
            | DeviceKind::SoilProbe { address, .. }
            | DeviceKind::DripController { address, .. } => Some(*address),
            DeviceKind::Scd4x { .. } => Some(furrow_drivers::scd4x::ADDRESS),
            DeviceKind::Scd30 { .. } => Some(furrow_drivers::scd30::ADDRESS),
            DeviceKind::FlowMeter { .. }
            | DeviceKind::RainGauge { .. }
            | DeviceKind::GpioInputs { .. }
            | DeviceKind::Ds18b20 { .. }
            | DeviceKind::GuardedOutputs => None,
        }
    }

    /// The GPIO lines that it uses (BCM numbers).
    #[must_use]
    pub fn pins(&self) -> Vec<u8> {
        match &self.kind {
            DeviceKind::FlowMeter { pin, .. } | DeviceKind::RainGauge { pin, .. } => vec![*pin],
            DeviceKind::GpioInputs { contacts } => contacts.iter().map(|c| c.line).collect(),
            DeviceKind::Sht4x { .. }
            | DeviceKind::Sht3x { .. }
            | DeviceKind::Bme280 { .. }
            | DeviceKind::Bh1750 { .. }
            | DeviceKind::Scd4x { .. }
            | DeviceKind::Scd30 { .. }
            | DeviceKind::Ads1115 { .. }
            | DeviceKind::Ina219 { .. }
            | DeviceKind::Ezo { .. }
            | DeviceKind::Mcp23017 { .. }
            | DeviceKind::Pcf8574 { .. }
            | DeviceKind::Ds18b20 { .. }
            | DeviceKind::SoilProbe { .. }
            | DeviceKind::DripController { .. }
            | DeviceKind::GuardedOutputs => Vec::new(),
        }
    }

    /// The id of a 1-Wire sensor.
    #[must_use]
    pub fn rom(&self) -> Option<&str> {
        if let DeviceKind::Ds18b20 { rom } = &self.kind {
            Some(rom)
        } else {
            None
        }
    }

    /// Where it is, for people: `0x44`, `0x46 behind 0x70/1`, `GPIO 17`, the id of a 1-Wire sensor, `address 1`.
    #[must_use]
    pub fn place(&self) -> String {
        let pins: Vec<String> = self
            .pins()
            .iter()
            .map(|pin| format!("GPIO {pin}"))
            .collect();
        match (&self.kind, self.address(), self.route) {
            (DeviceKind::SoilProbe { address, .. }, _, _) => format!("address {address}"),
            (_, Some(address), None) => format!("{address:#04x}"),
            (_, Some(address), Some(Route { mux, channel })) => {
                format!("{address:#04x} behind {mux:#04x}/{channel}")
            }
            (DeviceKind::Ds18b20 { rom }, None, _) => rom.clone(),
            (DeviceKind::GuardedOutputs, None, _) => "all outputs".to_owned(),
            (_, None, _) => pins.join(", "),
        }
    }
}

/// What a device is, with what its driver needs.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceKind {
    /// Temperature and humidity.
    Sht4x {
        /// 0x44 to 0x46.
        address: u8,
    },
    /// Temperature and humidity.
    Sht3x {
        /// 0x44 or 0x45.
        address: u8,
    },
    /// Pressure, temperature and humidity.
    Bme280 {
        /// 0x76 or 0x77.
        address: u8,
    },
    /// Light.
    Bh1750 {
        /// 0x23 or 0x5C.
        address: u8,
        /// 31 to 254.
        measurement_time: u8,
    },
    /// Carbon dioxide; always at 0x62.
    Scd4x {
        /// How it is set up.
        settings: Scd4xSettings,
    },
    /// Carbon dioxide; always at 0x61.
    Scd30 {
        /// How it is set up.
        settings: Scd30Settings,
    },
    /// Analog inputs.
    Ads1115 {
        /// 0x48 to 0x4B.
        address: u8,
        /// One channel each, in the same order.
        inputs: Vec<AnalogInput>,
    },
    /// Voltage, current and power of a supply.
    Ina219 {
        /// 0x40 to 0x4F.
        address: u8,
        /// The shunt's resistance.
        shunt_ohms: f64,
    },
    /// pH or conductivity of water.
    Ezo {
        /// Which.
        probe: Probe,
        /// Any.
        address: u8,
    },
    /// Contacts at a port expander of sixteen lines.
    Mcp23017 {
        /// 0x20 to 0x27.
        address: u8,
        /// One channel each, in the same order.
        contacts: Vec<Contact>,
    },
    /// Contacts at a port expander of eight lines.
    Pcf8574 {
        /// 0x20 to 0x27 or 0x38 to 0x3F.
        address: u8,
        /// One channel each, in the same order.
        contacts: Vec<Contact>,
    },
    /// Contacts at GPIO lines.
    GpioInputs {
        /// One channel each, in the same order.
        contacts: Vec<Contact>,
    },
    /// A pulse flow meter at a GPIO pin.
    FlowMeter {
        /// BCM number.
        pin: u8,
        /// Pulses per litre.
        factor: PulseFactor,
    },
    /// A tipping bucket at a GPIO pin.
    RainGauge {
        /// BCM number.
        pin: u8,
        /// Millimetres of one tip.
        mm_per_tip: f64,
    },
    /// A temperature on the 1-Wire bus.
    Ds18b20 {
        /// As the kernel writes it: `28-` and twelve digits.
        rom: String,
    },
    /// A probe with Modbus registers.
    SoilProbe {
        /// 1 to 247.
        address: u8,
        /// What is in which register; one channel each, in the same order.
        profile: Profile,
    },
    /// Valves and a flow meter.
    DripController {
        /// 0x2C to 0x2F.
        address: u8,
        /// Pulses per litre.
        factor: PulseFactor,
    },
    /// Relays whose leases the guard keeps.
    GuardedOutputs,
}

impl DeviceKind {
    /// As in the configuration and the catalog.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            DeviceKind::Sht4x { .. } => "sht4x",
            DeviceKind::Sht3x { .. } => "sht3x",
            DeviceKind::Bme280 { .. } => "bme280",
            DeviceKind::Bh1750 { .. } => "bh1750",
            DeviceKind::Scd4x { .. } => "scd4x",
            DeviceKind::Scd30 { .. } => "scd30",
            DeviceKind::Ads1115 { .. } => "ads1115",
            DeviceKind::Ina219 { .. } => "ina219",
            DeviceKind::Ezo { probe, .. } => probe.name(),
            DeviceKind::Mcp23017 { .. } => "mcp23017",
            DeviceKind::Pcf8574 { .. } => "pcf8574",
            DeviceKind::GpioInputs { .. } => "gpio-inputs",
            DeviceKind::FlowMeter { .. } => "flow-meter",
            DeviceKind::RainGauge { .. } => "rain-gauge",
            DeviceKind::Ds18b20 { .. } => "ds18b20",
            DeviceKind::SoilProbe { .. } => "soil-probe",
            DeviceKind::DripController { .. } => "drip-controller",
            DeviceKind::GuardedOutputs => "guarded-outputs",
        }
    }
}

/// One input of an analog converter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnalogInput {
    /// Which.
    pub input: Input,
    /// From volts to the quantity.
    pub conversion: Conversion,
    /// Decimal exponent of the channel.
    pub exponent: i8,
}

/// One contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Line of the expander, or BCM number.
    pub line: u8,
    /// Which level counts as 1.
    pub active: Level,
    /// How long a new level must last, in milliseconds.
    pub debounce_ms: u64,
    /// A change between two readings counts as 1, too, where the chip remembers it: a button.
    pub latched: bool,
}

/// The level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Near ground: a closed contact to ground.
    Low,
    /// Pulled up: an open contact.
    High,
}

/// One quantity of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// Its name in series.
    pub name: ChannelName,
    /// Unit in UCUM or SenML notation.
    pub unit: String,
    /// Values are whole multiples of `10^exponent`.
    pub exponent: i8,
    /// Its name for people.
    pub label: String,
}
