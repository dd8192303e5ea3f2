//! The messages of the remote bus and their bytes. The page `docs/remote-bus.md` says the same in words.
//!
//! A frame is a big-endian `u32` length and that many bytes: one byte of kind, then the body.
//! Decoding never panics and never allocates more than a frame holds. No socket is touched here.

mod bytes;
mod request;
mod response;

use std::io::{self, Read};

pub use request::{Operation, Request, Role, Stops, Transaction};
pub use response::{Failure, Flow, Response, TimeState};

/// Version of the protocol; both ends must agree on it.
pub const VERSION: u8 = 1;
/// First bytes of a `Hello`, so that a stray client of another protocol is recognised.
pub const MAGIC: [u8; 4] = *b"FRWB";
/// Longest frame in bytes, length field not included: the largest transaction plus room for its header.
pub const MAX_FRAME_BYTES: usize = 8 * 1024;
/// Most operations in one transaction; drivers use two.
pub const MAX_OPERATIONS: usize = 32;
/// Most bytes written, and most bytes read, in one transaction.
pub const MAX_TRANSFER_BYTES: usize = 4 * 1024;
/// Longest text in bytes (client name, reason); longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 255;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The frame ended before its message did.
    #[error("message of kind {kind:#04x} is cut short")]
    Short {
        /// The kind byte, 0 for an empty frame.
        kind: u8,
    },
    /// Bytes are left after the message.
    #[error("message of kind {kind:#04x} has {extra} bytes too many")]
    Long {
        /// The kind byte.
        kind: u8,
        /// Bytes left over.
        extra: usize,
    },
    /// The kind byte is not of this version.
    #[error("unknown message kind {0:#04x}")]
    Kind(u8),
    /// A field holds a value that is not allowed.
    #[error("message of kind {kind:#04x}: {field} is not allowed")]
    Field {
        /// The kind byte.
        kind: u8,
        /// The field's name.
        field: &'static str,
    },
    /// A `Hello` does not start with the magic bytes.
    #[error("this is not a remote-bus client")]
    Magic,
    /// A `Hello` of another version.
    #[error("remote-bus version {0} is not supported")]
    Version(u8),
}

/// Reads one frame into `frame` (cleared first). `Ok(false)` at a clean end of the stream.
///
/// # Errors
/// What the reader says; `InvalidData` for an empty frame or one above [`MAX_FRAME_BYTES`];
/// `UnexpectedEof` when the stream ends inside a frame.
pub fn read_frame(reader: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    loop {
        match reader.read(&mut length[..1]) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    reader.read_exact(&mut length[1..])?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_FRAME_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "frame length is not allowed",
        ));
    }
    frame.clear();
    frame.resize(length, 0);
    reader.read_exact(frame)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
