//! What must survive a power cut.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::interlock::{Lock, Moment};
use crate::plan::STARTS_PER_HOUR_CEILING;
use crate::rules::RuleState;
use crate::site::{Hold, SiteState};
use crate::{Budget, Cause};

/// Starts are counted over this long, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// What must survive a power cut. The caller journals it for each [`crate::Command::Persist`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Number of the last run handed out.
    pub last_run: u64,
    /// By [`crate::ZonePlan::key`]. Zones that are no longer configured are kept.
    pub zones: BTreeMap<String, ZoneState>,
    /// What all zones share.
    #[serde(default)]
    pub site: SiteState,
}

/// What must survive for one zone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ZoneState {
    /// Watering time and water used today.
    pub budget: Budget,
    /// The newest scheduled start that was dealt with, milliseconds since 1970.
    pub scheduled_until_unix_ms: Option<i64>,
    /// A run whose end is not yet recorded.
    pub open_run: Option<OpenRun>,
    /// When the last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<Moment>,
    /// When the latest runs began, oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub starts: VecDeque<Moment>,
    /// A fault that outlives the run that found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// A person stopped it: rules and the cloud do not start it again so soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Runs without flow since the last one with.
    #[serde(default)]
    pub dry_runs: u8,
    /// The right flow, as learnt, in millilitres an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnt_mlph: Option<u64>,
    /// By the rule's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, RuleState>,
}

/// A run that was charged and opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// Its number.
    pub run: u64,
    /// Who wanted it.
    pub cause: Cause,
    /// The boot that `opened_mono_ms` belongs to.
    pub boot: u64,
    /// When it was opened, monotonic, in milliseconds.
    pub opened_mono_ms: u64,
    /// For how long, and charged, in milliseconds.
    pub planned_ms: u64,
    /// How much was charged, in millilitres.
    #[serde(default)]
    pub planned_ml: u64,
    /// The flow meter's count before the valve opened, where there is one.
    pub baseline_pulses: Option<u32>,
}

impl ZoneState {
    pub(crate) fn note_start(&mut self, at: Moment) {
        while self.starts.len() >= usize::from(STARTS_PER_HOUR_CEILING) {
            self.starts.pop_front();
        }
        self.starts.push_back(at);
    }

    /// Runs that began within the last hour. Of another boot nobody knows how long ago: they count
    /// as if they began with this one.
    pub(crate) fn starts_within_hour(&self, boot: u64, now_ms: u64) -> usize {
        let recent = |start: &&Moment| {
            let began_ms = if start.boot == boot { start.mono_ms } else { 0 };
            now_ms.saturating_sub(began_ms) < HOUR_MS
        };
        self.starts.iter().filter(recent).count()
    }

    /// How long ago the last run ended, at least; `None` when there was none.
    pub(crate) fn off_for_ms(&self, boot: u64, now_ms: u64) -> Option<u64> {
        let end = self.last_end?;
        let ended_ms = if end.boot == boot { end.mono_ms } else { 0 };
        Some(now_ms.saturating_sub(ended_ms))
    }
}
