//! `calibrate list`: the history, for people and for programs.

use crate::calibrations::Calibrations;
use crate::tools::table::table;

pub(super) fn json_of(all: &Calibrations) -> String {
    serde_json::to_string_pretty(all.entries()).expect("texts and numbers serialise")
}

pub(super) fn text(all: &Calibrations) -> String {
    if all.entries().is_empty() {
        return "nothing was calibrated yet".to_owned();
    }
    let mut rows = vec![
        ["channel", "version", "when", "holds", "what"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for entry in all.entries() {
        let held = all.held(&entry.device, &entry.channel);
        let holds = held.is_some_and(|held| held.version == entry.version);
        rows.push(vec![
            entry.series(),
            entry.version.to_string(),
            entry.at.clone(),
            if holds { "yes" } else { "" }.to_owned(),
            entry.text(),
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use crate::calibrations::What;
    use crate::calibrations::tests::{entry, reading};

    use super::*;

    #[test]
    fn the_list_says_which_holds() {
        let mut all = Calibrations::default();
        assert_eq!(text(&all), "nothing was calibrated yet");
        let capacitive = |dry: &str, wet: &str| What::Capacitive {
            dry: reading(dry),
            wet: reading(wet),
        };
        let channel = "soil_moisture_index";
        all.add(entry("analog", channel, 1, capacitive("2.91", "1.31")))
            .unwrap();
        all.add(entry("analog", channel, 2, capacitive("2.80", "1.28")))
            .unwrap();
        all.add(entry("analog", channel, 3, What::Undone { version: 2 }))
            .unwrap();
        let expected = "\
channel                     version  when                  holds  what
analog/soil_moisture_index  1        2026-11-22T10:00:00Z  yes    dry 2.91 V, wet 1.31 V; by an: new probe
analog/soil_moisture_index  2        2026-11-22T10:00:00Z         dry 2.80 V, wet 1.28 V; by an: new probe
analog/soil_moisture_index  3        2026-11-22T10:00:00Z         version 2 undone; by an: new probe";
        assert_eq!(text(&all), expected);
    }
}
