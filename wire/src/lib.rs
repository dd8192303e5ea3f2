//! Topics, records, batches, catalogs and acknowledgements between gateway and ingest.
