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
        beginning: Beginning::default(),
        places: Vec::new(),
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

fn ask(world: &mut World, bus: u8, address: u8, operations: Vec<Operation>) -> Option<Vec<u8>> {
    let transaction = Transaction {
        bus,
        address,
        stops: Stops::Repeated,
        operations,
    };
    world.transact(&transaction).ok()
}

#[test]
fn two_sensors_of_one_address_behind_a_multiplexer() {
    let mut world = world(1);
    let serial = |world: &mut World| {
        ask(world, 2, 0x46, vec![Operation::Write(vec![0x89])])?;
        let later = world.now_ns() + SECOND;
        world.advance(later);
        ask(world, 2, 0x46, vec![Operation::Read(6)])
    };
    assert_eq!(serial(&mut world), None, "no channel is open");
    let mut seen = Vec::new();
    for mask in [0x01, 0x02] {
        write(&mut world, 2, 0x70, &[mask]);
        seen.push(serial(&mut world).unwrap());
    }
    assert_eq!(seen[0][..2], [0x0F, 0x46]);
    assert_ne!(seen[0], seen[1]);
    // Both at once pull the line low together: the checksum shows it.
    write(&mut world, 2, 0x70, &[0x03]);
    let both = serial(&mut world).unwrap();
    let low: Vec<u8> = seen[0].iter().zip(&seen[1]).map(|(a, b)| a & b).collect();
    assert_eq!(both, low);
    assert_ne!(crate::chips::crc::crc8(&both[3..5]), both[5]);
    let unplug = Fault::Unplug {
        device: "tca9548a".into(),
    };
    order(&mut world, unplug);
    assert_eq!(serial(&mut world), None);
}

#[test]
fn a_held_bus_is_free_after_its_clocks() {
    let mut world = world(1);
    order(&mut world, Fault::HoldBus { clocks: 3 });
    let there = |world: &mut World, bus| ask(world, bus, 0x44, vec![Operation::Write(vec![])]);
    assert_eq!(there(&mut world, 1), None);
    assert!(there(&mut world, 2).is_some(), "another bus");
    for clock in 0..3 {
        assert_eq!(world.input(2), Ok(false), "after {clock} clocks");
        world.output(3, false).unwrap();
        world.output(3, true).unwrap();
    }
    assert_eq!(world.input(2), Ok(true));
    assert!(there(&mut world, 1).is_some());
    order(&mut world, Fault::BusStuck { bus: 1 });
    world.output(3, false).unwrap();
    world.output(3, true).unwrap();
    assert_eq!(world.input(2), Ok(false), "a short stays");
}

#[test]
fn contacts_at_pins_and_the_rain_gauge() {
    let mut world = world(1);
    // Tank, door, mains: closed to ground; the button is open.
    let levels = |world: &World| [22, 23, 24, 25].map(|pin| world.input(pin).unwrap());
    assert_eq!(levels(&world), [false, false, false, true]);
    order(&mut world, Fault::MainsOff);
    order(&mut world, Fault::PressButton);
    assert_eq!(levels(&world), [false, false, true, false]);
    assert!(world.output(24, true).is_err());
    // A contact of somebody's own; a pin with something else on it has none.
    assert_eq!(world.input(5), Ok(true));
    order(&mut world, Fault::CloseContact { pin: 5 });
    assert_eq!((world.input(5), world.input(6)), (Ok(false), Ok(true)));
    order(&mut world, Fault::OpenContact { pin: 5 });
    assert_eq!(world.input(5), Ok(true));
    assert!(world.check(&Fault::CloseContact { pin: 12 }).is_err());
    assert_eq!(world.input(12), Ok(false));
    assert_eq!(world.pulses(27), Ok(0));
}

#[test]
fn one_wire_sensors_as_the_kernel_shows_them() {
    let mut world = world(1);
    drop(world.one_wire());
    let texts = world.one_wire();
    let (id, text) = &texts[0];
    let text = text.as_deref().unwrap();
    assert_eq!(*id, "28-0316a2795bff");
    assert!(text.contains(" YES\n") && text.contains(" t=2"), "{text}");
    for fault in [
        Fault::BrownOut {
            device: "ds18b20-1".into(),
        },
        Fault::Unplug {
            device: "ds18b20-2".into(),
        },
    ] {
        order(&mut world, fault);
    }
    let power_on = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n";
    let told: Vec<_> = world.one_wire().into_iter().map(|(_, text)| text).collect();
    assert_eq!(told, [Some(power_on.to_owned()), None]);
    assert_eq!(world.one_wire()[0].1.as_deref(), Some(text));
}

fn order(world: &mut World, fault: Fault) {
    let order = FaultOrder {
        fault,
        after_ms: 0,
        for_ms: None,
    };
    world.order(order).unwrap();
}

#[test]
fn relays_move_valves_until_their_supply_goes() {
    let mut world = world(1);
    let open = |world: &World| world.greenhouse.water.switches();
    // Zone 1 by the MCP23017, 2 by the PCF8574, 3 by its pin.
    write(&mut world, 9, 0x20, &[0x14, 0xFE, 0xFF]);
    write(&mut world, 9, 0x20, &[0x00, 0x00, 0x00]);
    write(&mut world, 9, 0x21, &[0xFD]);
    world.output(16, true).unwrap();
    world.advance(5 * SECOND);
    assert_eq!(open(&world), 0b0111);
    // Bridged until its first edge, then it wants one every 3 s.
    world.output(26, true).unwrap();
    world.advance(7 * SECOND);
    world.output(26, false).unwrap();
    world.output(26, false).unwrap();
    world.advance(12 * SECOND);
    assert!(world.relays.is_cut());
    world.advance(16 * SECOND);
    assert_eq!(open(&world), 0);
    world.output(26, true).unwrap();
    world.advance(19 * SECOND - 1);
    assert_eq!(open(&world), 0b0111);
    // A welded contact holds, with and without its coil.
    world.carry_out(&Fault::WeldRelay { zone: 2 });
    world.carry_out(&Fault::PowerCut);
    world.advance(30 * SECOND);
    assert_eq!(open(&world), 0b0010);
    world.carry_out(&Fault::FreeRelay { zone: 2 });
    world.advance(40 * SECOND);
    assert_eq!(open(&world), 0);
    let causes: Vec<(usize, bool, &str)> = world
        .valve_log
        .iter()
        .map(|change| (change.zone, change.open, change.cause))
        .collect();
    let by_supply = |open| [1, 2, 3].map(|zone| (zone, open, "relay-supply"));
    assert_eq!(causes[3..6], by_supply(false));
    assert_eq!(
        causes[6..9],
        by_supply(true).map(|(zone, open, _)| (zone, open, "relay"))
    );
    assert_eq!(
        causes[9..],
        [
            (1, false, "relay"),
            (3, false, "relay"),
            (2, false, "relay")
        ]
    );
}

#[test]
fn only_the_soil_that_is_watered_gets_wetter() {
    let mut world = world(1);
    let bytes = [0x11, 0x01, 0x2C];
    let crc = crate::chips::crc::crc8(&bytes);
    write(&mut world, 3, 0x2C, &[bytes.as_slice(), &[crc]].concat());
    let before = world.status();
    world.advance(600 * SECOND);
    let json = |status: &WorldStatus| serde_json::to_value(status).unwrap();
    let water = |status, zone: usize| json(status)["truth"]["soil_water"][zone].as_f64().unwrap();
    let after = world.status();
    assert!(water(&after, 1) > water(&before, 1) + 0.002);
    assert!(water(&after, 0) <= water(&before, 0));
    assert_eq!(json(&after)["zone_open_s"][1], 300.0);
}
