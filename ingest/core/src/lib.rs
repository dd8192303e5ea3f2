//! Ingest's decisions: sequence tracking, roll-ups, tenancy.
