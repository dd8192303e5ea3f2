//! Alert rules and their evaluation in event time.
