//! Chance as a function: the same seed, stream and index give the same number on every machine, in
//! whatever order they are asked for.

use libm::{cos, log, sin, sqrt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// 32-bit words in a block of ChaCha: one index owns one block.
const BLOCK_WORDS: u128 = 16;

/// What the numbers are for; each has its own sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Cloudiness, one a day.
    CloudDay,
    /// Clouds of about ten minutes.
    CloudSlow,
    /// Clouds of about two minutes.
    CloudFast,
    /// Temperature from day to day.
    WarmthDay,
    /// Dew point from day to day.
    DewDay,
    /// Wind from quarter to quarter of an hour.
    WindSlow,
    /// Gusts.
    WindFast,
    /// Showers, one draw a day.
    Shower,
    /// Travel times of the valves.
    Valve,
    /// Noise of the chip at this place in the layout.
    Chip(u8),
    /// Which bit of an answer a line fault flips, at this place in the layout.
    Flip(u8),
    /// The boot id.
    Boot,
    /// Noise on the RS-485 line.
    Line,
}

/// A seed.
#[derive(Debug, Clone)]
pub(crate) struct Noise {
    rng: ChaCha8Rng,
}

impl Purpose {
    fn stream(self) -> u64 {
        match self {
            Self::CloudDay => 1,
            Self::CloudSlow => 2,
            Self::CloudFast => 3,
            Self::WarmthDay => 4,
            Self::DewDay => 5,
            Self::WindSlow => 6,
            Self::WindFast => 7,
            Self::Shower => 8,
            Self::Valve => 9,
            Self::Boot => 10,
            Self::Line => 11,
            Self::Chip(place) => 0x100 + u64::from(place),
            Self::Flip(place) => 0x200 + u64::from(place),
        }
    }
}

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// 64 random bits.
    pub(crate) fn bits(&self, purpose: Purpose, index: i64) -> u64 {
        self.at(purpose, index).next_u64()
    }

    /// Evenly spread over 0 to 1, 1 excluded.
    pub(crate) fn unit(&self, purpose: Purpose, index: i64) -> f64 {
        to_unit(self.bits(purpose, index))
    }

    /// Two independent values of [`unit`](Self::unit).
    pub(crate) fn pair(&self, purpose: Purpose, index: i64) -> (f64, f64) {
        let mut rng = self.at(purpose, index);
        (to_unit(rng.next_u64()), to_unit(rng.next_u64()))
    }

    /// Two independent values, normally distributed, mean 0, deviation 1.
    pub(crate) fn normals(&self, purpose: Purpose, index: i64) -> (f64, f64) {
        let (u, v) = self.pair(purpose, index);
        // Box-Muller; 1 - u is never 0.
        let radius = sqrt(-2.0 * log(1.0 - u));
        let angle = core::f64::consts::TAU * v;
        (radius * cos(angle), radius * sin(angle))
    }

    /// Moves smoothly between values drawn every `period_s`; 0 to 1, a function of time alone.
    pub(crate) fn smooth(&self, purpose: Purpose, time_s: f64, period_s: f64) -> f64 {
        let place = time_s / period_s;
        let before = libm::floor(place);
        let share = place - before;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "seconds of this era over a period are far below 2^53"
        )]
        let index = before as i64;
        let (a, b) = (
            self.unit(purpose, index),
            self.unit(purpose, index.saturating_add(1)),
        );
        a + (b - a) * share * share * (3.0 - 2.0 * share)
    }

    fn at(&self, purpose: Purpose, index: i64) -> ChaCha8Rng {
        let mut rng = self.rng.clone();
        rng.set_stream(purpose.stream());
        // The block counter has 64 bits; a position beyond 2^60 blocks is not needed by any index.
        let block = u128::from(index.cast_unsigned() & ((1 << 60) - 1));
        rng.set_word_pos(block * BLOCK_WORDS);
        rng
    }
}

fn to_unit(bits: u64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        reason = "53 bits are what an f64 holds exactly"
    )]
    let mantissa = (bits >> 11) as f64;
    mantissa / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_numbers_in_any_order() {
        let noise = Noise::new(7);
        let forward: Vec<u64> = (-3..3).map(|i| noise.bits(Purpose::CloudSlow, i)).collect();
        let mut backward: Vec<u64> = (-3..3)
            .rev()
            .map(|i| noise.bits(Purpose::CloudSlow, i))
            .collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert_ne!(
            noise.bits(Purpose::CloudSlow, 0),
            noise.bits(Purpose::CloudFast, 0)
        );
        assert_ne!(
            noise.bits(Purpose::CloudSlow, 0),
            Noise::new(8).bits(Purpose::CloudSlow, 0)
        );
        // Pinned: a change of these bits changes every recorded run.
        assert_eq!(noise.bits(Purpose::Boot, 0), PINNED);
    }

    const PINNED: u64 = 14_454_029_882_420_853_398;

    #[test]
    fn spread() {
        let noise = Noise::new(1);
        let (mut sum, mut squares) = (0.0, 0.0);
        for index in 0..5_000 {
            let (a, b) = noise.normals(Purpose::Chip(0), index);
            sum += a + b;
            squares += a * a + b * b;
        }
        assert!((sum / 1e4).abs() < 0.03, "{sum}");
        assert!((squares / 1e4 - 1.0).abs() < 0.05, "{squares}");
    }
}
