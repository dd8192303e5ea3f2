//! The remote bus: protocol and embedded-hal client.
