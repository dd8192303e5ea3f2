//! What people far away asked of gateways, and what became of it: commands, and versions of orders.
//!
//! Rows come from the log before anything is sent, so what was asked is known even if nobody answered.
//! Commands are kept for good, like events; of the orders of a gateway the newest [`VERSIONS_KEPT`].

use bytes::Bytes;
use furrow_ingest_core::{Digest, GatewayKey};
use furrow_wire::{CommandOutcome, CooperativeId, GatewayId, OrdersOutcome};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::change::{AnsweredCommand, IssuedCommand, PutOrders};
use super::{ArchiveError, ArchiveReader, StoreError};

/// Versions of orders kept for each gateway, texts included: at most 2.4 MB.
pub const VERSIONS_KEPT: u64 = 50;
/// Most commands in one answer; the newest are given.
pub const COMMANDS_MAX: u32 = 100;

/// Orders as they lie in their table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdersRow {
    /// Counts up for each gateway.
    pub version: u64,
    /// When they were put, Unix milliseconds.
    pub issued_ms: i64,
    /// By whom.
    pub issued_by: String,
    /// TOML.
    pub text: String,
    /// `refused`, `on_trial`, `confirmed` or `rolled_back`; `None`: the gateway has not said.
    pub outcome: Option<String>,
    /// Why, in the gateway's words; may be empty.
    pub why: String,
    /// When the gateway said so, Unix milliseconds.
    pub outcome_ms: Option<i64>,
}

impl ArchiveReader {
    /// The newest commands for a gateway, newest first, at most [`COMMANDS_MAX`], as the API shows them.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn commands(&self, key: &GatewayKey) -> Result<Vec<Value>, ArchiveError> {
        self.shared(&key.cooperative)?.with("read", |db| {
            let mut query = db.prepare_cached(
                "SELECT id, issued_ms, issued_by, wanted, repeats, outcome, text, run, answered_ms
                 FROM command WHERE gateway = ?1 ORDER BY n DESC LIMIT ?2",
            )?;
            let mut rows = query.query(params![key.gateway.as_str(), COMMANDS_MAX])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                out.push(command_json(row)?);
            }
            Ok(out)
        })
    }

    /// Orders of a gateway: a version, or the newest; `None` if there are none.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn orders(
        &self,
        key: &GatewayKey,
        version: Option<u64>,
    ) -> Result<Option<OrdersRow>, ArchiveError> {
        self.shared(&key.cooperative)?.with("read", |db| {
            let mut query = db.prepare_cached(
                "SELECT version, issued_ms, issued_by, text, outcome, why, outcome_ms FROM orders
                 WHERE gateway = ?1 AND (?2 IS NULL OR version = ?2) ORDER BY version DESC LIMIT 1",
            )?;
            let version = version.map(u64::cast_signed);
            let row = query.query_row(params![key.gateway.as_str(), version], orders_row);
            Ok(row.optional()?)
        })
    }

    /// The newest version of each gateway of a cooperative, with its text's digest: for the start.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn newest_orders(
        &self,
        cooperative: &CooperativeId,
    ) -> Result<Vec<(GatewayId, u64, Digest)>, ArchiveError> {
        self.shared(cooperative)?.with("read", |db| {
            let mut query =
                db.prepare("SELECT gateway, MAX(version), text FROM orders GROUP BY gateway")?;
            let mut rows = query.query([])?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                let gateway = row.get::<_, String>(0)?.parse()?;
                let text: String = row.get(2)?;
                let version = row.get::<_, i64>(1)?.cast_unsigned();
                out.push((gateway, version, digest_of(&text)));
            }
            Ok(out)
        })
    }
}

/// What orders are known by.
#[must_use]
pub fn digest_of(text: &str) -> Digest {
    sha2::Sha256::digest(text.as_bytes()).into()
}

pub(super) fn insert_command(db: &Connection, issued: &IssuedCommand) -> Result<(), StoreError> {
    let command = &issued.command;
    db.prepare_cached(
        "INSERT OR IGNORE INTO command (id, gateway, issued_ms, issued_by, wanted, boot, mono_ms, repeats)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        command.id.0,
        issued.gateway.as_str(),
        issued.issued_unix_ms,
        command.issued_by,
        serde_json::to_string(&command.wanted)?,
        command.boot.0.cast_signed(),
        command.mono_ms.cast_signed(),
        issued.instead_of.map(|id| id.0),
    ])?;
    Ok(())
}

/// The first answer is final: a gateway gives the same again when it is asked again.
pub(super) fn insert_result(db: &Connection, answered: &AnsweredCommand) -> Result<(), StoreError> {
    let AnsweredCommand {
        gateway,
        received_unix_ms,
        result,
    } = answered;
    let outcome = match result.outcome {
        CommandOutcome::Accepted => "accepted",
        CommandOutcome::Refused => "refused",
        CommandOutcome::Stale => "stale",
    };
    let changed = db
        .prepare_cached(
            "UPDATE command SET outcome = ?3, text = ?4, run = ?5, answered_ms = ?6
             WHERE id = ?1 AND gateway = ?2 AND outcome IS NULL",
        )?
        .execute(params![
            result.id.0,
            gateway.as_str(),
            outcome,
            result.text,
            result.run.map(u64::cast_signed),
            received_unix_ms
        ])?;
    if changed == 0 {
        tracing::info!(%gateway, id = %result.id, "result of no command that waits for one");
    }
    Ok(())
}

pub(super) fn insert_orders(db: &Connection, put: &PutOrders) -> Result<(), StoreError> {
    let PutOrders {
        gateway,
        issued_unix_ms,
        orders,
    } = put;
    db.prepare_cached(
        "INSERT OR IGNORE INTO orders (gateway, version, issued_ms, issued_by, text)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        gateway.as_str(),
        orders.version.cast_signed(),
        issued_unix_ms,
        orders.issued_by,
        orders.text
    ])?;
    let gone = db
        .prepare_cached("DELETE FROM orders WHERE gateway = ?1 AND version <= ?2")?
        .execute(params![
            gateway.as_str(),
            orders.version.saturating_sub(VERSIONS_KEPT).cast_signed()
        ])?;
    if gone > 0 {
        tracing::info!(%gateway, gone, "oldest versions of orders dropped");
    }
    Ok(())
}

/// What the gateway says became of a version. Its events may come late and out of order, so the
/// beginning of a trial never takes the place of its end.
pub(super) fn set_outcome(
    db: &Connection,
    gateway: &GatewayId,
    version: u64,
    outcome: OrdersOutcome,
    why: &str,
    time_ms: i64,
) -> Result<(), StoreError> {
    let is_end = match outcome {
        OrdersOutcome::OnTrial => false,
        OrdersOutcome::Refused | OrdersOutcome::Confirmed | OrdersOutcome::RolledBack => true,
    };
    db.prepare_cached(
        "UPDATE orders SET outcome = ?3, why = ?4, outcome_ms = ?5
         WHERE gateway = ?1 AND version = ?2 AND (outcome IS NULL OR CASE WHEN outcome = 'on_trial'
             THEN ?6 OR outcome_ms <= ?5 ELSE ?6 AND outcome_ms <= ?5 END)",
    )?
    .execute(params![
        gateway.as_str(),
        version.cast_signed(),
        outcome.as_str(),
        why,
        time_ms,
        is_end
    ])?;
    Ok(())
}

fn command_json(row: &Row<'_>) -> Result<Value, StoreError> {
    let id = |bytes: Vec<u8>| hex(&Bytes::from(bytes));
    let wanted: Value = serde_json::from_str(&row.get::<_, String>(3)?)?;
    Ok(json!({
        "id": id(row.get(0)?),
        "issued_ms": row.get::<_, i64>(1)?,
        "issued_by": row.get::<_, String>(2)?,
        "wanted": wanted,
        "repeats": row.get::<_, Option<Vec<u8>>>(4)?.map(id),
        "outcome": row.get::<_, Option<String>>(5)?,
        "text": row.get::<_, Option<String>>(6)?,
        "run": row.get::<_, Option<i64>>(7)?,
        "answered_ms": row.get::<_, Option<i64>>(8)?,
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn orders_row(row: &Row<'_>) -> rusqlite::Result<OrdersRow> {
    Ok(OrdersRow {
        version: row.get::<_, i64>(0)?.cast_unsigned(),
        issued_ms: row.get(1)?,
        issued_by: row.get(2)?,
        text: row.get(3)?,
        outcome: row.get(4)?,
        why: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
        outcome_ms: row.get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use furrow_wire::{BootId, Command, CommandId, CommandResult, Orders, Wanted};

    use super::*;
    use crate::archive::{Archive, Change, CooperativeSetup, LiveHub, LogEntry, LogPosition};
    use crate::metrics::Metrics;

    struct Site {
        _dir: tempfile::TempDir,
        archive: Archive,
        next: u32,
    }

    fn key() -> GatewayKey {
        GatewayKey {
            cooperative: "a".parse().unwrap(),
            gateway: "g".parse().unwrap(),
        }
    }

    impl Site {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let setup = CooperativeSetup {
                id: key().cooperative,
                rules: Vec::new(),
            };
            let (live, metrics) = (LiveHub::default(), Metrics::default());
            let archive = Archive::open(dir.path(), &[setup], live, &metrics).unwrap();
            Self {
                _dir: dir,
                archive,
                next: 0,
            }
        }

        fn apply(&mut self, change: Change) {
            self.next += 1;
            let position = LogPosition {
                segment: 1,
                offset: self.next,
            };
            let changes = vec![change];
            let entry = LogEntry {
                position,
                chain: 0,
                changes,
            };
            self.archive.apply(&key().cooperative, &[entry]).unwrap();
        }

        fn put(&mut self, version: u64, text: &str) {
            let orders = Orders {
                version,
                issued_by: "hoa".into(),
                text: text.into(),
            };
            self.apply(Change::Orders(PutOrders {
                gateway: key().gateway,
                issued_unix_ms: 1,
                orders,
            }));
        }

        fn outcome_of(&self, version: u64) -> Option<(String, String)> {
            let row = self.archive.reader().orders(&key(), Some(version)).unwrap();
            row.and_then(|row| Some((row.outcome?, row.why)))
        }
    }

    fn command(id: u8) -> Command {
        Command {
            id: CommandId([id; 16]),
            boot: BootId(3),
            mono_ms: 77,
            issued_by: "hoa".into(),
            wanted: Wanted::Release,
        }
    }

    fn result(id: u8, outcome: CommandOutcome, text: &str) -> CommandResult {
        CommandResult {
            id: CommandId([id; 16]),
            outcome,
            text: text.into(),
            boot: BootId(3),
            at_mono_ms: 78,
            run: Some(4),
        }
    }

    #[test]
    fn a_command_keeps_its_first_answer_from_its_own_gateway() {
        let mut site = Site::new();
        let issued = |id, instead_of| {
            Change::Command(IssuedCommand {
                gateway: key().gateway,
                issued_unix_ms: 10,
                instead_of,
                command: command(id),
            })
        };
        let answered = |gateway: &str, outcome, text| {
            Change::Result(AnsweredCommand {
                gateway: gateway.parse().unwrap(),
                received_unix_ms: 20,
                result: result(1, outcome, text),
            })
        };
        site.apply(issued(1, None));
        site.apply(issued(2, Some(CommandId([1; 16]))));
        site.apply(issued(1, None));
        site.apply(answered("other", CommandOutcome::Accepted, "not mine"));
        site.apply(answered("g", CommandOutcome::Refused, "tank is empty"));
        site.apply(answered("g", CommandOutcome::Accepted, "again"));
        let (first, second) = ("01".repeat(16), "02".repeat(16));
        let expected = json!([
            { "id": second, "issued_ms": 10, "issued_by": "hoa", "wanted": { "kind": "release" },
              "repeats": first, "outcome": null, "text": null, "run": null, "answered_ms": null },
            { "id": first, "issued_ms": 10, "issued_by": "hoa", "wanted": { "kind": "release" },
              "repeats": null, "outcome": "refused", "text": "tank is empty", "run": 4, "answered_ms": 20 },
        ]);
        let found = site.archive.reader().commands(&key()).unwrap();
        assert_eq!(Value::from(found), expected);
    }

    #[test]
    fn the_newest_versions_are_kept() {
        let mut site = Site::new();
        for version in 1..=VERSIONS_KEPT + 2 {
            site.put(version, &format!("# {version}"));
        }
        site.put(VERSIONS_KEPT + 2, "# again, which changes nothing");
        let reader = site.archive.reader();
        let version_of = |wanted| {
            reader
                .orders(&key(), wanted)
                .unwrap()
                .map(|row| row.version)
        };
        assert_eq!(version_of(None), Some(52));
        assert_eq!(version_of(Some(3)), Some(3));
        assert_eq!(version_of(Some(2)), None);
        assert_eq!(
            reader.newest_orders(&key().cooperative).unwrap(),
            [(key().gateway, 52, digest_of("# 52"))]
        );
    }

    #[test]
    fn late_words_about_a_trial_do_not_replace_its_end() {
        use OrdersOutcome::{Confirmed, OnTrial, RolledBack};
        // What the gateway said and when, in the order in which it arrived, and what is shown then.
        for (said, expected) in [
            (&[(OnTrial, 5)][..], "on_trial"),
            (&[(OnTrial, 5), (Confirmed, 9)], "confirmed"),
            (&[(Confirmed, 9), (OnTrial, 5)], "confirmed"),
            // Its clock was set back during the trial.
            (&[(OnTrial, 5), (RolledBack, 3)], "rolled_back"),
            (&[(Confirmed, 9), (RolledBack, 12)], "rolled_back"),
            (&[(RolledBack, 12), (Confirmed, 9)], "rolled_back"),
        ] {
            let mut site = Site::new();
            site.put(1, "# one");
            assert_eq!(site.outcome_of(1), None);
            let store = |outcome: OrdersOutcome, at_ms| {
                site.archive.with_db(&key().cooperative, |db| {
                    set_outcome(db, &key().gateway, 1, outcome, outcome.as_str(), at_ms).unwrap();
                });
            };
            for (outcome, at_ms) in said {
                store(*outcome, *at_ms);
            }
            let expected = Some((expected.to_owned(), expected.to_owned()));
            assert_eq!(site.outcome_of(1), expected, "{said:?}");
        }
    }
}
