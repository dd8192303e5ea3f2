use embedded_hal_mock::eh1::i2c::Transaction;
use furrow_drivers::ezo::Probe;
use furrow_drivers::{Ezo, Step};

use crate::{on_bus, text, until_read};

fn answer(status: u8, said: &str) -> Vec<u8> {
    let mut bytes = vec![status];
    bytes.extend(said.as_bytes());
    bytes.resize(32, 0);
    bytes
}

fn talk(probe: Probe, pairs: &[(&str, Vec<u8>)]) -> Vec<Transaction> {
    let at = probe.address();
    let talked = pairs.iter().flat_map(|(command, answer)| {
        let asked =
            (!command.is_empty()).then(|| Transaction::write(at, command.as_bytes().to_vec()));
        asked
            .into_iter()
            .chain([Transaction::read(at, answer.clone())])
    });
    talked.collect()
}

#[track_caller]
fn check(probe: Probe, pairs: &[(&str, Vec<u8>)], expected: &str) {
    on_bus(&talk(probe, pairs), |bus, _| {
        let mut sensor = Ezo::new(bus, probe, probe.address());
        let found = match until_read(0, |now_ms| sensor.step(now_ms)) {
            Ok((value, at_ms)) => format!("{value} at {at_ms}"),
            Err(error) => text(&error),
        };
        assert_eq!(found, expected);
        sensor.release();
    });
}

#[test]
fn says_who_it_is_and_then_measures() {
    // The datasheet's example: 01 39 2E 35 36 30 00.
    let ph = answer(1, "9.560");
    assert_eq!(ph[..7], [0x01, 0x39, 0x2E, 0x35, 0x36, 0x30, 0x00]);
    check(
        Probe::Ph,
        &[("i", answer(1, "?i,pH,1.98")), ("R", ph)],
        "9.560 at 1202",
    );
    let ec = [("i", answer(1, "?I,EC,2.16")), ("R", answer(1, "1413"))];
    check(Probe::Ec, &ec, "1.413 at 1202");
    let several = [
        ("i", answer(1, "?i,EC,2.16")),
        ("R", answer(1, "2210,1193,1.13,1.001")),
    ];
    check(Probe::Ec, &several, "2.210 at 1202");
}

#[test]
fn a_second_reading_asks_nobody_who_it_is() {
    let pairs = [
        ("i", answer(1, "?i,pH,1.98")),
        ("R", answer(1, "6.001")),
        ("R", answer(1, "6.002")),
    ];
    on_bus(&talk(Probe::Ph, &pairs), |bus, _| {
        let mut sensor = Ezo::new(bus, Probe::Ph, 0x63);
        until_read(0, |now_ms| sensor.step(now_ms)).unwrap();
        let (value, at_ms) = until_read(10_000, |now_ms| sensor.step(now_ms)).unwrap();
        assert_eq!((value.to_string().as_str(), at_ms), ("6.002", 10_901));
    });
}

#[test]
fn an_answer_may_be_late_but_not_for_ever() {
    let identity = ("i", answer(1, "?i,pH,1.98"));
    let late = ("", answer(254, ""));
    let first = ("R", answer(254, ""));
    check(
        Probe::Ph,
        &[
            identity.clone(),
            first.clone(),
            late.clone(),
            ("", answer(1, "7.0")),
        ],
        "7.000 at 1402",
    );
    check(
        Probe::Ph,
        &[identity, first, late.clone(), late.clone(), late],
        "ezo-ph at 0x63: reading: the conversion did not finish in 1200 ms",
    );
}

#[test]
fn what_is_no_reading_is_no_number() {
    let identity = ("i", answer(1, "?i,pH,1.98"));
    let with = |answer| vec![identity.clone(), ("R", answer)];
    let table = [
        (answer(2, ""), "reading: the chip answers with status 2"),
        (answer(255, ""), "reading: the chip answers with status 255"),
        (answer(0, ""), "reading: the chip answers with status 0"),
        (answer(1, ""), "reading: the answer \"\" is no number"),
        (answer(1, "*ER"), "reading: the answer \"*ER\" is no number"),
        (
            answer(1, "-1.0"),
            "reading: the answer \"-1.0\" is no number",
        ),
        (
            answer(1, "14.001"),
            "reading: value 14.00 is outside 0.00 to 14.00 [pH]",
        ),
        (
            answer(1, "0.000"),
            "reading: value 0.00 is outside 0.00 to 14.00 [pH]",
        ),
    ];
    for (bytes, expected) in table {
        check(
            Probe::Ph,
            &with(bytes),
            &format!("ezo-ph at 0x63: {expected}"),
        );
    }
    check(
        Probe::Ph,
        &[("i", answer(1, "?i,EC,2.16"))],
        "ezo-ph at 0x63: identity: unexpected identity \"?i,EC,2.16\"",
    );
    check(
        Probe::Ph,
        &[("i", vec![0xFF; 32])],
        "ezo-ph at 0x63: identity: the chip answers with status 255",
    );
}

#[test]
fn an_early_step_sends_nothing() {
    on_bus(&[Transaction::write(0x63, b"i".to_vec())], |bus, _| {
        let mut sensor = Ezo::new(bus, Probe::Ph, 0x63);
        let wait = Ok(Step::Wait { until_ms: 301 });
        assert_eq!(sensor.step(0), wait);
        assert_eq!(sensor.step(300), wait);
    });
}
