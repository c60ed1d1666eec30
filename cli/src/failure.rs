//! Why a verb ends early: the exit code, and the message for stderr.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;
use vldepot::ErrorKind;

use crate::text;

/// The file's bytes are not what was written.
pub(crate) const DAMAGE: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// No such file, no such record.
pub(crate) const NOT_FOUND: u8 = 3;
/// What was compared differs.
pub(crate) const DIFFERENT: u8 = 5;
/// Everything else: reading, writing, and files that are not depots.
pub(crate) const OTHER: u8 = 4;

/// For `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the file is damaged
  2  wrong usage
  3  no such file or record
  4  any other error: reading, writing, or a file that is not a depot
  5  `diff` found a difference";

/// The failure that a verb returns.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: u8,
    /// The error and its causes. `None` ends without a message.
    message: Option<String>,
    /// Whether the message has several lines.
    lines: bool,
}

impl Failure {
    fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, message: Some(message.into()), lines: false }
    }

    /// Arguments that parse, but make no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// Arguments that do not parse. The message has several lines.
    pub(crate) fn arguments(message: impl Into<String>) -> Self {
        Self { lines: true, ..Self::usage(message) }
    }

    /// Damage that was looked for, and found.
    pub(crate) fn damage(message: impl Into<String>) -> Self {
        Self::new(DAMAGE, message)
    }

    /// A file or a record that is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(NOT_FOUND, message)
    }

    /// Anything but damage, wrong usage, and what is not found.
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::new(OTHER, message)
    }

    /// A difference that was looked for and found. The output tells of it.
    pub(crate) fn different() -> Self {
        Self { exit: DIFFERENT, message: None, lines: false }
    }

    /// An error of the system, for a file that is no depot.
    pub(crate) fn from_io(path: &std::path::Path, what: &str, error: &io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { OTHER };
        Self::new(exit, format!("{}: {what}: {error}", text::path(path)))
    }

    /// Adds what the user could do about it.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        if let Some(message) = &mut self.message {
            message.push_str(": ");
            message.push_str(hint);
        }
        self
    }

    /// Whether the reader of the output is gone, which makes going on useless.
    pub(crate) fn is_quiet(&self) -> bool {
        self.message.is_none()
    }

    /// Prints the failure to stderr, and returns the exit code.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        self.tell(json);
        ExitCode::from(self.exit)
    }

    /// Prints the failure to stderr, for a verb that goes on all the same.
    #[cfg(all(feature = "mount", target_os = "linux"))]
    pub(crate) fn warn(self) {
        self.tell(false);
    }

    fn tell(&self, json: bool) {
        let Some(message) = &self.message else { return };
        // Names and contents of files must not control the terminal.
        let line = if json {
            text::without_controls(&json!({ "error": message, "exit": self.exit }).to_string())
        } else if self.lines {
            let lines: Vec<_> = message.split('\n').map(text::without_controls).collect();
            format!("vldepot: {}", lines.join("\n"))
        } else {
            format!("vldepot: {}", text::without_controls(message))
        };
        // If stderr is closed, only the exit code is left.
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// The error and its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl From<vldepot::Error> for Failure {
    fn from(error: vldepot::Error) -> Self {
        let exit = if error.is_damage() {
            DAMAGE
        } else if error.is_not_found() {
            NOT_FOUND
        } else if matches!(
            error.kind(),
            ErrorKind::InvalidOptions { .. }
                | ErrorKind::InvalidQuery { .. }
                | ErrorKind::InvalidPath { .. }
                | ErrorKind::SameFile { .. }
                | ErrorKind::RemovesAll { .. }
        ) {
            USAGE
        } else {
            OTHER
        };
        // Nobody tries again with what was not written: the command ends here.
        let lost = matches!(error.kind(), ErrorKind::NotCommitted { .. } | ErrorKind::NotStored);
        match (std::error::Error::source(&error), error.path()) {
            (Some(cause), Some(path)) if lost => {
                let path = text::path(path);
                Self::new(exit, format!("{path}: not everything could be stored: {}", chain(cause)))
            }
            _ => Self::new(exit, chain(&error)),
        }
    }
}

/// For errors of writing the output. Depots have errors of their own.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: 0, message: None, lines: false };
        }
        Self::other(format!("cannot write the output: {}", chain(&error)))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        // Unwraps a broken pipe that serde_json has wrapped.
        if error.is_io() { io::Error::from(error).into() } else { Self::other(chain(&error)) }
    }
}
