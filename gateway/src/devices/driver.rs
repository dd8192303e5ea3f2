//! A device of the settings with its driver, and what a reading of it yields.

use furrow_drivers::scd4x::Scd4xReading;
use furrow_drivers::{
    Ads1115, Cause, DripController, FlowMeter, PulseFactor, Scd4x, SensorError, Sht4x, Step,
};
use furrow_irrigation::OutputStatus;
use furrow_wire::Decimal;

use crate::bus::{FieldClock, FieldDelay, FieldI2c, FieldPulses, SharedI2c};
use crate::config::{AnalogInput, DeviceKind};

/// The longest pause between two steps of a reading that is waited for, in milliseconds: a sensor's
/// stop. What takes longer is no reading.
const STEP_WAIT_MAX_MS: u64 = 600;
/// Steps of one reading: stop, start, fetch.
const STEPS_MAX: usize = 3;

/// Readings in the order of the device's channels.
pub(super) type Readings = Vec<Result<Decimal, SensorError>>;

type Bus = SharedI2c<FieldI2c>;

/// A driver for one device.
pub(super) enum Driver {
    Sht4x(Sht4x<Bus, FieldDelay>),
    Scd4x(Scd4x<Bus, FieldDelay>),
    Ads1115 {
        adc: Ads1115<Bus, FieldDelay>,
        inputs: Vec<AnalogInput>,
    },
    FlowMeter(FlowMeter<FieldPulses>),
    Drip {
        controller: DripController<Bus>,
        factor: PulseFactor,
    },
}

impl Driver {
    pub(super) fn new(
        kind: &DeviceKind,
        bus: Bus,
        delay: FieldDelay,
        pulses: impl FnOnce(u8) -> FieldPulses,
    ) -> Result<Self, SensorError> {
        Ok(match kind {
            DeviceKind::Sht4x { address } => Self::Sht4x(Sht4x::new(bus, delay, *address)?),
            DeviceKind::Scd4x { settings } => Self::Scd4x(Scd4x::new(bus, delay, *settings)),
            DeviceKind::Ads1115 { address, inputs } => {
                let adc = Ads1115::new(bus, delay, *address)?;
                Self::Ads1115 {
                    adc,
                    inputs: inputs.clone(),
                }
            }
            DeviceKind::FlowMeter { pin, factor } => {
                Self::FlowMeter(FlowMeter::new(pulses(*pin), *factor))
            }
            DeviceKind::DripController { address, factor } => {
                let controller = DripController::new(bus, *address)?;
                Self::Drip {
                    controller,
                    factor: *factor,
                }
            }
        })
    }

    /// Brings the device into its measuring mode. Answers when the first reading can be had.
    pub(super) fn prepare(
        &mut self,
        clock: &FieldClock,
        delay: &mut FieldDelay,
    ) -> Result<Option<u64>, SensorError> {
        match self {
            Self::Scd4x(sensor) => match step(sensor, clock, delay)? {
                Step::Wait { until_ms } => Ok(Some(until_ms)),
                Step::Reading(_) => Ok(None),
            },
            Self::FlowMeter(meter) => {
                // The first reading starts the rate; it has none itself.
                meter.read(clock.now().mono_ms()).map(|_| None)
            }
            Self::Drip { controller, .. } => controller.status().map(|_| None),
            Self::Sht4x(_) | Self::Ads1115 { .. } => Ok(None),
        }
    }

    /// One attempt to read all channels.
    pub(super) fn read(&mut self, clock: &FieldClock, delay: &mut FieldDelay) -> Readings {
        match self {
            Self::Sht4x(sensor) => spread(
                sensor.read().map(|air| vec![air.temperature, air.humidity]),
                2,
            ),
            Self::Scd4x(sensor) => {
                let air = match step(sensor, clock, delay) {
                    Ok(Step::Reading(air)) => Ok(vec![air.co2, air.temperature, air.humidity]),
                    Ok(Step::Wait { .. }) => Err(not_ready()),
                    Err(error) => Err(error),
                };
                spread(air, 3)
            }
            Self::Ads1115 { adc, inputs } => inputs
                .iter()
                .map(|one| {
                    let counts = adc.counts(one.input)?;
                    one.conversion.convert(counts, one.exponent)
                })
                .collect(),
            Self::FlowMeter(meter) => match meter.read(clock.now().mono_ms()) {
                Ok(reading) => vec![Ok(reading.volume), reading.flow],
                Err(error) => vec![Err(error.clone()), Err(error)],
            },
            Self::Drip { controller, factor } => {
                let status = controller.status().map(|status| {
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

    pub(super) fn set_lease(&mut self, output: u8, seconds: u16) -> Result<(), SensorError> {
        self.controller()?.set_lease(output, seconds)
    }

    pub(super) fn output(&mut self, output: u8) -> Result<OutputStatus, SensorError> {
        let status = self.controller()?.status()?;
        if !(1..=status.outputs).contains(&output) {
            return Err(refused("the controller has no such output"));
        }
        let bit = |bits: u8| bits >> output.saturating_sub(1) & 1 == 1;
        Ok(OutputStatus {
            commanded: bit(status.commanded),
            confirmed: bit(status.confirmed),
            fault: bit(status.faults),
            was_reset: status.was_reset,
            lease_ran_out: status.lease_ran_out,
            pulses: status.pulses,
        })
    }

    pub(super) fn clear_flags(&mut self) -> Result<(), SensorError> {
        self.controller()?.clear()
    }

    fn controller(&mut self) -> Result<&mut DripController<Bus>, SensorError> {
        match self {
            Self::Drip { controller, .. } => Ok(controller),
            Self::Sht4x(_) | Self::Scd4x(_) | Self::Ads1115 { .. } | Self::FlowMeter(_) => {
                Err(refused("the device has no outputs"))
            }
        }
    }
}

/// Takes steps until there is a reading or a wait that is too long to be waited here.
fn step(
    sensor: &mut Scd4x<Bus, FieldDelay>,
    clock: &FieldClock,
    delay: &mut FieldDelay,
) -> Result<Step<Scd4xReading>, SensorError> {
    use embedded_hal::delay::DelayNs as _;
    let mut outcome = sensor.step(clock.now().mono_ms())?;
    for _ in 1..STEPS_MAX {
        let Step::Wait { until_ms } = outcome else {
            break;
        };
        let wait_ms = until_ms.saturating_sub(clock.now().mono_ms());
        if wait_ms > STEP_WAIT_MAX_MS {
            break;
        }
        delay.delay_ms(u32::try_from(wait_ms).unwrap_or(u32::MAX).saturating_add(1));
        outcome = sensor.step(clock.now().mono_ms())?;
    }
    Ok(outcome)
}

/// One outcome for all channels of a device.
pub(super) fn spread(outcome: Result<Vec<Decimal>, SensorError>, channels: usize) -> Readings {
    match outcome {
        Ok(values) => values.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); channels],
    }
}

fn not_ready() -> SensorError {
    let address = Some(furrow_drivers::scd4x::ADDRESS);
    SensorError {
        chip: "scd4x",
        address,
        register: "measurement",
        cause: Cause::NotReady,
    }
}

fn refused(why: &'static str) -> SensorError {
    SensorError {
        chip: "drip-controller",
        address: None,
        register: "output",
        cause: Cause::Refused(why),
    }
}
