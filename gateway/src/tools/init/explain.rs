//! What the person is told of the buses.

use super::find::At;
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
            "nothing yet: name its inputs by --analog, or in the file".to_owned()
        };
        let (bus, place) = match &device.at {
            At::I2c {
                bus,
                address,
                behind: None,
            } => (format!("i2c-{bus}"), format!("{address:#04x}")),
            At::I2c {
                bus,
                address,
                behind: Some((mux, channel)),
            } => (
                format!("i2c-{bus}"),
                format!("{mux:#04x}/{channel} {address:#04x}"),
            ),
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
        let (bus, address) = (stranger.bus, stranger.address);
        print::line(format!(
            "not configured: {address:#04x} on i2c-{bus} {what}"
        ));
    }
    for (bus, problem) in &plan.found.broken {
        print::line(format!(
            "bus i2c-{bus} gives no answers ({problem}): look at supply, pull-ups and short circuits"
        ));
    }
    print::line("not looked for: pulse meters and contacts at GPIO lines, which no scan can see");
}
