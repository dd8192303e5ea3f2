//! Why runs began and ended, as codes of the contract.

use super::{EndReason, RunCause};
use crate::{BodyError, proto};

pub(super) fn encode_cause(cause: RunCause) -> proto::RunCause {
    match cause {
        RunCause::Schedule => proto::RunCause::Schedule,
        RunCause::Manual => proto::RunCause::Manual,
        RunCause::Rule => proto::RunCause::Rule,
        RunCause::Command => proto::RunCause::Command,
    }
}

pub(super) fn decode_cause(code: i32) -> Result<RunCause, BodyError> {
    match proto::RunCause::try_from(code) {
        Ok(proto::RunCause::Schedule) => Ok(RunCause::Schedule),
        Ok(proto::RunCause::Manual) => Ok(RunCause::Manual),
        Ok(proto::RunCause::Rule) => Ok(RunCause::Rule),
        Ok(proto::RunCause::Command) => Ok(RunCause::Command),
        Ok(proto::RunCause::Unspecified) | Err(_) => Err(BodyError::invalid(
            "events",
            "run cause",
            format!("unknown code {code}"),
        )),
    }
}

pub(super) fn encode_end(end: EndReason) -> proto::RunEnd {
    match end {
        EndReason::Completed => proto::RunEnd::Completed,
        EndReason::Stopped => proto::RunEnd::Stopped,
        EndReason::Fault => proto::RunEnd::Fault,
        EndReason::Interrupted => proto::RunEnd::Interrupted,
        EndReason::LeaseLost => proto::RunEnd::LeaseLost,
        EndReason::Budget => proto::RunEnd::Budget,
        EndReason::Interlock => proto::RunEnd::Interlock,
    }
}

pub(super) fn decode_end(code: i32) -> Result<EndReason, BodyError> {
    match proto::RunEnd::try_from(code) {
        Ok(proto::RunEnd::Completed) => Ok(EndReason::Completed),
        Ok(proto::RunEnd::Stopped) => Ok(EndReason::Stopped),
        Ok(proto::RunEnd::Fault) => Ok(EndReason::Fault),
        Ok(proto::RunEnd::Interrupted) => Ok(EndReason::Interrupted),
        Ok(proto::RunEnd::LeaseLost) => Ok(EndReason::LeaseLost),
        Ok(proto::RunEnd::Budget) => Ok(EndReason::Budget),
        Ok(proto::RunEnd::Interlock) => Ok(EndReason::Interlock),
        Ok(proto::RunEnd::Unspecified) | Err(_) => Err(BodyError::invalid(
            "events",
            "run end",
            format!("unknown code {code}"),
        )),
    }
}
