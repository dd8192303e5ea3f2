//! `hold`, `release` and `reset`: no water at all for a while, water again, faults looked at.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{EXIT_FAILURE, load, print};
use crate::config::parse_duration;
use crate::control::client::ask;
use crate::control::{Answer, Ask};

/// Stop all watering, and let none begin for a while
///
/// Beats every rule and every command from the cloud; 30 minutes unless told, 12 hours at most.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  furrow-gateway hold\n  furrow-gateway hold --for 4h")]
pub struct Hold {
    /// How long
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "30min")]
    duration: Duration,
}

/// Let watering begin again before the end of a hold
#[derive(Debug, clap::Args)]
pub struct Release {}

/// Unlock zones that a fault has locked, after somebody has looked at it
///
/// A burst, a leak, or a fourth run without flow keep a zone shut until then, also through reboots.
#[derive(Debug, clap::Args)]
pub struct Reset {}

impl Hold {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let for_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        tell(config, &Ask::Hold { for_ms })
    }
}

impl Release {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        tell(config, &Ask::Release)
    }
}

impl Reset {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        tell(config, &Ask::Reset)
    }
}

/// Asks for something that is done at once, and prints the answer.
pub(super) fn tell(config: &Path, question: &Ask) -> ExitCode {
    let settings = match load(config) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let told = ask(&settings.gateway().control_socket(), question)
        .and_then(|mut answers| answers.next().transpose());
    match told {
        Ok(Some(Answer::Done { text })) => {
            print::line(text);
            ExitCode::SUCCESS
        }
        Ok(Some(Answer::Refused { reason })) => {
            print::line(format!("refused: {reason}"));
            ExitCode::from(EXIT_FAILURE)
        }
        Ok(_) => {
            print::line("the gateway gave no answer to this");
            ExitCode::from(EXIT_FAILURE)
        }
        Err(error) => {
            print::error(&error);
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}
