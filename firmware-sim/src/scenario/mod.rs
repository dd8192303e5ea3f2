//! Scenarios: the gateway that ships, with somebody's own configuration, against a timeline of weather,
//! faults, people and process ends, in lock-step time.
//!
//! | module | owns |
//! |---|---|
//! | [`mod@file`] | the format of a scenario file: what was written, with lines |
//! | [`mod@plan`] | what it means: times, zones, faults and expectations, checked |
//! | [`mod@want`] | what is expected |
//! | [`mod@site`] | the configuration as the gateway of a scenario gets it, and the plumbing that follows from it |
//! | [`mod@process`] | children, with bounded output, that never outlive their owner |
//! | [`mod@play`] | the run itself |
//! | [`mod@record`] | what the gateway wrote down |
//! | [`mod@judge`] | whether what was expected happened |
//! | [`mod@junit`] | the report for machines |
//!
//! It knows a gateway only by command line, configuration, journal and remote bus, as anybody does who
//! brings a binary of their own. `docs/scenarios.md` is the reference of the format.

mod file;
mod judge;
mod junit;
mod plan;
mod play;
mod process;
mod record;
mod site;
mod want;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use judge::Verdict;
pub use junit::junit;
pub use play::Step;

/// What all scenarios of a call share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// `furrow-gateway`.
    pub gateway: PathBuf,
    /// `furrow-guard`, for configurations with guarded outputs.
    pub guard: Option<PathBuf>,
    /// Folder with a `gateway.toml`.
    pub config: PathBuf,
    /// Decides weather and noise where the file does not.
    pub seed: u64,
    /// Real time that a scenario may take, where the file does not say.
    pub limit: Duration,
}

/// What became of one scenario.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the file calls itself.
    pub name: String,
    /// Each expectation, in the order of the file.
    pub verdicts: Vec<Verdict>,
    /// Why it could not be played to its end.
    pub broken: Option<String>,
    /// Simulated time that passed, ms.
    pub simulated_ms: u64,
    /// Real time that it took.
    pub took: Duration,
    /// The last lines of the gateway, where something failed.
    pub log: String,
}

impl Outcome {
    /// Whether everything that was expected happened.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.broken.is_none() && self.verdicts.iter().all(|verdict| verdict.seen.is_none())
    }
}

/// A scenario file or a configuration that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", path.display(), line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct BadInput {
    /// The file.
    pub path: PathBuf,
    /// Where in it, from 1.
    pub line: Option<usize>,
    /// What is wrong, and the remedy.
    pub problem: String,
}

/// Plays one scenario file. `progress` is told each step.
///
/// # Errors
/// A file or a configuration that can't be used. What fails while it is played is an [`Outcome`].
pub fn play(
    path: &Path,
    shared: &Shared,
    progress: &mut dyn FnMut(&Step),
) -> Result<Outcome, BadInput> {
    let site = site::Site::read(&shared.config)?;
    if site.has_guard && shared.guard.is_none() {
        let problem = "there are guarded outputs: name the guard's program with --guard BIN";
        return Err(site.bad(problem));
    }
    let written = file::read(path)?;
    let plan = plan::Plan::of(path, &written, &site, shared)?;
    let began = Instant::now();
    let played = play::play(&plan, &site, shared, progress)?;
    let verdicts = match &played.broken {
        None => judge::judge(&plan, &site, &played),
        Some(_) => Vec::new(),
    };
    let mut outcome = Outcome {
        name: plan.name,
        verdicts,
        broken: played.broken,
        simulated_ms: played.end_ms,
        took: began.elapsed(),
        log: String::new(),
    };
    if !outcome.is_passed() {
        outcome.log = played.log;
    }
    Ok(outcome)
}
