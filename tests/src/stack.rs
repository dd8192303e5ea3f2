//! One ingest and its greenhouses, as separate processes in one folder.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::api::Api;
use crate::binaries::Binaries;
use crate::process::{Process, free_port, until};

/// How long ingest may take to be ready: it reads its log and archives first.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a graceful stop may take.
pub const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// A cooperative in ingest's configuration.
#[derive(Debug, Clone)]
pub struct Cooperative {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Access token of its technicians.
    pub token: String,
    /// Gateway id, greenhouse id, password.
    pub gateways: Vec<(String, String, String)>,
    /// `[[cooperative.alert]]` tables, as TOML.
    pub alerts: String,
}

impl Cooperative {
    /// That of [`SiteConfig::usual`](crate::site::SiteConfig::usual), without alert rules.
    #[must_use]
    pub fn usual(token: &str) -> Self {
        let gateway = ("gw-01", "nha-luoi-1", "secret");
        Self {
            id: "hoa-binh".to_owned(),
            name: "HTX Hòa Bình".to_owned(),
            token: token.to_owned(),
            gateways: vec![(gateway.0.into(), gateway.1.into(), gateway.2.into())],
            alerts: String::new(),
        }
    }
}

/// A running ingest.
#[derive(Debug)]
pub struct Ingest {
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    http: SocketAddr,
    mqtt: SocketAddr,
    process: Option<Process>,
}

impl Ingest {
    /// Writes the configuration and starts ingest in `folder`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(
        binaries: &Binaries,
        folder: &Path,
        cooperatives: &[Cooperative],
        extra: &str,
        http_port: Option<u16>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let http = local(match http_port {
            Some(port) => port,
            None => free_port()?,
        });
        let mqtt = local(free_port()?);
        let config = folder.join("ingest.toml");
        let link = format!("[broker]\nlisten = \"{mqtt}\"\n");
        let text = ingest_toml(&folder.join("data"), http, &link, cooperatives) + extra;
        std::fs::write(&config, text).context("write ingest's configuration")?;
        Self::with_config(binaries, folder, config, http, mqtt)
    }

    /// Writes the configuration and starts ingest in `folder`, on a broker outside.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_outside(
        binaries: &Binaries,
        folder: &Path,
        cooperatives: &[Cooperative],
        broker: SocketAddr,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = folder.join("ingest.toml");
        let link = format!(
            "[mqtt]\nurl = \"mqtt://{broker}\"\nusername = \"furrow-ingest\"\npassword = \"secret\"\n"
        );
        let text = ingest_toml(&folder.join("data"), http, &link, cooperatives);
        std::fs::write(&config, text).context("write ingest's configuration")?;
        Self::with_config(binaries, folder, config, http, broker)
    }

    /// Starts ingest by a configuration that another program wrote, which listens there; its log
    /// goes to `folder`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn with_config(
        binaries: &Binaries,
        folder: &Path,
        config: PathBuf,
        http: SocketAddr,
        mqtt: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut ingest = Ingest {
            binary: binaries.ingest.clone(),
            config,
            log: folder.join("ingest.log"),
            http,
            mqtt,
            process: None,
        };
        ingest.restart()?;
        Ok(ingest)
    }

    /// Starts it (again), under the same addresses, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        self.wait_ready(START_PATIENCE)
    }

    /// Starts it (again), under the same addresses, and waits for nothing.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(&self.config).arg("run");
        self.process = Some(Process::start("furrow-ingest", &mut command, &self.log)?);
        Ok(())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not, or has ended.
    pub fn wait_ready(&mut self, patience: Duration) -> anyhow::Result<()> {
        let api = self.api("");
        let process = self.process.as_mut().context("ingest is not running")?;
        until(patience, || {
            if let Some(status) = process.ended()? {
                anyhow::bail!("ingest ended with {status}:\n{}", process.log_tail());
            }
            Ok(api.is_ready().then_some(()))
        })
        .context("wait for ingest")
    }

    /// Its process, while it was not killed or stopped.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Kills it, as a power cut would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("ingest is not running")?.kill()
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// When it is not running or does not stop.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("ingest is not running")?;
        let status = process.stop(STOP_PATIENCE)?;
        anyhow::ensure!(
            status.success(),
            "ingest ended with {status}:\n{}",
            process.log_tail()
        );
        Ok(())
    }

    /// Where its pages are.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where its broker is.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Its HTTP interface with a token.
    #[must_use]
    pub fn api(&self, token: &str) -> Api {
        Api::new(self.http, token)
    }

    /// Backs all archives up while ingest runs; gives the backup's folder.
    ///
    /// # Errors
    /// When the backup fails.
    pub fn backup(&self, to: &Path) -> anyhow::Result<PathBuf> {
        let output = Command::new(&self.binary)
            .arg("--config")
            .arg(&self.config)
            .args(["backup", "--to"])
            .arg(to)
            .output()
            .context("start furrow-ingest backup")?;
        let error = String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        anyhow::ensure!(status.success(), "backup ended with {status}: {error}");
        let folder = String::from_utf8(output.stdout).context("backup's folder")?;
        Ok(folder.trim().into())
    }

    /// Everything that a cooperative has, as CSV.
    ///
    /// # Errors
    /// When the export fails.
    pub fn export(&self, cooperative: &str, to: &Path) -> anyhow::Result<()> {
        let output = Command::new(&self.binary)
            .arg("--config")
            .arg(&self.config)
            .args([
                "export",
                "--cooperative",
                cooperative,
                "--format",
                "csv",
                "--output",
            ])
            .arg(to)
            .output()
            .context("start furrow-ingest export")?;
        let error = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "export ended with {}: {error}",
            output.status
        );
        Ok(())
    }
}

fn ingest_toml(data: &Path, http: SocketAddr, link: &str, cooperatives: &[Cooperative]) -> String {
    let mut out = format!("data_dir = {data:?}\n\n{link}\n[http]\nlisten = \"{http}\"\n");
    for cooperative in cooperatives {
        let Cooperative {
            id,
            name,
            token,
            gateways,
            alerts,
        } = cooperative;
        // Writing to a string can't fail.
        write!(out, "\n[[cooperative]]\nid = {id:?}\nname = {name:?}\n").ok();
        for (gateway, greenhouse, password) in gateways {
            write!(
                out,
                "\n[[cooperative.gateway]]\nid = {gateway:?}\ngreenhouse = {greenhouse:?}\n\
                 password = {password:?}\n"
            )
            .ok();
        }
        write!(
            out,
            "\n[[cooperative.token]]\nname = \"kỹ thuật\"\ntoken = {token:?}\n"
        )
        .ok();
        out.push('\n');
        out.push_str(alerts);
    }
    out.push('\n');
    out
}
