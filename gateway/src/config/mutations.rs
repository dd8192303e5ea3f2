//! The shipped example with lines damaged at random: always an answer, never a panic.

use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::raw::RawConfig;
use super::{Mistakes, Settings};

/// What a value may be replaced with.
const VALUES: [&str; 16] = [
    "0",
    "-1",
    "255",
    "9223372036854775807",
    "1e300",
    "-0.5",
    "true",
    "\"\"",
    "\"main\"",
    "\"drip\"",
    "\"10\"",
    "\"99999999999999999d\"",
    "\"25:61\"",
    "\"simulated\"",
    "[1, 2]",
    "{ a = 1 }",
];

fn read(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("main") => Err(io::Error::from(io::ErrorKind::NotFound)),
        _ => Ok("text".to_owned()),
    }
}

/// `None` when the damage left no TOML, or no list of sections.
fn settings(text: &str) -> Option<Result<Settings, Mistakes>> {
    let raw: RawConfig = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize)
        .ok()?;
    Some(Settings::from_raw(&raw, &read))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_examples_are_answered(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..VALUES.len() + 3), 1..6),
        which in 0..3_usize,
    ) {
        let file = ["gateway-every-sensor.toml", "gateway-simulated.toml", "gateway-relays.toml"][which];
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/");
        let mut lines: Vec<String> =
            std::fs::read_to_string(format!("{path}{file}")).unwrap().lines().map(str::to_owned).collect();
        for (place, what) in damage {
            let at = place.index(lines.len());
            let line = lines[at].clone();
            match (VALUES.get(what), line.split_once('=')) {
                (Some(value), Some((key, _))) => lines[at] = format!("{key}= {value}"),
                (None, _) if what == VALUES.len() => drop(lines.remove(at)),
                (None, Some((key, value))) if what == VALUES.len() + 1 => {
                    lines[at] = format!("x{key}={value}");
                }
                (Some(_), None) | (None, _) => lines.push(line),
            }
        }
        if let Some(Err(mistakes)) = settings(&lines.join("\n")) {
            prop_assert!(!mistakes.as_slice().is_empty());
            for mistake in mistakes.as_slice() {
                prop_assert!(!mistake.key.is_empty() && !mistake.remedy.is_empty());
            }
        }
    }
}
