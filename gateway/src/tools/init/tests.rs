use super::asking::Contacts;
use super::find::{At, Detail, Device, Stranger};
use super::spot::Spot;
use super::write::{LinkPlan, WherePlan};
use super::*;

fn plan(devices: Vec<Device>, analog: &[&str], folder: &Path) -> Plan {
    Plan {
        place: WherePlan {
            cooperative: "hoa-binh".parse().unwrap(),
            gateway: "gw-01".parse().unwrap(),
            greenhouse: "nha-luoi-1".parse().unwrap(),
            greenhouse_name: "Nhà \"lưới\" 1\\".into(),
            timezone: "Asia/Ho_Chi_Minh".into(),
            state_dir: folder.join("state"),
        },
        link: LinkPlan {
            mqtt_host: "ingest.example".into(),
            mqtt_port: 1883,
            password_file: folder.join("mqtt-password"),
            ca_file: None,
        },
        every: "10s".into(),
        kind: BusKind::Simulated {
            address: "tcp:127.0.0.1:7000".into(),
            waits_for_delivery: true,
        },
        buses: vec![1, 3],
        one_wire: ONE_WIRE_ROOT.into(),
        found: Found {
            devices,
            strangers: vec![Stranger {
                bus: 1,
                spot: "0x76".parse().unwrap(),
                identity: None,
                could_be: vec!["BME280 pressure"],
            }],
            probes: Vec::new(),
            broken: Vec::new(),
        },
        contacts: Vec::new(),
        analog: analog.iter().map(|one| one.parse().unwrap()).collect(),
        flow_pin: Some(17),
        pulses_per_litre: 450.0,
    }
}

fn device(bus: u8, address: u8, kind: &'static str, detail: Detail) -> Device {
    let spot = Spot {
        address,
        behind: None,
    };
    Device {
        at: At::I2c { bus, spot },
        kind,
        evidence: "checksum right".into(),
        detail,
    }
}

fn all_devices() -> Vec<Device> {
    let inputs = vec![Some(0.5), Some(1.2), Some(2.1), None];
    let mut behind = device(1, 0x44, "sht3x", Detail::None);
    behind.at = At::I2c {
        bus: 1,
        spot: "0x70/1/0x44".parse().unwrap(),
    };
    let mut wire = device(1, 0, "ds18b20", Detail::None);
    wire.at = At::OneWire {
        rom: "28-0316a2794bff".into(),
    };
    vec![
        device(1, 0x45, "sht4x", Detail::None),
        device(3, 0x45, "sht4x", Detail::None),
        behind,
        device(1, 0x62, "scd4x", Detail::None),
        device(1, 0x61, "scd30", Detail::None),
        device(1, 0x76, "bme280", Detail::None),
        device(1, 0x23, "bh1750", Detail::None),
        device(1, 0x40, "ina219", Detail::None),
        device(1, 0x63, "ezo-ph", Detail::None),
        device(1, 0x64, "ezo-ec", Detail::None),
        device(1, 0x48, "ads1115", Detail::Inputs(inputs)),
        wire,
        device(3, 0x2C, "drip-controller", Detail::Outputs(2)),
    ]
}

const SIMPLE: [&str; 10] = [
    "sht4x-1-45",
    "sht4x-3-45",
    "sht3x-1-70-1-44",
    "scd4x-62",
    "scd30-61",
    "bme280-76",
    "bh1750-23",
    "ina219-40",
    "ezo-ph-63",
    "ezo-ec-64",
];

#[track_caller]
fn check(plan: &Plan, folder: &Path, devices: &[&str]) {
    fs::write(&plan.link.password_file, "secret\n").unwrap();
    let path = folder.join("gateway.toml");
    if let Err(error) = write(&path, &toml(plan)) {
        panic!("{}\n{}", print::chain(&error), toml(plan));
    }
    let settings = Settings::load(&path).unwrap();
    let found: Vec<&str> = settings
        .devices()
        .iter()
        .map(|one| one.id.as_str())
        .collect();
    assert_eq!(found, devices);
    assert_eq!(settings.gateway().greenhouse_name, "Nhà \"lưới\" 1\\");
}

#[test]
fn what_is_written_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = [
        "0x48:0=pyranometer",
        "0x48:1=current-loop",
        "0x48:2=capacitive-moisture",
        "0x48:3=capacitive-moisture",
    ];
    let full = plan(all_devices(), &inputs, folder.path());
    let rest = ["ads1115-48", "ds18b20-0316a2794bff", "drip-2c", "flow"];
    let ids = [&SIMPLE[..], &rest].concat();
    check(&full, folder.path(), &ids);
    // What hangs on a converter is not known: it stands there as a comment.
    let bare = plan(all_devices(), &["0x48:0=nothing"], folder.path());
    let rest = ["ds18b20-0316a2794bff", "drip-2c", "flow"];
    let ids = [&SIMPLE[..], &rest].concat();
    check(&bare, folder.path(), &ids);
    assert!(
        toml(&bare).contains("# [[device.input]]              # reads 2.100 V"),
        "{}",
        toml(&bare)
    );
    check(
        &plan(Vec::new(), &[], folder.path()),
        folder.path(),
        &["flow"],
    );
}

#[test]
fn buses_of_this_machine_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let linux = BusKind::Linux {
        gpio_chip: Some("/dev/gpiochip0".into()),
    };
    for kind in [BusKind::Pi, linux] {
        let mut own = plan(Vec::new(), &[], folder.path());
        own.kind = kind.clone();
        check(&own, folder.path(), &["flow"]);
        let settings = Settings::load(&folder.path().join("gateway.toml")).unwrap();
        let kinds = settings.buses().iter().map(|bus| &bus.kind);
        assert!(kinds.eq([&kind, &kind]), "{settings:?}");
    }
}

#[test]
fn what_check_would_refuse_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let mut wrong = plan(all_devices(), &[], folder.path());
    wrong.place.timezone = "Mars/Olympus".into();
    fs::write(&wrong.link.password_file, "secret\n").unwrap();
    assert!(matches!(
        write(&path, &toml(&wrong)),
        Err(InitError::Wrong(_))
    ));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the password is there: {left:?}");
}

/// What only a person can know, wherever it hangs.
#[test]
fn inputs_behind_multiplexers_contacts_and_probes_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let spot = |text: &str| At::I2c {
        bus: 1,
        spot: text.parse().unwrap(),
    };
    let mut converter = device(1, 0, "ads1115", Detail::Inputs(vec![Some(1.0); 4]));
    converter.at = spot("0x70/2/0x48");
    let mut deep = device(1, 0, "pcf8574", Detail::None);
    deep.at = spot("0x70/3/0x38");
    let probe = |port: &str, slave, profile| {
        let mut probe = device(1, 0, "soil-probe", Detail::Profile(profile));
        let port = port.into();
        probe.at = At::Serial { port, slave };
        probe
    };
    let devices = vec![
        device(1, 0x48, "ads1115", Detail::Inputs(vec![Some(2.0); 4])),
        converter,
        device(1, 0x20, "mcp23017", Detail::None),
        device(1, 0x21, "mcp23017", Detail::None),
        deep,
        probe("/dev/ttyUSB0", 1, "sen0604"),
        probe("/dev/ttyUSB0", 2, "s-soil"),
        probe("/dev/ttyUSB1", 1, "s-soil"),
    ];
    let mut plan = plan(devices, &["0x70/2/0x48:1=current-loop"], folder.path());
    plan.contacts = [
        "0x20:3=float-switch",
        "0x20:15=float-switch",
        "0x20:0=door",
        "0x70/3/0x38:7=contact",
        // The board has eight lines.
        "0x70/3/0x38:8=mains",
    ]
    .map(|one| one.parse().unwrap())
    .to_vec();
    let devices = [
        "ads1115-1-70-2-48",
        "mcp23017-20",
        "pcf8574-1-70-3-38",
        "soil-1",
        "soil-2",
        "soil-2-1",
        "flow",
    ];
    check(&plan, folder.path(), &devices);
    let settings = Settings::load(&folder.path().join("gateway.toml")).unwrap();
    let channels = settings.channels();
    let channels: Vec<String> = channels
        .map(|(_, device, channel)| format!("{}/{}", device.id, channel.name))
        .collect();
    for one in [
        "ads1115-1-70-2-48/level_1",
        "mcp23017-20/float_switch_3",
        "mcp23017-20/float_switch_15",
        "mcp23017-20/door_open",
        "pcf8574-1-70-3-38/contact_7",
        "soil-2-1/soil_moisture",
    ] {
        assert!(channels.contains(&one.to_owned()), "{one} in {channels:?}");
    }
    assert!(!channels.iter().any(|one| one.contains("mains")));
}

#[test]
fn a_person_names_contacts_in_one_line() {
    let named = |text: &str| text.parse::<Contacts>().map(|Contacts(named)| named);
    assert_eq!(
        named("0=float-switch  3=door"),
        Ok(vec![(0, "float-switch".into()), (3, "door".into())])
    );
    assert_eq!(named("nothing"), Ok(Vec::new()));
    assert!(named("float-switch").is_err());
    assert!(named("16=door").is_err());
}
