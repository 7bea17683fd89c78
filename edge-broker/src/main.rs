//! edge-broker: the program.
//!
//! Reads the command line and hands over to one command; each command answers with an exit code.
//! Leaves to others: storing (edge-site, edge-log), MQTT (bridge), forwarding (cloud-sync).

mod cli;
mod demo;
mod failure;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::wrong_usage(&error),
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// One command, one function.
fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Demo(args) => Ok(demo::run(args)),
        _ => Err(Failure::new(
            Exit::UNAVAILABLE,
            "this command is not built yet",
        )),
    }
}
