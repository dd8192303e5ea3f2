//! An export as Parquet: typed columns for pandas, DuckDB and the like.
//!
//! The same rows as the CSV's. Values are doubles: a sensor's decimals are far from where these end.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use furrow_wire::SeriesId;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use crate::archive::ExportRow;

/// Rows of a group: bounds what an export and its reader hold in memory, to about 20 MB.
const GROUP_ROWS: usize = 128 * 1024;
const SCHEMA: &str = "
message readings {
    REQUIRED INT64 time (TIMESTAMP(MILLIS, true));
    REQUIRED BYTE_ARRAY greenhouse (STRING);
    REQUIRED BYTE_ARRAY device (STRING);
    REQUIRED BYTE_ARRAY channel (STRING);
    OPTIONAL DOUBLE value;
    REQUIRED BYTE_ARRAY unit (STRING);
    REQUIRED BYTE_ARRAY quality (STRING);
}";

/// See the module.
pub(super) struct ParquetSink<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    group: Group,
    /// Of the series before, so that each name is made once.
    names: Option<(SeriesId, Names)>,
}

#[derive(Clone)]
struct Names {
    greenhouse: ByteArray,
    device: ByteArray,
    channel: ByteArray,
    unit: ByteArray,
}

/// Columns of the rows that are not yet written.
#[derive(Default)]
struct Group {
    times: Vec<i64>,
    greenhouses: Vec<ByteArray>,
    devices: Vec<ByteArray>,
    channels: Vec<ByteArray>,
    /// 1 where there is a value.
    has_value: Vec<i16>,
    values: Vec<f64>,
    units: Vec<ByteArray>,
    qualities: Vec<ByteArray>,
}

impl<W: Write + Send> ParquetSink<W> {
    /// Begins a file.
    pub(super) fn new(out: W) -> anyhow::Result<Self> {
        let schema = parse_message_type(SCHEMA).context("schema does not parse")?;
        let zstd = ZstdLevel::try_new(3).context("no such level")?;
        let plain = |name: &str| ColumnPath::from(name);
        let properties = WriterProperties::builder()
            .set_created_by(concat!("furrow-ingest ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(zstd))
            .set_column_dictionary_enabled(plain("time"), false)
            .set_column_encoding(plain("time"), Encoding::DELTA_BINARY_PACKED)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties));
        Ok(Self {
            writer: writer.context("can't begin the export")?,
            group: Group::default(),
            names: None,
        })
    }

    /// Adds a row; writes a group when it is full.
    pub(super) fn row(&mut self, row: &ExportRow<'_>) -> anyhow::Result<()> {
        let names = match &self.names {
            Some((series, names)) if series == row.series => names.clone(),
            Some(_) | None => {
                let names = Names {
                    greenhouse: row.series.greenhouse.as_str().into(),
                    device: row.series.device.as_str().into(),
                    channel: row.series.channel.as_str().into(),
                    unit: row.unit.into(),
                };
                self.names = Some((row.series.clone(), names.clone()));
                names
            }
        };
        let group = &mut self.group;
        group.times.push(row.time_ms);
        group.greenhouses.push(names.greenhouse);
        group.devices.push(names.device);
        group.channels.push(names.channel);
        group.has_value.push(i16::from(row.value.is_some()));
        group
            .values
            .extend(row.value.map(furrow_wire::Decimal::to_f64));
        group.units.push(names.unit);
        group.qualities.push(row.quality.as_str().into());
        if group.times.len() >= GROUP_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is left, and the end of the file.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.flush()?;
        let mut out = self.writer.into_inner().context("can't end the export")?;
        out.flush().context("can't write the export")
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let group = std::mem::take(&mut self.group);
        if group.times.is_empty() {
            return Ok(());
        }
        let mut out = self.writer.next_row_group().context("can't begin rows")?;
        let written = group.write(&mut out).and_then(|()| {
            out.close()?;
            Ok(())
        });
        written.context("can't write the export")
    }
}

impl Group {
    fn write<W: Write + Send>(
        &self,
        out: &mut SerializedRowGroupWriter<'_, W>,
    ) -> parquet::errors::Result<()> {
        let mut column = 0;
        while let Some(mut writer) = out.next_column()? {
            let texts = match column {
                1 => &self.greenhouses,
                2 => &self.devices,
                3 => &self.channels,
                5 => &self.units,
                _ => &self.qualities,
            };
            match column {
                0 => writer
                    .typed::<Int64Type>()
                    .write_batch(&self.times, None, None)?,
                4 => writer.typed::<DoubleType>().write_batch(
                    &self.values,
                    Some(&self.has_value),
                    None,
                )?,
                _ => writer
                    .typed::<ByteArrayType>()
                    .write_batch(texts, None, None)?,
            };
            writer.close()?;
            column += 1;
        }
        Ok(())
    }
}
