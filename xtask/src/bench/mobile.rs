//! Mobile data of the reference greenhouse: what the kernel counts of the gateway's connection.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use furrow_tests::binaries::Binaries;
use furrow_tests::process::pause;
use furrow_tests::site::{Site, SiteConfig};
use furrow_tests::stack::Ingest;
use furrow_tests::tls::Certificate;

use super::figure::Figure;
use super::usage::command;
use super::wire::{cooperative, site_config};

/// Two boards' worth makes the reference greenhouse's 16 channels.
const MORE_CHANNELS: u8 = 2;
/// The connection is made, the catalog and the birth are over.
const WARM_UP: Duration = Duration::from_secs(70);
/// A birth is said every half hour: one falls into the measurement.
const MEASURE: Duration = Duration::from_secs(30 * 60);
const MONTH_S: f64 = 30.0 * 24.0 * 3_600.0;
/// IPv4 header and TCP header with time stamps (RFC 791, RFC 9293, RFC 7323).
const HEADERS_BYTES: f64 = 20.0 + 32.0;

/// Both directions of a TCP connection.
#[derive(Debug, Clone, Copy)]
struct Carried {
    payload: f64,
    segments: f64,
}

/// Real time, TLS, 16 channels at 10 s, committed every 30 s; sent every 60 s, and by the profile
/// `saver` every 5 minutes.
pub(super) fn measure(binaries: &Binaries, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut normal = Running::start(binaries, &folder.join("normal"), "60s")?;
    let mut saver = Running::start(binaries, &folder.join("saver"), "5min")?;
    pause(WARM_UP);
    let before = (normal.carried()?, saver.carried()?);
    pause(MEASURE);
    let after = (normal.carried()?, saver.carried()?);
    normal.site.stop()?;
    saver.site.stop()?;
    let name = "mobile data of the reference greenhouse, TLS, TCP and IP included";
    let saved = "mobile data of the reference greenhouse, profile saver";
    let unit = "MB a month";
    Ok(vec![
        Figure::at_most(name, after.0.month_mb_since(before.0), unit, 35.0),
        Figure::at_most(saved, after.1.month_mb_since(before.1), unit, 20.0),
    ])
}

/// An ingest of its own and one gateway: the kernel counts by port.
struct Running {
    ingest: Ingest,
    site: Site,
}

impl Running {
    fn start(binaries: &Binaries, folder: &Path, send: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).context("make a folder")?;
        let certificate = Certificate::make(folder)?;
        let extra = certificate.ingest_toml();
        let at = folder.join("ingest");
        let ingest = Ingest::start(binaries, &at, &[cooperative()], &extra, None)?;
        let config = SiteConfig {
            more_channels: MORE_CHANNELS,
            ca_file: Some(certificate.certificate),
            ..site_config("10s", "30s", send)
        };
        let boards = config.boards().to_string();
        let arguments = [
            "greenhouse",
            "--seed",
            "1",
            "--boards",
            &boards,
            "--speed",
            "1",
        ];
        let at = folder.join("site");
        let mut site = Site::open(binaries, &at, config, &arguments, ingest.mqtt())?;
        site.start_gateway()?;
        Ok(Running { ingest, site })
    }

    fn carried(&self) -> anyhow::Result<Carried> {
        Carried::by(self.ingest.mqtt().port())
    }
}

impl Carried {
    fn month_mb_since(self, before: Self) -> f64 {
        let segments = self.segments - before.segments;
        let bytes = self.payload - before.payload + segments * HEADERS_BYTES;
        bytes / MEASURE.as_secs_f64() * MONTH_S / 1e6
    }

    /// Of the one connection that was accepted at this port.
    fn by(port: u16) -> anyhow::Result<Self> {
        let text = command(
            "ss",
            &["-tinH", "state", "established", &format!("sport = :{port}")],
        )?;
        let number = |key: &str| -> anyhow::Result<f64> {
            let word = text
                .split_whitespace()
                .find_map(|word| word.strip_prefix(key));
            let word = word.with_context(|| format!("ss shows no {key} at port {port}"))?;
            word.parse().context("read what ss shows")
        };
        // Beside it stands data_segs_out.
        let words = text.split_whitespace();
        let connections = words.filter(|word| word.starts_with("segs_out:")).count();
        anyhow::ensure!(connections == 1, "{connections} connections at port {port}");
        Ok(Carried {
            payload: number("bytes_sent:")? + number("bytes_received:")?,
            segments: number("segs_out:")? + number("segs_in:")?,
        })
    }
}
