//! The machines of one cooperative, their rows, and the outbox.
//!
//! State is kept per greenhouse, in one row that is rewritten when one of its machines was fed. A rule that is
//! no longer configured, or whose condition changed, ends its alerts: the machine starts anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use furrow_alerts::{Interval, Machine, Phase, Rule, Sample, Transition, TransitionKind};
use furrow_wire::{ChannelName, CooperativeId, DeviceId, GreenhouseId, RuleId, SeriesId};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AlertRule, Watched};
use crate::archive::live::{LiveKind, LiveMessage};
use crate::archive::{Applied, StoreError};

/// Messages that may wait in one cooperative's outbox: a day of a cooperative whose every greenhouse pages every
/// hour. Beyond it the oldest is given up, which is logged.
const OUTBOX_WAITING_MAX: u32 = 2_400;
/// Messages sent or given up that stay for the record.
const OUTBOX_DONE_MAX: u32 = 1_000;

/// All machines of a cooperative.
#[derive(Debug)]
pub(crate) struct Evaluator {
    cooperative: CooperativeId,
    rules: Arc<[AlertRule]>,
    greenhouses: BTreeMap<GreenhouseId, BTreeMap<Key, Watch>>,
    dirty: BTreeSet<GreenhouseId>,
    transitions: u64,
    ignored: u64,
    live: Vec<LiveMessage>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rule: RuleId,
    device: DeviceId,
    channel: ChannelName,
}

#[derive(Debug, Clone, Default)]
struct Watch {
    machine: Machine,
    /// Row of the open alert.
    alert: Option<i64>,
    /// The rule that the machine was fed under, so that a changed rule is noticed.
    rule: Value,
}

/// A [`Watch`] as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    rule_id: RuleId,
    device: DeviceId,
    channel: ChannelName,
    rule: Value,
    alert: Option<i64>,
    machine: Machine,
}

impl Evaluator {
    /// Reads the state of all greenhouses; ends alerts of rules that are gone or changed.
    pub(crate) fn load(
        db: &Connection,
        cooperative: &CooperativeId,
        rules: Arc<[AlertRule]>,
    ) -> Result<Self, StoreError> {
        let mut evaluator = Self {
            cooperative: cooperative.clone(),
            rules,
            greenhouses: BTreeMap::new(),
            dirty: BTreeSet::new(),
            transitions: 0,
            ignored: 0,
            live: Vec::new(),
        };
        let mut query = db.prepare("SELECT greenhouse, body FROM alert_state")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let greenhouse: GreenhouseId = row.get::<_, String>(0)?.parse()?;
            let stored: Vec<Stored> = serde_json::from_str(&row.get::<_, String>(1)?)?;
            for one in stored {
                evaluator.take_stored(db, &greenhouse, one)?;
            }
        }
        Ok(evaluator)
    }

    /// Feeds every machine of a series with what a batch covered.
    pub(crate) fn evaluate(
        &mut self,
        db: &Connection,
        watched: Watched<'_>,
        interval: Interval,
        samples: &[Sample],
        received_ms: i64,
    ) -> Result<(), StoreError> {
        let rules = Arc::clone(&self.rules);
        let series = watched.series;
        for rule in watched.rules.iter().filter_map(|index| rules.get(*index)) {
            let key = Key {
                rule: rule.id.clone(),
                device: series.device.clone(),
                channel: series.channel.clone(),
            };
            let greenhouse = self
                .greenhouses
                .entry(series.greenhouse.clone())
                .or_default();
            let watch = greenhouse.entry(key).or_insert_with(|| Watch {
                rule: rule_print(&rule.rule),
                ..Watch::default()
            });
            let outcome = watch.machine.handle_interval(&rule.rule, interval, samples);
            for transition in &outcome.transitions {
                watch.alert = record(db, rule, series, watch.alert, transition)?;
                let told = Told {
                    cooperative: &self.cooperative,
                    rule,
                    watched,
                    transition,
                };
                self.live.push(told.live(watch.alert));
                told.enqueue(db, watch.alert, received_ms)?;
            }
            self.transitions += outcome.transitions.len() as u64;
            self.ignored += outcome.ignored_samples;
        }
        if !self.dirty.contains(&series.greenhouse) {
            self.dirty.insert(series.greenhouse.clone());
        }
        Ok(())
    }

    /// Writes the state of greenhouses that were fed, and counts what happened since the last call.
    pub(crate) fn save(
        &mut self,
        db: &Connection,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        for greenhouse in std::mem::take(&mut self.dirty) {
            let watches = self.greenhouses.get(&greenhouse).into_iter().flatten();
            let stored: Vec<Stored> = watches
                .map(|(key, watch)| Stored {
                    rule_id: key.rule.clone(),
                    device: key.device.clone(),
                    channel: key.channel.clone(),
                    rule: watch.rule.clone(),
                    alert: watch.alert,
                    machine: watch.machine.clone(),
                })
                .collect();
            db.prepare_cached(
                "INSERT OR REPLACE INTO alert_state (greenhouse, body) VALUES (?1, ?2)",
            )?
            .execute(params![
                greenhouse.as_str(),
                serde_json::to_string(&stored)?
            ])?;
        }
        applied.alert_transitions += std::mem::take(&mut self.transitions);
        applied.alert_samples_ignored += std::mem::take(&mut self.ignored);
        Ok(())
    }

    /// Messages for subscribers since the last call.
    pub(crate) fn take_live(&mut self) -> Vec<LiveMessage> {
        std::mem::take(&mut self.live)
    }

    fn take_stored(
        &mut self,
        db: &Connection,
        greenhouse: &GreenhouseId,
        stored: Stored,
    ) -> Result<(), StoreError> {
        let key = Key {
            rule: stored.rule_id,
            device: stored.device,
            channel: stored.channel,
        };
        let series = SeriesId {
            greenhouse: greenhouse.clone(),
            device: key.device.clone(),
            channel: key.channel.clone(),
        };
        let same = self.rules.iter().any(|rule| {
            rule.id == key.rule && rule.matches(&series) && rule_print(&rule.rule) == stored.rule
        });
        if same {
            let watch = Watch {
                machine: stored.machine,
                alert: stored.alert,
                rule: stored.rule,
            };
            self.greenhouses
                .entry(greenhouse.clone())
                .or_default()
                .insert(key, watch);
            return Ok(());
        }
        let Some(alert) = stored.alert else {
            return Ok(());
        };
        tracing::info!(rule = %key.rule, %series, "alert ended: its rule was changed or removed");
        match stored.machine.phase() {
            Phase::Firing { .. } => {
                db.execute(
                    "UPDATE alert SET state = 'resolved', ended_ms = ?2 WHERE id = ?1",
                    params![alert, stored.machine.frontier_ms()],
                )?;
            }
            Phase::Ok | Phase::Pending { .. } => {
                db.execute("DELETE FROM alert WHERE id = ?1", params![alert])?;
            }
        }
        Ok(())
    }
}

fn rule_print(rule: &Rule) -> Value {
    // A rule is numbers and names: it always serialises.
    serde_json::to_value(rule).unwrap_or_default()
}

/// Writes a transition to the alert's row; gives the row while the alert is open.
fn record(
    db: &Connection,
    rule: &AlertRule,
    series: &SeriesId,
    open: Option<i64>,
    transition: &Transition,
) -> Result<Option<i64>, StoreError> {
    match transition.kind {
        TransitionKind::Pending => insert(db, rule, series, "pending", transition).map(Some),
        TransitionKind::Dropped => {
            db.prepare_cached("DELETE FROM alert WHERE id = ?1")?
                .execute(params![open])?;
            Ok(None)
        }
        TransitionKind::Firing => {
            let id = match open {
                Some(id) => id,
                None => insert(db, rule, series, "firing", transition)?,
            };
            db.prepare_cached(
                "UPDATE alert SET state = 'firing', fired_ms = ?2, value = ?3 WHERE id = ?1",
            )?
            .execute(params![id, transition.at_ms, transition.value])?;
            Ok(Some(id))
        }
        TransitionKind::Resolved => {
            db.prepare_cached("UPDATE alert SET state = 'resolved', ended_ms = ?2 WHERE id = ?1")?
                .execute(params![open, transition.at_ms])?;
            Ok(None)
        }
    }
}

fn insert(
    db: &Connection,
    rule: &AlertRule,
    series: &SeriesId,
    state: &str,
    transition: &Transition,
) -> Result<i64, StoreError> {
    db.prepare_cached(
        "INSERT INTO alert (rule, severity, greenhouse, device, channel, state, started_ms, value,
             limit_value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        rule.id.as_str(),
        rule.severity.as_str(),
        series.greenhouse.as_str(),
        series.device.as_str(),
        series.channel.as_str(),
        state,
        transition.since_ms,
        transition.value,
        rule.rule.condition().limit()
    ])?;
    Ok(db.last_insert_rowid())
}

/// A transition and whom it concerns.
struct Told<'a> {
    cooperative: &'a CooperativeId,
    rule: &'a AlertRule,
    watched: Watched<'a>,
    transition: &'a Transition,
}

impl Told<'_> {
    fn json(&self, alert: Option<i64>) -> Value {
        let Self {
            rule,
            watched,
            transition,
            ..
        } = self;
        let state = match transition.kind {
            TransitionKind::Pending => "pending",
            TransitionKind::Dropped => "dropped",
            TransitionKind::Firing => "firing",
            TransitionKind::Resolved => "resolved",
        };
        json!({
            "id": alert.map(|alert| alert.to_string()),
            "cooperative": self.cooperative,
            "greenhouse": watched.series.greenhouse,
            "device": watched.series.device,
            "channel": watched.series.channel,
            "unit": watched.unit,
            "rule": rule.id,
            "severity": rule.severity.as_str(),
            "state": state,
            "at_ms": transition.at_ms,
            "started_ms": transition.since_ms,
            "value": transition.value,
            "limit": rule.rule.condition().limit(),
        })
    }

    fn live(&self, alert: Option<i64>) -> LiveMessage {
        LiveMessage {
            kind: LiveKind::Alert,
            data: self.json(alert),
        }
    }

    /// Only what pages somebody goes into the outbox.
    fn enqueue(
        &self,
        db: &Connection,
        alert: Option<i64>,
        received_ms: i64,
    ) -> Result<(), StoreError> {
        match self.transition.kind {
            TransitionKind::Pending | TransitionKind::Dropped => return Ok(()),
            TransitionKind::Firing | TransitionKind::Resolved => {}
        }
        db.prepare_cached("INSERT INTO outbox (created_ms, body) VALUES (?1, ?2)")?
            .execute(params![received_ms, self.json(alert).to_string()])?;
        let given_up = db
            .prepare_cached(
                "UPDATE outbox SET given_up = 'too many messages wait'
                 WHERE sent_ms IS NULL AND given_up IS NULL AND id <= (
                     SELECT id FROM outbox WHERE sent_ms IS NULL AND given_up IS NULL
                     ORDER BY id DESC LIMIT 1 OFFSET ?1)",
            )?
            .execute(params![OUTBOX_WAITING_MAX])?;
        if given_up > 0 {
            tracing::warn!(cooperative = %self.cooperative, given_up, "alert message given up: too many wait");
        }
        db.prepare_cached(
            "DELETE FROM outbox WHERE id <= (
                 SELECT id FROM outbox WHERE sent_ms IS NOT NULL OR given_up IS NOT NULL
                 ORDER BY id DESC LIMIT 1 OFFSET ?1)
             AND (sent_ms IS NOT NULL OR given_up IS NOT NULL)",
        )?
        .execute(params![OUTBOX_DONE_MAX])?;
        Ok(())
    }
}
