//! What the kernel's I2C adapters mean by an error code (Documentation/i2c/fault-codes.rst).

use std::io;

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use nix::errno::Errno;

/// The kind of a failed transaction.
pub(super) fn kind(error: &io::Error) -> ErrorKind {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENXIO) => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
        // BCM2835 and RP1 do not tell the address from the data.
        Some(Errno::EREMOTEIO) => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown),
        Some(Errno::EAGAIN) => ErrorKind::ArbitrationLoss,
        Some(Errno::ETIMEDOUT | Errno::EIO | Errno::EBUSY | Errno::EPROTO) => ErrorKind::Bus,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_codes_are_told_apart() {
        let no_acknowledge = ErrorKind::NoAcknowledge;
        let table = [
            (Errno::ENXIO, no_acknowledge(NoAcknowledgeSource::Address)),
            (
                Errno::EREMOTEIO,
                no_acknowledge(NoAcknowledgeSource::Unknown),
            ),
            (Errno::ETIMEDOUT, ErrorKind::Bus),
            (Errno::EAGAIN, ErrorKind::ArbitrationLoss),
            (Errno::EIO, ErrorKind::Bus),
            (Errno::EBUSY, ErrorKind::Bus),
            (Errno::EPROTO, ErrorKind::Bus),
            (Errno::ENOENT, ErrorKind::Other),
            (Errno::EOPNOTSUPP, ErrorKind::Other),
        ];
        for (errno, expected) in table {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(kind(&error), expected, "{errno}");
        }
        let error = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(&error), ErrorKind::Other);
    }
}
