//! The commands that ask a running gateway, and `check-config`.
//!
//! Each reads its flags, asks over the admin socket, prints. `serve` and `demo` are elsewhere.

mod central;
mod check_config;
mod format;
mod publish;
mod status;
mod tail;
mod topic;

pub use central::run as central;
pub use check_config::run as check_config;
pub use publish::run as publish;
pub use status::run as status;
pub use tail::run as tail;
pub use topic::run as topic;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use crate::failure::{Exit, Failure};

/// Prints a whole answer. A reader that went away (`| head`) ends the command quietly.
fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::new(Exit::IO, format!("cannot write: {error}"))),
    }
}

/// Prints an answer as JSON on one line.
fn print_json<T: Serialize>(answer: &T) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string(answer)
        .map_err(|error| Failure::new(Exit::SOFTWARE, error.to_string()))?;
    print(&format!("{text}\n"))
}

/// `KEY=VALUE` arguments.
fn settings(arguments: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Failure::new(Exit::USAGE, format!("a setting is KEY=VALUE: {text}"))
                .fix("e.g. retention.ms=86400000")
        })?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    arguments.iter().map(pair).collect()
}
