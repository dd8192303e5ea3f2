//! What the archive knows at the start: for the decoder and the board. A file that turns out to be damaged takes its
//! cooperative out of service, and nobody else.

use anyhow::Context;
use bytes::Bytes;
use furrow_ingest_core::GatewayKey;
use furrow_wire::{CatalogHash, ClockMapping, CooperativeId, GatewayId};

use super::shared::assignments;
use crate::archive::{Archive, ArchiveError, ParkedRecord};
use crate::config::Settings;
use crate::decode::Decoder;
use crate::remote::Board;

/// What was read of a cooperative's file at the start; `None`, and it is out of service, if that is damaged.
fn in_service<T>(
    archive: &mut Archive,
    cooperative: &CooperativeId,
    read: Result<T, ArchiveError>,
) -> anyhow::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(ArchiveError::OutOfService(_)) => Ok(None),
        Err(error) if error.is_damage() => {
            archive.take_out(cooperative, &error);
            Ok(None)
        }
        Err(error) => {
            Err(error).with_context(|| format!("can't read the archive of {cooperative}"))
        }
    }
}

/// What the archive knows of orders.
pub(super) fn restore_orders(
    board: &Board,
    archive: &mut Archive,
    cooperatives: &[CooperativeId],
) -> anyhow::Result<()> {
    let reader = archive.reader();
    for cooperative in cooperatives {
        let newest = reader.newest_orders(cooperative);
        for (gateway, version, digest) in
            in_service(archive, cooperative, newest)?.unwrap_or_default()
        {
            let key = GatewayKey {
                cooperative: cooperative.clone(),
                gateway,
            };
            board.handle_orders(&key, version, digest);
        }
    }
    Ok(())
}

/// A decoder that knows what the archive knows.
pub(super) fn restored_decoder(
    settings: &Settings,
    archive: &mut Archive,
) -> anyhow::Result<Decoder> {
    let mut decoder = Decoder::new(assignments(settings));
    for cooperative in &settings.cooperatives {
        let id = &cooperative.id;
        let known = known_of(archive, id);
        let Some((catalogs, mappings, parked)) = in_service(archive, id, known)? else {
            continue;
        };
        let key = |gateway| GatewayKey {
            cooperative: id.clone(),
            gateway,
        };
        for (gateway, _, body) in catalogs {
            decoder.restore_catalog(&key(gateway), &body);
        }
        for (gateway, mapping) in mappings {
            decoder.restore_mapping(&key(gateway), mapping);
        }
        for parked in parked {
            decoder.restore_parked(&key(parked.gateway.clone()), parked);
        }
    }
    Ok(decoder)
}

/// Catalogs, clock mappings and parked records of one cooperative.
type Known = (
    Vec<(GatewayId, CatalogHash, Bytes)>,
    Vec<(GatewayId, ClockMapping)>,
    Vec<ParkedRecord>,
);

fn known_of(archive: &Archive, id: &CooperativeId) -> Result<Known, ArchiveError> {
    Ok((
        archive.catalogs(id)?,
        archive.mappings(id)?,
        archive.parked(id)?,
    ))
}
