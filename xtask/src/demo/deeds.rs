//! What can be done to the farm, and what the books say after it.

use std::time::Duration;

use anyhow::Context;
use furrow_tests::delivery::{drained_books, settled_books};
use furrow_tests::process::pause;
use furrow_tests::site::Site;

use super::farm::Farm;
use crate::say;

/// How long the books may take to balance after a deed.
const SETTLE: Duration = Duration::from_secs(30);
/// How long ingest stays away when it is killed.
const INGEST_AWAY: Duration = Duration::from_secs(3);
/// How long a `water` may take beyond its own time: opening, closing, talking.
const WATER_MARGIN: Duration = Duration::from_secs(60);

/// Prints the books, once nothing waits.
pub(super) fn say_books(farm: &Farm) -> anyhow::Result<()> {
    say!("{}", drained_books(&farm.sites, &farm.apis(), SETTLE)?);
    Ok(())
}

/// Unplugs the inside sensor of the first greenhouse for a minute.
pub(super) fn unplug(farm: &Farm) -> anyhow::Result<()> {
    first(farm)?.fault(&["unplug", "sht-inside", "--for", "60s"])?;
    say!("sht-inside of the first greenhouse is unplugged for 60 s");
    say_books(farm)
}

/// Cuts every gateway's link for a while.
pub(super) fn cut_link(farm: &Farm, away: Duration) -> anyhow::Result<()> {
    farm.link.cut();
    say!("the link is cut for {} s", away.as_secs());
    pause(away);
    say!("{}", settled_books(&farm.sites, &farm.apis(), SETTLE)?);
    farm.link.mend();
    say!("the link is mended");
    say_books(farm)
}

/// Kills ingest and starts it again.
pub(super) fn kill_ingest(farm: &mut Farm) -> anyhow::Result<()> {
    farm.ingest.kill()?;
    say!(
        "ingest is killed; it comes back in {} s",
        INGEST_AWAY.as_secs()
    );
    pause(INGEST_AWAY);
    farm.ingest.restart()?;
    say!("ingest is back");
    say_books(farm)
}

/// Kills the first gateway and starts it again.
pub(super) fn kill_gateway(farm: &mut Farm) -> anyhow::Result<()> {
    let site = farm.sites.first_mut().context("no greenhouse")?;
    site.kill_gateway()?;
    site.start_gateway()?;
    say!("the first gateway was killed and is started again");
    say_books(farm)
}

/// Heats the first greenhouse.
pub(super) fn heat(farm: &Farm) -> anyhow::Result<()> {
    first(farm)?.fault(&["heat", "+15", "--for", "5m"])?;
    say!("the first greenhouse is heated by 15 °C for 5 minutes");
    say_books(farm)
}

/// Waters the first zone of the first greenhouse.
pub(super) fn water(farm: &Farm, time: &str) -> anyhow::Result<()> {
    let site = first(farm)?;
    let mut command = site.start_command(&["water", "--zone", "zone-1", "--for", time])?;
    let seconds: u64 = time
        .trim_end_matches('s')
        .parse()
        .context("read the watering time")?;
    say!("watering zone-1 of the first greenhouse for {time}");
    let status = command.wait(Duration::from_secs(seconds) + WATER_MARGIN)?;
    anyhow::ensure!(
        status.success(),
        "watering ended with {status}:\n{}",
        command.log_tail()
    );
    say!("{}", command.log_tail().lines().last().unwrap_or_default());
    say_books(farm)
}

fn first(farm: &Farm) -> anyhow::Result<&Site> {
    farm.sites.first().context("no greenhouse")
}
