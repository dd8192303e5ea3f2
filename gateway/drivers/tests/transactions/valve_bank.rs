use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::Transaction;
use furrow_drivers::{Mcp23017Bank, Pcf8574Bank, ReadBack, ValveBank};

use crate::{on_bus, text};

const AT: u8 = 0x21;
const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

fn write(bytes: &[u8]) -> Transaction {
    Transaction::write(AT, bytes.to_vec())
}

fn iocon(reads: u8) -> [Transaction; 3] {
    [
        write(&[0x05, 0x00]),
        write(&[0x0A, 0x00]),
        Transaction::write_read(AT, vec![0x0A], vec![reads]),
    ]
}

/// A write of the whole chip: settings, latches, and only then the direction.
fn put(latches: [u8; 2], direction: [u8; 2]) -> Vec<Transaction> {
    let mut all = iocon(0x00).to_vec();
    all.push(write(&[0x02, 0x00, 0x00]));
    all.push(write(&[0x14, latches[0], latches[1]]));
    all.push(write(&[0x00, direction[0], direction[1]]));
    all
}

/// Registers 0x00 to 0x15.
fn burst(direction: [u8; 2], levels: [u8; 2], latches: [u8; 2]) -> Transaction {
    let mut bytes = direction.to_vec();
    bytes.extend([0; 0x10]);
    bytes.extend(levels);
    bytes.extend(latches);
    Transaction::write_read(AT, vec![0x00], bytes)
}

#[test]
fn an_active_low_board_gets_its_latches_before_its_direction() {
    let mut all = put([0xFF, 0xFF], [0x00, 0x00]);
    all.extend(put([0xFB, 0xFF], [0x00, 0x00]));
    all.extend(put([0xFB, 0x7F], [0x00, 0x00]));
    all.extend(put([0xFF, 0x7F], [0x00, 0x00]));
    on_bus(&all, |bus, _| {
        let mut bank = Mcp23017Bank::new(bus, AT, 0xFFFF, 0xFFFF).unwrap();
        bank.all_off().unwrap();
        bank.switch(2, true).unwrap();
        bank.switch(15, true).unwrap();
        bank.switch(2, false).unwrap();
        bank.release();
    });
}

#[test]
fn pins_without_a_relay_stay_inputs_and_polarity_is_each_pins_own() {
    // Relays at 0 (on while low) and 9 (on while high).
    let mut all = put([0x01, 0x00], [0xFE, 0xFD]);
    all.extend(put([0x01, 0x02], [0xFE, 0xFD]));
    all.push(burst([0xFE, 0xFD], [0xFF, 0x02], [0x01, 0x02]));
    on_bus(&all, |bus, _| {
        let mut bank = Mcp23017Bank::new(bus, AT, 0x0201, 0x0001).unwrap();
        bank.all_off().unwrap();
        bank.switch(9, true).unwrap();
        let (on, agrees) = (0x0200, 0x0201);
        assert_eq!(bank.read_back(), Ok(ReadBack { on, agrees }));
        let refused = bank.switch(1, true).unwrap_err();
        assert_eq!(
            text(&refused),
            "mcp23017 at 0x21: latches: the pin has no relay"
        );
        assert!(bank.switch(16, true).is_err());
        bank.release();
    });
}

#[test]
fn what_the_pins_really_do_is_read_back() {
    let all = [
        // As written: relay 0 on.
        burst([0x00, 0x00], [0xFE, 0xFF], [0xFE, 0xFF]),
        // A pin that is held low against its latch.
        burst([0x00, 0x00], [0xFE, 0xFF], [0xFF, 0xFF]),
        // The chip lost its settings: nothing is driven, the board's pull-ups keep the relays off.
        burst([0xFF, 0xFF], [0xFF, 0xFF], [0x00, 0x00]),
    ];
    on_bus(&all, |bus, _| {
        let mut bank = Mcp23017Bank::new(bus, AT, 0xFFFF, 0xFFFF).unwrap();
        let seen = [(0x0001, 0xFFFF), (0x0001, 0xFFFE), (0x0000, 0x0000)];
        for (on, agrees) in seen {
            assert_eq!(bank.read_back(), Ok(ReadBack { on, agrees }));
        }
        bank.release();
    });
}

#[test]
fn other_settings_are_refused_before_a_latch_is_touched() {
    let mut all = iocon(0x80).to_vec();
    let mut other = vec![0; 0x16];
    other[0x0A] = 0x20;
    all.push(Transaction::write_read(AT, vec![0x00], other));
    on_bus(&all, |bus, _| {
        let mut bank = Mcp23017Bank::new(bus, AT, 0xFFFF, 0xFFFF).unwrap();
        let refused = bank.switch(0, true).unwrap_err();
        assert_eq!(
            text(&refused),
            "mcp23017 at 0x21: iocon: wrote 0, reads back 128"
        );
        assert!(bank.read_back().is_err());
        bank.release();
    });
}

#[test]
fn what_could_not_be_switched_on_is_not_switched_on_later() {
    let mut all = put([0xFF, 0xFF], [0x00, 0x00]);
    all.push(write(&[0x05, 0x00]).with_error(NACK));
    all.extend(put([0xFD, 0xFF], [0x00, 0x00]));
    on_bus(&all, |bus, _| {
        let mut bank = Mcp23017Bank::new(bus, AT, 0xFFFF, 0xFFFF).unwrap();
        bank.all_off().unwrap();
        assert!(bank.switch(0, true).is_err());
        bank.switch(1, true).unwrap();
        bank.release();
    });
    let pins = |byte| Transaction::write(0x38, vec![byte]);
    let all = [pins(0xFE).with_error(NACK), pins(0xFD)];
    on_bus(&all, |bus, _| {
        let mut bank = Pcf8574Bank::new(bus, 0x38, 0xFF).unwrap();
        assert!(bank.switch(0, true).is_err());
        bank.switch(1, true).unwrap();
        bank.release();
    });
}

#[test]
fn a_pcf8574_is_on_while_its_pin_is_low() {
    let write = |byte| Transaction::write(0x38, vec![byte]);
    let read = |byte| Transaction::read(0x38, vec![byte]);
    // Pins 4 to 7 have no relay: they stay weakly high.
    let all = [
        write(0xFF),
        write(0xFB),
        read(0x0B),
        read(0xFF),
        write(0xFF),
        read(0xFE),
    ];
    on_bus(&all, |bus, _| {
        let mut bank = Pcf8574Bank::new(bus, 0x38, 0x0F).unwrap();
        bank.all_off().unwrap();
        bank.switch(2, true).unwrap();
        let (on, agrees) = (0x04, 0x0F);
        assert_eq!(bank.read_back(), Ok(ReadBack { on, agrees }));
        // Its supply failed in between: all pins are high again.
        let (on, agrees) = (0x00, 0x0B);
        assert_eq!(bank.read_back(), Ok(ReadBack { on, agrees }));
        bank.switch(2, false).unwrap();
        // Something pulls pin 0 down.
        let (on, agrees) = (0x01, 0x0E);
        assert_eq!(bank.read_back(), Ok(ReadBack { on, agrees }));
        assert!(bank.switch(4, true).is_err());
        bank.release();
    });
}

#[test]
fn foreign_addresses_are_refused() {
    on_bus(&[], |bus, _| {
        assert!(Mcp23017Bank::new(bus.clone(), 0x28, 1, 1).is_err());
        for address in [0x1F, 0x28, 0x37, 0x40] {
            assert!(
                Pcf8574Bank::new(bus.clone(), address, 1).is_err(),
                "{address:#x}"
            );
        }
    });
}
