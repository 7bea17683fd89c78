//! edge-broker: the program.
//!
//! ```text
//!  command line ─▶ serve ─▶ configuration, Site, MQTT door, forwarder, admin doors
//!             ├──▶ topic, tail, publish, status, central ─▶ admin socket of a running gateway
//!             ├──▶ check-config
//!             └──▶ demo
//! ```
//! Leaves to others: storing (edge-site, edge-log), MQTT (bridge), forwarding (cloud-sync).

mod admin;
mod cli;
mod commands;
mod config;
mod demo;
mod failure;
mod heap;
mod logger;
mod machine;
mod serve;
mod view;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    heap::share_one_arena();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::wrong_usage(&error),
    };
    run(cli).unwrap_or_else(|failure| failure.report())
}

/// One command, one function.
fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => Ok(demo::run(args)),
        Command::CheckConfig(args) => commands::check_config(&args),
        Command::Topic(command) => commands::topic(&command),
        Command::Tail(args) => commands::tail(&args),
        Command::Publish(args) => commands::publish(&args),
        Command::Status(args) => commands::status(&args),
        Command::Central(command) => commands::central(&command),
    }
}
