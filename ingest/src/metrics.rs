//! Figures for Prometheus: counters and gauges by name, rendered as text.
//!
//! Written by hand because it is small: a registry of atomics. Names follow the conventions
//! (`furrow_…`, base units, `_total` for counters). Labels are few and fixed: never a series or an id
//! that a stranger chooses, so that the number of lines is bounded by the program text and the
//! configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A figure that only grows. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// So far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A figure that goes up and down, in whole units. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All figures of the process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    families: Arc<Mutex<BTreeMap<&'static str, Family>>>,
}

impl Metrics {
    /// The counter of this name and labels; made on first use. `labels` are pairs of name and value.
    #[must_use]
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        Counter(self.cell(name, help, Type::Counter, labels))
    }

    /// The gauge of this name and labels; made on first use.
    #[must_use]
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        Gauge(self.cell(name, help, Type::Gauge, labels))
    }

    /// All figures in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        for (name, family) in families.iter() {
            let kind = match family.kind {
                Type::Counter => "counter",
                Type::Gauge => "gauge",
            };
            let written = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            debug_assert!(written.is_ok(), "a String takes all writes");
            for (labels, cell) in &family.cells {
                let written = writeln!(out, "{name}{labels} {}", cell.load(Ordering::Relaxed));
                debug_assert!(written.is_ok(), "a String takes all writes");
            }
        }
        out
    }

    fn cell(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Type,
        labels: &[(&'static str, &str)],
    ) -> Arc<AtomicU64> {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            cells: BTreeMap::new(),
        });
        Arc::clone(family.cells.entry(label_text(labels)).or_default())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Counter,
    Gauge,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: Type,
    cells: BTreeMap<String, Arc<AtomicU64>>,
}

/// `{a="x",b="y"}` with the three escapes of the format, or nothing.
fn label_text(labels: &[(&'static str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_families_once_with_escaped_labels() {
        let metrics = Metrics::default();
        let stored = metrics.counter("furrow_readings_stored_total", "Readings stored.", &[]);
        stored.add(2);
        metrics
            .counter("furrow_readings_stored_total", "Readings stored.", &[])
            .increment();
        metrics
            .gauge(
                "furrow_gateways_online",
                "Gateways.",
                &[("where", "a\"b\\c\nd")],
            )
            .set(4);
        assert_eq!(stored.get(), 3);
        let expected = "# HELP furrow_gateways_online Gateways.\n\
            # TYPE furrow_gateways_online gauge\n\
            furrow_gateways_online{where=\"a\\\"b\\\\c\\nd\"} 4\n\
            # HELP furrow_readings_stored_total Readings stored.\n\
            # TYPE furrow_readings_stored_total counter\n\
            furrow_readings_stored_total 3\n";
        assert_eq!(metrics.render(), expected);
    }
}
