//! A real Prometheus on loopback, to compare answers with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::api::Api;
use crate::process::{Process, free_port, until};

const START_PATIENCE: Duration = Duration::from_secs(60);

/// The programs of Debian's package.
#[derive(Debug, Clone)]
pub struct Programs {
    server: PathBuf,
    /// Looks at rules, metrics and blocks.
    pub promtool: PathBuf,
}

/// Finds them; whether the package's own service runs does not matter.
///
/// # Errors
/// When they are not installed.
pub fn find() -> anyhow::Result<Programs> {
    let [server, promtool] = ["/usr/bin/prometheus", "/usr/bin/promtool"].map(PathBuf::from);
    ensure!(
        server.is_file() && promtool.is_file(),
        "prometheus is missing: install it, on Debian: sudo apt-get install prometheus"
    );
    Ok(Programs { server, promtool })
}

/// A Prometheus that collects nothing.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Process,
}

impl Prometheus {
    /// Makes its store from samples in OpenMetrics' text format, and starts it.
    ///
    /// # Errors
    /// When it does not take them, or is not ready soon.
    pub fn start(programs: &Programs, folder: &Path, samples: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let (text, store) = (folder.join("samples.om"), folder.join("store"));
        std::fs::write(&text, samples).context("write the samples")?;
        let mut import = Command::new(&programs.promtool);
        import.args(["tsdb", "create-blocks-from", "openmetrics"]);
        let output = import.arg(&text).arg(&store).output();
        let output = output.context("start promtool")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "promtool: {error}");
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "{}\n").context("write prometheus' configuration")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new(&programs.server);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", store.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address={address}"));
        let log = folder.join("prometheus.log");
        let process = Process::start("prometheus", &mut command, &log)?;
        let started = Prometheus {
            address,
            _process: process,
        };
        let api = started.api();
        until(START_PATIENCE, || {
            let ready = matches!(api.get_raw("/-/ready"), Ok((200, _)));
            Ok(ready.then_some(()))
        })
        .context("wait for prometheus")?;
        Ok(started)
    }

    /// Its HTTP interface.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.address, "")
    }
}
