//! Resident memory: doing nothing, under full load, and with a backlog on its way to central.

use std::io;
use std::time::Duration;

use super::{fill, megabytes};
use crate::Options;
use crate::payload::Kind;
use crate::peers::gateway::Setup;
use crate::peers::{Folder, gateway, kafka};
use crate::table::Table;

const BACKLOG_BYTES: u64 = 2_000_000_000;
const BACKLOG_BYTES_SHORT: u64 = 200_000_000;
const MESSAGE_BYTES: usize = 256;

/// `memory`.
pub fn run(options: &Options) -> io::Result<Table> {
    let mut table = Table::new("memory");
    let folder = Folder::create(options, "memory")?;
    let backlog = if options.full {
        BACKLOG_BYTES
    } else {
        BACKLOG_BYTES_SHORT
    };
    {
        let gateway = gateway::start(options, &folder, &Setup::default())?;
        std::thread::sleep(Duration::from_secs(5));
        let idle = megabytes(gateway.server.resident());
        table.goal(
            "idle, 5 s after the start",
            (idle, "MB"),
            "< 30",
            idle < 30.0,
        );
        let rate = fill(
            &gateway,
            Kind::Random,
            MESSAGE_BYTES,
            backlog / MESSAGE_BYTES as u64,
        )?;
        let peak = megabytes(gateway.server.resident_max());
        table.goal("peak at full speed", (peak, "MB"), "< 100", peak < 100.0);
        let text = format!("{:.0} MB stored", megabytes(backlog));
        table.row("rate meanwhile", rate, "msg/s", text);
        std::thread::sleep(Duration::from_secs(5));
        let after = megabytes(gateway.server.resident());
        table.row("5 s after the load", after, "MB", String::new());
        gateway.server.stop();
    }
    let kafka = kafka::start(options)?;
    let central = Some(kafka.address.to_string());
    let setup = Setup {
        config: "[central]\ndrain_jitter_s = 0\n",
        central,
        ..Setup::default()
    };
    let gateway = gateway::start(options, &folder, &setup)?;
    super::drain::wait_drained(&gateway)?;
    let peak = megabytes(gateway.server.resident_max());
    let what = format!("peak while {:.0} MB drain", megabytes(backlog));
    table.goal(what, (peak, "MB"), "< 100", peak < 100.0);
    Ok(table)
}
