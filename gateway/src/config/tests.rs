mod guard;
mod orders;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

mod alarms;
mod watering;

use super::raw::RawConfig;
use super::{BusKind, ConfigError, LocalFile, Settings};

/// What every test's file begins with; the lists follow.
const BASE: &str = r#"
[gateway]
cooperative = "hoa-binh"
id = "gw-01"
greenhouse = "nha-luoi-1"
timezone = "Asia/Ho_Chi_Minh"
[mqtt]
host = "127.0.0.1"
password = "secret"
[[bus]]
id = "main"
kind = "pi"
i2c = 1
"#;

const SHT: &str = r#"
[[device]]
id = "sht-inside"
kind = "sht4x"
bus = "main"
address = 0x44
"#;

const DRIP: &str = r#"
[[device]]
id = "drip"
kind = "drip-controller"
bus = "main"
address = 0x2c
pulses_per_litre = 450
"#;

#[test]
fn the_least_configuration_gets_sensible_defaults() {
    let settings = parse(&format!("{BASE}{SHT}")).unwrap();
    assert_eq!(settings.gateway().greenhouse_name, "nha-luoi-1");
    assert_eq!(
        settings.gateway().state_dir,
        Path::new("/var/lib/furrow-gateway")
    );
    assert_eq!(settings.mqtt().username, "hoa-binh/gw-01");
    assert_eq!(settings.mqtt().port, 1883);
    assert_eq!(settings.mqtt().password.reveal(), "secret");
    assert_eq!(settings.mqtt().send_interval.as_secs(), 60);
    assert_eq!(settings.journal().commit_interval.as_secs(), 30);
    assert_eq!(settings.journal().cap_bytes, 512 << 20);
    assert_eq!(settings.irrigation().lease_seconds, 30);
    assert_eq!(settings.irrigation().max_open_zones, 1);
    assert_eq!(settings.buses()[0].kind, BusKind::Pi);
    assert_eq!(settings.devices()[0].every.as_secs(), 10);
    assert!(settings.zones().is_empty());
}

#[test]
fn the_shipped_examples_hold() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let read = |path: &Path| match path.to_str() {
        Some("/etc/furrow/mqtt-password") => Ok("secret\n".to_owned()),
        Some("/etc/furrow/ca.pem") => Ok("-----BEGIN CERTIFICATE-----\n…".to_owned()),
        other => Err(io::Error::other(format!("no example file {other:?}"))),
    };
    for (file, buses) in [("gateway.toml", 2), ("gateway-simulated.toml", 2)] {
        let text = std::fs::read_to_string(deploy.join(file)).unwrap();
        let settings = from_text(&text, &read).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(settings.buses().len(), buses, "{file}");
        let channels: Vec<String> = settings
            .channels()
            .map(|(_, device, channel)| {
                format!(
                    "{}/{} {} e{}",
                    device.id, channel.name, channel.unit, channel.exponent
                )
            })
            .collect();
        let expected = [
            "sht-inside/air_temperature Cel e-2",
            "sht-inside/relative_humidity %RH e-2",
            "sht-outside/air_temperature Cel e-2",
            "sht-outside/relative_humidity %RH e-2",
            "co2/co2 [ppm] e0",
            "co2/air_temperature Cel e-2",
            "co2/relative_humidity %RH e-2",
            "analog/global_radiation W/m2 e-2",
            "analog/tank_level m e-3",
            "analog/soil_moisture_index % e-1",
            "flow/water_volume L e-2",
            "flow/water_flow L/min e-2",
            "drip/water_volume L e-2",
            "drip/zones_open 1 e0",
        ];
        assert_eq!(channels, expected, "{file}");
        assert_eq!(settings.zones().len(), 2, "{file}");
    }
}

#[test]
fn one_of_each_device_holds() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let text = std::fs::read_to_string(deploy.join("gateway-every-sensor.toml")).unwrap();
    let settings = parse(&text).unwrap();
    let kinds: std::collections::BTreeSet<&str> = settings
        .devices()
        .iter()
        .map(|device| device.kind.name())
        .collect();
    // Relays need the guard beside the gateway: they have an example of their own.
    let beside = super::KINDS
        .iter()
        .filter(|kind| kind.place != super::Place::Guard);
    for kind in beside {
        assert!(kinds.contains(kind.name), "no {} in the example", kind.name);
    }
    let derived: Vec<String> = settings
        .derived()
        .iter()
        .flat_map(|one| {
            one.channels
                .iter()
                .map(|c| format!("{}/{} {}", one.id, c.name, c.unit))
        })
        .collect();
    let expected = [
        "climate/vpd kPa",
        "climate/dew_point Cel",
        "climate/dew_point_margin K",
        "climate/absolute_humidity g/m3",
        "climate/vapour_pressure kPa",
        "climate/vapour_pressure_slope kPa/K",
        "day-light/dli mol/m2",
        "day-light/radiation_sum MJ/m2",
    ];
    assert_eq!(derived, expected);
    let measured = settings.channels().count();
    assert_eq!(
        usize::from(settings.derived()[0].plan.first_output),
        measured
    );
    assert_eq!(
        usize::from(settings.derived()[1].plan.first_output),
        measured + 6
    );
}

#[test]
fn behind_a_multiplexer_addresses_may_repeat_and_still_collide() {
    let device = |id: &str, keys: &str| {
        format!(
            "[[device]]\nid = \"{id}\"\nkind = \"sht4x\"\nbus = \"main\"\naddress = 0x44\n{keys}\n"
        )
    };
    let mux = |mux: u8, channel: u8| format!("mux = {mux}\nmux_channel = {channel}");
    let apart = [
        device("a", &mux(0x70, 0)),
        device("b", &mux(0x70, 1)),
        device("c", &mux(0x71, 0)),
    ];
    let settings = parse(&format!("{BASE}{}", apart.concat())).unwrap();
    assert_eq!(settings.devices()[2].place(), "0x44 behind 0x71/0");
    let bme = "[[device]]\nid = \"box\"\nkind = \"bme280\"\nbus = \"main\"\naddress = 0x76\n";
    check(
        &format!(
            "{BASE}{}{}{}{bme}{}{}",
            device("a", &mux(0x70, 0)),
            device("b", &mux(0x70, 0)),
            device("c", ""),
            device("d", &mux(0x76, 9)),
            device("e", &mux(0x76, 0)),
        ),
        &[
            "device[4].mux_channel: 9 is out of range; \
             write a whole number from 0 to 7, for example 0",
            "device[1].address: 0x44 is already used by device \"a\" on this bus; \
             give each device on a bus its own address, or use another bus",
            "device[2].address: 0x44 is already used by device \"a\" on this bus; \
             give each device on a bus its own address, or use another bus",
            "device[2].address: 0x44 is already used by device \"b\" on this bus; \
             give each device on a bus its own address, or use another bus",
            "device[5].address: 0x44 is already used by device \"c\" on this bus; \
             give each device on a bus its own address, or use another bus",
            "device[5].mux: 0x76 is already used by device \"box\" on this bus; \
             give one of them another address",
        ],
    );
}

#[test]
fn a_serial_line_and_its_probes() {
    let soil = "[[bus]]\nid = \"soil\"\nkind = \"rs485\"\ndevice = \"/dev/ttyUSB0\"\n";
    let probe = "[[device]]\nid = \"p\"\nkind = \"soil-probe\"\nbus = \"soil\"\naddress = 7\n";
    let one = format!("{BASE}{soil}baud = 19200\nparity = \"even\"\n{probe}profile = \"s-soil\"\n");
    let settings = parse(&one).unwrap();
    let BusKind::Rs485(line) = &settings.buses()[1].kind else {
        panic!("no serial line");
    };
    assert_eq!(
        (line.to_string(), line.timeout.as_millis()),
        ("19200 8E1".to_owned(), 300)
    );
    assert_eq!(settings.devices()[0].place(), "address 7");
    assert!(line.device.ends_with("ttyUSB0"));
    check(
        &format!(
            "{BASE}{soil}i2c = 1\nbaud = 9601\nparity = \"some\"\ntimeout = \"1ms\"\n{probe}profile = \"x\"\n\
             {probe}profile = \"sen0604\"\nprofile_file = \"y\"\nrom = \"z\"\n"
        ),
        &[
            "bus[1].i2c: a serial line has no I2C number; remove it",
            "bus[1].baud: 9601 is no speed of a serial port; \
             write one of 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200",
            "bus[1].parity: \"some\" is no parity; write \"none\", \"even\" or \"odd\"",
            "bus[1].timeout: \"1ms\" is out of range; write 50ms to 2s, for example \"300ms\"",
            "device[0].profile: \"x\" is no profile; \
             write sen0604 or s-soil, or profile_file with one of your own",
            "device[1].rom: means nothing for soil-probe; remove it",
            "device[1].profile: stands beside profile_file; keep only one of them",
        ],
    );
    let again = soil.replace("\"soil\"", "\"soil-2\"");
    let twice = probe
        .replace("\"p\"", "\"q\"")
        .replace("soil\"\naddress", "main\"\naddress");
    let profile = "profile = \"sen0604\"\n";
    let same = probe.replace("\"p\"", "\"r\"");
    check(
        &format!("{BASE}{soil}{again}baud = 1200\n{probe}{profile}{twice}{profile}{same}{profile}"),
        &[
            "bus[2].device: /dev/ttyUSB0 is already bus \"soil\"; use one [[bus]] for it",
            "device[1].bus: \"main\" is no serial line; add a [[bus]] of kind \"rs485\"",
            "device[2].address: 7 is already used by device \"p\" on this bus; \
             give each device on a bus its own address, or use another bus",
        ],
    );
}

#[test]
fn every_kind_refuses_what_it_does_not_know() {
    check(
        &format!(
            r#"{BASE}
[[bus]]
id = "wire"
kind = "one-wire"
i2c = 4
[[bus]]
id = "clocked"
kind = "pi"
i2c = 5
scl_pin = 3
sda_pin = 3
[[device]]
id = "light"
kind = "bh1750"
bus = "wire"
address = 0x24
measurement_time = 30
[[device]]
id = "ph"
kind = "ezo-ph"
bus = "main"
rom = "28-0316a2795bff"
[[device]]
id = "wire-1"
kind = "ds18b20"
bus = "main"
rom = "10-0316a2795bff"
[[device]]
id = "rain"
kind = "rain-gauge"
bus = "main"
pin = 27
mm_per_tip = 0
[[device]]
id = "battery"
kind = "ina219"
bus = "main"
address = 0x41
shunt_ohms = 100
[[device]]
id = "what"
kind = "sht5x"
bus = "main"
"#
        ),
        &[
            "bus[1].i2c: a 1-Wire bus has no I2C number; remove it",
            "bus[2].sda_pin: is the same as scl_pin; write the data line's pin",
            "device[0].bus: \"wire\" is a 1-Wire bus; put a bh1750 on an I2C bus",
            "device[0].address: 0x24 is not an address of this kind of device; \
             write 0x23 or 0x5c",
            "device[0].measurement_time: 30 is out of range; \
             write a whole number from 31 to 254, for example 31",
            "device[1].rom: means nothing for ezo-ph; remove it",
            "device[2].bus: \"main\" is no 1-Wire bus; add a [[bus]] of kind \"one-wire\"",
            "device[2].rom: \"10-0316a2795bff\" is no id of a DS18B20; \
             write it as the kernel does, for example \"28-0316a2795bff\"",
            "device[3].mm_per_tip: 0 is out of range; \
             write a number from 0.01 to 10, for example 0.2",
            "device[4].shunt_ohms: 100 is out of range; \
             write a number from 0.0001 to 10, for example 0.1",
            "device[5].kind: \"sht5x\" is no kind of device; write sht4x, sht3x, bme280, scd4x, \
             scd30, bh1750, ads1115, ina219, ezo-ph, ezo-ec, mcp23017, pcf8574, gpio-inputs, \
             flow-meter, rain-gauge, ds18b20, soil-probe, drip-controller or guarded-outputs",
        ],
    );
}

#[test]
fn contacts_and_pins_are_checked() {
    check(
        &format!(
            r#"{BASE}
[[device]]
id = "panel"
kind = "pcf8574"
bus = "main"
address = 0x38
[[device.input]]
input = 8
kind = "door"
[[device.input]]
input = 1
kind = "door"
active = "up"
debounce = "2s"
[[device.input]]
input = 2
kind = "contact"
pin = 4
dry_volts = 1.0
[[device.input]]
input = 3
kind = "lamp"
[[device]]
id = "lines"
kind = "gpio-inputs"
bus = "main"
[[device.input]]
pin = 17
kind = "mains"
[[device.input]]
pin = 17
kind = "mains"
[[device]]
id = "flow"
kind = "flow-meter"
bus = "main"
pin = 17
pulses_per_litre = 450
"#
        ),
        &[
            "device[0].input[0].input: 8 is out of range; \
             write a whole number from 0 to 7, for example 0",
            "device[0].input[1].active: \"up\" is no level; write \"low\" or \"high\"",
            "device[0].input[1].debounce: \"2s\" is out of range; \
             write 1ms to 1s, for example \"50ms\"",
            "device[0].input[2].dry_volts: means nothing for a contact; remove it",
            "device[0].input[2].pin: means nothing at an expander; remove it",
            "device[0].input[2].channel: is missing; add it, for example channel = \"gate_open\"",
            "device[0].input[3].kind: \"lamp\" is no kind of contact; \
             write float-switch, door, mains, button or contact",
            "device[1].input[1].pin: line 17 is used twice; give each contact its own line",
            "device[1].input[1].channel: \"mains_present\" names two channels; \
             add channel = \"…\" with a name of its own",
            "device[2].pin: GPIO 17 is already used by device \"lines\"; give each its own pin",
        ],
    );
}

#[test]
fn derived_channels_name_measured_ones() {
    check(
        &format!(
            r#"{BASE}{SHT}
[[derived]]
id = "climate"
kind = "air"
temperature = "sht-inside/relative_humidity"
humidity = "sht-outside/relative_humidity"
radiation = "sht-inside/air_temperature"
[[derived]]
id = "light"
kind = "light"
transmission = 2.0
[[derived]]
id = "sht-inside"
kind = "air"
temperature = "sht-inside/air_temperature"
humidity = "sht-inside/relative_humidity"
[[derived]]
id = "growth"
kind = "biomass"
"#
        ),
        &[
            "derived[0].radiation: means nothing for air; remove it",
            "derived[0].temperature: \"sht-inside/relative_humidity\" is measured in %RH; \
             name a channel in Cel",
            "derived[0].humidity: there is no channel \"sht-outside/relative_humidity\"; \
             write device/channel of a device here, \
             for example \"sht-inside/relative_humidity\"",
            "derived[1].radiation: there must be one measured light; \
             add one of radiation, photons and illuminance, \
             for example radiation = \"analog/global_radiation\"",
            "derived[2].id: \"sht-inside\" names two things; \
             give each device and derived its own id",
            "derived[3].kind: \"biomass\" is nothing that is calculated; write air, light or et0",
        ],
    );
}

#[test]
fn all_mistakes_are_told_together() {
    check(
        r#"
[gateway]
cooperative = "Hòa Bình"
id = "gw-01"
timezone = "Hanoi"
colour = "green"
[mqtt]
host = 5
send_interval = 10
[journal]
commit_interval = "30"
cap = "512"
[[bus]]
id = "main"
kind = "spi"
i2c = 1
[[device]]
id = "sht"
kind = "sht4x"
bus = "mian"
address = 0x48
[[zone]]
id = "-"
controller = "drip"
output = 9
max_run = "5h"
"#,
        &[
            "gateway.colour: unknown key; remove it or correct its spelling (known here: \
             cooperative, id, greenhouse, greenhouse_name, timezone, state_dir)",
            "gateway.cooperative: cooperative id has 'H' at position 0 (must be a-z, 0-9 or '-'); \
             write for example \"hoa-binh\"",
            "gateway.greenhouse: is missing; add it, for example greenhouse = \"nha-luoi-1\"",
            "gateway.timezone: \"Hanoi\" is not a time zone; \
             write an IANA name such as \"Asia/Ho_Chi_Minh\"",
            "mqtt.host: 5 is not a text; write a text such as \"ingest.example\"",
            "mqtt.password_file: there is no password; \
             add password_file = \"/etc/furrow/mqtt-password\" (or password)",
            "mqtt.send_interval: 10 has no unit; write it with its unit, for example \"60s\"",
            "journal.commit_interval: \"30\" has no unit; write 1s to 10min, for example \"30s\"",
            "journal.cap: \"512\" has no unit; write 1 MiB to 64 GiB, for example \"512 MiB\"",
            "bus[0].kind: \"spi\" is no kind of bus; write \"pi\", \"linux\", \"one-wire\", \"rs485\", \"guard\" or \"simulated\"",
            "device[0].bus: there is no bus \"mian\"; name one of: main",
            "device[0].address: 0x48 is not an address of this kind of device; write 0x44 to 0x46",
            "zone[0].id: zone id \"-\" must start and end with a letter or digit; \
             write for example \"zone-1\"",
            "zone[0].controller: there is no device \"drip\"; \
             add a [[device]] of kind drip-controller or guarded-outputs",
            "zone[0].output: 9 is out of range; write a whole number from 1 to 8, for example 1",
            "zone[0].max_run: \"5h\" is out of range; write 1s to 4h, for example \"30min\"",
        ],
    );
}

#[test]
fn nothing_at_all_is_told_section_by_section() {
    check(
        "",
        &[
            "gateway: the section is missing; add [gateway] with cooperative and id",
            "mqtt: the section is missing; add [mqtt] with host and password_file",
            "bus: there is no bus; add a [[bus]] with id, kind and i2c",
            "device: there is no device; add a [[device]] with id, kind and bus",
        ],
    );
}

#[test]
fn devices_must_not_collide() {
    check(
        &format!(
            r#"{BASE}{SHT}{SHT}
[[device]]
id = "flow-1"
kind = "flow-meter"
bus = "main"
pin = 17
pulses_per_litre = 450
[[device]]
id = "flow-2"
kind = "flow-meter"
bus = "main"
pin = 17
address = 0x20
litres_per_pulse = 10
every = "10"
[[device]]
id = "co2"
kind = "scd4x"
bus = "main"
address = 0x61
every = "1s"
[[device]]
id = "late"
kind = "sht4x"
bus = "main"
address = "0x45"
altitude_m = 5
"#
        ),
        &[
            "device[3].every: \"10\" has no unit; write 1s to 1h, for example \"10s\"",
            "device[3].address: means nothing for flow-meter; remove it",
            "device[4].every: \"1s\" is out of range; write 5s to 1h, for example \"10s\"",
            "device[4].address: 0x61 is not an address of this kind of device; write 0x62",
            "device[5].altitude_m: means nothing for sht4x; remove it",
            "device[1].id: \"sht-inside\" names two devices; give each device its own id",
            "device[1].address: 0x44 is already used by device \"sht-inside\" on this bus; \
             give each device on a bus its own address, or use another bus",
        ],
    );
    check(
        &format!(
            r#"{BASE}
[[device]]
id = "flow-1"
kind = "flow-meter"
bus = "main"
pin = 17
pulses_per_litre = 450
[[device]]
id = "flow-2"
kind = "flow-meter"
bus = "main"
pin = 17
"#
        ),
        &["device[1].pulses_per_litre: is missing; \
           add it from the meter's label, for example pulses_per_litre = 450"],
    );
}

#[test]
fn the_same_address_on_two_buses_is_no_collision() {
    let second = SHT
        .replace("main", "other")
        .replace("sht-inside", "sht-other");
    let text = format!("{BASE}[[bus]]\nid = \"other\"\nkind = \"pi\"\ni2c = 3\n{SHT}{second}");
    let settings = parse(&text).unwrap();
    assert_eq!(settings.devices()[1].bus, 1);
}

#[test]
fn another_board_has_i2c_and_lines_of_any_chip() {
    let text = format!(
        r#"{BASE}
[[bus]]
id = "header"
kind = "linux"
i2c = 2
gpio_chip = "pinctrl-a"
[[bus]]
id = "lines"
kind = "linux"
gpio_chip = "/dev/gpiochip4"
[[bus]]
id = "plain"
kind = "linux"
i2c = 0
[[device]]
id = "meter"
kind = "flow-meter"
bus = "header"
pin = 255
pulses_per_litre = 450
[[device]]
id = "rain"
kind = "rain-gauge"
bus = "lines"
pin = 255
mm_per_tip = 0.2
[[device]]
id = "light"
kind = "bh1750"
bus = "plain"
address = 0x23
{SHT}"#
    );
    let settings = parse(&text).unwrap();
    let buses: Vec<_> = settings.buses()[1..]
        .iter()
        .map(|bus| (bus.kind.clone(), bus.i2c))
        .collect();
    let linux = |chip: Option<&str>| BusKind::Linux {
        gpio_chip: chip.map(str::to_owned),
    };
    let expected = [
        (linux(Some("pinctrl-a")), Some(2)),
        (linux(Some("/dev/gpiochip4")), None),
        (linux(None), Some(0)),
    ];
    assert_eq!(buses, expected);
}

#[test]
fn mistakes_at_buses_of_another_board() {
    check(
        &format!(
            r#"{BASE}gpio_chip = "gpiochip0"
[[bus]]
id = "nothing"
kind = "linux"
address = "tcp:127.0.0.1:7000"
root = "/sys"
[[bus]]
id = "far"
kind = "linux"
i2c = 256
gpio_chip = "dev/gpiochip0"
scl_pin = 3
[[bus]]
id = "same"
kind = "linux"
i2c = 1
[[bus]]
id = "numbered"
kind = "linux"
gpio_chip = 0
{SHT}"#
        ),
        &[
            "bus[0].gpio_chip: only a bus of kind linux names a GPIO chip; remove it",
            "bus[1].address: a bus of this machine has no address; remove it",
            "bus[1].root: only a 1-Wire bus has a folder; remove it",
            "bus[1].i2c: is missing; add it, for example i2c = 1",
            "bus[2].scl_pin: here the kernel itself clears a bus, \
             where its device tree names the lines; remove it",
            "bus[2].i2c: 256 is out of range; \
             write a whole number from 0 to 255, for example 1",
            "bus[2].gpio_chip: \"dev/gpiochip0\" is no GPIO chip; \
             write /dev/gpiochipN, or the label that gpiodetect shows",
            "bus[4].gpio_chip: 0 is not a text; write a text such as \"/dev/gpiochip0\"",
            "bus[3].i2c: I2C bus 1 is already bus \"main\"; use one [[bus]] for it",
        ],
    );
}

#[test]
fn mistakes_at_devices_of_another_board() {
    let on = |id: &str, kind: &str, bus: &str, keys: &str| {
        format!("[[device]]\nid = \"{id}\"\nkind = \"{kind}\"\nbus = \"{bus}\"\n{keys}\n")
    };
    let door = "[[device.input]]\npin = 40\nkind = \"door\"";
    let devices = [
        on("sht", "sht4x", "lines", "address = 0x44"),
        on(
            "meter",
            "flow-meter",
            "plain",
            "pin = 256\npulses_per_litre = 450",
        ),
        on("rain", "rain-gauge", "lines", "pin = 40\nmm_per_tip = 0.2"),
        on("contacts", "gpio-inputs", "both", door),
        on(
            "at-the-pi",
            "rain-gauge",
            "main",
            "pin = 40\nmm_per_tip = 0.2",
        ),
        on("wire", "ds18b20", "lines", "rom = \"28-0316a2795bff\""),
    ];
    let linux =
        |id: &str, keys: &str| format!("[[bus]]\nid = \"{id}\"\nkind = \"linux\"\n{keys}\n");
    let buses = [
        linux("lines", "gpio_chip = \"gpiochip0\""),
        linux("plain", "i2c = 3"),
        linux("both", "i2c = 4\ngpio_chip = \"gpiochip0\""),
    ];
    check(
        &format!("{BASE}{}{}", buses.concat(), devices.concat()),
        &[
            "device[0].bus: \"lines\" has GPIO lines only; \
             add i2c to the bus, or use another bus",
            "device[1].bus: \"plain\" names no GPIO chip; \
             add gpio_chip = \"/dev/gpiochip0\" to the bus",
            "device[1].pin: 256 is out of range; \
             write a whole number from 0 to 255, for example 17",
            "device[4].pin: 40 is out of range; \
             write a whole number from 0 to 27, for example 27",
            "device[5].bus: \"lines\" is no 1-Wire bus; add a [[bus]] of kind \"one-wire\"",
            "device[3].pin: GPIO 40 is already used by device \"rain\"; give each its own pin",
        ],
    );
}

#[test]
fn the_example_of_another_board_holds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/gateway-other-board.toml");
    let read = |path: &Path| match path.to_str() {
        Some("/etc/furrow/ca.pem") => Ok("-----BEGIN CERTIFICATE-----\n…".to_owned()),
        _ => Ok("secret\n".to_owned()),
    };
    let settings = from_text(&std::fs::read_to_string(path).unwrap(), &read).unwrap();
    let places: Vec<String> = settings.devices().iter().map(|d| d.place()).collect();
    assert_eq!(places, ["0x44", "GPIO 200", "GPIO 5"]);
}

#[test]
fn lines_of_one_chip_are_used_once() {
    let rain = |id: &str, bus: &str, pin: u8| {
        format!(
            "[[device]]\nid = \"{id}\"\nkind = \"rain-gauge\"\nbus = \"{bus}\"\n\
             pin = {pin}\nmm_per_tip = 0.2\n"
        )
    };
    let bus = |id: &str, chip: &str| {
        format!("[[bus]]\nid = \"{id}\"\nkind = \"linux\"\ngpio_chip = \"{chip}\"\n")
    };
    let clocked = BASE.replace("i2c = 1\n", "i2c = 1\nscl_pin = 3\nsda_pin = 2\n");
    let (a, b, again) = (bus("a", "one"), bus("b", "two"), bus("again", "one"));
    let devices = [
        rain("first", "a", 3),
        rain("second", "b", 3),
        rain("third", "again", 3),
        rain("pi", "main", 4),
        rain("fourth", "b", 4),
    ];
    check(
        &format!("{clocked}{a}{b}{again}{}", devices.concat()),
        &["device[2].pin: GPIO 3 is already used by device \"first\"; give each its own pin"],
    );
}

#[test]
fn only_simulated_time_can_wait_for_delivery() {
    let key = "waits_for_delivery = false\n";
    check(
        &format!(
            "{}{SHT}",
            BASE.replace("i2c = 1\n", &format!("i2c = 1\n{key}"))
        ),
        &["bus[0].waits_for_delivery: only a simulated bus has a time that can wait; remove it"],
    );
    let simulated = BASE.replace(
        "kind = \"pi\"\n",
        "kind = \"simulated\"\naddress = \"tcp:127.0.0.1:7000\"\n",
    );
    let waits = |text: &str| {
        let settings = from_text(&format!("{text}{SHT}"), &|_| Ok(String::new())).unwrap();
        settings.waits_for_delivery()
    };
    assert!(waits(&simulated));
    assert!(!waits(
        &simulated.replace("i2c = 1\n", &format!("i2c = 1\n{key}"))
    ));
}

#[test]
fn a_fertiliser_pump_is_watched_by_the_probes_that_there_are() {
    let probe = |id: &str, kind: &str| {
        format!("[[device]]\nid = \"{id}\"\nkind = \"{kind}\"\nbus = \"main\"\n")
    };
    let text = format!(
        "{BASE}{DRIP}{}{}[irrigation.dosing]\ncontroller = \"drip\"\noutput = 6\n\
         ec = \"ec/electrical_conductivity\"\nec_max = 2.8\n\
         ph = \"ph/ph\"\nph_min = 5.5\nph_max = 6.8\n",
        probe("ec", "ezo-ec"),
        probe("ph", "ezo-ph"),
    );
    let settings = from_text(&text, &|_| Ok(String::new())).unwrap();
    let dosing = settings.irrigation().site.dosing.unwrap();
    assert!(dosing.ec.is_some() && dosing.ph.is_some());
}

#[test]
fn a_field_has_one_clock() {
    check(
        &format!(
            r#"{BASE}
[[bus]]
id = "main"
kind = "simulated"
i2c = 1
address = "tcp:127.0.0.1:7000"
[[bus]]
id = "third"
kind = "pi"
i2c = 3
address = "nowhere"
[[bus]]
id = "fourth"
kind = "simulated"
i2c = 4
address = "127.0.0.1:7000"
{SHT}"#
        ),
        &[
            "bus[2].address: a bus of the Pi has no address; remove it",
            "bus[3].address: \"127.0.0.1:7000\" is no address of a simulator; \
             write tcp:HOST:PORT or unix:/PATH",
            "bus[1].id: \"main\" names two buses; give each bus its own id",
            "bus[1].i2c: I2C bus 1 is already bus \"main\"; use one [[bus]] for it",
            "bus[1].kind: is behind another clock than bus \"main\"; \
             make none simulated, or all at one address",
        ],
    );
}

#[test]
fn analog_inputs_are_checked_one_by_one() {
    check(
        &format!(
            r#"{BASE}
[[device]]
id = "analog"
kind = "ads1115"
bus = "main"
address = 0x48
[[device.input]]
input = 0
kind = "pyranometer"
volts_per_unit = 0.002
unit = "lx"
[[device.input]]
input = 0
kind = "pyranometer"
volts_per_unit = 0.002
[[device.input]]
input = 4
kind = "current-loop"
shunt_ohms = 250
at_4_ma = 1.0
at_20_ma = 1.0
[[device.input]]
input = 2
kind = "capacitive-moisture"
dry_volts = 2.9
wet_volts = 2.85
[[device.input]]
input = 3
kind = "ph"
"#
        ),
        &[
            "device[0].input[0].unit: means nothing for pyranometer; remove it",
            "device[0].input[1].input: AIN0 is used twice; give each sensor its own input",
            "device[0].input[1].channel: \"global_radiation\" names two channels; \
             add channel = \"…\" with a name of its own",
            "device[0].input[2].input: 4 is out of range; \
             write a whole number from 0 to 3, for example 0",
            "device[0].input[2].shunt_ohms: 250 is out of range; \
             write a number from 10 to 190, for example 100",
            "device[0].input[2].channel: is missing; add it, for example channel = \"tank_level\"",
            "device[0].input[3].wet_volts: is too close to dry_volts; \
             measure the probe in air and in water",
            "device[0].input[4].kind: \"ph\" is no kind of input; \
             write pyranometer, current-loop or capacitive-moisture",
        ],
    );
}

#[test]
fn zones_keep_their_limits() {
    check(
        &format!(
            r#"{BASE}{SHT}{DRIP}
[[zone]]
id = "z1"
controller = "drip"
output = 1
max_run = "10min"
daily_limit = "20min"
[[zone.schedule]]
at = "6 o'clock"
for = "5min"
[[zone.schedule]]
at = "07:00"
for = "11min"
[[zone]]
id = "z2"
controller = "sht-inside"
output = 1
max_run = "1h"
daily_limit = "30min"
[[zone]]
id = "z3"
controller = "drip"
output = 3
max_run = "10min"
daily_limit = "15min"
[[zone.schedule]]
at = "05:00"
for = "10min"
[[zone.schedule]]
at = "17:00"
for = "10min"
[[zone]]
id = "z3"
controller = "drip"
output = 3
pulses_per_litre = 450
litres_per_pulse = 10
"#
        ),
        &[
            "zone[0].schedule[0].at: \"6 o'clock\" is no time of day; \
             write local time as HH:MM, for example \"06:00\"",
            "zone[0].schedule[1].for: is longer than max_run (600 s); shorten it, or raise max_run",
            "zone[1].controller: device \"sht-inside\" has no outputs; \
             name a device of kind drip-controller or guarded-outputs",
            "zone[1].daily_limit: is shorter than max_run; raise it, or lower max_run",
            "zone[2].schedule: all runs together take 20 min a day; \
             shorten them or raise daily_limit (15 min)",
            "zone[3].pulses_per_litre: stands beside litres_per_pulse; keep only one of them",
        ],
    );
    let zone = "[[zone]]\nid = \"z1\"\ncontroller = \"drip\"\noutput = 1\n";
    check(
        &format!("{BASE}{DRIP}{zone}{}", zone.replace("z1", "z2")),
        &["zone[1].output: output 1 already waters zone \"z1\"; give each zone its own output"],
    );
}

#[test]
fn a_controller_without_a_factor_takes_its_zones() {
    let drip = DRIP.replace("pulses_per_litre = 450", "");
    let zone = "[[zone]]\nid = \"z1\"\ncontroller = \"drip\"\noutput = 1\nlitres_per_pulse = 10\n";
    let settings = parse(&format!("{BASE}{drip}{zone}")).unwrap();
    let super::DeviceKind::DripController { factor, .. } = settings.devices()[0].kind else {
        panic!("not a drip controller");
    };
    assert_eq!(factor.micropulses_per_litre(), 100_000);
    assert_eq!(settings.zones()[0].plan.litres_milli(3), 30_000);
}

#[test]
fn secrets_and_certificates_come_from_files() {
    let with = |lines: &str| BASE.replace("password = \"secret\"", lines) + SHT;
    let read = |path: &Path| match path.to_str() {
        Some("/good") => Ok("from file\r\n".to_owned()),
        Some("/empty") => Ok("\n".to_owned()),
        Some("/text") => Ok("hello".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let good = from_text(&with("password_file = \"/good\""), &read).unwrap();
    assert_eq!(good.mqtt().password.reveal(), "from file");
    assert_eq!(format!("{:?}", good.mqtt().password), "Secret(…)");
    let table = [
        (
            "password_file = \"/empty\"",
            "mqtt.password_file: \"/empty\" is empty; \
             write the password into that file, on its first line",
        ),
        (
            "password_file = \"/gone\"",
            "mqtt.password_file: \"/gone\" can't be read: entity not found; \
             write the password into that file, on its first line",
        ),
        (
            "password_file = \"/good\"\npassword = \"x\"",
            "mqtt.password: stands beside password_file; keep only one of them",
        ),
        (
            "password = \"x\"\ntls = { ca_file = \"/text\" }",
            "mqtt.tls.ca_file: \"/text\" holds no PEM certificate; \
             name the PEM file with the certificate of the broker's authority",
        ),
        (
            "password = \"x\"\nprofile = \"frugal\"",
            "mqtt.profile: \"frugal\" is not a profile; \
             write \"normal\" (a packet a minute) or \"saver\" (one in five minutes)",
        ),
        (
            "password = \"x\"\nlive_packets = 32",
            "mqtt.live_packets: 32 is out of range; write a whole number from 1 to 31, for example 8",
        ),
        (
            "password = \"x\"\ntls = { ca = \"/text\" }",
            "mqtt.tls.ca: unknown key; remove it or correct its spelling (known here: ca_file)\n\
             mqtt.tls.ca_file: is missing; add it, for example ca_file = \"/etc/furrow/ca.pem\"",
        ),
    ];
    for (lines, expected) in table {
        assert_eq!(from_text(&with(lines), &read).unwrap_err(), expected);
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    std::fs::write(&path, format!("{BASE}{SHT}")).unwrap();
    let load = |variables: &[(&str, &str)]| {
        let variables: config::Map<String, String> = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        LocalFile::read_with(&path, super::environment().source(Some(variables)))
            .and_then(|local| local.settings())
    };
    let settings = load(&[
        ("FURROW__MQTT__PORT", "8883"),
        ("FURROW__MQTT__PASSWORD", "007"),
        ("FURROW__GATEWAY__ID", "gw-02"),
        ("FURROW__JOURNAL__COMMIT_INTERVAL", "10 s"),
        ("FURROW_CONFIG", "/ignored"),
    ])
    .unwrap();
    assert_eq!(settings.mqtt().port, 8883);
    assert_eq!(settings.mqtt().password.reveal(), "007");
    assert_eq!(settings.mqtt().username, "hoa-binh/gw-02");
    assert_eq!(settings.journal().commit_interval.as_secs(), 10);
    let error = load(&[("FURROW__MQTT__PROT", "8883"), ("FURROW__MQTT__PORT", "x")]).unwrap_err();
    let ConfigError::Mistakes { mistakes, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(
        mistakes.to_string(),
        "2 mistakes\n  mqtt.prot: unknown key; remove it or correct its spelling (known here: \
         host, port, username, password, password_file, profile, send_interval, live_packets, tls)\n  \
         mqtt.port: \"x\" is not a whole number; \
         write a whole number from 1 to 65535, for example 1883"
    );
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gateway.toml");
    std::fs::write(&path, "[gateway\n").unwrap();
    let error = LocalFile::read_with(&path, super::environment().source(Some(config::Map::new())))
        .and_then(|local| local.settings())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("read configuration {}", path.display())
    );
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("line 1")
    );
    assert!(Settings::load(&dir.path().join("missing.toml")).is_err());
}

/// Expects exactly these mistakes, in this order.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(parse(text).unwrap_err(), expected.join("\n"));
}

fn parse(text: &str) -> Result<Settings, String> {
    from_text(text, &|_| Err(io::Error::from(io::ErrorKind::NotFound)))
}

fn from_text(text: &str, read: &dyn Fn(&Path) -> io::Result<String>) -> Result<Settings, String> {
    Settings::from_raw(&raw_of(text), read).map_err(|mistakes| {
        let lines: Vec<String> = mistakes
            .as_slice()
            .iter()
            .map(ToString::to_string)
            .collect();
        // The same key must not be told twice with the same words.
        let unique: BTreeMap<&String, ()> = lines.iter().map(|line| (line, ())).collect();
        assert_eq!(unique.len(), lines.len(), "{lines:?}");
        lines.join("\n")
    })
}

fn raw_of(text: &str) -> RawConfig {
    config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize)
        .unwrap()
}
