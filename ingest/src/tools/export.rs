//! `furrow-ingest export`: a cooperative's readings as CSV, Parquet or line protocol.
//!
//! Reads the archive beside a running ingest or without one, and says up to which entry of the log the export is
//! complete. A bad reading is never a number: in CSV its value column is empty unless its quality carries one, in line
//! protocol it stands in other fields than `value`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use furrow_wire::{CooperativeId, GreenhouseId, SeriesId};
use jiff::Timestamp;

use crate::archive::{ArchiveError, ArchiveReader, ExportRow, LogPosition};
use crate::config::Settings;
use crate::run::ARCHIVE_FOLDER;
use crate::store::Reading;
use crate::store::line::{Precision, Prefix, push_line};

mod parquet;

use self::parquet::ParquetSink;

/// What to export, and how.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Whose readings.
    #[arg(long)]
    pub cooperative: CooperativeId,
    /// Only this greenhouse.
    #[arg(long)]
    pub greenhouse: Option<GreenhouseId>,
    /// From this time on (RFC 3339).
    #[arg(long)]
    pub from: Option<Timestamp>,
    /// Up to this time, exclusive (RFC 3339).
    #[arg(long)]
    pub to: Option<Timestamp>,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub format: Format,
    /// Where to; standard output if left out. The file appears when it is complete.
    #[arg(long)]
    pub output: Option<PathBuf>,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated, with a header line.
    Csv,
    /// InfluxDB's line protocol, times in nanoseconds. A bad reading has `quality` in place of `value`: 1 failed, 2 stale, 3
    /// out of range, 4 stuck, 5 spike, 6 suspect; the last four carry `raw`.
    Lp,
    /// Parquet, for pandas, DuckDB and the like.
    Parquet,
}

/// Runs the export.
///
/// # Errors
/// When the archive can't be read or the output can't be written.
pub fn run(settings: &Settings, arguments: &ExportArgs) -> anyhow::Result<()> {
    let dir = settings.data_dir.join(ARCHIVE_FOLDER);
    let cooperative = &arguments.cooperative;
    let reader = ArchiveReader::open_dir(&dir, std::slice::from_ref(cooperative));
    let (readings, position) = match &arguments.output {
        None => write_all(&reader, arguments, std::io::stdout())?,
        Some(path) => {
            let part = part_of(path);
            let file =
                File::create(&part).with_context(|| format!("can't create {}", part.display()))?;
            let done = write_all(&reader, arguments, &file)?;
            file.sync_all()
                .with_context(|| format!("can't write {}", part.display()))?;
            std::fs::rename(&part, path).with_context(|| {
                format!("can't rename {} to {}", part.display(), path.display())
            })?;
            done
        }
    };
    let complete = position.map_or_else(
        || "nothing has been applied yet".to_owned(),
        |LogPosition { segment, offset }| format!("segment {segment}, offset {offset}"),
    );
    tracing::info!(%cooperative, readings, complete_up_to = complete, "exported");
    Ok(())
}

/// Writes the export to `out`; gives how many readings, and up to which log entry that is complete.
///
/// # Errors
/// When the archive can't be read or `out` can't be written.
pub fn write_all(
    reader: &ArchiveReader,
    arguments: &ExportArgs,
    out: impl Write + Send,
) -> anyhow::Result<(u64, Option<LogPosition>)> {
    // Far beyond all stored times, and safe to calculate with.
    const EVER_MS: i64 = 1 << 53;
    let from_ms = arguments.from.map_or(-EVER_MS, Timestamp::as_millisecond);
    let to_ms = arguments.to.map_or(EVER_MS, Timestamp::as_millisecond);
    anyhow::ensure!(from_ms < to_ms, "--from must be before --to");
    let mut sink = Sink::new(arguments.format, &arguments.cooperative, out)?;
    sink.begin()?;
    let mut readings = 0;
    let wanted = |series: &SeriesId| {
        arguments
            .greenhouse
            .as_ref()
            .is_none_or(|greenhouse| *greenhouse == series.greenhouse)
    };
    let exported = reader.export(&arguments.cooperative, wanted, (from_ms, to_ms), |row| {
        readings += 1;
        sink.row(&row)
    });
    let position = match exported {
        Ok(position) => position,
        Err(Failed::Archive(error)) => return Err(error.into()),
        Err(Failed::Output(error)) => return Err(error.context("can't write the export")),
    };
    sink.finish()?;
    Ok((readings, position))
}

enum Failed {
    Archive(ArchiveError),
    Output(anyhow::Error),
}

impl From<ArchiveError> for Failed {
    fn from(error: ArchiveError) -> Self {
        Failed::Archive(error)
    }
}

enum Sink<'a, W: Write + Send> {
    Csv(Box<csv::Writer<W>>),
    Parquet(Box<ParquetSink<W>>),
    Lines {
        out: BufWriter<W>,
        cooperative: &'a CooperativeId,
        /// Of the rows so far: they come series by series.
        prefix: Option<(SeriesId, String, Prefix)>,
        line: String,
    },
}

impl<'a, W: Write + Send> Sink<'a, W> {
    fn new(format: Format, cooperative: &'a CooperativeId, out: W) -> anyhow::Result<Self> {
        Ok(match format {
            Format::Csv => Sink::Csv(Box::new(csv::Writer::from_writer(out))),
            Format::Lp => Sink::Lines {
                out: BufWriter::new(out),
                cooperative,
                prefix: None,
                line: String::new(),
            },
            Format::Parquet => Sink::Parquet(Box::new(ParquetSink::new(out)?)),
        })
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        match self {
            Sink::Csv(csv) => csv
                .write_record([
                    "time",
                    "greenhouse",
                    "device",
                    "channel",
                    "value",
                    "unit",
                    "quality",
                ])
                .context("can't write the export"),
            Sink::Parquet(_) | Sink::Lines { .. } => Ok(()),
        }
    }

    fn row(&mut self, row: &ExportRow<'_>) -> Result<(), Failed> {
        let written = match self {
            Sink::Csv(csv) => write_csv(csv, row),
            Sink::Parquet(parquet) => parquet.row(row),
            Sink::Lines {
                out,
                cooperative,
                prefix,
                line,
            } => {
                let known = prefix.take();
                let known =
                    known.filter(|(series, unit, _)| series == row.series && unit == row.unit);
                let (_, _, tags) = prefix.insert(known.unwrap_or_else(|| {
                    let tags = Prefix::new(cooperative, row.series, row.unit);
                    (row.series.clone(), row.unit.to_owned(), tags)
                }));
                line.clear();
                let (time_ms, value, quality) = (row.time_ms, row.value, row.quality);
                let reading = Reading {
                    time_ms,
                    value,
                    quality,
                };
                push_line(line, tags, &reading, Precision::Nanoseconds);
                out.write_all(line.as_bytes()).map_err(anyhow::Error::from)
            }
        };
        written.map_err(Failed::Output)
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Sink::Parquet(parquet) => return parquet.finish(),
            Sink::Csv(mut csv) => csv.flush(),
            Sink::Lines { mut out, .. } => out.flush(),
        }
        .context("can't write the export")
    }
}

fn write_csv<W: Write>(csv: &mut csv::Writer<W>, row: &ExportRow<'_>) -> anyhow::Result<()> {
    let time = Timestamp::from_millisecond(row.time_ms).context("time is beyond the calendar")?;
    let value = row.value.map(|value| value.to_string()).unwrap_or_default();
    csv.write_record([
        format!("{time:.3}").as_str(),
        row.series.greenhouse.as_str(),
        row.series.device.as_str(),
        row.series.channel.as_str(),
        &value,
        row.unit,
        row.quality.as_str(),
    ])?;
    Ok(())
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use furrow_wire::{Decimal, Quality};

    fn series() -> SeriesId {
        SeriesId {
            greenhouse: "nha-1".parse().unwrap(),
            device: "sht".parse().unwrap(),
            channel: "air_temperature".parse().unwrap(),
        }
    }

    fn rows(series: &SeriesId) -> Vec<ExportRow<'_>> {
        let row = |time_ms, mantissa: Option<i64>, quality| ExportRow {
            series,
            unit: "Cel",
            time_ms,
            value: mantissa.map(|mantissa| Decimal {
                mantissa,
                exponent: -2,
            }),
            quality,
        };
        vec![
            row(1_700_000_000_000, Some(-5), Quality::Good),
            row(1_700_000_010_500, None, Quality::Failed),
            row(1_700_000_020_000, Some(9900), Quality::Spike),
        ]
    }

    #[track_caller]
    fn check(format: Format, expected: &str) {
        let (series, cooperative) = (series(), "hoa-binh".parse().unwrap());
        let mut out = Vec::new();
        let mut sink = Sink::new(format, &cooperative, &mut out).unwrap();
        sink.begin().unwrap();
        for row in rows(&series) {
            sink.row(&row).ok().unwrap();
        }
        sink.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn csv() {
        check(
            Format::Csv,
            "time,greenhouse,device,channel,value,unit,quality\n\
             2023-11-14T22:13:20.000Z,nha-1,sht,air_temperature,-0.05,Cel,good\n\
             2023-11-14T22:13:30.500Z,nha-1,sht,air_temperature,,Cel,failed\n\
             2023-11-14T22:13:40.000Z,nha-1,sht,air_temperature,99.00,Cel,spike\n",
        );
    }

    #[test]
    fn line_protocol() {
        let tags = "air_temperature,cooperative=hoa-binh,device=sht,greenhouse=nha-1,unit=Cel";
        check(
            Format::Lp,
            &format!(
                "{tags} value=-0.05 1700000000000000000\n\
                 {tags} quality=1 1700000010500000000\n\
                 {tags} quality=5,raw=99.00 1700000020000000000\n"
            ),
        );
    }
}
