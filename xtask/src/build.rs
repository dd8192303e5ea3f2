//! Building the programs and the page, with visible progress.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
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

/// Builds the page into `ingest/web/dist`, from which the ingest binary embeds it. Left alone when
/// nothing changed: new files there would make cargo compile ingest again.
pub(crate) fn build_page() -> anyhow::Result<()> {
    needs::node()?;
    let web = root()?.join("ingest/web");
    let stamp = target()?.join("page.stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|known| known == fingerprint(&web)) {
        return Ok(());
    }
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
    )?;
    std::fs::write(&stamp, fingerprint(&web)).context("remember what the page was built from")
}

/// Of the page's sources and of what was built from them.
fn fingerprint(web: &Path) -> String {
    const NOT_SOURCES: [&str; 2] = ["node_modules", "test-results"];
    let mut hasher = DefaultHasher::new();
    let mut folders = vec![web.to_owned()];
    let mut files = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_folder {
                files.insert(entry.path());
            } else if !NOT_SOURCES.iter().any(|name| entry.file_name() == *name) {
                folders.push(entry.path());
            }
        }
    }
    for file in files {
        (&file, std::fs::read(&file).unwrap_or_default()).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
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

/// Where cargo builds.
pub(crate) fn target() -> anyhow::Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => Ok(folder.into()),
        None => Ok(root()?.join("target")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_built_again_when_a_source_or_the_result_differs() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("src/app.ts", "1");
        write("dist/app.js", "1");
        let first = fingerprint(folder.path());
        write("node_modules/a.js", "1");
        write("dist/app.js", "1");
        assert_eq!(fingerprint(folder.path()), first);
        let mut seen = BTreeSet::from([first]);
        for (path, text) in [
            ("src/app.ts", "2"),
            ("dist/app.js", "2"),
            ("src/new.ts", ""),
        ] {
            write(path, text);
            assert!(seen.insert(fingerprint(folder.path())), "{path}");
        }
    }
}
