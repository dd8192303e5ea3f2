//! `furrow-guard`: parses the command line and hands over.

use std::process::ExitCode;

use clap::Parser;
use furrow_gateway::guard::cli::{Arguments, dispatch};

fn main() -> ExitCode {
    dispatch(&Arguments::parse())
}
