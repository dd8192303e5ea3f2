//! A calibration that a person has written is taken up while the gateway runs.
//!
//! Order: the event at once, then the batch under the old calibration, then the catalog with the new
//! version, then batches under the new one. The file is the command's: nothing here waits for a disk.

use furrow_drivers::SensorError;
use furrow_gateway_core::FieldMs;
use furrow_wire::{Catalog, CatalogHash, Decimal, Event, EventKind, TopicKind};

use super::gateway::Gateway;
use super::report;
use crate::calibrations::{Entry, Scales};
use crate::control::Answer;

impl Gateway {
    /// Readings that a person waits for.
    pub(super) fn tell_measured(
        &mut self,
        device: usize,
        raw: &[Result<Decimal, SensorError>],
        now_ms: u64,
    ) {
        if !self.measuring.wants(device) {
            return;
        }
        if let Some(settings) = self.settings.devices().get(device) {
            let values = self.sampling.values(device, raw);
            self.measuring
                .handle_readings((device, settings), raw, &values, now_ms);
        }
    }

    pub(super) fn take_calibration(&mut self, entry: Entry) -> Answer {
        let refused = |reason: String| Answer::Refused { reason };
        let place = self.settings.channels().position(|(_, device, channel)| {
            device.id == entry.device && channel.name == entry.channel
        });
        let Some(place) = place else {
            return refused(format!("there is no channel {}", entry.series()));
        };
        let Some(calibrations) = self.calibrations.as_mut() else {
            let why = "the calibrations could not be read at its start: mend them and restart it";
            return refused(why.to_owned());
        };
        if let Err(error) = calibrations.add(entry.clone()) {
            return refused(format!("{error}: restart the gateway"));
        }
        let scales = Scales::new(&self.settings, calibrations);
        let now_ms = self.field.now().mono_ms();
        self.sampling
            .handle_calibrated(FieldMs(now_ms), place, scales);
        let version = entry.version;
        let text = entry.text();
        tracing::info!(series = entry.series(), version, text, "calibrated");
        self.journal_event(Event {
            at_mono_ms: now_ms,
            zone: None,
            planting: None,
            what: EventKind::Calibrated {
                device: entry.device,
                channel: entry.channel,
                version,
                text,
            },
        });
        Answer::Calibrated { version }
    }

    /// Writes the catalog of calibrations that hold from here on.
    pub(super) fn renew_catalog_if_due(&mut self) {
        if !self.sampling.poll_calibrated() {
            return;
        }
        let catalog = report::catalog(&self.settings, self.calibrations.as_ref());
        self.catalog = self.records.catalog(&catalog);
        self.catalog_json = catalog_json(&catalog, self.catalog);
        self.catalog_told = false;
        if self.delivery.link.is_up() {
            self.tell_catalog();
        }
    }

    /// Says the retained catalog, for whoever listens at the broker.
    pub(super) fn tell_catalog(&mut self) {
        let told = self.catalog_json.clone();
        let told = self
            .delivery
            .link
            .publish_retained(TopicKind::Catalog, told);
        self.catalog_told = told.is_ok();
    }
}

/// The retained catalog.
pub(super) fn catalog_json(catalog: &Catalog, hash: CatalogHash) -> bytes::Bytes {
    let json = serde_json::json!({ "hash": hash, "catalog": catalog });
    json.to_string().into_bytes().into()
}
