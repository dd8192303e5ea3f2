use proptest::prelude::*;

use super::*;

/// The bytes of a message, and the message of the bytes.
fn check_request(request: &Request, hex: &str) {
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    assert_eq!(bytes, from_hex(hex), "{request:?}");
    assert_eq!(Request::decode(&bytes[4..]).as_ref(), Ok(request));
}

fn check_response(response: &Response, hex: &str) {
    let mut bytes = Vec::new();
    response.encode(&mut bytes);
    assert_eq!(bytes, from_hex(hex), "{response:?}");
    assert_eq!(Response::decode(&bytes[4..]).as_ref(), Ok(response));
}

#[test]
fn bytes_of_requests() {
    let hello = |role| Request::Hello {
        role,
        client: "gw".into(),
    };
    check_request(&hello(Role::Clock), "0000000a014652574201010267 77");
    check_request(&hello(Role::Bus), "0000000a014652574201020267 77");
    check_request(
        &Request::Wait {
            seq: 7,
            deadline_ns: 10_000_000_000,
        },
        "0000000d 10 00000007 00000002540be400",
    );
    check_request(&Request::Hold { seq: 8 }, "00000005 11 00000008");
    check_request(
        &Request::I2c(Transaction {
            bus: 3,
            address: 0x2C,
            stops: Stops::Repeated,
            operations: vec![Operation::Write(vec![0]), Operation::Read(5)],
        }),
        "0000000c 20 03 2c 00 02 00 0001 00 01 0005",
    );
    check_request(
        &Request::I2c(Transaction {
            bus: 1,
            address: 0x44,
            stops: Stops::Between,
            operations: vec![],
        }),
        "00000005 20 01 44 01 00",
    );
    check_request(&Request::Pulses { pin: 17 }, "00000002 30 11");
    check_request(&Request::Input { pin: 17 }, "00000002 31 11");
    check_request(&Request::Output { pin: 5, high: true }, "00000003 32 05 01");
}

#[test]
fn bytes_of_responses() {
    let state = TimeState {
        boot: 0x0102_0304_0506_0708,
        mono_ns: 5,
        wall_offset_ms: Some(-2),
        flow: Flow::LockStep,
    };
    check_response(
        &Response::Welcome(state),
        "0000001f 81 0102030405060708 0000000000000005 01 fffffffffffffffe 00 00000000",
    );
    check_response(
        &Response::Time(TimeState {
            wall_offset_ms: None,
            flow: Flow::Free {
                speed_permille: 1000,
            },
            ..state
        }),
        "0000001f 92 0102030405060708 0000000000000005 00 0000000000000000 01 000003e8",
    );
    check_response(
        &Response::Woken { seq: 7, mono_ns: 1 },
        "0000000d 90 00000007 0000000000000001",
    );
    check_response(
        &Response::Held { seq: 8, mono_ns: 1 },
        "0000000d 91 00000008 0000000000000001",
    );
    check_response(
        &Response::Ended {
            mono_ns: 1,
            reason: "end".into(),
        },
        "0000000d 93 0000000000000001 03 656e64",
    );
    check_response(
        &Response::I2cDone(vec![0x46, 0x52, 1, 0, 0x54]),
        "00000006 a0 4652010054",
    );
    check_response(&Response::Count(450), "00000009 b0 00000000000001c2");
    check_response(&Response::Level(true), "00000002 b1 01");
    check_response(&Response::Done, "00000001 b2");
    check_response(
        &Response::Failed {
            failure: Failure::NackAddress,
            text: "no".into(),
        },
        "00000005 ff 01 02 6e6f",
    );
}

#[test]
fn wrong_requests() {
    let check = |hex: &str, expected: ProtocolError| {
        assert_eq!(Request::decode(&from_hex(hex)), Err(expected), "{hex}");
    };
    check("", ProtocolError::Short { kind: 0 });
    check("99", ProtocolError::Kind(0x99));
    check("01 47455420", ProtocolError::Magic);
    check("01 46525742 02 01 00", ProtocolError::Version(2));
    check("11 0000", ProtocolError::Short { kind: 0x11 });
    check(
        "30 11 00",
        ProtocolError::Long {
            kind: 0x30,
            extra: 1,
        },
    );
    let field = |kind, field| ProtocolError::Field { kind, field };
    check("01 46525742 01 03 00", field(1, "role"));
    check("01 46525742 01 01 01 ff", field(1, "text"));
    check("32 05 02", field(0x32, "level"));
    check("20 01 80 00 00", field(0x20, "address"));
    check("20 01 44 02 00", field(0x20, "flags"));
    check("20 01 44 00 21", field(0x20, "number of operations"));
    check("20 01 44 00 01 02 0001", field(0x20, "operation"));
    check("20 01 44 00 01 01 1001", field(0x20, "number of bytes"));
}

#[test]
fn frames_are_bounded_and_complete() {
    let check = |hex: &str, expected: Result<bool, io::ErrorKind>| {
        let bytes = from_hex(hex);
        let mut frame = vec![9; 3];
        let read = read_frame(&mut bytes.as_slice(), &mut frame);
        assert_eq!(read.map_err(|error| error.kind()), expected, "{hex}");
    };
    check("", Ok(false));
    check("00000001 b2", Ok(true));
    check("00000000", Err(io::ErrorKind::InvalidData));
    check("00002001 00", Err(io::ErrorKind::InvalidData));
    check("ffffffff", Err(io::ErrorKind::InvalidData));
    check("0000", Err(io::ErrorKind::UnexpectedEof));
    check("00000002 b2", Err(io::ErrorKind::UnexpectedEof));
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let mut bytes = Vec::new();
    Request::Hello {
        role: Role::Bus,
        client: "ẩ".repeat(100),
    }
    .encode(&mut bytes);
    assert_eq!(
        Request::decode(&bytes[4..]),
        Ok(Request::Hello {
            role: Role::Bus,
            client: "ẩ".repeat(MAX_TEXT_BYTES / 3),
        })
    );
}

fn transactions() -> impl Strategy<Value = Transaction> {
    let operation = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..100).prop_map(Operation::Write),
        (0u16..100).prop_map(Operation::Read),
    ];
    (
        any::<u8>(),
        0u8..128,
        any::<bool>(),
        proptest::collection::vec(operation, 0..MAX_OPERATIONS),
    )
        .prop_map(|(bus, address, between, operations)| Transaction {
            bus,
            address,
            stops: if between {
                Stops::Between
            } else {
                Stops::Repeated
            },
            operations,
        })
}

proptest! {
    #[test]
    fn transactions_survive_the_wire(transaction in transactions()) {
        let request = Request::I2c(transaction);
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        let mut frame = Vec::new();
        prop_assert!(read_frame(&mut bytes.as_slice(), &mut frame).unwrap());
        prop_assert_eq!(Request::decode(&frame), Ok(request));
    }

    /// What is accepted has exactly one spelling; everything else is an error, never a panic.
    #[test]
    fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in any::<u8>()) {
        let mut message = vec![kind];
        message.extend(bytes);
        if let Ok(request) = Request::decode(&message) {
            let mut again = Vec::new();
            request.encode(&mut again);
            prop_assert_eq!(&again[4..], &message[..]);
        }
        if let Ok(response) = Response::decode(&message) {
            let mut again = Vec::new();
            response.encode(&mut again);
            prop_assert_eq!(Response::decode(&again[4..]), Ok(response));
        }
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
