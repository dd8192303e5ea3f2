//! A VictoriaMetrics on loopback: the single-node server of Debian's package.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::process::{Process, free_port, until};

/// As it must be told: years of readings, and each once.
const FLAGS: [&str; 2] = ["-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms"];
const START_PATIENCE: Duration = Duration::from_secs(30);

/// The program of Debian's package.
///
/// # Errors
/// When it is not installed, with what to do.
pub fn find() -> anyhow::Result<PathBuf> {
    let mut places = [
        "/usr/bin/victoria-metrics",
        "/usr/local/bin/victoria-metrics",
    ]
    .map(PathBuf::from)
    .into_iter();
    places.find(|path| path.is_file()).context(
        "victoria-metrics is missing: install it, on Debian: sudo apt-get install victoria-metrics; \
         `cargo xtask test --without victoria` tests without it",
    )
}

/// A server that anybody may use.
#[derive(Debug)]
pub struct Victoria {
    program: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Victoria {
    /// Starts it with its data in `folder` and its log beside that.
    ///
    /// # Errors
    /// When it is not ready soon.
    pub fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let mut server = Victoria {
            program: program.to_owned(),
            folder: folder.to_owned(),
            log: folder.with_extension("log"),
            port: free_port()?,
            process: None,
        };
        server.spawn()?;
        server.wait_ready()?;
        Ok(server)
    }

    /// Starts it (again) under the same address, and waits for nothing.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(FLAGS)
            .arg(format!("-storageDataPath={}", self.folder.display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{}", self.port));
        self.process = Some(Process::start("victoria-metrics", &mut command, &self.log)?);
        Ok(())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        until(START_PATIENCE, || {
            let process = self
                .process
                .as_mut()
                .context("victoria-metrics is not running")?;
            if let Some(status) = process.ended()? {
                anyhow::bail!(
                    "victoria-metrics ended with {status}:\n{}",
                    process.log_tail()
                );
            }
            let ready = ureq::get(&format!("{}/health", self.url())).call();
            Ok(ready.is_ok().then_some(()))
        })
        .with_context(|| format!("wait for victoria-metrics, see {}", self.log.display()))
    }

    /// Kills it, as a power cut would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process
            .take()
            .context("victoria-metrics is not running")?
            .kill()
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
