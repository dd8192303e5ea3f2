//! The devices of a configuration with the drivers that ship, on the simulated machine's buses.

use anyhow::{Context, bail};
use furrow_drivers::{Ads1115, DripController, PulseFactor, SensorError, Sht4x};
use furrow_gateway::config::{AnalogInput, DeviceKind, Settings};
use furrow_gateway::devices::{Job, Outcome};
use furrow_irrigation::OutputStatus;
use furrow_sim::{InProcess, InProcessI2c};
use furrow_wire::Decimal;

/// See the module.
pub(crate) struct Devices(Vec<Driver>);

enum Driver {
    Air(Sht4x<InProcessI2c, InProcess>),
    Analog(Ads1115<InProcessI2c, InProcess>, Vec<AnalogInput>),
    Drip(DripController<InProcessI2c>, PulseFactor),
}

type Readings = Vec<Result<Decimal, SensorError>>;

impl Devices {
    pub(crate) fn new(settings: &Settings, machine: &InProcess) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for device in settings.devices() {
            let bus = settings.buses().get(device.bus).and_then(|bus| bus.i2c);
            let i2c = machine.i2c(bus.context("a device hangs on no I2C bus")?);
            let delay = machine.clone();
            let driver = match &device.kind {
                DeviceKind::Sht4x { address } => Sht4x::new(i2c, delay, *address).map(Driver::Air),
                DeviceKind::Ads1115 { address, inputs } => Ads1115::new(i2c, delay, *address)
                    .map(|chip| Driver::Analog(chip, inputs.clone())),
                DeviceKind::DripController { address, factor } => {
                    DripController::new(i2c, *address).map(|chip| Driver::Drip(chip, *factor))
                }
                other @ (DeviceKind::Sht3x { .. }
                | DeviceKind::Bme280 { .. }
                | DeviceKind::Bh1750 { .. }
                | DeviceKind::Scd4x { .. }
                | DeviceKind::Scd30 { .. }
                | DeviceKind::Ina219 { .. }
                | DeviceKind::Ezo { .. }
                | DeviceKind::Mcp23017 { .. }
                | DeviceKind::Pcf8574 { .. }
                | DeviceKind::GpioInputs { .. }
                | DeviceKind::FlowMeter { .. }
                | DeviceKind::RainGauge { .. }
                | DeviceKind::Ds18b20 { .. }
                | DeviceKind::SoilProbe { .. }
                | DeviceKind::GuardedOutputs) => {
                    bail!("the season has no driver for {}", other.name())
                }
            };
            all.push(driver.context("a device of the configuration")?);
        }
        Ok(Self(all))
    }

    /// All channels of a device.
    pub(crate) fn read(&mut self, device: usize) -> Readings {
        match self.0.get_mut(device) {
            None => Vec::new(),
            Some(Driver::Air(chip)) => {
                let air = chip.read().map(|air| vec![air.temperature, air.humidity]);
                spread(air, 2)
            }
            Some(Driver::Analog(chip, inputs)) => {
                let readings = inputs.iter().map(|one| {
                    let counts = chip.counts(one.input)?;
                    one.conversion.raw(counts, one.exponent)
                });
                readings.collect()
            }
            Some(Driver::Drip(chip, factor)) => {
                let status = chip.status().map(|status| {
                    let open = Decimal {
                        mantissa: i64::from(status.confirmed),
                        exponent: 0,
                    };
                    vec![factor.volume(u64::from(status.pulses)), open]
                });
                spread(status, 2)
            }
        }
    }

    /// A job for a controller, done at once.
    pub(crate) fn execute(&mut self, job: Job, settings: &Settings) -> Option<Outcome> {
        match job {
            Job::Lease { output, seconds } => {
                let (chip, number) = self.output(settings, output)?;
                Some(Outcome::Lease(chip.set_lease(number, seconds)))
            }
            Job::Status { output } => {
                let (chip, number) = self.output(settings, output)?;
                let status = chip.status().map(|status| {
                    let bit = |bits: u8| bits >> number.saturating_sub(1) & 1 == 1;
                    OutputStatus {
                        commanded: bit(status.commanded),
                        confirmed: bit(status.confirmed),
                        fault: bit(status.faults),
                        was_reset: status.was_reset,
                        lease_ran_out: status.lease_ran_out,
                        pulses: Some(status.pulses),
                    }
                });
                Some(Outcome::Status(status))
            }
            Job::ClearFlags { output } => {
                let (chip, _) = self.output(settings, output)?;
                Some(Outcome::Cleared(chip.clear()))
            }
            Job::Prepare { .. } | Job::Read { .. } | Job::Survey { .. } => None,
        }
    }

    fn output(
        &mut self,
        settings: &Settings,
        place: usize,
    ) -> Option<(&mut DripController<InProcessI2c>, u8)> {
        let place = settings.output(place)?;
        match self.0.get_mut(place.controller)? {
            Driver::Drip(chip, _) => Some((chip, place.output)),
            Driver::Air(_) | Driver::Analog(_, _) => None,
        }
    }
}

/// One outcome for all channels of a device.
fn spread(outcome: Result<Vec<Decimal>, SensorError>, channels: usize) -> Readings {
    match outcome {
        Ok(values) => values.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); channels],
    }
}
