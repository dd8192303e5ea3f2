//! The format of a scenario file, as it was written. What it means is checked in [`super::plan`].

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::BadInput;
use crate::Sky;

/// Largest scenario file, bytes: what is larger is the wrong file.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub(super) name: Option<String>,
    /// For people who read the file.
    #[serde(rename = "about")]
    pub(super) _about: Option<String>,
    pub(super) start: Spanned<String>,
    pub(super) length: Spanned<String>,
    pub(super) seed: Option<u64>,
    pub(super) speed: Option<Spanned<f64>>,
    pub(super) limit: Option<Spanned<String>>,
    pub(super) weather: Option<Sky>,
    pub(super) soil_moisture: Option<Spanned<f64>>,
    pub(super) tank: Option<Spanned<u8>>,
    #[serde(default = "yes")]
    pub(super) clock_known: bool,
    #[serde(default)]
    pub(super) event: Vec<Spanned<Event>>,
    #[serde(default)]
    pub(super) expect: Vec<Spanned<Expect>>,
}

/// Something that is done at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Event {
    pub(super) at: String,
    #[serde(rename = "for")]
    pub(super) lasting: Option<String>,
    pub(super) fault: Option<toml::Table>,
    pub(super) command: Option<String>,
    pub(super) says: Option<String>,
    pub(super) process: Option<Process>,
}

/// What is done to the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Process {
    /// The gateway ends at once, as by `kill -9`, and stays away for a while.
    Kill,
    /// It is asked to stop, and started again.
    Restart,
    /// The machine loses its power for a while.
    PowerCut,
    /// The guard ends at once, and stays away for a while.
    KillGuard,
}

/// What shall have been so.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Expect {
    pub(super) name: Option<String>,
    pub(super) at: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    #[serde(default)]
    pub(super) once: bool,
    pub(super) zone: Option<String>,
    pub(super) given: Option<[f64; 2]>,
    pub(super) valve: Option<Valve>,
    pub(super) runs: Option<[u64; 2]>,
    pub(super) open_for: Option<[String; 2]>,
    pub(super) open_at_once: Option<u64>,
    pub(super) pump_against_closed: Option<String>,
    pub(super) pump_dry: Option<String>,
    pub(super) event: Option<String>,
    pub(super) decision: Option<String>,
    pub(super) verdict: Option<String>,
    pub(super) text: Option<String>,
    pub(super) count: Option<[u64; 2]>,
    pub(super) channel: Option<String>,
    pub(super) between: Option<[f64; 2]>,
    pub(super) siren: Option<Switch>,
    pub(super) beacon: Option<Switch>,
}

/// How a siren or a beacon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// How a valve is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Valve {
    /// Open.
    Open,
    /// Closed.
    Closed,
}

/// What was written, and where lines begin.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) file: File,
    text: String,
}

impl Written {
    /// The line of a place in the file, from 1.
    pub(super) fn line(&self, place: usize) -> usize {
        line(&self.text, place)
    }
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Written, BadInput> {
    let text = read_text(path, FILE_BYTES_MAX)?;
    match toml::from_str(&text) {
        Ok(file) => Ok(Written { file, text }),
        Err(error) => Err(BadInput {
            path: path.to_owned(),
            line: error.span().map(|span| line(&text, span.start)),
            problem: format!(
                "{}; docs/scenarios.md lists all keys",
                error.message().replace('\n', ", ")
            ),
        }),
    }
}

/// A text file of bounded size.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<String, BadInput> {
    let bad = |problem: String| BadInput {
        path: path.to_owned(),
        line: None,
        problem,
    };
    let size = std::fs::metadata(path)
        .map_err(|error| bad(error.to_string()))?
        .len();
    if size > bytes_max {
        return Err(bad(format!(
            "larger than {bytes_max} bytes: is it the right file?"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))
}

fn line(text: &str, place: usize) -> usize {
    let before = text.as_bytes().iter().take(place);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn yes() -> bool {
    true
}
