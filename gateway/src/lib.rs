//! The process on the Pi: reads sensors, waters, journals and publishes.
