//! An ingest and the simulated fleet that loads it, as a person would start the two.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::binaries::Binaries;
use crate::process::{Process, free_port};
use crate::stack::Ingest;
use crate::tls::{Certificate, NAME};

const COOPERATIVE: &str = "fleet";
const TOKEN: &str = "fleet";

/// An ingest that admits a fleet.
#[derive(Debug)]
pub struct Fleet {
    /// The process under load.
    pub ingest: Ingest,
    sim: PathBuf,
    folder: PathBuf,
    common: Vec<String>,
    certificate: Option<Certificate>,
}

/// What an ingest under load has beside its fleet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// More of its configuration: `[[cooperative.alert]]` of the fleet's one cooperative, then
    /// sections of their own.
    pub toml: &'a str,
    /// Its broker speaks TLS.
    pub has_tls: bool,
}

/// A running load.
#[derive(Debug)]
pub struct Load(Process);

/// What ingest has of the fleet, by a look at every stored reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrived {
    /// Readings in the archive.
    pub stored: u64,
    /// Times that a series has more than once.
    pub twice: u64,
    /// Records that exist and have not come.
    pub missing: u64,
    /// Records that wait for something, or were refused.
    pub aside: u64,
    /// What the gateways said that they ever journalled.
    pub journalled: u64,
}

impl Fleet {
    /// Writes the configuration for `gateways` gateways, as `furrow-sim fleet` does, and starts
    /// ingest by it.
    ///
    /// # Errors
    /// When one of them fails.
    pub fn open(binaries: &Binaries, folder: &Path, gateways: u32) -> anyhow::Result<Self> {
        Self::open_with(binaries, folder, gateways, Extra::default())
    }

    /// The same with more in ingest's configuration.
    ///
    /// # Errors
    /// When one of them fails.
    pub fn open_with(
        binaries: &Binaries,
        folder: &Path,
        gateways: u32,
        extra: Extra<'_>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (http, mqtt) = (local(free_port()?), local(free_port()?));
        let common = vec![
            "fleet".to_owned(),
            format!("--gateways={gateways}"),
            format!("--cooperative={COOPERATIVE}"),
        ];
        let mut write = Command::new(&binaries.sim);
        write
            .args(&common)
            .args([format!("--http={http}"), format!("--token={TOKEN}")])
            .arg(format!("--broker=mqtt://{mqtt}"))
            .arg("--write-ingest-config")
            .arg(folder);
        let output = write.output().context("start furrow-sim fleet")?;
        ensure!(
            output.status.success(),
            "furrow-sim fleet ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let config = folder.join("ingest.toml");
        let certificate = if extra.has_tls {
            Some(Certificate::make(folder)?)
        } else {
            None
        };
        let tls = certificate.as_ref().map(Certificate::ingest_toml);
        let text = std::fs::read_to_string(&config).context("read ingest's configuration")?;
        let text = [text.as_str(), extra.toml, tls.as_deref().unwrap_or("")].join("\n");
        std::fs::write(&config, text).context("write ingest's configuration")?;
        Ok(Fleet {
            ingest: Ingest::with_config(binaries, folder, config, http, mqtt)?,
            sim: binaries.sim.clone(),
            folder: folder.to_owned(),
            common,
            certificate,
        })
    }

    /// Starts the fleet with these options beside the common ones, e.g. `["--for", "5s"]`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn load(&self, options: &[&str]) -> anyhow::Result<Load> {
        self.load_through(self.ingest.mqtt(), options)
    }

    /// The same through a relay to the broker that listens there.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn load_through(&self, broker: SocketAddr, options: &[&str]) -> anyhow::Result<Load> {
        let own = match &self.certificate {
            None => vec![format!("--broker=mqtt://{broker}")],
            Some(certificate) => vec![
                format!("--broker=mqtt://{NAME}:{}", broker.port()),
                format!("--ca={}", certificate.certificate.display()),
            ],
        };
        let common = self.common.iter().chain(&own).map(String::as_str);
        let all: Vec<&str> = common.chain(options.iter().copied()).collect();
        Load::start(&self.sim, &all, &self.folder.join("fleet.log"))
    }

    /// Ingest's interface.
    #[must_use]
    pub fn api(&self) -> Api {
        self.ingest.api(TOKEN)
    }

    /// What has arrived.
    ///
    /// # Errors
    /// When ingest does not answer.
    pub fn arrived(&self) -> anyhow::Result<Arrived> {
        Arrived::read(&self.api(), COOPERATIVE)
    }
}

impl Arrived {
    /// What has arrived of all gateways of a cooperative.
    ///
    /// # Errors
    /// When ingest does not answer.
    pub fn read(api: &Api, cooperative: &str) -> anyhow::Result<Self> {
        let path = format!("/api/v1/cooperatives/{cooperative}/delivery");
        let answer = api.get(&path)?;
        let gateways = answer.as_array().context("delivery is not a list")?;
        let mut all = Arrived::default();
        for gateway in gateways {
            all.stored += number(gateway, "stored_readings")?;
            all.twice += number(gateway, "twice")?;
            all.missing += number(gateway, "missing_records")?;
            all.aside += number(gateway, "parked")? + number(gateway, "dead")?;
            all.journalled += number(gateway, "journalled_readings")?;
        }
        Ok(all)
    }
}

impl Load {
    /// Starts `furrow-sim` with `arguments`, its subcommand first; the log begins anew.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(sim: &Path, arguments: &[&str], log: &Path) -> anyhow::Result<Self> {
        std::fs::remove_file(log).ok();
        let mut command = Command::new(sim);
        command.args(arguments).arg("--json");
        Process::start("furrow-sim", &mut command, log).map(Load)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.ended()?.is_some())
    }

    /// Waits for its end; gives its totals.
    ///
    /// # Errors
    /// When it does not end in time, or without totals, or with readings unacknowledged.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<Value> {
        let status = self.0.wait(patience)?;
        ensure!(
            status.success(),
            "the fleet ended with {status}:\n{}",
            self.0.log_tail()
        );
        let text = std::fs::read_to_string(self.0.log()).context("read the fleet's log")?;
        let totals = text.lines().rfind(|line| line.starts_with('{'));
        serde_json::from_str(totals.context("the fleet printed no totals")?)
            .context("read the fleet's totals")
    }
}

/// A count in one of the answers.
///
/// # Errors
/// When it is not there.
pub fn number(value: &Value, key: &str) -> anyhow::Result<u64> {
    let field = value.get(key).and_then(Value::as_u64);
    field.with_context(|| format!("no number {key} in {value}"))
}
