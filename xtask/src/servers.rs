//! `cargo xtask servers`: the servers of others that tests are run against.
//!
//! InfluxDB 2 is in no package archive for Rust or Debian, but its module builds with Go and cargo. It is built once into
//! the target folder, by version, outside of the build profiles. VictoriaMetrics is a package of Debian; what that
//! starts as a service is not used.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use clap::Args;
use furrow_tests::servers::{Server, WITHOUT_VARIABLE};
use furrow_tests::{influxd, victoria};

use crate::build::{root, step, target};
use crate::{needs, say};

/// What says that a server can be done without.
const WAIVER: &str = "or test without it: cargo xtask test --without";
/// Calls the compiler it is given: newer ones warn of what older code forbids.
const RUSTC_WRAPPER: &str = "#!/bin/sh\nexec \"$@\" --cap-lints warn\n";

/// Options of `servers`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask servers\n  INFLUXD=/usr/bin/influxd cargo xtask servers"
)]
pub(crate) struct Options {}

/// A server's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// `InfluxDB` 2.
    Influxdb,
    /// `VictoriaMetrics`.
    Victoria,
}

impl Name {
    const ALL: [Name; 2] = [Name::Influxdb, Name::Victoria];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Name::Influxdb => Server::Influxdb.as_str(),
            Name::Victoria => Server::Victoria.as_str(),
        }
    }
}

/// Has all of them.
pub(crate) fn run(_options: &Options) -> anyhow::Result<ExitCode> {
    for (name, value) in ensure_all(&[])? {
        say!("{name}={}", value.display());
    }
    say!("victoria-metrics: {}", victoria::find()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Has those that are not waived; gives what tests must find in their environment.
pub(crate) fn ensure_all(without: &[Name]) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let mut variables = Vec::new();
    for name in Name::ALL.into_iter().filter(|name| !without.contains(name)) {
        let had = match name {
            Name::Influxdb => {
                influxdb().map(|path| variables.push((influxd::VARIABLE, path.into())))
            }
            Name::Victoria => victoria_metrics(),
        };
        had.with_context(|| format!("{WAIVER} {}", name.as_str()))?;
    }
    if !without.is_empty() {
        let names: Vec<&str> = without.iter().map(|name| name.as_str()).collect();
        variables.push((WITHOUT_VARIABLE, names.join(",").into()));
    }
    Ok(variables)
}

fn victoria_metrics() -> anyhow::Result<()> {
    if victoria::find().is_err() {
        needs::apt_install(&["victoria-metrics"])?;
    }
    victoria::find().map(drop)
}

/// What `INFLUXD` names, what was built before, or what is built now.
fn influxdb() -> anyhow::Result<PathBuf> {
    if std::env::var_os(influxd::VARIABLE).is_some() {
        return influxd::find();
    }
    let program = influxd::built(&target()?);
    if program.is_file() {
        return Ok(program);
    }
    let remedy =
        "install Go 1.23 or newer (https://go.dev/dl), or set INFLUXD to an influxd of version 2";
    ensure!(
        needs::has("go"),
        "influxd has to be built, and go is missing: {remedy}"
    );
    needs::packages(&[
        ("pkg-config", "pkg-config"),
        ("protoc", "protobuf-compiler"),
        ("clang", "clang"),
    ])?;
    let folder = program.parent().context("the folder of influxd")?;
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let wrapper = folder.join("rustc-wrapper");
    write_program(&wrapper, RUSTC_WRAPPER)?;
    say!(
        "influxd {} is built once: about five minutes",
        influxd::VERSION
    );
    let recipe = Recipe {
        module: root()?.join("tests/servers/influxd"),
        folder: folder.to_owned(),
        has_stable: has_toolchain("stable"),
    };
    for (name, mut command) in recipe.commands() {
        step(name, &mut command).context(remedy)?;
    }
    // Under its name only when it is whole.
    std::fs::rename(recipe.part(), &program).context("name influxd")?;
    Ok(program)
}

struct Recipe {
    /// Names the version, and nothing else of `InfluxDB`.
    module: PathBuf,
    /// For the programs.
    folder: PathBuf,
    /// Whether rustup has a toolchain of that name.
    has_stable: bool,
}

impl Recipe {
    fn part(&self) -> PathBuf {
        self.folder.join("influxd.part")
    }

    /// In this order.
    fn commands(&self) -> [(&'static str, Command); 2] {
        let wrapper = self.folder.join("pkg-config");
        let go = |output: &Path, package: &str, tags: &[&str]| {
            let mut command = Command::new("go");
            command
                .args(["build", "-o"])
                .arg(output)
                .args(tags)
                .arg(package)
                .current_dir(&self.module);
            command
        };
        // Flux asks pkg-config for its library, which is Rust: this one builds it with cargo.
        let first = go(&wrapper, "github.com/influxdata/pkg-config", &[]);
        let tags = ["-tags", "sqlite_foreign_keys,sqlite_json"];
        let mut second = go(
            &self.part(),
            "github.com/influxdata/influxdb/v2/cmd/influxd",
            &tags,
        );
        second
            .env("PKG_CONFIG", &wrapper)
            .env("RUSTC_WRAPPER", self.folder.join("rustc-wrapper"))
            // Of this workspace, not for that one.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS");
        if self.has_stable {
            // Flux names an older toolchain, which rustup would have to fetch.
            second.env("RUSTUP_TOOLCHAIN", "stable");
        }
        [("influxd: its pkg-config", first), ("influxd", second)]
    }
}

fn write_program(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let written = std::fs::write(path, text);
    let runnable =
        written.and_then(|()| std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)));
    runnable.with_context(|| format!("write {}", path.display()))
}

fn has_toolchain(name: &str) -> bool {
    let output = Command::new("rustup").args(["toolchain", "list"]).output();
    output.is_ok_and(|output| {
        let list = String::from_utf8_lossy(&output.stdout).into_owned();
        list.lines()
            .any(|line| line.split(['-', ' ']).next() == Some(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(has_stable: bool) -> Vec<String> {
        let recipe = Recipe {
            module: "module".into(),
            folder: "out".into(),
            has_stable,
        };
        let told = |command: &Command| {
            let mut words: Vec<String> = command
                .get_envs()
                .map(|(name, value)| {
                    format!("{}={}", name.display(), value.unwrap_or_default().display())
                })
                .collect();
            words.push(command.get_program().display().to_string());
            words.extend(command.get_args().map(|word| word.display().to_string()));
            words.join(" ")
        };
        recipe
            .commands()
            .iter()
            .map(|(_, command)| told(command))
            .collect()
    }

    #[test]
    fn the_recipe_is_the_one_that_was_run() {
        let wrapper = "go build -o out/pkg-config github.com/influxdata/pkg-config";
        let server = "CARGO_TARGET_DIR= PKG_CONFIG=out/pkg-config RUSTC_WRAPPER=out/rustc-wrapper RUSTFLAGS= \
             RUSTUP_TOOLCHAIN=stable go build -o out/influxd.part -tags sqlite_foreign_keys,sqlite_json \
             github.com/influxdata/influxdb/v2/cmd/influxd";
        assert_eq!(check(true), [wrapper.to_owned(), server.to_owned()]);
        assert_eq!(
            check(false),
            [
                wrapper.to_owned(),
                server.replace("RUSTUP_TOOLCHAIN=stable ", "")
            ]
        );
    }

    #[test]
    fn what_is_waived_is_not_looked_for() {
        let variables = ensure_all(&[Name::Influxdb, Name::Victoria]).unwrap();
        assert_eq!(
            variables,
            [(WITHOUT_VARIABLE, OsString::from("influxdb,victoria"))]
        );
    }
}
