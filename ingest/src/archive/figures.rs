//! What the archive's writer counts.

use super::Applied;
use crate::metrics::{Counter, Gauge, Metrics};

#[derive(Debug)]
pub(super) struct Figures {
    stored: Counter,
    duplicate: Counter,
    late: Counter,
    refused: Counter,
    behind: Counter,
    given_up: Counter,
    transitions: Counter,
    ignored: Counter,
    pub(super) out_of_service: Gauge,
}

impl Figures {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter(name, help, &[]);
        Self {
            stored: counter(
                "furrow_readings_stored_total",
                "Readings stored in the archive.",
            ),
            duplicate: counter(
                "furrow_readings_duplicate_total",
                "Readings not stored because their series has one of that time.",
            ),
            late: counter(
                "furrow_readings_late_total",
                "Readings stored behind their series' newest; no alert rule looked at them.",
            ),
            refused: counter(
                "furrow_readings_refused_total",
                "Readings that no series can hold; kept in the dead letters.",
            ),
            behind: counter(
                "furrow_readings_behind_retention_total",
                "Readings not kept since their cooperative gave up what is of that time.",
            ),
            given_up: counter(
                "furrow_readings_given_up_total",
                "Readings deleted because they are older than their cooperative keeps them.",
            ),
            transitions: counter(
                "furrow_alert_transitions_total",
                "Steps of alert rules: pending, dropped, firing, resolved.",
            ),
            ignored: counter(
                "furrow_alert_samples_ignored_total",
                "Samples before an alert rule's live frontier; history pages nobody.",
            ),
            out_of_service: metrics.gauge(
                "furrow_archives_out_of_service",
                "Cooperatives whose archive is damaged: nothing is stored for them until it is put right.",
                &[],
            ),
        }
    }

    pub(super) fn count(&self, applied: Applied) {
        self.stored.add(applied.readings_stored);
        self.duplicate.add(applied.readings_duplicate);
        self.late.add(applied.readings_late);
        self.refused.add(applied.readings_refused);
        self.behind.add(applied.readings_behind);
        self.given_up.add(applied.readings_given_up);
        self.transitions.add(applied.alert_transitions);
        self.ignored.add(applied.alert_samples_ignored);
    }
}
