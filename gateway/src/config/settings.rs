//! The configuration as it holds: typed, checked, and only made by [`Settings::load`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use furrow_drivers::PulseFactor;
use furrow_drivers::ads1115::Input;
use furrow_drivers::analog::Conversion;
use furrow_drivers::scd4x::Scd4xSettings;
use furrow_irrigation::ZonePlan;
use furrow_wire::{ChannelName, CooperativeId, DeviceId, GatewayId, GreenhouseId, ZoneId};
use jiff::tz::TimeZone;

/// Everything that is configured. Lists keep the order of the file; other parts of the program name
/// a bus, device or zone by its place in them.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) gateway: GatewaySettings,
    pub(super) mqtt: MqttSettings,
    pub(super) journal: JournalSettings,
    pub(super) irrigation: IrrigationSettings,
    pub(super) buses: Vec<BusSettings>,
    pub(super) devices: Vec<DeviceSettings>,
    pub(super) zones: Vec<ZoneSettings>,
}

impl Settings {
    /// Who and where this gateway is.
    #[must_use]
    pub fn gateway(&self) -> &GatewaySettings {
        &self.gateway
    }

    /// The link to the broker.
    #[must_use]
    pub fn mqtt(&self) -> &MqttSettings {
        &self.mqtt
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &JournalSettings {
        &self.journal
    }

    /// What all zones share.
    #[must_use]
    pub fn irrigation(&self) -> &IrrigationSettings {
        &self.irrigation
    }

    /// At least one; all of one kind, and simulated ones at one address: the field has one clock.
    #[must_use]
    pub fn buses(&self) -> &[BusSettings] {
        &self.buses
    }

    /// At least one.
    #[must_use]
    pub fn devices(&self) -> &[DeviceSettings] {
        &self.devices
    }

    /// May be empty.
    #[must_use]
    pub fn zones(&self) -> &[ZoneSettings] {
        &self.zones
    }

    /// All channels with the place of their device, in the order of the catalog: devices in order,
    /// each with its channels in order.
    pub fn channels(&self) -> impl Iterator<Item = (usize, &DeviceSettings, &ChannelSettings)> {
        self.devices.iter().enumerate().flat_map(|(index, device)| {
            device
                .channels
                .iter()
                .map(move |channel| (index, device, channel))
        })
    }

    /// The irrigation core's configuration.
    #[must_use]
    pub fn irrigation_config(&self) -> furrow_irrigation::Config {
        furrow_irrigation::Config {
            zones: self.zones.iter().map(|zone| zone.plan.clone()).collect(),
            time_zone: self.gateway.time_zone.clone(),
            lease_seconds: self.irrigation.lease_seconds,
            max_open_zones: self.irrigation.max_open_zones,
        }
    }
}

/// Who and where this gateway is.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// The cooperative that owns the data.
    pub cooperative: CooperativeId,
    /// This gateway.
    pub id: GatewayId,
    /// The greenhouse it stands in.
    pub greenhouse: GreenhouseId,
    /// The greenhouse's name for people.
    pub greenhouse_name: String,
    /// Local time, for schedules and budgets.
    pub time_zone: TimeZone,
    /// Where the journal, the control socket and locks are.
    pub state_dir: PathBuf,
}

/// The link to the broker.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login; `{cooperative}/{gateway}` unless given.
    pub username: String,
    /// Password, from the file or the key.
    pub password: Secret,
    /// How often a batch is sent while there is a link.
    pub send_interval: Duration,
    /// Of the outbox's window, the packets that a backlog can't take: 1 to 31.
    pub live_packets: usize,
    /// PEM certificates that the broker's is checked against; `None` is plain TCP.
    pub ca_pem: Option<String>,
}

/// The journal.
#[derive(Debug, Clone, Copy)]
pub struct JournalSettings {
    /// What a power cut can cost: readings younger than this.
    pub commit_interval: Duration,
    /// Largest size of all segments, in bytes.
    pub cap_bytes: u64,
}

/// What all zones share.
#[derive(Debug, Clone, Copy)]
pub struct IrrigationSettings {
    /// Seconds of one valve lease.
    pub lease_seconds: u16,
    /// How many zones may be open at once.
    pub max_open_zones: usize,
}

/// One bus: an I2C bus with the GPIO pins beside it.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Its name.
    pub id: DeviceId,
    /// What is behind it.
    pub kind: BusKind,
    /// Number of the I2C bus, as in `/dev/i2c-N`.
    pub i2c: u8,
}

/// What is behind a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusKind {
    /// The Pi's own pins.
    Pi,
    /// A simulator.
    Simulated {
        /// `tcp:HOST:PORT` or `unix:PATH`.
        address: String,
    },
}

/// One device.
#[derive(Debug, Clone)]
pub struct DeviceSettings {
    /// Its id in series names.
    pub id: DeviceId,
    /// Its name for people.
    pub name: String,
    /// Place of its bus.
    pub bus: usize,
    /// How often it is read.
    pub every: Duration,
    /// What it is.
    pub kind: DeviceKind,
    /// What a reading yields, in this order.
    pub channels: Vec<ChannelSettings>,
}

impl DeviceSettings {
    /// The I2C address, for devices that have one.
    #[must_use]
    pub fn address(&self) -> Option<u8> {
        match &self.kind {
            DeviceKind::Sht4x { address }
            | DeviceKind::Ads1115 { address, .. }
            | DeviceKind::DripController { address, .. } => Some(*address),
            DeviceKind::Scd4x { .. } => Some(furrow_drivers::scd4x::ADDRESS),
            DeviceKind::FlowMeter { .. } => None,
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
    /// Carbon dioxide; always at 0x62.
    Scd4x {
        /// How it is set up.
        settings: Scd4xSettings,
    },
    /// Analog inputs.
    Ads1115 {
        /// 0x48 to 0x4B.
        address: u8,
        /// One channel each, in the same order.
        inputs: Vec<AnalogInput>,
    },
    /// A pulse flow meter at a GPIO pin.
    FlowMeter {
        /// BCM number.
        pin: u8,
        /// Pulses per litre.
        factor: PulseFactor,
    },
    /// Valves and a flow meter.
    DripController {
        /// 0x2C to 0x2F.
        address: u8,
        /// Pulses per litre.
        factor: PulseFactor,
    },
}

impl DeviceKind {
    /// As in the configuration and the catalog.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            DeviceKind::Sht4x { .. } => "sht4x",
            DeviceKind::Scd4x { .. } => "scd4x",
            DeviceKind::Ads1115 { .. } => "ads1115",
            DeviceKind::FlowMeter { .. } => "flow-meter",
            DeviceKind::DripController { .. } => "drip-controller",
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

/// One zone.
#[derive(Debug, Clone)]
pub struct ZoneSettings {
    /// Its id.
    pub id: ZoneId,
    /// Its name for people.
    pub name: String,
    /// Place of its drip controller in the devices.
    pub controller: usize,
    /// Output of the controller, 1 to 8.
    pub output: u8,
    /// Limits, schedule and flow meter factor.
    pub plan: ZonePlan,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl GatewaySettings {
    /// The control socket of a running gateway.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.state_dir.join("control.sock")
    }

    /// The journal's folder.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        Path::new(&self.state_dir).join("journal")
    }
}
