//! Clearing a bus that a chip holds.
//!
//! A chip whose master was reset in the middle of a read goes on driving its bit and waits for
//! clocks. Nine of them end any byte; the START of the next transaction does the rest (I2C
//! specification, 3.1.16). A short circuit stays.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};

/// Clocks that end any byte and its acknowledge.
pub const CLOCKS_MAX: u8 = 9;
/// Half a clock at 50 kHz, in microseconds: slow enough for long cables.
const HALF_CLOCK_US: u32 = 10;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// The data line is free, after so many clocks.
    Free {
        /// 0 to 9.
        clocks: u8,
    },
    /// The data line stays low: a short circuit, or a chip without power.
    Held,
    /// The lines can't be driven or read.
    Failed,
}

/// Clocks the bus until its data line is free, at most nine times. `scl` must be open-drain: high is
/// released.
pub fn clear<C: OutputPin, D: InputPin>(
    scl: &mut C,
    sda: &mut D,
    delay: &mut impl DelayNs,
) -> Cleared {
    for clocks in 0..=CLOCKS_MAX {
        match sda.is_high() {
            Ok(true) => return Cleared::Free { clocks },
            Ok(false) if clocks == CLOCKS_MAX => break,
            Ok(false) => {}
            Err(_) => return Cleared::Failed,
        }
        if scl.set_low().is_err() {
            return Cleared::Failed;
        }
        delay.delay_us(HALF_CLOCK_US);
        if scl.set_high().is_err() {
            return Cleared::Failed;
        }
        delay.delay_us(HALF_CLOCK_US);
    }
    Cleared::Held
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use embedded_hal::digital::ErrorType;

    use super::*;

    /// A chip that lets go after so many rising edges.
    struct Lines<'a> {
        left: &'a Cell<u8>,
        low: bool,
    }

    impl ErrorType for Lines<'_> {
        type Error = Infallible;
    }

    impl OutputPin for Lines<'_> {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.low = true;
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            if std::mem::take(&mut self.low) {
                self.left.set(self.left.get().saturating_sub(1));
            }
            Ok(())
        }
    }

    impl InputPin for Lines<'_> {
        fn is_high(&mut self) -> Result<bool, Infallible> {
            Ok(self.left.get() == 0)
        }

        fn is_low(&mut self) -> Result<bool, Infallible> {
            self.is_high().map(|high| !high)
        }
    }

    struct NoDelay;

    impl DelayNs for NoDelay {
        fn delay_ns(&mut self, _: u32) {}
    }

    #[test]
    fn clocks_until_the_line_is_free_and_no_further() {
        for (held_for, expected) in [
            (0, Cleared::Free { clocks: 0 }),
            (1, Cleared::Free { clocks: 1 }),
            (9, Cleared::Free { clocks: 9 }),
            (10, Cleared::Held),
            (200, Cleared::Held),
        ] {
            let left = Cell::new(held_for);
            let lines = || Lines {
                left: &left,
                low: false,
            };
            assert_eq!(clear(&mut lines(), &mut lines(), &mut NoDelay), expected);
            assert_eq!(left.get(), held_for.saturating_sub(9));
        }
    }
}
