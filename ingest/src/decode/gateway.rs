//! The decoder of one gateway.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use furrow_wire::{
    Batch, BootId, Catalog, CatalogHash, ClockMapping, Events, GatewayId, GreenhouseId, HEADER_LEN,
    Loss, RecordKind, RecordName, decode_batch,
};

use super::{MAX_FUTURE_MS, MAX_PARKED_BYTES, MAX_PARKED_RECORDS, PacketRecord};
use crate::archive::{Change, ParkReason, ParkedRecord, Readings};

/// The version of record bodies that this program reads.
const BODY_VERSION: u8 = 1;
/// Catalogs kept in memory per gateway. One changes when a sensor is added or software updated; a
/// batch that names an older one is parked.
const MAX_CATALOGS: usize = 256;
/// Mappings kept in memory per gateway: boots without a clock whose batches may still come.
const MAX_MAPPINGS: usize = 1_024;

#[derive(Debug)]
pub(super) struct GatewayDecoder {
    gateway: GatewayId,
    greenhouse: GreenhouseId,
    body_version: u8,
    catalogs: Recent<CatalogHash, Arc<Catalog>>,
    refused_catalogs: Recent<CatalogHash, ()>,
    mappings: Recent<BootId, ClockMapping>,
    parked: BTreeMap<RecordName, ParkedRecord>,
    parked_bytes: usize,
    /// Came out of parking before any entry could carry them.
    ready: Vec<Change>,
    dead: u64,
}

/// What becomes of a record.
enum Fate {
    Store(Vec<Change>),
    Wait(ParkReason),
    Refuse(String),
}

impl GatewayDecoder {
    pub(super) fn new(gateway: GatewayId, greenhouse: GreenhouseId) -> Self {
        Self {
            gateway,
            greenhouse,
            body_version: BODY_VERSION,
            catalogs: Recent::new(MAX_CATALOGS),
            refused_catalogs: Recent::new(MAX_CATALOGS),
            mappings: Recent::new(MAX_MAPPINGS),
            parked: BTreeMap::new(),
            parked_bytes: 0,
            ready: Vec::new(),
            dead: 0,
        }
    }

    pub(super) fn set_body_version(&mut self, version: u8) {
        self.body_version = version;
    }

    pub(super) fn greenhouse(&self) -> &GreenhouseId {
        &self.greenhouse
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        (self.parked.len() as u64, self.dead)
    }

    pub(super) fn restore_catalog(&mut self, body: &Bytes) {
        if let Ok(catalog) = Catalog::decode(body)
            && catalog.greenhouse == self.greenhouse
        {
            self.catalogs.insert(Catalog::hash(body), Arc::new(catalog));
        }
    }

    pub(super) fn restore_mapping(&mut self, mapping: ClockMapping) {
        self.mappings.insert(mapping.boot, mapping);
    }

    pub(super) fn restore_parked(&mut self, parked: ParkedRecord) {
        let name = parked.record;
        self.parked_bytes += parked.bytes.len();
        self.parked.insert(name, parked);
        let changes = self.retry(&BTreeSet::from([name]));
        self.ready.extend(changes);
    }

    /// Whether something came out of parking that no entry has carried yet.
    pub(super) fn is_awake(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn handle_wake(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn handle_record(&mut self, record: &PacketRecord, received_ms: i64) -> Vec<Change> {
        let mut changes = self.handle_wake();
        match self.fate(record, received_ms) {
            Fate::Store(stored) => changes.extend(stored),
            Fate::Wait(reason) => changes.push(self.park(record, reason, received_ms)),
            Fate::Refuse(reason) => {
                let bytes = record.bytes.clone();
                changes.push(self.dead_letter(Some(record.name), reason, bytes, received_ms));
            }
        }
        let freed = self.freed_by(&changes);
        changes.extend(self.retry(&freed));
        changes
    }

    pub(super) fn dead_letter(
        &mut self,
        record: Option<RecordName>,
        reason: String,
        bytes: Bytes,
        received_unix_ms: i64,
    ) -> Change {
        self.dead += 1;
        let gateway = self.gateway.clone();
        Change::DeadLetter {
            gateway,
            record,
            reason,
            bytes,
            received_unix_ms,
        }
    }

    fn fate(&mut self, record: &PacketRecord, received_ms: i64) -> Fate {
        if record.version == 0 || record.version > self.body_version {
            return Fate::Wait(ParkReason::Version);
        }
        let Some(kind) = RecordKind::from_code(record.kind) else {
            return Fate::Wait(ParkReason::Version);
        };
        let body = record.bytes.slice(HEADER_LEN.min(record.bytes.len())..);
        match kind {
            RecordKind::Batch => self.batch(record.name, &body, received_ms),
            RecordKind::Catalog => self.catalog(&body, received_ms),
            RecordKind::ClockMapping => self.mapping(&body, received_ms),
            RecordKind::Events => self.events(record.name, &body, received_ms),
            RecordKind::Loss => self.loss(record.name, &body, received_ms),
        }
    }

    fn batch(&self, record: RecordName, body: &[u8], received_ms: i64) -> Fate {
        let batch = match decode_batch(body) {
            Ok(batch) => batch,
            Err(error) => return refuse(&error),
        };
        if self.refused_catalogs.get(&batch.catalog).is_some() {
            return Fate::Refuse(format!("its catalog {} was refused", batch.catalog));
        }
        let Some(catalog) = self.catalogs.get(&batch.catalog) else {
            return Fate::Wait(ParkReason::Catalog(batch.catalog));
        };
        if let Some(channel) = unknown_channel(&batch, catalog) {
            return Fate::Refuse(format!(
                "column of channel {channel}, which its catalog lacks"
            ));
        }
        let wall_offset_ms = match self.wall_offset(batch.boot, batch.wall_offset_ms) {
            Ok(wall_offset_ms) => wall_offset_ms,
            Err(reason) => return Fate::Wait(reason),
        };
        let ticks = [batch.to_mono_ms, batch.from_mono_ms];
        if let Err(reason) = check_times(ticks, wall_offset_ms, received_ms) {
            return Fate::Refuse(reason);
        }
        Fate::Store(vec![Change::Readings(Readings {
            gateway: self.gateway.clone(),
            greenhouse: self.greenhouse.clone(),
            record,
            catalog: Arc::clone(catalog),
            wall_offset_ms,
            batch,
            received_unix_ms: received_ms,
        })])
    }

    fn catalog(&mut self, body: &Bytes, received_unix_ms: i64) -> Fate {
        let catalog = match Catalog::decode(body) {
            Ok(catalog) => Arc::new(catalog),
            Err(error) => return refuse(&error),
        };
        let hash = Catalog::hash(body);
        if catalog.greenhouse != self.greenhouse {
            self.refused_catalogs.insert(hash, ());
            return Fate::Refuse(format!(
                "catalog names greenhouse {}, but the gateway is assigned to {}",
                catalog.greenhouse, self.greenhouse
            ));
        }
        self.catalogs.insert(hash, Arc::clone(&catalog));
        let (gateway, body) = (self.gateway.clone(), body.clone());
        Fate::Store(vec![Change::Catalog {
            gateway,
            hash,
            body,
            catalog,
            received_unix_ms,
        }])
    }

    fn mapping(&mut self, body: &[u8], received_unix_ms: i64) -> Fate {
        let mapping = match ClockMapping::decode(body) {
            Ok(mapping) => mapping,
            Err(error) => return refuse(&error),
        };
        if self.mappings.get(&mapping.boot).is_some() {
            // The first mapping of a boot is final: readings may have been stored with it.
            return Fate::Store(Vec::new());
        }
        self.mappings.insert(mapping.boot, mapping);
        let gateway = self.gateway.clone();
        Fate::Store(vec![Change::Mapping {
            gateway,
            mapping,
            received_unix_ms,
        }])
    }

    fn events(&self, record: RecordName, body: &[u8], received_ms: i64) -> Fate {
        let events = match Events::decode(body) {
            Ok(events) => events,
            Err(error) => return refuse(&error),
        };
        let wall_offset_ms = match self.wall_offset(events.boot, events.wall_offset_ms) {
            Ok(wall_offset_ms) => wall_offset_ms,
            Err(reason) => return Fate::Wait(reason),
        };
        let ticks = events.events.iter().map(|event| event.at_mono_ms);
        if let Err(reason) = check_times(ticks, wall_offset_ms, received_ms) {
            return Fate::Refuse(reason);
        }
        let (gateway, greenhouse) = (self.gateway.clone(), self.greenhouse.clone());
        Fate::Store(vec![Change::Events {
            gateway,
            greenhouse,
            record,
            wall_offset_ms,
            events,
        }])
    }

    fn loss(&self, record: RecordName, body: &[u8], received_unix_ms: i64) -> Fate {
        let loss = match Loss::decode(body) {
            Ok(loss) => loss,
            Err(error) => return refuse(&error),
        };
        let (gateway, greenhouse) = (self.gateway.clone(), self.greenhouse.clone());
        Fate::Store(vec![Change::Loss {
            gateway,
            greenhouse,
            record,
            loss,
            received_unix_ms,
        }])
    }

    fn wall_offset(&self, boot: BootId, own: Option<i64>) -> Result<i64, ParkReason> {
        own.or_else(|| {
            self.mappings
                .get(&boot)
                .map(|mapping| mapping.wall_offset_ms)
        })
        .ok_or(ParkReason::Mapping(boot))
    }

    fn park(&mut self, record: &PacketRecord, reason: ParkReason, received_unix_ms: i64) -> Change {
        let bytes = record.bytes.clone();
        let is_full = self.parked.len() >= MAX_PARKED_RECORDS
            || self.parked_bytes + bytes.len() > MAX_PARKED_BYTES;
        if is_full {
            let text = format!("too many records wait already; this one waits for {reason:?}");
            return self.dead_letter(Some(record.name), text, bytes, received_unix_ms);
        }
        let gateway = self.gateway.clone();
        let parked = ParkedRecord {
            gateway,
            record: record.name,
            reason,
            bytes,
            received_unix_ms,
        };
        self.parked_bytes += parked.bytes.len();
        self.parked.insert(record.name, parked.clone());
        Change::Parked(parked)
    }

    /// The parked records that may come out after these changes.
    fn freed_by(&self, changes: &[Change]) -> BTreeSet<RecordName> {
        let news = changes.iter().any(|change| match change {
            Change::Catalog { .. } | Change::Mapping { .. } | Change::DeadLetter { .. } => true,
            Change::Readings(_)
            | Change::Events { .. }
            | Change::Loss { .. }
            | Change::Parked(_)
            | Change::Unparked { .. }
            | Change::Missing { .. }
            | Change::Rerun { .. }
            | Change::Command(_)
            | Change::Result(_)
            | Change::Orders(_) => false,
        });
        if !news {
            return BTreeSet::new();
        }
        let is_free = |parked: &&ParkedRecord| match parked.reason {
            ParkReason::Catalog(hash) => {
                self.catalogs.get(&hash).is_some() || self.refused_catalogs.get(&hash).is_some()
            }
            ParkReason::Mapping(boot) => self.mappings.get(&boot).is_some(),
            ParkReason::Version => false,
        };
        self.parked
            .values()
            .filter(is_free)
            .map(|parked| parked.record)
            .collect()
    }

    /// Decides again on parked records. One that now waits for something else stays.
    fn retry(&mut self, names: &BTreeSet<RecordName>) -> Vec<Change> {
        let mut changes = Vec::new();
        for name in names {
            let Some(parked) = self.parked.remove(name) else {
                continue;
            };
            let received_ms = parked.received_unix_ms;
            let bytes = parked.bytes.clone();
            let (version, kind) = match *bytes {
                [version, kind, ..] => (version, kind),
                _ => (0, 0),
            };
            let record = PacketRecord {
                name: *name,
                version,
                kind,
                bytes: bytes.clone(),
            };
            match self.fate(&record, received_ms) {
                Fate::Wait(reason) => {
                    self.parked.insert(*name, ParkedRecord { reason, ..parked });
                    continue;
                }
                Fate::Store(stored) => changes.extend(stored),
                Fate::Refuse(reason) => {
                    changes.push(self.dead_letter(Some(*name), reason, bytes, received_ms));
                }
            }
            self.parked_bytes = self.parked_bytes.saturating_sub(record.bytes.len());
            changes.push(Change::Unparked { record: *name });
        }
        changes
    }
}

fn refuse(error: &(dyn std::error::Error + 'static)) -> Fate {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = chain.map(ToString::to_string).collect();
    Fate::Refuse(texts.join(": "))
}

fn unknown_channel(batch: &Batch, catalog: &Catalog) -> Option<u16> {
    batch
        .axes
        .iter()
        .flat_map(|axis| &axis.columns)
        .map(|column| column.channel)
        .find(|channel| usize::from(*channel) >= catalog.channels.len())
}

fn check_times(
    ticks: impl IntoIterator<Item = u64>,
    wall_offset_ms: i64,
    received_ms: i64,
) -> Result<(), String> {
    let latest = received_ms.saturating_add(MAX_FUTURE_MS);
    for tick in ticks {
        let wall = i64::try_from(tick)
            .ok()
            .and_then(|tick| tick.checked_add(wall_offset_ms));
        match wall {
            None => return Err(not_a_time(tick, wall_offset_ms)),
            Some(wall) if wall > latest => {
                let ahead_s = (wall.saturating_sub(received_ms)) / 1_000;
                return Err(format!("its time is {ahead_s} s ahead of its receipt"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn not_a_time(tick: impl Display, offset: impl Display) -> String {
    format!("tick {tick} ms with offset {offset} ms is not a time")
}

/// A map that keeps the entries inserted last.
#[derive(Debug)]
struct Recent<K, V> {
    entries: BTreeMap<K, V>,
    order: VecDeque<K>,
    limit: usize,
}

impl<K: Ord + Copy, V> Recent<K, V> {
    fn new(limit: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            limit,
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key, value).is_some() {
            self.order.retain(|known| *known != key);
        }
        self.order.push_back(key);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}
