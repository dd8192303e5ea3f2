//! The Pi's own I2C and GPIO. The only file that names rppal.
//!
//! rppal's `embedded-hal` transaction sends a STOP in the middle and tells every failure as
//! "other"; this wrapper uses its inherent `write_read` (one I2C_RDWR, repeated START) and reads the
//! kernel's error codes. `with_bus` works on every board; `new` would have to know the model.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use embedded_hal::digital;
use embedded_hal::i2c::{ErrorKind, Operation};
use furrow_drivers::clear::{self, Cleared};
use rppal::gpio::{Event, Gpio, InputPin, IoPin, Mode, OutputPin, Pin, Trigger};
use rppal::i2c::{Error, I2c};

use super::fault_codes;
use super::trouble::{self, Trouble};
use crate::bus::FieldDelay;
use crate::config::ClearPins;

/// Longest transaction, in milliseconds: ten times the longest one of ours at 10 kHz. A chip that
/// stretches the clock longer has hung.
const TIMEOUT_MS: u32 = 100;

/// An I2C bus, opened when it is first used and again after it failed to open.
#[derive(Debug)]
pub(super) struct PiI2c {
    number: u8,
    open: Option<I2c>,
    trouble: Trouble,
}

impl PiI2c {
    pub(super) fn new(number: u8) -> Self {
        Self {
            number,
            open: None,
            trouble: Trouble::default(),
        }
    }

    /// As `embedded_hal::i2c::I2c::transaction`, for the shapes that drivers use: writes, a read, or
    /// writes followed by one read.
    pub(super) fn transaction(
        &mut self,
        address: u8,
        operations: &mut [Operation<'_>],
    ) -> Result<(), ErrorKind> {
        let number = self.number;
        let bus = self.bus()?;
        let outcome = bus
            .set_slave_address(u16::from(address))
            .and_then(|()| run(bus, operations));
        outcome.map_err(|error| {
            tracing::trace!(bus = number, address, error = %error, "I2C transaction failed");
            kind(&error)
        })
    }

    fn bus(&mut self) -> Result<&mut I2c, ErrorKind> {
        if self.open.is_none() {
            let what = format!("/dev/i2c-{}", self.number);
            let opened = I2c::with_bus(self.number)
                .and_then(|bus| bus.set_timeout(TIMEOUT_MS).map(|()| bus));
            match opened {
                Ok(bus) => {
                    self.trouble.handle_opened(&what);
                    self.open = Some(bus);
                }
                Err(error) => {
                    self.trouble.handle_failed(&what, &error, trouble::I2C);
                    return Err(ErrorKind::Other);
                }
            }
        }
        self.open.as_mut().ok_or(ErrorKind::Other)
    }
}

fn run(bus: &mut I2c, operations: &mut [Operation<'_>]) -> rppal::i2c::Result<()> {
    match operations {
        [] => Ok(()),
        // An address without data: the kernel has a call of its own for it.
        [Operation::Write([])] => bus.smbus_quick_command(false),
        [Operation::Read(into)] => {
            let len = into.len();
            bus.read(into).and_then(|read| whole(read, len))
        }
        [Operation::Write(bytes), Operation::Read(into)] => bus.write_read(bytes, into),
        [writes @ .., Operation::Read(into)] => bus.write_read(&concatenated(writes)?, into),
        writes => {
            let bytes = concatenated(writes)?;
            bus.write(&bytes)
                .and_then(|written| whole(written, bytes.len()))
        }
    }
}

/// Adjacent writes are one write, as the `embedded-hal` contract says.
fn concatenated(operations: &[Operation<'_>]) -> rppal::i2c::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for operation in operations {
        match operation {
            Operation::Write(more) => bytes.extend_from_slice(more),
            // No driver reads before it writes within one transaction.
            Operation::Read(_) => return Err(Error::FeatureNotSupported),
        }
    }
    Ok(bytes)
}

fn whole(done: usize, wanted: usize) -> rppal::i2c::Result<()> {
    if done == wanted {
        return Ok(());
    }
    Err(Error::Io(std::io::Error::from(
        std::io::ErrorKind::UnexpectedEof,
    )))
}

fn kind(error: &Error) -> ErrorKind {
    let Error::Io(error) = error else {
        return ErrorKind::Other;
    };
    fault_codes::kind(error)
}

/// Counts rising edges by interrupt.
#[derive(Debug)]
pub(super) struct PiPulses {
    pin: u8,
    debounce: Duration,
    count: Arc<AtomicU64>,
    /// Kept for its interrupt; dropped with it.
    open: Option<InputPin>,
    trouble: Trouble,
}

impl PiPulses {
    pub(super) fn new(pin: u8, debounce: Duration) -> Self {
        let mut counter = Self {
            pin,
            debounce,
            count: Arc::default(),
            open: None,
            trouble: Trouble::default(),
        };
        // Counting starts now; a failure shows at the first reading.
        counter.open();
        counter
    }

    pub(super) fn pulses(&mut self) -> Result<u64, &'static str> {
        if self.open.is_none() && !self.open() {
            return Err("the GPIO pin does not open");
        }
        Ok(self.count.load(Ordering::Relaxed))
    }

    fn open(&mut self) -> bool {
        let count = Arc::clone(&self.count);
        let mut last: Option<u32> = None;
        let counted = move |event: Event| {
            // The kernel numbers the edges: what its queue lost is counted all the same.
            let edges = last
                .map_or(1, |last| event.seqno.wrapping_sub(last))
                .clamp(1, EDGES_MAX);
            last = Some(event.seqno);
            count.fetch_add(u64::from(edges), Ordering::Relaxed);
        };
        let opened = Gpio::new().and_then(|gpio| {
            let mut pin = gpio.get(self.pin)?.into_input_pullup();
            pin.set_async_interrupt(Trigger::RisingEdge, Some(self.debounce), counted)?;
            Ok(pin)
        });
        let what = format!("GPIO {}", self.pin);
        match opened {
            Ok(pin) => {
                self.trouble.handle_opened(&what);
                self.open = Some(pin);
                true
            }
            Err(error) => {
                self.trouble.handle_failed(&what, &error, trouble::GPIO);
                false
            }
        }
    }
}

/// A pin that is read, opened when it is first read.
#[derive(Debug)]
pub(super) struct PiInput {
    pin: u8,
    open: Option<InputPin>,
    trouble: Trouble,
}

impl PiInput {
    pub(super) fn new(pin: u8) -> Self {
        Self {
            pin,
            open: None,
            trouble: Trouble::default(),
        }
    }

    /// `None` when the pin does not open.
    pub(super) fn is_high(&mut self) -> Option<bool> {
        if self.open.is_none() {
            let what = format!("GPIO {}", self.pin);
            match Gpio::new().and_then(|gpio| gpio.get(self.pin)) {
                Ok(pin) => {
                    self.trouble.handle_opened(&what);
                    self.open = Some(pin.into_input_pullup());
                }
                Err(error) => {
                    self.trouble.handle_failed(&what, &error, trouble::GPIO);
                }
            }
        }
        self.open.as_ref().map(InputPin::is_high)
    }
}

/// A pin that is driven. It keeps its level when the program ends: rppal would make it an input again,
/// and a relay's input that floats is neither on nor off.
#[derive(Debug)]
pub(super) struct PiOutput {
    pin: u8,
    open: Option<OutputPin>,
}

impl PiOutput {
    pub(super) fn new(pin: u8) -> Self {
        Self { pin, open: None }
    }

    /// Whether the pin opened; its level is written before it becomes an output.
    pub(super) fn drive(&mut self, high: bool) -> bool {
        if let Some(pin) = &mut self.open {
            pin.write(high.into());
            return true;
        }
        match Gpio::new().and_then(|gpio| gpio.get(self.pin)) {
            Ok(pin) => {
                let mut pin = if high {
                    pin.into_output_high()
                } else {
                    pin.into_output_low()
                };
                pin.set_reset_on_drop(false);
                self.open = Some(pin);
                true
            }
            Err(error) => {
                tracing::debug!(pin = self.pin, error = %error, "GPIO pin does not open");
                false
            }
        }
    }

    /// The level at the pin; `None` before it was driven.
    pub(super) fn is_high(&self) -> Option<bool> {
        self.open.as_ref().map(OutputPin::is_set_high)
    }
}

/// Takes the bus's clock line from the I2C controller for some microseconds and gives it back: the
/// pins fall back to their former function when they are dropped.
pub(super) fn clear_bus(pins: ClearPins, delay: &mut FieldDelay) -> Cleared {
    let lines = Gpio::new().and_then(|gpio| {
        let scl = gpio.get(pins.scl)?.into_io(Mode::Input);
        Ok((OpenDrain(scl), Line(gpio.get(pins.sda)?)))
    });
    match lines {
        Ok((mut scl, mut sda)) => clear::clear(&mut scl, &mut sda, delay),
        Err(error) => {
            tracing::debug!(error = %error, "the bus's pins do not open");
            Cleared::Failed
        }
    }
}

/// A line that is driven low or released, never driven high.
struct OpenDrain(IoPin);

impl digital::ErrorType for OpenDrain {
    type Error = Infallible;
}

impl digital::OutputPin for OpenDrain {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.set_low();
        self.0.set_mode(Mode::Output);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.set_mode(Mode::Input);
        Ok(())
    }
}

/// A line that is looked at; its function stays the I2C controller's.
struct Line(Pin);

impl digital::ErrorType for Line {
    type Error = Infallible;
}

impl digital::InputPin for Line {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.read() == rppal::gpio::Level::High)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

/// Most edges that one event may stand for: the kernel queues 1024.
const EDGES_MAX: u32 = 4_096;

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::NoAcknowledgeSource;

    use super::*;

    #[test]
    fn the_kernels_code_counts_and_nothing_else() {
        let no_chip = Error::Io(std::io::Error::from_raw_os_error(6));
        let expected = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        assert_eq!(kind(&no_chip), expected);
        assert_eq!(kind(&Error::InvalidSlaveAddress(0x80)), ErrorKind::Other);
    }

    #[test]
    fn a_bus_that_is_not_there_fails_without_panic() {
        let mut bus = PiI2c::new(255);
        let mut byte = [0];
        let mut read = [Operation::Write(&[0]), Operation::Read(&mut byte)];
        assert_eq!(bus.transaction(0x44, &mut read), Err(ErrorKind::Other));
        assert_eq!(
            PiPulses::new(17, Duration::from_millis(1)).pulses(),
            Err("the GPIO pin does not open")
        );
    }

    #[test]
    fn adjacent_writes_are_joined_and_a_read_between_is_refused() {
        let writes = [Operation::Write(&[1, 2]), Operation::Write(&[3])];
        assert_eq!(concatenated(&writes).unwrap(), [1, 2, 3]);
        let mut byte = [0];
        assert!(concatenated(&[Operation::Read(&mut byte), Operation::Write(&[1])]).is_err());
    }
}
