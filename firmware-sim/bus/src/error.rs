//! What can go wrong between a client and the simulator.

use std::io;

use embedded_hal::{digital, i2c};

use crate::protocol::{Failure, ProtocolError};

/// A failed call on the remote bus.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The address is neither `tcp:HOST:PORT` nor `unix:PATH`.
    #[error("bus address {0:?} is neither tcp:HOST:PORT nor unix:PATH")]
    Address(String),
    /// No connection could be made.
    #[error("connect to the simulator at {address}")]
    Connect {
        /// The address as configured.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The connection failed; the next call makes a new one.
    #[error("{attempt} over the remote bus")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// What the operating system said; a time-out is `WouldBlock` or `TimedOut`.
        source: io::Error,
    },
    /// The other end sent bytes that are not of this protocol.
    #[error("answer of the simulator")]
    Protocol(#[from] ProtocolError),
    /// The other end sent a message that does not answer the request.
    #[error("the simulator sent a message that does not answer {0}")]
    Unexpected(&'static str),
    /// The simulator answered that the operation failed on its bus.
    #[error("{text}")]
    Failed {
        /// The kind of failure.
        failure: Failure,
        /// The simulator's words.
        text: String,
    },
}

impl i2c::Error for BusError {
    fn kind(&self) -> i2c::ErrorKind {
        match self {
            Self::Failed { failure, .. } => match failure {
                Failure::NackAddress => {
                    i2c::ErrorKind::NoAcknowledge(i2c::NoAcknowledgeSource::Address)
                }
                Failure::NackData => i2c::ErrorKind::NoAcknowledge(i2c::NoAcknowledgeSource::Data),
                Failure::BusStuck => i2c::ErrorKind::Bus,
                Failure::ArbitrationLoss => i2c::ErrorKind::ArbitrationLoss,
                Failure::Refused | Failure::NoSuchPin => i2c::ErrorKind::Other,
            },
            Self::Address(_)
            | Self::Connect { .. }
            | Self::Io { .. }
            | Self::Protocol(_)
            | Self::Unexpected(_) => i2c::ErrorKind::Other,
        }
    }
}

impl digital::Error for BusError {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}
