//! The guard's outputs, and what the gateway may not open beside it.

use std::time::Duration;

use super::{BASE, SHT, check, from_text, raw_of};
use crate::config::{DeviceKind, GuardPart, Level, OutputAt};

/// A guard with one relay at a line, and a zone at it.
const GUARD: &str = r#"
[[bus]]
id = "guard"
kind = "guard"
[[device]]
id = "relays"
kind = "guarded-outputs"
bus = "guard"
[[guard.output]]
number = 1
kind = "gpio"
bus = "main"
line = 12
active = "high"
[[zone]]
id = "zone-1"
controller = "relays"
output = 1
"#;

const METER: &str = r#"
[[device]]
id = "flow"
kind = "flow-meter"
bus = "main"
pin = 17
litres_per_pulse = 10
"#;

const RELAY_BUS: &str = "[[bus]]\nid = \"relays\"\nkind = \"pi\"\ni2c = 3\n";

fn output(number: u8, keys: &str) -> String {
    format!("[[guard.output]]\nnumber = {number}\n{keys}\n")
}

#[test]
fn the_example_with_relays_holds() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/gateway-relays.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let settings = from_text(&text, &|_| Ok("-----BEGIN CERTIFICATE-----\n…".to_owned())).unwrap();
    let guard = settings.guard().unwrap();
    let places: Vec<String> = guard.outputs.iter().map(|one| one.at.place()).collect();
    assert_eq!(
        places,
        ["mcp23017 0x20 pin 0", "mcp23017 0x20 pin 1", "GPIO 12"]
    );
    assert_eq!(guard.socket.to_str(), Some("/run/furrow-guard/guard.sock"));
    let meters: Vec<Option<usize>> = settings.zones().iter().map(|zone| zone.meter).collect();
    assert_eq!(meters, [Some(1), Some(1), None]);
    // The guard reads the same, and needs no password for it.
    let part = GuardPart::from_raw(&raw_of(&text), &no_file).unwrap();
    assert_eq!(part.guard.outputs, guard.outputs);
    let watchdog = part.guard.watchdog.unwrap();
    assert_eq!(
        (watchdog.line, watchdog.period),
        (26, Duration::from_millis(500))
    );
}

#[test]
fn a_relay_at_a_line_and_a_zone_without_a_meter() {
    let settings = super::parse(&format!("{BASE}{GUARD}")).unwrap();
    let output = &settings.guard().unwrap().outputs[0];
    assert_eq!(output.name, "output 1");
    assert_eq!(
        (output.at, output.active),
        (OutputAt::Line(12), Level::High)
    );
    assert_eq!(settings.devices()[0].kind, DeviceKind::GuardedOutputs);
    let channels: Vec<&str> = settings.devices()[0]
        .channels
        .iter()
        .map(|channel| channel.name.as_str())
        .collect();
    assert_eq!(channels, ["zones_open"]);
    let zone = &settings.zones()[0];
    assert_eq!((zone.output, zone.meter), (1, None));
    assert_eq!(zone.plan.litres_between(None, None), None);
}

#[test]
fn a_meters_factor_is_the_zones() {
    let text = format!("{BASE}{GUARD}meter = \"flow\"\n{METER}");
    let settings = super::parse(&text).unwrap();
    let zone = &settings.zones()[0];
    assert_eq!(zone.meter, Some(1));
    // Ten litres a pulse.
    assert_eq!(zone.plan.litres_milli(3), 30_000);
}

#[test]
fn what_the_gateway_opens_is_not_the_guards() {
    let board = "kind = \"mcp23017\"\nactive = \"low\"\nbus = ";
    let outputs = [
        output(2, &format!("{board}\"relays\"\naddress = 0x20\npin = 0")),
        output(
            3,
            "kind = \"gpio\"\nbus = \"main\"\nline = 17\nactive = \"low\"",
        ),
        output(
            4,
            "kind = \"gpio\"\nbus = \"main\"\nline = 3\nactive = \"low\"",
        ),
        output(5, &format!("{board}\"main\"\naddress = 0x21\npin = 0")),
    ];
    let contacts = "[[device]]\nid = \"doors\"\nkind = \"mcp23017\"\nbus = \"relays\"\n\
                    address = 0x20\n[[device.input]]\ninput = 0\nkind = \"door\"\n";
    let clocked = BASE.replace("i2c = 1\n", "i2c = 1\nscl_pin = 3\nsda_pin = 2\n");
    let text = format!(
        "{clocked}{RELAY_BUS}{SHT}{METER}{contacts}{GUARD}{}",
        outputs.concat()
    );
    check(
        &text,
        &[
            "guard.output[1].address: 0x20 is already used by the gateway's device \"doors\"; \
             give one of them another address: the guard alone opens its chips",
            "guard.output[1].bus: the bus is shared with device \"doors\": a sensor that holds it \
             would keep the valve open; put the relays on a bus of their own, or wire the relay \
             supply's watchdog and add watchdog_line",
            "guard.output[2].line: GPIO 17 is already used by the gateway's device \"flow\"; \
             use another line",
            "guard.output[3].line: GPIO 3 is a line of bus \"main\"; use another line",
            "guard.output[4].bus: the bus is shared with device \"sht-inside\": a sensor that holds \
             it would keep the valve open; put the relays on a bus of their own, or wire the relay \
             supply's watchdog and add watchdog_line",
        ],
    );
    // With the watchdog a shared bus is allowed, at lines of its own.
    let shared = output(2, &format!("{board}\"main\"\naddress = 0x21\npin = 0"));
    let guard = |line: u8| format!("[guard]\nwatchdog_bus = \"main\"\nwatchdog_line = {line}\n");
    let text = |line| format!("{BASE}{SHT}{METER}{}{GUARD}{shared}", guard(line));
    assert!(super::parse(&text(26)).is_ok());
    check(
        &text(17),
        &[
            "guard.watchdog_line: GPIO 17 is already used by the gateway's device \"flow\"; \
           use another line",
        ],
    );
    check(
        &text(12),
        &["guard.output[0].line: is the line of the relay supply's watchdog; use another line"],
    );
}

#[test]
fn every_wrong_output_is_named() {
    let outputs = [
        output(
            1,
            "kind = \"gpio\"\nbus = \"main\"\nline = 12\nactive = \"high\"",
        ),
        output(33, "kind = \"relay\"\nbus = \"guard\"\nactive = \"on\""),
        output(
            3,
            "kind = \"pcf8574\"\nbus = \"relays\"\naddress = 0x20\npin = 8\nactive = \"high\"",
        ),
        output(
            4,
            "kind = \"mcp23017\"\nbus = \"relays\"\naddress = 0x38\npin = 1\nline = 4\n\
             active = \"low\"",
        ),
        output(5, "kind = \"gpio\"\nbus = \"main\"\nline = 28\npin = 2"),
    ];
    check(
        &format!("{BASE}{RELAY_BUS}{GUARD}{}", outputs.concat()),
        &[
            "guard.output[2].number: 33 is out of range; \
             write a whole number from 1 to 32, for example 1",
            "guard.output[2].bus: there is no bus \"guard\" with pins; name one of: main, relays",
            "guard.output[2].active: \"on\" is no level; \
             write \"low\" or \"high\": the level that switches the relay on",
            "guard.output[2].kind: \"relay\" is no kind of output; \
             write \"gpio\", \"mcp23017\" or \"pcf8574\"",
            "guard.output[3].active: all pins of a PCF8574 are high after power-on: every valve \
             would open before the guard runs; use a board that is on while its pin is low",
            "guard.output[3].pin: 8 is out of range; write a whole number from 0 to 7, for example 0",
            "guard.output[4].line: means nothing at an expander; remove it",
            "guard.output[4].address: 0x38 is not an address of this kind of chip; \
             write 0x20 to 0x27",
            "guard.output[5].active: is missing; add it, for example active = \"low\"",
            "guard.output[5].pin: means nothing for a GPIO line; remove it",
            "guard.output[5].line: 28 is out of range; \
             write a whole number from 0 to 27, for example 12",
        ],
    );
    let twice = [
        output(
            1,
            "kind = \"gpio\"\nbus = \"main\"\nline = 12\nactive = \"high\"",
        ),
        output(
            2,
            "kind = \"mcp23017\"\nbus = \"relays\"\naddress = 0x20\npin = 1\nactive = \"low\"",
        ),
        output(
            3,
            "kind = \"pcf8574\"\nbus = \"relays\"\naddress = 0x20\npin = 2\nactive = \"low\"",
        ),
    ];
    check(
        &format!("{BASE}{RELAY_BUS}{GUARD}{}", twice.concat()),
        &[
            "guard.output[1].number: 1 numbers two outputs; give each output its own number",
            "guard.output[1].line: GPIO 12 is already output 1; name each relay once",
            "guard.output[3].kind: output 2 calls its chip mcp23017; one address is one chip",
        ],
    );
}

#[test]
fn a_guard_needs_a_bus_outputs_and_zones_that_fit() {
    let no_bus = output(
        1,
        "kind = \"gpio\"\nbus = \"main\"\nline = 12\nactive = \"high\"",
    );
    check(
        &format!("{BASE}{SHT}{no_bus}"),
        &["guard.output: there is no bus of kind guard; \
           add a [[bus]] with id = \"guard\" and kind = \"guard\""],
    );
    check(
        &format!("{BASE}{SHT}[[bus]]\nid = \"guard\"\nkind = \"guard\"\ni2c = 2\n"),
        &[
            "bus[1].i2c: the guard has a socket only; remove it",
            "guard: the guard has no outputs; \
             add [[guard.output]] with number, kind, bus and active",
        ],
    );
    let zones = "pulses_per_litre = 450\nmeter = \"sht-inside\"\n\
                 [[zone]]\nid = \"zone-2\"\ncontroller = \"relays\"\noutput = 2\n\
                 [[zone]]\nid = \"zone-3\"\ncontroller = \"relays\"\noutput = 40\n";
    let wrong = SHT.replace("bus = \"main\"", "bus = \"guard\"");
    check(
        &format!("{BASE}{GUARD}{zones}{wrong}"),
        &[
            "device[1].bus: \"guard\" is the guard; put a sht4x on another bus",
            "zone[0].pulses_per_litre: belongs to the flow meter; remove it",
            "zone[0].meter: there is no flow meter \"sht-inside\"; \
             name a device of kind flow-meter, or leave it out",
            "zone[2].output: 40 is out of range; write a whole number from 1 to 32, for example 1",
        ],
    );
    let other = "[[zone]]\nid = \"zone-2\"\ncontroller = \"relays\"\noutput = 2\n";
    check(
        &format!("{BASE}{GUARD}{other}"),
        &["zone[1].output: the guard has no output 2; write one of 1"],
    );
    let dripping = format!(
        "{BASE}{}[[zone]]\nid = \"z\"\ncontroller = \"drip\"\noutput = 1\nmeter = \"x\"\n",
        super::DRIP
    );
    check(
        &dripping,
        &["zone[0].meter: a drip controller has a meter of its own; remove it"],
    );
}

#[test]
fn the_guard_closes_valves_although_other_sections_are_wrong() {
    let text = format!("{BASE}{GUARD}").replace("password = \"secret\"", "password_file = 5");
    let text = format!("{text}\n[journal]\ncap = \"1 KiB\"\n");
    assert!(super::parse(&text).is_err());
    let part = GuardPart::from_raw(&raw_of(&text), &no_file).unwrap();
    assert_eq!(part.guard.outputs.len(), 1);
    let none = GuardPart::from_raw(&raw_of(&format!("{BASE}{SHT}")), &no_file).unwrap_err();
    assert_eq!(
        none.as_slice()[0].to_string(),
        "guard: there are no outputs to guard; \
         add [[guard.output]], or do not start the guard"
    );
}

/// A guard needs no file beside its configuration.
fn no_file(_: &std::path::Path) -> std::io::Result<String> {
    Err(std::io::Error::from(std::io::ErrorKind::NotFound))
}
