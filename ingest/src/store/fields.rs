//! From the fields that line protocol has back to readings and buckets.
//!
//! InfluxDB and VictoriaMetrics keep `value`, `quality` and `raw` apart, and a series once for each unit that it had.
//! Here they are one reading again. No requests and no formats of answers.

use std::collections::BTreeMap;
use std::str::FromStr;

use furrow_wire::{Decimal, Quality, SeriesId};

use super::{Newest, Point, Reading, SeriesInfo, Span, StoreFault, http};

/// A field of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    /// Of a good reading.
    Value,
    /// Code of a bad one.
    Quality,
    /// What a bad one carries.
    Raw,
}

impl Field {
    pub(super) const ALL: [Field; 3] = [Field::Value, Field::Quality, Field::Raw];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Field::Value => "value",
            Field::Quality => "quality",
            Field::Raw => "raw",
        }
    }

    pub(super) fn of(name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// What a store holds at one time of one series.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Cell {
    value: Option<f64>,
    quality: Option<f64>,
    raw: Option<f64>,
}

impl Cell {
    pub(super) fn set(&mut self, field: Field, number: f64) {
        let place = match field {
            Field::Value => &mut self.value,
            Field::Quality => &mut self.quality,
            Field::Raw => &mut self.raw,
        };
        *place = Some(number);
    }

    /// Where a good and a bad reading were written under one name, it is the good one, as in aggregates. `None`: what
    /// a bad one carries is there, its quality not yet.
    fn reading(self, time_ms: i64) -> Result<Option<Reading>, StoreFault> {
        if let Some(value) = self.value {
            let value = Some(decimal(value)?);
            return Ok(Some(Reading {
                time_ms,
                value,
                quality: Quality::Good,
            }));
        }
        let Some(code) = self.quality else {
            return Ok(None);
        };
        let known = Quality::ALL
            .into_iter()
            .find(|quality| f64::from(quality.code()).to_bits() == code.to_bits());
        let quality = known.ok_or_else(|| http::broken(format!("{code} is no quality")))?;
        let raw = self.raw.filter(|_| quality.has_value());
        let value = raw.map(decimal).transpose()?;
        Ok(Some(Reading {
            time_ms,
            value,
            quality,
        }))
    }
}

/// All readings of one series, by time.
#[derive(Debug, Default)]
pub(super) struct Cells(BTreeMap<i64, Cell>);

impl Cells {
    pub(super) fn set(&mut self, time_ms: i64, field: Field, number: f64) {
        self.0.entry(time_ms).or_default().set(field, number);
    }

    pub(super) fn readings(self) -> Result<Vec<Reading>, StoreFault> {
        let readings = self
            .0
            .into_iter()
            .map(|(time_ms, cell)| cell.reading(time_ms));
        readings.filter_map(Result::transpose).collect()
    }
}

/// Makes a span hold one more time.
pub(super) fn widen(extent: &mut Option<Span>, time_ms: i64) {
    let end_ms = time_ms.saturating_add(1);
    let known = extent.get_or_insert(Span {
        from_ms: time_ms,
        to_ms: end_ms,
    });
    known.from_ms = known.from_ms.min(time_ms);
    known.to_ms = known.to_ms.max(end_ms);
}

/// The newest of each field of each series, put together to the newest reading of each.
#[derive(Debug, Default)]
pub(super) struct Latest(BTreeMap<SeriesId, (i64, String, Cell)>);

impl Latest {
    pub(super) fn set(&mut self, info: SeriesInfo, time_ms: i64, field: Field, number: f64) {
        let newest = self
            .0
            .entry(info.id)
            .or_insert((i64::MIN, String::new(), Cell::default()));
        if time_ms > newest.0 {
            *newest = (time_ms, info.unit, Cell::default());
        }
        if time_ms == newest.0 {
            newest.2.set(field, number);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// By name.
    pub(super) fn newest(self) -> Result<Vec<Newest>, StoreFault> {
        let mut all = Vec::with_capacity(self.0.len());
        for (id, (time_ms, unit, cell)) in self.0 {
            if let Some(reading) = cell.reading(time_ms)? {
                all.push(Newest {
                    series: SeriesInfo { id, unit },
                    reading,
                });
            }
        }
        Ok(all)
    }
}

/// What is known of the good readings of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    /// Least.
    Min,
    /// Mean.
    Mean,
    /// Greatest.
    Max,
    /// How many.
    Count,
}

impl Figure {
    pub(super) const ALL: [Figure; 4] = [Figure::Min, Figure::Mean, Figure::Max, Figure::Count];

    /// Its name in Flux.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Figure::Min => "min",
            Figure::Mean => "mean",
            Figure::Max => "max",
            Figure::Count => "count",
        }
    }
}

/// Buckets by time, and in each the figures under each unit that the series had.
#[derive(Debug, Default)]
pub(super) struct Buckets(BTreeMap<i64, BTreeMap<String, BTreeMap<Figure, f64>>>);

impl Buckets {
    pub(super) fn set(&mut self, time_ms: i64, unit: &str, figure: Figure, number: f64) {
        let units = self.0.entry(time_ms).or_default();
        match units.get_mut(unit) {
            Some(figures) => drop(figures.insert(figure, number)),
            None => drop(units.insert(unit.to_owned(), BTreeMap::from([(figure, number)]))),
        }
    }

    pub(super) fn points(self) -> Result<Vec<Point>, StoreFault> {
        let mut points = Vec::with_capacity(self.0.len());
        for (time_ms, units) in self.0 {
            let mut all: Option<([f64; 3], f64)> = None;
            for figures in units.values() {
                let figure = |figure: Figure| {
                    let number = figures
                        .get(&figure)
                        .copied()
                        .filter(|number| number.is_finite());
                    let missing = || format!("bucket {time_ms} has no {}", figure.as_str());
                    number.ok_or_else(|| http::broken(missing()))
                };
                let [least, mean, greatest] = [
                    figure(Figure::Min)?,
                    figure(Figure::Mean)?,
                    figure(Figure::Max)?,
                ];
                let count = figure(Figure::Count)?;
                all = Some(match all {
                    None => ([least, mean, greatest], count),
                    Some((before, counted)) => {
                        let [min_before, mean_before, max_before] = before;
                        let sum = counted + count;
                        let mean = (mean_before * counted + mean * count) / sum;
                        ([min_before.min(least), mean, max_before.max(greatest)], sum)
                    }
                });
            }
            if let Some((values, count)) = all {
                points.push(Point {
                    time_ms,
                    values: Some(values),
                    count: whole(count)?,
                });
            }
        }
        Ok(points)
    }
}

/// An id that a store gave back; `None`: a foreign series that only looks like one of ours.
pub(super) fn series_id(greenhouse: &str, device: &str, channel: &str) -> Option<SeriesId> {
    let id = SeriesId {
        greenhouse: greenhouse.parse().ok()?,
        device: device.parse().ok()?,
        channel: channel.parse().ok()?,
    };
    Some(id)
}

/// A number in a store's answer.
pub(super) fn number(text: &str) -> Result<f64, StoreFault> {
    let number = f64::from_str(text).ok().filter(|number| number.is_finite());
    number.ok_or_else(|| http::broken(format!("{text:?} is no number")))
}

/// The shortest decimal that is the same number.
pub(super) fn decimal(number: f64) -> Result<Decimal, StoreFault> {
    let found = shortest(number);
    found.ok_or_else(|| http::broken(format!("no reading can be {number:e}")))
}

fn shortest(number: f64) -> Option<Decimal> {
    // Rust prints the shortest digits that read back as the same number, and never an exponent.
    let text = number.to_string();
    if let Ok(decimal) = text.parse() {
        return Some(decimal);
    }
    // Only zeros can be left out of a whole number.
    let zeros = text.len() - text.trim_end_matches('0').len();
    let exponent = i8::try_from(zeros)
        .unwrap_or(i8::MAX)
        .min(Decimal::MAX_EXPONENT);
    let digits = text.get(..text.len() - usize::from(exponent.unsigned_abs()))?;
    let mantissa = digits.parse().ok()?;
    Some(Decimal { mantissa, exponent })
}

fn whole(count: f64) -> Result<u64, StoreFault> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !(count.fract() == 0.0 && (1.0..EXACT).contains(&count)) {
        return Err(http::broken(format!("{count} is no count")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number in range, by the check above"
    )]
    let count = count as u64;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(time_ms: i64, text: Option<&str>, quality: Quality) -> Reading {
        Reading {
            time_ms,
            value: text.map(|text| text.parse().unwrap()),
            quality,
        }
    }

    #[test]
    fn fields_are_one_reading_again() {
        let mut cells = Cells::default();
        for (time_ms, field, number) in [
            (5, Field::Raw, 2.5),
            (4, Field::Value, 24.0),
            (3, Field::Quality, 5.0),
            (3, Field::Raw, 99.5),
            (2, Field::Quality, 1.0),
            (2, Field::Raw, 7.0),
            (1, Field::Quality, 1.0),
            (1, Field::Value, -0.05),
        ] {
            cells.set(time_ms, field, number);
        }
        let expected = [
            reading(1, Some("-0.05"), Quality::Good),
            reading(2, None, Quality::Failed),
            reading(3, Some("99.5"), Quality::Spike),
            reading(4, Some("24"), Quality::Good),
        ];
        assert_eq!(cells.readings().unwrap(), expected);
    }

    #[test]
    fn an_unknown_quality_is_a_fault() {
        for code in [7.0, 1.5, -1.0] {
            let mut cells = Cells::default();
            cells.set(1, Field::Quality, code);
            assert!(matches!(cells.readings(), Err(StoreFault::Busy { .. })));
        }
    }

    #[test]
    fn buckets_of_two_units_are_one() {
        let mut buckets = Buckets::default();
        for (unit, numbers) in [
            ("Cel", [1.0, 2.0, 3.0, 3.0]),
            ("degC", [0.0, 6.0, 9.0, 1.0]),
        ] {
            for (figure, number) in Figure::ALL.into_iter().zip(numbers) {
                buckets.set(60_000, unit, figure, number);
            }
        }
        let expected = Point {
            time_ms: 60_000,
            values: Some([0.0, 3.0, 9.0]),
            count: 4,
        };
        assert_eq!(buckets.points().unwrap(), [expected]);
    }

    #[test]
    fn a_bucket_that_lacks_a_figure_is_a_fault() {
        for missing in Figure::ALL {
            let mut buckets = Buckets::default();
            for figure in Figure::ALL.into_iter().filter(|figure| *figure != missing) {
                buckets.set(0, "", figure, 1.0);
            }
            assert!(buckets.points().is_err(), "{missing:?}");
        }
        let mut buckets = Buckets::default();
        for figure in Figure::ALL {
            buckets.set(0, "", figure, 0.5);
        }
        assert!(buckets.points().is_err(), "half a reading");
    }

    #[test]
    fn decimals_are_the_shortest() {
        for (number, mantissa, exponent) in [
            (24.98, 2498, -2),
            (24.0, 24, 0),
            (-0.0, 0, 0),
            (700.0, 700, 0),
            (1e-9, 1, -9),
            (9.2e26, 920_000_000_000_000_000, 9),
            (5.085_297_749_143_634e23, 5_085_297_749_143_634, 8),
        ] {
            assert_eq!(
                decimal(number).unwrap(),
                Decimal { mantissa, exponent },
                "{number}"
            );
        }
        for number in [1e-10, 1e300, f64::NAN, f64::INFINITY] {
            assert!(decimal(number).is_err(), "{number}");
        }
    }

    proptest! {
        #[test]
        fn every_decimal_comes_back_as_the_same_number(
            mantissa in -1_000_000_000_000_000_000i64..=1_000_000_000_000_000_000,
            exponent in -9i8..=9,
        ) {
            let number: f64 = Decimal { mantissa, exponent }.to_string().parse().unwrap();
            let back: f64 = decimal(number).unwrap().to_string().parse().unwrap();
            prop_assert_eq!(back.to_bits(), number.to_bits());
        }
    }
}
