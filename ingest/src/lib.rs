//! The cloud process: broker, log, archive, alerts and API.
