//! Contacts of one device: levels of a driver, brought to rest by the core.

use furrow_drivers::inputs::ContactReader;
use furrow_drivers::{Cause, SensorError};
use furrow_gateway_core::FieldMs;
use furrow_gateway_core::debounce::{Debounce, Settling};
use furrow_wire::Decimal;

use super::driver::{Progress, Readings, spread};
use crate::config::{Contact, Level};

/// Looks at a contact for one reading: one that dances longer did not come to rest.
const LOOKS_MAX: u32 = 6;

/// See the module.
pub(super) struct Contacts {
    reader: Box<dyn ContactReader>,
    lines: Vec<(Contact, Debounce)>,
    /// Changes since the last reading, by line.
    changed: u16,
    looks: u32,
    since_ms: u64,
}

impl Contacts {
    /// `by_place` says that the reader counts contacts in their order, not by their line.
    pub(super) fn new(
        reader: Box<dyn ContactReader>,
        contacts: &[Contact],
        by_place: bool,
    ) -> Self {
        let line = |(place, contact): (u8, &Contact)| {
            let mut contact = *contact;
            if by_place {
                contact.line = place;
            }
            (contact, Debounce::new(contact.debounce_ms))
        };
        Self {
            reader,
            lines: (0..).zip(contacts).map(line).collect(),
            changed: 0,
            looks: 0,
            since_ms: 0,
        }
    }

    /// One look.
    pub(super) fn step(&mut self, now_ms: u64) -> Progress {
        if self.looks == 0 {
            self.since_ms = now_ms;
        }
        let contacts = match self.reader.contacts() {
            Ok(contacts) => contacts,
            Err(error) => {
                self.looks = 0;
                self.lines.iter_mut().for_each(|(_, rest)| rest.forget());
                return Progress::Done(spread(Err(error), self.lines.len()));
            }
        };
        self.changed |= contacts.changed;
        self.looks = self.looks.saturating_add(1);
        let mut until_ms = None;
        let mut readings = Readings::new();
        let waited_ms = u32::try_from(now_ms.saturating_sub(self.since_ms)).unwrap_or(u32::MAX);
        for (contact, rest) in &mut self.lines {
            let bit = |word: u16| word.checked_shr(contact.line.into()).unwrap_or(0) & 1 == 1;
            let level = bit(contacts.high);
            readings.push(match rest.handle_level(level, FieldMs(now_ms)) {
                Settling::Rest(level) => {
                    let active = level == (contact.active == Level::High);
                    let pressed = contact.latched && bit(self.changed);
                    Ok(truth(active || pressed))
                }
                Settling::Until(FieldMs(until)) => {
                    until_ms = until_ms.max(Some(until));
                    Err(unsteady(waited_ms))
                }
            });
        }
        match until_ms {
            Some(until_ms) if self.looks < LOOKS_MAX => Progress::Wait { until_ms },
            Some(_) | None => {
                self.looks = 0;
                self.changed = 0;
                Progress::Done(readings)
            }
        }
    }
}

fn truth(value: bool) -> Decimal {
    Decimal {
        mantissa: i64::from(value),
        exponent: 0,
    }
}

fn unsteady(waited_ms: u32) -> SensorError {
    SensorError {
        chip: "contact",
        address: None,
        register: "level",
        cause: Cause::Unsteady { waited_ms },
    }
}

#[cfg(test)]
mod tests {
    use furrow_drivers::inputs::Contacts as Levels;

    use super::*;

    /// Answers one look after the other: levels and changes.
    struct Script(Vec<(u16, u16)>);

    impl ContactReader for Script {
        fn contacts(&mut self) -> Result<Levels, SensorError> {
            let (high, changed) = self.0.remove(0);
            Ok(Levels { high, changed })
        }
    }

    fn contact(line: u8, active: Level, latched: bool) -> Contact {
        Contact {
            line,
            active,
            debounce_ms: 50,
            latched,
        }
    }

    /// Readings at these times, until each is done.
    fn read(contacts: &mut Contacts, mut now_ms: u64) -> (Vec<String>, u64) {
        loop {
            match contacts.step(now_ms) {
                Progress::Wait { until_ms } => now_ms = until_ms,
                Progress::Done(readings) => {
                    let told = readings.iter().map(|reading| match reading {
                        Ok(value) => value.to_string(),
                        Err(error) => error.cause.to_string(),
                    });
                    return (told.collect(), now_ms);
                }
            }
        }
    }

    #[test]
    fn levels_become_truths_after_they_rest() {
        let looks = vec![(0b010, 0), (0b010, 0), (0b011, 0), (0b011, 0)];
        let of = [
            contact(0, Level::Low, false),
            contact(1, Level::High, false),
        ];
        let mut contacts = Contacts::new(Box::new(Script(looks)), &of, false);
        let told = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(read(&mut contacts, 0), (told("1", "1"), 50));
        assert_eq!(read(&mut contacts, 1_000), (told("0", "1"), 1_050));
    }

    #[test]
    fn a_press_between_two_readings_is_told_once() {
        let looks = vec![(1, 0), (1, 0), (1, 1), (1, 0)];
        let of = [contact(0, Level::Low, true)];
        let mut contacts = Contacts::new(Box::new(Script(looks)), &of, false);
        for (at_ms, expected) in [(0, "0"), (1_000, "1"), (2_000, "0")] {
            assert_eq!(read(&mut contacts, at_ms).0, [expected]);
        }
    }

    #[test]
    fn a_contact_that_dances_is_no_value() {
        let looks = vec![(0, 0), (1, 0), (0, 0), (1, 0), (0, 0), (1, 0)];
        let of = [contact(3, Level::Low, false), contact(0, Level::Low, false)];
        // At GPIO lines the place in the list counts.
        let mut contacts = Contacts::new(Box::new(Script(looks)), &of, true);
        let (told, at_ms) = read(&mut contacts, 0);
        assert_eq!(at_ms, 250);
        assert_eq!(told[0], "the contact did not come to rest in 250 ms");
        assert_eq!(told[1], "1");
    }
}
