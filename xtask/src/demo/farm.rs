//! What the demo starts: ingest, three greenhouses of two cooperatives, a link that can be cut.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use furrow_tests::api::Api;
use furrow_tests::binaries::Binaries;
use furrow_tests::link::Link;
use furrow_tests::process::pause;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::{Cooperative, Ingest};
use jiff::{SignedDuration, Timestamp};

use crate::say;

/// Longest real time for the days that are caught up.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(900);
/// Between two looks at the simulators.
const LOOK: Duration = Duration::from_millis(500);
/// A simulator this close to the real clock runs live.
const LIVE_WITHIN: SignedDuration = SignedDuration::from_secs(5);
/// Live data every few seconds, yet seven days play in a minute or two.
const EVERY: &str = "20s";

const ALERTS: &str = r#"
[[cooperative.alert]]
id = "heat"
channel = "air_temperature"
device = "sht-inside"
above = 32.0
clear = 30.5
for = "10min"
severity = "warning"

[[cooperative.alert]]
id = "heat-acute"
channel = "air_temperature"
device = "sht-inside"
above = 40.0
clear = 38.0
for = "20s"
severity = "critical"

[[cooperative.alert]]
id = "silent-sensor"
channel = "air_temperature"
absent = true
for = "2min"
severity = "warning"
"#;

/// What is wanted.
pub(super) struct Plan {
    /// Where everything lies.
    pub(super) folder: PathBuf,
    /// Days before now.
    pub(super) days: u32,
    /// Seed of the first greenhouse.
    pub(super) seed: u64,
    /// Port of the page.
    pub(super) port: u16,
}

/// What runs.
pub(super) struct Farm {
    pub(super) ingest: Ingest,
    pub(super) sites: Vec<Site>,
    pub(super) link: Link,
    cooperatives: Vec<Cooperative>,
    folder: PathBuf,
}

impl Farm {
    /// Starts everything.
    pub(super) fn open(binaries: &Binaries, plan: &Plan) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&plan.folder)
            .with_context(|| format!("create {}", plan.folder.display()))?;
        let cooperatives = cooperatives(&plan.folder)?;
        let ingest_folder = plan.folder.join("ingest");
        let ingest = Ingest::start(binaries, &ingest_folder, &cooperatives, "", Some(plan.port))?;
        let link = Link::open(ingest.mqtt())?;
        let start = start_time(plan)?;
        let mut sites = Vec::new();
        for (index, config) in site_configs(&cooperatives).into_iter().enumerate() {
            let folder = plan
                .folder
                .join(format!("{}-{}", config.cooperative, config.gateway));
            let seed = (plan.seed + u64::try_from(index)?).to_string();
            let start = start.to_string();
            let arguments = [
                "greenhouse",
                "--seed",
                &seed,
                "--start",
                &start,
                "--catch-up",
                "--clients",
                "1",
            ];
            let mut site = Site::open(binaries, &folder, config, &arguments, link.address())?;
            site.start_gateway()?;
            sites.push(site);
        }
        Ok(Farm {
            ingest,
            sites,
            link,
            cooperatives,
            folder: plan.folder.clone(),
        })
    }

    /// Waits until simulated time has met the real clock.
    pub(super) fn catch_up(&mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        say!("playing the weather up to now, through chips, drivers, journal, broker and archive");
        let begin = Instant::now();
        let mut said = Instant::now();
        loop {
            ensure!(!stop.load(Ordering::SeqCst), "stopped by the person");
            ensure!(
                begin.elapsed() < CATCH_UP_PATIENCE,
                "the weather did not catch up in time"
            );
            let mut behind = SignedDuration::ZERO;
            for site in &mut self.sites {
                if let Some(status) = site.gateway()?.ended()? {
                    let tail = site.gateway()?.log_tail();
                    anyhow::bail!("a gateway ended with {status}:\n{tail}");
                }
                behind = behind.max(Timestamp::now().duration_since(simulated_time(site)?));
            }
            if behind < LIVE_WITHIN {
                say!("    caught up in {:.1} s", begin.elapsed().as_secs_f64());
                return Ok(());
            }
            if said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                say!("    {:.1} days to go", behind.as_secs_f64() / 86_400.0);
            }
            pause(LOOK);
        }
    }

    /// Says what runs where, and how to log in.
    pub(super) fn say_where(&self, since_start: Duration) {
        say!("");
        say!(
            "page      http://{}/   ({:.0} s after start)",
            self.ingest.http(),
            since_start.as_secs_f64()
        );
        for cooperative in &self.cooperatives {
            say!("login     {}: {}", cooperative.name, cooperative.token);
        }
        say!(
            "ingest    process {}, log {}",
            self.ingest.id().unwrap_or(0),
            self.ingest.log().display()
        );
        for site in &self.sites {
            let SiteConfig {
                cooperative,
                gateway,
                greenhouse_name,
                ..
            } = &site.config;
            say!(
                "gateway   {cooperative}/{gateway}, {greenhouse_name}: {}",
                site.folder().display()
            );
        }
        say!("data      {}", self.folder.display());
        say!("");
    }

    /// Cooperative ids and their interfaces.
    pub(super) fn apis(&self) -> Vec<(String, Api)> {
        let api = |c: &Cooperative| (c.id.clone(), self.ingest.api(&c.token));
        self.cooperatives.iter().map(api).collect()
    }

    /// Stops everything in order, and remembers up to when there is weather.
    pub(super) fn close(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        for site in &mut self.sites {
            result = result.and(site.stop());
        }
        if self.ingest.id().is_some() {
            result = result.and(self.ingest.stop());
        }
        let now = Timestamp::now().to_string();
        std::fs::write(self.folder.join("weather-until"), now).context("remember the time")?;
        result
    }
}

fn simulated_time(site: &Site) -> anyhow::Result<Timestamp> {
    let truth = site.truth()?;
    let ms = truth
        .get("wall_unix_ms")
        .and_then(serde_json::Value::as_i64);
    let ms = ms.with_context(|| format!("no wall_unix_ms in {truth}"))?;
    Timestamp::from_millisecond(ms).context("simulated time")
}

/// Where the weather goes on: after what is stored already, but at most `days` ago.
fn start_time(plan: &Plan) -> anyhow::Result<Timestamp> {
    let now = Timestamp::now();
    let earliest = now - SignedDuration::from_hours(24 * i64::from(plan.days));
    let earliest = Timestamp::from_second(earliest.as_second() / 60 * 60).context("start")?;
    let Ok(text) = std::fs::read_to_string(plan.folder.join("weather-until")) else {
        return Ok(earliest);
    };
    let until: Timestamp = text.trim().parse().context("read weather-until")?;
    Ok(until.clamp(earliest, now))
}

/// Two cooperatives; tokens and passwords are drawn once and kept with the data.
fn cooperatives(folder: &std::path::Path) -> anyhow::Result<Vec<Cooperative>> {
    let secrets = folder.join("secrets.json");
    let kept: Option<Vec<String>> = match std::fs::read(&secrets) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).context("read secrets.json")?),
        Err(_) => None,
    };
    let drawn = match kept {
        Some(kept) => kept,
        None => {
            let drawn: Vec<String> = (0..5).map(|_| secret()).collect();
            let bytes = serde_json::to_vec(&drawn).context("write secrets.json")?;
            std::fs::write(&secrets, bytes).context("write secrets.json")?;
            drawn
        }
    };
    let [token_1, token_2, password_1, password_2, password_3] = drawn.as_slice() else {
        anyhow::bail!("secrets.json does not hold five secrets: start with --fresh");
    };
    let gateway = |id: &str, greenhouse: &str, password: &String| {
        (id.to_owned(), greenhouse.to_owned(), password.clone())
    };
    Ok(vec![
        Cooperative {
            id: "hoa-binh".to_owned(),
            name: "HTX Hòa Bình".to_owned(),
            token: token_1.clone(),
            gateways: vec![
                gateway("gw-01", "nha-luoi-1", password_1),
                gateway("gw-02", "nha-luoi-2", password_2),
            ],
            alerts: ALERTS.to_owned(),
        },
        Cooperative {
            id: "tan-phu".to_owned(),
            name: "HTX Tân Phú".to_owned(),
            token: token_2.clone(),
            gateways: vec![gateway("gw-01", "nha-mang-1", password_3)],
            alerts: ALERTS.to_owned(),
        },
    ])
}

fn secret() -> String {
    let bits: u64 = rand::random();
    format!("{bits:016x}")
}

fn site_configs(cooperatives: &[Cooperative]) -> Vec<SiteConfig> {
    let names = ["Nhà lưới 1", "Nhà lưới 2", "Nhà màng 1"];
    let gateways = cooperatives
        .iter()
        .flat_map(|c| c.gateways.iter().map(move |gateway| (c, gateway)));
    gateways
        .zip(names)
        .map(
            |((cooperative, (gateway, greenhouse, password)), name)| SiteConfig {
                cooperative: cooperative.id.clone(),
                gateway: gateway.clone(),
                greenhouse: greenhouse.clone(),
                greenhouse_name: name.to_owned(),
                password: password.clone(),
                every: EVERY.to_owned(),
                commit: "20s".to_owned(),
                send: "5s".to_owned(),
                journal_cap: "256 MiB".to_owned(),
                watering: vec!["06:00".to_owned(), "16:00".to_owned()],
                watering_for: "15min".to_owned(),
                all_devices: true,
                more_channels: 0,
                ca_file: None,
            },
        )
        .collect()
}
