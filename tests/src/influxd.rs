//! An InfluxDB 2 on loopback: the real server, with its defaults.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::process::{Process, free_port, until};
use crate::servers::target_beside_test;

/// The version that is tested against: `tests/servers/influxd/go.mod` names the same.
pub const VERSION: &str = "2.7.12";
/// Its first organisation.
pub const ORG: &str = "furrow";
/// A token that may do everything.
pub const TOKEN: &str = "token-of-the-tests";
/// Its first bucket, without retention.
pub const BUCKET: &str = "readings";
/// Names the program, if it is not the one that `cargo xtask servers` builds.
pub const VARIABLE: &str = "INFLUXD";

const START_PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// Where `cargo xtask servers` puts the program.
#[must_use]
pub fn built(target: &Path) -> PathBuf {
    target.join(format!("servers/influxd-{VERSION}/influxd"))
}

/// The program: what `INFLUXD` names, or the one that was built.
///
/// # Errors
/// When there is none, with what to do.
pub fn find() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(named);
        ensure!(
            path.is_file(),
            "{VARIABLE} names {}, which is no file",
            path.display()
        );
        return Ok(path);
    }
    let path = built(&target_beside_test()?);
    ensure!(
        path.is_file(),
        "influxd is missing: `cargo xtask servers` builds it, or set {VARIABLE} to one of version 2; \
         `cargo xtask test --without influxdb` tests without it"
    );
    Ok(path)
}

/// A server with one organisation, one bucket and one token.
#[derive(Debug)]
pub struct Influxd {
    program: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    port: u16,
    process: Option<Process>,
    agent: ureq::Agent,
}

impl Influxd {
    /// Starts it with its data in `folder` and its log beside that, and sets it up.
    ///
    /// # Errors
    /// When it is not ready soon.
    pub fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_PATIENCE))
            .http_status_as_error(false)
            .build()
            .into();
        let mut server = Influxd {
            program: program.to_owned(),
            folder: folder.to_owned(),
            log: folder.with_extension("log"),
            port: free_port()?,
            process: None,
            agent,
        };
        server.spawn()?;
        server.wait_ready()?;
        let first = json!({
            "username": "furrow", "password": "password-of-the-tests",
            "org": ORG, "bucket": BUCKET, "token": TOKEN, "retentionPeriodSeconds": 0,
        });
        let (status, answer) = server.post("/api/v2/setup", &first)?;
        ensure!(status == 201, "set up influxd: {status} {answer}");
        Ok(server)
    }

    /// Starts it (again) under the same address, and waits for nothing.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command
            .arg("--http-bind-address")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--bolt-path")
            .arg(self.folder.join("bolt"))
            .arg("--sqlite-path")
            .arg(self.folder.join("sqlite"))
            .arg("--engine-path")
            .arg(self.folder.join("engine"))
            .arg("--reporting-disabled");
        self.process = Some(Process::start("influxd", &mut command, &self.log)?);
        Ok(())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        until(START_PATIENCE, || {
            let process = self.process.as_mut().context("influxd is not running")?;
            if let Some(status) = process.ended()? {
                anyhow::bail!("influxd ended with {status}:\n{}", process.log_tail());
            }
            let ready = self.agent.get(&format!("{}/health", self.url())).call();
            Ok(ready
                .is_ok_and(|answer| answer.status().as_u16() == 200)
                .then_some(()))
        })
        .with_context(|| format!("wait for influxd, see {}", self.log.display()))
    }

    /// Kills it, as a power cut would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process
            .take()
            .context("influxd is not running")?
            .kill()
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Posts JSON with the token that may do everything; gives status and answer.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}{path}", self.url());
        let request = self
            .agent
            .post(&url)
            .header("authorization", &format!("Token {TOKEN}"));
        json_of(
            request
                .send_json(body)
                .with_context(|| format!("ask {url}"))?,
        )
    }

    /// Writes line protocol with times in milliseconds, as another program might.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn write(&self, bucket: &str, lines: &str) -> anyhow::Result<()> {
        let url = format!(
            "{}/api/v2/write?org={ORG}&bucket={bucket}&precision=ms",
            self.url()
        );
        let request = self
            .agent
            .post(&url)
            .header("authorization", &format!("Token {TOKEN}"));
        let (status, answer) = json_of(request.send(lines).with_context(|| format!("ask {url}"))?)?;
        ensure!(status == 204, "write to influxd: {status} {answer}");
        Ok(())
    }

    /// Changes something by JSON, likewise.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn patch(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}{path}", self.url());
        let request = self
            .agent
            .patch(&url)
            .header("authorization", &format!("Token {TOKEN}"));
        json_of(
            request
                .send_json(body)
                .with_context(|| format!("ask {url}"))?,
        )
    }

    /// Asks for JSON, likewise.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}{path}", self.url());
        let request = self
            .agent
            .get(&url)
            .header("authorization", &format!("Token {TOKEN}"));
        json_of(request.call().with_context(|| format!("ask {url}"))?)
    }
}

fn json_of(mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<(u16, Value)> {
    let text = answer
        .body_mut()
        .read_to_string()
        .context("read influxd's answer")?;
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok((answer.status().as_u16(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_built() {
        let module = include_str!("../servers/influxd/go.mod");
        assert!(module.contains(&format!("github.com/influxdata/influxdb/v2 v{VERSION}\n")));
    }
}
