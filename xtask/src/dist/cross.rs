//! A compiler for 64-bit ARM, from rustup or from Debian.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::build::{root, step};
use crate::needs;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// Debian's compiler for browsers is new enough, and its standard library is built for ARM, too.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD: &str = "libstd-rust-web-dev";

/// How to compile for the Pi.
#[derive(Debug)]
pub(super) struct Toolchain {
    /// Debian's compiler and the folder with its ARM standard library; `None`: the usual one can.
    debian: Option<PathBuf>,
}

impl Toolchain {
    /// Finds one, or installs it where that is allowed.
    pub(super) fn get(work: &Path) -> anyhow::Result<Self> {
        needs::packages(&[
            (LINKER, "gcc-aarch64-linux-gnu"),
            ("qemu-aarch64", "qemu-user"),
        ])?;
        if !Path::new("/usr/aarch64-linux-gnu/include/stdio.h").is_file() {
            needs::apt_install(&["libc6-dev-arm64-cross"])?;
        }
        if usual_compiler_can()? {
            return Ok(Toolchain { debian: None });
        }
        let remedy = "or, with rustup: rustup target add aarch64-unknown-linux-gnu";
        if !Path::new(DEBIAN_RUSTC).is_file() {
            needs::apt_install(&["rustc-web"]).context(remedy)?;
        }
        let sysroot = debian_std(&work.join("arm64-std")).context(remedy)?;
        Ok(Toolchain {
            debian: Some(sysroot),
        })
    }

    /// Builds the gateway as it ships.
    pub(super) fn build(&self, work: &Path) -> anyhow::Result<PathBuf> {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["build", "--release", "--locked", "-p", "furrow-gateway"])
            .args(["--target", TARGET, "--target-dir"])
            .arg(work)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
            .current_dir(root()?);
        if let Some(sysroot) = &self.debian {
            cargo.env("RUSTC", DEBIAN_RUSTC).env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
                format!("--sysroot={}", sysroot.display()),
            );
        }
        step("gateway for 64-bit ARM", &mut cargo)?;
        let built = work.join(TARGET).join("release/furrow-gateway");
        ensure!(built.is_file(), "{} was not built", built.display());
        Ok(built)
    }
}

fn usual_compiler_can() -> anyhow::Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output().context("start rustc")?;
    let folder = String::from_utf8(output.stdout).context("read rustc's answer")?;
    Ok(output.status.success() && Path::new(folder.trim()).is_dir())
}

/// Debian's standard library for ARM, unpacked beside the machine's packages: adding an
/// architecture to the machine would bring upgrades with it.
fn debian_std(folder: &Path) -> anyhow::Result<PathBuf> {
    let sysroot = folder.join("root/usr");
    let done = folder.join("done");
    if done.is_file() {
        return Ok(sysroot);
    }
    let apt = folder.join("apt");
    for inner in [
        "lists/partial",
        "cache/archives/partial",
        "etc/trusted.gpg.d",
    ] {
        std::fs::create_dir_all(apt.join(inner)).context("make apt's folders")?;
    }
    std::fs::write(apt.join("status"), "").context("make apt's state")?;
    let at = apt.display();
    let settings = format!(
        "Dir::State \"{at}\"; Dir::State::lists \"{at}/lists\"; Dir::State::status \"{at}/status\";\n\
         Dir::Cache \"{at}/cache\"; APT::Architecture \"arm64\"; APT::Architectures \"arm64\";\n\
         APT::Sandbox::User \"root\"; Acquire::Languages \"none\";\n"
    );
    std::fs::write(apt.join("conf"), settings).context("write apt's settings")?;
    let run = |what: &str, program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("APT_CONFIG", apt.join("conf"))
            .stdout(std::process::Stdio::null())
            .current_dir(folder);
        step(what, &mut command)
    };
    run("apt: package lists for arm64", "apt-get", &["-q", "update"])?;
    run(
        "apt: standard library for arm64",
        "apt-get",
        &["-q", "download", DEBIAN_STD],
    )?;
    let entries = std::fs::read_dir(folder).context("look for the package")?;
    let package = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt downloaded no package")?;
    let package = package.to_str().context("a path is not UTF-8")?;
    run("unpack", "dpkg", &["-x", package, "root"])?;
    std::fs::write(done, "").context("remember that it is there")?;
    Ok(sysroot)
}
