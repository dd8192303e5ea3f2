//! What the irrigation tells, as it is journalled.

use furrow_irrigation::{
    Cause, Decision, EndReason, EventKind as Watered, Interlock, Known, Origin, Refusal,
};
use furrow_wire::{self as wire, DeviceId, EventKind, RunCause};

/// An event of the irrigation as it is journalled. `controller` is that of its zone.
pub(super) fn what_of(kind: Watered, controller: Option<DeviceId>) -> EventKind {
    match kind {
        Watered::RunStarted {
            run,
            cause,
            rule,
            planned_ms,
            planned_ml,
        } => EventKind::RunStarted {
            run,
            cause: cause_of(cause),
            rule,
            planned_ms,
            planned_millilitres: planned_ml,
        },
        Watered::RunEnded {
            run,
            cause,
            started_mono_ms,
            of_this_boot,
            open_ms,
            litres_milli,
            reason,
        } => {
            if !of_this_boot {
                tracing::info!(run, "a run of an earlier boot was interrupted");
            }
            EventKind::RunEnded {
                run,
                cause: cause_of(cause),
                started_mono_ms,
                open_ms,
                millilitres: litres_milli,
                end: end_of(reason),
                text: interlock_text(reason).to_owned(),
            }
        }
        Watered::NotStarted { cause, refusal } => {
            EventKind::Decision(Box::new(refusal_of(cause, &refusal)))
        }
        Watered::LockedOut { text } => EventKind::Lockout { text },
        Watered::Recovered => match controller {
            Some(device) => EventKind::DeviceRecovered { device },
            None => EventKind::Alarm {
                text: "a controller that is not configured follows again".into(),
            },
        },
        Watered::Reset { by } => EventKind::Reset {
            by: origin_name(by).to_owned(),
        },
        Watered::Held { by, hold_ms } => EventKind::Held {
            by: origin_name(by).to_owned(),
            hold_ms,
        },
        Watered::Alarm { text } => EventKind::Alarm { text },
        Watered::FlowLearnt {
            millilitres_per_hour,
        } => EventKind::FlowLearnt {
            millilitres_per_hour,
        },
        Watered::Decided(decision) => EventKind::Decision(Box::new(decision_of(decision))),
    }
}

fn cause_of(cause: Cause) -> RunCause {
    match cause {
        Cause::Schedule => RunCause::Schedule,
        Cause::Manual => RunCause::Manual,
        Cause::Rule => RunCause::Rule,
        Cause::Command => RunCause::Command,
    }
}

fn end_of(reason: EndReason) -> wire::EndReason {
    match reason {
        EndReason::Completed => wire::EndReason::Completed,
        EndReason::Stopped => wire::EndReason::Stopped,
        EndReason::Fault => wire::EndReason::Fault,
        EndReason::Interrupted => wire::EndReason::Interrupted,
        EndReason::LeaseLost => wire::EndReason::LeaseLost,
        EndReason::Interlock(Interlock::Litres) => wire::EndReason::Budget,
        EndReason::Interlock(_) => wire::EndReason::Interlock,
    }
}

fn interlock_text(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Interlock(interlock) => interlock.text(),
        EndReason::Completed
        | EndReason::Stopped
        | EndReason::Fault
        | EndReason::Interrupted
        | EndReason::LeaseLost => "",
    }
}

/// From where somebody asked, as events and people have it.
#[must_use]
pub(super) fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Button => "button",
        Origin::Page => "page",
        Origin::Tool => "tool",
        Origin::Cloud => "cloud",
    }
}

/// A wish that no rule had, and that is not done.
pub(super) fn refusal_of(cause: Cause, refusal: &Refusal) -> wire::Decision {
    let rule = match cause {
        Cause::Schedule => "(schedule)",
        Cause::Manual => "(manual)",
        Cause::Rule => "(rule)",
        Cause::Command => "(command)",
    };
    wire::Decision {
        rule: rule.to_owned(),
        verdict: "water".to_owned(),
        refusal: refusal.to_string(),
        input: String::new(),
        value: None,
        age_ms: None,
        sum: wire::Exact(0.0),
        is_thirsty: false,
        minute: None,
        since_run_ms: None,
        wanted_ms: None,
        wanted_millilitres: None,
    }
}

fn decision_of(decision: Decision) -> wire::Decision {
    let Decision {
        rule,
        input,
        seen,
        verdict,
        refusal,
    } = decision;
    let (value, age_ms) = match seen.known {
        Known::Fresh { value, age_ms } => (Some(wire::Exact(value)), Some(age_ms)),
        Known::Stale { age_ms } => (None, Some(age_ms)),
        Known::Never => (None, None),
    };
    let wanted = verdict.amount();
    wire::Decision {
        rule,
        verdict: verdict.name().to_owned(),
        refusal: refusal.map_or_else(String::new, |refusal| refusal.to_string()),
        input,
        value,
        age_ms,
        sum: wire::Exact(seen.sum),
        is_thirsty: seen.is_thirsty,
        minute: seen.minute,
        since_run_ms: seen.since_run_ms,
        wanted_ms: wanted.map(|amount| amount.run_ms),
        wanted_millilitres: wanted.and_then(|amount| amount.millilitres),
    }
}
