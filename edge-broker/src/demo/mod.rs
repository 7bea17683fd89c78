//! The `demo` command: proves on one machine that nothing acknowledged is lost.

use std::process::ExitCode;

/// Flags of `edge-broker demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

/// Runs the demo and answers with its exit code.
pub fn run(_args: DemoArgs) -> ExitCode {
    ExitCode::FAILURE
}
