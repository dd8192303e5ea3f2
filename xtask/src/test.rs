//! `cargo xtask test`: everything, from a clean machine.

use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Args;
use furrow_tests::process::free_port;

use crate::build::{Profile, build_all, build_page, root, step};
use crate::{chaos, demo, needs, python, say, servers, sim};

/// Options of `test`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --only rust\n  cargo xtask test --without influxdb"
)]
pub(crate) struct Options {
    /// Run one part only.
    #[arg(long)]
    only: Option<Part>,
    /// Do without a server of others that can't be had here. What is not tested then is named at the end.
    #[arg(long, value_enum, value_name = "SERVER")]
    without: Vec<servers::Name>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The page: types, unit tests, size.
    Page,
    /// Unit, property, simulation and whole-system tests.
    Rust,
    /// The page against the real system in Chromium.
    Browser,
    /// The demo without a person.
    Demo,
    /// Real processes killed, paused and cut off for two minutes.
    Chaos,
}

/// Runs the parts; the first failure ends it.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let wanted = |part| options.only.is_none_or(|only| only == part);
    if wanted(Part::Browser) {
        needs::chromium()?;
    }
    if wanted(Part::Rust) || wanted(Part::Chaos) {
        needs::mosquitto()?;
    }
    if wanted(Part::Rust) {
        needs::prometheus()?;
    }
    if wanted(Part::Page) {
        page()?;
    }
    if wanted(Part::Rust) {
        rust(&options.without)?;
    }
    if wanted(Part::Browser) {
        browser()?;
    }
    if wanted(Part::Demo) {
        let code = demo::run(&demo::Options::for_test(free_port()?))?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    if wanted(Part::Chaos) {
        for broker in [chaos::Broker::Embedded, chaos::Broker::Mosquitto] {
            let code = chaos::run(&chaos::Options::for_test(broker))?;
            if code != ExitCode::SUCCESS {
                return Ok(code);
            }
        }
    }
    let waived = if wanted(Part::Rust) {
        options.without.as_slice()
    } else {
        &[]
    };
    for name in waived {
        say!("NOT TESTED: stores on {}, waived by name", name.as_str());
    }
    say!("all passed in {:.0} s", start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn page() -> anyhow::Result<()> {
    build_page()?;
    let web = root()?.join("ingest/web");
    for script in ["check", "test", "size"] {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", script]).current_dir(&web);
        step(&format!("page: {script}"), &mut npm)?;
    }
    Ok(())
}

fn rust(without: &[servers::Name]) -> anyhow::Result<()> {
    let variables = servers::ensure_all(without)?;
    let interpreter = python::ensure()?;
    // The whole-system tests start the programs, which cargo does not build for them.
    build_all(Profile::Dev)?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .envs(variables)
        .env(python::VARIABLE, interpreter)
        .current_dir(root()?);
    step("rust: tests", &mut cargo)?;
    sim::test()
}

fn browser() -> anyhow::Result<()> {
    build_all(Profile::Dev)?;
    let mut cargo = Command::new("cargo");
    let arguments = [
        "test",
        "--locked",
        "-p",
        "furrow-tests",
        "--features",
        "browser",
    ];
    cargo
        .args(arguments)
        .args(["--test", "browser"])
        .current_dir(root()?);
    step("browser", &mut cargo)
}
