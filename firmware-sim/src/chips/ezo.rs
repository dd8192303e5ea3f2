//! Atlas Scientific EZO circuits: pH and conductivity.
//!
//! Commands and answers are ASCII. An answer has a status byte: 1 done, 2 not understood, 254 not
//! ready, 255 nothing was asked.

use super::{Chip, Field, MS, Nack};

const DONE: u8 = 1;
const NOT_UNDERSTOOD: u8 = 2;
const NOT_READY: u8 = 254;
const NO_DATA: u8 = 255;

/// What it measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Ph,
    Ec,
}

/// An EZO circuit.
#[derive(Debug)]
pub(crate) struct Ezo {
    probe: Probe,
    answer: Option<(u64, Vec<u8>)>,
}

impl Ezo {
    pub(crate) fn new(probe: Probe) -> Self {
        Self {
            probe,
            answer: None,
        }
    }

    fn reading(&self, field: &dyn Field) -> String {
        let site = field.site();
        match self.probe {
            Probe::Ph => format!("{:.3}", site.ph.clamp(0.001, 14.0)),
            Probe::Ec => {
                let us = site.conductivity_us_cm.clamp(0.0, 500_000.0);
                // Four figures, as the circuit prints them.
                let decimals = match us {
                    us if us < 10.0 => 2,
                    us if us < 100.0 => 1,
                    _ => 0,
                };
                format!("{us:.decimals$}")
            }
        }
    }
}

impl Chip for Ezo {
    fn write(&mut self, now_ns: u64, bytes: &[u8], field: &dyn Field) -> Result<(), Nack> {
        if bytes.is_empty() {
            return Ok(());
        }
        let name = match self.probe {
            Probe::Ph => "pH",
            Probe::Ec => "EC",
        };
        let said = |text: String| {
            let mut bytes = vec![DONE];
            bytes.extend(text.bytes());
            bytes.push(0);
            bytes
        };
        let command = bytes.to_ascii_lowercase();
        let (ms, answer) = match command.as_slice() {
            b"r" => (900, said(self.reading(field))),
            b"i" => (300, said(format!("?i,{name},2.10"))),
            b"status" => (300, said("?Status,P,3.30".to_owned())),
            _ => (300, vec![NOT_UNDERSTOOD, 0]),
        };
        self.answer = Some((now_ns + ms * MS, answer));
        Ok(())
    }

    fn read(&mut self, now_ns: u64, bytes: &mut [u8], _: &dyn Field) -> Result<(), Nack> {
        let answer = match &self.answer {
            Some((ready_ns, answer)) if *ready_ns <= now_ns => answer.clone(),
            Some(_) => vec![NOT_READY],
            None => vec![NO_DATA],
        };
        // Behind its answer the circuit sends zeros.
        bytes.fill(0);
        for (byte, answered) in bytes.iter_mut().zip(answer) {
            *byte = answered;
        }
        Ok(())
    }

    fn power_cycle(&mut self, _: u64) {
        self.answer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Fake};
    use super::*;

    fn bench(probe: Probe) -> Bench<Ezo> {
        let mut field = Fake::default();
        (field.site.ph, field.site.conductivity_us_cm) = (9.56, 1_413.2);
        Bench::new(Ezo::new(probe), field)
    }

    #[test]
    fn a_reading_takes_its_time() {
        let mut bench = bench(Probe::Ph);
        bench.read(Ok(&[255, 0]));
        bench.write(b"R", Ok(()));
        bench.wait_us(899_999);
        bench.read(Ok(&[254, 0]));
        bench.wait_us(1);
        // The datasheet's example: 9.560.
        bench.read(Ok(&[0x01, 0x39, 0x2E, 0x35, 0x36, 0x30, 0x00, 0x00]));
        bench.chip.power_cycle(bench.now_ns);
        bench.read(Ok(&[255, 0]));
    }

    #[test]
    fn conductivity_identity_and_nonsense() {
        let mut bench = bench(Probe::Ec);
        bench.ask(b"r", 900_000, b"\x011413\0");
        bench.ask(b"i", 300_000, b"\x01?i,EC,2.10\0");
        bench.ask(b"Cal,dry", 300_000, &[2, 0]);
        bench.write(&[], Ok(()));
    }
}
