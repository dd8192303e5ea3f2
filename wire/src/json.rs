//! Any record as JSON, for people: `furrow-gateway journal --decode`, `furrow-ingest tail`.

use serde_json::{Value, json};

use crate::batch::{Batch, decode_batch};
use crate::catalog::Catalog;
use crate::clock::ClockMapping;
use crate::decimal::Decimal;
use crate::event::Events;
use crate::loss::Loss;
use crate::record::{RawRecord, RecordKind};

/// A record for people. With the batch's catalog its columns bear names, units and values; without
/// it, indices and mantissas. What can't be decoded is shown with the reason.
#[must_use]
pub fn record_to_json(record: &RawRecord<'_>, catalog: Option<&Catalog>) -> Value {
    let kind = RecordKind::from_code(record.kind);
    let body = match kind {
        _ if record.version != crate::record::VERSION => {
            Err(format!("record is of version {}", record.version))
        }
        Some(RecordKind::Batch) => decode_batch(record.body)
            .map(|batch| batch_to_json(&batch, catalog))
            .map_err(|error| error.to_string()),
        Some(RecordKind::Catalog) => Catalog::decode(record.body)
            .map(|decoded| json!({ "hash": Catalog::hash(record.body), "catalog": decoded }))
            .map_err(|error| error.to_string()),
        Some(RecordKind::ClockMapping) => ClockMapping::decode(record.body)
            .map(|mapping| {
                json!({
                    "boot": mapping.boot,
                    "wall_offset_ms": mapping.wall_offset_ms,
                    "error_ms": mapping.error_ms,
                    "state": mapping.state,
                })
            })
            .map_err(|error| error.to_string()),
        Some(RecordKind::Events) => Events::decode(record.body)
            .map(|e| events_to_json(&e))
            .map_err(|e| e.to_string()),
        Some(RecordKind::Loss) => Loss::decode(record.body)
            .map(|l| loss_to_json(&l))
            .map_err(|e| e.to_string()),
        None => Err(format!("record kind {} is unknown", record.kind)),
    };
    let kind = match kind {
        Some(RecordKind::Batch) => "batch",
        Some(RecordKind::Catalog) => "catalog",
        Some(RecordKind::ClockMapping) => "clock_mapping",
        Some(RecordKind::Events) => "events",
        Some(RecordKind::Loss) => "loss",
        None => "unknown",
    };
    let name = json!({ "stream": record.name.stream, "seq": record.name.seq });
    match body {
        Ok(body) => json!({ "name": name, "kind": kind, "body": body }),
        Err(error) => json!({ "name": name, "kind": kind, "error": error }),
    }
}

fn batch_to_json(batch: &Batch, catalog: Option<&Catalog>) -> Value {
    let columns: Vec<Value> = batch
        .axes
        .iter()
        .flat_map(|axis| axis.columns.iter().map(move |column| (axis, column)))
        .map(|(axis, column)| {
            let channel = catalog.and_then(|c| c.channels.get(usize::from(column.channel)));
            let samples: Vec<Value> = axis
                .times
                .iter()
                .zip(&column.samples)
                .map(|(time, sample)| {
                    let value = sample.mantissa.map(|mantissa| match channel {
                        Some(channel) => {
                            json!(Decimal { mantissa, exponent: channel.exponent }.to_f64())
                        }
                        None => json!(mantissa),
                    });
                    let wall = batch.wall_offset_ms.map(|offset| offset.saturating_add_unsigned(*time));
                    json!({ "mono_ms": time, "unix_ms": wall, "value": value, "quality": sample.quality })
                })
                .collect();
            json!({
                "channel": column.channel,
                "device": channel.map(|c| &c.device),
                "name": channel.map(|c| &c.channel),
                "unit": channel.map(|c| &c.unit),
                "step_ms": axis.step_ms,
                "samples": samples,
            })
        })
        .collect();
    json!({
        "boot": batch.boot,
        "from_mono_ms": batch.from_mono_ms,
        "to_mono_ms": batch.to_mono_ms,
        "clock": batch.clock,
        "wall_offset_ms": batch.wall_offset_ms,
        "catalog": batch.catalog,
        "readings": batch.readings(),
        "columns": columns,
    })
}

fn events_to_json(events: &Events) -> Value {
    json!({
        "boot": events.boot,
        "clock": events.clock,
        "wall_offset_ms": events.wall_offset_ms,
        "events": events.events,
    })
}

fn loss_to_json(loss: &Loss) -> Value {
    json!({
        "stream": loss.stream,
        "from_seq": loss.from_seq,
        "to_seq": loss.to_seq,
        "readings": loss.readings,
        "reason": loss.reason,
        "text": loss.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Axis, Column, Sample, encode_batch};
    use crate::{BootId, ClockState, Quality, RecordName, Seq, StreamId};

    const NAME: RecordName = RecordName {
        stream: StreamId(1),
        seq: Seq(2),
    };

    #[test]
    fn a_batch_is_shown_with_names_and_values() {
        let catalog = crate::catalog::tests::sample();
        let failed = Sample {
            quality: Quality::Failed,
            mantissa: None,
        };
        let column = |channel, sample| Column {
            channel,
            samples: vec![sample],
        };
        let columns = vec![column(0, Sample::good(2498)), column(1, failed)];
        let batch = Batch {
            boot: BootId(3),
            from_mono_ms: 1000,
            to_mono_ms: 2000,
            clock: ClockState::Synchronised,
            wall_offset_ms: Some(500),
            catalog: Catalog::hash(&catalog.encode()),
            axes: vec![Axis {
                step_ms: 1000,
                times: vec![1000],
                columns,
            }],
        };
        let body = encode_batch(&batch).unwrap();
        let record = RawRecord {
            version: 1,
            kind: 1,
            name: NAME,
            body: &body,
        };
        let shown = record_to_json(&record, Some(&catalog));
        assert_eq!(
            shown["name"],
            json!({ "stream": "0000000000000001", "seq": 2 })
        );
        let expected = json!([
            { "channel": 0, "device": "sht-inside", "name": "air_temperature", "unit": "Cel", "step_ms": 1000,
              "samples": [{ "mono_ms": 1000, "unix_ms": 1500, "value": 24.98, "quality": "good" }] },
            { "channel": 1, "device": "meter", "name": "water_flow", "unit": "Cel", "step_ms": 1000,
              "samples": [{ "mono_ms": 1000, "unix_ms": 1500, "value": null, "quality": "failed" }] },
        ]);
        assert_eq!(shown["body"]["columns"], expected);
        let bare = record_to_json(&record, None);
        assert_eq!(
            bare["body"]["columns"][0]["samples"][0]["value"],
            json!(2498)
        );
    }

    #[test]
    fn what_can_not_be_decoded_says_why() {
        let shown = |version, kind| {
            record_to_json(
                &RawRecord {
                    version,
                    kind,
                    name: NAME,
                    body: b"\xff",
                },
                None,
            )
        };
        assert_eq!(shown(2, 1)["error"], "record is of version 2");
        assert_eq!(shown(1, 9)["error"], "record kind 9 is unknown");
        for kind in 1..=5 {
            assert!(
                shown(1, kind)["error"]
                    .as_str()
                    .unwrap()
                    .contains("not valid protobuf")
            );
        }
    }
}
