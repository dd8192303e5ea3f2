//! One error for all drivers: which chip, which register, why.

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use furrow_wire::Decimal;

/// A reading or a write that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{chip}{}: {register}", at(*.address))]
pub struct SensorError {
    /// The chip, e.g. `sht4x`.
    pub chip: &'static str,
    /// Its 7-bit address; absent for what is not on an I2C bus.
    pub address: Option<u8>,
    /// What was read or written, e.g. `measurement`.
    pub register: &'static str,
    /// Why it failed.
    #[source]
    pub cause: Cause,
}

/// Why a reading or a write failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Cause {
    /// The bus carried no complete transaction.
    #[error("bus failure")]
    Bus(#[from] BusFault),
    /// The checksum does not fit the bytes.
    #[error("checksum mismatch")]
    Checksum,
    /// The sensor has no measurement yet.
    #[error("no measurement yet")]
    NotReady,
    /// The value lies outside what the sensor can measure.
    #[error("value {value:.2} is outside {min:.2} to {max:.2} {unit}")]
    OutOfRange {
        /// What the bytes say.
        value: f64,
        /// Least value the sensor can give.
        min: f64,
        /// Greatest value the sensor can give.
        max: f64,
        /// Unit of all three.
        unit: &'static str,
    },
    /// A register holds what the probe can't measure.
    #[error("register {register} reads {value:.2}, outside {min} to {max}")]
    Beyond {
        /// Its number.
        register: u16,
        /// What it says, in the channel's unit.
        value: f64,
        /// Least value the probe can give.
        min: f64,
        /// Greatest value the probe can give.
        max: f64,
    },
    /// Nothing came back on a serial line, also when asked again.
    #[error("no answer in {waited_ms} ms")]
    NoAnswer {
        /// How long was waited in all.
        waited_ms: u32,
    },
    /// The chip lost its settings during the measurement: its supply is bad.
    #[error(
        "the chip was reset during the measurement (register reads {found:#06x}, not {expected:#06x})"
    )]
    Reset {
        /// What the settings should read.
        expected: u16,
        /// What they read.
        found: u16,
    },
    /// A conversion took longer than the chip's maximum.
    #[error("the conversion did not finish in {waited_ms} ms")]
    Late {
        /// How long was waited.
        waited_ms: u32,
    },
    /// Another chip, or another version, answers at this address.
    #[error("unexpected identity {found}")]
    Identity {
        /// What answered.
        found: String,
    },
    /// A 4-20 mA loop carries too little current (NAMUR NE 43: at most 3.6 mA).
    #[error("broken wire: {milliamps:.2} mA")]
    BrokenWire {
        /// The current.
        milliamps: f64,
    },
    /// A 4-20 mA loop carries too much current (NAMUR NE 43: at least 21 mA).
    #[error("short circuit: {milliamps:.2} mA")]
    ShortCircuit {
        /// The current.
        milliamps: f64,
    },
    /// The chip did not take what was written.
    #[error("wrote {wrote}, reads back {found}")]
    NotTaken {
        /// What was written.
        wrote: u16,
        /// What it reads.
        found: u16,
    },
    /// What the sensor holds before its first measurement.
    #[error("the value after power-on is no measurement")]
    PowerOn,
    /// The chip answers that it can't.
    #[error("the chip answers with status {found}")]
    Status {
        /// Its status byte.
        found: u8,
    },
    /// The answer should be a number.
    #[error("the answer {found} is no number")]
    NoNumber {
        /// What came.
        found: String,
    },
    /// A contact does not come to rest.
    #[error("the contact did not come to rest in {waited_ms} ms")]
    Unsteady {
        /// How long was waited.
        waited_ms: u32,
    },
    /// The request can't be carried out by this chip; nothing was sent.
    #[error("{0}")]
    Refused(&'static str),
}

/// How a bus failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusFault {
    /// Nothing answers at the address.
    #[error("no acknowledge of the address")]
    NoAddress,
    /// The chip refused a byte.
    #[error("no acknowledge of the data")]
    NoData,
    /// No acknowledge, of the address or the data.
    #[error("no acknowledge")]
    NoAcknowledge,
    /// Another master won.
    #[error("arbitration lost")]
    Arbitration,
    /// The lines are stuck, or the transaction took too long.
    #[error("bus stuck or timed out")]
    Stuck,
    /// Anything else.
    #[error("transaction failed")]
    Other,
}

impl SensorError {
    /// Whether trying again at once may help: a disturbance, not a fact.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &self.cause {
            Cause::Bus(_) | Cause::Checksum | Cause::Reset { .. } | Cause::NotTaken { .. } => true,
            Cause::NotReady
            | Cause::OutOfRange { .. }
            | Cause::Beyond { .. }
            // The line has asked again by itself.
            | Cause::NoAnswer { .. }
            | Cause::Late { .. }
            | Cause::Identity { .. }
            | Cause::BrokenWire { .. }
            | Cause::ShortCircuit { .. }
            | Cause::PowerOn
            | Cause::Status { .. }
            | Cause::NoNumber { .. }
            | Cause::Unsteady { .. }
            | Cause::Refused(_) => false,
        }
    }
}

impl BusFault {
    /// Classifies an error of whatever bus is behind the traits.
    pub fn of<E: embedded_hal::i2c::Error>(error: &E) -> Self {
        match error.kind() {
            ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address) => Self::NoAddress,
            ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data) => Self::NoData,
            ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown) => Self::NoAcknowledge,
            ErrorKind::ArbitrationLoss => Self::Arbitration,
            ErrorKind::Bus => Self::Stuck,
            // `_`: the foreign enum may grow.
            ErrorKind::Overrun | ErrorKind::Other | _ => Self::Other,
        }
    }
}

impl From<ErrorKind> for BusFault {
    fn from(kind: ErrorKind) -> Self {
        Self::of(&kind)
    }
}

/// What a driver says about itself in its errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chip {
    pub(crate) name: &'static str,
    pub(crate) address: Option<u8>,
}

impl Chip {
    pub(crate) fn error(self, register: &'static str, cause: impl Into<Cause>) -> SensorError {
        let Self {
            name: chip,
            address,
        } = self;
        SensorError {
            chip,
            address,
            register,
            cause: cause.into(),
        }
    }

    pub(crate) fn bus<E: embedded_hal::i2c::Error>(
        self,
        register: &'static str,
        error: &E,
    ) -> SensorError {
        self.error(register, BusFault::of(error))
    }

    /// Refuses an address that the part does not come with.
    pub(crate) fn one_of(
        self,
        address: u8,
        addresses: &[u8],
        why: &'static str,
    ) -> Result<(), SensorError> {
        if addresses.contains(&address) {
            return Ok(());
        }
        Err(self.error("address", Cause::Refused(why)))
    }

    /// Rounds a checked value to a channel's resolution.
    pub(crate) fn decimal(
        self,
        register: &'static str,
        value: f64,
        exponent: i8,
    ) -> Result<Decimal, SensorError> {
        let no_number = Cause::Refused("the value does not fit its decimals");
        Decimal::mantissa_of(value, exponent)
            .map(|mantissa| Decimal { mantissa, exponent })
            .ok_or_else(|| self.error(register, no_number))
    }

    /// Yields `value` if the sensor can have measured it.
    pub(crate) fn in_range(
        self,
        register: &'static str,
        value: f64,
        range: &Range,
    ) -> Result<f64, SensorError> {
        range
            .check(value)
            .map_err(|cause| self.error(register, cause))
    }
}

/// What a sensor can measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) unit: &'static str,
}

impl Range {
    pub(crate) fn check(&self, value: f64) -> Result<f64, Cause> {
        let &Self { min, max, unit } = self;
        // Written so that NaN is out of range.
        if value >= min && value <= max {
            Ok(value)
        } else {
            Err(Cause::OutOfRange {
                value,
                min,
                max,
                unit,
            })
        }
    }
}

fn at(address: Option<u8>) -> String {
    address.map_or_else(String::new, |address| format!(" at {address:#04x}"))
}
