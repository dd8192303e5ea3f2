//! Facts of the machine: versions, model, kernel, clock, memory, card.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::config::Settings;

/// Files of the kernel and the system that say what this is.
const FILES: [&str; 8] = [
    "/proc/device-tree/model",
    "/etc/os-release",
    "/proc/version",
    "/proc/cmdline",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/sys/kernel/tainted",
    "/sys/class/thermal/thermal_zone0/temp",
];
/// Lines of the memory's state: totals stand first.
const MEMORY_LINES: usize = 5;

/// All of them, a paragraph each.
pub(super) fn machine(settings: &Settings) -> String {
    let mut text = format!(
        "furrow-gateway {}\narchitecture {}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    for file in FILES {
        let found = std::fs::read_to_string(file).unwrap_or_else(|error| error.to_string());
        paragraph(&mut text, file, found.trim_matches(['\0', '\n']));
    }
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory: Vec<&str> = memory.lines().take(MEMORY_LINES).collect();
    paragraph(&mut text, "/proc/meminfo", &memory.join("\n"));
    let clock = match furrow_kernel_clock::read() {
        Ok(clock) => format!(
            "synchronised {}, largest error {} µs, now {}",
            clock.is_synchronised,
            clock.max_error_us,
            jiff::Timestamp::now()
        ),
        Err(error) => error.to_string(),
    };
    paragraph(&mut text, "clock", &clock);
    paragraph(&mut text, "buses", &buses());
    paragraph(
        &mut text,
        "state folder",
        &space(&settings.gateway().state_dir),
    );
    text
}

/// What a program prints on both of its outputs.
pub(super) fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if text.trim().is_empty() {
        return Err(format!("{program} says nothing"));
    }
    Ok(text)
}

fn paragraph(text: &mut String, title: &str, body: &str) {
    writeln!(text, "\n== {title}\n{body}").expect("writing to a string never fails");
}

fn buses() -> String {
    let found = (0..=22_u8).filter(|number| Path::new(&format!("/dev/i2c-{number}")).exists());
    let names: Vec<String> = found.map(|number| format!("/dev/i2c-{number}")).collect();
    if names.is_empty() {
        "no /dev/i2c-*".to_owned()
    } else {
        names.join(" ")
    }
}

fn space(folder: &Path) -> String {
    match nix::sys::statvfs::statvfs(folder) {
        Ok(space) => {
            let block = u128::from(space.fragment_size());
            let mib = |blocks: u128| blocks.saturating_mul(block) >> 20;
            format!(
                "{}: {} MiB of {} MiB free",
                folder.display(),
                mib(u128::from(space.blocks_available())),
                mib(u128::from(space.blocks()))
            )
        }
        Err(error) => format!("{}: {error}", folder.display()),
    }
}
