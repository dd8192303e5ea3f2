//! Building the programs and the page, with visible progress.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use furrow_tests::binaries::Binaries;

use crate::{needs, say};

/// How the programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As they ship.
    Release,
    /// Quicker to build.
    Dev,
}

/// Which programs a task runs.
#[derive(Debug, Args)]
pub(crate) struct Programs {
    /// How the programs are built.
    #[arg(long, value_enum, default_value = "release")]
    pub(crate) profile: Profile,
    /// Build nothing: take the programs from this folder, e.g. those of a package.
    #[arg(long, value_name = "FOLDER", conflicts_with = "profile")]
    pub(crate) programs: Option<PathBuf>,
}

impl Programs {
    /// Builds them, unless they are given.
    pub(crate) fn get(&self) -> anyhow::Result<Binaries> {
        match &self.programs {
            Some(folder) => Binaries::in_folder(folder),
            None => build_all(self.profile),
        }
    }
}

/// The workspace's root.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map(Path::to_owned)
        .context("find the workspace")
}

/// Builds page and programs; cargo's and npm's own progress is shown.
pub(crate) fn build_all(profile: Profile) -> anyhow::Result<Binaries> {
    build_page()?;
    let mut arguments = vec![
        "build",
        "--locked",
        "-p",
        "furrow-ingest",
        "-p",
        "furrow-gateway",
        "-p",
        "furrow-sim",
    ];
    if profile == Profile::Release {
        arguments.push("--release");
    }
    step(
        "programs",
        Command::new("cargo").args(arguments).current_dir(root()?),
    )?;
    Binaries::in_folder(&target()?.join(match profile {
        Profile::Release => "release",
        Profile::Dev => "debug",
    }))
}

/// Builds the page into `ingest/web/dist`, from which the ingest binary embeds it.
pub(crate) fn build_page() -> anyhow::Result<()> {
    needs::node()?;
    let web = root()?.join("ingest/web");
    if !web.join("node_modules/.package-lock.json").is_file() {
        let mut install = Command::new("npm");
        install
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&web);
        step("page: packages", &mut install)?;
    }
    step(
        "page",
        Command::new("npm")
            .args(["run", "--silent", "build"])
            .current_dir(&web),
    )
}

/// Runs a command whose output is the person's, and says how long it took.
pub(crate) fn step(what: &str, command: &mut Command) -> anyhow::Result<()> {
    say!("==> {what}");
    let start = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("start {program}"))?;
    ensure!(status.success(), "{what}: {program} ended with {status}");
    say!("    {what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn target() -> anyhow::Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => Ok(folder.into()),
        None => Ok(root()?.join("target")),
    }
}
