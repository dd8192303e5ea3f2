//! `furrow-ingest check`: says whether `run` would start, without starting it.
//!
//! The configuration has been checked by then. This looks at what it names: the data directory, the
//! TLS files, the addresses, the stores.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;

use crate::archive::Retention;
use crate::config::{HeartbeatSettings, LinkSettings, Settings, StoreSettings};
use crate::heartbeat::Heartbeat;

/// Prints what was found, one line each.
///
/// # Errors
/// When something would keep `run` from starting.
pub fn check(settings: &Settings, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut problems = 0;
    let mut line = |what: &str, result: std::io::Result<String>| -> anyhow::Result<()> {
        match result {
            Ok(text) => writeln!(out, "ok    {what}: {text}")?,
            Err(error) => {
                problems += 1;
                writeln!(out, "wrong {what}: {error}")?;
            }
        }
        Ok(())
    };
    let gateways: usize = settings.cooperatives.iter().map(|c| c.gateways.len()).sum();
    let counts = format!(
        "{} cooperatives, {gateways} gateways",
        settings.cooperatives.len()
    );
    line("configuration", Ok(counts))?;
    for cooperative in &settings.cooperatives {
        if cooperative.retention != Retention::default() {
            let kept = format!(
                "of {}: {}",
                cooperative.id,
                retention(cooperative.retention)
            );
            line("retention", Ok(kept))?;
        }
    }
    line("data_dir", directory(&settings.data_dir))?;
    line("http.listen", address(settings.http_listen))?;
    if let Some(heartbeat) = &settings.heartbeat {
        // Not tried: a beat would say that ingest is well.
        let text = format!("every {} s", heartbeat.every.as_secs());
        line("heartbeat", heartbeat_client(heartbeat).map(|()| text))?;
    }
    match &settings.link {
        LinkSettings::Embedded { listen, tls } => {
            line("broker.listen", address(*listen))?;
            if let Some(tls) = tls {
                line("broker.tls.certificate", file(&tls.certificate))?;
                line("broker.tls.key", file(&tls.key))?;
            }
        }
        LinkSettings::Outside {
            host,
            port,
            ca_file,
            ..
        } => {
            line("mqtt.url", Ok(format!("{host}:{port}")))?;
            if let Some(ca_file) = ca_file {
                line("mqtt.ca_file", file(ca_file))?;
            }
        }
    }
    for store in &settings.stores {
        line(&format!("store {}", store.name), Ok(asked(store)?))?;
    }
    anyhow::ensure!(
        problems == 0,
        "{problems} things would keep ingest from starting"
    );
    Ok(())
}

fn retention(retention: Retention) -> String {
    let Retention {
        readings_ms,
        minutes_ms,
        hours_ms,
    } = retention;
    let kept = |kept: Option<i64>| match kept {
        Some(ms) => format!("{} days", ms / 86_400_000),
        None => "for ever".to_owned(),
    };
    format!(
        "readings {}, minutes {}, hours {}",
        kept(readings_ms),
        kept(minutes_ms),
        kept(hours_ms)
    )
}

/// One that is away is no reason not to start: the log holds what it has still to get.
fn asked(store: &StoreSettings) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    let client = store.open().context("can't make its client")?;
    let address = store.address();
    Ok(match runtime.block_on(client.health()) {
        Ok(()) => format!("{address} answers"),
        Err(fault) => format!("{address} is not ready, which ingest waits for: {fault}"),
    })
}

fn directory(path: &Path) -> std::io::Result<String> {
    std::fs::create_dir_all(path)?;
    let probe = path.join(".check");
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)?;
    Ok(format!("{} can be written", path.display()))
}

fn file(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::read(path)?;
    Ok(format!("{} has {} bytes", path.display(), bytes.len()))
}

fn heartbeat_client(settings: &HeartbeatSettings) -> std::io::Result<()> {
    Heartbeat::new(settings).map_err(|error| std::io::Error::other(format!("{error:#}")))?;
    Ok(())
}

fn address(address: SocketAddr) -> std::io::Result<String> {
    let bound = TcpListener::bind(address)?;
    drop(bound);
    Ok(format!("{address} is free"))
}

/// Runs the check with the process's output.
///
/// # Errors
/// As [`check`].
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    check(settings, &mut std::io::stdout().lock()).context("check failed")
}
