//! The `demo` command: shows on one machine that nothing acknowledged is lost.
//!
//! ```text
//!  devices ──MQTT──▶ gateway (this program as `serve` in a child) ──▶ uplink ──▶ central
//!     │                 ▲ SIGKILL, twice                              cut once     │
//!     └── ids ──▶ check ◀──── the log, read by a fresh process ──── ids ◀──────────┘
//! ```
//!
//! Everything but the gateway lives in this process; the gateway is killed for real. `stage` runs
//! the script of `plan`, `check` compares at the end. Called by `main`.

mod book;
mod central;
mod check;
mod device;
mod disk;
mod gateway;
mod histogram;
mod mqtt;
mod picture;
mod plan;
mod readback;
mod report;
mod screen;
mod stage;
mod status;
mod text;
mod uplink;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::units;
use crate::failure::{Exit, Failure};

/// The built-in last route takes every MQTT topic there.
const TOPIC: &str = "mqtt";

/// Flags of `edge-broker demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// How long the devices and the outages take
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = within(6, 86_400))]
    pub seconds: u64,
    /// How many devices publish
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = within(1, 1_000))]
    pub devices: u64,
    /// Messages a second, all devices together
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = within(1, 500_000))]
    pub rate: u64,
    /// What decides the ids and payloads, up to 6 hexadecimal digits [default: drawn]
    #[arg(long, value_name = "HEX", value_parser = seed)]
    pub seed: Option<u64>,
    /// A real Kafka in the place of the stand-in
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub central: Option<String>,
    /// A new folder to work in, which is left [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print nothing but the result, in JSON
    #[arg(long)]
    pub json: bool,
    /// Leave the folder, and print the commands to look inside
    #[arg(long)]
    pub keep: bool,
    /// Damage the log before it is read back: the demo must then fail
    #[arg(long, hide = true)]
    pub tamper: bool,
}

fn within(min: u64, max: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(min..=max)
}

fn address(text: &str) -> Result<String, String> {
    match units::parse_address(text) {
        Ok((host, port)) if !host.is_empty() && port > 0 => Ok(text.to_owned()),
        _ => Err("host:port, as in kafka-1.example.com:9092".to_owned()),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    let short = text.len() <= 6;
    let seed = u64::from_str_radix(text, 16).ok().filter(|_| short);
    seed.ok_or_else(|| "up to 6 hexadecimal digits, e.g. 4f2a91".to_owned())
}

/// Runs the demo and answers with its exit code.
pub fn run(args: DemoArgs) -> ExitCode {
    match smol::block_on(stage::run(args)) {
        Ok(code) => code,
        Err(error) => Failure::new(Exit::UNAVAILABLE, error.to_string()).report(),
    }
}
