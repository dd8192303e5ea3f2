//! The end: everything drains undisturbed, gateways stop, and both sides are compared.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::delivery::{Books, settled_books};
use furrow_tests::fleet::{Arrived, number};
use furrow_tests::process::{pause, until};
use furrow_tests::records::{Archived, Compared};

use super::world::{FLEET, World, tell};

/// How long draining may take in all: re-offers pause for up to 5 minutes.
const PATIENCE: Duration = Duration::from_secs(420);
/// Between two attempts: acknowledgements and the archive are a second behind.
const BREATH: Duration = Duration::from_secs(5);
/// How long the archive may be behind ingest's log.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(20);

/// What came out.
pub(super) struct Verdict {
    pub(super) books: Books,
    pub(super) compared: Compared,
    /// What the fleet heard to be acknowledged.
    fleet_acknowledged: u64,
    fleet: Arrived,
}

impl Verdict {
    /// Whether every journalled reading is in the archive, once and as it was.
    pub(super) fn holds(&self) -> bool {
        self.books.balance()
            && self.books.waiting == 0
            && self.books.stored > 0
            && self.compared.is_perfect()
            && self.fleet_acknowledged > 0
            && self.fleet.stored == self.fleet_acknowledged
            && self.fleet.twice == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrived { stored, twice, .. } = self.fleet;
        writeln!(f, "reading by reading: {}", self.compared)?;
        write!(
            f,
            "fleet: acknowledged {}, stored {stored}, twice {twice}",
            self.fleet_acknowledged
        )
    }
}

/// Drains, stops and compares.
pub(super) fn judge(world: &mut World, folder: &Path, begin: Instant) -> anyhow::Result<Verdict> {
    let books = drain(world, begin)?;
    tell(begin, &format!("{books}"));
    let totals = world.fleet.wait(PATIENCE)?;
    let fleet_acknowledged = number(&totals, "acknowledged")?;
    let fleet = fleet_arrived(world, fleet_acknowledged)?;
    let export = folder.join("export.csv");
    let [(cooperative, _)] = world.apis();
    world.ingest.export(&cooperative, &export)?;
    let archived = Archived::read(&export)?;
    let mut compared = Compared::default();
    for site in &world.sites {
        let decoded = site.ask_gateway(&["journal", "--decode"])?;
        let one = archived.compare(&site.config.greenhouse, &decoded)?;
        compared.add(one);
        if !one.is_perfect() {
            std::fs::write(site.folder().join("journal.jsonl"), decoded)
                .context("keep the journal's records")?;
            tell(begin, &format!("{}: {one}", site.config.gateway));
        }
    }
    world.ingest.stop()?;
    Ok(Verdict {
        books,
        compared,
        fleet_acknowledged,
        fleet,
    })
}

/// What has arrived of the fleet, when that is all or the time for it is over.
fn fleet_arrived(world: &World, acknowledged: u64) -> anyhow::Result<Arrived> {
    let end = Instant::now() + ARCHIVE_PATIENCE;
    loop {
        let arrived = Arrived::read(&world.fleet_api(), FLEET)?;
        if arrived.stored == acknowledged || Instant::now() >= end {
            return Ok(arrived);
        }
        pause(Duration::from_millis(500));
    }
}

/// Stops the gateways, which drains them as far as a stop does; those that still hold something run
/// again for a while.
fn drain(world: &mut World, begin: Instant) -> anyhow::Result<Books> {
    let end = Instant::now() + PATIENCE;
    until(PATIENCE, || {
        world.supervise(begin)?;
        let is_ready = world.ingest.api("").is_ready();
        Ok(is_ready.then_some(()))
    })
    .context("wait for ingest")?;
    loop {
        let breathed = Instant::now() + BREATH;
        while Instant::now() < breathed {
            world.supervise(begin)?;
            pause(Duration::from_millis(100));
        }
        for site in &mut world.sites {
            site.stop_gateway()?;
        }
        let apis = world.apis();
        let books = settled_books(&world.sites, &apis, ARCHIVE_PATIENCE)?;
        if (books.balance() && books.waiting == 0) || Instant::now() >= end {
            return Ok(books);
        }
        tell(begin, &format!("{books}: once more"));
        for site in &mut world.sites {
            site.start_gateway()?;
        }
    }
}
