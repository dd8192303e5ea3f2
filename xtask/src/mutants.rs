//! Deliberate bugs: each is put into a copy of the sources, and the simulation has to catch it.
//!
//! The shipped code has no switches for them. A mutant that survives shows a hole in the checks. The
//! copy and what is built of it stay in `target/mutants`, so that a second run builds only what each
//! mutant touches.

mod list;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use self::list::{MUTANTS, Mutant};
use crate::build::root;
use crate::say;

/// Seeds for each mutant: all that are on the list fall within the first thousand or two.
const SEEDS: u64 = 3_000;
/// Folders of the project that are not sources.
const NOT_SOURCES: [&str; 4] = [".git", "node_modules", ".demo", "test-results"];
/// Large and rebuilt for most mutants, and their speed does not matter here.
const UNOPTIMISED: [&str; 2] = ["furrow-ingest", "furrow-gateway"];

/// What became of a mutant.
enum Fate {
    /// This check noticed, with this seed.
    Caught {
        check: String,
        seed: String,
    },
    Survived,
}

/// Builds and runs each mutant; fails if one survives.
pub(crate) fn run(only: Option<&str>) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    let place = root()?.join("target/mutants");
    let tree = place.join("tree");
    copy_sources(&root()?, &tree)?;
    seed_target(&place)?;
    say!("==> without a mutant");
    if let Fate::Caught { check, seed } = try_out(&place, &tree)? {
        bail!("the simulation fails without a mutant: seed {seed}: {check}");
    }
    let mut table = Vec::new();
    for mutant in MUTANTS {
        if only.is_some_and(|only| !mutant.name.contains(only)) {
            continue;
        }
        say!("==> {}", mutant.name);
        let start = Instant::now();
        let fate = with_mutant(mutant, &tree, || try_out(&place, &tree))?;
        let seconds = start.elapsed().as_secs();
        let text = match &fate {
            Fate::Caught { check, seed } => format!("{check} (seed {seed})"),
            Fate::Survived => "SURVIVED".to_owned(),
        };
        say!("    {text}, {seconds} s");
        table.push((mutant.name, text, matches!(fate, Fate::Survived)));
    }
    say!("\n{:<50} caught by", "mutant");
    for (name, text, _) in &table {
        say!("{name:<50} {text}");
    }
    let survived = table.iter().filter(|(_, _, survived)| *survived).count();
    let seconds = begin.elapsed().as_secs();
    say!("{} mutants, {survived} survived, {seconds} s", table.len());
    Ok(match survived {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Changes a file of the copy for as long as `work` takes.
fn with_mutant<T>(
    mutant: &Mutant,
    tree: &Path,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let path = tree.join(mutant.file);
    let sound = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let places = sound.matches(mutant.old).count();
    ensure!(
        places == 1,
        "{}: the text to replace stands {places} times in {}",
        mutant.name,
        mutant.file
    );
    fs::write(&path, sound.replace(mutant.old, mutant.new))?;
    let result = work();
    fs::write(&path, sound)?;
    result
}

/// Builds the copy and runs seeds until one fails.
fn try_out(place: &Path, tree: &Path) -> anyhow::Result<Fate> {
    let mut build = Command::new("cargo");
    build.args(["build", "--locked", "--quiet", "-p", "furrow-delivery-sim"]);
    for package in UNOPTIMISED {
        build.arg("--config");
        build.arg(format!("profile.dev.package.{package}.opt-level=0"));
    }
    let built = build
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", place)
        .output()
        .context("start cargo")?;
    // Warnings of what a mutant leaves unused are of no interest.
    ensure!(
        built.status.success(),
        "it does not compile: {}",
        String::from_utf8_lossy(&built.stderr)
    );
    let output = Command::new(place.join("debug/furrow-delivery-sim"))
        .args(["--fail-fast", "--partial", "--seeds", &SEEDS.to_string()])
        .env("RUST_BACKTRACE", "0")
        .output()
        .context("run the simulation")?;
    if output.status.success() {
        return Ok(Fate::Survived);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let failure = text
        .lines()
        .find_map(|line| line.strip_prefix("seed ")?.split_once(" failed in step "));
    let (seed, rest) = failure.context("the simulation failed without a seed")?;
    let check = rest.split(": ").nth(1).unwrap_or(rest);
    Ok(Fate::Caught {
        check: check.to_owned(),
        seed: seed.to_owned(),
    })
}

/// Brings the copy up to date; a file that did not change keeps its time, so that cargo builds only
/// what has to be.
fn copy_sources(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if NOT_SOURCES.contains(&text.as_ref()) || text.starts_with("target") {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_sources(&entry.path(), &target)?;
        } else {
            let bytes = fs::read(entry.path())?;
            if fs::read(&target).ok().as_ref() != Some(&bytes) {
                fs::write(&target, bytes)?;
            }
        }
    }
    Ok(())
}

/// What was built of other people's crates need not be built again.
fn seed_target(place: &Path) -> anyhow::Result<()> {
    let built = root()?.join("target/debug");
    let target = place.join("debug");
    if target.exists() || !built.exists() {
        return Ok(());
    }
    say!("==> copying built dependencies");
    for folder in ["deps", "build", ".fingerprint"] {
        copy_built(&built.join(folder), &target.join(folder))?;
    }
    Ok(())
}

fn copy_built(from: &Path, to: &PathBuf) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.contains("furrow") || text.contains("xtask") {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_built(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            let modified = entry.metadata()?.modified()?;
            fs::File::options()
                .append(true)
                .open(&target)?
                .set_modified(modified)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sources move on; a mutant whose place is gone would otherwise be noticed only when it is run.
    #[test]
    fn every_mutant_has_its_place() {
        let root = root().unwrap();
        let astray: Vec<&str> = MUTANTS
            .iter()
            .filter(|mutant| {
                let text = fs::read_to_string(root.join(mutant.file)).unwrap();
                text.matches(mutant.old).count() != 1
            })
            .map(|mutant| mutant.name)
            .collect();
        assert_eq!(astray, Vec::<&str>::new());
    }
}
