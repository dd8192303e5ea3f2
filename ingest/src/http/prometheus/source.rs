//! The archive of one cooperative as series with labels.
//!
//! A metric is a channel; its labels are where it is measured and in what. A reading that is not good is
//! no sample.

use std::collections::BTreeMap;

use furrow_wire::{CooperativeId, Quality};

use crate::archive::{ArchiveError, ArchiveReader, Latest};
use crate::promql::{Labels, NAME_LABEL, QueryError, Selector, Series, Source, Take};

/// Every label that there is.
pub(super) const LABELS: [&str; 4] = [NAME_LABEL, "device", "greenhouse", "unit"];

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArchiveSource<'a> {
    pub(super) reader: &'a ArchiveReader,
    pub(super) cooperative: &'a CooperativeId,
}

/// A label of a series; empty if there is none. A channel's name is a metric's already: small letters,
/// digits and `_`.
pub(super) fn label_of<'a>(latest: &'a Latest, name: &str) -> &'a str {
    match name {
        NAME_LABEL => latest.series.channel.as_str(),
        "device" => latest.series.device.as_str(),
        "greenhouse" => latest.series.greenhouse.as_str(),
        "unit" => &latest.unit,
        _ => "",
    }
}

/// All labels of a series.
pub(super) fn labels_of(latest: &Latest) -> Labels {
    Labels::from(LABELS.map(|name| (name, label_of(latest, name))))
}

impl ArchiveSource<'_> {
    /// Looks at the series that any of the selectors means; without selectors, at all.
    ///
    /// # Errors
    /// When the archive can't be read.
    pub(super) fn visit(
        &self,
        selectors: &[Selector],
        mut look: impl FnMut(&Latest),
    ) -> Result<(), QueryError> {
        self.reader.each_series(self.cooperative, |latest| {
            let mut any = selectors.iter();
            if selectors.is_empty()
                || any.any(|selector| selector.matches(|name| label_of(latest, name)))
            {
                look(latest);
            }
        })?;
        Ok(())
    }
}

impl From<ArchiveError> for QueryError {
    fn from(error: ArchiveError) -> Self {
        QueryError::Source(Box::new(error))
    }
}

impl Source for ArchiveSource<'_> {
    fn select(&self, selector: &Selector, at_most: usize) -> Result<Vec<Series>, QueryError> {
        let mut found = Vec::new();
        self.visit(std::slice::from_ref(selector), |latest| {
            if found.len() < at_most {
                found.push(Series {
                    id: latest.series.clone(),
                    labels: labels_of(latest),
                    interval_ms: latest.interval_ms.into(),
                });
            }
        })?;
        Ok(found)
    }

    fn read(
        &self,
        series: &[Series],
        from_ms: i64,
        to_ms: i64,
        take: &mut Take<'_>,
    ) -> Result<(), QueryError> {
        let places: BTreeMap<_, _> = (0..).zip(series).map(|(n, one)| (&one.id, n)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let range = (from_ms, to_ms.saturating_add(1));
        let mut current = None;
        self.reader.export(
            self.cooperative,
            |series| places.contains_key(series),
            range,
            |row| {
                // Rows of a series come together: its place is looked up once.
                let place = match current {
                    Some((series, place)) if std::ptr::eq(series, row.series) => place,
                    _ => match places.get(row.series) {
                        Some(place) => *place,
                        None => return Ok(()),
                    },
                };
                current = Some((std::ptr::from_ref(row.series), place));
                let good = row.value.filter(|_| row.quality == Quality::Good);
                take(place, row.time_ms, good.map(|value| value.to_f64()))
            },
        )?;
        Ok(())
    }
}
