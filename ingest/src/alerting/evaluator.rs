//! The machines of one cooperative, their rows, and the outbox.
//!
//! State is kept per greenhouse, in one row that is rewritten when one of its machines was fed. A rule that is
//! no longer configured, or whose condition changed, ends its alerts: the machine starts anew.

use std::collections::BTreeMap;
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
    /// What a rule says, as it is stored beside its machines, so that a changed rule is noticed.
    prints: Vec<Value>,
    greenhouses: BTreeMap<GreenhouseId, Place>,
    /// Greenhouses that were fed and are not written yet.
    dirty: Vec<GreenhouseId>,
    transitions: u64,
    ignored: u64,
    live: Vec<LiveMessage>,
}

/// The machines of a greenhouse.
#[derive(Debug, Default)]
struct Place {
    /// By ascending device and channel.
    series: Vec<SeriesWatches>,
    is_dirty: bool,
}

/// The machines of one series.
#[derive(Debug)]
struct SeriesWatches {
    device: DeviceId,
    channel: ChannelName,
    watches: Vec<Watch>,
}

#[derive(Debug, Clone, Default)]
struct Watch {
    /// Index in the rules.
    rule: usize,
    machine: Machine,
    /// Row of the open alert.
    alert: Option<i64>,
}

/// A [`Watch`] as it is read.
#[derive(Debug, Deserialize)]
struct Stored {
    rule_id: RuleId,
    device: DeviceId,
    channel: ChannelName,
    rule: Value,
    alert: Option<i64>,
    machine: Machine,
}

/// A [`Watch`] as it is stored. Written for every greenhouse in every transaction: nothing is copied for it.
#[derive(Debug, Serialize)]
struct Kept<'a> {
    rule_id: &'a RuleId,
    device: &'a DeviceId,
    channel: &'a ChannelName,
    rule: &'a Value,
    alert: Option<i64>,
    machine: &'a Machine,
}

impl Place {
    /// The machines of a series, made if it is new.
    fn of(&mut self, device: &DeviceId, channel: &ChannelName) -> &mut Vec<Watch> {
        let found = self
            .series
            .binary_search_by(|one| (&one.device, &one.channel).cmp(&(device, channel)));
        let at = match found {
            Ok(at) => at,
            Err(at) => {
                let new = SeriesWatches {
                    device: device.clone(),
                    channel: channel.clone(),
                    watches: Vec::new(),
                };
                self.series.insert(at, new);
                at
            }
        };
        &mut self
            .series
            .get_mut(at)
            .expect("it was found or put there")
            .watches
    }
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
            prints: rules.iter().map(|rule| rule_print(&rule.rule)).collect(),
            rules,
            greenhouses: BTreeMap::new(),
            dirty: Vec::new(),
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
        let series = watched.series;
        if !self.greenhouses.contains_key(&series.greenhouse) {
            let greenhouse = series.greenhouse.clone();
            self.greenhouses.insert(greenhouse, Place::default());
        }
        let Some(place) = self.greenhouses.get_mut(&series.greenhouse) else {
            return Ok(());
        };
        if !place.is_dirty {
            place.is_dirty = true;
            self.dirty.push(series.greenhouse.clone());
        }
        let watches = place.of(&series.device, &series.channel);
        for index in watched.rules {
            let Some(rule) = self.rules.get(*index) else {
                continue;
            };
            let at = watches.iter().position(|watch| watch.rule == *index);
            let at = at.unwrap_or_else(|| {
                watches.push(Watch {
                    rule: *index,
                    ..Watch::default()
                });
                watches.len() - 1
            });
            let Some(watch) = watches.get_mut(at) else {
                continue;
            };
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
        Ok(())
    }

    /// Writes the state of greenhouses that were fed, and counts what happened since the last call.
    pub(crate) fn save(
        &mut self,
        db: &Connection,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        for greenhouse in std::mem::take(&mut self.dirty) {
            let Some(place) = self.greenhouses.get_mut(&greenhouse) else {
                continue;
            };
            place.is_dirty = false;
            let stored: Vec<Kept<'_>> = place
                .series
                .iter()
                .flat_map(|series| series.watches.iter().map(move |watch| (series, watch)))
                .filter_map(|(series, watch)| {
                    Some(Kept {
                        rule_id: &self.rules.get(watch.rule)?.id,
                        device: &series.device,
                        channel: &series.channel,
                        rule: self.prints.get(watch.rule)?,
                        alert: watch.alert,
                        machine: &watch.machine,
                    })
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
        let series = SeriesId {
            greenhouse: greenhouse.clone(),
            device: stored.device,
            channel: stored.channel,
        };
        let mut rules = self.rules.iter().zip(&self.prints);
        let same = rules.position(|(rule, print)| {
            rule.id == stored.rule_id && rule.matches(&series) && *print == stored.rule
        });
        if let Some(rule) = same {
            let watch = Watch {
                rule,
                machine: stored.machine,
                alert: stored.alert,
            };
            let place = self.greenhouses.entry(greenhouse.clone()).or_default();
            place.of(&series.device, &series.channel).push(watch);
            return Ok(());
        }
        let Some(alert) = stored.alert else {
            return Ok(());
        };
        tracing::info!(rule = %stored.rule_id, %series, "alert ended: its rule was changed or removed");
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
