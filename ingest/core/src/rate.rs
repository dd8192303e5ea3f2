//! How often something may be asked of a gateway.

use std::collections::{BTreeMap, VecDeque};

use crate::GatewayKey;

/// A minute, in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// So many a minute for each gateway.
#[derive(Debug)]
pub struct RateLimit {
    a_minute: usize,
    /// When, the latest last; at most `a_minute` for each gateway.
    asked: BTreeMap<GatewayKey, VecDeque<u64>>,
}

impl RateLimit {
    /// At most `a_minute` in any minute, for each gateway.
    #[must_use]
    pub fn new(a_minute: usize) -> Self {
        Self {
            a_minute,
            asked: BTreeMap::new(),
        }
    }

    /// Takes one at `now_ms`.
    ///
    /// # Errors
    /// Milliseconds until there may be another. What is refused does not count.
    pub fn take(&mut self, gateway: &GatewayKey, now_ms: u64) -> Result<(), u64> {
        let asked = self.asked.entry(gateway.clone()).or_default();
        let is_over = |at: &u64| now_ms.saturating_sub(*at) >= MINUTE_MS;
        while asked.front().is_some_and(is_over) {
            asked.pop_front();
        }
        match asked.front() {
            Some(first) if asked.len() >= self.a_minute => {
                Err(MINUTE_MS - now_ms.saturating_sub(*first))
            }
            Some(_) | None => {
                asked.push_back(now_ms);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_any_minute_for_each_gateway() {
        let key = |gateway: &str| GatewayKey {
            cooperative: "a".parse().unwrap(),
            gateway: gateway.parse().unwrap(),
        };
        let (mut rate, g) = (RateLimit::new(10), key("g"));
        for n in 0..10 {
            assert_eq!(rate.take(&g, n * 1_000), Ok(()), "{n}");
        }
        assert_eq!(rate.take(&g, 9_500), Err(50_500));
        assert_eq!(rate.take(&key("h"), 9_500), Ok(()));
        assert_eq!(rate.take(&g, 59_999), Err(1));
        assert_eq!(rate.take(&g, 60_000), Ok(()));
        assert_eq!(rate.take(&g, 60_500), Err(500));
        assert_eq!(rate.take(&g, 61_000), Ok(()));
    }
}
