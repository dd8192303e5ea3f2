//! What the command lines of all programs share: shell completions and man pages.
//!
//! Both follow from the description that parses the arguments, so they can't say something else. The
//! programs add [`Completions`] and [`Man`] as hidden commands: people who package need them, people
//! at a greenhouse do not. Exit codes and the rest of a command line are each program's own.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// Print completions for a shell, to be put where that shell looks for them
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Write a man page for the program and one for each of its commands
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Man {
    /// The folder for the pages; it is made if need be
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

/// Man pages that can't be written.
#[derive(Debug, thiserror::Error)]
#[error("write man pages to {}", folder.display())]
pub struct ManError {
    folder: PathBuf,
    source: io::Error,
}

impl Completions {
    /// Runs the command. A reader that has gone away (`| head`) is no failure.
    #[must_use]
    pub fn run(&self, mut program: Command) -> ExitCode {
        let written = io::stdout()
            .lock()
            .write_all(&completions(self.shell, &mut program));
        drop(written);
        ExitCode::SUCCESS
    }
}

impl Man {
    /// Runs the command.
    #[must_use]
    pub fn run(&self, program: Command) -> ExitCode {
        match pages(program, &self.output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let written = writeln!(io::stderr().lock(), "error: {error}: {}", error.source);
                drop(written);
                ExitCode::FAILURE
            }
        }
    }
}

fn completions(shell: Shell, program: &mut Command) -> Vec<u8> {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, program, name, &mut script);
    script
}

fn pages(program: Command, folder: &Path) -> Result<(), ManError> {
    let failed = |source| ManError {
        folder: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(program, folder).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        Command::new("furrow-example")
            .about("An example")
            .subcommand(Command::new("water").about("Water a zone"))
            .subcommand(Command::new("man").hide(true))
    }

    #[test]
    fn every_shell_gets_its_completions() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(shell, &mut program())).unwrap();
            assert!(script.contains("water"), "{shell}: {script}");
        }
    }

    #[test]
    fn the_program_and_each_visible_command_has_its_page() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("man/man1");
        pages(program(), &output).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(&output)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.contains("help"))
            .collect();
        names.sort();
        assert_eq!(names, ["furrow-example-water.1", "furrow-example.1"]);
        let page = std::fs::read_to_string(output.join("furrow-example.1")).unwrap();
        assert!(page.contains("An example"), "{page}");
    }
}
