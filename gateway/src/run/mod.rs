//! `run`: the gateway itself.
//!
//! | module | owns |
//! |---|---|
//! | [`event_loop`] | the order of work, signals, the end |
//! | [`gateway`] | all parts together |
//! | [`asked`], [`birth`], [`wall`] | its answers at the control socket, its birth, its wall time |
//! | [`sampling`], [`latest`] | ticks to samples to batches; the last of each channel |
//! | [`measuring`], [`calibrating`] | readings that people ask for; calibrations taken up while running |
//! | [`dispatch`] | one job at a time for each bus |
//! | [`watering`], [`waterworks`], [`told`] | the irrigation core's commands; what it tells, as it is journalled |
//! | [`commanded`], [`ordered`] | commands from afar; plantings and rules from ingest |
//! | [`water_watch`], [`buttons`] | who waits for a run; buttons at the gateway |
//! | [`alarming`], [`watched`], [`horn`] | alarms, the samples that they look at, siren and beacon |
//! | [`records`] | records on their way into the journal |
//! | [`store`], [`journal_thread`] | the journal, on its own thread |
//! | [`quiet`] | failures that repeat are said at a bounded rate |
//! | [`space`] | what goes when there is no space |
//! | [`delivery`] | the outbox's commands, between journal and link |
//! | [`report`] | what the gateway tells of itself |
//! | [`time`], [`notify`] | the loop's place on the field clock; systemd |

mod alarming;
pub mod answer;
pub mod asked;
mod birth;
pub mod buttons;
mod calibrating;
mod commanded;
pub mod delivery;
pub mod dispatch;
pub mod event_loop;
pub mod gateway;
pub mod horn;
mod jobs;
pub mod journal_thread;
pub mod latest;
pub mod measuring;
pub mod notify;
pub mod ordered;
pub mod quiet;
pub mod records;
pub mod report;
pub mod sampling;
pub mod space;
pub mod store;
pub mod surveying;
pub mod time;
mod told;
mod wall;
pub mod watched;
pub mod water_watch;
pub mod watering;
mod waterworks;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use furrow_gateway_core::FieldMs;
use furrow_gateway_core::clock::Clock;
use furrow_gateway_core::outbox::{Options, Outbox};
use furrow_gateway_core::recovery::Recovered;
use furrow_gateway_core::state::LocalState;
use furrow_journal::FileDisk;
use furrow_wire::{BootId, Loss, StreamId, Topic, TopicKind};
use rand::RngExt;

use self::alarming::Alarming;
use self::delivery::Delivery;
use self::event_loop::{End, EventLoop};
use self::gateway::{Gateway, Parts};
use self::journal_thread::JournalThread;
use self::ordered::Ordered;
use self::records::Records;
use self::sampling::Sampling;
use self::store::Store;
use self::time::FieldWait;
use self::watering::Watering;
use crate::bus::Field;
use crate::calibrations::{self, Calibrations, Scales};
use crate::config::{LocalFile, Settings};
use crate::control::server::Control;
use crate::devices::Devices;
use crate::link::{Link, Target};
use crate::page::Page;

/// Largest segment of the journal, in bytes. A start holds one in memory, and when the cap is
/// reached one goes at once.
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024;
/// Segments that the cap is divided into at least.
const SEGMENTS_MIN: u64 = 16;
/// Share of the cap that acknowledged segments may take, for an ingest that was restored.
const KEEP_SHARE: u64 = 4;

/// A commit that falls on the moment of sending has this long to be durable, and goes along.
const COMMIT_SLACK: Duration = Duration::from_millis(500);

/// Runs the gateway until it is asked to stop, or simulated time ends.
///
/// # Errors
/// What can't be opened, or that the simulator went away.
pub async fn run(local: LocalFile, own: Settings) -> anyhow::Result<()> {
    let settings = Arc::new(own.clone());
    let (store, recovered, options) = open_journal(&settings)?;
    let calibrations = load_calibrations(&settings);
    let field = open_field(&settings).await?;
    let clock = field.clock().clone();
    let wait = FieldWait::new(&clock);
    let control = Control::listen(&settings.gateway().control_socket())
        .context("listen at the control socket")?;
    let page = open_page(&settings, &control).await;
    let (devices, results) = Devices::start(&settings, &field)?;
    let now = clock.now();
    let at = FieldMs(now.mono_ms());
    let boot = BootId(now.boot);
    let Recovered {
        outbox,
        state,
        mappings,
        held,
        frontier_ms,
        damaged,
        ..
    } = recovered;
    let link = Link::start(target(&settings, state.last_wall.map(|wall| wall.unix_ms)))?;
    let mut core_clock = Clock::new(
        boot,
        at,
        mappings.get(&boot).copied(),
        held.iter().any(|held| held.boot == boot),
    );
    let adopted = core_clock.handle_clock(at, now.wall_unix_ms);
    let stream = StreamId(rand::rng().random());
    let (clean_stop, phase_ms) = (state.clean_stop, state.phase_ms);
    let (ordered, settings) =
        Ordered::load(local, own, now.mono_ms()).context("start the thread that writes orders")?;
    let settings = Arc::new(settings);
    let watering = Watering::new(&settings, state.irrigation.clone(), now);
    let alarming = Alarming::start(&settings, &field, at)?;
    let mut records = records_of(stream, state, &damaged);
    if let Some(mapping) = adopted.and_then(|adopted| adopted.mapping) {
        records.mapping(&mapping);
    }
    let scales = scales_of(&settings, calibrations.as_ref());
    let offset_ms = core_clock.offset_ms();
    let sampling = Sampling::new(&settings, scales, at, offset_ms, frontier_ms, phase_ms);
    let parts = Parts {
        calibrations,
        clock: core_clock,
        sampling,
        watering,
        ordered,
        alarming,
        records,
        delivery: Delivery::new(outbox, link),
        devices,
        fill: store.fill(),
        journal: JournalThread::start(store).context("start the journal thread")?,
        field: clock.clone(),
        held_boots: held,
        segment_bytes: options.segment_bytes,
        settings,
    };
    let gateway = Gateway::new(parts, clean_stop);
    tracing::info!(%stream, boot = %boot, "gateway is running");
    let event_loop =
        EventLoop::new(gateway, results, control, clock, wait).context("take over the signals")?;
    let end = event_loop.run().await;
    drop(page);
    end_of(end)
}

fn records_of(stream: StreamId, state: LocalState, damaged: &[Loss]) -> Records {
    let mut records = Records::new(stream, state);
    for loss in damaged {
        records.loss(loss);
    }
    records
}

fn scales_of(settings: &Settings, calibrations: Option<&Calibrations>) -> Option<Scales> {
    calibrations.map(|calibrations| Scales::new(settings, calibrations))
}

fn end_of(end: End) -> anyhow::Result<()> {
    match end {
        End::Asked | End::Finished => Ok(()),
        End::FieldLost(why) => bail!("the field is lost: {why}"),
    }
}

/// Water and readings go on without it.
async fn open_page(settings: &Settings, control: &Control) -> Option<Page> {
    let wanted = settings.page()?;
    match Page::listen(wanted, control.asker()).await {
        Ok(page) => {
            tracing::info!(address = %page.address(), "the page on the gateway is open");
            Some(page)
        }
        Err(error) => {
            let (error, listen) = (&error as &dyn std::error::Error, wanted.listen);
            tracing::error!(error, %listen, "there is no page: the address can't be listened at");
            None
        }
    }
}

/// Water and readings go on without them, but nobody may trust the readings.
fn load_calibrations(settings: &Settings) -> Option<Calibrations> {
    match calibrations::load(&settings.gateway().state_dir) {
        Ok(calibrations) => Some(calibrations),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                "the calibrations can't be read: every value is suspect"
            );
            None
        }
    }
}

fn open_journal(
    settings: &Settings,
) -> anyhow::Result<(Store<FileDisk>, Recovered, furrow_journal::Options)> {
    let folder = settings.gateway().journal_dir();
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let options = journal_options(settings.journal().cap_bytes);
    let outbox = Outbox::new(Options {
        send_interval_ms: wait_for_company_ms(
            settings.mqtt().send_interval,
            settings.journal().commit_interval,
        ),
        live_places: settings.mqtt().live_packets,
        seed: rand::rng().random(),
    });
    let disk = FileDisk::open(&folder).with_context(|| format!("open {}", folder.display()))?;
    let (store, recovered) = Store::open(disk, options, outbox).context("open the journal")?;
    let totals = recovered.outbox.totals();
    tracing::info!(
        waiting_records = totals.waiting_records,
        waiting_readings = totals.waiting_readings,
        journalled_readings = recovered.state.journalled_readings,
        unreadable_entries = recovered.unreadable,
        "opened the journal"
    );
    Ok((store, recovered, options))
}

/// How long a batch may wait for others once it is journalled, so that its first reading is sent
/// within the send interval: it has waited for a commit already.
fn wait_for_company_ms(send: Duration, commit: Duration) -> u64 {
    let left = send.saturating_sub(commit) + COMMIT_SLACK;
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

/// Segment size for a cap.
#[must_use]
pub fn journal_options(cap_bytes: u64) -> furrow_journal::Options {
    let segment = (cap_bytes / SEGMENTS_MIN).clamp(64 * 1024, SEGMENT_BYTES_MAX);
    furrow_journal::Options {
        segment_bytes: u32::try_from(segment).unwrap_or(u32::MAX),
        cap_bytes,
        keep_bytes: cap_bytes / KEEP_SHARE,
    }
}

/// Connecting to a simulator blocks.
async fn open_field(settings: &Arc<Settings>) -> anyhow::Result<Field> {
    let settings = Arc::clone(settings);
    let opened = tokio::task::spawn_blocking(move || Field::open(&settings, "furrow-gateway"));
    Ok(opened.await.context("open the field")??)
}

fn target(settings: &Settings, known_unix_ms: Option<i64>) -> Target {
    let mqtt = settings.mqtt();
    Target {
        host: mqtt.host.clone(),
        port: mqtt.port,
        username: mqtt.username.clone(),
        password: mqtt.password.reveal().to_owned(),
        ca_pem: mqtt.ca_pem.clone(),
        topic: Topic {
            cooperative: settings.gateway().cooperative.clone(),
            gateway: settings.gateway().id.clone(),
            kind: TopicKind::State,
        },
        send_interval: mqtt.send_interval,
        known_unix_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_sent_within_the_send_interval() {
        let table = [
            ("60s after commits of 30 s", 60, 30, 30_500),
            ("every commit is sent", 60, 60, 500),
            ("commits are rarer than wanted", 10, 30, 500),
        ];
        for (what, send_s, commit_s, expected) in table {
            let (send, commit) = (Duration::from_secs(send_s), Duration::from_secs(commit_s));
            assert_eq!(wait_for_company_ms(send, commit), expected, "{what}");
        }
    }
}
