//! The bench: every figure this project claims, measured beside its peers in one run.
//!
//! ```text
//!  cargo bench -p edge-broker --bench gateway -- --list
//!  cargo bench -p edge-broker --bench gateway -- throughput --seconds 10 --json out.json
//! ```
//!
//! Scenarios start real processes (this project's program, Mosquitto, NATS, Apache Kafka, each
//! installed when it is missing), load them with one load generator, and print a table with the
//! goal beside the figure. Nothing here is a timed test: a missed goal is printed, not an error.

#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used)]

mod client;
mod disk;
#[allow(unused_imports)] // its tests run with the program
#[path = "../../edge-broker/src/demo/histogram.rs"]
mod histogram;
mod load;
mod payload;
mod peers;
mod process;
mod relay;
mod scenarios;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::scenarios::{SCENARIOS, Scenario};
use crate::table::Table;

/// Measures this gateway beside its peers.
#[derive(Debug, Clone, Parser)]
#[command(name = "gateway", max_term_width = 100)]
pub struct Options {
    /// Scenarios by name [default: all]
    pub names: Vec<String>,
    /// Names and goals, nothing is run
    #[arg(long)]
    pub list: bool,
    /// Measured seconds of one load
    #[arg(long, default_value_t = 8)]
    pub seconds: u64,
    /// The full lengths: ten-minute wear runs, a million records, two gigabytes
    #[arg(long)]
    pub full: bool,
    /// Leave the peers out
    #[arg(long)]
    pub alone: bool,
    /// Write every figure as JSON there; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
    /// Where peers are installed
    #[arg(long, value_name = "DIR", default_value = "/tmp/edge-broker-peers")]
    pub peers: PathBuf,
    /// Folders with data go below this one
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Another build of the gateway
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_edge-broker"))]
    pub program: PathBuf,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    pub bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for scenario in SCENARIOS {
            println!("{:<12} {}", scenario.name, scenario.about);
        }
        return ExitCode::SUCCESS;
    }
    let known = |name: &String| SCENARIOS.iter().any(|scenario| scenario.name == name);
    if let Some(unknown) = options.names.iter().find(|name| !known(name)) {
        eprintln!("error: no such scenario: {unknown}\n  see them: --list");
        return ExitCode::from(64);
    }
    let chosen = |scenario: &&Scenario| {
        options.names.is_empty() || options.names.iter().any(|name| name == scenario.name)
    };
    let mut tables = Vec::new();
    let mut failed = false;
    for scenario in SCENARIOS.iter().filter(chosen) {
        eprintln!("== {}: {}", scenario.name, scenario.about);
        match (scenario.run)(&options) {
            Ok(table) => {
                print!("{table}");
                tables.push(table);
            }
            Err(error) => {
                eprintln!("error: {}: {error}", scenario.name);
                failed = true;
            }
        }
    }
    if let Some(to) = &options.json {
        failed |= write_json(to, &tables).is_err();
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn write_json(to: &str, tables: &[Table]) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(tables)?;
    if to == "-" {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(to, text)
}
