//! Which orders are the newest of each gateway, and which version comes next.
//!
//! It knows a text by its digest only: the texts are in the archive.

use std::collections::BTreeMap;

use crate::GatewayKey;

/// New versions a minute for one gateway: each goes over its mobile network.
pub const MAX_ORDERS_A_MINUTE: usize = 10;

/// A text's SHA-256.
pub type Digest = [u8; 32];

/// The newest orders of all gateways.
#[derive(Debug, Default)]
pub struct OrdersBook {
    gateways: BTreeMap<GatewayKey, Known>,
}

/// What a text is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the newest version already.
    Newest(u64),
    /// It is new, and gets this version.
    Next(u64),
}

/// Somebody else has put orders meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("version {0} is the newest")]
pub struct LostUpdate(pub u64);

#[derive(Debug, Default)]
struct Known {
    /// The newest version; 0: none.
    version: u64,
    digest: Digest,
    /// The newest that the gateway said that it has seen.
    seen: u64,
}

impl OrdersBook {
    /// Decides on a text that somebody puts, who perhaps knows it as following version `after` (0: none).
    ///
    /// # Errors
    /// [`LostUpdate`] when another version is the newest.
    pub fn place(
        &self,
        gateway: &GatewayKey,
        digest: &Digest,
        after: Option<u64>,
    ) -> Result<Place, LostUpdate> {
        let nothing = Known::default();
        let known = self.gateways.get(gateway).unwrap_or(&nothing);
        // A gateway that has seen more than is known here would take no notice of the old number.
        let is_newest = known.version > 0 && known.version >= known.seen;
        if is_newest && known.digest == *digest {
            return Ok(Place::Newest(known.version));
        }
        if after.is_some_and(|after| after != known.version) {
            return Err(LostUpdate(known.version));
        }
        Ok(Place::Next(known.version.max(known.seen).saturating_add(1)))
    }

    /// A version is durable.
    pub fn handle_stored(&mut self, gateway: &GatewayKey, version: u64, digest: Digest) {
        let known = self.gateways.entry(gateway.clone()).or_default();
        if version > known.version {
            (known.version, known.digest) = (version, digest);
        }
    }

    /// A gateway says what the newest version is that it has seen. Says whether there is a newer one.
    pub fn handle_seen(&mut self, gateway: &GatewayKey, seen: u64) -> bool {
        let known = self.gateways.entry(gateway.clone()).or_default();
        known.seen = seen;
        seen < known.version
    }

    /// The newest version; 0: none.
    #[must_use]
    pub fn newest(&self, gateway: &GatewayKey) -> u64 {
        self.gateways.get(gateway).map_or(0, |known| known.version)
    }

    /// The newest version that the gateway said that it has seen; 0: none.
    #[must_use]
    pub fn seen(&self, gateway: &GatewayKey) -> u64 {
        self.gateways.get(gateway).map_or(0, |known| known.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Digest = [1; 32];
    const B: Digest = [2; 32];

    fn key(gateway: &str) -> GatewayKey {
        GatewayKey {
            cooperative: "a".parse().unwrap(),
            gateway: gateway.parse().unwrap(),
        }
    }

    #[test]
    fn versions_count_up_and_the_same_text_keeps_its_version() {
        let (mut book, g) = (OrdersBook::default(), key("g"));
        assert_eq!(book.place(&g, &A, None), Ok(Place::Next(1)));
        book.handle_stored(&g, 1, A);
        assert_eq!(book.place(&g, &A, None), Ok(Place::Newest(1)));
        assert_eq!(book.place(&g, &B, None), Ok(Place::Next(2)));
        book.handle_stored(&g, 2, B);
        // Back to an earlier text is a new wish.
        assert_eq!(book.place(&g, &A, None), Ok(Place::Next(3)));
        assert_eq!((book.newest(&g), book.newest(&key("h"))), (2, 0));
        // The log is read in order, but the archive may be ahead of where reading begins.
        book.handle_stored(&g, 1, A);
        assert_eq!(book.place(&g, &B, None), Ok(Place::Newest(2)));
    }

    #[test]
    fn a_lost_update_is_refused_but_not_its_repetition() {
        let (mut book, g) = (OrdersBook::default(), key("g"));
        assert_eq!(book.place(&g, &A, Some(0)), Ok(Place::Next(1)));
        book.handle_stored(&g, 1, A);
        assert_eq!(book.place(&g, &B, Some(0)), Err(LostUpdate(1)));
        assert_eq!(book.place(&g, &B, Some(2)), Err(LostUpdate(1)));
        assert_eq!(book.place(&g, &B, Some(1)), Ok(Place::Next(2)));
        // The answer did not arrive, and it is put again.
        assert_eq!(book.place(&g, &A, Some(0)), Ok(Place::Newest(1)));
    }

    #[test]
    fn a_gateway_that_has_seen_more_than_is_known_here_is_not_passed_by() {
        let (mut book, g) = (OrdersBook::default(), key("g"));
        assert!(!book.handle_seen(&g, 0));
        assert!(!book.handle_seen(&g, 7));
        assert_eq!(book.place(&g, &A, Some(0)), Ok(Place::Next(8)));
        book.handle_stored(&g, 8, A);
        assert!(book.handle_seen(&g, 7));
        assert!(!book.handle_seen(&g, 8));
        assert_eq!((book.newest(&g), book.seen(&g)), (8, 8));
        // Ingest came back with an older archive.
        book.handle_seen(&g, 9);
        assert_eq!(book.place(&g, &A, None), Ok(Place::Next(10)));
    }
}
