//! `report`: what somebody who helps from afar needs to see, in one file without secrets.

mod facts;
mod redact;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use self::redact::Redactor;
use super::{EXIT_FAILURE, load, print};
use crate::calibrations;
use crate::config::Settings;
use crate::control::{Answer, Ask, client};

/// Largest part of the bundle, in bytes: the end of a longer one is kept, since it is the newest.
const PART_MAX: usize = 1024 * 1024;
/// Lines of the system's log.
const LOG_LINES: &str = "1000";

/// Collect configuration, state, journal, log and facts of the machine for whoever helps
///
/// Secrets are taken out before anything is written: passwords and whatever else is called one,
/// wherever they stand. Look into it before you send it. Prints what it holds. Works with and without
/// a running gateway; the buses are looked at only without one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    sudo furrow-gateway report\n  \
    furrow-gateway --config ./gateway.toml report --output /tmp/report.tar.gz --log ./gateway.log\n  \
    tar --list -f furrow-report-gw-01.tar.gz")]
pub struct Report {
    /// Where it goes [default: furrow-report-GATEWAY-TIME.tar.gz here]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A log file of the gateway, where the system's journal has none
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Look at the buses, too, when no gateway is running
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "TRUE|FALSE")]
    scan: bool,
}

/// One file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    name: &'static str,
    /// Its text, or why there is none.
    text: Result<String, String>,
}

#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("read the configuration {}", path.display())]
    Config { path: PathBuf, source: io::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Report {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, config: &Path) -> ExitCode {
        let settings = match load(config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        match self.collect(config, &settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print::error(&error);
                ExitCode::from(EXIT_FAILURE)
            }
        }
    }

    fn collect(&self, config: &Path, settings: &Settings) -> Result<(), ReportError> {
        let text = fs::read_to_string(config).map_err(|source| ReportError::Config {
            path: config.to_owned(),
            source,
        })?;
        let redactor = Redactor::new(settings, &text);
        let mut parts = self.parts(config, settings, &text);
        for part in &mut parts {
            part.text = part.text.take_redacted(&redactor);
        }
        let now = Timestamp::now();
        let name = format!(
            "furrow-report-{}-{}",
            settings.gateway().id,
            now.strftime("%Y%m%d-%H%M%S")
        );
        let default = PathBuf::from(format!("{name}.tar.gz"));
        let path = self.output.clone().unwrap_or(default);
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        write(&path, &name, &parts, seconds).map_err(|source| ReportError::Write {
            path: path.clone(),
            source,
        })?;
        print::line(format!("{} holds, without secrets:", path.display()));
        for part in &parts {
            match &part.text {
                Ok(text) => print::line(format!("  {:<18} {} bytes", part.name, text.len())),
                Err(why) => print::line(format!("  {:<18} missing: {why}", part.name)),
            }
        }
        Ok(())
    }

    fn parts(&self, config: &Path, settings: &Settings, text: &str) -> Vec<Part> {
        let socket = settings.gateway().control_socket();
        let asked = |question: &Ask| {
            let found = super::status::report(&socket, question);
            found
                .map(|report| format!("{report:#}\n"))
                .map_err(|error| print::chain(&error))
        };
        let calibrated = calibrations::load(&settings.gateway().state_dir);
        let calibrated = calibrated
            .map_err(|error| print::chain(&error))
            .and_then(|all| {
                serde_json::to_string_pretty(all.entries()).map_err(|error| error.to_string())
            });
        let parts = [
            ("config.toml", redact::config(text)),
            ("check.txt", own_output(config, &["check"])),
            ("status.json", asked(&Ask::Status)),
            ("samples.json", samples(&socket)),
            ("journal.json", own_output(config, &["journal", "--json"])),
            ("calibrations.json", calibrated),
            ("scan.txt", self.scanned(config)),
            ("log.txt", self.log()),
            ("machine.txt", Ok(facts::machine(settings))),
        ];
        parts.map(|(name, text)| Part { name, text }).into()
    }

    fn scanned(&self, config: &Path) -> Result<String, String> {
        if !self.scan {
            return Err("not wanted".to_owned());
        }
        own_output(config, &["scan"])
    }

    fn log(&self) -> Result<String, String> {
        match &self.log {
            Some(path) => {
                let bytes =
                    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            None => {
                let wanted = [
                    "-u",
                    "furrow-gateway",
                    "-n",
                    LOG_LINES,
                    "--no-pager",
                    "-o",
                    "short-iso",
                ];
                facts::output("journalctl", &wanted)
            }
        }
    }
}

/// Redacts a text, or the reason why there is none.
trait TakeRedacted {
    fn take_redacted(&mut self, redactor: &Redactor) -> Self;
}

impl TakeRedacted for Result<String, String> {
    fn take_redacted(&mut self, redactor: &Redactor) -> Self {
        match self {
            Ok(text) => {
                // The end is the newest; secrets go first, so that none is cut in two.
                let clean = redactor.clean(text);
                let from = clean.len().saturating_sub(PART_MAX);
                let from = clean.ceil_char_boundary(from);
                Ok(clean.get(from..).unwrap_or_default().to_owned())
            }
            Err(why) => Err(redactor.clean(why)),
        }
    }
}

/// Every channel's latest sample, where a gateway is running.
fn samples(socket: &Path) -> Result<String, String> {
    let answers = client::ask(socket, &Ask::Watch).map_err(|error| print::chain(&error))?;
    let mut all = Vec::new();
    for answer in answers {
        if let Answer::Samples { samples } = answer.map_err(|error| print::chain(&error))? {
            all.extend(samples);
        }
    }
    serde_json::to_string_pretty(&all).map_err(|error| error.to_string())
}

/// What another command of this program prints, its errors included.
fn own_output(config: &Path, words: &[&str]) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let config = config.display().to_string();
    let mut arguments = vec!["--config", config.as_str()];
    arguments.extend(words);
    facts::output(&program.display().to_string(), &arguments)
}

fn write(path: &Path, folder: &str, parts: &[Part], seconds: u64) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let encoder = GzEncoder::new(options.open(path)?, Compression::default());
    let mut archive = tar::Builder::new(encoder);
    for part in parts {
        let Ok(text) = &part.text else { continue };
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        header.set_mtime(seconds);
        archive.append_data(
            &mut header,
            format!("{folder}/{}", part.name),
            text.as_bytes(),
        )?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_written_is_a_common_archive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.tar.gz");
        let part = |name, text: Result<&str, &str>| Part {
            name,
            text: text.map(str::to_owned).map_err(str::to_owned),
        };
        let parts = [
            part("config.toml", Ok("[gateway]\n")),
            part("log.txt", Err("none")),
        ];
        write(&path, "furrow-report", &parts, 1_760_000_000).unwrap();
        let file = fs::File::open(&path).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text));
        }
        let expected = (
            "furrow-report/config.toml".to_owned(),
            "[gateway]\n".to_owned(),
        );
        assert_eq!(found, [expected]);
    }

    #[test]
    fn the_newest_of_a_long_part_is_kept() {
        let redactor = Redactor::of(&["secret"]);
        let long = format!("secret{}end", "ă".repeat(PART_MAX));
        let kept = Ok(long).take_redacted(&redactor).unwrap();
        assert!(kept.len() <= PART_MAX && kept.ends_with("end"));
    }
}
