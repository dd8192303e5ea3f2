use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Level};
use embedded_hal_mock::eh1::i2c::Transaction;
use furrow_drivers::inputs::{ContactReader, Contacts};
use furrow_drivers::{GpioContacts, Mcp23017, Pcf8574};

use crate::{on_bus, text};

const AT: u8 = 0x20;

fn set_up() -> Vec<Transaction> {
    [
        [0x00, 0xFF, 0xFF],
        [0x02, 0x00, 0x00],
        [0x08, 0x00, 0x00],
        [0x0C, 0xFF, 0xFF],
        [0x04, 0xFF, 0xFF],
    ]
    .map(|bytes| Transaction::write(AT, bytes.to_vec()))
    .to_vec()
}

/// Registers 0x00 to 0x13 with these flags and levels, port A first.
fn burst(pull_ups: u8, flags: [u8; 2], levels: [u8; 2]) -> Transaction {
    let mut bytes = vec![0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0];
    bytes.extend([pull_ups, pull_ups]);
    bytes.extend(flags);
    bytes.extend(levels);
    bytes.extend(levels);
    Transaction::write_read(AT, vec![0x00], bytes)
}

#[test]
fn an_mcp23017_is_set_up_once_and_read_in_one_burst() {
    let mut all = set_up();
    all.push(burst(0xFF, [0xFF, 0xFF], [0x34, 0x12]));
    all.push(burst(0xFF, [0x01, 0x80], [0x35, 0x12]));
    on_bus(&all, |bus, _| {
        let mut expander = Mcp23017::new(bus, AT).unwrap();
        // What the chip noted before it was watched is not told.
        let (high, changed) = (0x1234, 0);
        assert_eq!(expander.contacts(), Ok(Contacts { high, changed }));
        let (high, changed) = (0x1235, 0x8001);
        assert_eq!(expander.contacts(), Ok(Contacts { high, changed }));
        expander.release();
    });
}

#[test]
fn an_mcp23017_that_lost_its_settings_gets_them_again() {
    let mut all = set_up();
    all.push(burst(0xFF, [0, 0], [0xFF, 0xFF]));
    all.push(burst(0x00, [0, 0], [0x00, 0x00]));
    all.extend(set_up());
    all.push(burst(0xFF, [0, 0], [0xFF, 0xFF]));
    on_bus(&all, |bus, _| {
        let mut expander = Mcp23017::new(bus, AT).unwrap();
        expander.contacts().unwrap();
        let error = expander.contacts().unwrap_err();
        assert_eq!(
            text(&error),
            "mcp23017 at 0x20: settings: the chip was reset during the measurement \
             (register reads 0x0000, not 0xffff)"
        );
        assert!(error.is_transient());
        expander.contacts().unwrap();
    });
}

#[test]
fn a_pcf8574_is_made_an_input_before_each_reading() {
    let all = [
        Transaction::write(0x38, vec![0xFF]),
        Transaction::read(0x38, vec![0x5A]),
    ];
    on_bus(&all, |bus, _| {
        let mut expander = Pcf8574::new(bus, 0x38).unwrap();
        let (high, changed) = (0xFF5A, 0);
        assert_eq!(expander.contacts(), Ok(Contacts { high, changed }));
        expander.release();
    });
}

#[test]
fn foreign_addresses_are_refused() {
    on_bus(&[], |bus, _| {
        assert!(Mcp23017::new(bus.clone(), 0x28).is_err());
        for address in [0x1F, 0x28, 0x37, 0x40] {
            assert!(Pcf8574::new(bus.clone(), address).is_err(), "{address:#x}");
        }
    });
}

#[test]
fn gpio_lines_in_their_order() {
    let level = |state| Pin::new(&[Level::get(state)]);
    let lines = vec![level(State::High), level(State::Low), level(State::High)];
    let mut inputs = GpioContacts::new(lines);
    let (high, changed) = (0b101, 0);
    assert_eq!(inputs.contacts(), Ok(Contacts { high, changed }));
    for mut line in inputs.release() {
        line.done();
    }
}
