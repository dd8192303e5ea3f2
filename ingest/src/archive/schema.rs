//! The tables of one cooperative's file, and connections to it.
//!
//! Rows of `chunk` and `minutes` are only ever appended, in the order in which windows close, so their pages are
//! full; an index finds them. `pending` and `part` are short-lived and ordered by their keys. So is `rollup`, which is
//! small: a month of one series lies in a few pages next to each other.

use std::path::Path;
use std::time::Duration;

use furrow_wire::CooperativeId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::StoreError;

/// Version of the tables below, in `PRAGMA user_version`.
const SCHEMA_VERSION: i64 = 2;
/// How long a connection waits for another one's write: sends of the outbox take microseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A chart touches rows all over the file: with larger pages they are fewer reads, and blobs waste less at their ends.
const PAGE_BYTES: i64 = 16_384;
/// Page cache of the writer in KiB: a thousand cooperatives must fit one machine.
const WRITER_CACHE_KIB: i64 = 1024;
/// More of it for each greenhouse: the page that its next batch goes to. Without it a batch costs reading a page and
/// writing another one.
const WRITER_CACHE_PER_PLACE_KIB: i64 = PAGE_BYTES / 1024;
/// For a thousand greenhouses, ten times those of a large cooperative.
const WRITER_CACHE_MAX_KIB: i64 = WRITER_CACHE_KIB + 1000 * WRITER_CACHE_PER_PLACE_KIB;
/// Statements kept prepared on a connection; there are fewer in the program.
const STATEMENTS_KEPT: usize = 64;
/// Largest WAL file kept after a checkpoint, in bytes.
const WAL_KEPT_BYTES: i64 = 8 << 20;

const TABLES: &str = "
CREATE TABLE about (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    cooperative TEXT NOT NULL,
    segment     INTEGER,
    position    INTEGER
);
CREATE TABLE place (
    id         INTEGER PRIMARY KEY,
    greenhouse TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL DEFAULT '',
    gateway    TEXT NOT NULL DEFAULT '',
    zones      TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE series (
    id          INTEGER PRIMARY KEY,
    greenhouse  TEXT NOT NULL,
    device      TEXT NOT NULL,
    channel     TEXT NOT NULL,
    unit        TEXT NOT NULL,
    exponent    INTEGER NOT NULL,
    first_exponent INTEGER NOT NULL,
    interval_ms INTEGER NOT NULL,
    window_ms   INTEGER NOT NULL,
    device_name TEXT NOT NULL,
    channel_name TEXT NOT NULL,
    newest_ms   INTEGER,
    newest      INTEGER,
    quality     INTEGER,
    good_ms     INTEGER,
    good        INTEGER,
    UNIQUE (greenhouse, device, channel)
);
CREATE TABLE pending (
    place INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    body  BLOB NOT NULL,
    PRIMARY KEY (place, n)
) WITHOUT ROWID;
CREATE TABLE part (
    series INTEGER NOT NULL,
    window INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    body   BLOB NOT NULL,
    PRIMARY KEY (series, window, n)
) WITHOUT ROWID;
CREATE TABLE chunk (
    id     INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    window INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    body   BLOB NOT NULL,
    UNIQUE (series, window)
);
CREATE TABLE minutes (
    id     INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    window INTEGER NOT NULL,
    body   BLOB NOT NULL,
    UNIQUE (series, window)
);
CREATE TABLE rollup (
    series   INTEGER NOT NULL,
    level_ms INTEGER NOT NULL,
    window   INTEGER NOT NULL,
    body     BLOB NOT NULL,
    PRIMARY KEY (series, level_ms, window)
) WITHOUT ROWID;
CREATE TABLE event (
    id          INTEGER PRIMARY KEY,
    stream      INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    greenhouse  TEXT NOT NULL,
    gateway     TEXT NOT NULL,
    time_ms     INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    zone        TEXT,
    planting    TEXT,
    device      TEXT,
    run         INTEGER,
    cause       TEXT,
    open_ms     INTEGER,
    millilitres INTEGER,
    reason      TEXT,
    text        TEXT,
    UNIQUE (stream, seq, n)
);
CREATE INDEX event_by_time ON event (greenhouse, time_ms);
CREATE TABLE gap (
    id         INTEGER PRIMARY KEY,
    greenhouse TEXT NOT NULL,
    gateway    TEXT NOT NULL,
    stream     INTEGER NOT NULL,
    from_seq   INTEGER NOT NULL,
    to_seq     INTEGER NOT NULL,
    readings   INTEGER NOT NULL,
    since_ms   INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    text       TEXT NOT NULL,
    UNIQUE (stream, from_seq, to_seq)
);
CREATE INDEX gap_by_greenhouse ON gap (greenhouse);
CREATE TABLE dead (
    id          INTEGER PRIMARY KEY,
    gateway     TEXT NOT NULL,
    stream      INTEGER,
    seq         INTEGER,
    received_ms INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    body        BLOB
);
CREATE TABLE damaged (
    id     INTEGER PRIMARY KEY,
    what   TEXT NOT NULL,
    reason TEXT NOT NULL,
    body   BLOB NOT NULL
);
CREATE TABLE parked (
    stream      INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    gateway     TEXT NOT NULL,
    waits_for   TEXT NOT NULL,
    waits_id    INTEGER,
    received_ms INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
CREATE TABLE catalog (
    gateway     TEXT NOT NULL,
    hash        INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (gateway, hash)
) WITHOUT ROWID;
CREATE TABLE mapping (
    gateway     TEXT NOT NULL,
    boot        INTEGER NOT NULL,
    offset_ms   INTEGER NOT NULL,
    error_ms    INTEGER NOT NULL,
    state       TEXT NOT NULL,
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (gateway, boot)
) WITHOUT ROWID;
CREATE TABLE alert (
    id          INTEGER PRIMARY KEY,
    rule        TEXT NOT NULL,
    severity    TEXT NOT NULL,
    greenhouse  TEXT NOT NULL,
    device      TEXT NOT NULL,
    channel     TEXT NOT NULL,
    state       TEXT NOT NULL,
    started_ms  INTEGER NOT NULL,
    fired_ms    INTEGER,
    ended_ms    INTEGER,
    value       REAL,
    limit_value REAL
);
CREATE INDEX alert_by_time ON alert (greenhouse, started_ms);
CREATE TABLE alert_state (
    greenhouse TEXT PRIMARY KEY,
    body       TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    body       TEXT NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    sent_ms    INTEGER,
    given_up   TEXT
);
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_ms IS NULL AND given_up IS NULL;
";

/// Tables that came later. A program that does not know them goes on without.
const LATER_TABLES: &str = "
CREATE TABLE IF NOT EXISTS missing (
    gateway    TEXT NOT NULL,
    stream     INTEGER NOT NULL,
    from_seq   INTEGER NOT NULL,
    to_seq     INTEGER NOT NULL,
    greenhouse TEXT NOT NULL,
    since_ms   INTEGER NOT NULL,
    gone_ms    INTEGER,
    PRIMARY KEY (gateway, stream, from_seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS applied (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    segment  INTEGER NOT NULL,
    position INTEGER NOT NULL,
    chain    INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS command (
    n           INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE,
    gateway     TEXT NOT NULL,
    issued_ms   INTEGER NOT NULL,
    issued_by   TEXT NOT NULL,
    wanted      TEXT NOT NULL,
    boot        INTEGER NOT NULL,
    mono_ms     INTEGER NOT NULL,
    repeats     BLOB,
    outcome     TEXT,
    text        TEXT,
    run         INTEGER,
    answered_ms INTEGER
);
CREATE INDEX IF NOT EXISTS command_by_gateway ON command (gateway, n);
CREATE TABLE IF NOT EXISTS given_up (
    series INTEGER NOT NULL,
    window INTEGER NOT NULL,
    PRIMARY KEY (series, window)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS swept (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    turn INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (
    n          INTEGER PRIMARY KEY,
    gateway    TEXT NOT NULL,
    version    INTEGER NOT NULL,
    issued_ms  INTEGER NOT NULL,
    issued_by  TEXT NOT NULL,
    text       TEXT NOT NULL,
    outcome    TEXT,
    why        TEXT,
    outcome_ms INTEGER,
    UNIQUE (gateway, version)
);
";

/// Opens or creates a cooperative's file for its one writer.
pub(super) fn open_writer(path: &Path, owner: &CooperativeId) -> Result<Connection, StoreError> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Takes effect only while the file is empty.
    db.pragma_update(None, "page_size", PAGE_BYTES)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // The log is the durable commit point and the position stands in the same transaction.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    let version = schema_version(&db)?;
    if version == 0 {
        let create = db.transaction()?;
        create.execute_batch(TABLES)?;
        create.execute(
            "INSERT INTO about (one, cooperative) VALUES (1, ?1)",
            params![owner.as_str()],
        )?;
        create.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        create.commit()?;
    } else if version != SCHEMA_VERSION {
        return Err(StoreError::Schema {
            found: version,
            known: SCHEMA_VERSION,
        });
    }
    check_owner(&db, owner)?;
    db.execute_batch(LATER_TABLES)?;
    Ok(db)
}

/// Sizes the writer's page cache for so many greenhouses.
pub(super) fn size_cache(db: &Connection, places: usize) -> Result<(), StoreError> {
    let places = i64::try_from(places).unwrap_or(i64::MAX);
    let kib = WRITER_CACHE_KIB.saturating_add(places.saturating_mul(WRITER_CACHE_PER_PLACE_KIB));
    db.pragma_update(None, "cache_size", -kib.min(WRITER_CACHE_MAX_KIB))?;
    Ok(())
}

/// Opens an existing file for reading; the outbox's sender may write its own marks.
pub(super) fn open_reader(path: &Path, owner: &CooperativeId) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    db.pragma_update(None, "synchronous", "NORMAL")?;
    let version = schema_version(&db)?;
    if version != SCHEMA_VERSION {
        return Err(StoreError::Schema {
            found: version,
            known: SCHEMA_VERSION,
        });
    }
    check_owner(&db, owner)?;
    Ok(db)
}

fn schema_version(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// A file that was copied under another name would show one cooperative's data to another.
fn check_owner(db: &Connection, owner: &CooperativeId) -> Result<(), StoreError> {
    let found: Option<String> = db
        .query_row("SELECT cooperative FROM about", [], |row| row.get(0))
        .optional()?;
    if found.as_deref() == Some(owner.as_str()) {
        return Ok(());
    }
    Err(StoreError::Owner {
        found: found.unwrap_or_default(),
    })
}
