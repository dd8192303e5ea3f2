//! The configuration as it holds: typed, checked, and only made by [`Settings::load`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use furrow_gateway_core::derived::{Formula, Plan};
use furrow_irrigation::{InputPlan, Output, SitePlan, ZoneIndex, ZonePlan};
use furrow_wire::{CooperativeId, DeviceId, GatewayId, GreenhouseId, ZoneId};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::alarm::AlarmSettings;
use super::button::ButtonSettings;
use super::device::{ChannelSettings, DeviceSettings};
use super::guard::GuardSettings;
use super::planting::PlantingSettings;

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
    pub(super) derived: Vec<DerivedSettings>,
    pub(super) zones: Vec<ZoneSettings>,
    pub(super) guard: Option<GuardSettings>,
    pub(super) page: Option<PageSettings>,
    pub(super) buttons: Vec<ButtonSettings>,
    pub(super) plantings: Vec<PlantingSettings>,
    pub(super) alarms: AlarmSettings,
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

    /// At least one. Either all I2C buses are the machine's own, or all are simulated, at one address:
    /// the field has one clock. 1-Wire and RS-485 have none and stand beside either.
    #[must_use]
    pub fn buses(&self) -> &[BusSettings] {
        &self.buses
    }

    /// Whether a lock-step simulation, and the end of the process, wait until ingest has taken what
    /// was read. Only a simulated bus can say no.
    #[must_use]
    pub fn waits_for_delivery(&self) -> bool {
        self.buses.iter().all(|bus| match bus.kind {
            BusKind::Simulated {
                waits_for_delivery, ..
            } => waits_for_delivery,
            BusKind::Pi
            | BusKind::Linux { .. }
            | BusKind::OneWire { .. }
            | BusKind::Rs485(_)
            | BusKind::Guard { .. } => true,
        })
    }

    /// At least one.
    #[must_use]
    pub fn devices(&self) -> &[DeviceSettings] {
        &self.devices
    }

    /// What is calculated; may be empty.
    #[must_use]
    pub fn derived(&self) -> &[DerivedSettings] {
        &self.derived
    }

    /// May be empty.
    #[must_use]
    pub fn zones(&self) -> &[ZoneSettings] {
        &self.zones
    }

    /// The page on the gateway, if there is one.
    #[must_use]
    pub fn page(&self) -> Option<&PageSettings> {
        self.page.as_ref()
    }

    /// Buttons at the gateway; may be empty.
    #[must_use]
    pub fn buttons(&self) -> &[ButtonSettings] {
        &self.buttons
    }

    /// What grows where; may be empty.
    #[must_use]
    pub fn plantings(&self) -> &[PlantingSettings] {
        &self.plantings
    }

    /// What grows in a zone on a day. Without a date only what a zone has alone is known.
    #[must_use]
    pub fn planting(&self, zone: ZoneIndex, date: Option<Date>) -> Option<&PlantingSettings> {
        let mut here = self
            .plantings
            .iter()
            .filter(|planting| planting.zones.contains(&zone));
        match date {
            Some(date) => here.find(|planting| planting.grows_on(date)),
            None => here.next().filter(|_| here.next().is_none()),
        }
    }

    /// The same wiring and limits with what another configuration says of plantings, schedules, rules
    /// and season. Both are of one local file, so zones and channels are the same.
    #[must_use]
    pub fn with_watering_of(&self, other: Settings) -> Self {
        Self {
            irrigation: other.irrigation,
            zones: other.zones,
            plantings: other.plantings,
            ..self.clone()
        }
    }

    /// Siren, beacon and what they are for.
    #[must_use]
    pub fn alarms(&self) -> &AlarmSettings {
        &self.alarms
    }

    /// The outputs that the guard owns, if there are any.
    #[must_use]
    pub fn guard(&self) -> Option<&GuardSettings> {
        self.guard.as_ref()
    }

    /// All measured channels with the place of their device, in the order of the catalog: devices in
    /// order, each with its channels in order. The derived ones follow.
    pub fn channels(&self) -> impl Iterator<Item = (usize, &DeviceSettings, &ChannelSettings)> {
        self.devices.iter().enumerate().flat_map(|(index, device)| {
            device
                .channels
                .iter()
                .map(move |channel| (index, device, channel))
        })
    }

    /// Where an output is connected, by its place: the zones', then those of the supply.
    #[must_use]
    pub fn output(&self, place: usize) -> Option<OutputSettings> {
        match self.zones.get(place) {
            Some(zone) => Some(OutputSettings {
                controller: zone.controller,
                output: zone.output,
                meter: zone.meter,
            }),
            None => *self
                .irrigation
                .supply
                .get(place.checked_sub(self.zones.len())?)?,
        }
    }

    /// All outputs in the order of their places; `None` for what the supply does not have.
    pub fn outputs(&self) -> impl Iterator<Item = Option<OutputSettings>> {
        let places = self.zones.len() + self.irrigation.supply.len();
        (0..places).map(|place| self.output(place))
    }

    /// The place of an output.
    #[must_use]
    pub fn place_of(&self, output: Output) -> usize {
        let zones = self.zones.len();
        match output {
            Output::Zone(zone) => zone.0,
            Output::MasterValve => zones,
            Output::Pump => zones + 1,
            Output::Dosing => zones + 2,
        }
    }

    /// The output at a place.
    #[must_use]
    pub fn output_at(&self, place: usize) -> Option<Output> {
        match place.checked_sub(self.zones.len()) {
            None => Some(Output::Zone(ZoneIndex(place))),
            Some(0) => Some(Output::MasterValve),
            Some(1) => Some(Output::Pump),
            Some(2) => Some(Output::Dosing),
            Some(_) => None,
        }
    }

    /// The irrigation core's configuration.
    #[must_use]
    pub fn irrigation_config(&self) -> furrow_irrigation::Config {
        furrow_irrigation::Config {
            zones: self.zones.iter().map(|zone| zone.plan.clone()).collect(),
            inputs: self
                .irrigation
                .inputs
                .iter()
                .map(|input| input.plan.clone())
                .collect(),
            site: self.irrigation.site.clone(),
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
#[derive(Debug, Clone)]
pub struct IrrigationSettings {
    /// Seconds of one valve lease.
    pub lease_seconds: u16,
    /// How many zones may be open at once.
    pub max_open_zones: usize,
    /// Pump, tank, limits of all zones together.
    pub site: SitePlan,
    /// What rules and interlocks look at.
    pub inputs: Vec<InputSettings>,
    /// Master valve, pump and fertiliser pump, as far as there are any.
    pub supply: [Option<OutputSettings>; 3],
}

/// An output: a controller's, and what counts its water.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputSettings {
    /// Place of its drip controller, or of the guarded outputs, in the devices.
    pub controller: usize,
    /// Output of the controller, 1 to 8, or of the guard, 1 to 32.
    pub output: u8,
    /// Place of the flow meter that counts its water, where its controller has none.
    pub meter: Option<usize>,
}

/// A channel that rules or interlocks look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSettings {
    /// Its name, `device/channel`, and how long a value counts.
    pub plan: InputPlan,
    /// Its place in the catalog.
    pub channel: usize,
    /// Its decimal exponent.
    pub exponent: i8,
}

/// The page on the gateway.
#[derive(Debug, Clone)]
pub struct PageSettings {
    /// Where it listens.
    pub listen: std::net::SocketAddr,
    /// Whoever knows it may water and stop.
    pub pin: Secret,
}

/// What is calculated from measured channels.
#[derive(Debug, Clone, PartialEq)]
pub struct DerivedSettings {
    /// Its id in series names, as of a device.
    pub id: DeviceId,
    /// Its name for people.
    pub name: String,
    /// How, from which channels, and where the results are in the catalog.
    pub plan: Plan,
    /// The interval of its first input.
    pub every: Duration,
    /// What it yields, in this order.
    pub channels: Vec<ChannelSettings>,
}

impl DerivedSettings {
    /// As in the configuration and the catalog.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.plan.formula {
            Formula::Air => "air",
            Formula::Light(_) => "light",
            Formula::Evapotranspiration(_) => "et0",
        }
    }
}

/// One bus: an I2C bus with the GPIO pins beside it, the kernel's 1-Wire bus, or a serial line.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Its name.
    pub id: DeviceId,
    /// What is behind it.
    pub kind: BusKind,
    /// Number of the I2C bus, as in `/dev/i2c-N`; other buses have none, lines alone have none.
    pub i2c: Option<u8>,
    /// Its lines as pins, where it may be cleared by clocks.
    pub clear: Option<ClearPins>,
}

/// The lines of an I2C bus as GPIO lines (BCM numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClearPins {
    /// The clock.
    pub scl: u8,
    /// The data.
    pub sda: u8,
}

/// What is behind a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusKind {
    /// The Pi's own pins.
    Pi,
    /// Any board's, through the kernel's character devices.
    Linux {
        /// The chip of the GPIO lines: a path, or a name or label as `gpiodetect` shows them.
        gpio_chip: Option<String>,
    },
    /// A simulator.
    Simulated {
        /// `tcp:HOST:PORT` or `unix:PATH`.
        address: String,
        /// Whether lock-step time stands while too much waits for delivery. Without a broker it
        /// would stand for ever.
        waits_for_delivery: bool,
    },
    /// The kernel's 1-Wire bus.
    OneWire {
        /// The folder with a folder for each sensor.
        root: PathBuf,
    },
    /// Modbus RTU over a serial port.
    Rs485(SerialSettings),
    /// The guard, a process of its own that owns outputs without a lease of their own.
    Guard {
        /// Where it listens.
        socket: PathBuf,
    },
}

/// A serial line with its probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialSettings {
    /// The port, as in `/dev/ttyUSB0`.
    pub device: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// The parity bit; there is one stop bit.
    pub parity: Parity,
    /// From the end of a request to the beginning of its answer, at most.
    pub timeout: Duration,
}

impl fmt::Display for SerialSettings {
    /// As people write it: `9600 8N1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} 8{parity}1", self.baud)
    }
}

/// The parity bit of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// Without: 8N1, what nearly all probes leave the factory with.
    None,
    /// Even: 8E1, what the Modbus specification asks for.
    Even,
    /// Odd: 8O1.
    Odd,
}

/// One zone.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneSettings {
    /// Its id.
    pub id: ZoneId,
    /// Its name for people.
    pub name: String,
    /// Place of its drip controller, or of the guarded outputs, in the devices.
    pub controller: usize,
    /// Output of the controller, 1 to 8, or of the guard, 1 to 32.
    pub output: u8,
    /// Place of the flow meter that counts its water, where its controller has none.
    pub meter: Option<usize>,
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
