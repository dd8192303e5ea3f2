//! What runs under chaos: greenhouses with gateways, links, small disks, a broker, ingest. Does deeds,
//! undoes them at their end, and starts again what ended by itself, as systemd would.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use furrow_tests::api::Api;
use furrow_tests::binaries::Binaries;
use furrow_tests::disk::SmallDisk;
use furrow_tests::fleet::Load;
use furrow_tests::link::Link;
use furrow_tests::mosquitto::Mosquitto;
use furrow_tests::process::Process;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};
use nix::sys::signal::Signal;

use super::deeds::{Counts, Deed, Target, What};
use crate::say;

const SITES: usize = 3;
/// Its journal lies on a small disk.
const SMALL_SITE: usize = SITES - 1;
/// Space of a gateway's small disk: the 16 MiB that a journal leaves free, and 16 segments of 1 MiB.
const SITE_DISK_MIB: u32 = 32;
/// Space of ingest's small disk: what its log leaves free, its segments of 8 MiB, the archive.
const INGEST_DISK_MIB: u32 = 256;
/// Simulated seconds a real second: two hundred readings a second from three gateways.
const SPEED: &str = "40";
/// The first disk is full for so long at the beginning.
const FULL_AT_FIRST: Duration = Duration::from_secs(8);
/// What ended by itself is started again after this.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// Exit code of a program whose configuration is wrong: nothing to start again.
const WRONG_CONFIGURATION: i32 = 64;
/// Simulated gateways beside the real ones, so that ingest has work when something happens to it.
const FLEET_GATEWAYS: u32 = 50;
/// Their readings a second, in batches of 96.
const FLEET_RATE: &str = "5000";
/// How long their last readings may take to be acknowledged.
const FLEET_GRACE: &str = "400s";
pub(super) const FLEET: &str = "fleet";
const FLEET_PASSWORD: &str = "simulated-fleet";
const COOPERATIVE: &str = "hoa-binh";
const TOKEN: &str = "token";

/// See the module.
pub(super) struct World {
    pub(super) sites: Vec<Site>,
    pub(super) ingest: Ingest,
    pub(super) counts: Counts,
    pub(super) fleet: Load,
    broker: Option<Mosquitto>,
    /// One for each site, one for the fleet, and with an outside broker one for ingest.
    links: Vec<Link>,
    /// Of the last site, and of ingest.
    disks: Vec<SmallDisk>,
    /// What is being done, and until when.
    doing: BTreeMap<Target, (Instant, What)>,
}

impl World {
    /// Starts everything in `folder`; with the program of an outside broker on that.
    pub(super) fn open(
        binaries: &Binaries,
        folder: &Path,
        mosquitto: Option<&Path>,
        seed: u64,
        length: Duration,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let site_folder = |number: usize| folder.join(format!("gw-{:02}", number + 1));
        let disks = small_disks(
            &site_folder(SMALL_SITE).join("state"),
            &folder.join("ingest/data"),
        );
        let broker = mosquitto
            .map(|program| Mosquitto::start(program, &folder.join("mosquitto")))
            .transpose()?;
        let mut links = Vec::new();
        let ingest_folder = folder.join("ingest");
        let cooperatives = [cooperative(), fleet_cooperative()];
        let ingest = match &broker {
            None => Ingest::start(binaries, &ingest_folder, &cooperatives, "", None)?,
            Some(broker) => {
                let link = Link::open(broker.address())?;
                let address = link.address();
                links.push(link);
                Ingest::start_outside(binaries, &ingest_folder, &cooperatives, address)?
            }
        };
        let target = broker.as_ref().map_or(ingest.mqtt(), Mosquitto::address);
        let mut sites = Vec::new();
        for number in 0..SITES {
            let link = Link::open(target)?;
            let seed = seed.wrapping_add(u64::try_from(number)?).to_string();
            // Field time never passes the present, though it runs faster.
            let arguments = [
                "greenhouse",
                "--seed",
                &seed,
                "--start",
                "-2d",
                "--speed",
                SPEED,
            ];
            let config = site_config(number);
            let folder = site_folder(number);
            let mut site = Site::open(binaries, &folder, config, &arguments, link.address())?;
            if number == SMALL_SITE
                && let Some(disk) = disks.first()
            {
                // The gateway begins without a journal that it could write.
                disk.fill()?;
            }
            site.start_gateway()?;
            links.insert(number, link);
            sites.push(site);
        }
        let link = Link::open(target)?;
        let fleet = start_fleet(binaries, folder, &link, length)?;
        links.insert(SITES, link);
        let full = (Instant::now() + FULL_AT_FIRST, What::Fill);
        let doing = disks.first().map(|_| (Target::Disk(0), full));
        Ok(World {
            sites,
            ingest,
            counts: Counts::default(),
            fleet,
            broker,
            links,
            disks,
            doing: doing.into_iter().collect(),
        })
    }

    /// Everything that something can be done to.
    pub(super) fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<Target> = (0..self.sites.len()).map(Target::Gateway).collect();
        targets.push(Target::Ingest);
        targets.extend(self.broker.iter().map(|_| Target::Broker));
        targets.extend((0..self.links.len()).map(Target::Link));
        targets.extend((0..self.disks.len()).map(Target::Disk));
        targets
    }

    /// Begins a deed, unless another is being done to its target.
    pub(super) fn carry_out(&mut self, deed: Deed, begin: Instant) -> anyhow::Result<()> {
        let Deed {
            target,
            what,
            lasts,
        } = deed;
        if self.doing.contains_key(&target) {
            return Ok(());
        }
        tell(begin, &deed.to_string());
        match (target, what) {
            (Target::Gateway(at), What::Kill) => self.site(at)?.kill_gateway()?,
            (Target::Ingest, What::Kill) => self.ingest.kill()?,
            (Target::Broker, What::Kill) => self.broker()?.kill()?,
            (Target::Gateway(_) | Target::Ingest | Target::Broker, _) => {
                self.signal(target, Signal::SIGSTOP)?;
            }
            (Target::Link(at), what) => impede(self.link(at)?, what),
            (Target::Disk(at), _) => self.disk(at)?.fill()?,
        }
        self.counts.count(what);
        self.doing.insert(target, (Instant::now() + lasts, what));
        Ok(())
    }

    /// Ends deeds whose time is over; starts again what ended by itself.
    pub(super) fn supervise(&mut self, begin: Instant) -> anyhow::Result<()> {
        let now = Instant::now();
        let over = |(target, (until, what)): (&Target, &(Instant, What))| {
            (*until <= now).then_some((*target, *what))
        };
        let ended: Vec<_> = self.doing.iter().filter_map(over).collect();
        for (target, what) in ended {
            self.undo(target, what)?;
        }
        for target in self.targets() {
            let is_process = !matches!(target, Target::Link(_) | Target::Disk(_));
            if !is_process || self.doing.contains_key(&target) {
                continue;
            }
            let process = self.process(target)?;
            if let Some(status) = process.ended()? {
                let tail = process.log_tail();
                let is_wrong = status.code() == Some(WRONG_CONFIGURATION);
                ensure!(!is_wrong, "{target} ended with {status}:\n{tail}");
                let last = tail.lines().last().unwrap_or_default();
                tell(
                    begin,
                    &format!("{target} ended by itself with {status}: {last}"),
                );
                self.counts.own_ends += 1;
                self.doing.insert(target, (now + RESTART_AFTER, What::Kill));
            }
        }
        Ok(())
    }

    /// Ends every deed.
    pub(super) fn undo_all(&mut self, begin: Instant) -> anyhow::Result<()> {
        let all: Vec<_> = self
            .doing
            .iter()
            .map(|(t, (_, what))| (*t, *what))
            .collect();
        for (target, what) in all {
            self.undo(target, what)?;
        }
        self.supervise(begin)
    }

    /// Copies what lies on small disks beside them, where it outlives them.
    pub(super) fn keep_disks(&self) -> anyhow::Result<()> {
        self.disks.iter().try_for_each(SmallDisk::keep)
    }

    /// Ingest's interface, by cooperative of the real gateways.
    pub(super) fn apis(&self) -> [(String, Api); 1] {
        [(COOPERATIVE.to_owned(), self.ingest.api(TOKEN))]
    }

    /// Ingest's interface for the fleet's cooperative.
    pub(super) fn fleet_api(&self) -> Api {
        self.ingest.api(FLEET)
    }

    fn undo(&mut self, target: Target, what: What) -> anyhow::Result<()> {
        self.doing.remove(&target);
        match (target, what) {
            (Target::Gateway(at), What::Kill) => self.site(at)?.start_gateway(),
            (Target::Ingest, What::Kill) => self.ingest.spawn(),
            (Target::Broker, What::Kill) => self.broker()?.spawn(),
            (Target::Gateway(_) | Target::Ingest | Target::Broker, _) => {
                self.signal(target, Signal::SIGCONT)
            }
            (Target::Link(at), _) => {
                self.link(at)?.mend();
                Ok(())
            }
            (Target::Disk(at), _) => {
                self.disk(at)?.free();
                Ok(())
            }
        }
    }

    fn signal(&mut self, target: Target, signal: Signal) -> anyhow::Result<()> {
        let process = self.process(target)?;
        if process.ended()?.is_some() {
            // It ended by itself a moment ago: the next look starts it again.
            return Ok(());
        }
        process.signal(signal)
    }

    fn process(&mut self, target: Target) -> anyhow::Result<&mut Process> {
        match target {
            Target::Gateway(at) => self.site(at)?.gateway(),
            Target::Ingest => self.ingest.process().context("ingest is not running"),
            Target::Broker => self.broker()?.process().context("mosquitto is not running"),
            Target::Link(_) | Target::Disk(_) => anyhow::bail!("{target} is no process"),
        }
    }

    fn site(&mut self, at: usize) -> anyhow::Result<&mut Site> {
        self.sites.get_mut(at).context("no such site")
    }

    fn broker(&mut self) -> anyhow::Result<&mut Mosquitto> {
        self.broker.as_mut().context("no outside broker")
    }

    fn link(&self, at: usize) -> anyhow::Result<&Link> {
        self.links.get(at).context("no such link")
    }

    fn disk(&self, at: usize) -> anyhow::Result<&SmallDisk> {
        self.disks.get(at).context("no such disk")
    }
}

/// Says what happens, with the time.
pub(super) fn tell(begin: Instant, what: &str) {
    say!("{:>7.1} s  {what}", begin.elapsed().as_secs_f64());
}

fn impede(link: &Link, what: What) {
    match what {
        What::Hold => link.hold(),
        What::Slow {
            delay_ms,
            bandwidth,
        } => link.slow(delay_ms, bandwidth),
        What::Cut | What::Kill | What::Pause | What::Fill => link.cut(),
    }
}

/// None where the machine does not allow it.
fn small_disks(site: &Path, ingest: &Path) -> Vec<SmallDisk> {
    let mounted = || {
        let site = SmallDisk::mount(site, SITE_DISK_MIB)?;
        anyhow::Ok(vec![site, SmallDisk::mount(ingest, INGEST_DISK_MIB)?])
    };
    mounted().unwrap_or_else(|error| {
        say!("without full disks: {error:#}");
        Vec::new()
    })
}

fn start_fleet(
    binaries: &Binaries,
    folder: &Path,
    link: &Link,
    length: Duration,
) -> anyhow::Result<Load> {
    let arguments = [
        FLEET.to_owned(),
        format!("--cooperative={FLEET}"),
        format!("--password={FLEET_PASSWORD}"),
        format!("--gateways={FLEET_GATEWAYS}"),
        format!("--broker=mqtt://{}", link.address()),
        format!("--rate={FLEET_RATE}"),
        format!("--for={}s", length.as_secs().max(1)),
        format!("--grace={FLEET_GRACE}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Load::start(&binaries.sim, &arguments, &folder.join("fleet.log"))
}

/// As `furrow-sim fleet` names its gateways.
fn fleet_cooperative() -> Cooperative {
    let gateway = |number: u32| {
        let id = |kind: &str| format!("{kind}-{number:05}");
        (id("gw"), id("gh"), FLEET_PASSWORD.to_owned())
    };
    Cooperative {
        id: FLEET.to_owned(),
        name: FLEET.to_owned(),
        token: FLEET.to_owned(),
        gateways: (1..=FLEET_GATEWAYS).map(gateway).collect(),
        alerts: String::new(),
    }
}

fn cooperative() -> Cooperative {
    let gateway = |number: usize| {
        let SiteConfig {
            gateway,
            greenhouse,
            password,
            ..
        } = site_config(number);
        (gateway, greenhouse, password)
    };
    Cooperative {
        id: COOPERATIVE.to_owned(),
        name: "HTX Hòa Bình".to_owned(),
        token: TOKEN.to_owned(),
        gateways: (0..SITES).map(gateway).collect(),
        alerts: String::new(),
    }
}

fn site_config(number: usize) -> SiteConfig {
    let number = number + 1;
    SiteConfig {
        cooperative: COOPERATIVE.to_owned(),
        gateway: format!("gw-{number:02}"),
        greenhouse: format!("nha-luoi-{number}"),
        greenhouse_name: format!("Nhà lưới {number}"),
        password: format!("secret-{number}"),
        every: "5s".to_owned(),
        commit: "10s".to_owned(),
        send: "1s".to_owned(),
        // Small segments, so that new ones are needed while the disk is full.
        journal_cap: if number > SMALL_SITE {
            "1 MiB"
        } else {
            "256 MiB"
        }
        .to_owned(),
        watering: Vec::new(),
        watering_for: String::new(),
        all_devices: true,
        more_channels: 0,
        ca_file: None,
    }
}
