//! Recorded traces: reading them, making synthetic ones, and finding their values in an export.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;

/// A column of a trace, and the series that its values must end in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// Name in the trace.
    pub name: &'static str,
    /// Device in the archive.
    pub device: &'static str,
    /// Channel in the archive.
    pub channel: &'static str,
    /// Largest difference that the sensor's resolution explains, in the channel's unit.
    pub tolerance: f64,
}

/// The columns that the simulated chips are driven by.
///
/// Tolerances: half a step of the archived decimal, and half a step of the chip. SHT4x: 175/65535 °C
/// and 125/65535 %RH are finer than the 0.01 kept, so a trace with two decimals must come back as it
/// was. SCD4x: whole ppm. ADS1115 at ±4.096 V: 125 µV, which is 0.0625 W/m² at 2 mV per W/m².
pub const COLUMNS: [Column; 6] = [
    column("air_temperature_c", "sht-inside", "air_temperature", 0.0001),
    column(
        "relative_humidity_pct",
        "sht-inside",
        "relative_humidity",
        0.0001,
    ),
    column(
        "outside_temperature_c",
        "sht-outside",
        "air_temperature",
        0.0001,
    ),
    column(
        "outside_relative_humidity_pct",
        "sht-outside",
        "relative_humidity",
        0.0001,
    ),
    column("co2_ppm", "co2", "co2", 0.5),
    column("outside_global_w_m2", "analog", "global_radiation", 0.0363),
];

const fn column(
    name: &'static str,
    device: &'static str,
    channel: &'static str,
    tolerance: f64,
) -> Column {
    Column {
        name,
        device,
        channel,
        tolerance,
    }
}

/// A trace in memory.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Time of each row, and the values of [`COLUMNS`].
    pub rows: Vec<(Timestamp, [f64; COLUMNS.len()])>,
}

/// What became of a trace's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Values in the trace.
    pub values: usize,
    /// In the archive at their time, equal within the sensor's resolution.
    pub equal: usize,
    /// In the archive at their time, with another value or no value.
    pub different: usize,
    /// Not in the archive at their time.
    pub missing: usize,
    /// In the archive more than once.
    pub twice: usize,
}

impl Verdict {
    /// Whether every value came through, once.
    #[must_use]
    pub fn is_perfect(&self) -> bool {
        self.values > 0 && self.equal == self.values && self.twice == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            values,
            equal,
            different,
            missing,
            twice,
        } = self;
        write!(
            f,
            "values {values}, equal {equal}, different {different}, missing {missing}, twice {twice}"
        )
    }
}

impl Trace {
    /// Reads the columns that drive chips.
    ///
    /// # Errors
    /// When the file, a column, a time or a number is bad.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut reader =
            csv::Reader::from_path(path).with_context(|| format!("open {}", path.display()))?;
        let headers = reader.headers().context("read the header")?.clone();
        let place = |name: &str| {
            let found = headers.iter().position(|header| header == name);
            found.with_context(|| format!("{} has no column {name}", path.display()))
        };
        let time_place = place("time")?;
        let mut places = [0; COLUMNS.len()];
        for (at, column) in places.iter_mut().zip(COLUMNS) {
            *at = place(column.name)?;
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.with_context(|| format!("read {}", path.display()))?;
            let field = |at: usize| record.get(at).context("row is too short");
            let time = field(time_place)?.parse().context("read a time")?;
            let mut values = [0.0; COLUMNS.len()];
            for (value, at) in values.iter_mut().zip(places) {
                *value = field(at)?.parse().context("read a value")?;
            }
            rows.push((time, values));
        }
        Ok(Trace { rows })
    }

    /// A made-up trace: `rows` rows, `step_s` seconds apart, every value distinct from its
    /// neighbours' so that a shift by one row shows, yet no jump that would count as a spike.
    #[must_use]
    pub fn synthetic(start: Timestamp, rows: u32, step_s: u32) -> Self {
        let row = |index: u32| {
            let i = f64::from(index);
            let back_and_forth = |period: u32| {
                let (at, half) = (f64::from(index % (2 * period)), f64::from(period));
                half - (at - half).abs()
            };
            let wave = back_and_forth(37) - 18.0;
            let time = start + jiff::SignedDuration::from_secs(i64::from(index * step_s));
            let cents = |value: f64| (value * 100.0).round() / 100.0;
            let values = [
                cents(25.0 + wave * 0.13 + (i % 2.0) * 0.05),
                cents(70.0 - wave * 0.41),
                cents(22.0 + wave * 0.17),
                cents(64.0 + wave * 0.29),
                450.0 + back_and_forth(53) * 7.0,
                cents(back_and_forth(41) * 21.37),
            ];
            (time, values)
        };
        Trace {
            rows: (0..rows).map(row).collect(),
        }
    }

    /// Writes the trace in the layout that `furrow-sim replay` reads.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut writer =
            csv::Writer::from_path(path).with_context(|| format!("create {}", path.display()))?;
        let names = COLUMNS.iter().map(|column| column.name);
        writer
            .write_record(std::iter::once("time").chain(names))
            .context("write the header")?;
        for (time, values) in &self.rows {
            let texts = values.iter().map(|value| format!("{value:.2}"));
            let row = std::iter::once(time.to_string()).chain(texts);
            writer.write_record(row).context("write a row")?;
        }
        writer.flush().context("write the trace")
    }

    /// Looks for every value in an export of `furrow-ingest`.
    ///
    /// # Errors
    /// When the export can't be read.
    pub fn find_in(&self, export: &Path) -> anyhow::Result<Verdict> {
        let archived = read_export(export)?;
        let mut verdict = Verdict::default();
        for (time, values) in &self.rows {
            for (column, value) in COLUMNS.iter().zip(values) {
                verdict.values += 1;
                let key = (column.device.to_owned(), column.channel.to_owned(), *time);
                match archived.get(&key).map(Vec::as_slice) {
                    None | Some([]) => verdict.missing += 1,
                    Some([found, more @ ..]) => {
                        verdict.twice += usize::from(!more.is_empty());
                        let close = |found: f64| (found - value).abs() <= column.tolerance;
                        if found.is_some_and(close) {
                            verdict.equal += 1;
                        } else {
                            verdict.different += 1;
                        }
                    }
                }
            }
        }
        Ok(verdict)
    }
}

/// Device, channel and time of a reading.
type Key = (String, String, Timestamp);

/// Values by series and time; `None` for a reading that is not good.
fn read_export(path: &Path) -> anyhow::Result<BTreeMap<Key, Vec<Option<f64>>>> {
    let mut reader =
        csv::Reader::from_path(path).with_context(|| format!("open {}", path.display()))?;
    let headers = reader
        .headers()
        .context("read the export's header")?
        .clone();
    let expected = [
        "time",
        "greenhouse",
        "device",
        "channel",
        "value",
        "unit",
        "quality",
    ];
    anyhow::ensure!(
        headers.iter().eq(expected),
        "the export's columns are {headers:?}"
    );
    let mut out: BTreeMap<Key, Vec<Option<f64>>> = BTreeMap::new();
    for record in reader.records() {
        let record = record.context("read the export")?;
        let [time, _, device, channel, value, _, quality] = record
            .deserialize::<[String; 7]>(None)
            .context("read a row of the export")?;
        let time = time
            .parse()
            .with_context(|| format!("read the time {time:?}"))?;
        let value = (quality == "good").then(|| value.parse().ok()).flatten();
        out.entry((device, channel, time)).or_default().push(value);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(rows: &[(&str, &str, &str, &str, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut text = "time,greenhouse,device,channel,value,unit,quality\n".to_owned();
        for (time, device, channel, value, quality) in rows {
            text += &format!("{time},g,{device},{channel},{value},,{quality}\n");
        }
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn each_kind_of_difference_is_counted() {
        let trace = Trace {
            rows: vec![(
                "2026-01-01T00:00:00Z".parse().unwrap(),
                [20.0, 60.0, 10.0, 50.0, 500.0, 0.0],
            )],
        };
        let time = "2026-01-01T00:00:00.000Z";
        let file = export(&[
            (time, "sht-inside", "air_temperature", "20.00", "good"),
            (time, "sht-inside", "relative_humidity", "60.01", "good"),
            (time, "sht-outside", "air_temperature", "10.00", "spike"),
            (time, "co2", "co2", "500", "good"),
            (time, "co2", "co2", "500", "good"),
            (
                "2026-01-01T00:05:00Z",
                "analog",
                "global_radiation",
                "0.00",
                "good",
            ),
        ]);
        let verdict = trace.find_in(file.path()).unwrap();
        let expected = Verdict {
            values: 6,
            equal: 2,
            different: 2,
            missing: 2,
            twice: 1,
        };
        assert_eq!(verdict, expected);
        assert!(!verdict.is_perfect());
        assert_eq!(
            verdict.to_string(),
            "values 6, equal 2, different 2, missing 2, twice 1"
        );
    }

    #[test]
    fn an_empty_trace_proves_nothing() {
        let file = export(&[]);
        assert!(
            !Trace { rows: Vec::new() }
                .find_in(file.path())
                .unwrap()
                .is_perfect()
        );
    }

    #[test]
    fn a_synthetic_trace_is_written_and_read_back() {
        let trace = Trace::synthetic("2026-01-01T00:00:00Z".parse().unwrap(), 100, 60);
        let file = tempfile::NamedTempFile::new().unwrap();
        trace.write(file.path()).unwrap();
        assert_eq!(Trace::read(file.path()).unwrap().rows, trace.rows);
        for pair in trace.rows.windows(2) {
            assert!(
                pair[0]
                    .1
                    .iter()
                    .zip(pair[1].1)
                    .all(|(a, b)| (a - b).abs() > 0.01)
            );
        }
    }
}
