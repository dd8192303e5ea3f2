use super::super::testing::{Bench, Fake};
use super::*;

const SECOND_US: u64 = 1_000_000;

fn bench(zones: usize) -> Bench<Drip> {
    let mut bench = Bench::new(Drip::new(zones, 0), Fake::default());
    bench.now_ns = 0;
    bench
}

/// A register's data, once its checksum is seen to be right.
fn data(bench: &mut Bench<Drip>, register: u8, length: usize) -> Vec<u8> {
    bench.write(&[register], Ok(()));
    let mut bytes = vec![register];
    bytes.extend(bench.read_any(length + 1));
    let crc = bytes.pop().unwrap();
    assert_eq!(crc, crc8(&bytes));
    bytes.remove(0);
    bytes
}

fn set(bench: &mut Bench<Drip>, register: u8, data: &[u8]) {
    let mut bytes = vec![register];
    bytes.extend(data);
    bytes.push(crc8(&bytes));
    bench.write(&bytes, Ok(()));
}

/// Lets time pass event by event, with switches that follow at once unless they are `stuck`.
fn run(bench: &mut Bench<Drip>, seconds: u64, stuck: bool) {
    let until = bench.now_ns + seconds * 1_000_000_000;
    while let Some(event) = bench.chip.next_event_ns().filter(|event| *event <= until) {
        bench.now_ns = event;
        follow(bench, stuck);
    }
    bench.now_ns = until;
    follow(bench, stuck);
}

fn follow(bench: &mut Bench<Drip>, stuck: bool) {
    if !stuck {
        bench.field.switches = bench.chip.commanded();
    }
    let switches = bench.field.switches;
    bench.chip.advance(bench.now_ns, switches);
    if !stuck {
        bench.field.switches = bench.chip.commanded();
        let switches = bench.field.switches;
        bench.chip.advance(bench.now_ns, switches);
    }
}

#[test]
fn worked_bytes() {
    let mut bench = bench(4);
    bench.ask(&[0x00], 0, &[0x46, 0x52, 0x01, 0x00, 0x54]);
    bench.write(&[0x10, 0x00, 0x1E, 0xB3], Ok(()));
    assert_eq!(bench.chip.commanded(), 1);
    bench.write(&[0x10, 0x00, 0x00, 0xEF], Ok(()));
    assert_eq!(bench.chip.commanded(), 0);
    assert_eq!(data(&mut bench, FAULTS, 2), [0, 0]);
}

#[test]
fn a_lease_ends_by_itself() {
    let mut bench = bench(4);
    run(&mut bench, 2, false);
    set(&mut bench, CLEAR, &[0xA5]);
    set(&mut bench, 0x12, &[0x00, 0x0A]);
    run(&mut bench, 9, false);
    assert_eq!(data(&mut bench, 0x12, 2), [0, 1]);
    assert_eq!(data(&mut bench, COMMANDED, 1), [0b100]);
    assert_eq!(data(&mut bench, CONFIRMED, 1), [0b100]);
    run(&mut bench, 1, false);
    assert_eq!(data(&mut bench, 0x12, 2), [0, 0]);
    assert_eq!(data(&mut bench, COMMANDED, 1), [0]);
    assert_eq!(data(&mut bench, STATUS, 4), [0b010, 4, 0, 12]);
    let changes: Vec<_> = bench
        .chip
        .take_changes()
        .iter()
        .map(|change| (change.output, change.open, change.cause, change.at_ns))
        .collect();
    assert_eq!(
        changes,
        [
            (2, true, Cause::Master, 2_000_000_000),
            (2, false, Cause::LeaseRanOut, 12_000_000_000),
        ]
    );
}

#[test]
fn renewing_keeps_it_open_and_zero_closes_it() {
    let mut bench = bench(1);
    for _ in 0..10 {
        set(&mut bench, 0x10, &[0x01, 0x2C]);
        run(&mut bench, 299, false);
    }
    assert_eq!(data(&mut bench, COMMANDED, 1), [1]);
    set(&mut bench, 0x10, &[0, 0]);
    assert_eq!(data(&mut bench, COMMANDED, 1), [0]);
    // Half a second of a lease still reads as one.
    set(&mut bench, 0x10, &[0, 2]);
    bench.wait_us(3 * SECOND_US / 2);
    assert_eq!(data(&mut bench, 0x10, 2), [0, 1]);
}

#[test]
fn wrong_writes_change_nothing_but_the_fault_code() {
    let check = |bytes: &[u8], fault: u8| {
        let mut bench = bench(2);
        run(&mut bench, 1, false);
        set(&mut bench, CLEAR, &[0xA5]);
        set(&mut bench, 0x11, &[0x00, 0x3C]);
        bench.write(bytes, Ok(()));
        assert_eq!(data(&mut bench, COMMANDED, 1), [0b10], "{bytes:02X?}");
        assert_eq!(data(&mut bench, 0x11, 2), [0, 60], "{bytes:02X?}");
        assert_eq!(data(&mut bench, FAULTS, 2), [0, fault], "{bytes:02X?}");
        assert_eq!(data(&mut bench, STATUS, 1 + 3)[0], 1, "{bytes:02X?}");
        set(&mut bench, CLEAR, &[0xA5]);
        assert_eq!(data(&mut bench, FAULTS, 2), [0, 0], "{bytes:02X?}");
        assert_eq!(data(&mut bench, STATUS, 4)[0], 0, "{bytes:02X?}");
    };
    let sealed = |bytes: &[u8]| [bytes, &[crc8(bytes)]].concat();
    // Each flipped bit of a good write.
    for bit in 0..24 {
        let mut bytes = [0x10, 0x00, 0x1E, 0xB3];
        bytes[1 + bit / 8] ^= 1 << (bit % 8);
        check(&bytes, 3);
    }
    check(&[0x10, 0x00, 0x1E], 3);
    check(&sealed(&[0x10, 0x00]), 3);
    check(&sealed(&[0x10, 0x00, 0x1E, 0x00]), 3);
    check(&sealed(&[0x02, 0x01]), 3);
    // Longer than 300 s, an output that is not there, another key.
    check(&sealed(&[0x10, 0x01, 0x2D]), 4);
    check(&sealed(&[0x12, 0x00, 0x1E]), 4);
    check(&sealed(&[0x0F, 0x00]), 4);
}

#[test]
fn valves_that_do_not_follow() {
    let mut bench = bench(2);
    run(&mut bench, 1, true);
    set(&mut bench, CLEAR, &[0xA5]);
    set(&mut bench, 0x10, &[0x00, 0x08]);
    follow(&mut bench, true);
    run(&mut bench, 4, true);
    assert_eq!(data(&mut bench, FAULTS, 2), [0, 0]);
    run(&mut bench, 1, true);
    assert_eq!(data(&mut bench, FAULTS, 2), [1, 1]);
    // It opens late: the bit goes, the code stays until it is cleared.
    bench.field.switches = 1;
    run(&mut bench, 1, true);
    assert_eq!(data(&mut bench, FAULTS, 2), [0, 1]);
    // And does not close again.
    run(&mut bench, 2 + 4, true);
    assert_eq!(data(&mut bench, FAULTS, 2), [0, 1]);
    run(&mut bench, 1, true);
    assert_eq!(data(&mut bench, FAULTS, 2), [1, 2]);
    assert_eq!(data(&mut bench, STATUS, 4)[0], 0b011);
}

#[test]
fn a_reset_closes_everything_and_shows() {
    let mut bench = bench(2);
    bench.field.pulses = 1_000;
    assert_eq!(data(&mut bench, STATUS, 4), [0b100, 2, 0, 0]);
    assert_eq!(data(&mut bench, FLOW, 4), [0, 0, 0x03, 0xE8]);
    set(&mut bench, CLEAR, &[0xA5]);
    set(&mut bench, 0x10, &[0x00, 0x3C]);
    run(&mut bench, 3, false);
    bench.chip.reset(bench.now_ns, 1_000);
    bench.field.pulses = 1_007;
    assert_eq!(data(&mut bench, COMMANDED, 1), [0]);
    assert_eq!(data(&mut bench, STATUS, 4), [0b100, 2, 0, 0]);
    assert_eq!(data(&mut bench, FLOW, 4), [0, 0, 0, 7]);
    assert_eq!(
        bench.chip.take_changes().last().map(|change| change.cause),
        Some(Cause::Reset)
    );
}

#[test]
fn uptime_and_pulses_at_their_limits() {
    let mut bench = bench(1);
    bench.now_ns = 70_000 * 1_000_000_000;
    bench.field.pulses = (1 << 32) + 5;
    assert_eq!(data(&mut bench, STATUS, 4)[2..], [0xFF, 0xFF]);
    assert_eq!(data(&mut bench, FLOW, 4), [0, 0, 0, 5]);
}

#[test]
fn registers_that_are_not_there_read_ones() {
    let mut bench = bench(2);
    for register in [0x06, 0x0F, 0x12, 0x18, 0xFF] {
        bench.write(&[register], Ok(()));
        bench.read(Ok(&[0xFF, 0xFF, 0xFF]));
    }
}
