//! The end: everything drains undisturbed, gateways stop, and both sides are compared.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use furrow_tests::delivery::{Books, settled_books};
use furrow_tests::process::{pause, until};
use furrow_tests::records::{Archived, Compared};

use super::world::{World, tell};

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
}

impl Verdict {
    /// Whether every journalled reading is in the archive, once and as it was.
    pub(super) fn holds(&self) -> bool {
        self.books.balance()
            && self.books.waiting == 0
            && self.books.stored > 0
            && self.compared.is_perfect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reading by reading: {}", self.compared)
    }
}

/// Drains, stops and compares.
pub(super) fn judge(world: &mut World, folder: &Path, begin: Instant) -> anyhow::Result<Verdict> {
    let books = drain(world, begin)?;
    tell(begin, &format!("{books}"));
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
    Ok(Verdict { books, compared })
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
