//! Sensor and actuator drivers behind embedded-hal 1.0.
