//! A simulated season: months of weather, crops and faults on three greenhouses, watered by rules, and the
//! same season under a fixed schedule beside it.
//!
//! | module | owns |
//! |---|---|
//! | [`site`] | the greenhouses: configuration files, soils, crops, what a timer would be set to |
//! | [`gateway`], [`field`] | the gateway without threads, journal and link: its configuration, drivers, sampling, quality, derived channels and irrigation, as they ship |
//! | [`faults`] | what breaks, when it shows, within what time it has to be told |
//! | [`checker`] | interlocks, judged by the simulated plumbing alone |
//! | [`mod@play`] | one greenhouse through a season |
//! | [`report`] | the figures |
//!
//! Everything runs in one thread a greenhouse, without sockets or sleeps: the same seed does the same.

mod checker;
mod faults;
mod field;
mod gateway;
mod play;
mod report;
mod site;

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use report::{Report, Side};
use site::{SITES, Way};

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Season {
    /// Decides weather and faults.
    pub seed: u64,
    /// Days, 1 to 120.
    pub days: u32,
    /// Something breaks in each greenhouse every so many days, 1 to 30.
    pub fault_every_days: u32,
}

/// Plays a season, both ways, on as many threads as there are processors.
///
/// # Errors
/// A greenhouse that can't be set up.
pub fn play(season: Season) -> anyhow::Result<Report> {
    let plan = faults::sow(season, SITES.len());
    let tasks: Vec<(usize, Way)> = [Way::Rules, Way::Schedule]
        .into_iter()
        .flat_map(|way| (0..SITES.len()).map(move |site| (site, way)))
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((at, way)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (Some(site), Some(sown)) = (SITES.get(*at), plan.get(*at)) else {
                        return;
                    };
                    let number = u64::try_from(*at).unwrap_or_default();
                    let played = play::play(site, *way, season, number, sown);
                    if let Ok(mut done) = done.lock() {
                        done.push((*at, *way, played));
                    }
                }
            });
        }
    });
    let mut all = done.into_inner().unwrap_or_default();
    all.sort_by_key(|(at, way, _)| (*at, *way));
    let mut played = Vec::new();
    for (_, way, one) in all {
        played.push((way, one?));
    }
    Ok(Report::of(season, played))
}
