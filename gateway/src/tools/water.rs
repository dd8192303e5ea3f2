//! `water` and `stop`: water by hand, through the running gateway and all its interlocks.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use furrow_wire::{EndReason, ZoneId};

use super::{EXIT_FAILURE, load, print};
use crate::config::{Settings, parse_duration};
use crate::control::client::{AskError, ask};
use crate::control::{Answer, Ask};

/// Water a zone by hand and show how it goes
///
/// The run has the zone's limits, budget and valve lease. It goes on when this command is ended:
/// `--stop` ends it. Exit code 0 when the run was completed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    furrow-gateway water --zone zone-1 --for 60s\n  \
    furrow-gateway water --zone zone-1 --stop")]
pub struct Water {
    /// Which zone
    #[arg(long)]
    zone: ZoneId,
    /// How long, e.g. 60s or 10min
    #[arg(long = "for", value_name = "TIME", value_parser = duration, required_unless_present = "stop")]
    duration: Option<Duration>,
    /// End the zone's run instead
    #[arg(long, conflicts_with = "duration")]
    stop: bool,
}

impl Water {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        match self.ask(&settings) {
            Ok(code) => code,
            Err(error) => {
                print::error(&error);
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }

    fn ask(&self, settings: &Settings) -> Result<ExitCode, AskError> {
        let zone = self.zone.clone();
        let question = match self.duration.filter(|_| !self.stop) {
            Some(duration) => {
                let for_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                Ask::Water { zone, for_ms }
            }
            None => Ask::Stop { zone },
        };
        let mut code = ExitCode::from(EXIT_FAILURE);
        for answer in ask(&settings.gateway().control_socket(), &question)? {
            let answer = answer?;
            if let Some(line) = text(&self.zone, &answer) {
                print::line(line);
            }
            if is_success(&answer) {
                code = ExitCode::SUCCESS;
            }
        }
        Ok(code)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

fn is_success(answer: &Answer) -> bool {
    match answer {
        Answer::Closed { end, .. } => *end == EndReason::Completed,
        Answer::Stopping { .. } => true,
        Answer::Report { .. }
        | Answer::Accepted { .. }
        | Answer::Opened
        | Answer::Done { .. }
        | Answer::Recent { .. }
        | Answer::Progress { .. }
        | Answer::Samples { .. }
        | Answer::Readings { .. }
        | Answer::Survey { .. }
        | Answer::Calibrated { .. }
        | Answer::Refused { .. } => false,
    }
}

fn text(zone: &ZoneId, answer: &Answer) -> Option<String> {
    let litres = |millilitres: &Option<u64>| match millilitres {
        Some(ml) => format!("{}.{:02} L", ml / 1_000, ml % 1_000 / 10),
        None => "unknown water".to_owned(),
    };
    let text = match answer {
        Answer::Accepted { run } => format!("{zone}: run {run} accepted, checking the valve"),
        Answer::Opened => format!("{zone}: open"),
        Answer::Progress {
            left_ms,
            millilitres,
        } => {
            format!(
                "{zone}: {} s left, {}",
                left_ms / 1_000,
                litres(millilitres)
            )
        }
        Answer::Closed {
            open_ms,
            millilitres,
            end,
        } => {
            let why = match end {
                EndReason::Completed => "as planned",
                EndReason::Stopped => "stopped",
                EndReason::Fault => "because of a fault of the valve or its controller",
                EndReason::Interrupted => "interrupted by a restart",
                EndReason::LeaseLost => "because its lease could not be renewed",
                EndReason::Budget => "because today's budget is spent",
                EndReason::Interlock => "by an interlock",
            };
            let seconds = open_ms / 1_000;
            format!(
                "{zone}: closed after {seconds} s, {}, {why}",
                litres(millilitres)
            )
        }
        Answer::Stopping { was_running: true } => format!("{zone}: stopping"),
        Answer::Stopping { was_running: false } => format!("{zone}: nothing to stop"),
        Answer::Refused { reason } => format!("{zone}: refused: {reason}"),
        Answer::Report { .. }
        | Answer::Done { .. }
        | Answer::Recent { .. }
        | Answer::Samples { .. }
        | Answer::Readings { .. }
        | Answer::Survey { .. }
        | Answer::Calibrated { .. } => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_words() {
        let zone: ZoneId = "zone-1".parse().unwrap();
        let end = EndReason::Completed;
        let table = [
            (
                Answer::Accepted { run: 7 },
                "zone-1: run 7 accepted, checking the valve",
                false,
            ),
            (Answer::Opened, "zone-1: open", false),
            (
                Answer::Progress {
                    left_ms: 30_500,
                    millilitres: Some(1_240),
                },
                "zone-1: 30 s left, 1.24 L",
                false,
            ),
            (
                Answer::Closed {
                    open_ms: 60_000,
                    millilitres: Some(2_005),
                    end,
                },
                "zone-1: closed after 60 s, 2.00 L, as planned",
                true,
            ),
            (
                Answer::Closed {
                    open_ms: 9_000,
                    millilitres: None,
                    end: EndReason::LeaseLost,
                },
                "zone-1: closed after 9 s, unknown water, because its lease could not be renewed",
                false,
            ),
            (
                Answer::Refused {
                    reason: "the zone is already being watered".into(),
                },
                "zone-1: refused: the zone is already being watered",
                false,
            ),
            (
                Answer::Stopping { was_running: false },
                "zone-1: nothing to stop",
                true,
            ),
        ];
        for (answer, line, success) in table {
            assert_eq!(text(&zone, &answer).as_deref(), Some(line));
            assert_eq!(is_success(&answer), success, "{line}");
        }
    }
}
