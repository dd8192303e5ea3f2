//! TI TCA9548A: a multiplexer of eight channels. One byte says which are open.

use super::{Chip, Field, Nack};

/// A TCA9548A.
#[derive(Debug, Default)]
pub(crate) struct Tca9548a {
    open: u8,
}

impl Chip for Tca9548a {
    fn write(&mut self, _: u64, bytes: &[u8], _: &dyn Field) -> Result<(), Nack> {
        if let Some(last) = bytes.last() {
            self.open = *last;
        }
        Ok(())
    }

    fn read(&mut self, _: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        bytes.fill(self.open);
        Ok(())
    }

    fn power_cycle(&mut self, _: u64) {
        self.open = 0;
    }

    fn open_channels(&self) -> u8 {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;

    #[test]
    fn the_last_byte_counts() {
        let mut bench = Bench::new(Tca9548a::default(), Fake::default());
        bench.read(Ok(&[0x00]));
        bench.ask(&[0x01, 0x82], 0, &[0x82]);
        assert_eq!(bench.chip.open_channels(), 0x82);
        bench.write(&[], Ok(()));
        bench.chip.power_cycle(bench.now_ns);
        assert_eq!(bench.chip.open_channels(), 0);
    }
}
