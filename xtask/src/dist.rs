//! `cargo xtask dist`: the gateway for a Raspberry Pi, run under emulation before it is packed.

mod again;
mod cross;
mod smoke;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Args;

use crate::build::{root, step, target};
use crate::say;

/// What lies in the tarball beside gateway and guard, from the workspace's root.
const FILES: [&str; 8] = [
    "LICENSE",
    "deploy/README.md",
    "deploy/gateway.toml",
    "deploy/gateway-simulated.toml",
    "deploy/gateway-relays.toml",
    "deploy/furrow-gateway.service",
    "deploy/furrow-guard.service",
    "docs/installing-valves.md",
];

/// Options of `dist`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask dist --tarball\n  cargo xtask dist --tarball --output /tmp\n\n\
                  Needs the Rust target aarch64-unknown-linux-gnu, a cross linker and qemu-user; on Debian, as\n\
                  root, what is missing is installed by apt."
)]
pub(crate) struct Options {
    /// Pack program, example configurations and systemd unit.
    #[arg(long, required = true)]
    tarball: bool,
    /// Where the tarball goes [default: target/dist].
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Builds, runs and packs.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let work = target()?.join("dist");
    std::fs::create_dir_all(&work).context("make target/dist")?;
    let toolchain = cross::Toolchain::get(&work)?;
    let gateway = toolchain.build(&work)?;
    smoke::run(&gateway)?;
    let output = options.output.as_ref().unwrap_or(&work);
    std::fs::create_dir_all(output).with_context(|| format!("make {}", output.display()))?;
    let packed = pack(&work, &gateway, output)?;
    let bytes = std::fs::metadata(&packed)
        .context("look at the tarball")?
        .len();
    say!("{} ({:.1} MB)", packed.display(), mega(bytes));
    say!("on the Pi: tar xzf, then see its README.md");
    Ok(ExitCode::SUCCESS)
}

/// The same files give the same tarball.
fn pack(work: &Path, gateway: &Path, output: &Path) -> anyhow::Result<PathBuf> {
    let name = format!("furrow-gateway-{}-arm64", env!("CARGO_PKG_VERSION"));
    let folder = work.join(&name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("clear the folder to pack")?;
    }
    std::fs::create_dir(&folder).context("make the folder to pack")?;
    let copy = |from: &Path| {
        let to = folder.join(from.file_name().unwrap_or_default());
        std::fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))
    };
    copy(gateway)?;
    copy(&gateway.with_file_name("furrow-guard"))?;
    let root = root()?;
    for file in FILES {
        copy(&root.join(file))?;
    }
    let packed = output.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0"])
        .args(["--numeric-owner", "--mode=u=rwX,go=rX", "-czf"])
        .arg(&packed)
        .arg("-C")
        .arg(work)
        .arg(&name);
    step("tarball", &mut tar)?;
    Ok(packed)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
