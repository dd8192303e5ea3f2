//! `scan`: what answers on the buses?

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use embedded_hal::i2c::{ErrorKind, I2c};
use serde::Serialize;

use super::table::table;
use super::{EXIT_FAILURE, load, print};
use crate::bus::Field;
use crate::config::Settings;

/// Addresses that the I2C specification leaves to devices.
const ADDRESSES: RangeInclusive<u8> = 0x08..=0x77;
/// Here an empty write could change an EEPROM, so one byte is read instead, as `i2cdetect` does.
const READ_INSTEAD: [RangeInclusive<u8>; 2] = [0x30..=0x37, 0x50..=0x5F];

/// What sits at which address. Chips that share an address can't share a bus.
const KNOWN: [(RangeInclusive<u8>, &str); 20] = [
    (0x10..=0x10, "VEML7700 light"),
    (0x20..=0x27, "MCP23017 or PCF8574 expander"),
    (0x23..=0x23, "BH1750 light"),
    (0x29..=0x29, "TSL2591 light"),
    (0x2C..=0x2F, "drip controller"),
    (0x38..=0x3F, "PCF8574A expander"),
    (0x40..=0x4F, "INA219 or INA226 power"),
    (0x44..=0x46, "SHT4x or SHT3x temperature and humidity"),
    (0x48..=0x4B, "ADS1115 analog inputs"),
    (0x5C..=0x5C, "BH1750 light"),
    (0x61..=0x61, "SCD30 carbon dioxide"),
    (0x61..=0x61, "EZO-DO probe"),
    (0x62..=0x62, "SCD4x carbon dioxide"),
    (0x62..=0x62, "EZO-ORP probe"),
    (0x63..=0x63, "EZO-pH probe"),
    (0x64..=0x64, "EZO-EC probe"),
    (0x68..=0x68, "real-time clock"),
    (0x70..=0x77, "TCA9548A multiplexer"),
    (0x76..=0x77, "BME280 pressure"),
    (0x77..=0x77, "BMP180 pressure"),
];

/// Show what answers on each I2C bus, what it could be, and what is configured there
///
/// Asks every address without writing data. Run it while the gateway is stopped, or accept that a
/// reading of the gateway may be disturbed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway scan\n  \
    furrow-gateway --config /etc/furrow/gateway.toml scan --json")]
pub struct Scan {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One address of one bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Found {
    bus: String,
    address: u8,
    answers: bool,
    configured: Vec<String>,
    could_be: Vec<&'static str>,
    note: &'static str,
}

/// A bus that gave no answers at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Broken {
    bus: String,
    problem: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    found: Vec<Found>,
    broken: Vec<Broken>,
}

impl Scan {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let field = match Field::open(&settings, "furrow-gateway scan") {
            Ok(field) => field,
            Err(error) => {
                print::error(&error);
                return ExitCode::from(EXIT_FAILURE);
            }
        };
        let busy = field.clock().busy();
        let mut report = Report::default();
        for (index, bus) in settings.buses().iter().enumerate() {
            let Some(number) = bus.i2c else { continue };
            let mut i2c = field.i2c(number);
            scan(
                &settings,
                index,
                |address| probe(&mut i2c, address),
                &mut report,
            );
        }
        drop(busy);
        if self.json {
            print::line(serde_json::to_string_pretty(&report).expect("texts and numbers"));
        } else {
            print::line(text(&report));
        }
        if report.broken.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn probe<B: I2c<Error = ErrorKind>>(bus: &mut B, address: u8) -> Result<bool, ErrorKind> {
    let asked = if READ_INSTEAD.iter().any(|range| range.contains(&address)) {
        bus.read(address, &mut [0])
    } else {
        bus.write(address, &[])
    };
    match asked {
        Ok(()) => Ok(true),
        Err(ErrorKind::NoAcknowledge(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn scan(
    settings: &Settings,
    bus: usize,
    mut probe: impl FnMut(u8) -> Result<bool, ErrorKind>,
    report: &mut Report,
) {
    let name = settings.buses().get(bus).map_or("?", |bus| bus.id.as_str());
    let before = report.found.len();
    for address in ADDRESSES {
        let configured: Vec<String> = settings
            .devices()
            .iter()
            .filter(|device| device.bus == bus && device.address() == Some(address))
            .map(|device| format!("{} ({})", device.id, device.kind.name()))
            .collect();
        let answers = match probe(address) {
            Ok(answers) => answers,
            Err(error) => {
                let problem = format!("{address:#04x}: {error}");
                report.found.truncate(before);
                report.broken.push(Broken {
                    bus: name.to_owned(),
                    problem,
                });
                return;
            }
        };
        if !answers && configured.is_empty() {
            continue;
        }
        let note = match (answers, configured.is_empty()) {
            (true, true) => "not configured",
            (false, _) => "does not answer",
            (true, false) => "",
        };
        let could_be = could_be(address);
        let bus = name.to_owned();
        report.found.push(Found {
            bus,
            address,
            answers,
            configured,
            could_be,
            note,
        });
    }
}

fn could_be(address: u8) -> Vec<&'static str> {
    KNOWN
        .iter()
        .filter(|(range, _)| range.contains(&address))
        .map(|(_, name)| *name)
        .collect()
}

fn text(report: &Report) -> String {
    let mut rows = vec![
        ["bus", "address", "configured", "could be", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for found in &report.found {
        rows.push(vec![
            found.bus.clone(),
            format!("{:#04x}", found.address),
            found.configured.join(", "),
            found.could_be.join(" | "),
            found.note.to_owned(),
        ]);
    }
    let mut text = table(&rows);
    for broken in &report.broken {
        text.push_str(&format!(
            "\nbus {} gives no answers: {}",
            broken.bus, broken.problem
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::NoAcknowledgeSource;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn settings() -> Settings {
        let deploy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/gateway-simulated.toml"
        );
        Settings::load(Path::new(deploy)).unwrap()
    }

    #[test]
    fn shows_what_answers_what_should_and_what_it_could_be() {
        let mut report = Report::default();
        let answering = [0x23, 0x45, 0x48, 0x62];
        scan(
            &settings(),
            0,
            |address| Ok(answering.contains(&address)),
            &mut report,
        );
        scan(&settings(), 1, |_| Err(ErrorKind::Bus), &mut report);
        let expected = "\
bus   address  configured           could be
main  0x23                          MCP23017 or PCF8574 expander | BH1750 light                       not configured
main  0x44     sht-inside (sht4x)   INA219 or INA226 power | SHT4x or SHT3x temperature and humidity  does not answer
main  0x45     sht-outside (sht4x)  INA219 or INA226 power | SHT4x or SHT3x temperature and humidity
main  0x48     analog (ads1115)     INA219 or INA226 power | ADS1115 analog inputs
main  0x62     co2 (scd4x)          SCD4x carbon dioxide | EZO-ORP probe
bus valves gives no answers: 0x08: Bus error occurred";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn an_address_is_asked_without_writing_data() {
        let gone = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        let expected = [
            Transaction::write(0x44, vec![]),
            Transaction::write(0x45, vec![]).with_error(gone),
            Transaction::read(0x50, vec![0]),
            Transaction::write(0x46, vec![]).with_error(ErrorKind::Bus),
        ];
        let mut bus = Mock::new(&expected);
        assert_eq!(probe(&mut bus, 0x44), Ok(true));
        assert_eq!(probe(&mut bus, 0x45), Ok(false));
        assert_eq!(probe(&mut bus, 0x50), Ok(true));
        assert_eq!(probe(&mut bus, 0x46), Err(ErrorKind::Bus));
        bus.done();
    }
}
