//! Simulated chips, drip controllers and greenhouses behind the remote bus.
