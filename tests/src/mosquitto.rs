//! Mosquitto as an outside broker, with its defaults: what a power cut takes from it, it has lost.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use crate::process::{Process, free_port, until};

const START_PATIENCE: Duration = Duration::from_secs(10);

/// The program of Debian's package.
///
/// # Errors
/// When it is not installed.
pub fn find() -> anyhow::Result<PathBuf> {
    let mut places = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"]
        .map(PathBuf::from)
        .into_iter();
    let found = places.find(|path| path.is_file());
    found.context("mosquitto is missing: install it, on Debian: sudo apt-get install mosquitto")
}

/// A Mosquitto on loopback that anybody may use.
#[derive(Debug)]
pub struct Mosquitto {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

impl Mosquitto {
    /// Writes its configuration in `folder` and starts it.
    ///
    /// # Errors
    /// When it does not listen soon.
    pub fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = folder.join("mosquitto.conf");
        // Without a listener of its own it would take 1883; all else is as it comes.
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\n",
            address.port()
        );
        std::fs::write(&config, text).context("write mosquitto's configuration")?;
        let mut broker = Mosquitto {
            program: program.to_owned(),
            config,
            log: folder.join("mosquitto.log"),
            address,
            process: None,
        };
        broker.spawn()?;
        until(START_PATIENCE, || {
            Ok(TcpStream::connect(address).is_ok().then_some(()))
        })
        .context("wait for mosquitto")?;
        Ok(broker)
    }

    /// Starts it (again) under the same address, and waits for nothing.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&self.config);
        self.process = Some(Process::start("mosquitto", &mut command, &self.log)?);
        Ok(())
    }

    /// Kills it, as a power cut would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let process = self.process.take();
        process.context("mosquitto is not running")?.kill()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, while it was not killed.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}
