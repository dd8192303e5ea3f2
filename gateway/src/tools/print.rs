//! The one place that writes to the terminal.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};

/// A line of the command's answer. A reader that has gone away (`| head`) is no failure.
pub(crate) fn line(text: impl Display) {
    let written = writeln!(io::stdout().lock(), "{text}");
    drop(written);
}

/// How far a long command is, beside its answer.
pub(super) fn progress(text: &str) {
    let written = writeln!(io::stderr().lock(), "{text}");
    drop(written);
}

/// An error with all that caused it.
pub(crate) fn error(error: &dyn Error) {
    let written = writeln!(io::stderr().lock(), "error: {}", chain(error));
    drop(written);
}

/// `what: why: why that`.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
