//! What ends a command: one sentence, the lines that fix it, and an exit code.
//!
//! Called by every command; the only place that decides how an error looks on the terminal.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Exit codes, after sysexits.h where it has one.
pub struct Exit;

impl Exit {
    /// `status`: something is wrong, devices are served.
    pub const DEGRADED: u8 = 1;
    /// A command was refused by the gateway.
    pub const REFUSED: u8 = 1;
    /// `status`: messages are not being stored.
    pub const NOT_STORING: u8 = 2;
    /// No gateway answers at this data folder.
    pub const NO_GATEWAY: u8 = 3;
    /// Wrong usage of the command line.
    pub const USAGE: u8 = 64;
    /// A port is in use, or something else this machine should give is not there.
    pub const UNAVAILABLE: u8 = 69;
    /// Our own mistake.
    pub const SOFTWARE: u8 = 70;
    /// Files or folders cannot be read or written.
    pub const IO: u8 = 74;
    /// Another process holds the data folder.
    pub const LOCKED: u8 = 75;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}

/// Why a command ends without having done its work.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the process answers with.
    pub code: u8,
    /// What happened: lower case, no full stop, the value last.
    pub message: String,
    /// What to do about it, one way per line.
    pub fixes: Vec<String>,
}

impl Failure {
    /// A failure without advice.
    pub fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            fixes: Vec::new(),
        }
    }

    /// Adds one way out.
    pub fn fix(mut self, line: impl Into<String>) -> Failure {
        self.fixes.push(line.into());
        self
    }

    /// Prints the failure to stderr and gives its exit code.
    pub fn report(&self) -> ExitCode {
        // A closed stderr leaves nobody to tell.
        let _ = write!(std::io::stderr(), "{self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "error: {}", self.message)?;
        self.fixes
            .iter()
            .try_for_each(|line| writeln!(out, "  {line}"))
    }
}
