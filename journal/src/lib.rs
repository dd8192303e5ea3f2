//! Append-only segments: the gateway's journal and ingest's log.
