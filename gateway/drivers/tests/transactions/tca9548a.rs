use embedded_hal::i2c::{ErrorKind, I2c, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use furrow_drivers::tca9548a::{OpenMux, Route, Segment};
use furrow_drivers::{Sht3x, Step};

use crate::on_bus;

const GONE: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

fn behind(bus: &Mock, mux: u8, channel: u8, open: &OpenMux) -> Segment<Mock> {
    Segment::new(bus.clone(), Some(Route { mux, channel }), open.clone())
}

#[test]
fn two_sensors_of_one_address_and_one_beside_them() {
    let all = [
        Transaction::write(0x70, vec![0x01]),
        Transaction::write(0x44, vec![0x24, 0x00]),
        Transaction::write(0x70, vec![0x80]),
        Transaction::write(0x44, vec![0x24, 0x00]),
        Transaction::write(0x45, vec![0x24, 0x00]),
    ];
    on_bus(&all, |bus, _| {
        let open = OpenMux::default();
        let beside = Segment::new(bus.clone(), None, open.clone());
        for (segment, address) in [
            (behind(&bus, 0x70, 0, &open), 0x44),
            (behind(&bus, 0x70, 7, &open), 0x44),
            (beside, 0x45),
        ] {
            let mut sensor = Sht3x::new(segment, address).unwrap();
            assert!(matches!(sensor.step(0), Ok(Step::Wait { .. })));
        }
    });
}

#[test]
fn of_two_multiplexers_one_is_open() {
    let all = [
        Transaction::write(0x70, vec![0x02]),
        Transaction::write(0x44, vec![1]),
        Transaction::write(0x70, vec![0x00]),
        Transaction::write(0x71, vec![0x04]),
        Transaction::write(0x44, vec![2]),
        // The other one was pulled: it connects nothing.
        Transaction::write(0x71, vec![0x00]).with_error(GONE),
        Transaction::write(0x70, vec![0x02]),
        Transaction::write(0x44, vec![3]),
        // It does not let go: nothing is asked behind the second.
        Transaction::write(0x70, vec![0x00]).with_error(ErrorKind::Bus),
    ];
    on_bus(&all, |bus, _| {
        let open = OpenMux::default();
        let mut first = behind(&bus, 0x70, 1, &open);
        let mut second = behind(&bus, 0x71, 2, &open);
        first.write(0x44, &[1]).unwrap();
        second.write(0x44, &[2]).unwrap();
        first.write(0x44, &[3]).unwrap();
        assert_eq!(second.write(0x44, &[4]), Err(ErrorKind::Bus));
    });
}

#[test]
fn a_multiplexer_that_is_gone_is_not_passed_by() {
    let all = [Transaction::write(0x70, vec![0x01]).with_error(GONE)];
    on_bus(&all, |bus, _| {
        let mut segment = behind(&bus, 0x70, 0, &OpenMux::default());
        assert_eq!(segment.write(0x44, &[1]), Err(GONE));
    });
}
