use embedded_hal::i2c::NoAcknowledgeSource;
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

use super::*;

const GONE: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

#[test]
fn an_address_is_asked_without_writing_data() {
    let expected = [
        Transaction::write(0x44, vec![]),
        Transaction::write(0x45, vec![]).with_error(GONE),
        Transaction::read(0x50, vec![0]),
        Transaction::write(0x46, vec![]).with_error(ErrorKind::Bus),
    ];
    let mut bus = Mock::new(&expected);
    assert_eq!(probe(&mut bus, 0x44), Ok(true));
    assert_eq!(probe(&mut bus, 0x45), Ok(false));
    assert_eq!(probe(&mut bus, 0x50), Ok(true));
    let fault = Fault {
        address: 0x46,
        kind: ErrorKind::Bus,
    };
    assert_eq!(probe(&mut bus, 0x46), Err(fault));
    bus.done();
}

/// What a chip with these transactions is said to be.
#[track_caller]
fn identity(address: u8, transactions: &[Transaction], expected: Option<&str>) {
    let mut bus = Mock::new(transactions);
    let mut delay = NoopDelay::new();
    let mut asked = Asked {
        bus: &mut bus,
        delay: &mut delay,
        address,
    };
    let found = match asked.identify() {
        Look::Known(identity) => identity,
        Look::Slow => asked.slow_answer(),
    };
    let found = found.map(|identity| identity.text);
    assert_eq!(found.as_deref(), expected);
    bus.done();
}

#[test]
fn a_checksum_tells_chips_apart_and_expanders_are_not_asked() {
    identity(
        0x44,
        &[
            Transaction::write(0x44, vec![0x89]),
            Transaction::read(0x44, vec![0x12, 0x34, 0x37, 0x56, 0x78, 0x7D]),
        ],
        Some("SHT4x, serial 12345678"),
    );
    // An INA219 answers anything, but with no checksum.
    identity(
        0x44,
        &[
            Transaction::write(0x44, vec![0x89]),
            Transaction::read(0x44, vec![0x39, 0x9F, 0xFF, 0xFF, 0xFF, 0xFF]),
            Transaction::write(0x44, vec![0x36, 0x82]),
            Transaction::read(0x44, vec![0x39, 0x9F, 0xFF, 0xFF, 0xFF, 0xFF]),
        ],
        None,
    );
    identity(
        0x76,
        &[Transaction::write_read(0x76, vec![0xD0], vec![0x58])],
        Some("BMP280, id 0x58: no humidity"),
    );
    for expander in [0x20, 0x23, 0x27, 0x38, 0x3F] {
        identity(expander, &[], None);
    }
}

#[test]
fn a_probe_of_another_kind_and_control_characters() {
    let answer = |text: &[u8]| {
        let mut bytes = vec![1];
        bytes.extend(text);
        bytes.resize(32, 0);
        [
            Transaction::write(0x63, b"i".to_vec()),
            Transaction::read(0x63, bytes),
        ]
    };
    identity(
        0x63,
        &answer(b"?i,RTD,2.10"),
        Some("EZO-RTD, firmware 2.10"),
    );
    identity(0x63, &answer(b"?i,pH\x1b[31m,2.10"), None);
    identity(0x63, &answer(b"hello"), None);
}

/// Chips as registers of what answers: an SHT4x of its own, and one behind each of two channels; an EZO
/// circuit. Counts what is asked.
#[derive(Default)]
struct Site {
    open: u8,
    asked: Vec<u8>,
    name: usize,
}

impl embedded_hal::i2c::ErrorType for Site {
    type Error = ErrorKind;
}

impl I2c for Site {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [embedded_hal::i2c::Operation<'_>],
    ) -> Result<(), ErrorKind> {
        use embedded_hal::i2c::Operation;
        self.asked.push(address);
        let there = match address {
            0x44 | 0x63 | 0x70 => true,
            0x45 => self.open & 0b101 != 0,
            _ => false,
        };
        if !there {
            return Err(GONE);
        }
        for operation in operations {
            match (address, operation) {
                (0x70, Operation::Write([mask])) => self.open = *mask,
                (0x70, Operation::Read(bytes)) => bytes.fill(self.open),
                (0x63, Operation::Write([b'i'])) => self.name += 1,
                (0x63, Operation::Read(bytes)) => {
                    bytes.fill(0);
                    bytes[..10].copy_from_slice(b"\x01?i,pH,2.1");
                }
                (_, Operation::Read(bytes)) => {
                    let answer = [0x12, 0x34, 0x37, 0x56, 0x78, 0x7D];
                    bytes.copy_from_slice(&answer[..bytes.len()]);
                }
                (_, Operation::Write(_)) => {}
            }
        }
        Ok(())
    }
}

/// The places that answer, in the order in which they were seen.
fn places(seen: &[Seen]) -> Vec<(Option<(u8, u8)>, u8)> {
    let at = |one: &Seen| match &one.at {
        SeenAt::I2c { address, behind } => Some((*behind, *address)),
        SeenAt::OneWire { .. } | SeenAt::Serial { .. } => None,
    };
    seen.iter().filter_map(at).collect()
}

#[test]
fn a_step_is_short_and_leaves_every_channel_closed() {
    let (mut site, mut delay) = (Site::default(), NoopDelay::new());
    let (mut walk, mut seen, mut slow) = (I2cWalk::default(), Vec::new(), 0);
    loop {
        site.asked.clear();
        // Somebody else has used the bus in between.
        site.open = 0x02;
        let next = walk
            .step(&mut site, &mut delay, |_| false, &mut seen)
            .unwrap();
        // Eight addresses, one identity, and what opens and closes channels.
        assert!(site.asked.len() <= PLACES_A_STEP + 10, "{:?}", site.asked);
        let knows_mux = !walk.muxes.is_empty();
        assert!(!knows_mux || site.open == 0, "{next:?}: {:#04x}", site.open);
        match next {
            Next::After { ms: SLOW_MS } => {
                slow += 1;
                let ezo = Place {
                    address: 0x63,
                    behind: None,
                };
                assert!(walk.holds(ezo), "nobody else may ask it now");
            }
            Next::After { .. } => {}
            Next::Done => break,
        }
    }
    let behind = |channel| (Some((0x70, channel)), 0x45);
    let expected = [
        (None, 0x44),
        (None, 0x63),
        (None, 0x70),
        behind(0),
        behind(2),
    ];
    assert_eq!(places(&seen), expected);
    assert_eq!((slow, site.name), (1, 1));
}

#[test]
fn what_is_in_the_middle_of_a_reading_is_asked_when_it_is_not() {
    let (mut site, mut delay) = (Site::default(), NoopDelay::new());
    let (mut walk, mut seen) = (I2cWalk::default(), Vec::new());
    let held = Place {
        address: 0x44,
        behind: None,
    };
    let mut waits = 0;
    loop {
        let is_held = |place| place == held && waits < 3;
        let before = site.asked.len();
        match walk
            .step(&mut site, &mut delay, is_held, &mut seen)
            .unwrap()
        {
            Next::After { ms: HELD_MS } => waits += 1,
            Next::After { .. } => {}
            Next::Done => break,
        }
        let asked = &site.asked[before..];
        assert!(
            waits == 0 || waits >= 3 || !asked.contains(&0x44),
            "{asked:?}"
        );
    }
    assert_eq!(waits, 3);
    let found = places(&seen);
    assert!(found.contains(&(None, 0x44)), "{found:?}");
    assert!(!found.contains(&(Some((0x70, 0)), 0x44)), "{found:?}");
}

/// Answers at any address with bytes from a list, over and over.
struct Rubbish {
    bytes: Vec<u8>,
    next: usize,
}

impl embedded_hal::i2c::ErrorType for Rubbish {
    type Error = ErrorKind;
}

impl I2c for Rubbish {
    fn transaction(
        &mut self,
        _: u8,
        operations: &mut [embedded_hal::i2c::Operation<'_>],
    ) -> Result<(), ErrorKind> {
        for operation in operations {
            if let embedded_hal::i2c::Operation::Read(bytes) = operation {
                for byte in bytes.iter_mut() {
                    *byte = self.bytes[self.next % self.bytes.len()];
                    self.next += 1;
                }
            }
        }
        Ok(())
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    #[test]
    fn no_answer_stops_a_survey_or_becomes_an_unprintable_name(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 1..60),
    ) {
        let (mut bus, mut delay) = (Rubbish { bytes, next: 0 }, NoopDelay::new());
        let mut seen = Vec::new();
        walk(&mut bus, &mut delay, &mut seen).unwrap();
        assert_eq!(places(&seen).len(), ADDRESSES.count());
        for identity in seen.iter().filter_map(|one| one.identity.as_ref()) {
            assert!(!identity.text.chars().any(char::is_control), "{identity:?}");
        }
    }
}
