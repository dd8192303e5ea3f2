//! How late ticks were served, in whole milliseconds.
//!
//! A histogram since the start: exact up to [`EXACT_MS`], and the largest of all. It says how well
//! the schedule is kept, not how long devices take to answer.

/// Delays below this are counted one by one, in milliseconds; a bus that is used as it should be
/// stays far below.
pub const EXACT_MS: usize = 128;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lateness {
    /// Ticks by their delay in milliseconds; longer ones are in `served` only.
    counts: [u64; EXACT_MS],
    served: u64,
    max_ms: u64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self {
            counts: [0; EXACT_MS],
            served: 0,
            max_ms: 0,
        }
    }
}

impl Lateness {
    /// A tick was served so many milliseconds after its time.
    pub fn handle_served(&mut self, late_ms: u64) {
        self.served = self.served.saturating_add(1);
        self.max_ms = self.max_ms.max(late_ms);
        let place = usize::try_from(late_ms).unwrap_or(usize::MAX);
        if let Some(count) = self.counts.get_mut(place) {
            *count = count.saturating_add(1);
        }
    }

    /// Ticks so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served
    }

    /// The longest delay, in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> u64 {
        self.max_ms
    }

    /// The delay that this share of the ticks, in thousandths, did not exceed, in milliseconds. What
    /// is not counted exactly is told as the longest; `None` before the first tick.
    #[must_use]
    pub fn within_ms(&self, permille: u64) -> Option<u64> {
        if self.served == 0 {
            return None;
        }
        let wanted = u128::from(self.served) * u128::from(permille.min(1_000));
        let mut so_far = 0_u128;
        for (late_ms, count) in (0_u64..).zip(self.counts) {
            so_far += u128::from(count) * 1_000;
            if count > 0 && so_far >= wanted {
                return Some(late_ms);
            }
        }
        Some(self.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_ticks() {
        let check = |delays: &[(u64, usize)], expected: (Option<u64>, Option<u64>, u64)| {
            let mut lateness = Lateness::default();
            for (late_ms, times) in delays {
                (0..*times).for_each(|_| lateness.handle_served(*late_ms));
            }
            let (half, most) = (lateness.within_ms(500), lateness.within_ms(990));
            assert_eq!((half, most, lateness.max_ms()), expected, "{delays:?}");
        };
        check(&[], (None, None, 0));
        check(&[(3, 1)], (Some(3), Some(3), 3));
        check(&[(0, 990), (7, 10)], (Some(0), Some(0), 7));
        check(&[(1, 989), (7, 11)], (Some(1), Some(7), 7));
        check(&[(127, 50), (128, 50)], (Some(127), Some(128), 128));
        check(&[(2, 98), (4_000, 2)], (Some(2), Some(4_000), 4_000));
    }

    #[test]
    fn a_share_above_all_is_all() {
        let mut lateness = Lateness::default();
        for late_ms in [5, 9, 1] {
            lateness.handle_served(late_ms);
        }
        assert_eq!(lateness.served(), 3);
        assert_eq!(lateness.within_ms(0), Some(1));
        assert_eq!(lateness.within_ms(5_000), Some(9));
    }
}
