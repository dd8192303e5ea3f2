//! A device of the settings with its driver, and what a step of reading it leads to.

use std::collections::BTreeMap;
use std::time::Duration;

use furrow_drivers::tca9548a::OpenMux;
use furrow_drivers::{
    Ads1115, Bh1750, Bme280, Cause, DripController, Ds18b20, Ezo, FlowMeter, GpioContacts, Ina219,
    Mcp23017, Pcf8574, PulseFactor, RainGauge, RegisterProbe, Scd4x, Scd30, Segment, SensorError,
    Sht3x, Sht4x, Step,
};
use furrow_irrigation::OutputStatus;
use furrow_wire::Decimal;

use super::contacts::Contacts;
use crate::bus::{
    Field, FieldClock, FieldDelay, FieldI2c, FieldInput, FieldPulses, OneWireFile, Rs485,
    SharedI2c, SharedPulses,
};
use crate::config::{
    AnalogInput, BusKind, BusSettings, Contact, DeviceKind, DeviceSettings, Settings,
};
use crate::guard::client::GuardClient;

/// The longest wait for a conversion, in milliseconds: an EZO circuit's, and a little. A sensor that
/// needs longer has nothing to read yet.
const STEP_WAIT_MAX_MS: u64 = 1_000;
/// A sensor that was stopped is waited for this long before it is set up, in milliseconds.
const STOPPED_MAX_MS: u64 = 600;
/// Edges of a flow meter closer together are the contact's bounce. Half of the shortest pulse of a
/// 225 Hz meter is 2.2 ms.
const FLOW_DEBOUNCE: Duration = Duration::from_millis(1);
/// Tips closer together are the reed's bounce: a bucket can't tip twice in a tenth of a second.
const TIP_DEBOUNCE: Duration = Duration::from_millis(100);

/// Readings in the order of the device's channels.
pub(super) type Readings = Vec<Result<Decimal, SensorError>>;

/// What a step of a reading led to.
#[derive(Debug)]
pub(super) enum Progress {
    /// To be gone on with then, in monotonic milliseconds.
    Wait { until_ms: u64 },
    /// Done.
    Done(Readings),
}

type Bus = Segment<SharedI2c<FieldI2c>>;

/// What all devices of a bus share.
pub(super) struct Shared<'a> {
    pub(super) field: &'a Field,
    pub(super) bus: &'a BusSettings,
    /// `None` on a bus without I2C.
    pub(super) i2c: Option<&'a SharedI2c<FieldI2c>>,
    /// The serial line; `None` on other buses.
    pub(super) line: Option<&'a Rs485>,
    pub(super) open: &'a OpenMux,
    pub(super) delay: &'a FieldDelay,
    pub(super) meters: &'a Meters,
}

impl Shared<'_> {
    /// The counter of a flow meter, shared with the zones that name it.
    fn meter(&self, place: usize, pin: u8) -> SharedPulses {
        let own = || SharedPulses::new(self.field.pulses(&self.bus.kind, pin, FLOW_DEBOUNCE));
        self.meters.get(&place).cloned().unwrap_or_else(own)
    }
}

/// Flow meters that zones name, by the place of their device.
pub(super) type Meters = BTreeMap<usize, SharedPulses>;

/// Opens the flow meters that zones name.
pub(super) fn meters(settings: &Settings, field: &Field) -> Meters {
    let named = settings.zones().iter().filter_map(|zone| zone.meter);
    let open = |place: usize| {
        let device = settings.devices().get(place)?;
        let bus = settings.buses().get(device.bus)?;
        let DeviceKind::FlowMeter { pin, .. } = device.kind else {
            return None;
        };
        let counter = field.pulses(&bus.kind, pin, FLOW_DEBOUNCE);
        Some((place, SharedPulses::new(counter)))
    };
    let places: std::collections::BTreeSet<usize> = named.collect();
    places.into_iter().filter_map(open).collect()
}

/// A driver for one device.
pub(super) enum Driver {
    Sht4x(Sht4x<Bus, FieldDelay>),
    Sht3x(Sht3x<Bus>),
    Bme280(Bme280<Bus>),
    Bh1750(Bh1750<Bus>),
    Scd4x(Scd4x<Bus, FieldDelay>),
    Scd30(Scd30<Bus, FieldDelay>),
    Ads1115 {
        adc: Ads1115<Bus, FieldDelay>,
        inputs: Vec<AnalogInput>,
    },
    Ina219(Ina219<Bus>),
    Ezo(Ezo<Bus>),
    Contacts(Contacts),
    FlowMeter(FlowMeter<SharedPulses>),
    RainGauge(RainGauge<FieldPulses>),
    Ds18b20(Ds18b20<OneWireFile>),
    SoilProbe(RegisterProbe<Rs485>),
    Drip {
        controller: DripController<Bus>,
        factor: PulseFactor,
    },
    Guard(GuardClient),
}

impl Driver {
    /// `place` is that of the device in the settings.
    pub(super) fn new(
        place: usize,
        device: &DeviceSettings,
        on: &Shared<'_>,
    ) -> Result<Self, SensorError> {
        let wired = || refused("bus", "the device's bus is not there");
        let bus = || {
            let i2c = on.i2c.ok_or_else(wired)?.clone();
            Ok::<_, SensorError>(Segment::new(i2c, device.route, on.open.clone()))
        };
        let delay = || on.delay.clone();
        let contacts = |reader, of: &[Contact]| Self::Contacts(Contacts::new(reader, of, false));
        Ok(match &device.kind {
            DeviceKind::Sht4x { address } => Self::Sht4x(Sht4x::new(bus()?, delay(), *address)?),
            DeviceKind::Sht3x { address } => Self::Sht3x(Sht3x::new(bus()?, *address)?),
            DeviceKind::Bme280 { address } => Self::Bme280(Bme280::new(bus()?, *address)?),
            DeviceKind::Bh1750 {
                address,
                measurement_time,
            } => Self::Bh1750(Bh1750::new(bus()?, *address, *measurement_time)?),
            DeviceKind::Scd4x { settings } => Self::Scd4x(Scd4x::new(bus()?, delay(), *settings)),
            DeviceKind::Scd30 { settings } => Self::Scd30(Scd30::new(bus()?, delay(), *settings)),
            DeviceKind::Ads1115 { address, inputs } => Self::Ads1115 {
                adc: Ads1115::new(bus()?, delay(), *address)?,
                inputs: inputs.clone(),
            },
            DeviceKind::Ina219 {
                address,
                shunt_ohms,
            } => Self::Ina219(Ina219::new(bus()?, *address, *shunt_ohms)?),
            DeviceKind::Ezo { probe, address } => Self::Ezo(Ezo::new(bus()?, *probe, *address)),
            DeviceKind::Mcp23017 {
                address,
                contacts: of,
            } => contacts(Box::new(Mcp23017::new(bus()?, *address)?), of),
            DeviceKind::Pcf8574 {
                address,
                contacts: of,
            } => contacts(Box::new(Pcf8574::new(bus()?, *address)?), of),
            DeviceKind::GpioInputs { contacts } => {
                let reader = Box::new(GpioContacts::new(lines(on, contacts)));
                Self::Contacts(Contacts::new(reader, contacts, true))
            }
            DeviceKind::FlowMeter { pin, factor } => {
                Self::FlowMeter(FlowMeter::new(on.meter(place, *pin), *factor))
            }
            DeviceKind::RainGauge { pin, mm_per_tip } => {
                let counter = on.field.pulses(&on.bus.kind, *pin, TIP_DEBOUNCE);
                Self::RainGauge(RainGauge::new(counter, *mm_per_tip)?)
            }
            DeviceKind::Ds18b20 { rom } => Self::one_wire(on, rom).ok_or_else(wired)?,
            DeviceKind::GuardedOutputs => Self::guard(on).ok_or_else(wired)?,
            DeviceKind::SoilProbe { address, profile } => {
                let line = on.line.ok_or_else(wired)?.clone();
                Self::SoilProbe(RegisterProbe::new(line, *address, profile.clone())?)
            }
            DeviceKind::DripController { address, factor } => Self::Drip {
                controller: DripController::new(bus()?, *address)?,
                factor: *factor,
            },
        })
    }

    /// `None` on another bus.
    fn one_wire(on: &Shared<'_>, rom: &str) -> Option<Self> {
        match &on.bus.kind {
            BusKind::OneWire { root } => {
                Some(Self::Ds18b20(Ds18b20::new(OneWireFile::new(root, rom))))
            }
            BusKind::Pi
            | BusKind::Linux { .. }
            | BusKind::Simulated { .. }
            | BusKind::Rs485(_)
            | BusKind::Guard { .. } => None,
        }
    }

    /// `None` on another bus.
    fn guard(on: &Shared<'_>) -> Option<Self> {
        match &on.bus.kind {
            BusKind::Guard { socket } => {
                let clock = on.field.clock().clone();
                Some(Self::Guard(GuardClient::new(socket, clock)))
            }
            BusKind::Pi
            | BusKind::Linux { .. }
            | BusKind::Simulated { .. }
            | BusKind::Rs485(_)
            | BusKind::OneWire { .. } => None,
        }
    }

    /// Brings the device into its measuring mode. Answers when the first reading can be had.
    pub(super) fn prepare(
        &mut self,
        clock: &FieldClock,
        delay: &mut FieldDelay,
    ) -> Result<Option<u64>, SensorError> {
        match self {
            Self::Scd4x(sensor) => {
                let mut step = sensor.step(clock.now().mono_ms())?;
                if let Step::Wait { until_ms } = step
                    && wait(until_ms, STOPPED_MAX_MS, clock, delay)
                {
                    step = sensor.step(clock.now().mono_ms())?;
                }
                Ok(ready(&step))
            }
            Self::Scd30(sensor) => Ok(ready(&sensor.step(clock.now().mono_ms())?)),
            Self::Ina219(meter) => meter.set_up().map(|()| None),
            // The first reading starts the rate; it has none itself.
            Self::FlowMeter(meter) => meter.read(clock.now().mono_ms()).map(|_| None),
            Self::RainGauge(gauge) => gauge.read(clock.now().mono_ms()).map(|_| None),
            Self::Drip { controller, .. } => controller.status().map(|_| None),
            Self::Guard(guard) => guard.open_outputs().map(|_| None),
            Self::Sht4x(_)
            | Self::Sht3x(_)
            | Self::Bme280(_)
            | Self::Bh1750(_)
            | Self::Ads1115 { .. }
            | Self::Ezo(_)
            | Self::Contacts(_)
            | Self::Ds18b20(_)
            | Self::SoilProbe(_) => Ok(None),
        }
    }

    /// Does the next thing that can be done in some milliseconds.
    pub(super) fn step(&mut self, now_ms: u64) -> Progress {
        match self {
            Self::Sht4x(sensor) => done(
                sensor.read().map(|air| vec![air.temperature, air.humidity]),
                2,
            ),
            Self::Sht3x(sensor) => progress(sensor.step(now_ms), now_ms, 2, |air| {
                vec![air.temperature, air.humidity]
            }),
            Self::Bme280(sensor) => progress(sensor.step(now_ms), now_ms, 3, |air| {
                vec![air.pressure, air.temperature, air.humidity]
            }),
            Self::Bh1750(sensor) => progress(sensor.step(now_ms), now_ms, 1, |lux| vec![lux]),
            Self::Scd4x(sensor) => progress(sensor.step(now_ms), now_ms, 3, |air| {
                vec![air.co2, air.temperature, air.humidity]
            }),
            Self::Scd30(sensor) => progress(sensor.step(now_ms), now_ms, 3, |air| {
                vec![air.co2, air.temperature, air.humidity]
            }),
            Self::Ads1115 { adc, inputs } => {
                let readings = inputs.iter().map(|one| {
                    let counts = adc.counts(one.input)?;
                    one.conversion.raw(counts, one.exponent)
                });
                Progress::Done(readings.collect())
            }
            Self::Ina219(meter) => {
                let power = meter.read();
                done(power.map(|p| vec![p.voltage, p.current, p.power]), 3)
            }
            Self::Ezo(sensor) => progress(sensor.step(now_ms), now_ms, 1, |value| vec![value]),
            Self::Contacts(contacts) => contacts.step(now_ms),
            Self::FlowMeter(meter) => Progress::Done(match meter.read(now_ms) {
                Ok(reading) => vec![Ok(reading.volume), reading.flow],
                Err(error) => vec![Err(error.clone()), Err(error)],
            }),
            Self::RainGauge(gauge) => Progress::Done(match gauge.read(now_ms) {
                Ok(reading) => vec![Ok(reading.amount), reading.rate],
                Err(error) => vec![Err(error.clone()), Err(error)],
            }),
            Self::Ds18b20(sensor) => done(sensor.read().map(|value| vec![value]), 1),
            Self::SoilProbe(probe) => Progress::Done(probe.read()),
            Self::Drip { controller, factor } => {
                let status = controller.status().map(|status| {
                    let open = Decimal {
                        mantissa: i64::from(status.confirmed),
                        exponent: 0,
                    };
                    vec![factor.volume(u64::from(status.pulses)), open]
                });
                done(status, 2)
            }
            Self::Guard(guard) => {
                let open = guard.open_outputs().map(|open| Decimal {
                    mantissa: i64::from(open),
                    exponent: 0,
                });
                done(open.map(|open| vec![open]), 1)
            }
        }
    }

    pub(super) fn set_lease(&mut self, output: u8, seconds: u16) -> Result<(), SensorError> {
        if let Self::Guard(guard) = self {
            return guard.set_lease(output, seconds);
        }
        self.controller()?.set_lease(output, seconds)
    }

    pub(super) fn output(&mut self, output: u8) -> Result<OutputStatus, SensorError> {
        if let Self::Guard(guard) = self {
            return guard.output(output);
        }
        let status = self.controller()?.status()?;
        if !(1..=status.outputs).contains(&output) {
            return Err(refused("output", "the controller has no such output"));
        }
        let bit = |bits: u8| bits >> output.saturating_sub(1) & 1 == 1;
        Ok(OutputStatus {
            commanded: bit(status.commanded),
            confirmed: bit(status.confirmed),
            fault: bit(status.faults),
            was_reset: status.was_reset,
            lease_ran_out: status.lease_ran_out,
            pulses: Some(status.pulses),
        })
    }

    /// A drip controller's flags are those of all outputs.
    pub(super) fn clear_flags(&mut self, output: u8) -> Result<(), SensorError> {
        if let Self::Guard(guard) = self {
            return guard.clear(output);
        }
        self.controller()?.clear()
    }

    fn controller(&mut self) -> Result<&mut DripController<Bus>, SensorError> {
        match self {
            Self::Drip { controller, .. } => Ok(controller),
            Self::Sht4x(_)
            | Self::Sht3x(_)
            | Self::Bme280(_)
            | Self::Bh1750(_)
            | Self::Scd4x(_)
            | Self::Scd30(_)
            | Self::Ads1115 { .. }
            | Self::Ina219(_)
            | Self::Ezo(_)
            | Self::Contacts(_)
            | Self::FlowMeter(_)
            | Self::RainGauge(_)
            | Self::Ds18b20(_)
            | Self::SoilProbe(_)
            | Self::Guard(_) => Err(refused("output", "the device has no outputs")),
        }
    }
}

fn lines(on: &Shared<'_>, contacts: &[Contact]) -> Vec<FieldInput> {
    let line = |contact: &Contact| {
        let debounce = Duration::from_millis(contact.debounce_ms);
        on.field.input(&on.bus.kind, contact.line, debounce)
    };
    contacts.iter().map(line).collect()
}

/// One outcome for all channels of a device.
pub(super) fn spread(outcome: Result<Vec<Decimal>, SensorError>, channels: usize) -> Readings {
    match outcome {
        Ok(values) => values.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); channels],
    }
}

fn done(outcome: Result<Vec<Decimal>, SensorError>, channels: usize) -> Progress {
    Progress::Done(spread(outcome, channels))
}

/// A driver's step as a device's. What takes longer than a conversion is no reading.
fn progress<T>(
    step: Result<Step<T>, SensorError>,
    now_ms: u64,
    channels: usize,
    values: impl FnOnce(T) -> Vec<Decimal>,
) -> Progress {
    match step {
        Ok(Step::Reading(reading)) => done(Ok(values(reading)), channels),
        Ok(Step::Wait { until_ms })
            if until_ms > now_ms && until_ms.saturating_sub(now_ms) <= STEP_WAIT_MAX_MS =>
        {
            Progress::Wait { until_ms }
        }
        Ok(Step::Wait { .. }) => done(Err(not_ready()), channels),
        Err(error) => done(Err(error), channels),
    }
}

fn ready<T>(step: &Step<T>) -> Option<u64> {
    match step {
        Step::Wait { until_ms } => Some(*until_ms),
        Step::Reading(_) => None,
    }
}

/// Waits unless that would be too long; whether it did.
fn wait(until_ms: u64, longest_ms: u64, clock: &FieldClock, delay: &mut FieldDelay) -> bool {
    use embedded_hal::delay::DelayNs as _;
    let wait_ms = until_ms.saturating_sub(clock.now().mono_ms());
    if wait_ms > longest_ms {
        return false;
    }
    delay.delay_ms(u32::try_from(wait_ms).unwrap_or(u32::MAX).saturating_add(1));
    true
}

fn not_ready() -> SensorError {
    SensorError {
        chip: "sensor",
        address: None,
        register: "measurement",
        cause: Cause::NotReady,
    }
}

fn refused(register: &'static str, why: &'static str) -> SensorError {
    SensorError {
        chip: "device",
        address: None,
        register,
        cause: Cause::Refused(why),
    }
}
