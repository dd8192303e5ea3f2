//! What a batch says, as a store takes it.

use std::collections::BTreeMap;

use furrow_wire::{CatalogChannel, Column, Decimal, SeriesId};

use crate::archive::Readings;
use crate::store::{Reading, Run};

/// The readings of a batch, series after series; a series may come in several runs, each in ascending time. A column
/// that the catalog lacks and a time beyond the calendar are dead letters in the archive: they are left out.
pub(super) fn runs_of(readings: &Readings) -> Vec<Run> {
    let mut runs = Vec::new();
    for axis in &readings.batch.axes {
        let times: Vec<Option<i64>> = axis
            .times
            .iter()
            .map(|mono_ms| wall(*mono_ms, readings.wall_offset_ms))
            .collect();
        for column in &axis.columns {
            let channel = readings.catalog.channels.get(usize::from(column.channel));
            if let Some(channel) = channel {
                runs.push(run(readings, channel, column, &times));
            }
        }
    }
    runs
}

/// Joins runs of one series that follow each other in time, so that a store is told of each series once.
pub(super) fn joined(runs: Vec<Run>) -> Vec<Run> {
    let mut by_series: BTreeMap<(SeriesId, String), Vec<Run>> = BTreeMap::new();
    for run in runs {
        let of_series = by_series.entry((run.series.clone(), run.unit.clone()));
        let of_series = of_series.or_default();
        let ends = |run: &Run| run.readings.last().map(|reading| reading.time_ms);
        let begins = run.readings.first().map(|reading| reading.time_ms);
        match of_series.last_mut() {
            Some(last) if ends(last) < begins => last.readings.extend(run.readings),
            Some(_) | None => of_series.push(run),
        }
    }
    by_series.into_values().flatten().collect()
}

fn run(
    readings: &Readings,
    channel: &CatalogChannel,
    column: &Column,
    times: &[Option<i64>],
) -> Run {
    let sampled = times.iter().zip(&column.samples);
    let taken = sampled.filter_map(|(time_ms, sample)| {
        let value = sample.mantissa.map(|mantissa| Decimal {
            mantissa,
            exponent: channel.exponent,
        });
        Some(Reading {
            time_ms: (*time_ms)?,
            value,
            quality: sample.quality,
        })
    });
    Run {
        series: SeriesId {
            greenhouse: readings.greenhouse.clone(),
            device: channel.device.clone(),
            channel: channel.channel.clone(),
        },
        unit: channel.unit.clone(),
        readings: taken.collect(),
    }
}

fn wall(mono_ms: u64, offset_ms: i64) -> Option<i64> {
    i64::try_from(mono_ms).ok()?.checked_add(offset_ms)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use furrow_wire::{
        Axis, Batch, BootId, Catalog, CatalogDevice, ClockState, Quality, RecordName, Sample, Seq,
        StreamId,
    };

    use super::*;

    fn channel(name: &str, exponent: i8) -> CatalogChannel {
        CatalogChannel {
            device: "sht".parse().unwrap(),
            channel: name.parse().unwrap(),
            unit: "Cel".to_owned(),
            exponent,
            interval_ms: 10_000,
            name: String::new(),
        }
    }

    fn catalog() -> Catalog {
        Catalog {
            greenhouse: "nha-1".parse().unwrap(),
            greenhouse_name: String::new(),
            devices: vec![CatalogDevice {
                id: "sht".parse().unwrap(),
                kind: String::new(),
                bus: String::new(),
                address: None,
                name: String::new(),
                calibration_version: 0,
            }],
            channels: vec![channel("air_temperature", -2), channel("co2", 0)],
            zones: Vec::new(),
            software: String::new(),
        }
    }

    fn readings(times: &[u64], columns: Vec<Column>) -> Readings {
        Readings {
            gateway: "gw-1".parse().unwrap(),
            greenhouse: "nha-1".parse().unwrap(),
            record: RecordName {
                stream: StreamId(1),
                seq: Seq(1),
            },
            catalog: Arc::new(catalog()),
            wall_offset_ms: 1_000,
            batch: Batch {
                boot: BootId(1),
                from_mono_ms: 0,
                to_mono_ms: 100,
                clock: ClockState::Synchronised,
                wall_offset_ms: Some(1_000),
                catalog: Catalog::hash(b""),
                axes: vec![Axis {
                    step_ms: 10,
                    times: times.to_vec(),
                    columns,
                }],
            },
            received_unix_ms: 2_000,
        }
    }

    fn column(channel: u16, mantissas: &[Option<i64>]) -> Column {
        let samples = mantissas.iter().map(|mantissa| Sample {
            mantissa: *mantissa,
            quality: match mantissa {
                Some(_) => Quality::Good,
                None => Quality::Failed,
            },
        });
        Column {
            channel,
            samples: samples.collect(),
        }
    }

    fn of(run: &Run) -> (&str, Vec<(i64, Option<String>)>) {
        let readings = run.readings.iter();
        let readings = readings.map(|one| (one.time_ms, one.value.map(|value| value.to_string())));
        (run.series.channel.as_str(), readings.collect())
    }

    #[test]
    fn each_column_is_a_run_of_exact_values() {
        let columns = vec![
            column(0, &[Some(2_512), None]),
            column(1, &[Some(400), Some(401)]),
            column(7, &[Some(1), Some(2)]),
        ];
        let runs = runs_of(&readings(&[10, 20], columns));
        let expected = [
            (
                "air_temperature",
                vec![(1_010, Some("25.12".to_owned())), (1_020, None)],
            ),
            (
                "co2",
                vec![
                    (1_010, Some("400".to_owned())),
                    (1_020, Some("401".to_owned())),
                ],
            ),
        ];
        assert_eq!(runs.iter().map(of).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn runs_are_joined_only_where_time_goes_on() {
        let at = |time| runs_of(&readings(&[time], vec![column(1, &[Some(400)])]));
        let runs = joined([at(10), at(20), at(15), at(30)].concat());
        let times: Vec<Vec<i64>> = runs
            .iter()
            .map(|run| run.readings.iter().map(|one| one.time_ms).collect())
            .collect();
        assert_eq!(times, [vec![1_010, 1_020], vec![1_015, 1_030]]);
    }
}
