use furrow_sim_bus::protocol::Stops;

use super::*;
use crate::faults::FaultOrder;

const SECOND: u64 = 1_000_000_000;

fn world(seed: u64) -> World {
    let setup = Setup {
        seed,
        start_unix_ms: 1_776_488_400_000,
        start_mono_ns: 0,
        zones: 4,
        boards: 0,
        wall_known: true,
        boot: None,
    };
    World::new(&setup, None)
}

fn write(world: &mut World, bus: u8, address: u8, bytes: &[u8]) {
    let transaction = Transaction {
        bus,
        address,
        stops: Stops::Repeated,
        operations: vec![Operation::Write(bytes.to_vec())],
    };
    world.transact(&transaction).unwrap();
}

/// Two hours with water and faults, looking every so often; everything there is to know at the end.
fn run(seed: u64, every_ns: u64) -> String {
    let mut world = world(seed);
    for (after_ms, fault) in [
        (600_000, Fault::Heat { kelvin: 8.0 }),
        (
            700_000,
            Fault::StickValve {
                zone: 2,
                position: None,
            },
        ),
        (3_000_000, Fault::Leak { litres_min: 2 }),
        (4_000_000, Fault::TankEmpty),
        (5_000_000, Fault::ResetDrip),
    ] {
        let order = FaultOrder {
            fault,
            after_ms,
            for_ms: None,
        };
        world.order(order).unwrap();
    }
    for lease in 0..70 {
        // Output 1 and 2 for 100 s each, renewed every 100 s and never closed.
        for bytes in [[0x10, 0x00, 0x64], [0x11, 0x00, 0x64]] {
            let crc = crate::chips::crc::crc8(&bytes);
            write(&mut world, 3, 0x2C, &[bytes.as_slice(), &[crc]].concat());
        }
        let until = (lease + 1) * 100 * SECOND;
        while world.now_ns() < until {
            world.advance((world.now_ns() + every_ns).min(until));
        }
    }
    world.advance(7_200 * SECOND);
    serde_json::to_string(&world.status()).unwrap()
}

#[test]
fn how_often_one_looks_changes_nothing() {
    let coarse = run(1, u64::MAX / 2);
    assert_eq!(coarse, run(1, u64::MAX / 2));
    assert_eq!(coarse, run(1, 333_333_333));
    assert_ne!(coarse, run(2, u64::MAX / 2));
}

#[test]
fn a_boot_id_follows_from_seed_and_start() {
    assert_eq!(world(1).boot(), world(1).boot());
    assert_ne!(world(1).boot(), world(2).boot());
}

#[test]
fn time_never_goes_back() {
    let mut world = world(1);
    world.advance(100 * SECOND);
    world.advance(50 * SECOND);
    assert_eq!(world.now_ns(), 100 * SECOND);
}

#[test]
fn orders_are_bounded() {
    let mut world = world(1);
    let order = FaultOrder {
        fault: Fault::TankEmpty,
        after_ms: 1,
        for_ms: None,
    };
    let taken = (0..2_000)
        .take_while(|_| world.order(order.clone()).is_ok())
        .count();
    assert_eq!(taken, 999);
}
