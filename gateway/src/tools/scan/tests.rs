use embedded_hal::i2c::I2c as _;
use furrow_sim::faults::{Fault, FaultOrder};
use furrow_sim::{Mode, Options, Setup, Simulator};

use super::*;
use crate::bus::Field;
use crate::survey::Detail;

/// The shipped examples against their simulated greenhouse.
#[track_caller]
fn check(file: &str, unplugged: &[&str], expected: &str) {
    let unplug = |device: &&str| FaultOrder {
        fault: Fault::Unplug {
            device: (*device).to_owned(),
        },
        after_ms: 0,
        for_ms: None,
    };
    let simulator = Simulator::start(Options {
        listen: "tcp:127.0.0.1:0".parse().unwrap(),
        control: "tcp:127.0.0.1:0".parse().unwrap(),
        setup: Setup {
            seed: 7,
            start_unix_ms: 1_795_320_000_000,
            start_mono_ns: 0,
            zones: 4,
            boards: 0,
            wall_known: true,
            boot: None,
            beginning: furrow_sim::Beginning::default(),
            places: Vec::new(),
        },
        mode: Mode::LockStep {
            ceiling_permille: None,
        },
        clients_min: 1,
        trace: None,
        end: None,
        faults: unplugged.iter().map(unplug).collect(),
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wire = folder.path().join("w1");
    simulator.serve_one_wire(&wire).unwrap();
    let line = folder.path().join("rs485");
    simulator.serve_serial(&line).unwrap();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let config = std::fs::read_to_string(deploy.join(file)).unwrap();
    let config = config
        .replace("tcp:127.0.0.1:7000", &simulator.bus.to_string())
        .replace("./furrow-state/w1", wire.to_str().unwrap())
        .replace("./furrow-state/rs485", line.to_str().unwrap());
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, config).unwrap();
    let settings = Settings::load(&path).unwrap();
    let field = Field::open(&settings, "scan").unwrap();
    // As a gateway leaves it: a channel is open.
    field
        .i2c(&settings.buses()[0].kind, 2)
        .write(0x70, &[0x02])
        .unwrap();
    drop(field);
    let seen = gateway_or_bus(&settings, Addresses::Configured).unwrap();
    let report = report(&settings, seen);
    let found: Vec<String> = text(&report)
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    assert_eq!(found, expected.lines().collect::<Vec<_>>());
}

#[test]
fn the_reference_greenhouse() {
    check(
        "gateway-simulated.toml",
        &["sht-inside"],
        "\
bus     place  configured              is, or could be
main    0x44   sht-inside (sht4x)      SHT4x temperature and humidity | SHT3x temperature and humidity | INA219 supply | INA226 power?  does not answer
main    0x45   sht-outside (sht4x)     SHT4x, serial 0f450002
main    0x48   analog (ads1115)        ADS1115, by its thresholds
main    0x62   co2 (scd4x)             SCD4x, serial f1a23b4c5d6e
valves  0x2c   drip (drip-controller)  drip controller, version 1",
    );
}

#[test]
fn one_of_each_device_and_behind_the_multiplexer() {
    check(
        "gateway-every-sensor.toml",
        &[],
        "\
bus      place            configured              is, or could be
main     0x44             sht-inside (sht4x)      SHT4x, serial 0f440001
main     0x45                                     SHT4x, serial 0f450002                                not configured
main     0x48             analog (ads1115)        ADS1115, by its thresholds
main     0x62             co2 (scd4x)             SCD4x, serial f1a23b4c5d6e
sensors  0x20             panel (mcp23017)        MCP23017 contacts | PCF8574 contacts?
sensors  0x23             light (bh1750)          BH1750 light | MCP23017 contacts | PCF8574 contacts?
sensors  0x38             panel-2 (pcf8574)       PCF8574 contacts?
sensors  0x40             mains-supply (ina219)   INA219 supply | INA226 power?
sensors  0x41             battery (ina219)        INA219 supply | INA226 power?
sensors  0x44             sht31 (sht3x)           SHT3x, serial 0a310003
sensors  0x61             co2-ndir (scd30)        SCD30, firmware 3.66
sensors  0x63             feed-ph (ezo-ph)        EZO-pH, firmware 2.10
sensors  0x64             feed-ec (ezo-ec)        EZO-EC, firmware 2.10
sensors  0x70                                     TCA9548A multiplexer
sensors  0x76             box (bme280)            BME280, id 0x60
sensors  0x70/0 0x46      sht-bed-1 (sht4x)       SHT4x, serial 0f460004
sensors  0x70/1 0x46      sht-bed-2 (sht4x)       SHT4x, serial 0f460005
valves   0x2c             drip (drip-controller)  drip controller, version 1
wire     28-0316a2795bff  substrate-1 (ds18b20)   DS18B20
wire     28-0416b0c4d1ff  substrate-2 (ds18b20)   DS18B20
soil     address 1        soil-1 (soil-probe)     Modbus soil probe?
soil     address 2        soil-2 (soil-probe)     Modbus soil probe?",
    );
}

#[test]
fn another_part_at_an_address_is_told() {
    let deploy = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/gateway-simulated.toml"
    );
    let settings = Settings::load(Path::new(deploy)).unwrap();
    let at = |address| SeenAt::I2c {
        address,
        behind: None,
    };
    let sht3x = Seen {
        at: at(0x44),
        heard: Heard::Answer,
        identity: Some(Identity {
            kind: Some("sht3x".to_owned()),
            text: "SHT3x, serial 00000001".to_owned(),
            is_mux: false,
        }),
        detail: Detail::None,
    };
    let main = BusSeen {
        bus: "main".to_owned(),
        i2c: Some(1),
        port: None,
        seen: vec![sht3x],
        problem: None,
    };
    let report = report(&settings, vec![main]);
    let notes: Vec<&str> = report.found.iter().map(|found| found.note).collect();
    let silent = "does not answer";
    assert_eq!(
        notes,
        ["another part than configured", silent, silent, silent]
    );
}

#[test]
fn a_bus_without_answers_is_told() {
    let report = Report {
        found: Vec::new(),
        broken: vec![Broken {
            bus: "valves".to_owned(),
            problem: "0x08: Bus error occurred".to_owned(),
        }],
    };
    let told = text(&report);
    let expected = "bus valves gives no answers: 0x08: Bus error occurred";
    assert_eq!(told.lines().last(), Some(expected));
}
