//! The mutants: a place in a file, and what stands there instead.

/// One deliberate bug.
pub(super) struct Mutant {
    /// What it does wrong.
    pub(super) name: &'static str,
    /// The file, from the workspace's root.
    pub(super) file: &'static str,
    /// Text that stands there once.
    pub(super) old: &'static str,
    /// What takes its place.
    pub(super) new: &'static str,
}

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "ingest acknowledges what is not committed",
        file: "ingest/src/log/front.rs",
        old: "        if self.is_dirty {\n            return Vec::new();",
        new: "        if false {\n            return Vec::new();",
    },
    Mutant {
        name: "a commit does not wait for the disk",
        file: "journal/src/journal.rs",
        old: "            store\n                .disk\n                .sync(&name)\n                .map_err(JournalError::io(SYNC, &name))",
        new: "            Ok(())",
    },
    Mutant {
        name: "a stream is used again after a crash",
        file: "gateway/core/src/record.rs",
        old: "        Recorder {\n            stream,",
        new: "        Recorder {\n            stream: StreamId(stream.0 & 1),",
    },
    Mutant {
        name: "an acknowledgement skips a hole",
        file: "ingest/core/src/stream.rs",
        old: "            stream,\n            mark: self.mark,",
        new: "            stream,\n            mark: self.ranges.first().map_or(self.mark, |range| range.1),",
    },
    Mutant {
        name: "ranges above the mark are dropped",
        file: "ingest/core/src/stream.rs",
        old: "self.ranges = merged(&self.ranges, &[range]);",
        new: "self.ranges = merged(&[], &[range]);",
    },
    Mutant {
        name: "a catalog goes with its segment",
        file: "gateway/core/src/evict.rs",
        old: "            Some(RecordKind::Batch) => plan.lose(record, reason),",
        new: "            Some(RecordKind::Batch | RecordKind::Catalog) => plan.lose(record, reason),",
    },
    Mutant {
        name: "events are not written again at the cap",
        file: "gateway/src/run/records.rs",
        old: "        let mut items: Vec<Item> = copies.iter().map(item).collect();",
        new: "        let copies: Vec<Found> = copies.into_iter().take(0).collect();\n        let mut items: Vec<Item> = copies.iter().map(item).collect();",
    },
    Mutant {
        name: "a segment goes before its loss is told",
        file: "gateway/src/run/records.rs",
        old: "        for loss in losses {\n            self.loss(loss);",
        new: "        for loss in losses.iter().take(0) {\n            self.loss(loss);",
    },
    Mutant {
        name: "a segment is released with one record waiting",
        file: "gateway/core/src/outbox/index.rs",
        old: ".find(|(_, segment)| segment.waiting == 0 && !segment.released)?;",
        new: ".find(|(_, segment)| segment.waiting <= 1 && !segment.released)?;",
    },
    Mutant {
        name: "a PUBACK counts as stored",
        file: "gateway/core/src/outbox/mod.rs",
        old: "            flight.puback_since = None;",
        new: "            flight.puback_since = None;\n            self.index.settle(flight.range);",
    },
    Mutant {
        name: "nothing is taken back from a restored ingest",
        file: "gateway/core/src/outbox/mod.rs",
        old: "            self.take_back(marks);",
        new: "",
    },
    Mutant {
        name: "duplicates are forgotten at a restart",
        file: "ingest/src/log/recover.rs",
        old: "    let mut tracker = snapshot.tracker.clone();",
        new: "    let mut tracker = Tracker::default();",
    },
    Mutant {
        name: "marks are stored ahead of what is decided",
        file: "ingest/src/log/consumer.rs",
        old: "        if self.group.is_some() {\n            return Err(CheckpointError::Behind);",
        new: "        if false {\n            return Err(CheckpointError::Behind);",
    },
    Mutant {
        name: "the log goes before the archive is durable",
        file: "ingest/src/log/consumer.rs",
        old: "        self.derived.make_durable()?;",
        new: "",
    },
    Mutant {
        name: "a later mapping of a boot counts",
        file: "ingest/src/decode/gateway.rs",
        old: "        if self.mappings.get(&mapping.boot).is_some() {",
        new: "        if false {",
    },
    Mutant {
        name: "batches go before their mapping",
        file: "gateway/src/run/records.rs",
        old: "            None => clock.handle_unmapped(),",
        new: "            None => clock.handle_unmapped().filter(|_| false),",
    },
    Mutant {
        name: "a step back of the clock is forgotten",
        file: "gateway/core/src/state.rs",
        old: "        let latest = |known: LastWall| wall.is_none_or(|wall| known.unix_ms >= wall.unix_ms);",
        new: "        let latest = |_: LastWall| wall.is_none();",
    },
    Mutant {
        name: "a frame is believed without its check",
        file: "journal/src/frame.rs",
        old: "    if crc32c::crc32c_append(crc, payload) != u32::from_le_bytes([r0, r1, r2, r3]) {",
        new: "    if false {",
    },
    Mutant {
        name: "a log that begins again is taken for applied",
        file: "ingest/src/log/eras.rs",
        old: "        self.0.push(era);",
        new: "",
    },
    Mutant {
        name: "an archive behind its marks goes unnoticed",
        file: "ingest/src/log/recover.rs",
        old: "        if !is_there {",
        new: "        if false {",
    },
    Mutant {
        name: "a lost range is offered as if it waited",
        file: "gateway/core/src/recovery.rs",
        old: "        for loss in self.losses.iter().chain(&damaged) {",
        new: "        for loss in &damaged {",
    },
];
