//! What the person is told of the buses.

use super::find::{At, Detail};
use super::spot::Spot;
use super::write::{Plan, id_of, is_configured};
use crate::tools::print;
use crate::tools::table::table;

/// What was found, what it becomes, and what nobody knows.
pub(super) fn explain(plan: &Plan) {
    let mut rows = vec![
        ["bus", "place", "recognised", "by", "becomes"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for device in &plan.found.devices {
        let becomes = if is_configured(plan, device) {
            id_of(plan, device)
        } else {
            let flag = if matches!(device.detail, Detail::Inputs(_)) {
                "--analog"
            } else {
                "--contact"
            };
            format!("nothing yet: name its inputs by {flag}, or in the file")
        };
        let (bus, place) = match &device.at {
            At::I2c { bus, spot } => (format!("i2c-{bus}"), place(*spot)),
            At::Serial { port, slave } => (port.display().to_string(), format!("address {slave}")),
            At::OneWire { rom } => ("one-wire".to_owned(), rom.clone()),
        };
        let evidence = device.evidence.clone();
        rows.push(vec![bus, place, device.kind.to_owned(), evidence, becomes]);
    }
    print::line(table(&rows));
    for stranger in &plan.found.strangers {
        let what = match (&stranger.identity, stranger.could_be.as_slice()) {
            (Some(identity), _) => format!("is {identity}, which is no device of its own here"),
            (None, []) => "answers, and is nothing that this program knows".to_owned(),
            (None, names) => format!("answers, but nothing identifies it: {}?", names.join(" | ")),
        };
        let (bus, spot) = (stranger.bus, place(stranger.spot));
        print::line(format!("not configured: {spot} on i2c-{bus} {what}"));
    }
    for probe in &plan.found.probes {
        let (slave, port) = (probe.slave, probe.port.display());
        print::line(format!(
            "not configured: address {slave} at {port} answers: name its profile by --probe {slave}=…, or in the file"
        ));
        for (profile, readings) in &probe.readings {
            print::line(format!("  as {profile} it reads {readings}"));
        }
    }
    for (bus, problem) in &plan.found.broken {
        print::line(format!(
            "bus {bus} gives no answers ({problem}): look at supply, pull-ups and short circuits"
        ));
    }
    print::line("not looked for: pulse meters and contacts at GPIO lines, which no scan can see");
}

/// As `scan` writes it.
fn place(spot: Spot) -> String {
    match spot.behind {
        None => format!("{:#04x}", spot.address),
        Some((mux, channel)) => format!("{mux:#04x}/{channel} {:#04x}", spot.address),
    }
}
