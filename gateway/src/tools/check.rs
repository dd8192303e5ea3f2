//! `check`: is the configuration right, and what does it say?

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::plan_text::rule_text;
use super::{load, print};
use crate::config::{BusKind, Settings};

/// Check the configuration: print every mistake with its remedy, or a summary
///
/// Touches no bus. Exit code 0 when all is well, 64 when not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway --config /etc/furrow/gateway.toml check\n  \
    FURROW__MQTT__HOST=ingest.example furrow-gateway check")]
pub struct Check {}

impl Check {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        match load(config) {
            Ok(settings) => {
                print::line(summary(&settings));
                ExitCode::SUCCESS
            }
            Err(code) => code,
        }
    }
}

fn summary(settings: &Settings) -> String {
    let gateway = settings.gateway();
    let mqtt = settings.mqtt();
    let transport = if mqtt.ca_pem.is_some() {
        "TLS"
    } else {
        "plain TCP"
    };
    let mut text = format!(
        "configuration is right\n\
         gateway   {}/{}, greenhouse {} ({})\n\
         mqtt      {}:{} as {}, {transport}, every {} s\n",
        gateway.cooperative,
        gateway.id,
        gateway.greenhouse,
        gateway.greenhouse_name,
        mqtt.host,
        mqtt.port,
        mqtt.username,
        mqtt.send_interval.as_secs(),
    );
    let described = describe(settings, &mut text);
    described.expect("writing to a string never fails");
    text.truncate(text.trim_end().len());
    text
}

fn describe(settings: &Settings, text: &mut String) -> std::fmt::Result {
    for bus in settings.buses() {
        let behind = match &bus.kind {
            BusKind::Pi => format!("/dev/i2c-{}", bus.i2c.unwrap_or_default()),
            BusKind::Linux { gpio_chip } => {
                let i2c = bus.i2c.map(|number| format!("/dev/i2c-{number}"));
                let lines = gpio_chip.as_ref().map(|chip| format!("lines of {chip}"));
                let both: Vec<String> = i2c.into_iter().chain(lines).collect();
                both.join(", ")
            }
            BusKind::Simulated { address, .. } => {
                format!("I2C {} at {address}", bus.i2c.unwrap_or_default())
            }
            BusKind::OneWire { root } => root.display().to_string(),
            BusKind::Rs485(line) => format!("Modbus at {}, {line}", line.device.display()),
            BusKind::Guard { socket } => format!("the guard at {}", socket.display()),
        };
        let clear = bus.clear.map_or_else(String::new, |pins| {
            format!(", cleared over GPIO {} and {}", pins.scl, pins.sda)
        });
        writeln!(text, "bus       {}: {behind}{clear}", bus.id)?;
    }
    for device in settings.devices() {
        let bus = settings
            .buses()
            .get(device.bus)
            .map_or("?", |bus| bus.id.as_str());
        let place = device.place();
        let kind = device.kind.name();
        let channels: Vec<&str> = device.channels.iter().map(|c| c.name.as_str()).collect();
        writeln!(
            text,
            "device    {}: {kind} at {place} on {bus}, every {} s: {}",
            device.id,
            device.every.as_secs_f64(),
            channels.join(", "),
        )?;
    }
    for one in settings.derived() {
        let channels: Vec<&str> = one.channels.iter().map(|c| c.name.as_str()).collect();
        writeln!(
            text,
            "derived   {}: {}, every {} s: {}",
            one.id,
            one.kind(),
            one.every.as_secs_f64(),
            channels.join(", "),
        )?;
    }
    if let Some(guard) = settings.guard() {
        crate::guard::cli::describe(settings.buses(), guard, text)?;
    }
    zones(settings, text)?;
    super::alarms::describe(settings, text)?;
    let derived: usize = settings
        .derived()
        .iter()
        .map(|one| one.channels.len())
        .sum();
    writeln!(
        text,
        "in all    {} devices, {} channels, {} zones",
        settings.devices().len(),
        settings.channels().count() + derived,
        settings.zones().len(),
    )
}

fn zones(settings: &Settings, text: &mut String) -> std::fmt::Result {
    for zone in settings.zones() {
        let controller = settings
            .devices()
            .get(zone.controller)
            .map_or("?", |d| d.id.as_str());
        let times: Vec<String> = zone
            .plan
            .schedule()
            .iter()
            .map(|entry| {
                format!(
                    "{} for {} s",
                    entry.at.strftime("%H:%M"),
                    entry.amount.run_ms / 1_000
                )
            })
            .collect();
        let schedule = if times.is_empty() {
            "no schedule".to_owned()
        } else {
            times.join(", ")
        };
        let meter = zone.meter.and_then(|meter| settings.devices().get(meter));
        let counted = meter.map_or_else(String::new, |meter| format!("; counted by {}", meter.id));
        writeln!(
            text,
            "zone      {} ({}): output {} of {controller}, at most {} min a run and {} min a day; \
             {schedule}{counted}",
            zone.id,
            zone.name,
            zone.output,
            zone.plan.max_run_ms() / 60_000,
            zone.plan.daily_limit_ms() / 60_000,
        )?;
        for rule in &zone.plan.options().rules {
            writeln!(text, "rule      {}", rule_text(settings, zone, rule))?;
        }
    }
    supply(settings, text)
}

/// What brings the water, as far as it is switched.
fn supply(settings: &Settings, text: &mut String) -> std::fmt::Result {
    let names = ["master valve", "pump", "fertiliser pump"];
    for (name, output) in names.into_iter().zip(settings.irrigation().supply) {
        let Some(output) = output else { continue };
        let controller = settings.devices().get(output.controller);
        let controller = controller.map_or("?", |device| device.id.as_str());
        writeln!(
            text,
            "supply    {name}: output {} of {controller}",
            output.output
        )?;
    }
    if let Some(page) = settings.page() {
        writeln!(text, "page      http://{}, with a PIN", page.listen)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_supply_are_named() {
        let deploy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../firmware-sim/scenarios/config/gateway.toml"
        );
        let settings = Settings::load(Path::new(deploy)).unwrap();
        let mut text = String::new();
        zones(&settings, &mut text).unwrap();
        for start in [
            "rule      ",
            "supply    pump: output ",
            "supply    master valve: output ",
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(start)),
                "no {start:?} in\n{text}"
            );
        }
    }

    #[test]
    fn the_summary_names_everything() {
        let deploy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/gateway-simulated.toml"
        );
        let settings = Settings::load(Path::new(deploy)).unwrap();
        let expected = "\
configuration is right
gateway   hoa-binh/gw-01, greenhouse nha-luoi-1 (Nhà lưới 1)
mqtt      127.0.0.1:1883 as hoa-binh/gw-01, plain TCP, every 10 s
bus       main: I2C 1 at tcp:127.0.0.1:7000
bus       valves: I2C 3 at tcp:127.0.0.1:7000
device    sht-inside: sht4x at 0x44 on main, every 10 s: air_temperature, relative_humidity
device    sht-outside: sht4x at 0x45 on main, every 10 s: air_temperature, relative_humidity
device    co2: scd4x at 0x62 on main, every 10 s: co2, air_temperature, relative_humidity
device    analog: ads1115 at 0x48 on main, every 10 s: global_radiation, tank_level, soil_moisture_index
device    flow: flow-meter at GPIO 17 on main, every 10 s: water_volume, water_flow
device    drip: drip-controller at 0x2c on valves, every 10 s: water_volume, zones_open
zone      zone-1 (Luống 1): output 1 of drip, at most 30 min a run and 120 min a day; 06:00 for 600 s, 15:30 for 480 s
zone      zone-2 (Luống 2): output 2 of drip, at most 30 min a run and 120 min a day; 06:15 for 600 s
in all    6 devices, 14 channels, 2 zones";
        assert_eq!(summary(&settings), expected);
    }
}
