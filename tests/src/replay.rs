//! A recorded trace through the whole system: chips, drivers, journal, broker, log, archive, export.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use furrow_sim_bus::{RemoteBus, RemoteClock};

use crate::binaries::Binaries;
use crate::csv_trace::{Trace, Verdict};
use crate::delivery::drained_books;
use crate::site::{Site, SiteConfig};
use crate::stack::{Cooperative, Ingest};
use crate::tls::Certificate;

/// How long the archive may lag behind the last acknowledgement.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(60);
/// How often the programs are looked at while simulated time passes.
const LOOK: Duration = Duration::from_millis(500);
/// Steps in which simulated time is let go, so that progress can be told.
const STEPS: u32 = 50;

const COOPERATIVE: &str = "hop-tac-xa";
const TOKEN: &str = "token-of-the-replay";

/// What happens in the middle of the replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kills {
    /// Kill and restart ingest after a third.
    pub ingest: bool,
    /// Kill and restart the gateway after two thirds, between two samples: what is sampled and not
    /// yet journalled at a power cut is lost, and bounded by the commit interval.
    pub gateway: bool,
}

/// One replay.
#[derive(Debug)]
pub struct Replay<'a> {
    /// The programs.
    pub binaries: &'a Binaries,
    /// The trace.
    pub file: &'a Path,
    /// Simulated seconds a real second, at most.
    pub speed: Option<f64>,
    /// What is killed.
    pub kills: Kills,
    /// The gateway reaches the broker over TLS.
    pub tls: bool,
    /// Longest real time for the whole.
    pub patience: Duration,
}

/// Something that is done to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    KillIngest,
    KillGateway,
}

impl Replay<'_> {
    /// Plays the trace in `folder` and looks for every value in the archive. `progress` is told the
    /// share that is played, 0 to 1, and what is being done.
    ///
    /// # Errors
    /// When a part does not start, does not end in time, or ends badly.
    pub fn run(
        &self,
        folder: &Path,
        mut progress: impl FnMut(f64, &str),
    ) -> anyhow::Result<Verdict> {
        let trace = Trace::read(self.file)?;
        let certificate = self.tls.then(|| Certificate::make(folder)).transpose()?;
        let extra = certificate.as_ref().map(Certificate::ingest_toml);
        let mut ingest = Ingest::start(
            self.binaries,
            &folder.join("ingest"),
            &[cooperative()],
            &extra.unwrap_or_default(),
            None,
        )?;
        let config = SiteConfig {
            ca_file: certificate.map(|certificate| certificate.certificate),
            ..site_config(&trace)?
        };
        let mut site = self.open_site(folder, config, &ingest)?;
        let bus = RemoteBus::connect(site.bus(), "replay").context("connect to the bus")?;
        let time = Time::hold(&bus.clock(), &trace)?;
        site.start_gateway()?;
        let mut deeds = self.deeds();
        let end = Instant::now() + self.patience;
        for step in 1..=STEPS {
            let share = f64::from(step) / f64::from(STEPS);
            progress(share, "playing");
            time.let_go_until(time.between_rows(&trace, share), || look(&mut site, end))?;
            while let Some((_, deed)) = deeds.pop_if(|(at, _)| *at <= share) {
                self.carry_out(deed, &mut ingest, &mut site, |what| progress(share, what))?;
            }
        }
        time.let_go();
        progress(1.0, "draining");
        let status = site.wait_gateway(end.saturating_duration_since(Instant::now()))?;
        anyhow::ensure!(status.success(), "the gateway ended with {status}");
        judge(&trace, site, ingest, folder)
    }

    fn open_site(
        &self,
        folder: &Path,
        config: SiteConfig,
        ingest: &Ingest,
    ) -> anyhow::Result<Site> {
        let file = self
            .file
            .to_str()
            .context("the trace's path is not UTF-8")?;
        let speed = self.speed.map(|speed| speed.to_string());
        let mut arguments = vec!["replay", file, "--clients", "2"];
        if let Some(speed) = &speed {
            arguments.extend(["--speed", speed]);
        }
        Site::open(
            self.binaries,
            &folder.join("site"),
            config,
            &arguments,
            ingest.mqtt(),
        )
    }

    /// The last one first.
    fn deeds(&self) -> Vec<(f64, Deed)> {
        let mut out = Vec::new();
        if self.kills.gateway {
            out.push((2.0 / 3.0, Deed::KillGateway));
        }
        if self.kills.ingest {
            out.push((1.0 / 3.0, Deed::KillIngest));
        }
        out
    }

    /// Simulated time stands still meanwhile.
    fn carry_out(
        &self,
        deed: Deed,
        ingest: &mut Ingest,
        site: &mut Site,
        mut progress: impl FnMut(&str),
    ) -> anyhow::Result<()> {
        match deed {
            Deed::KillIngest => {
                progress("ingest killed, starting it again");
                ingest.kill()?;
                ingest.restart()
            }
            Deed::KillGateway => {
                progress("gateway killed, starting it again");
                site.kill_gateway()?;
                site.start_gateway()
            }
        }
    }
}

/// Keeps simulated time from passing, as one more client of the bus.
struct Time {
    clock: RemoteClock,
    /// Unix milliseconds less monotonic milliseconds.
    offset_ms: i64,
    go: mpsc::SyncSender<u64>,
    reached: mpsc::Receiver<()>,
}

impl Time {
    fn hold(clock: &RemoteClock, trace: &Trace) -> anyhow::Result<Self> {
        anyhow::ensure!(trace.rows.len() > 1, "a trace needs at least two rows");
        let now = clock.now();
        let mono_ms = i64::try_from(now.mono_ns / 1_000_000).context("monotonic time")?;
        let wall_ms = now.wall_unix_ms.context("a replay has a wall clock")?;
        let (go, orders) = mpsc::sync_channel::<u64>(1);
        let (tell, reached) = mpsc::sync_channel(1);
        let for_thread = clock.clone();
        let mut busy = clock.busy();
        let wait = move || {
            while let Ok(until_ns) = orders.recv() {
                busy = for_thread.wait_until(until_ns, busy);
                if tell.send(()).is_err() {
                    return;
                }
            }
            // The last order was given: time passes freely from here, yet this client stays.
            drop(for_thread.wait_until(u64::MAX, busy));
        };
        std::thread::Builder::new()
            .name("time".to_owned())
            .spawn(wait)
            .context("start a thread")?;
        Ok(Time {
            clock: clock.clone(),
            offset_ms: wall_ms - mono_ms,
            go,
            reached,
        })
    }

    /// Monotonic nanoseconds half a step after the row at `share` of the trace.
    fn between_rows(&self, trace: &Trace, share: f64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of the number of rows"
        )]
        let row = ((trace.rows.len() - 1) as f64 * share) as usize;
        let time_ms = |row: usize| {
            trace
                .rows
                .get(row)
                .map_or(0, |(time, _)| time.as_millisecond())
        };
        let half_step_ms = (time_ms(1) - time_ms(0)) / 2;
        let mono_ms = time_ms(row) + half_step_ms - self.offset_ms;
        u64::try_from(mono_ms)
            .unwrap_or(0)
            .saturating_mul(1_000_000)
    }

    /// Lets simulated time pass until `mono_ns`; `look` is called while it does.
    fn let_go_until(
        &self,
        mono_ns: u64,
        mut look: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.clock.ended().is_some() {
            return Ok(());
        }
        self.go.send(mono_ns).context("time's thread is gone")?;
        loop {
            match self.reached.recv_timeout(LOOK) {
                Ok(()) => return Ok(()),
                Err(mpsc::RecvTimeoutError::Timeout) => look()?,
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("time's thread is gone"),
            }
        }
    }

    /// Lets simulated time pass for good.
    fn let_go(self) {
        drop(self.go);
    }
}

fn look(site: &mut Site, end: Instant) -> anyhow::Result<()> {
    anyhow::ensure!(Instant::now() < end, "the replay did not end in time");
    if let Some(status) = site.gateway()?.ended()? {
        let tail = site.gateway()?.log_tail();
        // A replay's gateway ends by itself, after the last row only.
        anyhow::ensure!(status.success(), "the gateway ended with {status}:\n{tail}");
    }
    if let Some(status) = site.sim().ended()? {
        anyhow::ensure!(status.success(), "the simulator ended with {status}");
    }
    Ok(())
}

fn judge(trace: &Trace, site: Site, mut ingest: Ingest, folder: &Path) -> anyhow::Result<Verdict> {
    let apis = [(COOPERATIVE.to_owned(), ingest.api(TOKEN))];
    let mut sites = [site];
    let books = drained_books(&sites, &apis, ARCHIVE_PATIENCE)?;
    anyhow::ensure!(books.balance(), "the books do not balance: {books}");
    let export = folder.join("export.csv");
    ingest.export(COOPERATIVE, &export)?;
    let verdict = trace.find_in(&export)?;
    for site in &mut sites {
        site.stop()?;
    }
    ingest.stop()?;
    Ok(verdict)
}

fn cooperative() -> Cooperative {
    Cooperative {
        id: COOPERATIVE.to_owned(),
        name: "Hợp tác xã".to_owned(),
        token: TOKEN.to_owned(),
        gateways: vec![(
            "gw-01".to_owned(),
            "nha-luoi-1".to_owned(),
            "mật khẩu".to_owned(),
        )],
        alerts: String::new(),
    }
}

fn site_config(trace: &Trace) -> anyhow::Result<SiteConfig> {
    let [(first, _), (second, _), ..] = trace.rows.as_slice() else {
        bail!("a trace needs at least two rows");
    };
    let step = second.duration_since(*first).as_secs();
    Ok(SiteConfig {
        cooperative: COOPERATIVE.to_owned(),
        gateway: "gw-01".to_owned(),
        greenhouse: "nha-luoi-1".to_owned(),
        greenhouse_name: "Nhà lưới 1".to_owned(),
        password: "mật khẩu".to_owned(),
        every: format!("{step}s"),
        commit: "30s".to_owned(),
        send: "1s".to_owned(),
        journal_cap: "256 MiB".to_owned(),
        watering: Vec::new(),
        watering_for: String::new(),
        all_devices: false,
        more_channels: 0,
        ca_file: None,
    })
}
